"""Flapping ends with a person: returns that nobody in person began are budgeted and cooled down (invariant 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollback.core.budget import is_person, may_return
from rollback.core.history import EntryKind
from rollback.errors import PolicyRefused

if TYPE_CHECKING:
    from rollback.core.policy import SeverityPolicy
    from rollback.session import Session


def check_budget(session: Session, policy: SeverityPolicy) -> None:
    """Raises `PolicyRefused` when no return may begin now; earlier cases of the feature count too."""
    entries = session.history.entries(session.feature).entries
    moved = [entry for entry in entries if entry.kind is EntryKind.TRANSITION]
    begun = [entry.at for entry in moved if entry.name == "return_started" and not is_person(entry.actor)]
    harmed = [entry.at for entry in moved if entry.name == "harm_seen"]
    why = may_return(begun, max(harmed, default=None), policy.returns, session.actor, session.clock.now())
    if why is not None:
        raise PolicyRefused(why, next=f"A person begins it: rollback enable {session.feature} --reason R")
