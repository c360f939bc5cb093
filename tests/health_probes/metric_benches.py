"""Short ways to write sources of metrics, and a probe over a stand-in whose clock is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rollback.adapters.health_probes.combined import CombinedHealthProbe
from rollback.adapters.health_probes.of_policy import probe_of
from rollback.core.metric_verdict import Counts, Strata
from rollback.core.metric_window import Window
from rollback.core.policy import Health
from rollback.ports import Measurement
from rollback.sandbox.metrics_api import MetricsApi
from tests.health_probes.stand_ins import StillClock

ENVIRON = {
    "DATADOG_API_KEY": "api-key-of-the-test-0001",
    "DATADOG_APPLICATION_KEY": "application-key-of-the-test-0002",
    "PROMETHEUS_TOKEN": "token-of-the-test-0003",
}
MINUTE = timedelta(minutes=1)
KINDS = ("datadog_metrics", "prometheus")


def counted(kind: str, url: str | None, **fields: Any) -> dict[str, Any]:
    """A source that counts requests, as a policy file has it. A window is a minute and due at once."""
    grouped = "by_tag" in fields
    if kind == "prometheus":
        group = f" by ({fields['by_tag']['tag']})" if grouped else ""
        queries = {name: f"sum{group} (increase({name}_total[window]))" for name in ("requests", "errors")}
    else:
        group = f" by {{{fields['by_tag']['tag']}}}" if grouped else ""
        queries = {
            name: f"sum:sm.{name}{{env:test}}{group}.as_count().rollup(sum, 60)" for name in ("requests", "errors")
        }
    return {"kind": kind, "name": "web-errors", "url": url, "delay": "0s", "counts_from": 0, **queries, **fields}


def health(*metrics: Mapping[str, Any], **sections: Any) -> Health:
    """A health section with metrics and without endpoints."""
    return Health.model_validate({"metrics": list(metrics), **sections})


@contextmanager
def probing(section: Health, clock: StillClock, **options: Any) -> Iterator[CombinedHealthProbe]:
    """A probe that is closed afterwards."""
    probe = probe_of(section, clock=clock, **{"environ": ENVIRON, **options})
    try:
        yield probe
    finally:
        probe.close()


def rounds(probe: CombinedHealthProbe, clock: StillClock, minutes: int) -> list[Measurement]:
    """What is not waiting in so many rounds, a minute apart; without the try-out of the first round."""
    probe.measure()
    found = []
    for _ in range(minutes):
        clock.passed += 60
        found += [one for one in probe.measure() if not one.waiting]
    return found


@contextmanager
def standing_in(**fields: Any) -> Iterator[MetricsApi]:
    """The metric systems, stopped afterwards."""
    with MetricsApi(**fields) as api:
        yield api


class ScriptedSource:
    """A `WindowSource` whose windows are set by hand. `asked` keeps what was asked for."""

    def __init__(self, *, revisable: bool = True) -> None:
        self.revisable = revisable
        self.windows: dict[Window, Strata] = {}
        self.usual: Strata = {"": Counts(0, 50)}
        self.failure: Exception | None = None
        self.asked: list[tuple[Window, ...]] = []
        self.closed = False

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]:
        self.asked.append(tuple(windows))
        if self.failure is not None:
            raise self.failure
        return {window: self.windows.get(window, self.usual) for window in windows}

    def close(self) -> None:
        self.closed = True
