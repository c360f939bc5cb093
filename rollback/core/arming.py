"""Whether a feature could be turned off by an alert right now, from checks that are renewed (invariant 17). Pure.

Which checks there are, and which of them count when nothing is configured for them:

* `automation`: automation may act at all. Always counts.
* `rules`: some alert can turn the feature down here. Always counts: without one, no alert does anything.
* `write`: the token has written the shadow flag. Counts as soon as a rule turns the feature off or reduces it, because
  then an alert will have to write; for rules that only open a case it is said, and no more.
* `monitors:SOURCE`: the monitors that the rules name exist, are not muted, and tell us. Where nobody can look them up
  it counts only as long as the source has no heartbeat: a heartbeat shows that the source's way to us works.
* `heartbeat:SOURCE`, `heartbeat:RULE`: the regular alert came in time. There is none unless it is configured.
* `baseline`: the probes of the healthy feature fail less than half as often as a broken one would. Where no endpoint is
  configured it counts only for features that need probes: for a guard, or to watch all the time.

What failed, is late or is not known counts wherever it is configured: no data is never health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rollback.core.alert_rules import PROBES, AlertRule
from rollback.core.feature_policy import FeaturePolicy
from rollback.core.model import Severity

LEAST_HARMS = 3
"""Failed probes of one metric below which a harm rate says nothing: one of ten is no ten percent."""


class CheckState(StrEnum):
    """What a check said the last time."""

    OK = "ok"
    FAILED = "failed"
    LATE = "late"
    """It was well, and was not renewed within its time."""
    UNKNOWN = "unknown"
    """Nobody could look, or there is no data."""
    NOT_CONFIGURED = "not_configured"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one feature. `why` is a sentence, also for one that is well (what was seen).

    `at` is when it was made, None: never. `renew_by` is until when `ok` counts, None: it needs no renewal. `needed`
    False: it is said and does not count against being armed, unless it failed or is late.
    """

    name: str
    state: CheckState
    why: str = ""
    at: datetime | None = None
    renew_by: datetime | None = None
    needed: bool = True

    def as_of(self, now: datetime) -> Check:
        """The check as it is at `now`: one that was well and was not renewed in time is late."""
        if self.state is CheckState.OK and self.renew_by is not None and now > self.renew_by:
            said = f"not renewed since {self.at:%Y-%m-%d %H:%M} UTC" if self.at else "never made"
            return replace(self, state=CheckState.LATE, why=said)
        return self

    @property
    def counts_against(self) -> bool:
        """Whether this keeps the feature from being armed."""
        if self.state is CheckState.OK:
            return False
        return self.needed or self.state in (CheckState.FAILED, CheckState.LATE)

    @property
    def said(self) -> str:
        """The check in one line."""
        return f"{self.name}: {self.state.value.replace('_', ' ')}{f': {self.why}' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class Armed:
    """The verdict. `why` says why not, empty exactly when it is armed; `remarks` does not count, and is said."""

    is_armed: bool
    why: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


NOT_CHECKED = Armed(False, ("nothing was checked yet",))


def armed(checks: Iterable[Check], now: datetime) -> Armed:
    """Armed only when there are checks and none of them counts against it at `now`. A late check is not ok."""
    current = [check.as_of(now) for check in checks]
    if not current:
        return NOT_CHECKED
    why = tuple(check.said for check in current if check.counts_against)
    told = tuple(check.said for check in current if check.state is not CheckState.OK and not check.counts_against)
    return Armed(not why, why, told)


# -- what the policy asks for ------------------------------------------------------------------------------------------


def acting_rules(policy: FeaturePolicy) -> tuple[AlertRule, ...]:
    """The rules that can match here and change the feature's exposure by themselves."""
    return tuple(
        rule
        for rule in policy.rules
        if rule.severity in (Severity.CRITICAL, Severity.HIGH) and not rule.is_heartbeat and not rule.inactive_because
    )


def needs_probes(policy: FeaturePolicy) -> bool:
    """Whether automation cannot do without the feature's probes: a guard asks them, or they run all the time."""
    asked = any(rule.guard is not None and PROBES in rule.guard.by for rule in acting_rules(policy))
    return asked or (policy.probing is not None and policy.probing.enabled)


def rules_check(policy: FeaturePolicy) -> Check:
    """Whether any alert can turn the feature down; names the rules that cannot match here."""
    lost = [f"{rule.name}: {rule.inactive_because}" for rule in policy.rules if rule.inactive_because]
    acting = acting_rules(policy)
    if not policy.rules:
        return Check("rules", CheckState.NOT_CONFIGURED, "no alert does anything: the feature has no rules")
    if not any(rule.severity is Severity.CRITICAL for rule in acting):
        why = "no rule can turn it off here" + (f" ({'; '.join(lost)})" if lost else "")
        return Check("rules", CheckState.FAILED if lost else CheckState.NOT_CONFIGURED, why)
    return Check(
        "rules", CheckState.OK, f"{len(acting)} can act" + (f"; without effect: {'; '.join(lost)}" if lost else "")
    )


# -- what was seen -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Harm:
    """What the probes of one metric said in the window. `harm` is the sum of x in [0, 1] over `samples`."""

    harm: float = 0.0
    samples: int = 0

    @property
    def rate(self) -> float:
        """The share of harm, 0 without samples."""
        return self.harm / self.samples if self.samples else 0.0


def judge_baseline(harms: Mapping[str, Harm], p0: float) -> tuple[CheckState, str]:
    """Whether every metric's harm rate is under half of `p0`: else the gate could hardly tell the healthy feature from
    the broken one, and it would never come back. A metric without samples is unknown.

    Fewer than `LEAST_HARMS` failed probes are too few to fail it, whatever the rate is.
    """
    dumb = sorted(name for name, seen in harms.items() if not seen.samples)
    if dumb or not harms:
        return CheckState.UNKNOWN, f"no data from {', '.join(dumb) or 'any probe'}"
    limit = p0 / 2
    bad = {name: seen for name, seen in harms.items() if seen.rate >= limit}
    if any(seen.harm >= LEAST_HARMS for seen in bad.values()):
        told = ", ".join(f"{name} {seen.rate:.1%} of {seen.samples}" for name, seen in sorted(bad.items()))
        return CheckState.FAILED, f"probes fail too often while all is well: {told}; half of p0 is {limit:.2%}"
    worst = max(harms.values(), key=lambda seen: (seen.rate, seen.samples))
    return CheckState.OK, f"{worst.harm:g} of {worst.samples} probes of the worst metric failed" + (
        ", too few to tell" if bad else ""
    )


def judge_heartbeat(
    name: str, heard_at: datetime | None, waiting_since: datetime, every: timedelta, now: datetime
) -> Check:
    """Whether a heartbeat came within `every`. One that was never heard is waited for once as long, and is not known
    until then: nothing shows yet that its way works."""
    if heard_at is not None:
        late = now - heard_at > every
        why = f"last heard {heard_at:%Y-%m-%d %H:%M} UTC"
        return Check(name, CheckState.LATE if late else CheckState.OK, why, heard_at, heard_at + every)
    due = waiting_since + every
    state = CheckState.LATE if now > due else CheckState.UNKNOWN
    return Check(name, state, f"never heard; expected by {due:%Y-%m-%d %H:%M} UTC")
