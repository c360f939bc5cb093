"""What happens at one severity: how exposure is lowered, and what must hold before it is raised again."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from rollback.core.ladder_policy import CohortStep, Step, check_ladder, check_shares, check_soak, shares_of
from rollback.core.model import Severity
from rollback.core.pipeline_policy import Deploys
from rollback.core.policy_base import Duration, Line, PolicyModel, Switch
from rollback.core.return_policy import Approvals, Compare, ReleaseFreeze, SwitchBeside


class Mitigation(StrEnum):
    """What a case of this severity does to the flag at once."""

    OFF = "off"
    REDUCE = "reduce"
    LEAVE = "leave"


MITIGATION = {
    Severity.CRITICAL: Mitigation.OFF,
    Severity.HIGH: Mitigation.REDUCE,
    Severity.LOW: Mitigation.LEAVE,
}
"""Each severity's mitigation is fixed: a file repeats it for its readers, and cannot change it."""

FORCE_LIMIT = timedelta(hours=8)
"""No `--force` lasts longer, whatever a policy says: what it skipped is reviewed within a working day."""


class Gate(PolicyModel):
    """How much evidence of health is enough. `core.evidence` has the tests and their sources."""

    p0: float = Field(
        default=0.02,
        ge=0.0001,
        le=0.9,
        description=(
            "The harm rate from which on the feature counts as still broken, a share of the samples. "
            "0.02: the first users' error charts are green below 1 % and red above 5 %, and 2 % tells "
            "the two apart in minutes."
        ),
    )
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description=(
            "How probable it may be, at most, that a broken feature passes: over the whole ladder and "
            "all fixes of a case. 0.01: once in a hundred incidents, and a tenth of it would cost half "
            "as many samples again."
        ),
    )
    harm_alpha: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description=(
            "How probable it may be, at most, that a healthy feature is called harmed (per metric and "
            "step). 0.01: a false retreat costs minutes, so it need not be rarer than a false pass."
        ),
    )
    interval: Duration = Field(
        default=timedelta(seconds=1),
        gt=timedelta(0),
        description=(
            "Time between two rounds of probes, each one sample per endpoint. 1s: one request per "
            "second and endpoint is no load, and the samples that the gate needs are there in minutes."
        ),
    )
    minimum_soak: Duration = Field(
        description=(
            "How long the gate watches at least, however good the samples. The defence against faults "
            "in bursts, which can be quiet while they are tested."
        ),
    )
    deadline: Duration = Field(
        gt=timedelta(0),
        description=(
            "When evidence is still missing after this time, exposure stays where it is and a person is called."
        ),
    )

    @model_validator(mode="after")
    def _soak_before_deadline(self) -> Self:
        check_soak(self.minimum_soak, self.deadline)
        return self


class Monitoring(PolicyModel):
    """The watch after the return (critical, high), or while a low case is checked."""

    duration: Duration = Field(
        gt=timedelta(0),
        description="How long the feature is watched at full exposure before the case is resolved.",
    )
    interval: Duration = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        description="Time between two rounds of probes. 5s: it goes on for hours or days, and must be no load.",
    )
    false_alarms_per_year: float = Field(
        default=1.0,
        gt=0,
        le=365,
        description=(
            "How many false alarms a year of such watching may bring. The alarm level per sample "
            "follows from it. 1: rarer than real incidents."
        ),
    )


class Force(PolicyModel):
    """`--force` skips the gate, never the monitor."""

    default: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        description="How long a forced return lasts unless its author says otherwise.",
    )
    maximum: Duration = Field(
        default=FORCE_LIMIT,
        gt=timedelta(0),
        le=FORCE_LIMIT,
        description=(
            "The longest that its author may ask for; at most 8h, so that the review comes within a working day."
        ),
    )

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default > self.maximum:
            raise ValueError("default must not be longer than maximum")
        return self


class Returns(PolicyModel):
    """How often a feature may be on its way back by itself: flapping ends with a person."""

    budget: int = Field(
        default=10,
        ge=0,
        le=100,
        description=(
            "How many returns may be begun within `window` by automation, or by somebody who is merely claimed. "
            "Authenticated people are not limited. 10: more in a day is flapping, whatever the fault. 0: people alone."
        ),
    )
    window: Duration = Field(
        default=timedelta(days=1), gt=timedelta(0), description="The window. 1d: a day's work on one fault."
    )
    cool_down: Duration = Field(
        default=timedelta(0),
        description="How long after the last harm such a return may begin. 0s: at once; its gate is the defence.",
    )


class Remind(PolicyModel):
    """When a feature that stays off calls its owner."""

    after: tuple[Duration, ...] = Field(
        default=(timedelta(hours=1), timedelta(hours=4)),
        max_length=20,
        description="How long after it went off, rising. 1h, 4h: within a shift. Empty: only `then_every`.",
    )
    then_every: Duration | None = Field(
        default=timedelta(hours=1),
        ge=timedelta(minutes=5),
        description="How often after the last of `after`. 1h: being off is no place to stay. Null: never again.",
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.after)) or timedelta(0) in self.after:
            raise ValueError("after must rise, and begin above 0")
        return self


