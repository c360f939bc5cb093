"""Facts that belong to no open case: about a feature as a whole, or about automation itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rollback.core.history import Actor, Entry, EntryKind
from rollback.session import nonce

if TYPE_CHECKING:
    from rollback.history import History
    from rollback.ports import Clock

AUTOMATION = "@automation"
"""The chain of what concerns no single feature: sources, mutes, alerts that no rule is about."""

MACHINE = Actor("rollback", authenticated="process")
"""This program, where nobody asked it."""


def record_fact(
    history: History,
    clock: Clock,
    chain: str,
    name: str,
    *,
    actor: Actor = MACHINE,
    reason: str = "",
    data: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> None:
    """Writes one fact ahead, to the chain of a feature or to `AUTOMATION`. `strict` raises `HistoryUnwritable`."""
    now = clock.now()
    entry = Entry(
        entry_id=f"{now:%Y%m%dT%H%M%S%f}-{nonce()}",
        at=now,
        feature=chain,
        kind=EntryKind.FACT,
        name=name,
        actor=actor,
        reason=reason,
        data=data or {},
    )
    history.record(entry, strict=strict)
