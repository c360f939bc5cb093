"""The figures for Prometheus: `GET /metrics`. No secret, no text from outside: labels are names of ours alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rollback.core.model import State
from rollback.errors import RollbackError

if TYPE_CHECKING:
    from rollback.server.services import Services

PENDING_COUNTED = 500
"""Deliveries that wait are counted up to this number: a scrape must not read a whole storm."""

_FORMATS = ("text/plain", "application/openmetrics-text")
_ANSWER_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_OFF_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


class Meters:
    """Counters and gauges of one server, in a registry of their own. Every method may be called from any thread.

    `source`, `feature` and `channel` are configured names, the other labels words of this program: none comes from a
    request, so that nobody outside can make up new series.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self._deliveries = Counter(
            "rollback_deliveries", "Deliveries kept, by source and kind.", ["source", "kind"], registry=own
        )
        self._duplicates = Counter(
            "rollback_duplicate_deliveries", "Deliveries that were known already.", ["source"], registry=own
        )
        self._refused = Counter(
            "rollback_receiver_refused", "Deliveries turned away, by source and why.", ["source", "why"], registry=own
        )
        self._answers = Histogram(
            "rollback_receiver_answer_seconds",
            "Time from a delivery's headers to its answer.",
            ["status"],
            registry=own,
            buckets=_ANSWER_BUCKETS,
        )
        self._decisions = Counter("rollback_decisions", "Decisions about alerts, by action.", ["action"], registry=own)
        self._offs = Counter(
            "rollback_offs", "Features turned off by alerts, by how it ended.", ["result"], registry=own
        )
        self._off_seconds = Histogram(
            "rollback_off_seconds",
            "Time from an alert's receipt until the flag was written.",
            registry=own,
            buckets=_OFF_BUCKETS,
        )
        self._incidents = Gauge("rollback_incidents", "Open incidents, by state.", ["state"], registry=own)
        self._exposure = Gauge(
            "rollback_exposure_percent",
            "Upper bound of who gets the feature; NaN: not known.",
            ["feature"],
            registry=own,
        )
        self._needs_human = Gauge(
            "rollback_needs_human", "1 when an incident of the feature waits for a person.", ["feature"], registry=own
        )
        self._armed = Gauge(
            "rollback_armed", "1 when an alert could turn the feature off, 0 when not.", ["feature"], registry=own
        )
        self._heartbeat = Gauge(
            "rollback_heartbeat_timestamp_seconds", "When the outside watchdog was last called; 0: never.", registry=own
        )

    def delivered(self, source: str, kind: str) -> None:
        """A delivery was kept."""
        self._deliveries.labels(source, kind).inc()

    def duplicate(self, source: str) -> None:
        """A delivery was known already."""
        self._duplicates.labels(source).inc()

    def refused(self, source: str, why: str) -> None:
        """A delivery was turned away."""
        self._refused.labels(source, str(why)).inc()

    def answered(self, status: int, seconds: float) -> None:
        """A delivery was answered so long after its headers had come."""
        self._answers.labels(str(status)).observe(seconds)

    def decided(self, action: str) -> None:
        """A decision about an alert (`core.triggers.Action`)."""
        self._decisions.labels(str(action)).inc()

    def off_written(self, seconds: float) -> None:
        """A flag was written as off, so long after the receipt of the alert that asked for it."""
        self._off_seconds.observe(seconds)

    def off_ended(self, result: str) -> None:
        """How turning off by an alert ended, in one word such as `proven`, `not_proven`, `failed`."""
        self._offs.labels(str(result)).inc()

    def incidents(self, by_state: Mapping[str, int]) -> None:
        """How many incidents are open now, by state; those not named have none, and `normal` is no incident."""
        self._incidents.clear()
        for state, number in by_state.items():
            if state != State.NORMAL:
                self._incidents.labels(str(state)).set(number)

    def exposure(self, feature: str, percent: float | None) -> None:
        """The upper bound of the feature's exposure; None: not known."""
        self._exposure.labels(feature).set(math.nan if percent is None else percent)

    def needs_human(self, feature: str, needed: bool) -> None:
        """Whether an incident of the feature waits for a person."""
        self._needs_human.labels(feature).set(needed)

    def armed(self, feature: str, is_armed: bool) -> None:
        """Whether an alert could turn the feature off now (invariant 17)."""
        self._armed.labels(feature).set(is_armed)

    def heartbeat(self, at: datetime) -> None:
        """The outside watchdog was called."""
        self._heartbeat.set(at.timestamp())


class _AtScrape(Collector):
    """What is asked for when somebody scrapes: the inbox, the channels, the sources."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Our own figures, then those that are counted as things happen. An inbox that cannot be read is NaN."""
        yield from self._inbox()
        yield from self._notices()
        sources = GaugeMetricFamily("rollback_source_open", "1 when the source's secret is set.", labels=["source"])
        for source in self._services.sources.values():
            sources.add_metric([source.name], float(not source.closed))
        yield sources
        yield from self._services.meters.registry.collect()

    def _inbox(self) -> Iterator[Metric]:
        number, age = math.nan, math.nan
        try:
            waiting = self._services.inbox.pending(PENDING_COUNTED)
            number = float(len(waiting))
            oldest = min((kept.received_at for kept in waiting), default=None)
            now = self._services.clock.now()
            age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        except RollbackError:
            pass
        yield GaugeMetricFamily(
            "rollback_inbox_pending", f"Deliveries not worked off yet; {PENDING_COUNTED}: that or more.", number
        )
        yield GaugeMetricFamily(
            "rollback_inbox_oldest_pending_age_seconds", "How long the oldest of them waits; 0: none does.", age
        )

    def _notices(self) -> Iterator[Metric]:
        told = CounterMetricFamily("rollback_notices", "Notices, by channel and result.", labels=["channel", "result"])
        waiting = GaugeMetricFamily("rollback_notices_waiting", "Notices not told yet.", labels=["channel"])
        for one in self._services.notices.standing():
            told.add_metric([one.channel, "told"], one.told)
            told.add_metric([one.channel, "given_up"], one.given_up)
            waiting.add_metric([one.channel], one.waiting)
        yield told
        yield waiting


def router(services: Services) -> APIRouter:
    """`GET /metrics`, in the text format or as OpenMetrics, as the scraper asks for."""
    routes = APIRouter(tags=["machines"])
    collector = _AtScrape(services)

    @routes.get(
        "/metrics",
        summary="Figures for Prometheus",
        operation_id="metrics",
        response_class=Response,
        responses={
            200: {"description": "The figures.", "content": {"text/plain": {}, "application/openmetrics-text": {}}}
        },
    )
    def metrics(request: Request) -> Response:  # in a thread of its own: it reads the inbox
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(collector), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return routes
