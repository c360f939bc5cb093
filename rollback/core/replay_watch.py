"""The evidence of a replayed return: the gate of one step, and the watch after the return, on recorded readings.

A step is judged only in moments in which the recording has a reading: what nobody measured is missing, and a gate
that nobody looks at opens nothing. Statistics and verdicts are those of the program itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rollback.core.comparison import Comparison, pair_of
from rollback.core.comparison import Counts as ArmCounts
from rollback.core.detector import HealthDetector, beta_from_false_alarms
from rollback.core.evidence import Judgement, MetricEvidence, judge
from rollback.core.replay_recording import Counts, Sampled
from rollback.core.return_policy import Compare
from rollback.core.severity_policy import Gate, Monitoring

Book = dict[str, MetricEvidence]
"""The e-processes of one step, by metric."""

NO_TIME = timedelta(0)
SHORTEST, GAPS = timedelta(minutes=1), 5
"""A metric is stale after so many times its usual gap, and a minute at least, as in a return."""


@dataclass(slots=True)
class _Heard:
    first: datetime
    last: datetime
    window: timedelta
    rounds: int = 0

    def is_stale(self, now: datetime) -> bool:
        gap = (self.last - self.first) / (self.rounds - 1) if self.rounds > 1 else NO_TIME
        return now - self.last > max(SHORTEST, GAPS * max(self.window, gap))


@dataclass(slots=True)
class StageWatch:
    """One step of a return that waits for its evidence. `book` may hold what an earlier run of this step collected.

    `alpha` is the step's share for this fix. `apart` is the time in which only people, a calendar or a switch held it
    back. `called` is True once a person was called because time was up. `users`: so many requests of this metric.
    """

    began: datetime
    soak: timedelta
    deadline: timedelta
    alpha: float
    gate: Gate
    book: Book
    go: bool = False
    users: tuple[str, int] | None = None
    apart: timedelta = NO_TIME
    called: bool = False
    alarms: Alarms | None = None
    judged_at: datetime | None = None
    _heard: dict[str, _Heard] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)

    def observe(self, reading: Sampled) -> None:
        """Counts the metrics that the policy knows. A share between 0 and 1 counts as a whole harm, as in a return."""
        for name, counts in known_counts(reading, self.book).items():
            kept = self.book.get(name) or MetricEvidence.start(name, self.gate.p0)
            seen = kept.observe_counts(counts.bad, counts.total)
            self.book[name] = replace(seen, missing=seen.missing + counts.missing)
            if counts.total:
                self._silent.discard(name)
                self._hear(name, reading, counts)
            elif counts.is_window:
                self._silent.add(name)

    def _hear(self, name: str, reading: Sampled, counts: Counts) -> None:
        window = reading.at - reading.began if counts.is_window else NO_TIME
        heard = self._heard.setdefault(name, _Heard(reading.at, reading.at, window))
        heard.last, heard.rounds = reading.at, heard.rounds + 1

    def elapsed(self, now: datetime) -> timedelta:
        """How long it has been observed, without the time in which only people held it back."""
        return now - self.began - self.apart

    def judge(self, now: datetime) -> Judgement:
        """The verdict at `now`, by the evidence alone."""
        elapsed = self.elapsed(now)
        return judge(
            list(self.book.values()),
            alpha=self.alpha,
            harm_alpha=self.gate.harm_alpha,
            soaked=elapsed >= self.soak,
            expired=elapsed >= self.deadline,
        )

    def lacking(self, now: datetime) -> tuple[str, ...]:
        """Why enough evidence is not enough now: a metric of which nothing is heard, or too few requests."""
        silent = [f"{name}: no data in its last window" for name in sorted(self._silent)]
        stale = [
            f"{name}: nothing is heard of it"
            for name in self.book
            if (heard := self._heard.get(name)) is None or heard.is_stale(now)
        ]
        return (*silent, *stale, *self._users_missing())

    def _users_missing(self) -> tuple[str, ...]:
        if self.users is None:
            return ()
        name, wanted = self.users
        strata = f"{name}["
        seen = sum(kept.health.samples for key, kept in self.book.items() if key == name or key.startswith(strata))
        return () if seen >= wanted else (f"{name}: {seen} of {wanted} requests were seen at this step",)


@dataclass(slots=True)
class Alarms:
    """The e-detectors of a watch, one for each metric; the policy's false alarms are for all together."""

    beta: float
    p0: float
    detectors: dict[str, HealthDetector]

    @classmethod
    def start(cls, metrics: Mapping[str, MetricEvidence], p0: float, rule: Monitoring, interval: timedelta) -> Alarms:
        """Before any sample; `interval` is the time between two rounds."""
        allowed = rule.false_alarms_per_year / max(1, len(metrics))
        beta = beta_from_false_alarms(allowed, 1 / max(interval.total_seconds(), 1e-3))
        return cls(beta, p0, {name: HealthDetector.start(p0) for name in metrics})

    def observe(self, reading: Sampled) -> list[str]:
        """Counts the reading; returns the metrics that are harmful now.

        The order within a batch is not recorded. The bad ones are taken to be the last: harm is found no later than the
        program found it.
        """
        for name, counts in known_counts(reading, self.detectors).items():
            if counts.total:
                detector = self.detectors.get(name) or HealthDetector.start(self.p0)
                self.detectors[name] = _observed(detector, counts, is_batch=reading.is_batch)
        return [name for name, detector in self.detectors.items() if detector.alarm(self.beta)]


