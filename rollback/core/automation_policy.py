"""How automation hears of trouble and whom it tells: `automation.yaml`. Without the file there is no source.

Secrets are named here, never held: each is the name of an environment variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from rollback.core.pipeline_policy import Pipeline
from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel
from rollback.core.probe_target import HeaderName, Url, is_http
from rollback.core.verdicts import Urgency

Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)]
"""The name of an environment variable."""

CredentialName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$", max_length=40)]
Id = Annotated[str, Field(min_length=1, max_length=200)]


class SourceKind(StrEnum):
    """Whose deliveries a source reads."""

    DATADOG = "datadog"
    PAGERDUTY = "pagerduty"
    ALERTMANAGER = "alertmanager"
    APPDYNAMICS = "appdynamics"
    GENERIC = "generic"


class Authentication(StrEnum):
    """How a delivery proves its sender."""

    SECRET_HEADER = "secret_header"  # noqa: S105 - a word of the policy, no secret
    BASIC = "basic"
    BEARER = "bearer"
    PAGERDUTY_SIGNATURE = "pagerduty_signature"


class PollKind(StrEnum):
    """Whose read interface a poll asks."""

    DATADOG = "datadog"
    APPDYNAMICS = "appdynamics"
    ALERTMANAGER = "alertmanager"
    PROMETHEUS = "prometheus"


class ChannelKind(StrEnum):
    """Which system a notice goes to."""

    SLACK = "slack"
    TEAMS = "teams"
    WEBHOOK = "webhook"


WEAK_KINDS = frozenset({SourceKind.APPDYNAMICS, SourceKind.GENERIC})
"""Senders whose word alone turns nothing off: hand-made templates, and a secret that is all there is."""

LEAST_CREDENTIALS: Mapping[PollKind, tuple[frozenset[str], ...]] = {
    PollKind.DATADOG: (frozenset({"api_key", "application_key"}),),
    PollKind.APPDYNAMICS: (frozenset({"client_id", "client_secret"}), frozenset({"user", "password"})),
    PollKind.ALERTMANAGER: (frozenset(), frozenset({"bearer"}), frozenset({"user", "password"})),
    PollKind.PROMETHEUS: (frozenset(), frozenset({"bearer"}), frozenset({"user", "password"})),
}
"""Which credentials each kind of poll takes, one of the sets. Datadog's API needs both keys for every read
(docs.datadoghq.com/api/latest/authentication); the controller of AppDynamics takes an OAuth client or a user."""


def _is_secret_url(value: SecretStr) -> SecretStr:
    is_http(value.get_secret_value())
    return value


SecretUrl = Annotated[SecretStr, AfterValidator(_is_secret_url)]
"""A full address that is a secret itself: whoever knows it can use it."""


class SourceHeartbeat(PolicyModel):
    """An alert that a sender fires regularly, to show that its way to us works."""

    monitor: Id = Field(description="The monitor's id, as the sender writes it.")
    every: Duration = Field(
        gt=timedelta(0),
        description="How long it may stay away before people are told. Longer than the sender's interval, e.g. 25h.",
    )


class Limits(PolicyModel):
    """How old what a sender says may be, to be acted on by itself."""

    maximum_age: Duration = Field(
        default=timedelta(minutes=15),
        gt=timedelta(0),
        le=timedelta(hours=24),
        description=(
            "How old an alert may be when it comes in. An older one is recorded and told, and not acted on. 15m: "
            "senders retry for minutes, and what was true an hour ago may be mended."
        ),
    )
    clock_skew: Duration = Field(
        default=timedelta(minutes=2),
        le=timedelta(hours=1),
        description="How far the sender's clock may be ahead of ours. 2m: clocks that are kept right differ by less.",
    )


class Source(Limits):
    """Somebody who delivers alerts to `rollback serve`."""

    kind: SourceKind = Field(description="Whose deliveries these are; it decides how they are read.")
    authentication: Authentication = Field(
        description=(
            "How a delivery proves its sender. `pagerduty_signature` signs the body, the others show a secret."
        )
    )
    header: HeaderName = Field(
        default="X-Rollback-Secret", description="For `secret_header`: the header that carries the secret."
    )
    user: Line | None = Field(default=None, description="For `basic`: the user's name. Null: for the other kinds.")
    secrets: tuple[Variable, ...] = Field(
        default=(),
        max_length=2,
        description=(
            "NAMES of the environment variables that hold the secret, never the secret itself: the one in use, and "
            "while it is changed the old one. Empty: every delivery is turned away."
        ),
    )
    heartbeat: SourceHeartbeat | None = Field(
        default=None, description="The sender's heartbeat. Null: none, and its silence is not noticed."
    )
    recipient: Line | None = Field(
        default=None,
        description=(
            "How the sender writes us where its monitors say whom they notify (Datadog: @webhook-rollback). With a "
            "poll of this name it is looked up that each rule's monitor does. Null: not looked up."
        ),
    )

    @model_validator(mode="after")
    def _fits_authentication(self) -> Self:
        signature = Authentication.PAGERDUTY_SIGNATURE
        if self.authentication is signature and self.kind is not SourceKind.PAGERDUTY:
            raise ValueError("pagerduty_signature is for kind pagerduty: nobody else signs that way")
        if (self.user is None) == (self.authentication is Authentication.BASIC):
            raise ValueError("user belongs to basic authentication: give it there, leave it out elsewhere")
        return self

    @property
    def signs_body(self) -> bool:
        """Whether a delivery's content cannot be changed by who sees it."""
        return self.authentication is Authentication.PAGERDUTY_SIGNATURE

    @property
    def is_weak(self) -> bool:
        """Whether a second signal has to agree before it turns anything off."""
        return self.kind in WEAK_KINDS


