"""The words of a decision on an alert: what it needs to know, and what comes out. `core.triggers` decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rollback.core.alerts import Age
from rollback.core.model import Incident, Severity


class Urgency(StrEnum):
    """How people are told; `Notice.urgency` has the same words."""

    CALL = "call"
    """Somebody has to act now."""
    TELL = "tell"
    """Worth knowing today."""
    RECORD = "record"
    """For the record alone."""

    @property
    def rank(self) -> int:
        """0 for record, 1 for tell, 2 for call."""
        return (Urgency.RECORD, Urgency.TELL, Urgency.CALL).index(self)


class Action(StrEnum):
    """What is done about an alert. Only the first two lower exposure; none raises it."""

    TURN_OFF = "turn_off"
    """Off for all: opens a critical case, or makes the open one critical."""
    REDUCE = "reduce"
    """Down to the reduced level: opens a high case, or makes the open one high."""
    OPEN_LOW = "open_low"
    """Opens a low case; the flag is not touched."""
    ATTACH = "attach"
    """Joins the open case."""
    RECOVER = "recover"
    """The open case hears that a cycle is over. It never flips anything."""
    WAIT_FOR_GUARD = "wait_for_guard"
    """A second signal has to agree first."""
    SUPPRESS = "suppress"
    """It would act, and automation is held back."""
    TELL = "tell"
    """It cannot be acted on by itself: people are told."""
    IGNORE = "ignore"
    """Recorded, and nothing else."""


ACTING = frozenset({Action.TURN_OFF, Action.REDUCE, Action.OPEN_LOW})
"""What opens or worsens a case."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Automation is held back for this feature until a time; `what` says by whom and why."""

    until: datetime
    what: str = ""


@dataclass(frozen=True, slots=True)
class GuardState:
    """How far the second signal is. `agreed_by` names who agreed, empty when nobody did yet; `ends_at` is when its
    time is up."""

    ends_at: datetime
    agreed_by: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision on one alert needs to know, at `now`.

    `age` was judged when the alert was received, so that a hold or a guard does not make it old. `is_new_cycle` is
    False once its cycle was decided on for good; `is_firing` follows from the newest edge of the cycle. `put_off` is
    True when a decision on this cycle was put off before (`Verdict.again_at`). `guard` is None when the guard's time
    has not begun: it begins now. `auto` is False when automation is off as a whole. A hold or a mute that is over by
    `now` counts as none. `incident` is the feature's case; None, or a closed one, is none.
    """

    now: datetime
    age: Age
    is_new_cycle: bool
    is_firing: bool
    incident: Incident | None = None
    hold: Hold | None = None
    muted_until: datetime | None = None
    auto: bool = True
    guard: GuardState | None = None
    put_off: bool = False

    @property
    def case(self) -> Incident | None:
        """The open case, None when there is none."""
        return self.incident if self.incident is not None and self.incident.is_open else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done about one alert on one feature, and why.

    `rule` is the rule's name, empty when none matched. `why` is one sentence. `evidence` holds JSON values for the
    record. `severity` is the rule's, None without one. `again_at` is when to decide again; None: not by time.
    `attaches` says whether the cycle joins the case that is open afterwards as one that fires. `decides` is True when
    the cycle is decided for good, so that later notices of it are repeated ones.
    """

    action: Action
    rule: str
    why: str
    tell: Urgency
    evidence: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    again_at: datetime | None = None
    attaches: bool = False
    decides: bool = False
