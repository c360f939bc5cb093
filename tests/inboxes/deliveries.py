"""Deliveries and alerts for tests, and ways to make any of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from rollback.alert_ports import Delivery, Kept
from rollback.core.alerts import Alert, Edge, ReadingKind

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def minute(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def an_alert(edge: Edge = Edge.FIRED, at: datetime | None = NOON, cycle: str = "c1", **changes: Any) -> Alert:
    fields: dict[str, Any] = {"source": "datadog", "monitor": "4711", "priority": "P1", "tags": ("service:sm", "vets")}
    return Alert(**{**fields, "cycle": cycle, "edge": edge, "occurred_at": at, **changes})


def a_delivery(number: int, source: str = "datadog", **changes: Any) -> Delivery:
    fields: dict[str, Any] = {"received_at": minute(0), "kind": ReadingKind.ALERTS, "alerts": (an_alert(),)}
    return Delivery(**{"source": source, "key": f"k{number}", **fields, **changes})


def keys(kept: list[Kept] | list[Kept | None]) -> list[str | None]:
    return [None if each is None else each.key for each in kept]


texts = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["", "\0", "a\0b", "\ud83d", "\ude00", "\ud83d\ude00", "😀", '"', "\\", "\\u0000", "\x7f\u2028", "x" * 70_000]
)
moments = st.datetimes(timezones=st.just(UTC)) | st.sampled_from([NOON, datetime(1, 1, 1, tzinfo=UTC)])
any_alerts = st.builds(
    Alert,
    source=texts,
    monitor=texts,
    cycle=texts,
    edge=st.sampled_from(Edge),
    occurred_at=st.none() | moments,
    priority=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    title=texts,
    link=texts,
)
any_deliveries = st.builds(
    Delivery,
    source=texts.filter(bool),
    key=texts.filter(bool),
    received_at=moments,
    kind=st.sampled_from(ReadingKind),
    alerts=st.lists(any_alerts, max_size=2).map(tuple),
    why=texts,
    excerpt=texts,
)
few_alerts = st.builds(
    an_alert,
    edge=st.sampled_from(Edge),
    at=st.none() | st.integers(-3, 3).map(minute),
    cycle=st.sampled_from(["c1", "c2"]),
    monitor=st.sampled_from(["4711", "4712"]),
)
"""Alerts of few cycles and few moments, so that they meet."""
