"""What may hold back a raise beside the evidence, and what compares two arms: parts of a severity's policy.

All of it is about raises alone. Nothing that is written here is ever asked when a feature is turned off or reduced, and
a file that tries to say so is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rollback.core.approvals import APPROVER, ApprovalRule
from rollback.core.calendar import WEEKDAYS, Freeze
from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel, Switch
from rollback.core.probe_target import Request

LOWERING = frozenset({"applies_to", "disable", "for", "lower", "lowering", "off", "reduce"})
"""Words by which a file might try to make an off wait."""

_HOURS = re.compile(r"(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)(?: +(?P<zone>[A-Za-z][A-Za-z0-9_+/-]{0,59}))?")

Role = FeatureKey
"""A role's name: `approver`, `owner` …"""


class ForRaisesAlone(PolicyModel):
    """A part that holds raises back, and refuses every word that would make it hold back an off."""

    @model_validator(mode="before")
    @classmethod
    def _never_for_off(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and (words := sorted(LOWERING & {str(key) for key in data})):
            raise ValueError(f"turning off and reducing are never held back: take {', '.join(words)} out")
        return data


class ReleaseFreeze(ForRaisesAlone):
    """Times without releases. Days, weekdays and hours are three freezes; each holds raises back by itself."""

    days: tuple[date, ...] = Field(
        default=(), max_length=400, description="Days without any raise, e.g. 2026-11-26. Empty: none."
    )
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=(), max_length=7, description="Weekdays without any raise: mon, tue, wed, thu, fri, sat, sun."
    )
    hours: Annotated[str, Field(max_length=80)] | None = Field(
        default=None,
        description=(
            "Hours of each day without any raise, with their zone: `09:00-17:00 America/New_York`. From the first time "
            "(included) to the second (not included); `17:00-09:00 …` goes over midnight, so that raises are made from "
            "9 to 17 alone. Null: none."
        ),
    )
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,59}$")] | None = Field(
        default=None,
        description=(
            "The zone of days and weekdays, by its name in the tz database. Null: that of `hours`; without either the "
            "file is refused, because nobody would know whose midnight is meant."
        ),
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not (self.days or self.weekdays or self.hours):
            raise ValueError("name days, weekdays or hours; a freeze without any holds nothing back")
        self.as_freeze()
        zones = {zone for zone in (self.time_zone, self._said_in_hours()) if zone}
        if not zones:
            raise ValueError("say the time zone, e.g. time_zone: America/New_York")
        if len(zones) > 1:
            raise ValueError("hours and time_zone name two time zones; give one of the two")
        return self

    @property
    def zone(self) -> str:
        """The name of the zone in which all of it is meant; whether there is one is for who reads time zones."""
        return self.time_zone or self._said_in_hours() or ""

    def as_freeze(self) -> Freeze:
        """The same as `core.calendar` looks at it. Raises ValueError for hours that are none."""
        weekdays = frozenset(WEEKDAYS.index(day) for day in self.weekdays)
        return Freeze(frozenset(self.days), weekdays, self._read_hours())

    def _said_in_hours(self) -> str | None:
        found = _HOURS.fullmatch(self.hours or "")
        return found["zone"] if found else None

    def _read_hours(self) -> tuple[time, time] | None:
        if self.hours is None:
            return None
        found = _HOURS.fullmatch(self.hours)
        try:
            start, end = (time.fromisoformat(found[name]) for name in ("start", "end")) if found else (None, None)
        except ValueError:
            start = end = None
        if start is None or end is None or start == end:
            raise ValueError("hours are two times of a day and a zone, e.g. 09:00-17:00 America/New_York")
        return start, end


class Approvals(ForRaisesAlone):
    """Who has to permit a return before anything is raised. An approval replaces no evidence."""

    required: int = Field(default=1, ge=1, le=5, description="How many different people. 1: four eyes in all.")
    roles: tuple[Role, ...] = Field(
        default=(APPROVER,),
        min_length=1,
        max_length=10,
        description="Who may give it: any of these roles. An account of the operating system is `approver`.",
    )
    four_eyes: Switch = Field(
        default=True,
        description=(
            "Whether those are barred who turned the feature off, deployed the fix or bring it back. An off by an alert"
            " bars nobody. False: one person may do it all."
        ),
    )
    valid_for: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        description=(
            "How long after it was given it lets a return begin to raise; then it lasts for that return. 1h: what was "
            "looked at is still so."
        ),
    )
    escalate_after: Duration = Field(
        default=timedelta(minutes=30),
        gt=timedelta(0),
        description="How long each role is waited for before the next one of `escalate_to` is called.",
    )
    escalate_to: tuple[Role, ...] = Field(
        default=(),
        max_length=10,
        description="The roles to call, in order; one that was called may approve too. Empty: those of `roles`.",
    )
    roles_of: Mapping[Line, tuple[Role, ...]] = Field(
        default_factory=dict,
        description=(
            "The roles of accounts of the operating system, by name; one that is not here is `approver`. Tokens have "
            "the role that they were issued for."
        ),
    )
    force_needs_approval: Switch = Field(
        default=True, description="Whether `--force`, which skips the gate, needs the approval all the same."
    )

    def as_rule(self) -> ApprovalRule:
        """The same as `core.approvals` counts it."""
        return ApprovalRule(
            required=self.required,
            roles=self.roles,
            four_eyes=self.four_eyes,
            valid_for=self.valid_for,
            escalate_after=self.escalate_after,
            escalate_to=self.escalate_to,
            roles_of=dict(self.roles_of),
        )


class SwitchReadBack(Request):
    """How a switch is read: its assertions hold exactly when the switch is lifted."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.assertions:
            raise ValueError("give assertions that hold when it is lifted; without them an answer says nothing")
        return self


class SwitchBeside(ForRaisesAlone):
    """Another all-or-nothing switch, such as a maintenance window. While it is up there is no evidence to be had."""

    name: FeatureKey = Field(description="What it is called here, and in `rollback approve --switch`.")
    by: Line = Field(description="Who ends it. This program never does.")
    read_back: SwitchReadBack | None = Field(
        default=None, description="How it is read. Null: only a person can say that it is lifted."
    )


class Compare(PolicyModel):
    """Those who have the feature against those who have not, by two strata of one metric. A test for harm alone."""

    metric: FeatureKey = Field(description="The metric's name, without its strata.")
    having: Line = Field(
        alias="with", description="The stratum of those who have the feature: the tag's value, or `tag:value`."
    )
    lacking: Line = Field(alias="without", description="The stratum of those who have it not.")
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="How probable it may be, at most, that a feature is called worse that is not, in one return.",
    )

    @model_validator(mode="after")
    def _two_arms(self) -> Self:
        if self.having == self.lacking:
            raise ValueError("with and without are the same stratum")
        return self
