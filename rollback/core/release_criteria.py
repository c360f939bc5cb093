"""What must hold in a planned release: absolute, relative to something else, or never; and who is told when."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel

LIMITS = ("below", "at_most", "above", "at_least")


class Criterion(PolicyModel):
    """One criterion. Rates are shares from 0 to 1; counts are whole numbers.

    An absolute one has exactly one limit. A relative one compares with `than`: `no_worse`, or at most `times` of it.
    """

    name: FeatureKey = Field(description="Its name, unique within the plan.")
    what: Line = Field(description="What is measured.")
    unit: Literal["rate", "count"] = Field(
        default="rate", description="rate: a share of 1 (5 % is 0.05). count: how many."
    )
    below: float | None = Field(default=None, ge=0, description="It must stay below this. Null: another limit.")
    at_most: float | None = Field(
        default=None, ge=0, description="It may be this and no more; 0 tolerates none. Null: another limit."
    )
    above: float | None = Field(default=None, ge=0, description="It must be above this. Null: another limit.")
    at_least: float | None = Field(default=None, ge=0, description="It must be this or more. Null: another limit.")
    than: Line | None = Field(
        default=None, description="What it is compared with: the old way, or how it is now. Null: it is absolute."
    )
    times: float | None = Field(
        default=None, gt=0, description="With `than`: up to so many times of it are no worse. Null: none is."
    )
    on: Line | None = Field(default=None, description="For which surface or stage alone. Null: for all.")
    note: Line | None = Field(
        default=None, description="What the plan adds, e.g. that it is an example. Null: nothing."
    )
    minimum_samples: int | None = Field(
        default=None, ge=1, description="It says nothing before so many. Null: the plan has no minimum."
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        limits = [name for name in LIMITS if getattr(self, name) is not None]
        if self.than is None and len(limits) != 1:
            raise ValueError(f"give exactly one of {', '.join(LIMITS)}, or `than` for a comparison")
        if self.than is not None and limits:
            raise ValueError("a comparison (`than`) has no limit of its own; use `times`")
        if self.times is not None and self.than is None:
            raise ValueError("`times` needs `than`, what it is compared with")
        limit = getattr(self, limits[0]) if limits else None
        if limit is not None and self.unit == "rate" and limit > 1:
            raise ValueError("a rate is a share from 0 to 1; 5 % is 0.05")
        if limit is not None and self.unit == "count" and limit != int(limit):
            raise ValueError("a count is a whole number")
        return self

    @property
    def tolerates_none(self) -> bool:
        """Whether a single one is too many."""
        return self.unit == "count" and (self.at_most == 0 or self.below == 1)


class Escalation(PolicyModel):
    """During an incident: what makes somebody be told, and who. Each of its conditions suffices."""

    tell: Line = Field(description="Who is told, or what is done; a role, never a person.")
    after: Duration | None = Field(
        default=None, gt=timedelta(0), description="When it has lasted longer than this. Null: time does not matter."
    )
    rate_above: float | None = Field(
        default=None, gt=0, lt=1, description="When a rate is above this share. Null: no such limit."
    )
    rate_of: Line | None = Field(default=None, description="Of what: errors, users. Null: without rate_above.")
    judged: Line | None = Field(
        default=None, description="What people judge, in the plan's words: `severe`, `several failures`. Null: nothing."
    )
    within: Duration | None = Field(
        default=None, gt=timedelta(0), description="Only in the first so much time. Null: at any time."
    )
    again_every: Duration | None = Field(
        default=None, gt=timedelta(0), description="How often it is judged again. Null: not said."
    )
    by: Line | None = Field(default=None, description="Who tells. Null: whoever is there.")

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if self.after is None and self.rate_above is None and self.judged is None:
            raise ValueError("say when: after, rate_above or judged")
        if (self.rate_above is None) != (self.rate_of is None):
            raise ValueError("rate_above and rate_of belong together")
        return self
