"""What is kept comes back as it was, whatever a sender put into it; what is not a delivery is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.inboxes.alert_codec import (
    MAX_BYTES,
    Row,
    alert_from_json,
    alert_to_json,
    from_column,
    from_row,
    rows_of,
    to_column,
    to_row,
)
from rollback.alert_ports import Delivery, Unkeepable
from rollback.core.alerts import Alert
from tests.inboxes.deliveries import NOON, a_delivery, an_alert, any_alerts, any_deliveries, texts


def with_whole_characters(text: str) -> str:
    """Two halves that stand side by side are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def whole_alert(alert: Alert) -> Alert:
    names = ("source", "monitor", "cycle", "priority", "title", "link")
    changes: dict[str, Any] = {name: with_whole_characters(getattr(alert, name)) for name in names}
    return replace(alert, **changes, tags=tuple(map(with_whole_characters, alert.tags)))


def whole(delivery: Delivery) -> Delivery:
    changes: dict[str, Any] = {
        name: with_whole_characters(getattr(delivery, name)) for name in ("source", "key", "why", "excerpt")
    }
    return replace(delivery, **changes, alerts=tuple(map(whole_alert, delivery.alerts)))


@given(any_deliveries)
def test_a_delivery_comes_back_as_it_was(delivery: Delivery) -> None:
    row = to_row(delivery)
    assert all(part.isascii() and "\0" not in part for part in row)
    assert from_row(row) == whole(delivery)
    assert to_row(from_row(row)) == row


@given(any_alerts)
def test_an_alert_comes_back_as_it_was(alert: Alert) -> None:
    assert alert_from_json(json.loads(json.dumps(alert_to_json(alert)))) == whole_alert(alert)


@given(texts, texts)
def test_different_keys_stay_different(one: str, other: str) -> None:
    assert from_column(to_column(one)) == with_whole_characters(one)
    assert (to_column(one) == to_column(other)) == (with_whole_characters(one) == with_whole_characters(other))


def test_ordinary_keys_are_kept_as_they_are() -> None:
    assert to_column("0d1f-evt:4711/é") == "0d1f-evt:4711/\\u00e9"


def test_a_time_with_another_offset_is_the_same_moment() -> None:
    eastern = NOON.astimezone(timezone(timedelta(hours=-5)))
    assert to_row(a_delivery(1, received_at=eastern)) == to_row(a_delivery(1))


NAIVE = datetime(2026, 11, 23, 12, 0)  # noqa: DTZ001
BEFORE_TIME = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (a_delivery(1, key=""), "key"),
        (a_delivery(1, source=""), "source"),
        (a_delivery(1, key=b"k"), "key"),
        (a_delivery(1, kind="alerts"), "kind"),
        (a_delivery(1, received_at=NAIVE), "received_at"),
        (a_delivery(1, received_at=BEFORE_TIME), "received_at"),
        (a_delivery(1, received_at="2026-11-23T12:00:00Z"), "received_at"),
        (a_delivery(1, why=None), "why"),
        (a_delivery(1, alerts=(an_alert(at=NAIVE),)), "occurred_at"),
        (a_delivery(1, alerts=(an_alert(edge="fired"),)), "edge"),  # type: ignore[arg-type]
        (a_delivery(1, alerts=(an_alert(tags=["a"]),)), "tags"),
        (a_delivery(1, alerts=(an_alert(tags=(1,)),)), "tags"),
        (a_delivery(1, alerts=(an_alert(monitor=4711),)), "monitor"),
        (a_delivery(1, excerpt="x" * MAX_BYTES), "bytes"),
    ],
)
def test_what_is_no_delivery_is_refused_with_the_fields_name(bad: Delivery, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        to_row(bad)
    with pytest.raises(Unkeepable, match=field) as caught:
        rows_of([a_delivery(0), bad])
    assert caught.value.positions == (1,)


def test_an_error_tells_the_field_and_not_what_was_in_it() -> None:
    with pytest.raises(Unkeepable) as caught:
        rows_of([a_delivery(1, alerts=(an_alert(monitor=["hunter2"]),))])
    assert "hunter2" not in str(caught.value) + caught.value.next


GOOD = to_row(a_delivery(1))


@pytest.mark.parametrize(
    "damaged",
    [
        GOOD._replace(body=""),
        GOOD._replace(body="[]"),
        GOOD._replace(body=GOOD.body[:-1]),
        GOOD._replace(body=GOOD.body.replace('"why"', '"who"')),
        GOOD._replace(body=GOOD.body.replace('"edge":"fired"', '"edge":"exploded"')),
        GOOD._replace(body=GOOD.body.replace('"edge":"fired"', '"edge":null')),
        GOOD._replace(body=GOOD.body.replace('"tags":[', '"more":1,"tags":[')),
        GOOD._replace(body=GOOD.body.replace('"monitor":"4711"', '"monitor":4711')),
        GOOD._replace(body=GOOD.body.replace('["service:sm","vets"]', '"service:sm"')),
        GOOD._replace(body='{"alerts":null,"why":"","excerpt":""}'),
        GOOD._replace(body='{"alerts":[7],"why":"","excerpt":""}'),
        GOOD._replace(received_at="yesterday"),
        GOOD._replace(kind="news"),
        GOOD._replace(key='k"'),
        GOOD._replace(source="a\\"),
    ],
)
def test_a_damaged_row_is_an_error_and_never_another_delivery(damaged: Row) -> None:
    assert damaged != GOOD
    with pytest.raises(ValueError, match=r".+"):
        from_row(damaged)


@given(st.integers(0, len(GOOD.body) - 1), st.characters(codec="ascii"))
def test_one_changed_letter_is_an_error_or_only_another_text(position: int, letter: str) -> None:
    body = GOOD.body[:position] + letter + GOOD.body[position + 1 :]
    try:
        read = from_row(GOOD._replace(body=body))
    except ValueError:
        return
    assert (read.source, read.key, len(read.alerts)) == ("datadog", "k1", 1)
    occurred_at = read.alerts[0].occurred_at
    assert occurred_at is not None
    assert occurred_at.tzinfo is UTC
