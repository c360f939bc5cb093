"""The database's schema in numbered steps. A step that was released is never changed; a new one is added."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from rollback.errors import HistoryUnwritable

APPLICATION_ID = 0x726F6C6C
"""`roll` in ASCII: what tells our databases from other people's (sqlite.org/fileformat2.html, 1.3.14)."""

_FIRST = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """
    CREATE TABLE chains (
      feature TEXT PRIMARY KEY,
      chain INTEGER NOT NULL CHECK (chain > 0),
      old_head TEXT,
      old_sequence INTEGER,
      old_file TEXT,
      because TEXT
    )
    """,
    """
    CREATE TABLE entries (
      position INTEGER PRIMARY KEY,
      feature TEXT NOT NULL REFERENCES chains (feature),
      sequence INTEGER NOT NULL CHECK (sequence > 0),
      hash TEXT NOT NULL CHECK (length(hash) = 64),
      previous TEXT NOT NULL CHECK (length(previous) = 64),
      entry_id TEXT NOT NULL UNIQUE,
      at TEXT NOT NULL,
      kind TEXT NOT NULL,
      name TEXT NOT NULL,
      incident TEXT,
      epoch INTEGER NOT NULL,
      body TEXT NOT NULL,
      UNIQUE (feature, sequence)
    )
    """,
    "CREATE INDEX entries_by_kind ON entries (feature, kind, sequence)",
    """
    CREATE TABLE positions (
      journal TEXT PRIMARY KEY,
      position INTEGER NOT NULL,
      tail INTEGER NOT NULL
    )
    """,
    *(
        f"""
        CREATE TRIGGER {table}_never_{action.lower()} BEFORE {action} ON {table}
        BEGIN SELECT RAISE(ABORT, 'the history is never changed, only added to'); END
        """
        for table in ("entries", "chains")
        for action in ("UPDATE", "DELETE")
    ),
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)


def migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> bool:
    """Brings the schema to the last step, inside the transaction that is open; True when the database was empty.

    Raises `HistoryUnwritable` for a database that a newer program has written, or that is not ours; nothing is
    changed then.
    """
    version = _pragma(connection, "user_version")
    if version > len(migrations):
        raise HistoryUnwritable(
            f"the ledger {path} has schema {version}, this program knows schemas up to {len(migrations)}",
            next="update this program, or set ROLLBACK_LEDGER to another file",
        )
    is_ours = _pragma(connection, "application_id") == APPLICATION_ID
    empty = version == 0 and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if not is_ours and not empty:
        raise HistoryUnwritable(
            f"{path} is a database of another program, not a ledger", next="set ROLLBACK_LEDGER to another file"
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    return empty


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
