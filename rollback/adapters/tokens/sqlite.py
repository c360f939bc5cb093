"""The tokens in the state database."""

from __future__ import annotations

import hmac
import sqlite3
from contextlib import suppress
from datetime import datetime

from rollback.adapters.state_db import StateComponent
from rollback.adapters.tokens.rules import USE_KEPT_EVERY, checked, digest_of, name_taken, new_secret
from rollback.alert_ports import TokenHolder
from rollback.codec import time_from_text, time_to_text
from rollback.errors import HistoryUnwritable

_FIRST = (
    """
    CREATE TABLE tokens (
      number INTEGER PRIMARY KEY,
      name TEXT NOT NULL,
      role TEXT NOT NULL,
      hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
      issued_at TEXT NOT NULL,
      expires_at TEXT,
      is_expired INTEGER NOT NULL DEFAULT 0,
      revoked_at TEXT,
      used_at TEXT
    )
    """,
    "CREATE UNIQUE INDEX tokens_names ON tokens (name) WHERE revoked_at IS NULL",
)


class SqliteTokens(StateComponent):
    """`Tokens` at `path`, for several threads and processes.

    A name may be issued again when its token has expired or was revoked. One that was seen to be expired stays so, also
    when the clock is set back. `issue` raises `ConfigurationError` for a name that is taken, or an unknown role. `all`
    has those that are not revoked by name, each with when it was issued and when it was last used (to the minute; None:
    never). `holder` never waits for a write: a full disk or another process's lock refuses nobody.
    """

    component = "tokens"
    migrations = (_FIRST,)

    def issue(self, name: str, role: str, expires_at: datetime | None, now: datetime) -> str:
        """Makes a token and returns its secret, which nobody can see again."""
        checked(name, role, expires_at, now)
        secret = new_secret()
        at, end = time_to_text(now), None if expires_at is None else time_to_text(expires_at)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE tokens SET revoked_at = ? "
                "WHERE name = ? AND revoked_at IS NULL AND (is_expired OR expires_at <= ?)",
                (at, name, at),
            )
            if connection.execute("SELECT 1 FROM tokens WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone():
                raise name_taken(name)
            connection.execute(
                "INSERT INTO tokens (name, role, hash, issued_at, expires_at) VALUES (?, ?, ?, ?, ?)",
                (name, role, digest_of(secret), at, end),
            )

        self.database.write(work)
        return secret

    def revoke(self, name: str, now: datetime) -> bool:
        """Ends the token of that name for good; False when there is none."""
        statement = "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL"
        values = (time_to_text(now), name)
        return self.database.write(lambda connection: connection.execute(statement, values).rowcount) > 0

    def holder(self, secret: str, now: datetime) -> TokenHolder | None:
        """Whose secret this is; None when it is nobody's, or nobody's any more."""
        digest = digest_of(secret)
        if digest is None:
            return None
        query = (
            "SELECT hash, name, role, expires_at, used_at, number FROM tokens "
            "WHERE hash = ? AND revoked_at IS NULL AND NOT is_expired"
        )
        row = self.database.read(lambda connection: connection.execute(query, (digest,)).fetchone())
        if row is None or not hmac.compare_digest(row[0], digest):
            return None
        _, name, role, end, used, number = row
        expires_at, used_at = _time(end), _time(used)
        if expires_at is not None and expires_at <= now:
            self._note("UPDATE tokens SET is_expired = 1 WHERE number = ?", number)
            return None
        if used_at is None or now - used_at >= USE_KEPT_EVERY:
            self._note("UPDATE tokens SET used_at = ? WHERE number = ?", time_to_text(now), number)
        return TokenHolder(name, role, expires_at)

    def all(self) -> list[tuple[TokenHolder, datetime, datetime | None]]:
        """The tokens that are not revoked, each with when it was issued and last used."""
        query = "SELECT name, role, expires_at, issued_at, used_at FROM tokens WHERE revoked_at IS NULL ORDER BY name"
        rows = self.database.read(lambda connection: connection.execute(query).fetchall())
        return [
            (TokenHolder(name, role, _time(end)), time_from_text(issued), _time(used))
            for name, role, end, issued, used in rows
        ]

    def _note(self, statement: str, *values: object) -> None:
        """Writes down what nobody's access may depend on."""
        with suppress(HistoryUnwritable):
            self.database.write(lambda connection: connection.execute(statement, values), synced=False, wait=0.0)


def _time(column: str | None) -> datetime | None:
    return None if column is None else time_from_text(column)
