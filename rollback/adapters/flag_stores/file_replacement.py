"""Replaces a file's content in one step, and notices when somebody else wrote in the same moment.

Readers see the old file or the new one, never a part. The new file and the old one change places in one step, and then
what came out is looked at: when it is not what the change was based on, it is put back. So a late write of one process
cannot undo the kill of another unseen.

No lock is waited for, since that could make a kill wait. Our own processes try one on the folder for the moment of the
replacement: when it is taken, what was read is about to be old, and the caller reads again. A process that is stuck
with it stops nobody: after some turns the caller goes on without. Then, and with writers that know no lock, a write is
lost only when a third process both reads and replaces the file in the moment before a write is put back. Where
the file system cannot exchange two files, the new one is renamed over the old, and a write that lands between the last
look and the rename, some microseconds, is lost. Kill path: standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator

from rollback.errors import StoreRefused, Unsettled

LEFTOVER_SECONDS = 900.0
"""A temporary file older than this belongs to no living write, whose whole life is milliseconds."""

_MAX_TURNS = 16
_NOT_THERE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Swap = Callable[[str, str], bool]
"""Puts the file at the first path in the place of the one at the second. True when the second is now at the first
path; False when it is gone."""


class ChangedMeanwhile(Exception):
    """The file is not what the change was based on; ours is not in it."""


class BeingReplaced(Exception):
    """Another of our processes replaces the file in this very moment; nothing was done."""


def read_bytes(path: str) -> bytes:
    """The file's content. Raises OSError; IsADirectoryError also for what is no regular file (a pipe would hang)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, "Not a regular file", path)
        return file.read()


def digest(data: bytes) -> str:
    """SHA-256 of a file's content in hex: its revision."""
    return hashlib.sha256(data).hexdigest()


def exchange(new: str, target: str) -> bool:
    """The two files change places in one step (Linux, macOS); elsewhere `new` is renamed over `target`."""
    function, arguments = _native_exchange(new, target)
    if function is not None:
        import ctypes

        ctypes.set_errno(0)
        if function(*arguments) == 0:
            return True
        number = ctypes.get_errno()
        if number not in _NOT_THERE:
            raise OSError(number, os.strerror(number), target)
    os.rename(new, target)
    return False


def _native_exchange(new: str, target: str) -> tuple[Callable[..., int] | None, tuple[object, ...]]:
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None, ()
    from_path, to_path = os.fsencode(new), os.fsencode(target)
    if sys.platform == "darwin":
        return getattr(library, "renamex_np", None), (from_path, to_path, ctypes.c_uint(2))  # RENAME_SWAP
    here = ctypes.c_int(-100)  # AT_FDCWD
    return getattr(library, "renameat2", None), (here, from_path, here, to_path, ctypes.c_uint(2))  # RENAME_EXCHANGE


def replace_file(path: str, data: bytes, *, expected: str, swap: Swap = exchange, heed_others: bool = False) -> None:
    """Makes `data` the content of the regular file at `path`, if its digest is `expected`.

    Mode, owner and extended attributes stay. Raises `ChangedMeanwhile`; `BeingReplaced` (only when it is to heed
    others); `StoreRefused` when the folder or the disk does not allow it (the file is as it was); `Unsettled` when
    others wrote so often that it stayed open who won, or when the disk would not confirm. Symbolic links must have been
    followed before.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.rollback-{os.urandom(8).hex()}.tmp")
    try:
        _write_like(path, temporary, data)
        with _alone_in(folder) as alone:
            if heed_others and not alone:
                raise BeingReplaced
            _swap_in(temporary, path, data, expected, swap)
    except (FileNotFoundError, ChangedMeanwhile) as error:
        _remove(temporary)
        raise ChangedMeanwhile from error
    except BeingReplaced:
        _remove(temporary)
        raise
    except OSError as error:
        _remove(temporary)
        raise _refusal(path, error) from error
    _remove(temporary)
    _sync_folder(folder)
    remove_leftovers(path, older_than=LEFTOVER_SECONDS)


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[bool]:
    """Tries the lock of our processes, without waiting; True also where there are no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError as error:
        alone = error.errno not in {errno.EAGAIN, errno.EACCES}
    try:
        yield alone
    finally:
        os.close(descriptor)  # gives the lock back


def _swap_in(temporary: str, path: str, data: bytes, expected: str, swap: Swap) -> None:
    """The replacement itself; the temporary file is only ours again when this returns or says `ChangedMeanwhile`."""
    if digest(read_bytes(path)) != expected:
        raise ChangedMeanwhile
    if not swap(temporary, path):
        return
    try:
        undone = digest(read_bytes(temporary)) != expected
        if undone:
            _put_back(temporary, path, data, swap)
    except OSError as error:
        raise _unsettled(path) from error
    if undone:
        raise ChangedMeanwhile


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _write_like(path: str, temporary: str, data: bytes) -> None:
    """Writes `data` to a new file with the owner, mode and attributes of the one at `path`, down to the disk."""
    like = os.stat(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            # Not ours to give away: better a file with another owner than a feature that stays on.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        _copy_attributes(path, descriptor)
        os.fsync(descriptor)


def _copy_attributes(path: str, descriptor: int) -> None:
    """Access lists and labels, as far as the system has them and lets us."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for attribute in os.listxattr(path):
                os.setxattr(descriptor, attribute, os.getxattr(path, attribute))


def _put_back(temporary: str, path: str, data: bytes, swap: Swap) -> None:
    """Gives the place back to the writing that ours took it from, and to any still newer one that comes out."""
    last_put = data
    for _ in range(_MAX_TURNS):
        carried = read_bytes(temporary)
        if not swap(temporary, path) or read_bytes(temporary) == last_put:
            return
        last_put = carried
    raise _unsettled(path)


def _unsettled(path: str) -> Unsettled:
    return Unsettled(
        f"file {path} is written by several programs at once; whether our change is in it is not known",
        next="Look at the file, and see which program rewrites it.",
    )


def _refusal(path: str, error: OSError) -> StoreRefused:
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreRefused(f"file {path} was not changed, there is no room: {why}", next="Free some space.")
    if error.errno == errno.EBUSY:
        return StoreRefused(
            f"file {path} was not changed: it is mounted by itself and cannot be replaced",
            next="Mount its folder instead, or edit the file where it comes from.",
        )
    return StoreRefused(
        f"file {path} was not changed: {why}",
        next=f"Allow this account to write in {os.path.dirname(path)}, or edit the file where it comes from.",
    )


def _sync_folder(folder: str) -> None:
    """Makes the rename survive a power cut. A file system that cannot do that is taken as it is."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise Unsettled(
                f"the change in {folder} is visible, but the disk did not confirm it: {error.strerror}",
                next="Look at the flag again, and at the disk.",
            ) from error
    finally:
        os.close(descriptor)


def remove_leftovers(path: str, *, older_than: float) -> None:
    """Removes what writes that were killed left beside `path`, `older_than` seconds old by this machine's clock."""
    folder, name = os.path.split(path)
    ours = re.compile(rf"\.{re.escape(name)}\.rollback-[0-9a-f]{{16}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_ctime >= older_than:
                os.unlink(entry.path)
