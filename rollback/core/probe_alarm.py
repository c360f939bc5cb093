"""When direct probes of a feature raise an alarm, and when the alarm is over. Pure.

The alarm: one e-detector for each metric (`core.detector`), with the bets against "healthy". The policy says how many
false alarms a year are allowed for all metrics together; beta per sample follows.

The end of an alarm: the mirror test (`core.evidence.Evidence`), which bets against "still broken", E[x | past] >= p0,
of each metric; all must pass at the same time. A long outage would leave such a bet no stake to win anything back. So
a test that has fallen below its start ends, and after the next clean sample another one starts; the k-th one of a
metric may spend alpha/(k(k+1)). Each starts at a moment that only the past decided, and the parts add up to
alpha: what stays broken is ever called recovered with probability at most alpha, however long it lasts. Recovery
changes no exposure; it only ends the alert.

A missing sample is neither harm nor health: nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from rollback.core.alert_cycles import probe_cycle
from rollback.core.alert_rules import PROBES
from rollback.core.alerts import Alert, Edge, Reading, ReadingKind
from rollback.core.detector import HealthDetector, beta_from_false_alarms
from rollback.core.evidence import Evidence

Harms = Mapping[str, float | None]
"""One round: the harm in [0, 1] of each metric, None when it is missing."""


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """What the policy says about continuous probing.

    `p0` is the share of failed probes above which the feature is harmful. `interval` is the time between two rounds;
    `false_alarms_per_year` is for all metrics together. `recovery_alpha` is the probability with which something that
    stays broken may be called recovered. Raises ValueError on what makes no sense.
    """

    p0: float
    interval: timedelta
    false_alarms_per_year: float = 1.0
    recovery_alpha: float = 0.01

    def __post_init__(self) -> None:
        if self.interval <= timedelta(0):
            raise ValueError("the interval must be longer than nothing")
        HealthDetector.start(self.p0)
        self.beta(1)
        if not 0 < self.recovery_alpha < 1:
            raise ValueError(f"recovery_alpha must lie strictly between 0 and 1, not {self.recovery_alpha!r}")

    def beta(self, metrics: int) -> float:
        """The beta of one of so many metrics, at one sample per interval."""
        return beta_from_false_alarms(self.false_alarms_per_year / metrics, 1 / self.interval.total_seconds())


@dataclass(frozen=True, slots=True)
class RecoveryTest:
    """The tests of one metric during an alarm: the one that runs (None: none does), and how many were started."""

    p0: float
    running: Evidence | None = None
    started: int = 0

    def observe(self, x: float) -> Self:
        """After one more sample. Raises ValueError unless x is in [0, 1]."""
        if self.running is None:
            return replace(self, running=Evidence.start(self.p0), started=self.started + 1) if x == 0 else self
        after = self.running.observe(x)
        return replace(self, running=None if after.log_e < 0 else after)

    def passes(self, alpha: float) -> bool:
        """Whether the running test has what its part of alpha asks for."""
        return self.running is not None and self.running.passes(alpha / (self.started * (self.started + 1)))


@dataclass(frozen=True, slots=True)
class ProbeAlarm:
    """The watch over one feature. `cycles` are the alarms that are not over; empty: none.

    While an alarm lasts no other one is raised: the tests for its end run instead of the detectors.
    """

    feature: str
    rule: ProbeRule
    detectors: Mapping[str, HealthDetector]
    cycles: tuple[str, ...] = ()
    tests: Mapping[str, RecoveryTest] | None = None

    @classmethod
    def start(cls, feature: str, metrics: Sequence[str], rule: ProbeRule, *, open_cycles: Sequence[str] = ()) -> Self:
        """The watch before any sample; `open_cycles` are alarms of an earlier process that are not over.

        Raises ValueError without metrics.
        """
        if not metrics:
            raise ValueError("there is nothing to probe")
        fresh = cls(feature, rule, {name: HealthDetector.start(rule.p0) for name in metrics})
        return fresh._alarmed(tuple(open_cycles)) if open_cycles else fresh

    def observe(self, harms: Harms, at: datetime) -> tuple[Self, tuple[Alert, ...]]:
        """The watch after one round at `at` (aware UTC), and the edges to tell: one FIRED, or the RECOVERED ones.

        Metrics that are not watched do not count. Raises ValueError when a harm is not in [0, 1].
        """
        seen = {name: x for name, x in harms.items() if x is not None and name in self.detectors}
        if not seen:
            return self, ()
        return self._while_alarmed(seen, at) if self.tests is not None else self._while_quiet(seen, at)

    def harmful(self) -> tuple[str, ...]:
        """The metrics whose detector is at its alarm level."""
        beta = self.rule.beta(len(self.detectors))
        return tuple(name for name, detector in self.detectors.items() if detector.alarm(beta))

    def _while_quiet(self, seen: Mapping[str, float], at: datetime) -> tuple[Self, tuple[Alert, ...]]:
        after = {
            name: detector.observe(seen[name]) if name in seen else detector
            for name, detector in self.detectors.items()
        }
        now = replace(self, detectors=after)
        harmful = now.harmful()
        if not harmful:
            return now, ()
        cycle = probe_cycle(self.feature, at)
        return now._alarmed((cycle,)), (self._alert(cycle, Edge.FIRED, at, harmful),)

    def _while_alarmed(self, seen: Mapping[str, float], at: datetime) -> tuple[Self, tuple[Alert, ...]]:
        assert self.tests is not None
        after = {name: test.observe(seen[name]) if name in seen else test for name, test in self.tests.items()}
        if not all(test.passes(self.rule.recovery_alpha) for test in after.values()):
            return replace(self, tests=after), ()
        fresh = type(self).start(self.feature, tuple(self.detectors), self.rule)
        return fresh, tuple(self._alert(cycle, Edge.RECOVERED, at, ()) for cycle in self.cycles)

    def _alarmed(self, cycles: tuple[str, ...]) -> Self:
        return replace(self, cycles=cycles, tests={name: RecoveryTest(self.rule.p0) for name in self.detectors})

    def _alert(self, cycle: str, edge: Edge, at: datetime, harmful: Sequence[str]) -> Alert:
        counts = [f"{name} {self.detectors[name].harm:g} of {self.detectors[name].samples}" for name in harmful]
        title = f"probes of {self.feature} fail" if edge is Edge.FIRED else f"probes of {self.feature} succeed again"
        return Alert(
            source=PROBES,
            monitor=self.feature,
            cycle=cycle,
            edge=edge,
            occurred_at=at,
            tags=tuple(sorted(f"metric:{name}" for name in harmful)),
            title=f"{title}: {', '.join(counts)} since the watch began"[:200] if counts else title,
        )


def reading_of(alert: Alert) -> Reading:
    """An edge of our own probes as a delivery of its own."""
    return Reading(ReadingKind.ALERTS, f"{alert.cycle}:{alert.edge}", (alert,))
