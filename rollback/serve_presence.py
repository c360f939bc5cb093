"""Whether `rollback serve` lives beside a journal: then it can take over the watch of what is back in full."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from rollback.core.model import Watcher
from rollback.identity import is_alive, this_process


def _path(journal: str) -> Path:
    return Path(f"{journal}.serve")


def announce(journal: str) -> None:
    """This process serves. Raises `OSError` when the place beside the journal cannot be written."""
    me = this_process()
    fresh = Path(f"{_path(journal)}.{os.getpid()}")
    fresh.write_text(json.dumps({"host": me.host, "pid": me.pid, "started": me.started}), encoding="utf-8")
    fresh.replace(_path(journal))


def withdraw(journal: str) -> None:
    """This process serves no more."""
    if serving(journal) == this_process():
        with suppress(OSError):
            _path(journal).unlink()


def serving(journal: str) -> Watcher | None:
    """The process that serves here and now; None when there is none, or when that cannot be known."""
    try:
        told = json.loads(_path(journal).read_text(encoding="utf-8"))
        found = Watcher(str(told["host"]), int(told["pid"]), str(told["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if is_alive(found) else None
