"""What SQLite's error codes mean for the state database, and putting a corrupt one out of the way."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rollback.errors import HistoryUnwritable

_BESIDE = ("-wal", "-shm")
_WAIT = "nothing was kept, and the sender will try again; see which process holds it"
_WRITABLE = "make the file and its folder writable, or name another file"
_ROOM = "make room on its disk; nothing was kept, and the sender will try again"
_CAUSES = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", _WAIT),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", _WAIT),
    sqlite3.SQLITE_READONLY: ("is read-only", _WRITABLE),
    sqlite3.SQLITE_PERM: ("may not be written", _WRITABLE),
    sqlite3.SQLITE_FULL: ("cannot grow, the disk is full", _ROOM),
    sqlite3.SQLITE_IOERR: ("cannot be written, its disk is full or broken", _ROOM),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that its folder exists and can be written"),
}


def is_corrupt(error: sqlite3.Error) -> bool:
    """True for `malformed` and `not a database`."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def unusable(error: sqlite3.Error, path: str) -> HistoryUnwritable:
    """The error in one clear sentence. It never holds a value: SQLite names tables and columns alone."""
    cause, advice = _CAUSES.get(_code(error), (f"cannot be used: {error}", "look at the file and its disk"))
    return HistoryUnwritable(f"the state database {path} {cause}", next=advice)


@contextmanager
def folder_lock(folder: str) -> Iterator[None]:
    """Holds the folder, so that only one process makes or moves a database in it. Raises `HistoryUnwritable`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _of_folder(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _of_folder(folder, error) from error
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise _of_folder(folder, error) from error
    finally:
        os.close(descriptor)


def _of_folder(folder: str, error: OSError) -> HistoryUnwritable:
    return HistoryUnwritable(
        f"the folder {folder} of the state database cannot be used: {error.strerror}", next=_WRITABLE
    )


def set_aside(path: str, identity: tuple[int, int] | None, at: datetime) -> str:
    """Renames the database to `<path>.corrupt-<UTC time>`, with the files that SQLite keeps beside it.

    `identity` (device and inode) is the file that was found corrupt: when another process has set it aside already,
    nothing happens and the answer is empty, else it is the new name. No connection of the caller may be open. Raises
    `HistoryUnwritable`.
    """
    try:
        with folder_lock(os.path.dirname(path)):
            state = os.stat(path)
            if identity != (state.st_dev, state.st_ino):
                return ""
            name = _free_name(path, at)
            for suffix in _BESIDE:  # first, or a new database would find them
                if os.path.exists(path + suffix):
                    os.rename(path + suffix, name + suffix)
            os.rename(path, name)
            return name
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HistoryUnwritable(
            f"the state database {path} is corrupt and cannot be set aside: {error.strerror}",
            next=f"move {path} away by hand and keep it; a new one begins then",
        ) from error


def _free_name(path: str, at: datetime) -> str:
    base = name = f"{path}.corrupt-{at:%Y%m%dT%H%M%SZ}"
    number = 1
    while os.path.exists(name):
        number += 1
        name = f"{base}-{number}"
    return name


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code (sqlite.org/rescode.html). Errors of the module itself have none.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
