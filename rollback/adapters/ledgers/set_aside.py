"""Putting a corrupt database out of the way, without losing it and without touching a sound one."""

from __future__ import annotations

import fcntl
import os
from datetime import datetime

from rollback.adapters.ledgers.heads import heads_path
from rollback.errors import HistoryUnwritable

_BESIDE = ("-wal", "-shm")


def set_aside(path: str, identity: tuple[int, int] | None, at: datetime) -> str:
    """Renames the database to `<path>.corrupt-<UTC time>`, with the files that SQLite keeps beside it.

    `identity` (device and inode) is the file that was found corrupt: when another process has set it aside already,
    nothing happens and the answer is empty, else it is the new name. No connection of this process may be open.
    Raises `HistoryUnwritable`.
    """
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        state = os.stat(path)
        if identity != (state.st_dev, state.st_ino):
            return ""
        name = _free_name(path, at)
        for suffix in _BESIDE:  # first, or a new database would find them
            if os.path.exists(path + suffix):
                os.rename(path + suffix, name + suffix)
        os.rename(path, name)
        os.fsync(folder)
        return name
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HistoryUnwritable(
            f"the ledger {path} is corrupt and cannot be set aside: {error.strerror}",
            next=f"move {path} away by hand; nothing is lost, the newest entries are in the journal",
        ) from error
    finally:
        os.close(folder)


def last_set_aside(path: str) -> str:
    """The name of the database that was set aside since the head record was written, without folder; else empty."""
    folder, mark = os.path.dirname(path), f"{os.path.basename(path)}.corrupt-"
    names = [name for name in os.listdir(folder) if name.startswith(mark) and not name.endswith(_BESIDE)]
    try:
        recorded_at = os.stat(heads_path(path)).st_mtime_ns
    except FileNotFoundError:
        recorded_at = 0
    since = [(os.stat(os.path.join(folder, name)).st_ctime_ns, name) for name in names]
    return max((item for item in since if item[0] >= recorded_at), default=(0, ""))[1]


def _free_name(path: str, at: datetime) -> str:
    base = name = f"{path}.corrupt-{at:%Y%m%dT%H%M%SZ}"
    number = 1
    while os.path.exists(name):
        number += 1
        name = f"{base}-{number}"
    return name
