"""A product record: the flag, what it reaches, who reads it, how its health is measured, and who to tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rollback.core.alert_rules import AlertRule, Owner, Probing
from rollback.core.flag import FlagRef, Polarity
from rollback.core.health_policy import Health
from rollback.core.model import Severity
from rollback.core.policy_base import Duration, FeatureKey, FlagKey, Line, PolicyModel, Switch
from rollback.core.probe_target import EffectCheck, Url

ASSUMED_POLL = timedelta(seconds=120)
"""How often Flipt's SDKs poll when nobody says otherwise (`flipt.md`)."""

PROOF_MARGIN = timedelta(seconds=30)
"""What `prove_within` allows beyond poll and replica lag: writes, answers and clocks take their time."""


class Flag(PolicyModel):
    """Where the flag lives, and what "on" means."""

    environment: FlagKey = Field(
        default="default", description="The environment. `default` where the store knows none (Flipt v1)."
    )
    namespace: FlagKey = Field(description="The namespace's key.")
    key: FlagKey = Field(description="The flag's key.")
    on: Switch = Field(
        default=True,
        description=(
            "Boolean flags: the value that means the feature is on. False for a flag whose `true` takes it down."
        ),
    )
    on_variants: tuple[FlagKey, ...] = Field(
        default=(), description="Variant flags: the variants that mean on. Empty: every variant does."
    )

    @model_validator(mode="after")
    def _one_polarity(self) -> Self:
        if self.on_variants and not self.on:
            raise ValueError("on: false is for boolean flags, on_variants for variant flags; give one of the two")
        return self


class Surface(PolicyModel):
    """A place where people meet the feature."""

    name: Line = Field(description="What people call it.")
    reached: Switch = Field(
        description=(
            "Whether the flag decides there. False: off says nothing about it, and outputs name it as not covered."
        )
    )
    because: Line = Field(description="Why it is or is not reached, so that the next reader can check it.")


class Client(PolicyModel):
    """A kind of reader of the flag, as the proof of off must wait for it."""

    name: Line = Field(description="Who reads the flag.")
    kind: Literal["polling", "streaming", "server_side"] = Field(
        description=(
            "polling: asks for a snapshot each interval, believed by time; streaming: is told, and seen"
            " to be; server_side: asks the server to evaluate each time, seen by asking it too."
        )
    )
    interval: Duration | None = Field(
        default=None,
        description="For polling: the longest time between two polls. Null for the other kinds. Flipt's SDKs: 120s.",
    )

    @model_validator(mode="after")
    def _interval_fits_kind(self) -> Self:
        if self.kind == "polling" and self.interval is None:
            raise ValueError("a polling client needs interval, the longest time between two polls")
        if self.kind != "polling" and self.interval is not None:
            raise ValueError(f"a {self.kind} client has no interval; leave it out, or make it a polling client")
        return self


class Cohort(PolicyModel):
    """Testers who may be let in ahead of everybody."""

    segments: tuple[FlagKey, ...] = Field(
        min_length=1,
        description="Keys of the segments in the flag's namespace; members of any of them belong to it.",
    )


class Link(PolicyModel):
    """A page that responders open."""

    name: Line = Field(description="What is there.")
    url: Url = Field(description="Its address.")


class Contact(PolicyModel):
    """A team or role, never a person: people change, and nothing private is kept."""

    role: Line = Field(description="The team or role.")
    reach: Line = Field(description="How to reach it.")
    when: Line | None = Field(default=None, description="When to call. Null: with every case.")


class Channel(PolicyModel):
    """Where people talk."""

    name: Line = Field(description="The channel's name, as people type it.")
    kind: Literal["slack", "teams", "other"] = Field(description="Which system it is in.")
    id: Line | None = Field(default=None, description="The system's own id, which survives renaming. Null: not known.")
    purpose: Line = Field(description="What is said there.")


class PagerDuty(PolicyModel):
    """The feature's service in PagerDuty."""

    service: Annotated[str, Field(pattern=r"^[A-Z0-9]+$", max_length=40)] = Field(
        description="The service's id, e.g. P7LKM9I."
    )
    url: Url = Field(description="The service's page.")


class Downstream(PolicyModel):
    """Something that the feature depends on and another team runs."""

    name: Line = Field(description="What it is called.")
    reach: Line = Field(description="How to reach those who run it.")


class SeverityNames(PolicyModel):
    """Which policy file is used at each severity."""

    critical: FeatureKey = Field(default="critical", description="File of the critical policy, without .yaml.")
    high: FeatureKey = Field(default="high", description="File of the high policy, without .yaml.")
    low: FeatureKey = Field(default="low", description="File of the low policy, without .yaml.")

    def of(self, severity: Severity) -> str:
        """The name of the policy for this severity."""
        return {Severity.CRITICAL: self.critical, Severity.HIGH: self.high, Severity.LOW: self.low}[severity]


