"""The evidence of one return, kept across runs (invariant 8): one e-process per case, fix, metric and step.

Observations are summed in memory and written to the history in batches, each once. The same fix continues where the
last run stopped; another fix, a changed policy or a foreign edit of the flag (`basis`) starts from nothing.

A measurement may be about a window of time. One that began before the stage was watched says nothing about it, and one
that began before the end of the last window that was counted would count twice; neither is taken, also after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback.core.detector import HealthDetector, beta_from_false_alarms
from rollback.core.evidence import Judgement, MetricEvidence, Verdict, judge, step_alpha
from rollback.core.history import Entry
from rollback.ports import Measurement

if TYPE_CHECKING:
    from rollback.core.policy import Gate, Monitoring

FLUSH_EVERY = timedelta(seconds=10)
"""How often a batch is written while observing; a crash loses at most this much evidence, never invents any."""

Record = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the evidence is for: the step's place (0: nothing is raised yet), of how many, for the k-th fix.

    `share` is the part of alpha that it may spend; None: an equal part for each of the steps.
    """

    index: int
    steps: int
    attempt: int
    fix: str
    basis: str
    share: float | None = None

    def key(self) -> dict[str, Any]:
        """What must be equal for evidence to be continued."""
        return {"stage": self.index, "attempt": self.attempt, "fix": self.fix, "basis": self.basis}

    def may_spend(self, alpha: float) -> float:
        """Its part of the alpha of all steps and fixes."""
        if self.share is None:
            return step_alpha(alpha, self.steps, self.attempt)
        return step_alpha(alpha * self.share, 1, self.attempt)


def kept_batches(entries: Iterable[Entry], incident_id: str, stage: Stage) -> Iterator[Mapping[str, Any]]:
    """What earlier runs kept for this very stage, in order."""
    wanted = stage.key()
    for entry in entries:
        if entry.name != "evidence" or entry.incident != incident_id:
            continue
        if {key: entry.data.get(key) for key in wanted} == wanted:
            yield entry.data


def watched_time(batches: Iterable[Mapping[str, Any]]) -> timedelta:
    """How long somebody watched while these were collected; the time in between, when nobody did, does not count."""
    spans = [(datetime.fromisoformat(str(one["from"])), datetime.fromisoformat(str(one["to"]))) for one in batches]
    return sum((max(to - since, timedelta(0)) for since, to in spans), timedelta(0))


@dataclass(slots=True)
class EvidenceBook:
    """The e-processes of one stage. `record(name, data)` writes to the history."""

    stage: Stage
    p0: float
    alpha: float
    harm_alpha: float
    record: Record
    metrics: dict[str, MetricEvidence] = field(default_factory=dict)
    _unsaved: dict[str, Counter[str]] = field(default_factory=dict)
    _saved_at: datetime | None = None
    _windows: _Windows = field(default_factory=lambda: _Windows())
    _silent: dict[str, str] = field(default_factory=dict)

    @classmethod
    def for_gate(cls, stage: Stage, gate: Gate, record: Record) -> EvidenceBook:
        """An empty book by the policy's gate."""
        return cls(stage, gate.p0, gate.alpha, gate.harm_alpha, record)

    def expect(self, names: Iterable[str]) -> None:
        """Metrics that must all pass, also those of which no sample has come yet."""
        for name in names:
            self.metrics.setdefault(name, MetricEvidence.start(name, self.p0))

    def resume(self, entries: Iterable[Entry], incident_id: str) -> int:
        """Takes up what earlier runs kept for this very stage; returns the number of samples."""
        for batch in kept_batches(entries, incident_id, self.stage):
            for name, counts in dict(batch.get("metrics", {})).items():
                kept = self.metrics.get(name, MetricEvidence.start(name, self.p0))
                self.metrics[name] = kept.observe_counts(int(counts["bad"]), int(counts["total"]))
                if "until" in counts:
                    self._windows.counted_until(name, datetime.fromisoformat(counts["until"]))
                    self._silent[name] = "not seen in this run"
        return sum(metric.health.samples for metric in self.metrics.values())

    def observe(self, measurements: Sequence[Measurement]) -> None:
        """Counts each measurement once. A missing one is neither harm nor health; what waits is not even missing."""
        for one in self._windows.new(measurements):
            kept = self.metrics.get(one.metric) or MetricEvidence.start(one.metric, self.p0)
            unsaved = self._unsaved.setdefault(one.metric, Counter())
            self._silent.pop(one.metric, None)
            if one.harm is None:
                self.metrics[one.metric] = kept.miss()
                unsaved["missing"] += 1
                if one.ends is not None or self._windows.until(one.metric) is not None:
                    self._silent[one.metric] = one.detail
                continue
            bad, total = one.counts
            self.metrics[one.metric] = kept.observe_counts(bad, total)
            unsaved["total"] += total
            unsaved["bad"] += bad

    def judge(self, *, soaked: bool, expired: bool) -> Judgement:
        """The verdict now; a judgement reads all metrics, and every one must pass.

        A metric whose last window had no data is silent now: what it said before is not enough (invariant 6).
        """
        found = judge(
            list(self.metrics.values()),
            alpha=self.stage.may_spend(self.alpha),
            harm_alpha=self.harm_alpha,
            soaked=soaked,
            expired=expired,
        )
        if found.verdict is not Verdict.HEALTHY or not self._silent:
            return found
        silent = tuple(f"{name}: no data in its last window ({why})" for name, why in self._silent.items())
        return Judgement(Verdict.INCONCLUSIVE, expired, (*silent, *found.reasons), found.metrics)

    def flush(self, now: datetime, *, always: bool = False) -> None:
        """Writes what was not written yet, when it is time (or `always`)."""
        if self._saved_at is None:
            self._saved_at = now
        if not self._unsaved or not (always or now - self._saved_at >= FLUSH_EVERY):
            return
        metrics: dict[str, dict[str, Any]] = {
            name: {"total": counts["total"], "bad": counts["bad"], "missing": counts["missing"]}
            for name, counts in self._unsaved.items()
        }
        for name in metrics:
            if (until := self._windows.until(name)) is not None:
                metrics[name]["until"] = until.isoformat()
        test = {"p0": self.p0, "alpha": self.stage.may_spend(self.alpha)}  # what `status` judges by
        data = {
            **self.stage.key(),
            **test,
            "metrics": metrics,
            "from": self._saved_at.isoformat(),
            "to": now.isoformat(),
        }
        self.record("evidence", data)
        self._unsaved.clear()
        self._saved_at = now


