"""Stored answers in the state database."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from rollback.adapters.idempotency.port import KEEP, StoredAnswer, checked_key, verdict
from rollback.adapters.state_db import StateComponent
from rollback.codec import time_from_text, time_to_text

_FIRST = (
    """
    CREATE TABLE answers (
      actor BLOB NOT NULL,
      key TEXT NOT NULL,
      digest TEXT NOT NULL,
      begun_at TEXT NOT NULL,
      status INTEGER,
      body BLOB,
      PRIMARY KEY (actor, key)
    )
    """,
    "CREATE INDEX answers_by_age ON answers (begun_at)",
)


class SqliteIdempotency(StateComponent):
    """`Idempotency` at `path`. Old answers are removed when new requests begin."""

    component = "idempotency"
    migrations = (_FIRST,)

    def begin(self, key: str, actor: str, digest: str, at: datetime) -> StoredAnswer | None:
        """The stored answer, or None when the request is this caller's to do."""
        owner = (_bytes(actor), checked_key(key))
        begun_at, oldest = time_to_text(at), time_to_text(at - KEEP)

        def work(connection: sqlite3.Connection) -> StoredAnswer | None:
            connection.execute("DELETE FROM answers WHERE begun_at <= ?", (oldest,))
            query = "SELECT digest, begun_at, status, body FROM answers WHERE actor = ? AND key = ?"
            row = connection.execute(query, owner).fetchone()
            if row is not None:
                known, since, status, body = row
                stored = None if status is None else StoredAnswer(status, body)
                answer = verdict((known, time_from_text(since), stored), digest, at)
                if answer is not None:
                    return answer
            connection.execute(
                "INSERT OR REPLACE INTO answers (actor, key, digest, begun_at) VALUES (?, ?, ?, ?)",
                (*owner, digest, begun_at),
            )
            return None

        return self.database.write(work)

    def finish(self, key: str, actor: str, answer: StoredAnswer) -> None:
        """Stores the answer, once."""
        statement = "UPDATE answers SET status = ?, body = ? WHERE actor = ? AND key = ? AND status IS NULL"
        values = (answer.status, answer.body, _bytes(actor), key)
        self.database.write(lambda connection: connection.execute(statement, values))

    def abandon(self, key: str, actor: str) -> None:
        """Frees the key of a request that did nothing."""
        statement = "DELETE FROM answers WHERE actor = ? AND key = ? AND status IS NULL"
        self.database.write(lambda connection: connection.execute(statement, (_bytes(actor), key)))


def _bytes(actor: str) -> bytes:
    return actor.encode("utf-8", "surrogatepass")
