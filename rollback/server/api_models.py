"""The bodies of calls that change something. Unknown members are refused: a misspelt option must not be lost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"\S")]
Commit = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"\S")]
Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,6}(ms|s|m)|[0-9]{1,3}(h|d))$")]


class Body(BaseModel):
    """What all have: `dry_run` says what would be done, and writes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    dry_run: bool = False
    """Say what would be done; write nothing."""


class WithReason(Body):
    """A change that says why. The reason is cut and redacted before it is kept."""

    reason: Reason
    """Why, for the record."""


class DisableBody(Body):
    """Off for every user. Nothing in it is needed."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""
    """Why, for the record; may follow later as a note."""
    no_wait: bool = False
    """Answer after the first look, with `exit` 5 and what is pending."""
    timeout: Annotated[float, Field(ge=0.0, le=600.0, allow_inf_nan=False)] = 60.0
    """Seconds to try when the flag store does not answer."""


class EnableBody(WithReason):
    """Back through gate and ladder."""

    fix: Commit | None = None
    """The deployed fix; evidence belongs to it."""
    until: Literal["resolved", "full"] = "resolved"
    """End when monitoring has ended, or at 100 %."""
    force: bool = False
    """Skip the gate, never the monitor. For approvers."""
    force_for: Duration | None = None
    """How long a forced return lasts, e.g. `2h`; needs `force`."""
    accept_blind: bool = False
    """Decide although the gate could not see this fault. For approvers."""
    pipeline: bool = False
    """A job of CI asks, and no person (`rollback ci`): lines now and then, and budgets and cool-downs hold."""

    @model_validator(mode="after")
    def _force_for_needs_force(self) -> EnableBody:
        if self.force_for is not None and not self.force:
            raise ValueError("force_for says how long a forced return lasts; it needs force")
        return self


class OpenBody(WithReason):
    """A case other than a critical one."""

    severity: Literal["low", "high"]
    """`critical` is what `disable` is for."""
    sensitive: bool = False
    """A security or privacy case: only a person brings the feature back."""


class RaiseBody(WithReason):
    """A new severity of the open case."""

    severity: Literal["low", "high", "critical"]


class FixBody(Body):
    """A fix that was deployed."""

    commit: Commit
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class NoteBody(Body):
    """A fact for the record. No private data: it is cut and redacted."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=r"\S")]


class ApproveBody(WithReason):
    """Permission for a return, by a person whom the policy names. At most one of the three is said."""

    withdraw: bool = False
    """Take an approval back."""
    step: bool = False
    """The step that is exposed is well."""
    switch: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """A switch beside the flag that is lifted."""

    @model_validator(mode="after")
    def _one_thing(self) -> ApproveBody:
        if self.withdraw + self.step + (self.switch is not None) > 1:
            raise ValueError("withdraw, step and switch are three different things: say one of them")
        return self


class AdoptBody(Body):
    """A case that another machine left on the flag."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class HoldBody(WithReason):
    """Automation held back."""

    until: AwareDatetime | None
    """Until when, with an offset from UTC. null: automation may act again."""
    what: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"\S")] = (
        "all alerts"
    )
    """What is held back, in words for the record."""
