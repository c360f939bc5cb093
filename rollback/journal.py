"""The journal: the local write-ahead file. Kill path: standard library only.

Each record is one line of JSON that ends in its own CRC-32, written by one `write` to a file opened for appending
and then synced. Nobody takes a lock: a disable never waits for another process. A line feed goes before *and*
after each record, so that a record torn by a crash cannot swallow the next one.

A file that has grown large is replaced by the feeder, which holds the ledger's write lock: the old file gets the
name `<path>.old-<id>`, a prepared one takes its place, the rest of the old one is fed, its newest images are
written to the new one as a checkpoint, and only then is it removed. A crash in between leaves it for the next feed.
An appender that finds its file replaced after the sync appends again; the ledger keeps each entry once.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rollback.codec import entry_to_json
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import JournalFile, JournalRead, images_of, newest_transition, record_to_line

FORMAT = 1
RESERVE = 256 * 1024
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h


class Journal:
    """The journal at `path`. Keeps no file open and no state, so any thread and any process may use it.

    `reserve` is the number of bytes that are allocated ahead of the file's end, so that a full disk does not keep
    an intent from being written; without effect where the operating system or the file system cannot do that.
    `write` and `sync` are the system's own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reserve: int = RESERVE,
        *,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], None] | None = None,
    ) -> None:
        self.path = os.path.realpath(path)
        self._reserve = reserve
        self._write = write
        self._sync = sync or _sync

    def append(self, entry: Entry) -> None:
        """Writes the entry and syncs it. Raises `HistoryUnwritable`; `ValueError` for what JSON cannot hold."""
        self._append(entry_to_json(entry))

    def read(self, offset: int = 0) -> JournalRead:
        """The entries from `offset` on; an offset beyond the file's end reads all. Raises `HistoryUnwritable`."""
        file = self.file()
        return JournalRead() if file is None else file.since(file.position(offset))

    def file(self, path: str | None = None) -> JournalFile | None:
        """The file as it is now (or an older one at `path`), `None` when there is none. Raises `HistoryUnwritable`."""
        path = path or self.path
        try:
            # O_NONBLOCK: opening a pipe by mistake must not wait for its other end.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                self._require_file(fd)
                with os.fdopen(fd, "rb", closefd=False) as stream:
                    return JournalFile(stream.read())
            finally:
                os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HistoryUnwritable(f"the journal {path} cannot be read: {error.strerror or error}") from error

    def latest(self, feature: str) -> Entry | None:
        """The newest image of the feature's case by `newest_transition`, `None` when the journal has none."""
        base, file = self._images()
        if file is None:
            return None
        older = [image for image in base if image.feature == feature]
        last = file.last_transition(feature)
        if last and last.epoch >= max([file.highest_epoch(last.incident), *(image.epoch for image in older)]):
            return last  # nothing can stand above it, so the rest need not be parsed
        return newest_transition([*older, *file.transitions(feature)])

    def size(self) -> int:
        """Bytes in the file; 0 without one."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def top_up(self) -> None:
        """Allocates the reserve again when less than half of it is left, and clears away what crashes left."""
        try:
            for name in self._siblings(".new-"):
                if time.time() - os.stat(name).st_mtime > 60:
                    os.unlink(name)
            fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            state = os.fstat(fd)
            if stat.S_ISREG(state.st_mode) and state.st_blocks * 512 - state.st_size < self._reserve // 2:
                _allocate(fd, state.st_size + self._reserve)
        finally:
            os.close(fd)

    def leftovers(self) -> tuple[str, ...]:
        """Replaced files that are still to be fed or retired."""
        return tuple(self._siblings(".old-"))

    def rotate(self) -> None:
        """Puts an empty journal in this one's place and keeps the old one beside it. Only under the ledger's lock.

        Raises `OSError` (nothing replaced), also where the file system has no hard links.
        """
        file = self.file()
        if file is None or not file.journal_id:
            return
        fresh = self._prepare(previous=file.journal_id)
        try:
            os.link(self.path, f"{self.path}.old-{file.journal_id}")
            self._sync_directory()
            os.replace(fresh, self.path)
            self._sync_directory()
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(fresh)
            raise

    def is_replaced(self, old: str) -> bool:
        """False when `old` is only a second name of this very file: a crash came before the replacement."""
        try:
            return not os.path.samefile(old, self.path)
        except FileNotFoundError:
            return True

    def retire(self, old: str, heads: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes the newest images of the replaced file `old` to this one and removes it. Only under the ledger's lock.

        `heads` are the heads of the ledger's chains by feature (`sequence`, `hash`). Raises `HistoryUnwritable`.
        """
        current = self.file()
        try:
            if self.is_replaced(old) and (current is None or current.checkpoint_record() is None):
                images: dict[str, list[Entry]] = {}
                base, file = self._images(old)
                for entry in [*base, *(file.transitions() if file else ())]:
                    images.setdefault(entry.feature, []).append(entry)
                newest = {feature: newest_transition(some) for feature, some in images.items()}
                checkpoint = {feature: entry_to_json(entry) for feature, entry in newest.items() if entry}
                self._append({"checkpoint": checkpoint, "heads": heads})
            os.unlink(old)
            self._sync_directory()
        except OSError as error:
            raise HistoryUnwritable(f"the old journal {old} cannot be retired: {error.strerror or error}") from error

    def _images(self, path: str | None = None) -> tuple[list[Entry], JournalFile | None]:
        """The file, and the images that are older than its transitions.

        They are in its checkpoint. As long as it has none they are in the file that it replaced.
        """
        file = None
        for _ in range(3):
            file = self.file(path)
            record = file.checkpoint_record() if file else None
            if file is None or record is not None or not file.previous:
                return list(images_of(record or {}).values()), file
            old = f"{self.path}.old-{file.previous}"
            if os.path.exists(old):  # else retired since we read: its images are in the file by now
                base, replaced = self._images(old)
                return [*base, *(replaced.transitions() if replaced else ())], file
        return [], file

    def _append(self, record: Mapping[str, Any]) -> None:
        data = b"\n" + record_to_line(record) + b"\n"
        try:
            for _ in range(5):
                fd = self._open()
                try:
                    self._require_file(fd)
                    self._write_whole(fd, data)
                    self._sync(fd)
                    if self._is_current(fd):
                        return
                finally:
                    os.close(fd)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        raise self._unwritable("it is being replaced again and again")

    def _write_whole(self, fd: int, data: bytes) -> None:
        # After a short write the whole record goes again: the rest of it might land behind somebody else's record.
        if self._write(fd, data) != len(data) and self._write(fd, data) != len(data):
            raise OSError("only a part was written")

    def _open(self) -> int:
        for _ in range(5):
            try:
                return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
            except FileNotFoundError:
                self._create()
        raise OSError("it disappears again and again")

    def _create(self) -> None:
        fresh = self._prepare(previous="")
        try:
            os.link(fresh, self.path)  # unlike a rename it cannot replace what another process has made meanwhile
        except FileExistsError:
            pass
        except OSError:  # no hard links here: an empty file is a journal too, known by its first line
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        finally:
            os.unlink(fresh)
        self._sync_directory()

    def _prepare(self, previous: str) -> str:
        """A file beside the journal with its header and its reserve, owned and open to whom the journal is."""
        name = f"{self.path}.new-{os.urandom(8).hex()}"
        header: dict[str, Any] = {"journal": os.urandom(8).hex(), "format": FORMAT, "previous": previous}
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            if previous:
                model = os.stat(self.path)
                os.fchmod(fd, stat.S_IMODE(model.st_mode))
                with suppress(PermissionError):
                    os.fchown(fd, -1, model.st_gid)
            _allocate(fd, self._reserve)
            self._write_whole(fd, record_to_line(header) + b"\n")
            self._sync(fd)
        except OSError:
            os.unlink(name)
            raise
        finally:
            os.close(fd)
        return name

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _require_file(self, fd: int) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is not a regular file")

    def _siblings(self, mark: str) -> list[str]:
        folder, name = os.path.split(self.path)
        try:
            names = sorted(other for other in os.listdir(folder) if other.startswith(name + mark))
        except OSError:
            return []
        return [os.path.join(folder, other) for other in names]

    def _sync_directory(self) -> None:
        fd = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _unwritable(self, cause: str) -> HistoryUnwritable:
        return HistoryUnwritable(
            f"the journal {self.path} cannot be written: {cause}",
            next="make it writable, or set ROLLBACK_JOURNAL to a file on another disk",
        )


def _sync(fd: int) -> None:
    if sys.platform == "darwin":  # there fsync leaves the data in the drive's cache
        import fcntl

        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(fd)
    else:
        os.fdatasync(fd)


def _allocate(fd: int, length: int) -> None:
    """Allocates the file's first `length` bytes without changing its size; does nothing where that is not possible."""
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        allocate = getattr(libc, "fallocate64", None) or libc.fallocate
        allocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        allocate(fd, _KEEP_SIZE, 0, length)
    except (ImportError, OSError, AttributeError):
        return
