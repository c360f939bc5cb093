"""What `doctor` finds: one thing that was looked at, and whether it is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollback.errors import RollbackError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `exit_code` 0 is well; `next` is what to do when it is not."""

    what: str
    exit_code: int
    detail: str
    next: str = ""


def tried(what: str, look: Callable[[], str]) -> Finding:
    """What `look` says when it is well; the error that it raises, when it is not."""
    try:
        return Finding(what, 0, look())
    except RollbackError as error:
        return Finding(what, error.exit_code, error.message, error.next)
