"""Which alerts concern a feature and what each is worth; who is called; and the probes that run all the time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from rollback.core.model import Severity
from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel, Switch

PROBES = "probes"
"""The source of what our own probes say, in guards and in the alerts of continuous probing."""

LONGEST_GUARD = timedelta(minutes=15)
"""No guard waits longer: by then the alert itself is too old to be acted on, unless its source says otherwise."""

ENVIRONMENT_TAGS = ("env:", "environment:")
"""How the tag begins that names an environment: Datadog's reserved tag is `env`, other systems write it out."""


def _id_as_text(value: object) -> object:
    """A monitor's number is text to its sender; one that is empty is a variable without a value."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if isinstance(value, str) and not value.strip() else value


MonitorId = Annotated[
    Annotated[str, Field(min_length=1, max_length=200)] | None,
    BeforeValidator(_id_as_text, json_schema_input_type=int | str | None),
]
Tag = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S+$")]
Priority = Annotated[str, Field(min_length=1, max_length=50)]


class Owner(PolicyModel):
    """Who is called when the feature stays off. A team or role, never a person."""

    role: Line = Field(description="The team or role.")
    reach: Line = Field(description="How to reach it.")


class Guard(PolicyModel):
    """A second signal that has to agree before a rule acts: for senders that cannot prove who they are."""

    within: Duration = Field(
        gt=timedelta(0),
        le=LONGEST_GUARD,
        description=(
            "How long to wait for one of `by` to agree. When none does in time, nothing is turned off and a person "
            "is called. At most 15m: longer, and the alert is too old to be acted on."
        ),
    )
    by: tuple[FeatureKey, ...] = Field(
        min_length=1,
        description=(
            "Who may agree, any of them: `probes` (our own requests to `health.endpoints`), or a source that has a "
            "rule of this feature."
        ),
    )


class AlertRule(PolicyModel):
    """One kind of alert and what it means for the feature. Only structured fields count, never a title."""

    name: FeatureKey = Field(description="The rule's name, unique within the feature. Each decision records it.")
    source: FeatureKey = Field(description="Who sends it: the name of a source, or of a poll, in automation.yaml.")
    monitors: tuple[MonitorId, ...] = Field(
        default=(),
        max_length=200,
        description=(
            "Ids of what watches, as the sender writes them (Datadog: the monitor's id, PagerDuty: the service's id, "
            "Alertmanager: alertname, AppDynamics: the health rule's id); any of them, compared exactly. Null: a "
            "variable that is not set. A rule whose ids are all null matches nothing. Empty: any monitor of the source."
        ),
    )
    tags: tuple[Tag, ...] = Field(
        default=(), max_length=64, description="Tags as `name:value`, or plain words; the alert must have all of them."
    )
    priorities: tuple[Priority, ...] = Field(
        default=(),
        max_length=20,
        description="The sender's priorities, any of them, upper and lower case alike. Empty: every one, also none.",
    )
    severity: Severity | None = Field(
        default=None,
        description="How bad it is: critical turns off, high reduces, low only opens a case. Null: for heartbeats.",
    )
    guard: Guard | None = Field(default=None, description="Who has to agree first. Null: it acts at once.")
    heartbeat_every: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description=(
            "For an alert that is a heartbeat: it does nothing, and when it stays away for longer than this people "
            "are told that the way of alerts is broken. Null: a real alert."
        ),
    )

    @model_validator(mode="after")
    def _says_what_it_is(self) -> Self:
        if self.severity is None and self.heartbeat_every is None:
            raise ValueError("give severity (critical, high or low), or heartbeat_every for a heartbeat")
        return self

    @property
    def is_heartbeat(self) -> bool:
        """Whether it does nothing but come in time."""
        return self.heartbeat_every is not None

    @property
    def known_monitors(self) -> tuple[str, ...]:
        """The ids that are known here."""
        return tuple(one for one in self.monitors if one is not None)

    @property
    def is_pinned(self) -> bool:
        """Whether it names a monitor or an environment, so that no alert of a test environment can act on this one."""
        return bool(self.monitors) or any(tag.startswith(ENVIRONMENT_TAGS) for tag in self.tags)

    @property
    def inactive_because(self) -> str:
        """Why it matches nothing here; empty when it can match."""
        if self.monitors and not self.known_monitors:
            return "none of its monitors' ids is set here"
        if not self.is_pinned:
            return "it names neither a monitor nor an environment"
        return ""


class Probing(PolicyModel):
    """Probes that run all the time, so that harm is seen before any monitor tells. It needs a control target."""

    enabled: Switch = Field(
        default=False,
        description="Whether they run. False: probes are asked only by the gate, the monitor and guards.",
    )
    interval: Duration = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        description="Time between two rounds of probes. 5s: full harm is seen within two minutes, and it is no load.",
    )
    false_alarms_per_year: float = Field(
        default=1.0,
        gt=0,
        le=365,
        description=(
            "How many false alarms a year of probing may bring. The alarm level per sample follows from it. "
            "1: rarer than real incidents."
        ),
    )
    severity: Severity = Field(
        description="What an alarm is worth: critical turns off. No default: it must be said.",
    )

    def as_rule(self, feature: str) -> AlertRule:
        """The rule under which its alarms count: source `probes`, and the feature's key as the monitor."""
        return AlertRule(name=PROBES, source=PROBES, monitors=(feature,), severity=self.severity)
