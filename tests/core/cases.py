"""Cases in any state, and short ways to hand them events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rollback.core import events as e
from rollback.core.events import Event
from rollback.core.history import Actor
from rollback.core.machine import Decision, decide
from rollback.core.model import Incident, Severity, State, Watcher
from rollback.errors import PolicyRefused

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ALEX = Actor("alex", authenticated="os")
TYPED = Actor("alex")
WATCHER = Watcher("host", 4711, "boot:1")
RETURN = e.ReturnStarted(WATCHER, ALEX, ("kill-1-ab",))


def case(severity: Severity, state: State, **changes: Any) -> Incident:
    held = {Severity.CRITICAL: 100, Severity.HIGH: 90, Severity.LOW: None}[severity]
    values = {"opened_at": NOW, "since": NOW, "epoch": 1, "safe_held": held, "settled_held": held, **changes}
    return Incident("sm-1", "sm", severity, state, **values)


def critical(state: State, **changes: Any) -> Incident:
    return case(Severity.CRITICAL, state, **changes)


def high(state: State, **changes: Any) -> Incident:
    return case(Severity.HIGH, state, **changes)


def low(state: State, **changes: Any) -> Incident:
    return case(Severity.LOW, state, **changes)


def step(incident: Incident | None, event: Event, at: datetime = NOW) -> Decision:
    return decide(incident, event, now=at, nonce="ff")


def run(incident: Incident | None, *events: Event) -> Incident:
    for event in events:
        incident = step(incident, event).incident
    assert incident is not None
    return incident


def refused(incident: Incident, event: Event, match: str, at: datetime = NOW) -> None:
    with pytest.raises(PolicyRefused, match=match) as caught:
        step(incident, event, at)
    assert caught.value.exit_code == 3


def disabled(by: str = "alex", **opening: Any) -> Incident:
    """A critical case, off and proven."""
    opened = e.CaseOpened("sm-1", "sm", Severity.CRITICAL, by=by, **opening)
    return run(None, opened, e.DisableCommanded("kill-1-ab", 1), e.OffWritten("kill-1-ab", 80), e.OffProven())