class SeverityPolicy(PolicyModel):
    """Policy of one severity: `critical.yaml`, `high.yaml` or `low.yaml`, or another file that a feature names."""

    severity: Severity = Field(description="For which severity this policy is.")
    summary: Line = Field(description="What it does, in one sentence for people.")
    mitigation: Mitigation = Field(
        description="What happens to the flag at once. Fixed: critical is off, high is reduce, low is leave."
    )
    reduce_to: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description=(
            "For high alone: what is left, as a percentage of the buckets that are open without us. Null elsewhere."
        ),
    )
    gate: Gate = Field(description="The evidence before any exposure is raised (low: before the case may close).")
    ladder: tuple[Step, ...] = Field(
        default=(),
        max_length=20,
        description=(
            "The steps back to full exposure, rising, the last one 100. Empty for low: its exposure never changes."
        ),
    )
    use_cohort: Switch = Field(
        default=False,
        description=(
            "Whether the feature's cohort (testers) is let in ahead of the first step. False: synthetic"
            " probes alone come before the ladder."
        ),
    )
    cohort: CohortStep | None = Field(
        default=None,
        description="The cohort's own step, when use_cohort is true. Null: it is watched as the gate says.",
    )
    freeze: ReleaseFreeze | None = Field(
        default=None, description="Times in which nothing is raised. Null: none; turning off knows none ever."
    )
    approvals: Approvals | None = Field(
        default=None, description="Who has to permit a return. Null: nobody; turning off needs nobody ever."
    )
    switches: tuple[SwitchBeside, ...] = Field(
        default=(),
        max_length=10,
        description="Switches beside the flag that others lift. While one is up, nothing is raised or counted.",
    )
    compare: Compare | None = Field(
        default=None, description="Two strata of one metric that are compared for harm. Null: no comparison."
    )
    monitoring: Monitoring = Field(description="The watch at full exposure, until the case is resolved.")
    force: Force = Field(default_factory=Force, description="Bounds of `--force`.")
    needs_human_after: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description=(
            "How long a case may wait for its fix before the owner is called, and again each time as "
            "long. Null: never, and `policy lint` asks why."
        ),
    )
    returns: Returns = Field(default_factory=Returns, description="How often automation may bring it back.")
    deploys: Deploys | None = Field(
        default=None,
        description=(
            "Workflows whose every deploy counts as the fix. Null: only the commit that a responder linked"
            " (`rollback fix`)."
        ),
    )
    remind: Remind = Field(default_factory=Remind, description="When it calls its owner while it stays off.")
    debugging: tuple[Line, ...] = Field(
        default=(),
        description="What responders do while the feature is off or reduced, in order, from the runbook.",
    )
    fix: tuple[Line, ...] = Field(
        default=(), description="How the fix is made and deployed, in order, from the runbook."
    )

    @model_validator(mode="after")
    def _fits_severity(self) -> Self:
        wanted = MITIGATION[self.severity]
        if self.mitigation is not wanted:
            raise ValueError(f"mitigation must be {wanted} when severity is {self.severity}")
        if (self.reduce_to is None) == (self.mitigation is Mitigation.REDUCE):
            raise ValueError("reduce_to belongs to severity high: set it there, leave it out elsewhere")
        if self.mitigation is Mitigation.LEAVE and self.ladder:
            raise ValueError("ladder must be empty when severity is low: nothing changes the exposure")
        if self.mitigation is not Mitigation.LEAVE:
            check_ladder(self.ladder)
        return self

    @model_validator(mode="after")
    def _fits_the_ladder(self) -> Self:
        if self.mitigation is Mitigation.LEAVE and (self.approvals or self.freeze or self.compare):
            raise ValueError("approvals, freeze and compare are for raises, and nothing is raised when severity is low")
        if self.cohort is not None and not self.use_cohort:
            raise ValueError("cohort needs use_cohort: true, or it is never let in")
        names = [switch.name for switch in self.switches]
        if len(set(names)) < len(names):
            raise ValueError("two switches have one name")
        check_shares(self._said_shares(cohort=True))
        return self

    def shares(self, *, cohort: bool) -> tuple[float, ...]:
        """The part of alpha of each stage, in order; with `cohort` its own comes first. They add up to 1 at most."""
        return shares_of(self._said_shares(cohort=cohort))

    def _said_shares(self, *, cohort: bool) -> list[float | None]:
        first = [self.cohort.alpha_share if self.cohort else None] if cohort and self.use_cohort else []
        return [*first, *(step.alpha_share for step in self.ladder)]

    @property
    def percents(self) -> tuple[float, ...]:
        """The ladder's percentages, in order."""
        return tuple(step.percent for step in self.ladder)
