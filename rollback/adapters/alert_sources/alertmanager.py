"""Alertmanager's webhook, version 4: a group of alerts, each with labels, a beginning and perhaps an end.

The monitor is the label `alertname`, the cycle the fingerprint and `startsAt`, the priority the label `severity` or
`priority`. A notification has no id and does not say when it was sent: the same state of the same group, sent again
after `repeat_interval` or by the other half of a pair, is the same delivery. Alerts that are firing still come along
each time that their group changes: the edge is FIRED again, the cycle is the same, and nothing begins anew.

A resolved alert may only mean that Prometheus fell silent (`resolve_timeout`), so recovery is never proof of health.
An alert with the label `rollback_test="true"` is a test. Those that `max_alerts` cut off, and those that cannot be
read beside others that can, are counted in tags. Source: prometheus/alertmanager, notify/webhook and template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from rollback.adapters.alert_sources.readings import alerting, content_key, only_a_test, parser
from rollback.adapters.alert_sources.untrusted import Fields, Unreadable, json_object, tags
from rollback.core.alert_cycles import alertmanager_cycle
from rollback.core.alerts import Alert, Edge, Reading

TEST_LABEL = "rollback_test"

_EDGES: Mapping[str, Edge] = {"firing": Edge.FIRED, "resolved": Edge.RECOVERED}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One alert of a group as far as it was read, what identifies it, and whether it is a test."""

    alert: Alert | None
    identity: tuple[str, ...]
    is_test: bool = False
    why: str = ""


def _read(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
    document = json_object(headers, body)
    if document.word("version") != "4":
        raise Unreadable("It is no webhook of Alertmanager in version 4.")
    entries = [_entry(source, one, document) for one in document.many("alerts")]
    if not entries:
        raise Unreadable("There is no alert in it.")
    truncated = document.word("truncatedAlerts")
    identities = sorted({json.dumps(entry.identity) for entry in entries})
    key = content_key("alertmanager", document.word("groupKey"), document.word("receiver"), truncated, identities)
    alerts = [entry.alert for entry in entries if entry.alert is not None and not entry.is_test]
    unreadable = [entry.why for entry in entries if entry.alert is None]
    if alerts:
        notes = _notes(truncated, len(unreadable))
        return alerting(key, *(replace(one, tags=tags(one.tags, notes)) if notes else one for one in alerts))
    if unreadable:
        raise Unreadable(unreadable[0])
    return only_a_test(key, f"Its alerts say that they are tests ({TEST_LABEL}).")


parse = parser(_read)
"""The `AlertParser` of Alertmanager."""


def _entry(source: str, value: object, document: Fields) -> _Entry:
    try:
        if not isinstance(value, dict):
            raise Unreadable("One of its alerts is no object.")
        return _readable(source, Fields(value), document)
    except Unreadable as error:
        content = json.dumps(value, sort_keys=True)
        return _Entry(None, ("unreadable", hashlib.sha256(content.encode()).hexdigest()), why=str(error))


def _readable(source: str, entry: Fields, document: Fields) -> _Entry:
    labels = entry.inner("labels")
    edge = _EDGES.get(entry.word("status"))
    if edge is None:
        raise Unreadable("One of its alerts is neither firing nor resolved.")
    fingerprint = entry.required("fingerprint", "One of its alerts has no fingerprint.")
    starts_at = entry.moment("startsAt")
    if starts_at is None:
        raise Unreadable("One of its alerts does not say when it began.")
    ends_at = entry.moment("endsAt") if edge is Edge.RECOVERED else None
    cycle = alertmanager_cycle(fingerprint, starts_at)
    alert = Alert(
        source=source,
        monitor=labels.required("alertname", "One of its alerts has no label alertname."),
        cycle=cycle,
        edge=edge,
        occurred_at=starts_at if edge is Edge.FIRED else ends_at,
        priority=labels.priority("severity", "priority"),
        tags=tags(f"{name}:{labels.word(name)}" for name in labels.values if labels.word(name)),
        title=_title(entry.inner("annotations"), labels),
        link=entry.link("generatorURL") or document.link("externalURL"),
    )
    is_test = labels.says_true(TEST_LABEL)
    return _Entry(alert, (alert.monitor, cycle, edge.value, _text(ends_at), str(is_test)), is_test)


def _title(annotations: Fields, labels: Fields) -> str:
    return annotations.text("summary") or annotations.text("title") or labels.text("alertname")


def _notes(truncated: str, unreadable: int) -> list[str]:
    notes = [f"rollback_unreadable_alerts:{unreadable}"] if unreadable else []
    if truncated.isascii() and truncated.isdigit() and 0 < len(truncated) <= 9 and int(truncated):
        notes.append(f"rollback_truncated_alerts:{int(truncated)}")
    return notes


def _text(at: datetime | None) -> str:
    return at.isoformat() if at is not None else ""
