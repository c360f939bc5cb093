"""What the senders deliver, in their own shapes, with values of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rollback.adapters.alert_sources import PARSERS
from rollback.core.alerts import Alert, Reading, ReadingKind

SOURCE = "our-monitoring"

Json = dict[str, Any]

DROP = object()
"""Stands for a field that is left out."""


def _reference(identity: str, summary: str, kind: str) -> Json:
    return {
        "html_url": f"https://example.org/{identity}",
        "id": identity,
        "self": f"https://api.example.org/{identity}",
        "summary": summary,
        "type": kind,
    }


def _changed(document: Json, changes: Mapping[str, object]) -> Json:
    """`document` with `changes`; DROP as a value leaves the field out."""
    return {name: value for name, value in {**document, **changes}.items() if value is not DROP}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def read(kind: str, document: object, headers: Mapping[str, str] | None = None) -> Reading:
    """The verdict of the parser `kind` on a document, or on bytes as they are."""
    body = document if isinstance(document, bytes) else encoded(document)
    return PARSERS[kind](SOURCE, headers or {}, body)


def the_alert(reading: Reading) -> Alert:
    """The only alert of a reading that has one."""
    assert reading.kind is ReadingKind.ALERTS, reading.why
    assert len(reading.alerts) == 1
    return reading.alerts[0]


def datadog(**changes: object) -> Json:
    """A monitor's alert with our template. A change to `DROP` leaves the field out."""
    return _changed(
        {
            "id": "7301122334455667788",
            "alert_id": "4711",
            "alert_cycle_key": "8801122334455660001",
            "alert_transition": "Triggered",
            "alert_type": "error",
            "alert_priority": "P1",
            "alert_scope": "service:mhv-messaging,env:eks-prod",
            "date": "1772359200000",
            "last_updated": "1772359205000",
            "tags": "env:eks-prod,monitor,service:mhv-messaging,team:sm",
            "event_title": "[P1] [Triggered] Messages fail",
            "link": "https://app.example.org/event/event?id=42",
            "org_id": "77",
        },
        changes,
    )


def datadog_upper_case(**changes: object) -> Json:
    """The same alert in the nested form with the variables' own names."""
    metadata = {name.upper(): value for name, value in datadog(**changes).items()}
    return {"body": "%%% Messages fail %%%", "title": metadata["EVENT_TITLE"], "metadata": metadata}


def datadog_default() -> Json:
    """What a webhook without a custom payload sends, here as a test notification."""
    return {
        "id": "7301122334455667799",
        "last_updated": "1772359200000",
        "event_type": "query_alert_monitor",
        "title": "[Triggered] [TEST] Messages fail",
        "date": "1772359200000",
        "org": {"id": "77", "name": "Example"},
        "body": "%%%\nTest notification triggered by somebody.\n%%%",
    }


def pagerduty(kind: str = "incident.triggered", *, event: Json | None = None, **incident: object) -> Json:
    """An event of an incident; `incident` changes the incident, `event` the event around it."""
    return {
        "event": _changed(
            {
                "id": "01EVENT00000000000000000A",
                "event_type": kind,
                "resource_type": "incident",
                "occurred_at": "2026-03-01T10:00:00.169Z",
                "agent": None,
                "client": None,
                "data": _changed(
                    {
                        "id": "QINCIDENT0001",
                        "type": "incident",
                        "self": "https://api.example.org/incidents/QINCIDENT0001",
                        "html_url": "https://example.org/incidents/QINCIDENT0001",
                        "number": 12,
                        "status": "triggered",
                        "incident_key": "5f1d",
                        "created_at": "2026-03-01T10:00:00Z",
                        "title": "Messages fail",
                        "service": _reference("PSERVICE", "Secure Messaging", "service_reference"),
                        "assignees": [_reference("PUSER", "On call", "user_reference")],
                        "escalation_policy": _reference("PPOLICY", "Default", "escalation_policy_reference"),
                        "teams": [_reference("PTEAM", "SM", "team_reference")],
                        "priority": _reference("PPRIO", "P1", "priority_reference"),
                        "urgency": "high",
                        "conference_bridge": None,
                        "resolve_reason": None,
                    },
                    incident,
                ),
            },
            event or {},
        )
    }


