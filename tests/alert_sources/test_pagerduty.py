"""PagerDuty's events: an incident that becomes critical fires, one that is merged away has not recovered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rollback.core.alert_cycles import pagerduty_cycle
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.alert_sources.payloads import DROP, SOURCE, pagerduty, pagerduty_other, read, the_alert

AT = datetime(2026, 3, 1, 10, 0, 0, 169000, tzinfo=UTC)
REOPENED = "2026-03-02T08:00:00Z"
REOPENED_AT = datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_an_incident_says_what_watches_which_cycle_and_when() -> None:
    assert the_alert(read("pagerduty", pagerduty())) == Alert(
        source=SOURCE,
        monitor="PSERVICE",
        cycle=pagerduty_cycle("QINCIDENT0001", None),
        edge=Edge.FIRED,
        occurred_at=AT,
        priority="P1",
        tags=("service:Secure Messaging", "team:SM", "urgency:high"),
        title="Messages fail",
        link="https://example.org/incidents/QINCIDENT0001",
    )


@pytest.mark.parametrize(
    ("kind", "edge"),
    [
        ("incident.triggered", Edge.FIRED),
        ("incident.reopened", Edge.FIRED),
        ("incident.escalated", Edge.REPEATED),
        ("incident.unacknowledged", Edge.REPEATED),
        ("incident.resolved", Edge.RECOVERED),
        ("incident.acknowledged", Edge.UNCLEAR),
        ("incident.delegated", Edge.UNCLEAR),
        ("incident.reassigned", Edge.UNCLEAR),
    ],
)
def test_each_event_of_an_incidents_state_has_its_edge(kind: str, edge: Edge) -> None:
    assert the_alert(read("pagerduty", pagerduty(kind))).edge is edge


@pytest.mark.parametrize("kind", ["incident.priority_updated", "incident.service_updated", "incident.urgency_updated"])
@pytest.mark.parametrize(
    ("status", "edge"),
    [("triggered", Edge.FIRED), ("acknowledged", Edge.FIRED), ("resolved", Edge.UNCLEAR), (None, Edge.UNCLEAR)],
)
def test_what_makes_an_open_incident_critical_fires_and_a_closed_one_stays_closed(
    kind: str, status: str | None, edge: Edge
) -> None:
    alert = the_alert(read("pagerduty", pagerduty(kind, status=status)))
    assert alert.edge is edge
    assert alert.cycle == the_alert(read("pagerduty", pagerduty())).cycle


def test_a_merged_incident_has_not_recovered() -> None:
    merged = {"type": "merge_resolve_reason", "incident": {"id": "QINCIDENT0002", "type": "incident_reference"}}
    alert = the_alert(read("pagerduty", pagerduty("incident.resolved", status="resolved", resolve_reason=merged)))
    assert alert.edge is Edge.UNCLEAR


def test_a_reopened_incident_is_another_cycle_until_its_end() -> None:
    first = the_alert(read("pagerduty", pagerduty())).cycle
    reopened = the_alert(read("pagerduty", pagerduty("incident.reopened", reopened_at=REOPENED))).cycle
    resolved = the_alert(read("pagerduty", pagerduty("incident.resolved", reopened_at=REOPENED))).cycle
    assert reopened == resolved == pagerduty_cycle("QINCIDENT0001", REOPENED_AT)
    assert reopened != first
    unsaid = the_alert(read("pagerduty", pagerduty("incident.reopened"))).cycle
    assert unsaid == pagerduty_cycle("QINCIDENT0001", AT)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("incident.annotated", {"incident": {"id": "Q1"}, "id": "P1", "content": "a note", "type": "incident_note"}),
        ("incident.status_update_published", {"incident": {"id": "Q1"}, "id": "P1", "message": "soon"}),
        ("incident.responder.added", {"incident": {"id": "Q1"}, "state": "pending"}),
        ("incident.conference_bridge.updated", {"incident": {"id": "Q1"}}),
        ("service.updated", {"id": "PSERVICE", "type": "service"}),
        ("incident.of_a_later_year", {"id": "Q1"}),
    ],
)
def test_what_says_nothing_of_an_incidents_state_is_of_no_concern(kind: str, data: dict[str, object]) -> None:
    reading = read("pagerduty", pagerduty_other(kind, data))
    assert reading.kind is ReadingKind.IGNORED
    assert "a note" not in reading.why


def test_a_ping_is_a_test_and_only_its_type_makes_it_one() -> None:
    ping = pagerduty_other("pagey.ping", {"message": "Hello", "type": "ping"})
    assert read("pagerduty", ping).kind is ReadingKind.TEST
    assert the_alert(read("pagerduty", pagerduty(title="pagey.ping [TEST]"))).edge is Edge.FIRED


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"event": None},
        {"event": []},
        {"messages": [{"event": "incident.trigger"}]},
        pagerduty(event={"id": DROP}),
        pagerduty(event={"id": ""}),
        pagerduty(event={"id": 1.5}),
        pagerduty(event={"id": "x" * 201}),
        pagerduty(event={"event_type": DROP}),
        pagerduty(event={"data": None}),
        pagerduty(event={"data": "gone"}),
        pagerduty(id=DROP),
        pagerduty(service=None),
        pagerduty(service={"id": None}),
        pagerduty(service={"id": "P\u200bSERVICE"}),
    ],
)
def test_an_event_that_lacks_what_identifies_it_is_not_understood(document: object) -> None:
    assert read("pagerduty", document).kind is ReadingKind.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "priority", "tag_names"),
    [
        ({"priority": None}, "", ["service", "team", "urgency"]),
        ({"priority": "P1"}, "", ["service", "team", "urgency"]),
        ({"priority": {"summary": "sev-1"}}, "SEV-1", ["service", "team", "urgency"]),
        ({"teams": None, "urgency": None}, "P1", ["service"]),
        ({"teams": ["SM", None, {"summary": 5}, {"summary": "B"}]}, "P1", ["service", "team", "team", "urgency"]),
    ],
)
def test_what_may_be_null_is_left_out(changes: dict[str, Any], priority: str, tag_names: list[str]) -> None:
    alert = the_alert(read("pagerduty", pagerduty(**changes)))
    assert alert.priority == priority
    assert [tag.partition(":")[0] for tag in alert.tags] == tag_names


def test_an_event_without_a_time_is_an_alert_of_unknown_age() -> None:
    for missing in (DROP, None, "yesterday", "0001-01-01T00:00:00Z"):
        assert the_alert(read("pagerduty", pagerduty(event={"occurred_at": missing}))).occurred_at is None


def test_an_unsigned_header_decides_nothing() -> None:
    """Anybody who replays a signed body could set it: neither may it hide another event nor double this one."""
    first = read("pagerduty", pagerduty(), {"x-webhook-id": "one"})
    assert read("pagerduty", pagerduty(), {"x-webhook-id": "two"}).key == first.key
    assert read("pagerduty", pagerduty(event={"id": "01OTHER"}), {"x-webhook-id": "one"}).key != first.key


@pytest.mark.parametrize(
    "other",
    [
        pagerduty("incident.resolved"),
        pagerduty(id="QINCIDENT0009"),
        pagerduty(event={"id": "01OTHER"}),
        pagerduty(event={"occurred_at": "2026-03-01T10:00:01Z"}),
    ],
)
def test_another_event_has_another_key(other: object) -> None:
    assert read("pagerduty", other).key != read("pagerduty", pagerduty()).key
