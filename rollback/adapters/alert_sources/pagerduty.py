"""PagerDuty's V3 webhooks: one event of one incident in each delivery.

The monitor is the service, the cycle the incident (and the time of its last reopening). The priority's name and the
urgency are what rules match on. A raised priority is the moment at which an incident becomes critical for a rule; the
same is true when the incident moves to another service or its urgency changes. These events therefore fire while the
incident is open, and whoever decides must not take the cycle for decided because an earlier event matched no rule.

An incident that is merged is reported as resolved, yet its trouble goes on inside another one: that is unclear, no
recovery. Notes, status updates and responders are of no concern, and their content is not read.
Source: PagerDuty/developer-docs, docs/webhooks/01-Overview.md; the API reference's `resolve_reason`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollback.adapters.alert_sources.readings import alerting, content_key, ignored, only_a_test, parser
from rollback.adapters.alert_sources.untrusted import Fields, json_object, tags
from rollback.core.alert_cycles import pagerduty_cycle
from rollback.core.alerts import Alert, Edge, Reading

TEST_EVENT = "pagey.ping"
"""The event of the button "Send test event"."""

_EDGES: Mapping[str, Edge] = {
    "incident.triggered": Edge.FIRED,
    "incident.reopened": Edge.FIRED,
    "incident.escalated": Edge.REPEATED,
    "incident.unacknowledged": Edge.REPEATED,
    "incident.resolved": Edge.RECOVERED,
    "incident.acknowledged": Edge.UNCLEAR,
    "incident.delegated": Edge.UNCLEAR,
    "incident.reassigned": Edge.UNCLEAR,
}

_CHANGES = frozenset({"incident.priority_updated", "incident.service_updated", "incident.urgency_updated"})
"""What changes the fields that rules match on: it fires while the incident is open."""

_OPEN = frozenset({"triggered", "acknowledged"})


def _read(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
    event = json_object(headers, body).inner("event")
    identity = event.required("id", "It is no V3 webhook of PagerDuty: there is no event with an id.")
    kind = event.required("event_type", "Its event has no event_type.")
    incident = event.inner("data")
    key = content_key("pagerduty", identity, kind, event.word("occurred_at"), incident.word("id"))
    if kind == TEST_EVENT:
        return only_a_test(key, "It is PagerDuty's test event (pagey.ping).")
    if kind not in _EDGES and kind not in _CHANGES:
        return ignored(key, "This kind of event says nothing of an incident's state.")
    return alerting(key, _alert(source, kind, event.moment("occurred_at"), incident))


parse = parser(_read)
"""The `AlertParser` of PagerDuty."""


def _alert(source: str, kind: str, occurred_at: datetime | None, incident: Fields) -> Alert:
    reopened_at = incident.moment("reopened_at")
    if kind == "incident.reopened":  # a cycle of its own even if the incident does not repeat the time
        reopened_at = reopened_at or occurred_at
    return Alert(
        source=source,
        monitor=incident.inner("service").required("id", "Its incident names no service."),
        cycle=pagerduty_cycle(incident.required("id", "Its incident has no id."), reopened_at),
        edge=_edge(kind, incident),
        occurred_at=occurred_at,
        priority=incident.inner("priority").priority("summary"),
        tags=tags(_tag_words(incident)),
        title=incident.text("title"),
        link=incident.link("html_url"),
    )


def _edge(kind: str, incident: Fields) -> Edge:
    if kind in _CHANGES:
        return Edge.FIRED if incident.word("status") in _OPEN else Edge.UNCLEAR
    if kind == "incident.resolved" and incident.inner("resolve_reason").word("type") == "merge_resolve_reason":
        return Edge.UNCLEAR
    return _EDGES[kind]


def _tag_words(incident: Fields) -> list[str]:
    """`service:`, `urgency:`, and `team:` with the names of the teams."""
    named = [
        ("service", incident.inner("service").word("summary")),
        ("urgency", incident.word("urgency")),
        *(("team", Fields(team).word("summary")) for team in incident.many("teams") if isinstance(team, dict)),
    ]
    return [f"{name}:{value}" for name, value in named if value]
