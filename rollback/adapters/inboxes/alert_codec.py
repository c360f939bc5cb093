"""Deliveries as rows of text and back, without loss. Strict: what is not as it should be is refused, not guessed.

Everything is kept as ASCII, other characters as JSON escapes: so NUL and half characters (lone surrogates, which
senders can put into JSON) survive a database that holds neither. Two halves of one character that stand side by side
come back as that character.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rollback.alert_ports import Delivery, Unkeepable
from rollback.codec import time_from_text, time_to_text
from rollback.core.alerts import Alert, Edge, ReadingKind

MAX_BYTES = 4 * 1024 * 1024
"""What one delivery may take: far above a receiver's limit (PagerDuty drops what is above 256 KB by itself)."""

_TEXTS = ("source", "monitor", "cycle", "priority", "title", "link")
_ALERT = frozenset((*_TEXTS, "edge", "occurred_at", "tags"))
_BODY = frozenset(("alerts", "why", "excerpt"))


class Row(NamedTuple):
    """A delivery as the database holds it."""

    source: str
    key: str
    received_at: str
    kind: str
    body: str


def to_column(text: object, field: str = "text") -> str:
    """The text in ASCII, ordinary ASCII text nearly as it is. Different texts stay different. Raises `ValueError`."""
    if not isinstance(text, str):
        raise ValueError(f"{field}: must be text, not {type(text).__name__}")
    return json.dumps(text)[1:-1]


def from_column(column: str) -> str:
    """The text that `to_column` wrote. Raises `ValueError`."""
    return str(json.loads(f'"{column}"'))


def time_column(at: object, field: str) -> str:
    """The time as text that sorts as the times do. Raises `ValueError` for one without an offset."""
    if not isinstance(at, datetime):
        raise ValueError(f"{field}: must be a time, not {type(at).__name__}")
    try:
        return time_to_text(at)
    except (ValueError, OverflowError):
        raise ValueError(f"{field}: must be a time in UTC") from None


def alert_to_json(alert: Alert) -> dict[str, Any]:
    """The alert as a JSON object. Raises `ValueError` naming the field that is not as it should be."""
    value: dict[str, Any] = {name: _text(getattr(alert, name), name) for name in _TEXTS}
    if not isinstance(alert.edge, Edge):
        raise ValueError("edge: must be an Edge")
    if not isinstance(alert.tags, tuple):
        raise ValueError("tags: must be a tuple of texts")
    value["edge"] = alert.edge.value
    value["occurred_at"] = None if alert.occurred_at is None else time_column(alert.occurred_at, "occurred_at")
    value["tags"] = [_text(tag, "tags") for tag in alert.tags]
    return value


def alert_from_json(value: object) -> Alert:
    """The alert that `alert_to_json` wrote. Raises `ValueError` naming the field."""
    if not isinstance(value, dict) or value.keys() != _ALERT:
        raise ValueError("an alert must be a JSON object with the fields of an alert, and no others")
    tags = value["tags"]
    if not isinstance(tags, list):
        raise ValueError("tags: must be a list of texts")
    try:
        edge = Edge(value["edge"])
    except ValueError:
        raise ValueError("edge: unknown") from None
    return Alert(
        source=_text(value["source"], "source"),
        monitor=_text(value["monitor"], "monitor"),
        cycle=_text(value["cycle"], "cycle"),
        edge=edge,
        occurred_at=None if value["occurred_at"] is None else time_from_text(value["occurred_at"]),
        priority=_text(value["priority"], "priority"),
        tags=tuple(_text(tag, "tags") for tag in tags),
        title=_text(value["title"], "title"),
        link=_text(value["link"], "link"),
    )


def to_row(delivery: Delivery) -> Row:
    """The delivery as a row. Raises `ValueError` naming the field that is not as it should be."""
    if not isinstance(delivery.kind, ReadingKind):
        raise ValueError("kind: must be a ReadingKind")
    body = {
        "alerts": [alert_to_json(alert) for alert in delivery.alerts],
        "why": _text(delivery.why, "why"),
        "excerpt": _text(delivery.excerpt, "excerpt"),
    }
    row = Row(
        to_column(delivery.source, "source"),
        to_column(delivery.key, "key"),
        time_column(delivery.received_at, "received_at"),
        delivery.kind.value,
        json.dumps(body, separators=(",", ":")),
    )
    if not row.source or not row.key:
        raise ValueError("source and key: must not be empty")
    if len(row.body) + len(row.key) > MAX_BYTES:
        raise ValueError(f"a delivery of {len(row.body) + len(row.key)} bytes, of which {MAX_BYTES} are the most")
    return row


def from_row(row: Row) -> Delivery:
    """The delivery that `to_row` wrote. Raises `ValueError` naming the field."""
    body = json.loads(row.body)
    if not isinstance(body, dict) or body.keys() != _BODY or not isinstance(body["alerts"], list):
        raise ValueError("body: must have alerts, why and excerpt, and nothing else")
    try:
        kind = ReadingKind(row.kind)
    except ValueError:
        raise ValueError("kind: unknown") from None
    return Delivery(
        source=from_column(row.source),
        key=from_column(row.key),
        received_at=time_from_text(row.received_at),
        kind=kind,
        alerts=tuple(alert_from_json(alert) for alert in body["alerts"]),
        why=_text(body["why"], "why"),
        excerpt=_text(body["excerpt"], "excerpt"),
    )


def rows_of(deliveries: Sequence[Delivery]) -> list[Row]:
    """All of them as rows. Raises `Unkeepable` when some cannot be one."""
    rows: list[Row] = []
    reasons: dict[int, str] = {}
    for position, delivery in enumerate(deliveries):
        try:
            rows.append(to_row(delivery))
        except ValueError as error:
            reasons[position] = str(error)
    if reasons:
        raise Unkeepable(reasons)
    return rows


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field}: must be text, not {type(value).__name__}")
    return str(value)
