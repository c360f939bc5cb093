"""The small format of our own: strict, so that mistakes show before the first incident."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rollback.adapters.alert_sources import generic as module
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.alert_sources.payloads import DROP, SOURCE, generic, read, the_alert

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_an_alert_says_what_watches_which_cycle_and_when() -> None:
    assert the_alert(read("generic", generic())) == Alert(
        source=SOURCE,
        monitor="checkout-errors",
        cycle="cycle-1",
        edge=Edge.FIRED,
        occurred_at=TEN,
        priority="P1",
        tags=("env:prod", "service:checkout"),
        title="Checkout fails",
        link="https://monitoring.example.org/alerts/1",
    )


@pytest.mark.parametrize("edge", Edge)
def test_each_edge_is_said_by_its_word(edge: Edge) -> None:
    assert the_alert(read("generic", generic(edge=edge.value))).edge is edge


def test_only_three_fields_are_needed_and_further_ones_are_passed_over() -> None:
    document = {"monitor": "m", "cycle": "c", "edge": "fired", "extra": {"deep": [1, None]}, "tags": None, "at": None}
    assert the_alert(read("generic", document)) == Alert(SOURCE, "m", "c", Edge.FIRED, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"monitor": DROP},
        {"monitor": ""},
        {"monitor": 5},
        {"monitor": "a\nb"},
        {"cycle": DROP},
        {"cycle": " "},
        {"cycle": "x" * 201},
        {"edge": DROP},
        {"edge": "FIRED"},
        {"edge": "firing"},
        {"edge": ["fired"]},
        {"at": "yesterday"},
        {"at": "2026-03-01T10:00:00"},
        {"at": True},
        {"at": {}},
        {"at": 5},
        {"priority": 1},
        {"tags": "env:prod"},
        {"tags": {"env": "prod"}},
        {"tags": ["env:prod", 5]},
        {"title": ["x"]},
        {"link": {}},
        {"id": 5},
        {"id": "x" * 201},
    ],
)
def test_a_mistake_is_not_understood_also_in_a_test(changes: dict[str, object]) -> None:
    reading = read("generic", generic(**changes))
    assert reading.kind is ReadingKind.UNKNOWN
    assert next(iter(changes)) in reading.why
    if "edge" not in changes:
        assert read("generic", generic(**{**changes, "edge": "test"})).kind is ReadingKind.UNKNOWN


@pytest.mark.parametrize("at", ["2026-03-01T11:00:00+01:00", 1772359200, 1772359200000, "1772359200"])
def test_the_time_is_rfc_3339_or_a_number_since_1970(at: object) -> None:
    assert the_alert(read("generic", generic(at=at))).occurred_at == TEN


def test_a_test_is_answered_and_is_no_alert() -> None:
    reading = read("generic", generic(edge="test"))
    assert reading.kind is ReadingKind.TEST
    assert not reading.alerts
    assert reading.key != read("generic", generic()).key


@pytest.mark.parametrize("name", ["id", "monitor", "cycle", "at", "edge"])
def test_another_delivery_has_another_key(name: str) -> None:
    changed = {"edge": "recovered", "at": "2026-03-01T10:00:01Z"}.get(name, "other")
    assert read("generic", generic(**{name: changed})).key != read("generic", generic()).key


def test_a_sender_that_repeats_its_ids_loses_nothing() -> None:
    first, second = (read("generic", generic(id="1", cycle=cycle)) for cycle in ("a", "b"))
    assert first.key != second.key


def test_the_example_is_an_alert_and_its_documentation_names_each_field() -> None:
    assert the_alert(read("generic", dict(module.EXAMPLE))).edge is Edge.FIRED
    assert module.__doc__ is not None
    assert all(f'"{name}"' in module.__doc__ for name in module.EXAMPLE)
