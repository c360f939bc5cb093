"""The evidence of one return, kept across runs (invariant 8): one e-process per case, fix, metric and step.

Observations are summed in memory and written to the history in batches, each once. The same fix continues where the
last run stopped; another fix, a changed policy or a foreign edit of the flag (`basis`) starts from nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback.core.detector import HealthDetector, beta_from_false_alarms
from rollback.core.evidence import Judgement, MetricEvidence, judge, step_alpha
from rollback.core.history import Entry
from rollback.ports import Measurement

if TYPE_CHECKING:
    from rollback.core.policy import Gate, Monitoring

FLUSH_EVERY = timedelta(seconds=10)
"""How often a batch is written while observing; a crash loses at most this much evidence, never invents any."""

Record = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the evidence is for: the step's place (0: nothing is raised yet), of how many, for the k-th fix."""

    index: int
    steps: int
    attempt: int
    fix: str
    basis: str

    def key(self) -> dict[str, Any]:
        """What must be equal for evidence to be continued."""
        return {"stage": self.index, "attempt": self.attempt, "fix": self.fix, "basis": self.basis}


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
        wanted = self.stage.key()
        for entry in entries:
            if entry.name != "evidence" or entry.incident != incident_id:
                continue
            if {key: entry.data.get(key) for key in wanted} != wanted:
                continue
            for name, counts in dict(entry.data.get("metrics", {})).items():
                kept = self.metrics.get(name, MetricEvidence.start(name, self.p0))
                self.metrics[name] = kept.observe_counts(int(counts["bad"]), int(counts["total"]))
        return sum(metric.health.samples for metric in self.metrics.values())

    def observe(self, measurements: Sequence[Measurement]) -> None:
        """Counts each measurement once. A missing one is neither harm nor health.

        A share between 0 and 1 counts as a whole harm: it only makes passing harder, and keeps the record exact.
        """
        for measurement in measurements:
            kept = self.metrics.get(measurement.metric) or MetricEvidence.start(measurement.metric, self.p0)
            unsaved = self._unsaved.setdefault(measurement.metric, Counter())
            if measurement.harm is None:
                self.metrics[measurement.metric] = kept.miss()
                unsaved["missing"] += 1
                continue
            bad = measurement.harm > 0
            self.metrics[measurement.metric] = kept.observe_counts(int(bad), 1)
            unsaved["total"] += 1
            unsaved["bad"] += bad

    def judge(self, *, soaked: bool, expired: bool) -> Judgement:
        """The verdict now; a judgement reads all metrics, and every one must pass."""
        return judge(
            list(self.metrics.values()),
            alpha=step_alpha(self.alpha, self.stage.steps, self.stage.attempt),
            harm_alpha=self.harm_alpha,
            soaked=soaked,
            expired=expired,
        )

    def flush(self, now: datetime, *, always: bool = False) -> None:
        """Writes what was not written yet, when it is time (or `always`)."""
        if self._saved_at is None:
            self._saved_at = now
        if not self._unsaved or not (always or now - self._saved_at >= FLUSH_EVERY):
            return
        metrics = {
            name: {"total": counts["total"], "bad": counts["bad"], "missing": counts["missing"]}
            for name, counts in self._unsaved.items()
        }
        data = {**self.stage.key(), "metrics": metrics, "from": self._saved_at.isoformat(), "to": now.isoformat()}
        self.record("evidence", data)
        self._unsaved.clear()
        self._saved_at = now


class Alarms:
    """The watch after the return: one e-detector for each metric. The policy's false alarms are for all together."""

    def __init__(self, metrics: Sequence[str], p0: float, rule: Monitoring) -> None:
        allowed = rule.false_alarms_per_year / max(1, len(metrics))
        self._beta = beta_from_false_alarms(allowed, 1 / max(rule.interval.total_seconds(), 1e-3))
        self._detectors = {name: HealthDetector.start(p0) for name in metrics}

    def observe(self, measurements: Sequence[Measurement]) -> list[str]:
        """Counts each measurement once; returns the metrics that are harmful now."""
        for one in measurements:
            if one.harm is not None:
                self._detectors[one.metric] = self._detectors[one.metric].observe(one.harm)
        return [name for name, detector in self._detectors.items() if detector.alarm(self._beta)]
