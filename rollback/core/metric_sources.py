"""Where evidence comes from beside the feature's own endpoints: metrics, monitors, commands. Policy models.

Each says what harm is, in which unit, and how its answers become samples that count once. Secrets are named here, never
held: a credential is the name of an environment variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, model_validator

from rollback.core.metric_verdict import Rule
from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel, Switch
from rollback.core.probe_target import Url

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
"""The name of an environment variable."""

Query = Annotated[str, Field(min_length=1, max_length=4000)]

WINDOW_MARK = "[window]"
"""What stands for the window's length in a query of Prometheus, so that windows are disjoint: `increase(x[window])`."""

MOST_STRATA = 50
"""So many parts of the traffic are metrics of their own at most, whatever a policy says."""


class ByTag(PolicyModel):
    """The traffic in parts, each of which must be healthy: what is broken for a few drowns in the whole."""

    tag: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]*$", max_length=100)] = Field(
        description="The tag or label that the queries are grouped by."
    )
    maximum: Annotated[int, Field(ge=1, le=MOST_STRATA)] | None = Field(
        default=None,
        description=(
            "How many values get a metric of their own; all others are one together. Null: 50, and `policy lint` asks "
            "for a number, because every value has to pass."
        ),
    )


class Evidence(PolicyModel):
    """What all sources have in common. One window is one or more samples, 0 (good) or 1 (harm) each."""

    name: FeatureKey = Field(description="The metric's name, unique within the feature.")
    summary: Line | None = Field(default=None, description="What it tells about the feature. Null: the name says it.")
    fires: Switch = Field(
        default=False,
        description="True: this is, or includes, the signal that fires the alert: it sees the fault that was alerted.",
    )
    window: Duration = Field(
        default=timedelta(minutes=1),
        ge=timedelta(seconds=1),
        le=timedelta(hours=1),
        description="The length of a window. Windows begin at multiples of it (UTC) and never overlap. 1m.",
    )
    delay: Duration = Field(
        default=timedelta(minutes=2),
        le=timedelta(hours=1),
        description=(
            "How long after its end a window's data are complete at the source. What changes later makes the window "
            "missing. 2m: agents send every few seconds, and queues take their time; crawled cloud metrics need 15m."
        ),
    )
    timeout: Duration = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        le=timedelta(minutes=1),
        description="How long to wait for an answer. 5s: rounds of probes wait for it.",
    )
    counts_from: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description=(
            "From which exposure (percent of the buckets) on it must pass. Below, it is neither asked nor needed. 1: a "
            "feature that is off has no users to count. 0: always, for what needs no users."
        ),
    )

    @property
    def rule(self) -> Rule:
        """What a window has to be to count: one sample, unless the source counts requests."""
        return Rule(self.name, minimum_volume=1, cap=1)


class Counted(Evidence):
    """A source that counts requests: each is a sample, and a failed one is harm."""

    requests: Query = Field(description="Counts all requests of the feature in a window.")
    errors: Query | None = Field(
        default=None, description="Counts the failed ones, which are harm. Null: `successes` is given instead."
    )
    successes: Query | None = Field(
        default=None,
        description=(
            "Counts the good ones; every other request is harm. The safer of the two: it is there whenever the feature "
            "works, and cannot be taken for zero errors when it is renamed. Null: `errors` is given instead."
        ),
    )
    absent_errors: Literal["missing", "zero"] = Field(
        default="missing",
        description=(
            "What it means when `errors` says nothing about a window that had requests. `zero` is for a counter that "
            "is not there while nothing fails; a renamed one then reads as health for ever. missing: no data."
        ),
    )
    minimum_volume: int = Field(
        default=20,
        ge=0,
        le=1_000_000,
        description=(
            "Requests in a window below which it says nothing: users who cannot sign in make no errors. 20: Datadog's "
            "guide drops windows under 15 hits."
        ),
    )
    maximum_samples_per_window: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description=(
            "How many samples a window counts at most, scaled down in proportion, rounded against health. Requests of "
            "one minute fail together, so a busy minute is not thousands of proofs. 1: right however they depend on "
            "each other. 100: the gate needs several windows, however busy."
        ),
    )
    expected_volume: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Requests that a window usually has at the lowest step that counts, for `policy lint` to see whether the "
            "deadline suffices. Null: not known; lint assumes the maximum of samples."
        ),
    )
    by_tag: ByTag | None = Field(
        default=None, description="The traffic in parts, each judged for itself. Null: all together, one series."
    )

    @model_validator(mode="after")
    def _errors_or_successes(self) -> Self:
        if (self.errors is None) == (self.successes is None):
            raise ValueError("give one of errors and successes: what harm is has to be clear")
        if self.absent_errors == "zero" and self.errors is None:
            raise ValueError("absent_errors belongs to errors; successes need nothing like it")
        return self

    @property
    def rule(self) -> Rule:
        """What a window has to be to count. Never without a request."""
        parts = None if self.by_tag is None else self.by_tag.tag
        own = 0 if self.by_tag is None else self.by_tag.maximum or MOST_STRATA
        return Rule(self.name, max(1, self.minimum_volume), self.maximum_samples_per_window, parts, own)


