"""Replays a recorded incident through a policy: what would have happened when. Pure and deterministic.

A discrete-event simulation over the recording's own times with the program's own decisions: `triggers` on alerts,
`machine.decide` on the case, `evidence` and `detector` on samples, `ladder` and `budget` on the return. There is no
store and no clock: a write takes as long as the recorded one took, and nothing happens after the recording's end.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from rollback.core import approvals
from rollback.core import events as e
from rollback.core.budget import is_person, may_return
from rollback.core.events import Event
from rollback.core.exposure import opened_by
from rollback.core.flag import BUCKETS
from rollback.core.model import Severity, State, Watcher
from rollback.core.replay_alerts import AlertDesk, AlertPolicy, Waiting
from rollback.core.replay_case import POLARITY, Act, ReplayedCase, larger_audience
from rollback.core.replay_course import COVERS, Course, event_word, figures
from rollback.core.replay_holds import Frozen, ReplayedHolds
from rollback.core.replay_readings import Kept, Readings
from rollback.core.replay_recording import (
    AlertHeard,
    Deployed,
    Disabled,
    Enabled,
    FlagSeen,
    HeldBack,
    Item,
    Opened,
    Recording,
    Sampled,
    SwitchSeen,
    Told,
)
from rollback.core.replay_return import ReplayedReturn
from rollback.core.severity_policy import SeverityPolicy
from rollback.core.triggers import cycle_reference
from rollback.core.verdicts import Action, Hold
from rollback.core.verdicts import Verdict as AlertVerdict

CANNOT_KNOW = (
    "What probes would have said at an exposure that did not happen: the samples recorded at the same time are taken.",
    "What the probes would have said where the recording has no sample: that is missing, never healthy.",
    "Whether people would have done the same: what they did is taken at the time at which they did it.",
    "How long a write or a proof would have taken: the n-th one takes as long as the n-th recorded one; without one a"
    " write takes no time, and a proof as long as the policy says that clients poll.",
    "What the flag was like beyond how many buckets it opened: it is taken for one that opens the first buckets.",
    "What other features, muted sources and the limit on offs of many features would have held back.",
)
"""What no replay can know, and what is taken instead; every output says so."""

_RECORDED, _SOON, _TIMERS = 1, 0, 2
"""At one moment: what follows from what was done goes first, then what was recorded, then time that is up."""


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """What is replayed: the severities' policies, the rules on alerts, and how long a proof takes by policy.

    `metrics` are the feature's own, each with the exposure (percent) from which on it must pass. `has_cohort` tells
    that testers may be let in first. `frozen` has the freeze of each severity that has one.
    """

    severities: Mapping[Severity, SeverityPolicy]
    alerts: AlertPolicy
    metrics: Mapping[str, float]
    proof_after: timedelta
    has_cohort: bool = False
    frozen: Mapping[Severity, Frozen] = field(default_factory=dict)


def replay(recording: Recording, policy: ReplayPolicy) -> Course:
    """What would have happened under this policy."""
    return _Replay(recording, policy).run()


@dataclass(slots=True)
class _Replay:
    recording: Recording
    policy: ReplayPolicy
    _heap: list[tuple[datetime, int, int, Act]] = field(default_factory=list)
    _count: int = 0
    _case: ReplayedCase = field(init=False)
    _desk: AlertDesk = field(init=False)
    _readings: Readings = field(init=False)
    _return: ReplayedReturn | None = None
    _asked: Enabled | None = None
    _begun: dict[datetime, bool] = field(default_factory=dict)
    _returns: int = 0
    _edits: int = 0
    _kept: Kept = field(default_factory=Kept)
    _switches: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        recording = self.recording
        audience = BUCKETS if recording.audience is None else recording.audience
        self._case = ReplayedCase(recording, self.policy.proof_after, self._later, self._timer, self._proven)
        self._case.audience = self._case.open_buckets = audience
        self._desk = AlertDesk(self.policy.alerts)
        self._readings = Readings.of(recording)

    def run(self) -> Course:
        for item in self.recording.items:
            self._push(item.at, _RECORDED, lambda _now, one=item: self._take(one))  # type: ignore[misc]
        ends = self.recording.ends_at
        while self._heap and self._heap[0][0] <= ends:
            now, _, _, act = heapq.heappop(self._heap)
            act(now)
        marks = tuple(self._case.marks)
        return Course(
            marks,
            figures(self.recording, marks, is_open=self.recording.audience),
            self._case.state.value if self._case.case else (marks[-1].state if marks else State.NORMAL.value),
            tuple(sorted((why, count) for why, count in self._kept.unused.items() if why)),
        )

    def _push(self, at: datetime, order: int, act: Act) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, order, self._count, act))

    def _later(self, at: datetime, act: Act) -> None:
        self._push(at, _SOON, act)

    def _timer(self, at: datetime, act: Act) -> None:
        self._push(at, _TIMERS, act)

    # -- what was recorded --------------------------------------------------------------------------------------------

    def _take(self, item: Item) -> None:
        now, case = item.at, self._case
        match item:
            case AlertHeard():
                self._alert(item, now, None)
            case Sampled():
                self._sampled(item)
            case Disabled(by=by, reason=reason):
                case.turn_off(now, by.name, reason)
                self._measure_later(now)
            case Enabled():
                self._enable(item, now)
            case Opened(severity=severity, by=by, reason=reason):
                self._open(severity, by.name, reason, now)
            case Told(event=event):
                self._told(event, now)
            case Deployed(what=what):
                case.note(now, "deployed", what)
            case HeldBack(until=until, what=what):
                self._desk.hold = None if until is None else Hold(until, what)
                case.note(now, "automation_held" if until else "automation_released", what)
            case FlagSeen():
                self._flag_seen(item, now)
            case SwitchSeen(name=name, is_up=is_up):
                self._switches[name] = is_up
                case.note(now, "switch_seen", f"{name} is {'up' if is_up else 'lifted'}")
            case _:
                assert_never(item)

    def _alert(self, heard: AlertHeard, now: datetime, again: Waiting | None) -> None:
        case, alert = self._case, heard.alert
        verdict = self._desk.decide(heard, case.case, now, again)
        shown = f"{alert.edge} {alert.source} {alert.monitor}: {verdict.action.replace('_', ' ')}. {verdict.why}"
        case.note(now, "alert", shown)
        self._act(verdict, f"alert-{alert.source}"[:64], now)
        reference = cycle_reference(alert.source, alert.monitor, alert.cycle)
        if case.case is not None and verdict.attaches and verdict.severity is not None:
            case.tell(e.AlertsAttached((reference,), verdict.severity, alert.source), now)
        elif case.case is not None and verdict.action is Action.RECOVER:
            case.tell(e.AlertsRecovered((reference,)), now)
        for one in self._desk.waiting:
            self._timer(max(now, one.until), self._wake)

    def _act(self, verdict: AlertVerdict, by: str, now: datetime) -> None:
        match verdict.action:
            case Action.TURN_OFF:
                self._case.turn_off(now, by, verdict.why)
                self._measure_later(now)
            case Action.REDUCE:
                self._case.reduce(now, by, verdict.why, self._reduce_to)
            case Action.OPEN_LOW:
                self._case.open(now, Severity.LOW, by, verdict.why)
            case _:
                pass

    def _wake(self, now: datetime) -> None:
        """What waited for a guard, or for the end of a hold."""
        for one in self._desk.due(now):
            self._alert(one.heard, now, one)

    def _sampled(self, reading: Sampled) -> None:
        if self._desk.waiting:
            self._desk.observe(reading.metrics, reading.at)
            self._wake(reading.at)
        if self._return is not None and self._return.is_alive:
            self._return.read(reading)

    def _open(self, severity: Severity, by: str, reason: str, now: datetime) -> None:
        """A person's high or low case; one that is open already is raised to high."""
        if severity is Severity.HIGH:
            self._case.reduce(now, by, reason, self._reduce_to)
        elif self._case.case is None:
            self._case.open(now, severity, by, reason)
        else:
            self._case.note(now, "refused", "a case is open already")

    @property
    def _reduce_to(self) -> float:
        return self.policy.severities[Severity.HIGH].reduce_to or BUCKETS

    def _told(self, event: Event, now: datetime) -> None:
        """A fact, or a decision of a person, as it was recorded."""
        case = self._case
        if isinstance(event, e.NoteAdded):
            case.note(now, "note", event.text)
        elif isinstance(event, e.DriftSeen):
            epoch = (case.incident.epoch if case.incident else 0) + 1
            case.tell(replace(event, key=f"kill-{epoch}-replay", epoch=epoch), now, event.what)
        elif isinstance(event, e.Released):
            case.accepted = case.tell(event, now) is not None or case.accepted
        elif isinstance(event, e.Adopted):
            case.tell(event, now, open_buckets=opened_by(case.flag, POLARITY, event.held))
        elif isinstance(event, e.DisableUndone):
            if case.tell(event, now) is not None:
                case.tell(e.ReturnedInFull(), now, "taken back", open_buckets=case.audience)
        elif isinstance(event, e.ApprovalGiven):
            self._approved(event, now)
        elif isinstance(event, e.WatchStopped | e.WatchHandedOver) and not self._is_watched:
            case.note(now, "note", f"{event_word(event)}: nothing is watched here at that moment")
        else:
            case.tell(event, now, event.commit if isinstance(event, e.FixDeployed) else "")
        if self._return is not None:
            self._return.told(now)

    def _approved(self, event: e.ApprovalGiven, now: datetime) -> None:
        """Somebody permits the return of the fix and the flag as they are at that moment; who may is the policy's."""
        incident = self._case.case
        rule = None if incident is None else self.policy.severities[incident.severity].approvals
        if incident is None or rule is None:
            self._case.note(now, "note", f"approved by {event.by.name}, and no approval is asked for")
            return
        if why := approvals.why_not(rule.as_rule(), incident, event.by):
            self._case.note(now, "refused", f"approve: {why}")
            return
        role = approvals.role_of(rule.as_rule(), incident, event.by) or ""
        digest = self._return.digest if self._return is not None and self._is_watched else self._digest_at(now)
        given = e.ApprovalGiven(event.by, role, incident.fix, digest, incident.epoch, now + rule.valid_for)
        self._case.tell(given, now, f"by {event.by.name} as {role}")

    def _digest_at(self, now: datetime) -> str:
        flag = self._readings.flag_at(now)
        return f"{flag}+{self._edits}" if self._edits else flag

    @property
    def _is_watched(self) -> bool:
        return self._return is not None and self._return.is_alive

    def _flag_seen(self, item: FlagSeen, now: datetime) -> None:
        """Only what would be open without us, and foreign edits, matter here: the exposure is the replay's own.

        Another audience than before is a foreign edit by itself.
        """
        case = self._case
        is_edited = item.edited or item.audience not in (None, case.audience)
        if item.audience is not None:
            if case.open_buckets == case.audience:
                case.open_buckets = item.audience
            case.audience = item.audience
            case.note(now, "audience", f"without us {case.audience} of {BUCKETS} buckets are open")
        if is_edited:
            self._edits += 1
            case.note(now, "flag_edited")
            if self._return is not None:
                self._return.flag_edited(now, self._edits)

    # -- the way back -------------------------------------------------------------------------------------------------

    def _enable(self, item: Enabled, now: datetime) -> None:
        case, incident = self._case, self._case.case
        if incident is None:
            case.note(now, "refused", "enable: there is no open case, so there is nothing to bring back")
            return
        if incident.state is State.DISABLING:
            self._asked = item
            case.note(now, "waits", "enable: off is proven first")
            return
        policy = self.policy.severities[incident.severity]
        if why := self._why_not(item, policy, now):
            case.note(now, "refused", f"enable: {why}")
            return
        self._returns += 1
        watcher = Watcher("replay", self._returns, "")
        text = f"by {item.by.name or 'somebody'}"
        was_back = incident.state is State.MONITORING
        if case.tell(e.ReturnStarted(watcher, item.by, (), item.forced_until), now, text) is None:
            return
        if not was_back:
            self._begun[now] = not is_person(item.by)
        frozen = self.policy.frozen.get(incident.severity)
        holds = ReplayedHolds(case, policy, self._switches, frozen, forced=item.forced_until is not None)
        metrics, cohort = self.policy.metrics, self.policy.has_cohort
        self._return = ReplayedReturn(
            case, policy, metrics, cohort, self._readings, self._kept, watcher, holds, edits=self._edits
        )
        self._return.begin(now)

    def _why_not(self, item: Enabled, policy: SeverityPolicy, now: datetime) -> str:
        """Why no return begins now; empty when it may. The case itself may refuse it besides."""
        incident = self._case.case
        assert incident is not None
        before, without_us = incident.audience, self._case.audience
        if before is not None and without_us > before and not self._case.accepted:
            return larger_audience(without_us, before)
        if self._is_watched:
            return f"it is brought back already ({incident.state})"
        if incident.state is State.MONITORING:
            return ""
        harmed = [mark.at for mark in self._case.marks if mark.what == "harm_seen"]
        if why := may_return(self._counted(), max(harmed, default=None), policy.returns, item.by, now):
            return why
        if not self.policy.metrics and item.forced_until is None:
            return "there would be no evidence: the policy names no metric"
        return ""

    def _counted(self) -> list[datetime]:
        """The returns that count against the budget, as `rollback.flapping` counts them: those that nobody in person
        began, and those that ended in harm or unwatched, each once."""
        counted: list[datetime] = []
        running: datetime | None = None
        for mark in self._case.marks:
            if mark.what == "return_started" and mark.at in self._begun:
                running = mark.at
                counted += [mark.at] if self._begun[mark.at] else []
            elif mark.what in ("harm_seen", "watch_stopped") and running is not None:
                counted = [*(at for at in counted if at != running), mark.at]
                running = None
            elif mark.what == "monitoring_ended":
                running = None
        return counted

    def _proven(self, now: datetime) -> None:
        """An enable that waited for the proof goes on."""
        if (asked := self._asked) is not None:
            self._asked = None
            self._enable(asked, now)

    # -- the gate when the case opens ---------------------------------------------------------------------------------

    def _measure_later(self, now: datetime) -> None:
        """Once, right after the off, by the readings of the minute that follows; a recording that says is believed."""
        if self.recording.measured or self._case.case is None or self._case.case.gate_blind is not None:
            return
        self._timer(now + COVERS, lambda at: self._measured(now, at))

    def _measured(self, since: datetime, now: datetime) -> None:
        if self._case.case is None or self._case.case.gate_blind is not None:
            return
        seen = [
            counts
            for reading in self._readings.items
            if since < reading.at <= now and reading.began >= since
            for name, counts in reading.metrics.items()
            if name in self.policy.metrics and counts.total
        ]
        green = None if not seen else not any(counts.bad for counts in seen)
        words = {True: "green, so it cannot see this fault", False: "it sees the harm", None: "no data"}
        self._case.tell(e.GateMeasured(green), now, words[green])
