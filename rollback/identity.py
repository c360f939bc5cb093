"""Who acts, and which process watches. Kill path: standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rollback.core.history import Actor

if TYPE_CHECKING:
    from rollback.core.model import Watcher

_UNSAFE = re.compile(r"[^A-Za-z0-9@._+-]+")


def actor(claimed: str | None) -> Actor:
    """`claimed` as it was typed (`--actor`, `ROLLBACK_ACTOR`), else the account this process runs under.

    The operating system vouches for the account, so that one counts as authenticated; a name that somebody typed
    is only claimed, unless it is that very account's.
    """
    account = _account()
    name = _clean(claimed or "")
    if not name or name == account:
        return Actor(account, authenticated="os")
    return Actor(name)


def _clean(name: str) -> str:
    """One short word: it ends up in markers, logs and notices."""
    return _UNSAFE.sub("-", name).strip("-")[:64]


def _account() -> str:
    """The login name of the process's user; its number when it has no name."""
    try:
        import pwd

        name = _clean(pwd.getpwuid(os.getuid()).pw_name)
    except (ImportError, KeyError):
        name = ""
    return name or f"uid-{os.getuid()}"


def this_process() -> Watcher:
    """This process, told so that another can later see whether it still lives."""
    from rollback.core.model import Watcher

    return Watcher(os.uname().nodename, os.getpid(), _started(os.getpid()) or "unknown")


def is_alive(watcher: Watcher) -> bool | None:
    """Whether that very process lives; a number that was given to another process since does not count.

    `None` when it runs on another machine, where we cannot look.
    """
    if watcher.host != os.uname().nodename:
        return None
    return _started(watcher.pid) == watcher.started


def _started(pid: int) -> str | None:
    """Boot and start time of a process; None when there is no such process (or it is only waiting to be reaped)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # the name in it may be any bytes
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _started_without_proc(pid)
    after_name = stat.rpartition(")")[2].split()
    if after_name[0] in "ZX":
        return None
    return f"{boot}:{after_name[19]}"  # field 22 of proc(5), counted behind the name: starttime


def _started_without_proc(pid: int) -> str | None:
    """Where there is no /proc: only that some process has this number."""
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
