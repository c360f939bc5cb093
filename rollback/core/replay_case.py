"""The case of a replay: events go through `machine.decide`, and what it asks for takes as long as it took then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.events import Event
from rollback.core.exposure import opened_by
from rollback.core.flag import BUCKETS, FlagConfig, FlagType, Polarity, Rollout
from rollback.core.ladder import reduced
from rollback.core.machine import Decision, decide
from rollback.core.model import Incident, Severity, State
from rollback.core.replay_course import event_word
from rollback.core.replay_recording import Lowering, Mark, Recording
from rollback.errors import PolicyRefused

Act = Callable[[datetime], None]
Later = Callable[[datetime, Act], None]
"""Does something at a later moment of the recording."""

POLARITY = Polarity()
AT_ONCE = timedelta(0)


def flag_of(audience: int) -> FlagConfig:
    """A flag that lets so many buckets in, the first ones. What else a recorded flag was like is not in a recording."""
    if audience >= BUCKETS:
        return FlagConfig("replayed", FlagType.BOOLEAN, enabled=True)
    rollout = Rollout(value=True, percentage=float(audience))
    return FlagConfig("replayed", FlagType.BOOLEAN, enabled=False, rollouts=(rollout,))


def larger_audience(without_us: int, before: int) -> str:
    """Why a person has to see the flag before it comes back (invariant 11)."""
    return f"without us {without_us} of {BUCKETS} buckets would be open, and {before} were before"


@dataclass(slots=True)
class ReplayedCase:
    """The feature's case as it would have become. `open_buckets` is its exposure now, `audience` what it would be
    without us; `accepted` tells that a person has accepted a larger one. `proof_after` is how long a proof of off takes
    where the recording does not say. `later` is for what comes of an act, `timer` for times that are up; `proven` hears
    of each proven off.
    """

    recording: Recording
    proof_after: timedelta
    later: Later
    timer: Later
    proven: Act
    incident: Incident | None = None
    marks: list[Mark] = field(default_factory=list)
    audience: int = BUCKETS
    accepted: bool = False
    open_buckets: int = BUCKETS
    offs: int = 0
    reductions: int = 0
    _cases: int = 0

    @property
    def case(self) -> Incident | None:
        """The open case; None when there is none."""
        return self.incident if self.incident is not None and self.incident.is_open else None

    @property
    def flag(self) -> FlagConfig:
        """The flag as it would be without us."""
        return flag_of(self.audience)

    @property
    def state(self) -> State:
        """The state of the case; `normal` without one."""
        return State.NORMAL if self.case is None else self.case.state

    def tell(self, event: Event, now: datetime, text: str = "", *, open_buckets: int | None = None) -> Decision | None:
        """Hands the event to the machine; None when it is refused, which is noted. `open_buckets`: the exposure that
        this event reports."""
        try:
            decision = decide(self.incident, event, now=now, nonce="replay")
        except PolicyRefused as error:
            self.note(now, "refused", f"{event_word(event)}: {error.message}")
            return None
        self.incident = decision.incident
        if open_buckets is not None:
            self.open_buckets = open_buckets
        self.note(now, event_word(event), text)
        for effect in decision.effects:
            if isinstance(effect, LowerExposure):
                self._lower(effect, now)
        return decision

    def note(self, now: datetime, what: str, text: str = "") -> None:
        """Something to be shown."""
        incident = self.incident
        state = State.NORMAL if incident is None else incident.state
        self.marks.append(Mark(now, what, text, state.value, self.open_buckets))

    # -- down -------------------------------------------------------------------------------------------------------

    def turn_off(self, now: datetime, by: str, text: str) -> None:
        """Opens a critical case, or makes the open one critical, and off goes ahead."""
        if self.case is None:
            self.open(now, Severity.CRITICAL, by, text)
        epoch = self._next_epoch()
        self.tell(e.DisableCommanded(f"kill-{epoch}-replay", epoch, by=by), now, text)

    def reduce(self, now: datetime, by: str, text: str, percent: float) -> None:
        """Down to the reduced level: opens a high case, raises a low one, or reduces the open one again."""
        held = reduced(self.flag, POLARITY, percent)
        if held is None:
            self.note(now, "refused", f"reducing to {percent:g} % would leave nobody")
            return
        if self.case is None:
            self.open(now, Severity.HIGH, by, text, held)
        elif self.case.severity is Severity.LOW:
            self.tell(e.SeverityRaised(Severity.HIGH, held), now, text)
        epoch = self._next_epoch()
        self.tell(e.ReduceCommanded(f"kill-{epoch}-replay", epoch, held), now, text)

    def open(self, now: datetime, severity: Severity, by: str, text: str, held: int | None = None) -> None:
        """Opens a case; a low one is being fixed from then on."""
        self._cases += 1
        opened = e.CaseOpened(f"replay-{self._cases}", self.recording.feature, severity, by=by, reason=text, held=held)
        self.tell(opened, now, text)
        if severity is Severity.LOW:
            self.tell(e.FixingStarted(), now)

    def _next_epoch(self) -> int:
        return (self.incident.epoch if self.incident else 0) + 1

    def _lower(self, effect: LowerExposure, now: datetime) -> None:
        """The n-th lowering takes as long as the n-th that was recorded; without one it is written at once."""
        if effect.held < BUCKETS:
            recorded = self.recording.reductions
            after = recorded[self.reductions] if self.reductions < len(recorded) else AT_ONCE
            self.reductions += 1
            self.later(now + after, lambda at: self._reduced(effect, at))
            return
        lowerings = self.recording.lowerings
        usual = Lowering(AT_ONCE, ((self.proof_after, True),))
        lowering = lowerings[self.offs] if self.offs < len(lowerings) else usual
        self.offs += 1
        if lowering.written_after is not None:
            self.later(now + lowering.written_after, lambda at: self._written(effect, lowering, at))

    def _written(self, effect: LowerExposure, lowering: Lowering, now: datetime) -> None:
        if not self._is_current(effect):
            return
        was_off = self.open_buckets == 0
        self.tell(e.OffWritten(effect.key, self.audience, was_off, now), now, open_buckets=0)
        for after, is_proven in lowering.looks:
            self.later(now + after, lambda at, proven=is_proven: self._looked(effect, proven, at))  # type: ignore[misc]

    def _looked(self, effect: LowerExposure, is_proven: bool, now: datetime) -> None:
        if not self._is_current(effect) or self.state not in (State.DISABLING, State.DISABLED):
            return
        if is_proven:
            self.tell(e.OffProven(), now)
            self.proven(now)
        else:
            self.tell(e.OffNotProven("as recorded"), now)

    def _reduced(self, effect: LowerExposure, now: datetime) -> None:
        if self._is_current(effect):
            left = opened_by(self.flag, POLARITY, effect.held)
            self.tell(e.ReduceSettled(effect.key, effect.held, self.audience), now, open_buckets=left)

    def _is_current(self, effect: LowerExposure) -> bool:
        return self.case is not None and self.case.epoch == effect.epoch
