"""A planned release as a policy: its stages, how long each lasts, what must hold, and what takes it back.

`policies/releases/<release>.yaml` holds a team's own plan in its own numbers, so that it can be checked, shown and
compared. It is a plan: this program brings features back by their severities' ladders, and carries out no planned
release. What a plan says and these words cannot is in its file's comment.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from rollback.core.policy_base import Duration, FeatureKey, FlagKey, Line, PolicyModel, Switch
from rollback.core.release_criteria import Criterion, Escalation


class Toggle(PolicyModel):
    """A flag of the release."""

    key: FlagKey = Field(description="The flag's key, as the plan names it.")
    surface: Line | None = Field(default=None, description="What it switches, or where. Null: the whole release.")
    off_means: Line | None = Field(
        default=None, description="What people meet while it is off. Null: the plan does not say."
    )


class Users(PolicyModel):
    """How many people a stage is for, as the plan estimates or limits it."""

    least: int | None = Field(default=None, ge=1, description="At least so many. Null: the plan does not say.")
    most: int | None = Field(default=None, ge=1, description="At most so many. Null: the plan does not say.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least is None and self.most is None:
            raise ValueError("say least, most, or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("least must not be above most")
        return self


class Sample(PolicyModel):
    """A number of things that must have happened, so that the stage has said something."""

    of: Line = Field(description="What is counted, e.g. submissions, page viewers.")
    at_least: int = Field(ge=1, description="So many at least, before the stage is over.")


class StopAt(PolicyModel):
    """A stage that ends itself: the flag goes off at so many, and people look."""

    of: Line = Field(description="What is counted.")
    count: int = Field(ge=1, description="At so many the flag goes off.")
    then: Line = Field(description="What people do then.")


class Stage(PolicyModel):
    """One stage of a release, by percent, by users, or for a group that is named."""

    name: Line | None = Field(default=None, description="What the plan calls it. Null: its size says it.")
    percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="At most this percentage of all users. Null: the stage is not sized by percent.",
    )
    users: Users | None = Field(
        default=None,
        description="How many people: the stage's size where there is no percent, else what the plan expects.",
    )
    group: Line | None = Field(default=None, description="Who has it, when it is for people who are named. Null: all.")
    hold_for: Duration | None = Field(
        default=None, description="How long it lasts at least before the next stage. Null: the plan gives no duration."
    )
    hold_at_most: Duration | None = Field(default=None, description="How long it lasts at most. Null: no limit.")
    business_days: int | None = Field(
        default=None, ge=1, description="So many full business days at least. Null: the plan does not count those."
    )
    length_in_words: Line | None = Field(
        default=None, description="A duration that the plan gives without a number, e.g. `a few days`. Null: none."
    )
    starts: date | None = Field(default=None, description="The day on which it begins. Null: the plan has no date.")
    ends: date | None = Field(default=None, description="The day on which it ends. Null: the plan has no date.")
    month: str | None = Field(
        default=None, pattern=r"^\d{4}-\d\d$", description="The month, where the plan names no day. Null: none."
    )
    samples: tuple[Sample, ...] = Field(
        default=(), max_length=10, description="What must have happened first, all of it. Empty: nothing is counted."
    )
    stop_at: StopAt | None = Field(default=None, description="When it ends itself. Null: it does not.")
    probe: Switch = Field(
        default=False, description="Whether it is a try that is taken back before the stages begin; it need not rise."
    )
    optional: Switch = Field(default=False, description="Whether the plan allows to leave it out.")
    decision: Switch = Field(
        default=False, description="Whether people decide on it, and it is no matter of time and numbers alone."
    )

    note: Line | None = Field(default=None, description="What the plan adds. Null: nothing.")

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.percent is None and self.users is None and self.group is None and self.name is None:
            raise ValueError("a stage is sized by percent, by users, for a group, or at least has a name")
        if self.hold_for is not None and self.hold_at_most is not None and self.hold_for > self.hold_at_most:
            raise ValueError("hold_for must not be longer than hold_at_most")
        if self.starts is not None and self.ends is not None and self.ends < self.starts:
            raise ValueError("ends must not be before starts")
        return self


class Window(PolicyModel):
    """Between which days the release happens."""

    first: date = Field(description="The first day.")
    last: date = Field(description="The last day.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("last must not be before first")
        return self


class TakeBack(PolicyModel):
    """What takes the release back, and how."""

    to_percent: float | None = Field(
        default=None, ge=0, lt=100, description="The percentage it goes back to; 0 is off. Null: not said."
    )
    by_severity: Switch = Field(
        default=False,
        description="Whether it is decided by severity: critical off, high reduced, low left on, as in this folder.",
    )
    by: Line | None = Field(default=None, description="The role that does it at once. Null: not said.")
    when: tuple[Line, ...] = Field(
        default=(), max_length=20, description="What takes it back, in the plan's words. Empty: the plan has none."
    )
    monitors: tuple[Line, ...] = Field(
        default=(), max_length=20, description="Ids of the monitors that tell. Empty: the plan names none."
    )
    reversible_per_user: Switch = Field(
        default=True, description="False: whoever has had the new one stays on it, also when the flag goes off."
    )


class ReleasePolicy(PolicyModel):
    """One release plan: `policies/releases/<release>.yaml`."""

    release: FeatureKey = Field(description="The plan's key; the file has its name.")
    title: Line = Field(description="What the plan is of.")
    plan: Line | None = Field(
        default=None, description="Where the public plan is kept, within its team's documents. Null: not known."
    )
    toggles: tuple[Toggle, ...] = Field(
        default=(), max_length=10, description="The flags. Empty: the plan is a template, or a rule for incidents."
    )
    stages: tuple[Stage, ...] = Field(
        default=(), max_length=20, description="The stages in order. Empty: the plan has none."
    )
    criteria: tuple[Criterion, ...] = Field(
        default=(), max_length=20, description="What must hold. Empty: no number, people judge."
    )
    judgement: Switch = Field(
        default=False, description="Whether people judge what no number says: `a spike`, `unexpected behaviour`."
    )
    window: Window | None = Field(default=None, description="Between which days. Null: no such limit.")
    judged_at: Line | None = Field(
        default=None, description="At what time of the day it is judged, with the zone. Null: not said."
    )
    business_hours: Switch = Field(default=False, description="Whether it happens in business hours alone.")
    follow_up: tuple[Duration, ...] = Field(
        default=(), max_length=10, description="How long after the last stage it is looked at again. Empty: never."
    )
    take_back: TakeBack | None = Field(default=None, description="What takes it back. Null: the plan does not say.")
    escalations: tuple[Escalation, ...] = Field(
        default=(), max_length=20, description="Who is told when, during an incident. Empty: the plan does not say."
    )
    check_ins: Line | None = Field(
        default=None, description="How people keep one another informed during an incident. Null: not said."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check_rising(self.stages)
        names = [criterion.name for criterion in self.criteria]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"criteria are named once: {', '.join(twice)} is there twice")
        if not (self.stages or self.criteria or self.take_back or self.escalations):
            raise ValueError("a plan has stages, criteria, take_back or escalations; this one says nothing")
        return self

    @property
    def percents(self) -> tuple[float, ...]:
        """The stages' percentages, in order; those of probes, and of stages that have none, are left out."""
        return tuple(stage.percent for stage in self.stages if stage.percent is not None and not stage.probe)

    @property
    def shortest(self) -> timedelta:
        """How long the stages last at least, where the plan gives durations."""
        return sum((stage.hold_for for stage in self.stages if stage.hold_for is not None), timedelta(0))


def _check_rising(stages: tuple[Stage, ...]) -> None:
    """A release goes up; going down is taking it back. A probe is taken back, so it may be higher than what follows."""
    sized = [stage for stage in stages if stage.percent is not None and not stage.probe]
    for earlier, later in pairwise(sized):
        assert earlier.percent is not None
        assert later.percent is not None
        if later.percent <= earlier.percent:
            raise ValueError("stages must rise: each percent above the one before")
    dated = [stage for stage in stages if stage.starts is not None]
    for earlier, later in pairwise(dated):
        assert earlier.starts is not None
        assert later.starts is not None
        if later.starts < (earlier.ends or earlier.starts):
            raise ValueError("stages' dates must rise: none begins before the one before it has ended")
