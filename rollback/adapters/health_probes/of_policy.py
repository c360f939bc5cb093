"""From the section `health` of a policy to its probes. What cannot be asked here is unknown, and says why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from rollback.adapters.careful_http import CarefulHttp, Headers, basic, bearer, nobody
from rollback.adapters.datadog_sites import addresses
from rollback.adapters.health_probes.combined import CombinedHealthProbe, Part, Watch
from rollback.adapters.health_probes.command import CommandSource
from rollback.adapters.health_probes.datadog_metrics import DatadogMetricSource
from rollback.adapters.health_probes.datadog_monitor import DatadogMonitorSource
from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.adapters.health_probes.maintenance_windows import MaintenanceWatch
from rollback.adapters.health_probes.prometheus import PrometheusSource
from rollback.adapters.health_probes.reading_back import Endpoint
from rollback.adapters.health_probes.series import MAX_BODY
from rollback.adapters.health_probes.version import VersionWatch
from rollback.adapters.health_probes.windows import WindowedHealthProbe, WindowSource
from rollback.core.metric_sources import (
    CommandEvidence,
    DatadogMetrics,
    DatadogMonitorEvidence,
    MetricSource,
    PrometheusMetrics,
    variables_of,
)
from rollback.core.policy import Health
from rollback.errors import ConfigurationError
from rollback.ports import Clock


def probe_of(
    health: Health,
    *,
    clock: Clock,
    environ: Mapping[str, str],
    defaulted: Collection[str] = frozenset(),
    unset: Mapping[str, Sequence[str]] | None = None,
    production: bool = True,
    exposed: Callable[[], float] = lambda: 100.0,
    expects: Callable[[], str] = lambda: "",
) -> CombinedHealthProbe:
    """All probes of a feature. Secrets are looked up in `environ` now; one that is not set makes its metric unknown.

    `exposed` gives the percentage of open buckets, `expects` the commit of the case's fix (empty: none is named).
    `defaulted` and `unset` are those of the loaded policy. Raises nothing.
    """
    missing = unset or {}
    doubted = frozenset(defaulted) if production else frozenset()
    unknown: dict[str, str] = {}
    parts = []
    if health.endpoints or not health.metrics:
        asked = HttpHealthProbe(health, clock=clock, defaulted=defaulted, unset=missing, production=production)
        unknown.update(asked.unknown)
        parts.append(Part(asked))
    for index, source in enumerate(health.metrics):
        doubt = _doubt(f"health.metrics[{index}]", doubted, missing)
        probe = _windowed(source, clock, environ, doubt)
        unknown.update(probe.unknown)
        parts.append(Part(probe, source.counts_from))
    watches = _watches(health, clock, expects, doubted, missing)
    return CombinedHealthProbe(parts, clock=clock, watches=watches, unknown=unknown, exposed=exposed)


def _windowed(source: MetricSource, clock: Clock, environ: Mapping[str, str], doubt: str | None) -> WindowedHealthProbe:
    made: WindowSource | None = None
    unknown = doubt
    if unknown is None:
        try:
            made = _source(source, clock, environ)
        except ConfigurationError as error:
            unknown = error.message
    return WindowedHealthProbe(
        made, source.rule, length=source.window, delay=source.delay, clock=clock, unknown=unknown
    )


def _source(source: MetricSource, clock: Clock, environ: Mapping[str, str]) -> WindowSource:
    """Raises `ConfigurationError` for what cannot be asked here."""
    if isinstance(source, CommandEvidence):
        lacking = [name for name in source.environment if not environ.get(name)]
        if lacking:
            raise ConfigurationError(f"{', '.join(lacking)} is not set")
        return CommandSource(source, environ)
    secrets = _secrets(source, environ)
    if source.url is None:
        raise ConfigurationError("its address is not known: a variable in it is not set")
    seconds = source.timeout.total_seconds()
    if isinstance(source, PrometheusMetrics):
        http = CarefulHttp(source.url, "Prometheus", monotonic=clock.monotonic, timeout=seconds, max_body=MAX_BODY)
        return PrometheusSource(source, http, _access(secrets))
    api, _ = addresses(source.url)
    http = CarefulHttp(api, "Datadog", monotonic=clock.monotonic, timeout=seconds, max_body=MAX_BODY)
    headers: Headers = lambda: {  # noqa: E731 - as the others of its kind: called for each request
        "dd-api-key": secrets["api_key"],
        "dd-application-key": secrets["application_key"],
    }
    if isinstance(source, DatadogMetrics):
        return DatadogMetricSource(source, http, headers)
    if source.monitor is None:
        raise ConfigurationError("its monitor is not known: a variable in it is not set")
    return DatadogMonitorSource(source, http, headers, clock)


def _secrets(
    source: DatadogMetrics | DatadogMonitorEvidence | PrometheusMetrics, environ: Mapping[str, str]
) -> Mapping[str, str]:
    named = variables_of(source)
    lacking = [name for name in named.values() if not environ.get(name, "").strip()]
    if lacking:
        raise ConfigurationError(f"{', '.join(lacking)} is not set")
    return {what: environ[name].strip() for what, name in named.items()}


def _access(secrets: Mapping[str, str]) -> Headers:
    if "bearer" in secrets:
        return bearer(lambda: secrets["bearer"])
    if "user" in secrets:
        return basic(lambda: secrets["user"], lambda: secrets["password"])
    return nobody


def _watches(
    health: Health,
    clock: Clock,
    expects: Callable[[], str],
    doubted: frozenset[str],
    unset: Mapping[str, Sequence[str]],
) -> list[Watch]:
    found: list[Watch] = []
    if health.version is not None:
        doubt = _doubt("health.version", doubted, unset, health.version.headers)
        endpoint = Endpoint(health.version, "the version", clock.monotonic, doubt)
        found.append(VersionWatch(health.version, endpoint, expects))
    if health.maintenance is not None:
        doubt = _doubt("health.maintenance", doubted, unset, health.maintenance.headers)
        endpoint = Endpoint(health.maintenance, "the list of maintenance windows", clock.monotonic, doubt)
        found.append(MaintenanceWatch(health.maintenance, endpoint, clock.now))
    return found


def _doubt(
    path: str, doubted: frozenset[str], unset: Mapping[str, Sequence[str]], headers: Collection[str] = ()
) -> str | None:
    """Why the variables in what stands at `path` keep it from being asked; None when they do not."""
    if f"{path}.url" in doubted:
        return "its address fell back to a default"
    places = (f"{path}.url", f"{path}.monitor", *(f"{path}.headers.{name}" for name in headers))
    names = [name for place in places for name in unset.get(place, ())]
    return f"{', '.join(names)} is not set" if names else None