@dataclass(slots=True)
class FullWatch:
    """The watch at full exposure until `ends_at`. `alpha` is what the evidence of a forced return needs to stay.

    `watched` is how long it was watched before, by whoever handed it over; `seen_at` when the last reading came.
    """

    began: datetime
    ends_at: datetime
    alpha: float
    book: Book
    alarms: Alarms
    watched: timedelta = NO_TIME
    seen_at: datetime | None = None

    def observe(self, reading: Sampled) -> list[str]:
        """Counts the reading; returns the metrics that are harmful now."""
        for name, counts in known_counts(reading, self.book).items():
            kept = self.book.get(name) or MetricEvidence.start(name, self.alarms.p0)
            self.book[name] = kept.observe_counts(counts.bad, counts.total)
        return self.alarms.observe(reading)

    def taken_up(self, now: datetime, duration: timedelta) -> FullWatch:
        """The same watch in other hands: only the time that was really watched counts."""
        watched = self.watched + ((self.seen_at or self.began) - self.began)
        left = max(NO_TIME, duration - watched)
        return replace(self, began=now, ends_at=now + left, watched=watched, seen_at=None)

    def passes(self) -> bool:
        """Whether there is enough evidence of health, so that a forced return may stay."""
        return bool(self.book) and all(kept.health.passes(self.alpha) for kept in self.book.values())


@dataclass(slots=True)
class Comparing:
    """Those who have it against those who have not, over one return: it opens nothing, it only finds harm."""

    rule: Compare
    comparison: Comparison = field(default_factory=Comparison.start)

    def observe(self, reading: Sampled) -> str:
        """What is worse, in words; empty when nothing is."""
        rule = self.rule
        windows = {name: ArmCounts(counts.bad, counts.total) for name, counts in reading.metrics.items()}
        pair = pair_of(windows, rule.metric, rule.having, rule.lacking)
        if pair is not None:
            self.comparison = self.comparison.observe(pair)
        if not self.comparison.rejects(rule.alpha):
            return ""
        return f"{rule.metric} is worse with the feature than without: {self.comparison.words}"


def empty_book(metrics: Iterable[str], p0: float) -> Book:
    """No sample yet; every metric must pass."""
    return {name: MetricEvidence.start(name, p0) for name in metrics}


def known_counts(reading: Sampled, metrics: Mapping[str, object]) -> dict[str, Counts]:
    """What the reading says of these metrics, and of their strata, which are called `metric[tag:value]`."""
    return {
        name: counts for name, counts in reading.metrics.items() if name in metrics or name.partition("[")[0] in metrics
    }


def _observed(detector: HealthDetector, counts: Counts, *, is_batch: bool) -> HealthDetector:
    if counts.total == 1 and counts.harm is not None:
        return detector.observe(counts.harm)
    if is_batch and not counts.is_window:
        return detector.observe_counts(0, counts.total - counts.bad).observe_counts(counts.bad, counts.bad)
    return detector.observe_counts(counts.bad, counts.total)
