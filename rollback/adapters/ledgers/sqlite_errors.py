"""What SQLite's error codes mean for a ledger."""

from __future__ import annotations

import sqlite3

from rollback.errors import HistoryUnwritable

_KEPT = "nothing is lost: the entries are in the journal, and the next command feeds them"
_MOVE = "add .corrupt-1 to its name and keep it; the next command starts a new chain that names the old head"
_CAUSES = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", _KEPT),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", _KEPT),
    sqlite3.SQLITE_READONLY: ("is read-only", "make the file and its folder writable, or set ROLLBACK_LEDGER"),
    sqlite3.SQLITE_PERM: ("may not be written", "make the file and its folder writable, or set ROLLBACK_LEDGER"),
    sqlite3.SQLITE_FULL: ("cannot grow, the disk is full", "make room on the disk, or set ROLLBACK_LEDGER"),
    sqlite3.SQLITE_IOERR: ("cannot be written, its disk is full or broken", "make room on it, or set ROLLBACK_LEDGER"),
    sqlite3.SQLITE_CORRUPT: ("is corrupt", _MOVE),
    sqlite3.SQLITE_NOTADB: ("is corrupt", _MOVE),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that its folder exists and can be written"),
}


def is_corrupt(error: sqlite3.Error) -> bool:
    """True for `malformed` and `not a database`."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def unwritable(error: sqlite3.Error, path: str) -> HistoryUnwritable:
    """The error in one clear sentence."""
    cause, advice = _CAUSES.get(_code(error), (f"cannot be used: {error}", ""))
    return HistoryUnwritable(f"the ledger {path} {cause}", next=advice)


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code (sqlite.org/rescode.html). Errors of the module itself have none.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
