"""AppDynamics' requests: JSON made by a template that escapes nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from rollback.adapters.alert_sources.appdynamics import TEMPLATE, TEST_TEMPLATE
from rollback.core.alert_cycles import appdynamics_cycle
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.alert_sources.payloads import DROP, SOURCE, appdynamics, encoded, read, the_alert

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_an_event_says_what_watches_which_cycle_and_when() -> None:
    assert the_alert(read("appdynamics", appdynamics())) == Alert(
        source=SOURCE,
        monitor="615178",
        cycle=appdynamics_cycle("70646"),
        edge=Edge.FIRED,
        occurred_at=TEN,
        priority="ERROR",
        tags=("application:MHV", "health_rule:Messaging error rate", "policy:Page us", "tier:messaging-api"),
        title="New Critical Health Rule Violation: Messaging error rate",
        link="https://appdynamics.example.gov/#location=APP_EVENT_VIEWER_MODAL&eventSummary=33021165",
    )


@pytest.mark.parametrize(
    ("kind", "edge"),
    [
        ("POLICY_OPEN_CRITICAL", Edge.FIRED),
        ("POLICY_UPGRADED", Edge.FIRED),
        ("POLICY_CONTINUES_CRITICAL", Edge.REPEATED),
        ("POLICY_CLOSE_CRITICAL", Edge.RECOVERED),
        ("POLICY_CLOSE_WARNING", Edge.RECOVERED),
        ("POLICY_CLOSE", Edge.RECOVERED),
        ("POLICY_OPEN_WARNING", Edge.UNCLEAR),
        ("POLICY_CONTINUES_WARNING", Edge.UNCLEAR),
        ("POLICY_DOWNGRADED", Edge.UNCLEAR),
        ("POLICY_CANCELED_CRITICAL", Edge.UNCLEAR),
        ("POLICY_CANCELED_WARNING", Edge.UNCLEAR),
        ("POLICY_CANCELED", Edge.UNCLEAR),
        ("policy_open_critical", Edge.FIRED),
    ],
)
def test_each_event_of_a_health_rule_has_its_edge(kind: str, edge: Edge) -> None:
    assert the_alert(read("appdynamics", appdynamics(kind))).edge is edge


@pytest.mark.parametrize("kind", ["APPLICATION_DEPLOYMENT", "CUSTOM", "SLOW", "APP_SERVER_RESTART"])
def test_other_events_are_of_no_concern(kind: str) -> None:
    assert read("appdynamics", appdynamics(kind)).kind is ReadingKind.IGNORED


@pytest.mark.parametrize(
    "kind", ["POLICY_OPEN_NEXT_YEAR", "ANOMALY_OPEN_CRITICAL", DROP, None, "", "${latestEvent.eventType}"]
)
def test_an_event_that_might_be_an_alert_is_never_passed_over(kind: object) -> None:
    assert read("appdynamics", appdynamics(event_type=kind)).kind is ReadingKind.UNKNOWN


@pytest.mark.parametrize("name", ["health_rule_id", "incident_id"])
@pytest.mark.parametrize(
    "missing", [DROP, None, "", "null", "${latestEvent.incident.id}", "$!{latestEvent.incident.id}"]
)
def test_an_alert_without_rule_or_incident_is_never_guessed(name: str, missing: object) -> None:
    fields: dict[str, Any] = {name: missing}
    assert read("appdynamics", appdynamics(**fields)).kind is ReadingKind.UNKNOWN


def test_a_comma_that_a_condition_left_behind_is_mended() -> None:
    clean = encoded(appdynamics())
    for ending in (b",}", b", }", b"\n,\n}\n"):
        assert read("appdynamics", clean[:-1] + ending) == read("appdynamics", clean)


def test_a_line_break_inside_a_name_is_mended() -> None:
    body = encoded(appdynamics()).replace(b"Page us", b"Page\r\n\tus")
    assert "policy:Page us" in the_alert(read("appdynamics", body)).tags


def test_a_quote_inside_a_name_is_not_guessed_at() -> None:
    body = encoded(appdynamics()).replace(b"Page us", b'Page "us" all')
    reading = read("appdynamics", body)
    assert reading.kind is ReadingKind.UNKNOWN
    assert "not valid JSON" in reading.why


def test_a_name_cannot_make_itself_into_other_fields() -> None:
    forged = b'x", "event_type": "POLICY_CLOSE_CRITICAL", "y": "'
    reading = read("appdynamics", encoded(appdynamics()).replace(b"Page us", forged))
    assert reading.kind is ReadingKind.UNKNOWN
    assert "twice" in reading.why


def test_a_test_says_so_in_a_field_and_never_hides_the_alert_of_the_same_event() -> None:
    rehearsed, real = read("appdynamics", appdynamics(rollback_test="true")), read("appdynamics", appdynamics())
    assert rehearsed.kind is ReadingKind.TEST
    assert real.kind is ReadingKind.ALERTS
    assert rehearsed.key != real.key
    unreplaced = read("appdynamics", TEMPLATE.encode())
    assert unreplaced.kind is ReadingKind.UNKNOWN


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("Sun Mar 01 05:00:00 EST 2026", TEN),
        ("2026-03-01T10:00:00Z", TEN),
        ("1772359200000", TEN),
        ("Sun Mar 01 10:00:00 AEST 2026", None),
        ("03/01/26 10:00", None),
        (DROP, None),
    ],
)
def test_the_time_is_when_it_happened_or_not_said(time: object, at: datetime | None) -> None:
    assert the_alert(read("appdynamics", appdynamics(event_time=time))).occurred_at == at


@pytest.mark.parametrize(
    "name", ["event_guid", "event_id", "event_type", "event_time", "health_rule_id", "incident_id", "app_id"]
)
def test_another_event_has_another_key(name: str) -> None:
    changed = {"event_type": "POLICY_CLOSE_CRITICAL"}.get(name, "123456")
    assert read("appdynamics", appdynamics(**{name: changed})).key != read("appdynamics", appdynamics()).key


def test_the_templates_are_json_of_documented_variables_and_ask_for_nothing_private() -> None:
    for template in (TEMPLATE, TEST_TEMPLATE):
        fields = json.loads(template)
        assert fields.pop("rollback_test", "true") == "true"
        assert all(re.fullmatch(r"\$\{(?:latestEvent|policy)(?:\.[a-zA-Z]+)+\}", value) for value in fields.values())
        assert not re.search("message|summary", template, re.IGNORECASE)
    assert set(json.loads(TEMPLATE)) == set(appdynamics())