class DatadogKeys(PolicyModel):
    """NAMES of the variables with Datadog's two keys. Every read needs both (docs.datadoghq.com/api)."""

    api_key: VariableName = Field(default="DATADOG_API_KEY", description="NAME of the variable with the API key.")
    application_key: VariableName = Field(
        default="DATADOG_APPLICATION_KEY",
        description="NAME of the variable with the application key; it needs timeseries_query or monitors_read.",
    )


class DatadogMetrics(Counted):
    """Datadog's metric queries, `GET /api/v1/query`."""

    kind: Literal["datadog_metrics"] = Field(description="Which source it is: metric queries of Datadog.")
    url: Url | None = Field(
        description="The site's API, e.g. https://api.ddog-gov.com. Null: a variable is not set, so it is unknown."
    )
    credentials: DatadogKeys = Field(default_factory=DatadogKeys, description="Which variables hold the keys.")
    unit: Line | None = Field(
        default=None,
        description="The unit that the answer must have, e.g. request. Null: any, but never a rate (per second).",
    )
    resolution: Duration = Field(
        default=timedelta(minutes=1),
        ge=timedelta(seconds=1),
        description="How fine the metric is: the interval of its buckets, e.g. that of `.rollup(sum, 60)`. 1m.",
    )


class DatadogMonitorEvidence(Evidence):
    """The state of a monitor: OK is one good sample per window, Alert one of harm, everything else no data."""

    kind: Literal["datadog_monitor"] = Field(description="Which source it is: a monitor of Datadog.")
    url: Url | None = Field(
        description="The site's API, e.g. https://api.ddog-gov.com. Null: a variable is not set, so it is unknown."
    )
    credentials: DatadogKeys = Field(default_factory=DatadogKeys, description="Which variables hold the keys.")
    monitor: Annotated[str, Field(pattern=r"^\d{1,18}$")] | None = Field(
        description="The monitor's id, the number in its address. Null: a variable is not set, so it is unknown."
    )
    window: Duration = Field(
        ge=timedelta(minutes=1),
        le=timedelta(hours=24),
        description="The monitor's evaluation window, e.g. 5m of `last_5m`. A shorter one would count it twice.",
    )
    delay: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="How long after a window's end its state is read. 1m: Datadog evaluates once a minute.",
    )