class Alarms:
    """The watch after the return: one e-detector for each metric. The policy's false alarms are for all together.

    A window is one observation, however many samples it counts: the mean number of observations to a false alarm is
    what the policy asks for, and windows do not come more often than rounds. A metric that appears later is watched
    from then on.
    """

    def __init__(self, metrics: Sequence[str], p0: float, rule: Monitoring) -> None:
        self._p0, self._rule = p0, rule
        self._detectors = {name: HealthDetector.start(p0) for name in metrics}
        self._windows = _Windows()

    def take_up(self, batch: Mapping[str, Any]) -> None:
        """Goes on after a batch that an earlier watcher kept, of which nobody knows the order any more."""
        for name, counts in dict(batch.get("metrics", {})).items():
            kept = self._detectors.get(name) or HealthDetector.start(self._p0)
            self._detectors[name] = kept.observe_counts(int(counts["bad"]), int(counts["total"]))
            if "until" in counts:
                self._windows.counted_until(name, datetime.fromisoformat(counts["until"]))

    def observe(self, measurements: Sequence[Measurement]) -> list[str]:
        """Counts each measurement once; returns the metrics that are harmful now."""
        for one in self._windows.new(measurements):
            if one.harm is None:
                continue
            kept = self._detectors.get(one.metric) or HealthDetector.start(self._p0)
            counted = kept.observe(one.harm) if one.total is None else kept.observe_counts(*one.counts)
            self._detectors[one.metric] = counted
        allowed = self._rule.false_alarms_per_year / max(1, len(self._detectors))
        beta = beta_from_false_alarms(allowed, 1 / max(self._rule.interval.total_seconds(), 1e-3))
        return [name for name, detector in self._detectors.items() if detector.alarm(beta)]


class _Windows:
    """Which windows may count: those that began after the watch did, each once."""

    def __init__(self) -> None:
        self._began: datetime | None = None
        self._until: dict[str, datetime] = {}

    def counted_until(self, metric: str, ends: datetime) -> None:
        """What ended at `ends` has been counted before."""
        self._until[metric] = max(ends, self._until.get(metric, ends))

    def until(self, metric: str) -> datetime | None:
        """The end of the last window that was counted; None for a metric without windows."""
        return self._until.get(metric)

    def new(self, measurements: Sequence[Measurement]) -> Iterator[Measurement]:
        """Those that count, in order."""
        if self._began is None and measurements:
            self._began = min(one.at for one in measurements)
        for one in measurements:
            if one.waiting:
                continue
            if one.begins is not None and one.ends is not None:
                last = self._until.get(one.metric)
                if self._began is None or one.begins < self._began or (last is not None and one.begins < last):
                    continue
                self.counted_until(one.metric, one.ends)
            yield one
