"""Recordings and policies for tests of the replay: a feature, its alerts, and readings at a given pace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rollback.core import events as e
from rollback.core.alert_rules import AlertRule
from rollback.core.alerts import Alert, Edge
from rollback.core.history import Actor
from rollback.core.model import Severity
from rollback.core.policy import SeverityPolicy
from rollback.core.replay import ReplayPolicy, replay
from rollback.core.replay_alerts import AlertPolicy
from rollback.core.replay_course import Course, moves
from rollback.core.replay_recording import AlertHeard, Counts, Disabled, Enabled, Item, Recording, Sampled, Told
from tests.fakes import policies

Items = Sequence["Item | Items"]
"""Items, and lists of them at any depth."""

FEATURE = "secure-messaging"
T0 = datetime(2026, 11, 23, 9, tzinfo=UTC)
ALEX = Actor("alex", "os")
FOLDERS: Mapping[str, float] = {"folders": 0.0}

CRITICAL = AlertRule(name="errors", source="datadog", monitors=("4711",), severity=Severity.CRITICAL)
HIGH = AlertRule(name="slow", source="datadog", monitors=("4712",), severity=Severity.HIGH)
LOW = AlertRule(name="typo", source="datadog", monitors=("4713",), severity=Severity.LOW)
GUARDED = AlertRule.model_validate(
    {
        "name": "weak",
        "source": "appdynamics",
        "monitors": ["77"],
        "severity": "critical",
        "guard": {"within": "60s", "by": ["probes", "datadog"]},
    }
)
RULES = (CRITICAL, HIGH, LOW, GUARDED)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def policy(
    critical: SeverityPolicy | None = None,
    *,
    high: SeverityPolicy | None = None,
    low: SeverityPolicy | None = None,
    rules: Sequence[AlertRule] = RULES,
    metrics: Mapping[str, float] = FOLDERS,
    proof: float = 2.0,
    auto: bool = True,
    **fields: Any,
) -> ReplayPolicy:
    """A policy with short steps; `proof` is how many seconds a proof takes where the recording does not say."""
    severities = {
        Severity.CRITICAL: critical or policies.critical(),
        Severity.HIGH: high or policies.high(),
        Severity.LOW: low or policies.low(),
    }
    limits = (timedelta(minutes=15), timedelta(minutes=2))
    alerts = AlertPolicy(rules, {}, limits, severities[Severity.CRITICAL].gate, tuple(metrics), auto)
    return ReplayPolicy(severities, alerts, metrics, timedelta(seconds=proof), **fields)


def alert(
    seconds: float,
    edge: Edge = Edge.FIRED,
    monitor: str = "4711",
    *,
    source: str = "datadog",
    cycle: str = "c1",
    occurred: float | None = None,
) -> AlertHeard:
    """An alert that came in then; it happened then as well, unless `occurred` says otherwise."""
    return AlertHeard(at(seconds), Alert(source, monitor, cycle, edge, at(seconds if occurred is None else occurred)))


def probes(
    start: float, end: float, harm: float | None = 0.0, *, every: float = 0.1, name: str = "folders"
) -> list[Item]:
    """One sample at each tick, from `start` to before `end`."""
    count = round((end - start) / every)
    return [sample(start + number * every, harm, name=name) for number in range(count)]


def sample(seconds: float, harm: float | None, *, name: str = "folders") -> Sampled:
    counts = Counts(0, 0, 1) if harm is None else Counts(int(harm > 0), 1, 0, harm)
    return Sampled(at(seconds), at(seconds), {name: counts})


def disabled(seconds: float) -> Disabled:
    return Disabled(at(seconds), ALEX, "it is broken")


def enabled(seconds: float, by: Actor = ALEX, **fields: Any) -> Enabled:
    return Enabled(at(seconds), by, "fixed", **fields)


def flat(items: Items) -> Iterator[Item]:
    """The items of lists in lists."""
    for item in items:
        if isinstance(item, Sequence):
            yield from flat(item)
        else:
            yield item


def recording(*items: Item | Items, **fields: Any) -> Recording:
    """In the order of time; all buckets are open at the beginning."""
    given: Mapping[str, Any] = {"audience": 100, "measured": True, **fields}
    return Recording(FEATURE, tuple(sorted(flat(items), key=lambda item: item.at)), **given)


def course(*items: Item | Items, under: ReplayPolicy | None = None, **fields: Any) -> Course:
    return replay(recording(*items, **fields), under or policy())


def told(found: Course) -> list[tuple[str, float]]:
    """What changed a state or an exposure, with seconds since the beginning."""
    return [(mark.what, round((mark.at - T0).total_seconds(), 3)) for mark in moves(found.marks)]


STORY: Items = (
    alert(0),
    probes(0, 5, 1.0),
    alert(6, Edge.RECOVERED),
    Told(at(8), e.FixDeployed("600df1x")),
    enabled(10),
    probes(10, 30),
)
"""Broken, off, fixed, and back."""
