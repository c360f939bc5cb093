"""The names of alert cycles, one rule per sender, shared by what is pushed to us and what we ask for.

A cycle's name is the same from trigger to recovery, and different for the next trigger. Pushed and polled notices of
one alert must come to the same name wherever the sender allows it; else each would count as an alert of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

MAX_NAME = 200
"""Characters of a sender's id that are kept as they are; longer ones are named by their hash, never cut."""


def alertmanager_cycle(fingerprint: str, starts_at: datetime) -> str:
    """Alertmanager: the fingerprint (of the labels) and the moment at which the alert began.

    The webhook writes `startsAt` with nanoseconds and a time zone, the API (`GET /api/v2/alerts`) in whole
    milliseconds: both are taken in UTC, cut off (not rounded) after the milliseconds. Source: go-openapi/strfmt,
    `MarshalFormat`.
    """
    return f"{bounded(fingerprint)}@{_milliseconds(starts_at)}"


def prometheus_cycle(labels: Mapping[str, str], active_at: datetime) -> str:
    """Prometheus: all labels and `activeAt`. It has no fingerprint of its own, and `activeAt` is not the `startsAt` of
    Alertmanager (which is when it fired, after `for`): the two never share a cycle."""
    canonical = json.dumps(sorted(labels.items()), ensure_ascii=True)
    return f"{hashlib.sha256(canonical.encode()).hexdigest()[:16]}@{_milliseconds(active_at)}"


def datadog_cycle(alert_cycle_key: str) -> str:
    """Datadog's webhook: `$ALERT_CYCLE_KEY`, "the same from the time the alert triggers until it resolves".

    The API does not tell it, so that a polled alert (`datadog_group_cycle`) is another cycle than the pushed one.
    Source: docs.datadoghq.com/integrations/webhooks.
    """
    return bounded(alert_cycle_key)


def datadog_group_cycle(monitor: str, group: str, triggered_at: int | None) -> str:
    """Datadog's API: the monitor, the group (`*` for a monitor without groups) and its `last_triggered_ts` (seconds).

    None: the API does not tell when it was triggered.
    """
    return f"{bounded(monitor)}|{bounded(group, 100)}|{'unknown' if triggered_at is None else triggered_at}"


def appdynamics_cycle(incident: str) -> str:
    """AppDynamics: the incident's id in the HTTP request template, which is the violation's `id` in the API.

    The API's `deepLinkUrl` of a violation ends in `incident=<id>`. Source: Events and Action Suppression API.
    """
    return bounded(incident)


def pagerduty_cycle(incident: str, reopened_at: datetime | None) -> str:
    """PagerDuty: the incident's id; each time that it is reopened is another cycle. None: it never was."""
    return bounded(incident) if reopened_at is None else f"{bounded(incident)}@{_milliseconds(reopened_at)}"


def probe_cycle(feature: str, alarmed_at: datetime) -> str:
    """Our own probes: the feature, and the moment of the alarm."""
    return f"{feature}@{_milliseconds(alarmed_at)}"


def bounded(name: str, longest: int = MAX_NAME) -> str:
    """`name`, or its SHA-256 (`sha256:<hex>`) when it is longer than `longest`: two long names never become equal."""
    if len(name) <= longest:
        return name
    return f"sha256:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _milliseconds(at: datetime) -> str:
    moment = at.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
