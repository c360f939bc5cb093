"""Turns of those who change one feature's case: so that no image of it is built on an old one. Kill path.

Two processes, or two threads, that change the same case at the same moment would each write an image that lacks the
other's change. So a change takes a turn. It is a courtesy, never a condition (invariant 1): whoever does not get one
within `PATIENCE` goes on without. The kernel takes a turn back from a process that dies.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PATIENCE = 1.0
"""Seconds that anybody waits for a turn. A change takes a few milliseconds, and some hundred where a disk is slow; an
off is written before its case changes, so it never waits."""

FILES = 64
"""How many lock files there are at most: features share them by their names' checksum."""

FEEDING = threading.Lock()
"""Held while this process feeds a ledger: its threads wait for one another, and not for the database's lock."""

_TRY_EVERY = 0.002
_in_process: dict[str, threading.Lock] = {}


@contextmanager
def turn(journal: str, feature: str) -> Iterator[bool]:
    """Holds the feature's turn in the history whose journal this is; the value says whether it was got."""
    until = time.monotonic() + PATIENCE
    path = f"{journal}.turn.{zlib.crc32(feature.encode('utf-8', 'replace')) % FILES:02d}"
    lock = _in_process.setdefault(path, threading.Lock())
    is_ours = lock.acquire(timeout=PATIENCE)
    fd = _locked(path, until) if is_ours else None
    try:
        yield is_ours and fd is not None
    finally:
        if fd is not None:
            os.close(fd)
        if is_ours:
            lock.release()


def _locked(path: str, until: float) -> int | None:
    """The lock file's descriptor once it is ours; None when that took too long, or is not possible here."""
    with suppress(ImportError, OSError):
        import fcntl

        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(_TRY_EVERY)
                    continue
                os.close(fd)
                return None
            except OSError:
                os.close(fd)
                raise
            return fd
    return None
