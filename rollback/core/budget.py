"""Whether a return may begin: flapping ends with a person (invariant 15). An off is never asked here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rollback.core.history import Actor
from rollback.core.scalars import format_duration

if TYPE_CHECKING:
    from rollback.core.severity_policy import Returns


def is_person(actor: Actor) -> bool:
    """Whether an authenticated person acts; not a CI job, not automation, and nobody who is merely claimed."""
    return actor.is_person


def may_return(
    begun: Sequence[datetime], last_harm: datetime | None, rule: Returns, actor: Actor, now: datetime
) -> str | None:
    """None when the return may begin, else one sentence: why not, and when again.

    `begun` are the moments in which returns of this feature were begun by automation or by somebody merely claimed, or
    by anybody when they ended in harm or unwatched; in any order, older cases included. `last_harm` is when it was last
    harmful, None when never. A moment that lies ahead of `now` counts: a clock that was set back grants nothing.
    """
    if is_person(actor):
        return None
    recent = sorted(at for at in begun if at > now - rule.window)
    if len(recent) >= rule.budget:
        window = format_duration(rule.window)
        if rule.budget == 0:
            return "No return begins by itself here (budget 0); an authenticated person may begin one."
        again = recent[-rule.budget] + rule.window
        return (
            f"{len(recent)} returns were begun by themselves or failed within {window}, "
            f"and the budget is {rule.budget}; "
            f"again at {again.isoformat()}, or by an authenticated person."
        )
    if last_harm is not None and now < last_harm + rule.cool_down:
        return (
            f"It was harmful at {last_harm.isoformat()}, and cools down for {format_duration(rule.cool_down)}; "
            f"again at {(last_harm + rule.cool_down).isoformat()}, or by an authenticated person."
        )
    return None
