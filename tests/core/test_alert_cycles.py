"""A cycle has one name, whoever tells of it, and no two cycles share one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.alert_cycles import (
    alertmanager_cycle,
    appdynamics_cycle,
    bounded,
    datadog_cycle,
    datadog_group_cycle,
    pagerduty_cycle,
    probe_cycle,
    prometheus_cycle,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
texts = st.text(max_size=300)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - a bound


@given(texts, moments, st.integers(0, 999), st.integers(-12, 14))
def test_nanoseconds_and_zones_do_not_make_another_cycle(name: str, at: datetime, more: int, hours: int) -> None:
    cut = at.replace(microsecond=at.microsecond // 1000 * 1000)
    elsewhere = cut.astimezone(timezone(timedelta(hours=hours))) + timedelta(microseconds=more)
    assert alertmanager_cycle(name, cut) == alertmanager_cycle(name, elsewhere)


@given(texts, texts, moments, moments)
def test_other_fingerprints_and_other_starts_are_other_cycles(a: str, b: str, one: datetime, two: datetime) -> None:
    if a != b:
        assert alertmanager_cycle(a, one) != alertmanager_cycle(b, one)
    if abs((one - two).total_seconds()) >= 0.001:
        assert alertmanager_cycle(a, one) != alertmanager_cycle(a, two)
        assert probe_cycle("sm", one) != probe_cycle("sm", two)


def test_the_order_of_labels_does_not_matter_and_their_boundaries_do() -> None:
    assert prometheus_cycle({"a": "1", "b": "2"}, NOON) == prometheus_cycle({"b": "2", "a": "1"}, NOON)
    assert prometheus_cycle({"a": '1","b":"2'}, NOON) != prometheus_cycle({"a": "1", "b": "2"}, NOON)


def test_a_group_of_datadog_is_part_of_the_cycle() -> None:
    assert datadog_group_cycle("1", "host:a", 5) == "1|host:a|5"
    names = {datadog_group_cycle("1", group, at) for group in ("*", "host:a", "x" * 150) for at in (5, 6, None)}
    assert len(names) == 9


def test_a_reopened_incident_is_another_cycle() -> None:
    assert pagerduty_cycle("Q1", None) == "Q1"
    assert pagerduty_cycle("Q1", NOON) == "Q1@2026-11-23T12:00:00.000Z"


@given(texts, texts)
def test_long_names_never_become_equal(a: str, b: str) -> None:
    for name in (appdynamics_cycle, datadog_cycle, bounded):
        assert (name(a) == name(b)) == (a == b)
        assert len(name(a)) <= 200


@pytest.mark.parametrize("odd", ["\ud800" * 201, "\x00" * 201])
def test_text_that_cannot_be_written_has_a_name_too(odd: str) -> None:
    assert bounded(odd).startswith("sha256:")
    assert prometheus_cycle({"alertname": odd}, NOON)
