"""Datadog's notifications: the transition decides, titles never do."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from rollback.adapters.alert_sources.datadog import TEMPLATE, TEST_TEMPLATE
from rollback.core.alert_cycles import datadog_cycle
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.alert_sources.payloads import (
    DROP,
    SOURCE,
    datadog,
    datadog_default,
    datadog_upper_case,
    encoded,
    read,
    the_alert,
)

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_an_alert_says_what_watches_which_cycle_and_when() -> None:
    assert the_alert(read("datadog", datadog())) == Alert(
        source=SOURCE,
        monitor="4711",
        cycle=datadog_cycle("8801122334455660001"),
        edge=Edge.FIRED,
        occurred_at=TEN,
        priority="P1",
        tags=("env:eks-prod", "monitor", "service:mhv-messaging", "team:sm"),
        title="[P1] [Triggered] Messages fail",
        link="https://app.example.org/event/event?id=42",
    )


def test_the_nested_form_in_capitals_says_the_same() -> None:
    small, capitals = read("datadog", datadog()), read("datadog", datadog_upper_case())
    assert capitals.alerts == small.alerts
    assert capitals.key == small.key


@pytest.mark.parametrize(
    ("transition", "edge"),
    [
        ("Triggered", Edge.FIRED),
        ("triggered", Edge.FIRED),
        ("Re-Triggered", Edge.REPEATED),
        ("Renotify", Edge.REPEATED),
        ("Re-Notify", Edge.REPEATED),
        ("Recovered", Edge.RECOVERED),
        ("Warn Recovered", Edge.RECOVERED),
        ("Warn", Edge.UNCLEAR),
        ("Re-Warn", Edge.UNCLEAR),
        ("No Data", Edge.UNCLEAR),
        ("Re-No Data", Edge.UNCLEAR),
    ],
)
def test_each_documented_transition_has_its_edge(transition: str, edge: Edge) -> None:
    assert the_alert(read("datadog", datadog(alert_transition=transition))).edge is edge


@pytest.mark.parametrize("transition", [DROP, None, "", "null", "Null", "$ALERT_TRANSITION", "Muted", "Trigger", 5, []])
def test_a_transition_that_is_not_known_is_no_edge_at_all(transition: object) -> None:
    reading = read("datadog", datadog(alert_transition=transition))
    assert reading.kind is ReadingKind.UNKNOWN
    assert "ALERT_TRANSITION" in reading.why


@pytest.mark.parametrize(
    ("state", "edge"), [("error", Edge.REPEATED), (DROP, Edge.REPEATED), ("warning", Edge.UNCLEAR)]
)
def test_a_reminder_of_a_warning_is_no_reminder_of_an_alert(state: object, edge: Edge) -> None:
    assert the_alert(read("datadog", datadog(alert_transition="Renotify", alert_type=state))).edge is edge


def test_the_default_payload_is_not_understood_and_says_what_to_do() -> None:
    reading = read("datadog", datadog_default())
    assert reading.kind is ReadingKind.UNKNOWN
    assert "paste this program's template" in reading.why
    assert not reading.alerts


@pytest.mark.parametrize("name", ["alert_id", "alert_cycle_key"])
@pytest.mark.parametrize("missing", [DROP, None, "", " ", "0", 0, "null", "$ALERT_ID", "$ALERT_CYCLE_KEY"])
def test_an_alert_without_monitor_or_cycle_is_never_guessed(name: str, missing: object) -> None:
    assert read("datadog", datadog(**{name: missing})).kind is ReadingKind.UNKNOWN


def test_a_title_that_says_test_changes_nothing() -> None:
    alert = the_alert(read("datadog", datadog(event_title="[Triggered] [TEST] Messages fail")))
    assert alert.edge is Edge.FIRED
    assert the_alert(read("datadog", datadog(event_title="[Recovered] Messages work"))).edge is Edge.FIRED


def test_a_test_says_so_in_a_field_and_never_hides_the_alert_of_the_same_event() -> None:
    rehearsed, real = read("datadog", datadog(rollback_test="true")), read("datadog", datadog())
    assert rehearsed.kind is ReadingKind.TEST
    assert not rehearsed.alerts
    assert rehearsed.key != real.key
    assert real.kind is ReadingKind.ALERTS
    for word in ("false", "", "$TEST", None, 1):
        assert read("datadog", datadog(rollback_test=word)).kind is ReadingKind.ALERTS


def test_variables_that_were_not_replaced_are_missing() -> None:
    left = {
        name: variable
        for name, variable in TEMPLATE.items()
        if name not in ("alert_id", "alert_cycle_key", "alert_transition")
    }
    alert = the_alert(read("datadog", datadog(**left)))
    assert alert == Alert(SOURCE, "4711", alert.cycle, Edge.FIRED, None)


@pytest.mark.parametrize(
    ("changes", "priority"),
    [
        ({}, "P1"),
        ({"alert_priority": "p2"}, "P2"),
        ({"alert_priority": DROP, "priority": "P3"}, "P3"),
        ({"alert_priority": DROP, "priority": "normal"}, ""),
        ({"alert_priority": "$ALERT_PRIORITY", "priority": "low"}, ""),
    ],
)
def test_the_priority_is_the_monitors_and_not_the_events(changes: dict[str, object], priority: str) -> None:
    assert the_alert(read("datadog", datadog(**changes))).priority == priority


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"date": "1772359200"}, TEN),
        ({"date": 1772359200000}, TEN),
        ({"date": DROP}, TEN.replace(second=5)),
        ({"date": "2026-03-01T10:00:00Z"}, TEN),
        ({"date": "soon", "last_updated": DROP}, None),
    ],
)
def test_the_time_is_when_it_happened_or_not_said(changes: dict[str, object], at: datetime | None) -> None:
    assert the_alert(read("datadog", datadog(**changes))).occurred_at == at


def test_one_name_said_twice_and_differently_is_ambiguous() -> None:
    document = datadog_upper_case()
    document["alert_id"] = "999"
    assert read("datadog", document).kind is ReadingKind.UNKNOWN
    document["alert_id"] = "4711"
    assert read("datadog", document).kind is ReadingKind.ALERTS
    assert read("datadog", {**datadog(), "Alert_Transition": "Recovered"}).kind is ReadingKind.UNKNOWN


def test_tags_come_from_the_tags_and_the_scope() -> None:
    changes = {"tags": ["env:prod", 5], "alert_scope": "zone:a, role:web,*"}
    assert the_alert(read("datadog", datadog(**changes))).tags == ("env:prod", "role:web", "zone:a")


@pytest.mark.parametrize(
    "name", ["id", "alert_id", "alert_cycle_key", "alert_transition", "date", "alert_scope", "org_id"]
)
def test_another_event_has_another_key(name: str) -> None:
    changed = {"alert_transition": "Recovered"}.get(name, "1772359300000")
    assert read("datadog", datadog(**{name: changed})).key != read("datadog", datadog()).key


def test_a_redelivery_is_known_also_when_it_is_written_anew() -> None:
    first = read("datadog", datadog())
    again = json.dumps(dict(reversed(datadog(last_updated="1772359999000").items())), indent=3).encode()
    assert read("datadog", again).key == first.key


def test_the_templates_are_json_of_texts_and_ask_for_nothing_private() -> None:
    for template in (TEMPLATE, TEST_TEMPLATE):
        assert json.loads(encoded(dict(template))) == template
        assert all(isinstance(value, str) for value in template.values())
        assert not {"$EVENT_MSG", "$TEXT_ONLY_MSG", "$EMAIL", "$USER", "$LOGS_SAMPLE"} & set(template.values())
    assert set(datadog()) == set(TEMPLATE)
    assert read("datadog", dict(TEMPLATE)).kind is ReadingKind.UNKNOWN
