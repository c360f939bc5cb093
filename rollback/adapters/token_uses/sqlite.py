"""Used tokens in the state database."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from rollback.adapters.state_db import StateComponent
from rollback.adapters.token_uses.port import digest_of
from rollback.codec import time_to_text

_FIRST = (
    "CREATE TABLE token_uses (digest BLOB PRIMARY KEY, expires_at TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX token_uses_by_end ON token_uses (expires_at)",
)


class SqliteTokenUses(StateComponent):
    """`TokenUses` at `path`. A use is on the disk before the token opens anything."""

    component = "token_uses"
    migrations = (_FIRST,)

    def use(self, issuer: str, token_id: str, expires_at: datetime, now: datetime) -> bool:
        """True the first time."""
        row, moment = (digest_of(issuer, token_id), time_to_text(expires_at)), time_to_text(now)

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM token_uses WHERE expires_at <= ?", (moment,))
            return connection.execute("INSERT OR IGNORE INTO token_uses VALUES (?, ?)", row).rowcount == 1

        return self.database.write(work)
