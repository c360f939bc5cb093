"""Finds what is allowed in a policy file and yet cannot work: gates that never pass, targets that mean nothing.

An *error* is something that makes the policy fail when it is needed; a *warning* is something to know or to decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollback.core.flag import FlagConfig, FlagType, Polarity
from rollback.core.ladder import plan, reduced
from rollback.core.policy import Gate
from rollback.core.scalars import format_duration
from rollback.policy_files import LoadedSeverity, Policies
from rollback.policy_findings import Finding
from rollback.policy_lint_alerts import lint_alerts, lint_automation, lint_shadows
from rollback.policy_lint_features import lint_feature, lint_names
from rollback.policy_lint_releases import lint_release
from rollback.policy_lint_returns import lint_returning_feature, lint_returns, samples_for

__all__ = ["Finding", "lint", "lint_severity", "samples_needed"]

SENSIBLE_P0 = (0.001, 0.2)
"""Below, no gate passes within an hour at one probe a second; above, one failed request in five counts as healthy."""

SENSIBLE_ALPHA = (0.0001, 0.1)
"""Above, one broken feature in ten is let back in."""


def lint(policies: Policies) -> list[Finding]:
    """Everything that is wrong with the policies or worth knowing, by file and line."""
    found: list[Finding] = []
    for broken in (
        *policies.broken_severities,
        *policies.broken_automation,
        *policies.broken_features,
        *policies.broken_releases,
    ):
        for one in broken.error.located:
            what = f"{one.message}; {one.next}" if one.next else one.message
            found.append(Finding(one.file, one.line, "error", what))
    for severity in policies.severities.values():
        found.extend(lint_severity(severity))
    for feature in policies.features.values():
        found.extend(lint_feature(feature, policies))
        found.extend(lint_alerts(feature, policies))
        found.extend(lint_returning_feature(feature, policies))
    found.extend(lint_names(policies))
    found.extend(lint_shadows(policies))
    if policies.automation_file is not None:
        found.extend(lint_automation(policies.automation_file, policies))
    for release in policies.releases.values():
        found.extend(lint_release(release))
    return sorted(set(found))


def samples_needed(gate: Gate, steps: int) -> int:
    """How many clean samples one of `steps` steps needs at least, for the first fix."""
    return samples_for(gate, 1 / max(steps, 1))


def lint_severity(loaded: LoadedSeverity) -> Iterator[Finding]:
    """What is wrong with one severity's policy."""
    policy = loaded.policy
    yield from _chances(loaded)
    yield from lint_returns(loaded)
    yield from _soak(loaded, ("gate",), policy.gate.minimum_soak)
    if policy.cohort is not None:
        yield from _soak(loaded, ("cohort",), policy.cohort.minimum_soak)
    for index, step in enumerate(policy.ladder):
        yield from _soak(loaded, ("ladder", index), step.minimum_soak)
    yield from _dead_steps(loaded)
    yield from _monitoring(loaded)
    if policy.needs_human_after is None:
        yield _warning(loaded, "needs_human_after is not set: a case that waits for its fix can be forgotten")


def _chances(loaded: LoadedSeverity) -> Iterator[Finding]:
    gate = loaded.policy.gate
    for name, value, (low, high) in (
        ("p0", gate.p0, SENSIBLE_P0),
        ("alpha", gate.alpha, SENSIBLE_ALPHA),
        ("harm_alpha", gate.harm_alpha, SENSIBLE_ALPHA),
    ):
        if not low <= value <= high:
            message = f"{name} {value:g} is outside of what makes sense, {low:g} to {high:g}"
            yield _warning(loaded, message, "gate", name)


def _soak(loaded: LoadedSeverity, path: tuple[str | int, ...], soak: timedelta) -> Iterator[Finding]:
    if soak == timedelta(0):
        message = "without a minimum_soak a fault that comes in bursts can be quiet while it is tested"
        yield _warning(loaded, message, *path, "minimum_soak")


def _dead_steps(loaded: LoadedSeverity) -> Iterator[Finding]:
    """Steps that open no new bucket of a flag that everybody has; of other flags even more may be dead."""
    policy = loaded.policy
    everybody, polarity = FlagConfig("flag", FlagType.BOOLEAN, enabled=True), Polarity()
    alive = {rung.index for rung in plan(everybody, polarity, policy.percents).rungs}
    for index, step in enumerate(policy.ladder):
        if index not in alive:
            message = f"step {step.percent:g} % opens no new bucket: a flag has 100 of them; use whole numbers"
            yield _error(loaded, message, "ladder", index, "percent")
        elif policy.reduce_to is not None and step.percent <= policy.reduce_to:
            message = f"step {step.percent:g} % opens nothing: {policy.reduce_to:g} % are open already"
            yield _error(loaded, message, "ladder", index, "percent")
    if policy.reduce_to is not None and reduced(everybody, polarity, policy.reduce_to) is None:
        message = f"reduce_to {policy.reduce_to:g} % leaves no bucket open, which is off under another name"
        yield _error(loaded, message, "reduce_to")


def _monitoring(loaded: LoadedSeverity) -> Iterator[Finding]:
    policy = loaded.policy
    watch = policy.monitoring
    if watch.interval >= watch.duration:
        message = "no round of probes fits into duration; make interval much shorter"
        yield _error(loaded, message, "monitoring", "interval")
    if policy.gate.deadline > watch.duration:
        message = (
            f"the watch after the return, {format_duration(watch.duration)}, is shorter than the gate's deadline, "
            f"{format_duration(policy.gate.deadline)}"
        )
        yield _warning(loaded, message, "monitoring", "duration")


def _error(loaded: LoadedSeverity, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error", message)


def _warning(loaded: LoadedSeverity, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "warning", message)
