"""The remarks of `policy lint` on the way back: steps, shares of alpha, approvals, freezes, switches, comparisons.

Most of them are about states that could never be reached: a return that waits for somebody who does not exist is a
feature that stays off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rollback.core.approvals import APPROVER
from rollback.core.calendar import ends
from rollback.core.evidence import Evidence, step_alpha
from rollback.core.model import Severity
from rollback.core.policy import Approvals, Gate, SeverityPolicy
from rollback.core.scalars import format_duration
from rollback.errors import ConfigurationError
from rollback.policy_files import LoadedFeature, LoadedSeverity, Policies
from rollback.policy_findings import Finding
from rollback.policy_yaml import dotted
from rollback.release_calendar import zone_of

ENOUGH = 2
"""A deadline is at least this many times what the samples need: a single failed probe already costs dozens."""

FEWEST = 5
"""Clean samples below which a gate is none: an evidence of four answers is chance."""

TOKEN_ROLES = frozenset({APPROVER, "responder", "viewer"})
"""Roles that a person's token can have; `ci` is a pipeline's, and a pipeline is nobody."""

UNCAPPED = 10_000
"""So many requests a window a metric counts at most, whatever it says; below it an arm may be scaled down."""

NEVER = "so ramping, monitoring and resolved can never be reached"

Path = tuple[str | int, ...]


def lint_returns(loaded: LoadedSeverity) -> Iterator[Finding]:
    """What is wrong with how a severity's policy brings a feature back."""
    policy = loaded.policy
    yield from _deadlines(loaded, _places(policy, cohort=False))
    yield from _openings(loaded)
    yield from _last_step(loaded)
    yield from _freeze(loaded)
    if policy.approvals is not None:
        yield from _approvals(loaded, policy.approvals)
    yield from _switches(loaded)
    if policy.compare is not None and len(policy.ladder) == 1 and not policy.use_cohort:
        message = "nothing can be compared: the only step is 100 %, so never does a part alone have the feature"
        yield _warning(loaded, message, "compare")