class FeaturePolicy(PolicyModel):
    """A feature: `features/<feature>.yaml`."""

    feature: FeatureKey = Field(description="The key, also the file's name. Written out: variables are not read here.")
    name: Line = Field(description="What people call it.")
    aliases: tuple[FeatureKey, ...] = Field(
        default=(), description="Short names for the command line. Variables are not read here."
    )
    production: Switch = Field(
        description=(
            "True: real users depend on it, so commands never fall back to the embedded file. No "
            "default: it must be said."
        )
    )
    tier: Annotated[int, Field(ge=1, le=3)] | None = Field(
        default=None, description="The service tier, 1 the most important. Null: not known."
    )
    flag: Flag = Field(description="The flag that turns it off. All that `disable` needs.")
    surfaces: tuple[Surface, ...] = Field(
        default=(), description="Where people meet the feature, and whether the flag decides there."
    )
    clients: tuple[Client, ...] = Field(
        default=(),
        description=(
            "Every kind of reader of the flag. Empty: nobody knows when readers follow, so off cannot "
            "be proven in full."
        ),
    )
    replica_lag: Duration = Field(
        default=timedelta(0),
        description=(
            "How long a replica of the flag server may lag behind a write (cache, git poll). 0s: one "
            "server without cache."
        ),
    )
    prove_within: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description=(
            "How long the proof of off may take before a person is called. Null: the longest poll, the "
            "replica lag and 30 s together."
        ),
    )
    effect_check: EffectCheck | None = Field(
        default=None,
        description="The application's own read-back that the feature is off. Null: none, and the proof says so.",
    )
    health: Health = Field(default_factory=Health, description="How health is measured.")
    cohort: Cohort | None = Field(default=None, description="Testers who may be let in first. Null: none.")
    owner: Owner | None = Field(
        default=None, description="Who is called when it stays off. Null: nobody, and `policy lint` asks why."
    )
    alerts: tuple[AlertRule, ...] = Field(
        default=(),
        max_length=200,
        description="Which alerts concern it and what each is worth. Empty: no alert does anything.",
    )
    shadow_flag: FlagKey | None = Field(
        default=None,
        description=(
            "Key of a flag in the same namespace that nobody reads. The token writes it daily, to show that it could "
            "turn this feature off. Null: whether it could is not known before it has to."
        ),
    )
    probing: Probing | None = Field(
        default=None, description="Probes that run all the time. Null: none; harm is noticed when a monitor tells."
    )
    policies: SeverityNames = Field(
        default_factory=SeverityNames, description="The policy files of its severities, by name."
    )
    alert_meaning: tuple[Line, ...] = Field(
        default=(),
        description="What an alert of this feature means and what it can come from, for the runbook.",
    )
    access: tuple[Line, ...] = Field(default=(), description="What responders need access to.")
    links: tuple[Link, ...] = Field(default=(), description="Dashboards and other pages for responders.")
    pagerduty: PagerDuty | None = Field(default=None, description="The service in PagerDuty. Null: none.")
    channels: tuple[Channel, ...] = Field(default=(), description="Where people talk about the feature.")
    contacts: tuple[Contact, ...] = Field(default=(), description="Teams and roles to tell or ask.")
    downstream: tuple[Downstream, ...] = Field(default=(), description="What it depends on and another team runs.")

    @model_validator(mode="after")
    def _shadow_is_another_flag(self) -> Self:
        if self.shadow_flag == self.flag.key:
            raise ValueError("shadow_flag must be another flag than the feature's own: it is written every day")
        return self

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """The rules of its alerts, and that of its continuous probes when they run."""
        if self.probing is None or not self.probing.enabled:
            return self.alerts
        return (*self.alerts, self.probing.as_rule(self.feature))

    @property
    def flag_ref(self) -> FlagRef:
        """Where the flag lives."""
        return FlagRef(self.flag.environment, self.flag.namespace, self.flag.key)

    @property
    def polarity(self) -> Polarity:
        """What on means for the flag."""
        return Polarity(on_value=self.flag.on, on_variants=frozenset(self.flag.on_variants))

    @property
    def poll_interval(self) -> timedelta:
        """The longest interval of a polling client; 0 when none polls, 120 s when no client is declared."""
        if not self.clients:
            return ASSUMED_POLL
        return max((client.interval for client in self.clients if client.interval is not None), default=timedelta(0))

    @property
    def follow_seconds(self) -> float:
        """How long readers may take to follow a write: the longest poll and the replica lag."""
        return (self.poll_interval + self.replica_lag).total_seconds()

    @property
    def streaming(self) -> bool:
        """Whether some client is told of changes by a stream."""
        return any(client.kind == "streaming" for client in self.clients)

    @property
    def proof_time(self) -> timedelta:
        """How long the proof of off may take: `prove_within`, or what the readers need and 30 s."""
        return self.prove_within or self.poll_interval + self.replica_lag + PROOF_MARGIN

    @property
    def not_covered(self) -> tuple[Surface, ...]:
        """The surfaces that the flag does not reach."""
        return tuple(surface for surface in self.surfaces if not surface.reached)

    @property
    def names(self) -> tuple[str, ...]:
        """The key and the aliases."""
        return (self.feature, *self.aliases)
