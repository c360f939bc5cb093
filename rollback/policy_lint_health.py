"""The remarks of `policy lint` on metrics as evidence: windows, volumes, strata, and whether there is time enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from rollback.core.evidence import Evidence, step_alpha
from rollback.core.metric_sources import Counted, DatadogMetrics, MetricSource, PrometheusMetrics
from rollback.core.model import Severity
from rollback.core.policy import Mitigation, SeverityPolicy
from rollback.core.scalars import format_duration
from rollback.errors import ConfigurationError
from rollback.policy_files import LoadedFeature, Policies
from rollback.policy_findings import Finding

SCRAPES = 4
"""So many scrapes a window of Prometheus needs: `increase` reads two of them, and one may fail."""

ENOUGH = 2
"""A deadline is at least this many times what the windows need: a single failed request already costs some."""


def lint_health(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    """What is wrong with the metrics of one feature, or worth knowing."""
    metrics = loaded.policy.health.metrics
    if metrics and not any(one.fires for one in metrics):
        message = "no metric is marked `fires: true`: nothing here is known to see the fault that is alerted"
        yield _warning(loaded, message, "health", "metrics")
    for index, source in enumerate(metrics):
        if isinstance(source, Counted):
            yield from _counted(loaded, source, index)
        yield from _resolution(loaded, source, index)
    yield from _while_off(loaded, policies)
    for severity in Severity:
        try:
            used = policies.severity(loaded.policy, severity).policy
        except ConfigurationError:  # said elsewhere
            continue
        for index, source in enumerate(metrics):
            yield from _time(loaded, used, source, index)


def _counted(loaded: LoadedFeature, source: Counted, index: int) -> Iterator[Finding]:
    if source.minimum_volume == 0:
        message = (
            f"minimum_volume 0 of {source.name}: a window with one request counts, also while users cannot sign in"
        )
        yield _warning(loaded, message, *_at(index, "minimum_volume"))
    if source.by_tag is not None and source.by_tag.maximum is None:
        message = f"by_tag of {source.name} has no maximum: every value of {source.by_tag.tag} would have to pass"
        yield _warning(loaded, message, *_at(index, "by_tag"))
    if source.absent_errors == "zero":
        message = (
            f"absent_errors: zero of {source.name} takes a renamed counter of errors for health; count `successes`, or "
            "make the query give a zero"
        )
        yield _warning(loaded, message, *_at(index, "absent_errors"))
    if source.expected_volume is not None and source.expected_volume < source.minimum_volume:
        message = f"{source.name} expects fewer requests than its minimum_volume, so its windows never count"
        yield _error(loaded, message, *_at(index, "expected_volume"))


def _resolution(loaded: LoadedFeature, source: MetricSource, index: int) -> Iterator[Finding]:
    window = format_duration(source.window)
    if isinstance(source, DatadogMetrics) and source.window % source.resolution:
        message = (
            f"the window {window} of {source.name} is no multiple of its resolution, "
            f"{format_duration(source.resolution)}: no bucket would fit"
        )
        yield _error(loaded, message, *_at(index, "window"))
    if isinstance(source, PrometheusMetrics) and source.window < SCRAPES * source.resolution:
        message = (
            f"the window {window} of {source.name} holds fewer than {SCRAPES} scrapes; make it "
            f"{format_duration(SCRAPES * source.resolution)} or longer"
        )
        yield _error(loaded, message, *_at(index, "window"))


def _while_off(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    """A feature that is off has no users: what counts them says nothing then, and what else is there has to."""
    health = loaded.policy.health
    if not health.metrics or not any(_lowest(one) == 0 for one in _severities(loaded, policies)):
        return
    always = [one for one in health.metrics if one.counts_from == 0]
    if not health.endpoints and not always:
        message = "nothing is asked while the feature is off, so the gate can never open: add endpoints"
        yield _error(loaded, message, "health", "metrics")
    for index, source in enumerate(health.metrics):
        if isinstance(source, Counted) and source.counts_from == 0:
            message = f"{source.name} counts users from exposure 0 on, and a feature that is off has none"
            yield _error(loaded, message, *_at(index, "counts_from"))


def _severities(loaded: LoadedFeature, policies: Policies) -> Iterator[SeverityPolicy]:
    for severity in Severity:
        try:
            yield policies.severity(loaded.policy, severity).policy
        except ConfigurationError:
            continue


def _lowest(policy: SeverityPolicy) -> float:
    """The exposure, in percent, at which the gate is asked for the first step."""
    if policy.mitigation is Mitigation.OFF:
        return 0.0
    return 100.0 if policy.reduce_to is None else policy.reduce_to


# -- time --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stage:
    what: str
    exposed: float
    deadline: timedelta


def _stages(policy: SeverityPolicy) -> Iterator[_Stage]:
    """Each stretch that evidence is collected in: at what exposure, and until when. The last step is monitored."""
    yield _Stage("the gate", _lowest(policy), policy.gate.deadline)
    for step in policy.ladder[:-1]:
        yield _Stage(f"step {step.percent:g} %", step.percent, step.deadline)


def _time(loaded: LoadedFeature, policy: SeverityPolicy, source: MetricSource, index: int) -> Iterator[Finding]:
    alpha = step_alpha(policy.gate.alpha, max(1, len(policy.ladder)), attempt=1)
    needed = Evidence.start(policy.gate.p0).clean_samples_missing(alpha)
    each = source.rule.cap
    if isinstance(source, Counted) and source.expected_volume is not None:
        each = min(each, source.expected_volume)
    windows = -(-needed // each)
    waits = source.delay + 2 * source.window  # until a whole one has begun, and until one is read again
    for stage in _stages(policy):
        if stage.exposed < source.counts_from or stage.deadline >= ENOUGH * windows * source.window + waits:
            continue
        message = (
            f"{stage.what} at severity {policy.severity} has a deadline of {format_duration(stage.deadline)}, and "
            f"{source.name} needs {windows} windows of {format_duration(source.window)} at least ({needed} samples, "
            f"{each} a window); give it {_minutes(ENOUGH * windows * source.window + waits)} or more"
        )
        yield _error(loaded, message, *_at(index, "window"))
        return


def _minutes(duration: timedelta) -> str:
    return f"{-(-duration // timedelta(minutes=1))}m"


def _at(index: int, field: str) -> tuple[str | int, ...]:
    return ("health", "metrics", index, field)


def _error(loaded: LoadedFeature, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error", message)


def _warning(loaded: LoadedFeature, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "warning", message)