def lint_returning_feature(feature: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    """What of a severity's policy does not fit this feature: its cohort, and the metrics that the policy names."""
    for severity in Severity:
        try:
            used = policies.severity(feature.policy, severity)
        except ConfigurationError:  # told elsewhere
            continue
        if feature.policy.cohort is not None and used.policy.use_cohort:
            yield from _deadlines(used, _places(used.policy, cohort=True))
        yield from _metrics(feature, used)


def samples_for(gate: Gate, share: float) -> int:
    """How many clean samples a stage needs at least that may spend this share of alpha, for the first fix."""
    return Evidence.start(gate.p0).clean_samples_missing(step_alpha(gate.alpha * share, 1, attempt=1))


# -- samples and steps -------------------------------------------------------------------------


def _places(policy: SeverityPolicy, *, cohort: bool) -> list[tuple[Path, timedelta, float]]:
    """Where evidence is collected, its deadline, and the share of alpha that it spends on the next step up.

    What is watched at a step is for going up to the one after it. After the last one the monitoring watches.
    """
    places: list[tuple[Path, timedelta]] = [(("gate",), policy.gate.deadline)]
    if cohort:
        path: Path = ("gate",) if policy.cohort is None else ("cohort",)
        places.append((path, (policy.cohort or policy.gate).deadline))
    places += [(("ladder", index), step.deadline) for index, step in enumerate(policy.ladder)]
    shares = policy.shares(cohort=cohort) or (1.0,)
    return [(path, deadline, shares[min(index, len(shares) - 1)]) for index, (path, deadline) in enumerate(places)]


def _deadlines(loaded: LoadedSeverity, places: Sequence[tuple[Path, timedelta, float]]) -> Iterator[Finding]:
    gate = loaded.policy.gate
    for path, deadline, share in places:
        needed = samples_for(gate, share)
        shortest = needed * gate.interval
        if deadline < ENOUGH * shortest:
            yield _error(
                loaded,
                f"the deadline {format_duration(deadline)} is too short: {needed} clean samples, one every "
                f"{format_duration(gate.interval)}, take {_rounded(shortest)} at least; "
                f"give it {_rounded(ENOUGH * shortest)} or more",
                *path,
                "deadline",
            )


def _openings(loaded: LoadedSeverity) -> Iterator[Finding]:
    """A gate that hardly any sample opens is a path to on without a gate, also where a person has to say go."""
    policy = loaded.policy
    needed = samples_for(policy.gate, max(policy.shares(cohort=False), default=1.0))
    if needed < FEWEST:
        message = f"{needed} clean samples open the gate: that is a path to on without a gate; lower p0 and alpha"
        yield _error(loaded, message, "gate")


def _last_step(loaded: LoadedSeverity) -> Iterator[Finding]:
    if not loaded.policy.ladder:
        return
    index, last = len(loaded.policy.ladder) - 1, loaded.policy.ladder[-1]
    if last.judgement == "human":
        message = "nothing comes after 100 %, so nobody is ever asked for this go; put it on the step before"
        yield _error(loaded, message, "ladder", index, "judgement")
    if last.minimum_users is not None:
        message = "nothing comes after 100 %, so nobody is counted at this step; the monitoring watches it"
        yield _warning(loaded, message, "ladder", index, "minimum_users")


# -- freeze and switches -----------------------------------------------------------------------


def _freeze(loaded: LoadedSeverity) -> Iterator[Finding]:
    rule = loaded.policy.freeze
    if rule is None:
        return
    try:
        zone_of(rule)
    except ConfigurationError as error:
        where = "time_zone" if rule.time_zone is not None else "hours"
        yield _error(loaded, f"{error.message} {error.next}", "freeze", where)
    first = datetime(min(rule.days).year if rule.days else 2000, 1, 1, tzinfo=UTC)
    freeze = rule.as_freeze()
    if ends(freeze, first) is None:
        yield _error(loaded, f"the freeze never ends, {NEVER}", "freeze")


def _switches(loaded: LoadedSeverity) -> Iterator[Finding]:
    for index, switch in enumerate(loaded.policy.switches):
        path: Path = ("switches", index, "read_back", "url")
        if (names := loaded.unset.get(dotted(path))) is not None:
            message = f"{', '.join(names)} is not set here, so only a person can say that {switch.name} is lifted"
            yield _warning(loaded, message, *path)
        if dotted(path) in loaded.defaulted:
            yield _error(loaded, "the address falls back to a default, so this switch counts as unknown", *path)


# -- approvals ---------------------------------------------------------------------------------


def _approvals(loaded: LoadedSeverity, rule: Approvals) -> Iterator[Finding]:
    soak = loaded.policy.gate.minimum_soak
    yield from _givers(loaded, rule)
    for role in rule.escalate_to:
        if role == "ci":
            message = "ci is the role of a pipeline, which nobody can call and which approves nothing"
            yield _error(loaded, message, "approvals", "escalate_to")
    if rule.escalate_after < soak:
        message = (
            f"the next role is called after {format_duration(rule.escalate_after)}, before the gate can open at all "
            f"({format_duration(soak)}); make escalate_after longer"
        )
        yield _warning(loaded, message, "approvals", "escalate_after")
    if rule.valid_for < soak:
        message = (
            f"an approval is good for {format_duration(rule.valid_for)}, and the gate opens after "
            f"{format_duration(soak)} at the earliest: one that is given at once is void by then"
        )
        yield _warning(loaded, message, "approvals", "valid_for")
    if not rule.force_needs_approval:
        message = "--force needs neither evidence nor an approval here: one person alone brings it back"
        yield _warning(loaded, message, "approvals", "force_needs_approval")


def _givers(loaded: LoadedSeverity, rule: Approvals) -> Iterator[Finding]:
    """Whether so many people can give it. Tokens are not known here, so a role that a token can have has holders."""
    named = {name for name, roles in rule.roles_of.items() if set(roles) & set(rule.roles)}
    unlimited = bool(TOKEN_ROLES & set(rule.roles))
    if not unlimited and len(named) < rule.required:
        held = f"{len(named)} of them can" if named else "nobody can"
        message = (
            f"{rule.required} approvals by {' or '.join(rule.roles)} are wanted and {held} give one, {NEVER}; "
            f"name them in roles_of"
        )
        yield _error(loaded, message, "approvals", "roles")
    elif not unlimited and rule.four_eyes and len(named) == rule.required:
        message = "as many people can approve as must: when one of them turned it off, nobody can (four eyes)"
        yield _warning(loaded, message, "approvals", "roles_of")
    for role in rule.roles:
        if role not in TOKEN_ROLES and not any(role in roles for roles in rule.roles_of.values()):
            message = f"nobody has the role {role}: no token can, and roles_of names nobody"
            yield _warning(loaded, message, "approvals", "roles")


# -- metrics of a feature ----------------------------------------------------------------------


def _metrics(feature: LoadedFeature, used: LoadedSeverity) -> Iterator[Finding]:
    health = feature.policy.health
    probes = {endpoint.name for endpoint in health.endpoints}
    counted = {source.name: source for source in health.metrics}
    for index, step in enumerate(used.policy.ladder):
        path: Path = ("ladder", index, "users_metric")
        if step.users_metric in probes:
            message = f"{step.users_metric} of {feature.policy.feature} is a probe of ours: its samples are no users"
            yield _error(used, message, *path)
        elif step.users_metric is not None and step.users_metric not in counted:
            message = f"{feature.policy.feature} has no metric {step.users_metric}, so this step is never passed"
            yield _error(used, message, *path)
    compare = used.policy.compare
    if compare is None:
        return
    source = counted.get(compare.metric)
    if source is None:
        message = f"{feature.policy.feature} has no metric {compare.metric}, so nothing is compared"
        yield _error(used, message, "compare", "metric")
    elif getattr(source, "by_tag", None) is None:
        message = f"{compare.metric} of {feature.policy.feature} has no by_tag, so it has no strata to compare"
        yield _error(used, message, "compare", "metric")
    elif (cap := getattr(source, "maximum_samples_per_window", UNCAPPED)) < UNCAPPED:
        message = (
            f"{compare.metric} of {feature.policy.feature} counts {cap} requests a window at most, rounded against "
            f"health, in each arm by itself: a larger arm can look worse; compare a metric with {UNCAPPED} of them"
        )
        yield _warning(used, message, "compare", "metric")


# -- small things ------------------------------------------------------------------------------


def _rounded(duration: timedelta) -> str:
    """A duration for reading: whole seconds below two minutes, whole minutes above, rounded up."""
    seconds = -(-duration // timedelta(seconds=1))
    return f"{seconds}s" if seconds < 120 else f"{-(-seconds // 60)}m"


def _error(loaded: LoadedSeverity, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error", message)


def _warning(loaded: LoadedSeverity, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "warning", message)
