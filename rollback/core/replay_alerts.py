"""Alerts in a replay: the decisions that a feature's desk takes on them, on a recording's time.

What an alert does is decided by `triggers.decide_rules`, as when the program runs; here is only what the desk keeps
between two alerts: what is known of each cycle, which alerts wait for a guard or for the end of a hold, who agreed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from rollback.core import triggers
from rollback.core.alert_rules import PROBES, AlertRule
from rollback.core.alerts import Age, Alert, Edge
from rollback.core.evidence import MetricEvidence, Verdict, judge
from rollback.core.model import Incident
from rollback.core.replay_recording import AlertHeard, Counts
from rollback.core.severity_policy import Gate
from rollback.core.verdicts import GuardState, Hold, Situation
from rollback.core.verdicts import Verdict as AlertVerdict

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When an edge without a time counts as having been, as in the inbox."""

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """What decides on alerts. `rules` are the feature's; `limits` gives how old an alert of a source may be, and how
    far its clock may be ahead. `gate` and `metrics` are for guards that ask the probes. `auto` False: automation is
    off."""

    rules: Sequence[AlertRule]
    limits: Mapping[str, tuple[timedelta, timedelta]]
    default_limits: tuple[timedelta, timedelta]
    gate: Gate
    metrics: tuple[str, ...]
    auto: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """An alert that is decided again at `until`, or as soon as somebody agrees."""

    heard: AlertHeard
    until: datetime
    agreed_by: str = ""


@dataclass(slots=True)
class _Cycle:
    fired_at: datetime | None = None
    recovered_at: datetime | None = None
    rank: int = -1

    @property
    def is_firing(self) -> bool:
        return self.fired_at is not None and (self.recovered_at is None or self.fired_at > self.recovered_at)


@dataclass(slots=True)
class AlertDesk:
    """What the desk of one feature keeps. `hold` is what holds automation back, None when nothing does."""

    policy: AlertPolicy
    hold: Hold | None = None
    waiting: list[Waiting] = field(default_factory=list)
    _cycles: dict[_Key, _Cycle] = field(default_factory=dict)
    _seen: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    _probed: dict[str, MetricEvidence] = field(default_factory=dict)

    def decide(
        self, heard: AlertHeard, case: Incident | None, now: datetime, again: Waiting | None = None
    ) -> AlertVerdict:
        """The verdict on one alert; `again` when it was put off before. What is put off waits in `waiting`."""
        cycle = self._fold(heard.alert)
        rank = self._rank(heard.alert)
        age = heard.age or triggers.age(heard.alert, heard.at, *self._limits(heard.alert.source))
        here = Situation(
            now=now,
            age=age,
            is_new_cycle=cycle.rank < rank,
            is_firing=cycle.is_firing,
            incident=case,
            hold=self.hold,
            auto=self.policy.auto,
            guard=self._guard(heard, again.agreed_by if again else ""),
            put_off=again is not None,
        )
        verdict = triggers.decide_rules(heard.alert, self.policy.rules, here)
        if verdict.decides and verdict.severity is not None:
            cycle.rank = max(cycle.rank, verdict.severity.rank)
        if verdict.again_at is not None:
            if not any(PROBES in self._guarded_by(one.heard.alert) for one in self.waiting):
                self._probed = {}  # what probes said to an earlier question is no answer to this one
            self.waiting.append(Waiting(heard, verdict.again_at, again.agreed_by if again else ""))
        self._remember(heard, cycle, age, now)
        return verdict

    def due(self, now: datetime) -> list[Waiting]:
        """Takes what is to be decided again by now."""
        found = [one for one in self.waiting if one.until <= now]
        self.waiting = [one for one in self.waiting if one not in found]
        return found

    def observe(self, metrics: Mapping[str, Counts], now: datetime) -> None:
        """Probes that a guard has asked: when they say harm, what waits for them has an agreement."""
        asking = [one for one in self.waiting if PROBES in self._guarded_by(one.heard.alert)]
        if not asking:
            return
        for name in self.policy.metrics:
            kept = self._probed.get(name) or MetricEvidence.start(name, self.policy.gate.p0)
            counts = metrics.get(name, Counts(0, 0))
            self._probed[name] = kept.observe_counts(counts.bad, counts.total)
        gate = self.policy.gate
        found = judge(
            list(self._probed.values()), alpha=gate.alpha, harm_alpha=gate.harm_alpha, soaked=False, expired=False
        )
        if found.verdict is Verdict.UNHEALTHY:
            agreed = [replace(one, until=now, agreed_by=PROBES) for one in asking if not one.agreed_by]
            self.waiting = [one for one in self.waiting if one not in asking or one.agreed_by] + agreed

    def _fold(self, alert: Alert) -> _Cycle:
        """What is known of the alert's cycle with this edge: the latest time of each edge, whatever their order."""
        cycle = self._cycles.setdefault((alert.source, alert.monitor, alert.cycle), _Cycle())
        at = alert.occurred_at or _LONG_AGO
        if alert.edge in (Edge.FIRED, Edge.REPEATED):
            cycle.fired_at = max(cycle.fired_at or at, at)
        elif alert.edge is Edge.RECOVERED:
            cycle.recovered_at = max(cycle.recovered_at or at, at)
        return cycle

    def _rank(self, alert: Alert) -> int:
        rules = triggers.ranked(alert, self.policy.rules)
        return rules[0].severity.rank if rules and rules[0].severity is not None else 0

    def _limits(self, source: str) -> tuple[timedelta, timedelta]:
        return self.policy.limits.get(source, self.policy.default_limits)

    # -- guards -------------------------------------------------------------------------------------------------

    def _guarded_by(self, alert: Alert) -> tuple[str, ...]:
        rules = triggers.ranked(alert, self.policy.rules)
        return rules[0].guard.by if rules and rules[0].guard else ()

    def _guard(self, heard: AlertHeard, agreed_by: str) -> GuardState | None:
        rules = triggers.ranked(heard.alert, self.policy.rules)
        guard = rules[0].guard if rules else None
        if guard is None:
            return None
        agreed = agreed_by
        for source in guard.by:
            at, monitor = self._seen.get(source, (None, ""))
            is_near = at is not None and abs(at - heard.at) <= guard.within
            if is_near and source != heard.alert.source and not agreed:
                agreed = f"{source} ({monitor})"
        return GuardState(heard.at + guard.within, agreed)

    def _remember(self, heard: AlertHeard, cycle: _Cycle, age: Age, now: datetime) -> None:
        """A firing, fresh alert of one source may be the second signal for another's, which is then decided again."""
        alert = heard.alert
        if alert.edge in (Edge.FIRED, Edge.REPEATED) and cycle.is_firing and age is Age.FRESH:
            self._seen[alert.source] = (heard.at, alert.monitor)
            self.waiting = [
                replace(one, until=now)
                if alert.source in self._guarded_by(one.heard.alert) and alert.source != one.heard.alert.source
                else one
                for one in self.waiting
            ]
        elif not cycle.is_firing and alert.edge is Edge.RECOVERED:
            self._seen.pop(alert.source, None)
