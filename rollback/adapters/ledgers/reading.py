"""Reading the database without writing anything, not even the files that SQLite puts beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from rollback.adapters.ledgers.canonical import LedgerRow, entry_from_body
from rollback.adapters.ledgers.migrations import MIGRATIONS
from rollback.adapters.ledgers.sqlite_errors import unwritable
from rollback.core.history import Entry, EntryKind
from rollback.errors import HistoryUnwritable

_T = TypeVar("_T")
COLUMNS = "feature, sequence, hash, previous, entry_id, at, kind, name, incident, epoch, body"


def read_rows(path: str, feature: str | None = None) -> list[LedgerRow]:
    """The stored rows, of one feature in sequence, of all in the order in which they came.

    Empty without a database. Waits for no lock. Raises `HistoryUnwritable` when there is one that cannot be read.
    """
    where, values = ("", ()) if feature is None else (" WHERE feature = ?", (feature,))
    order = "position" if feature is None else "sequence, position"
    query = f"SELECT {COLUMNS} FROM entries{where} ORDER BY {order}"  # noqa: S608 - constants only
    return _reading(path, lambda connection: [_row(*row) for row in connection.execute(query, values)], [])


def read_transitions(path: str, feature: str, limit: int = 100) -> list[Entry]:
    """The feature's last transitions, oldest first. As `read_rows`; raises `ValueError` for a body that is no entry."""
    query = "SELECT body FROM entries WHERE feature = ? AND kind = ? ORDER BY sequence DESC LIMIT ?"
    values = (feature, EntryKind.TRANSITION.value, limit)
    empty: list[str] = []
    bodies = _reading(path, lambda connection: [str(row[0]) for row in connection.execute(query, values)], empty)
    return [entry_from_body(body) for body in reversed(bodies)]


def read_facts(path: str, feature: str, names: Sequence[str], limit: int = 100) -> list[Entry]:
    """The feature's last facts of these names, oldest first. As `read_transitions`."""
    marks = ", ".join("?" * len(names))
    query = (
        f"SELECT body FROM entries WHERE feature = ? AND kind = ? AND name IN ({marks})"  # noqa: S608 - marks only
        " ORDER BY sequence DESC LIMIT ?"
    )
    values = (feature, EntryKind.FACT.value, *names, limit)
    empty: list[str] = []
    bodies = _reading(path, lambda connection: [str(row[0]) for row in connection.execute(query, values)], empty)
    return [entry_from_body(body) for body in reversed(bodies)]


def _row(*values: Any) -> LedgerRow:
    """The row with the types that it was written with: whoever changes a database can put anything anywhere."""
    named = dict(zip(LedgerRow.__slots__, values, strict=True))
    for name, value in named.items():
        if name in ("sequence", "epoch"):
            named[name] = value if isinstance(value, int) else -1
        elif name != "incident" or value is not None:
            named[name] = str(value)
    return LedgerRow(**named)


def _reading(path: str, work: Callable[[sqlite3.Connection], _T], nothing: _T) -> _T:
    """Runs `work` on a read-only connection.

    While nobody has the database open there is no `-wal` file. Then it is opened as immutable, because a common
    read-only connection would create one; and the reading counts only if the file is the same afterwards.
    """
    for _ in range(3):
        before = _stamp(path)
        if before is None:
            return nothing
        in_use = _in_use(path)
        try:
            result = _read_once(path, work, immutable=not in_use, nothing=nothing)
        except sqlite3.Error as error:
            if not in_use and (_in_use(path) or _stamp(path) != before):
                continue
            raise unwritable(error, path) from error
        if in_use or (_stamp(path) == before and not _in_use(path)):
            return result
    raise HistoryUnwritable(f"the ledger {path} changes too quickly to be read")


def _read_once(path: str, work: Callable[[sqlite3.Connection], _T], *, immutable: bool, nothing: _T) -> _T:
    uri = f"file:{quote(path)}?mode=ro" + ("&immutable=1" if immutable else "")
    connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            return nothing
        if version > len(MIGRATIONS):
            raise HistoryUnwritable(
                f"the ledger {path} has schema {version}, this program knows schemas up to {len(MIGRATIONS)}",
                next="update this program",
            )
        return work(connection)
    finally:
        connection.close()


def _in_use(path: str) -> bool:
    return os.path.exists(f"{path}-wal") or os.path.exists(f"{path}-journal")


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HistoryUnwritable(f"the ledger {path} cannot be read: {error.strerror}") from error
    return state.st_ino, state.st_size, state.st_mtime_ns
