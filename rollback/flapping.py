"""Flapping ends with a person: returns that nobody in person began are budgeted and cooled down (invariant 15).

A return that ended in harm, or whose watch stopped, counts whoever began it: what came back twice and failed twice is
not fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rollback.core.budget import is_person, may_return
from rollback.core.history import EntryKind
from rollback.core.model import State
from rollback.errors import PolicyRefused

if TYPE_CHECKING:
    from rollback.core.history import Entry
    from rollback.core.policy import SeverityPolicy
    from rollback.session import Session

FAILED = frozenset({"harm_seen", "watch_stopped"})
"""How a return ends that failed."""


def check_budget(session: Session, policy: SeverityPolicy) -> None:
    """Raises `PolicyRefused` when no return may begin now; earlier cases of the feature count too."""
    entries = session.history.entries(session.feature).entries
    moved = [entry for entry in entries if entry.kind is EntryKind.TRANSITION]
    harmed = [entry.at for entry in moved if entry.name == "harm_seen"]
    counted = counted_returns(moved)
    why = may_return(counted, max(harmed, default=None), policy.returns, session.actor, session.clock.now())
    if why is not None:
        raise PolicyRefused(why, next=f"A person begins it: rollback enable {session.feature} --reason R")


def counted_returns(moved: Iterable[Entry]) -> list[datetime]:
    """The moments of the returns that count against the budget, each once: when it began, or when it failed.

    `moved` are a feature's transitions in order. Taking up the watch of what is back in full begins no return.
    """
    counted: list[datetime] = []
    running: tuple[datetime, bool] | None = None  # when it began, and whether it counts already
    for entry in moved:
        if entry.name == "return_started" and (entry.before or {}).get("state") != State.MONITORING.value:
            by_itself = not is_person(entry.actor)
            running = (entry.at, by_itself)
            if by_itself:
                counted.append(entry.at)
        elif entry.name in FAILED and running is not None:
            began, is_counted = running
            if is_counted:
                counted.remove(began)
            counted.append(entry.at)
            running = None
        elif entry.name == "monitoring_ended":
            running = None
    return counted
