"""The outbox's memory in a SQLite database: what was handed in, and what waits for which channel."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from rollback.alert_ports import Notice
from rollback.errors import ConfigurationError, HistoryUnwritable
from rollback.notice_ports import LEASE, Claim, Ending, Waiting

LOCK_SECONDS = 5.0
"""How long to wait for another process's write. Only the outbox's own threads wait here."""

CLOSE_SECONDS = 1.0

_APPLICATION_ID_OF_LEDGERS = 0x726F6C6C

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS notices (
      key TEXT PRIMARY KEY,
      at REAL NOT NULL,
      feature TEXT,
      incident TEXT,
      urgency TEXT NOT NULL,
      role TEXT NOT NULL,
      text TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS notice_deliveries (
      key TEXT NOT NULL REFERENCES notices (key) ON DELETE CASCADE,
      channel TEXT NOT NULL,
      begun INTEGER NOT NULL DEFAULT 0,
      claimed_by TEXT,
      claimed_until REAL,
      ending TEXT,
      ended_at REAL,
      PRIMARY KEY (key, channel)
    )
    """,
    "CREATE INDEX IF NOT EXISTS notices_waiting ON notice_deliveries (channel) WHERE ending IS NULL",
)
_FINAL = (Ending.TOLD, Ending.REFUSED, Ending.TOO_OLD)


class SqliteOutboxStore:
    """An `OutboxStore` in the database at `path` (write-ahead log, full sync).

    The tables may stand beside others', e.g. the inbox's, but never in a ledger: a ledger takes no tables that are
    not its own, and its lock belongs to the kill path. `lease` is how long a claim holds when nobody ends it. The file
    is made readable by this account alone. The constructor raises `ConfigurationError` for a ledger; a file that
    cannot be used is told by the methods, since notices are told without it too.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, lease: timedelta = LEASE, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self.path = os.fspath(path)
        self._lease = lease.total_seconds()
        self._lock_seconds = lock_seconds
        self._owner = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        with suppress(HistoryUnwritable), self._transaction():
            pass

    def seen(self, key: str) -> bool:
        """Whether the key was ever remembered, and not pruned."""
        with self._transaction() as database:
            return database.execute("SELECT 1 FROM notices WHERE key = ?", (key,)).fetchone() is not None

    def remember(self, notice: Notice, channels: Sequence[str], at: datetime) -> bool:
        """Keeps it for the channels; False when its key was seen."""
        row = (notice.key, at.timestamp(), notice.feature, notice.incident, notice.urgency, notice.role, notice.text)
        with self._transaction() as database:
            done = database.execute("INSERT OR IGNORE INTO notices VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            if done.rowcount != 1:
                return False
            database.executemany(
                "INSERT OR IGNORE INTO notice_deliveries (key, channel) VALUES (?, ?)",
                [(notice.key, channel) for channel in channels],
            )
            return True

    def waiting(self, channel: str, limit: int, but: Sequence[str] = ()) -> list[Waiting]:
        """What the channel has to tell, oldest first."""
        query = """
            SELECT key, feature, incident, urgency, text, role, at, begun
            FROM notice_deliveries JOIN notices USING (key)
            WHERE channel = ? AND ending IS NULL ORDER BY at, notices.rowid LIMIT ?
        """
        with self._transaction() as database:
            rows = database.execute(query, (channel, limit + len(but))).fetchall()
        found = [
            Waiting(Notice(*words), datetime.fromtimestamp(at, UTC), bool(begun))
            for *words, at, begun in rows
            if words[0] not in but
        ]
        return found[:limit]

    def begin(self, key: str, channel: str, at: datetime) -> Claim:
        """Claims it for `lease`."""
        now = at.timestamp()
        with self._transaction() as database:
            row = database.execute(
                "SELECT ending, claimed_by, claimed_until FROM notice_deliveries WHERE key = ? AND channel = ?",
                (key, channel),
            ).fetchone()
            if row is None or row[0] is not None:
                return Claim.OVER
            if row[2] is not None and row[2] > now and row[1] != self._owner:
                return Claim.THEIRS
            database.execute(
                "UPDATE notice_deliveries SET begun = 1, claimed_by = ?, claimed_until = ?"
                " WHERE key = ? AND channel = ?",
                (self._owner, now + self._lease, key, channel),
            )
            return Claim.OURS

    def end(self, key: str, channel: str, at: datetime, ending: Ending) -> None:
        """Says what came of it."""
        is_final = ending in _FINAL
        with self._transaction() as database:
            database.execute(
                """
                UPDATE notice_deliveries
                SET claimed_by = NULL, claimed_until = NULL, begun = ?, ending = ?, ended_at = ?
                WHERE key = ? AND channel = ? AND ending IS NULL
                """,
                (
                    int(ending is not Ending.NOT_SENT),
                    ending.value if is_final else None,
                    at.timestamp() if is_final else None,
                    key,
                    channel,
                ),
            )

    def prune(self, before: datetime) -> int:
        """Forgets what was handed in before that time, told or not."""
        with self._transaction() as database:
            return database.execute("DELETE FROM notices WHERE at < ?", (before.timestamp(),)).rowcount

    def close(self) -> None:
        """Closes the database for good; what is asked afterwards raises `HistoryUnwritable`. Idempotent.

        A disk that hangs in another thread's hands is left behind after a second: it must not hold up the end.
        """
        self._closed = True
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                database = self._connected()
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise self._unwritable(error) from error
            except BaseException:
                self._disconnect()  # undoes what is not committed
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise HistoryUnwritable(f"the outbox {self.path} is closed")
        if self._connection is None:
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=self._lock_seconds, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._connection)
        return self._connection

    def _prepare(self, database: sqlite3.Connection) -> None:
        if _one(database, "PRAGMA application_id") == _APPLICATION_ID_OF_LEDGERS:
            raise ConfigurationError(
                f"{self.path} is a ledger; the outbox needs a database of its own.", next="Name another file for it."
            )
        if _one(database, "PRAGMA journal_mode") != "wal":
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        for statement in _TABLES:
            database.execute(statement)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _unwritable(self, error: Exception) -> HistoryUnwritable:
        what = error.strerror if isinstance(error, OSError) else str(error)
        return HistoryUnwritable(
            f"the outbox {self.path} cannot be used: {what}",
            next="Check its disk and rights; a corrupt file can be put away under another name: it is made anew.",
        )


def _one(database: sqlite3.Connection, query: str) -> Any:
    return database.execute(query).fetchone()[0]