class Poll(Limits):
    """A system that is asked for what fires there. With the name of a source, its alerts count as that source's."""

    kind: PollKind = Field(description="Whose read interface it is.")
    url: Url | None = Field(
        description="Its address, e.g. https://api.ddog-gov.com. Null: a variable is not set, so it is not asked."
    )
    interval: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(seconds=5),
        description="Time between two polls. 30s: monitors are evaluated once a minute. At least 5s: APIs have limits.",
    )
    query: Line | None = Field(
        default=None,
        description=(
            "What to ask for. Datadog: words of the monitor's name, and `tag:name:value`, as in its monitor search. "
            "AppDynamics: the application's name. Alertmanager: a matcher, e.g. service=sm. Null: everything."
        ),
    )
    credentials: Mapping[CredentialName, Variable] = Field(
        default_factory=dict,
        description=(
            "NAMES of environment variables, never values. Datadog: api_key and application_key; AppDynamics: "
            "client_id and client_secret, or user and password; the others: bearer, or user and password, or nothing."
        ),
    )

    @model_validator(mode="after")
    def _knows_its_credentials(self) -> Self:
        wanted = LEAST_CREDENTIALS[self.kind]
        if frozenset(self.credentials) not in wanted:
            ways = ", or ".join(" and ".join(sorted(way)) or "none" for way in wanted)
            raise ValueError(f"credentials of {self.kind} are {ways}")
        if self.kind is PollKind.APPDYNAMICS and self.query is None:
            raise ValueError("query must name the application when kind is appdynamics")
        return self


class StormBrake(PolicyModel):
    """When many features are to be turned off at once, their cause is probably shared, and a person is asked."""

    features: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="How many features automation may turn off within `window`. 3: more is no coincidence.",
    )
    window: Duration = Field(
        default=timedelta(minutes=10),
        gt=timedelta(0),
        description="The window. 10m: alerts of one cause come in within minutes.",
    )


class Watchdog(PolicyModel):
    """A sign of life for somebody outside, who tells when it stays away."""

    url: SecretUrl | None = Field(
        description="The address to call, secret. Null: a variable is not set, so nobody would notice a silence."
    )
    every: Duration = Field(
        default=timedelta(seconds=60),
        ge=timedelta(seconds=5),
        description="Time between two signs of life. 60s: a silence is noticed within minutes.",
    )


class NoticeRoute(PolicyModel):
    """A way to people."""

    kind: ChannelKind = Field(description="Which system it is.")
    url_variable: Variable = Field(
        description="NAME of the environment variable with the webhook's address, which is a secret itself."
    )
    secret_variable: Variable | None = Field(
        default=None,
        description="For `webhook`: NAME of the variable with the secret that signs. Null: it is not signed.",
    )
    urgency: Urgency = Field(
        default=Urgency.TELL,
        description="The least urgency that goes there: call (somebody has to act), tell, record (everything).",
    )

    @model_validator(mode="after")
    def _only_webhooks_sign(self) -> Self:
        if self.secret_variable is not None and self.kind is not ChannelKind.WEBHOOK:
            raise ValueError("secret_variable is for kind webhook; Slack and Teams take no signature")
        return self

    def takes(self, urgency: Urgency) -> bool:
        """Whether a notice of this urgency goes there."""
        return urgency.rank >= self.urgency.rank


class Arming(PolicyModel):
    """How often it is checked that each feature could be turned off, and would be."""

    write_check_every: Duration = Field(
        default=timedelta(days=1),
        gt=timedelta(0),
        description="How often the token writes the feature's shadow flag. 1d: tokens end at night.",
    )
    monitor_check_every: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        description="How often the monitors of rules are looked up: they exist, they tell us, they are not muted.",
    )
    baseline_check_every: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        description="How often the probes' harm rate is measured: a feature that fails half of p0 could never return.",
    )


class AutomationPolicy(PolicyModel):
    """`automation.yaml`. Everything has a safe default: no source, no poll, nobody told but the log."""

    sources: Mapping[FeatureKey, Source] = Field(
        default_factory=dict, description="Who may deliver alerts, by name; the name is part of the address."
    )
    polls: Mapping[FeatureKey, Poll] = Field(default_factory=dict, description="Who is asked for alerts, by name.")
    storm_brake: StormBrake = Field(
        default_factory=StormBrake, description="How many features automation turns off before it asks."
    )
    heartbeat: Watchdog | None = Field(
        default=None, description="The sign of life of `rollback serve`. Null: nobody notices when it dies."
    )
    notices: Mapping[FeatureKey, NoticeRoute] = Field(
        default_factory=dict, description="Whom to tell, by name. Empty: the log alone."
    )
    pipelines: Mapping[FeatureKey, Pipeline] = Field(
        default_factory=dict,
        description="Whose jobs are believed by the tokens that their own systems sign, by name. Empty: nobody's.",
    )
    arming: Arming = Field(default_factory=Arming, description="How often it is checked that off would work.")

    @property
    def source_names(self) -> frozenset[str]:
        """The names that rules may give as their source."""
        return frozenset((*self.sources, *self.polls))

    def limits(self, source: str) -> Limits:
        """How old alerts of this source may be; the defaults for one that is not known."""
        return self.sources.get(source) or self.polls.get(source) or Limits()