def pagerduty_other(kind: str, data: Json) -> Json:
    """An event about something else than an incident's state."""
    return pagerduty(kind, event={"data": data})


def am_alert(status: object = "firing", **changes: object) -> Json:
    """One alert of a group of Alertmanager's."""
    return _changed(
        {
            "status": status,
            "labels": {
                "alertname": "MessagesFail",
                "env": "prod",
                "service": "mhv-messaging",
                "severity": "critical",
            },
            "annotations": {"summary": "Messages fail", "runbook_url": "https://example.org/runbook"},
            "startsAt": "2026-03-01T10:00:00.123456789+01:00",
            "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-03-01T11:30:00Z",
            "generatorURL": "https://prometheus.example.org/graph?g0.expr=up",
            "fingerprint": "a1b2c3d4e5f60718",
        },
        changes,
    )


def alertmanager(*alerts: object, **changes: object) -> Json:
    """A group's notification; with no alert given, of one that fires."""
    return _changed(
        {
            "version": "4",
            "groupKey": '{}:{alertname="MessagesFail"}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "rollback",
            "groupLabels": {"alertname": "MessagesFail"},
            "commonLabels": {"alertname": "MessagesFail"},
            "commonAnnotations": {},
            "externalURL": "https://alertmanager.example.org",
            "alerts": list(alerts) or [am_alert()],
        },
        changes,
    )


def appdynamics(kind: str = "POLICY_OPEN_CRITICAL", **changes: object) -> Json:
    """An event of a health rule with our template. A variable without a value stays as it stands in the template."""
    return _changed(
        {
            "event_guid": "7c1f0c3e-0000-4000-8000-000000000001",
            "event_id": "33021165",
            "event_type": kind,
            "event_time": "Sun Mar 01 10:00:00 UTC 2026",
            "event_name": "New Critical Health Rule Violation",
            "event_deep_link": "https://appdynamics.example.gov/#location=APP_EVENT_VIEWER_MODAL&eventSummary=33021165",
            "severity": "ERROR",
            "health_rule_id": "615178",
            "health_rule_name": "Messaging error rate",
            "incident_id": "70646",
            "app_id": "108979",
            "app_name": "MHV",
            "tier_name": "messaging-api",
            "node_name": "${latestEvent.node.name}",
            "policy": "Page us",
        },
        changes,
    )


def generic(**changes: object) -> Json:
    """A delivery of the small format of our own."""
    return _changed(
        {
            "id": "delivery-1",
            "monitor": "checkout-errors",
            "cycle": "cycle-1",
            "edge": "fired",
            "at": "2026-03-01T10:00:00Z",
            "priority": "P1",
            "tags": ["service:checkout", "env:prod"],
            "title": "Checkout fails",
            "link": "https://monitoring.example.org/alerts/1",
        },
        changes,
    )


FIRING: Mapping[str, Json] = {
    "datadog": datadog(),
    "pagerduty": pagerduty(),
    "alertmanager": alertmanager(),
    "appdynamics": appdynamics(),
    "generic": generic(),
}
"""An alert that fires, of each kind of sender."""

RECOVERED: Mapping[str, Json] = {
    "datadog": datadog(alert_transition="Recovered", alert_type="success", id="7301122334455667790"),
    "pagerduty": pagerduty("incident.resolved", event={"id": "01EVENT00000000000000000B"}, status="resolved"),
    "alertmanager": alertmanager(am_alert("resolved"), status="resolved"),
    "appdynamics": appdynamics("POLICY_CLOSE_CRITICAL", severity="INFO", event_id="33021170"),
    "generic": generic(edge="recovered", id="delivery-2"),
}
"""The recovery from the alert in `FIRING`."""

TESTS: Mapping[str, Json] = {
    "datadog": datadog(rollback_test="true"),
    "pagerduty": pagerduty_other("pagey.ping", {"message": "Hello", "type": "ping"}),
    "alertmanager": alertmanager(am_alert(labels={"alertname": "MessagesFail", "rollback_test": "true"})),
    "appdynamics": appdynamics(rollback_test="true"),
    "generic": generic(edge="test"),
}
"""A test notification of each kind of sender."""
