"""The steps of the ladder as a severity's file says them: how high, how long, and how much of alpha each may spend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rollback.core.policy_base import Duration, FeatureKey, PolicyModel

ROUNDING = 1e-9
"""Shares that are written with a few digits may add up to a little more than 1 in the computer."""


class CohortStep(PolicyModel):
    """The step before the ladder's first one: the feature's cohort alone is in, and everybody else is still off."""

    minimum_soak: Duration = Field(description="How long the cohort is watched at least.")
    deadline: Duration = Field(
        gt=timedelta(0),
        description="When evidence is still missing after this time, the cohort stays in and a person is called.",
    )
    alpha_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "The part of alpha that the evidence for letting the cohort in may spend. Null: as much as a step that "
            "says nothing."
        ),
    )

    @model_validator(mode="after")
    def _soak_before_deadline(self) -> Self:
        check_soak(self.minimum_soak, self.deadline)
        return self


class Step(PolicyModel):
    """One step of the ladder: at most so much exposure, until the evidence of this step is there."""

    percent: float = Field(
        gt=0,
        le=100,
        description=(
            "At most this percentage of the buckets that would be open without us. Whole numbers: a "
            "flag has 100 buckets."
        ),
    )
    minimum_soak: Duration = Field(
        default=timedelta(0),
        description=(
            "How long this step is watched at least. Longer than clients take to poll, or the step is "
            "judged before anybody was served. It, or hold_for, must be there."
        ),
    )
    hold_for: Duration | None = Field(
        default=None,
        description="Another word for minimum_soak, for steps of days: `2d`. Null: minimum_soak is given.",
    )
    deadline: Duration = Field(
        gt=timedelta(0),
        description=(
            "When evidence is still missing after this time, exposure stays at this step and a person is called."
        ),
    )
    alpha_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "The part of the gate's alpha that the evidence for going up to this step may spend. All parts add up to 1 "
            "at most. Null: what the others leave, in equal parts."
        ),
    )
    judgement: Literal["evidence", "human"] = Field(
        default="evidence",
        description=(
            "human: beside the evidence a person has to say go (`rollback approve FEATURE --step`) before the next "
            "step is taken. evidence: the evidence alone decides."
        ),
    )
    minimum_users: int | None = Field(
        default=None,
        ge=1,
        description=(
            "So many requests of `users_metric` must have been seen at this step. Requests are counted, and not "
            "different people. Null: time and evidence alone decide."
        ),
    )
    users_metric: FeatureKey | None = Field(
        default=None, description="The metric that counts requests of real users, for minimum_users. Null: none."
    )

    @model_validator(mode="before")
    @classmethod
    def _two_words_for_one(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("hold_for") is None:
            return data
        return {"minimum_soak": data["hold_for"], **data}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if "minimum_soak" not in self.model_fields_set:
            raise ValueError("give minimum_soak, or hold_for")
        if self.hold_for is not None and self.hold_for != self.minimum_soak:
            raise ValueError("minimum_soak and hold_for are one time in two words; give one of the two")
        if (self.minimum_users is None) != (self.users_metric is None):
            raise ValueError("minimum_users needs users_metric, the metric that counts them, and the other way round")
        check_soak(self.minimum_soak, self.deadline)
        return self


def check_soak(minimum_soak: timedelta, deadline: timedelta) -> None:
    """Raises ValueError for a soak that outlasts its deadline."""
    if minimum_soak >= deadline:
        raise ValueError("minimum_soak must be shorter than deadline, or it can never pass")


def check_ladder(ladder: tuple[Step, ...]) -> None:
    """Raises ValueError for a ladder that does not rise, or does not end at full exposure."""
    if not ladder or ladder[-1].percent != 100:
        raise ValueError("ladder must end with a step of percent: 100")
    if any(later.percent <= earlier.percent for earlier, later in pairwise(ladder)):
        raise ValueError("ladder must rise: each step's percent above the one before")


def check_shares(said: Sequence[float | None]) -> None:
    """Raises ValueError when the shares of alpha that are said spend too much, or leave nothing for the others."""
    total = sum(share for share in said if share is not None)
    if total > 1 + ROUNDING:
        raise ValueError(f"the shares of alpha add up to {total:g}; all steps together spend 1 at most")
    if total > 1 - ROUNDING and None in said:
        raise ValueError("the shares of alpha leave nothing for the steps that say none")


def shares_of(said: Sequence[float | None]) -> tuple[float, ...]:
    """Each stage's part of alpha: what it says, or an equal part of what the others leave. Sums to 1 at most."""
    left = max(0.0, 1 - sum(share for share in said if share is not None))
    silent = sum(share is None for share in said)
    return tuple(left / silent if share is None else share for share in said)