class PrometheusAccess(PolicyModel):
    """NAMES of the variables with what a Prometheus behind a proxy wants: a token, or a user and a password."""

    bearer: VariableName | None = Field(default=None, description="NAME of the variable with a token. Null: none.")
    user: VariableName | None = Field(default=None, description="NAME of the variable with the user. Null: none.")
    password: VariableName | None = Field(default=None, description="NAME of the variable with the password.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.user is None) != (self.password is None) or (self.bearer is not None and self.user is not None):
            raise ValueError("give bearer, or user and password, or nothing")
        return self


class PrometheusMetrics(Counted):
    """PromQL queries, `GET /api/v1/query_range`."""

    kind: Literal["prometheus"] = Field(description="Which source it is: PromQL queries.")
    url: Url | None = Field(
        description="Its address, e.g. https://prometheus.example.org. Null: a variable is not set, so it is unknown."
    )
    credentials: PrometheusAccess = Field(default_factory=PrometheusAccess, description="Which variables hold access.")
    resolution: Duration = Field(
        default=timedelta(seconds=15),
        ge=timedelta(seconds=1),
        description="The scrape interval. A window needs at least four scrapes, or the increase is guesswork. 15s.",
    )

    @model_validator(mode="after")
    def _windows_are_marked(self) -> Self:
        for name in ("requests", "errors", "successes"):
            query = getattr(self, name)
            if query is None:
                continue
            if WINDOW_MARK not in query:
                raise ValueError(
                    f"{name} must hold {WINDOW_MARK}, e.g. sum(increase(http_requests_total{WINDOW_MARK}))"
                )
            if re.search(r"\[[^\]\"']*\d+(ms|[smhdwy])|\boffset\b|@", query.replace(WINDOW_MARK, "")):
                raise ValueError(f"{name} must not hold a range, offset or @ of its own: windows would overlap")
        return self


class CommandEvidence(Evidence):
    """A program of yours, once per window. Exit 0: good; 1: harm; anything else: no data."""

    kind: Literal["command"] = Field(description="Which source it is: a program of yours.")
    argv: tuple[Annotated[str, Field(max_length=2000)], ...] = Field(
        min_length=1,
        max_length=50,
        description="The program by its full path, and its arguments. There is no shell.",
    )
    output: Literal["exit", "counts"] = Field(
        default="exit",
        description=(
            "exit: the exit code is one sample. counts: with exit 0, its standard output is "
            '{"bad": 3, "total": 200} of the window that ROLLBACK_WINDOW_BEGINS and _ENDS name.'
        ),
    )
    environment: tuple[VariableName, ...] = Field(
        default=(),
        max_length=50,
        description="NAMES of the variables that it gets beside PATH and the window's. Nothing else is handed on.",
    )
    delay: Duration = Field(
        default=timedelta(0), le=timedelta(hours=1), description="How long after a window's end it is started. 0s."
    )
    minimum_volume: int = Field(
        default=1, ge=0, le=1_000_000, description="For counts: requests in a window below which it says nothing. 1."
    )
    maximum_samples_per_window: int = Field(
        default=100, ge=1, le=10_000, description="For counts: how many samples a window counts at most, as elsewhere."
    )

    @model_validator(mode="after")
    def _is_named_in_full(self) -> Self:
        if not self.argv[0].startswith("/"):
            raise ValueError("argv must begin with the program's full path: a search path may lead elsewhere")
        if self.timeout > self.window:
            raise ValueError("timeout must not be longer than window, or runs would pile up")
        return self

    @property
    def rule(self) -> Rule:
        """What a window has to be to count."""
        if self.output == "exit":
            return super().rule
        return Rule(self.name, max(1, self.minimum_volume), self.maximum_samples_per_window)


MetricSource = Annotated[
    DatadogMetrics | DatadogMonitorEvidence | PrometheusMetrics | CommandEvidence, Field(discriminator="kind")
]
"""A source of evidence, told apart by its `kind`."""


def variables_of(source: MetricSource) -> Mapping[str, str]:
    """The names of the variables with a source's secrets, by what they are."""
    match source:
        case DatadogMetrics() | DatadogMonitorEvidence():
            keys = source.credentials
            return {"api_key": keys.api_key, "application_key": keys.application_key}
        case PrometheusMetrics():
            access = source.credentials
            named = {"bearer": access.bearer, "user": access.user, "password": access.password}
            return {what: name for what, name in named.items() if name is not None}
        case CommandEvidence():
            return {}
        case _:
            assert_never(source)
