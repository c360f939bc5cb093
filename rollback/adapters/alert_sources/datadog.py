"""Datadog's webhook integration: what `TEMPLATE` makes it send.

Datadog's payload is whatever its template says, and all values are texts. Paste `TEMPLATE` as the custom payload, leave
`Encode as form` unticked, and put the secret into a custom header: Datadog signs nothing. The full upper-case form that
other products document (names such as `ALERT_ID`, also inside of `metadata`) is read as well.

A test notification of a monitor carries the monitor's real id and transition, and tells that it is one in its title
alone. Titles are never looked at, so it counts as real; test the way with `TEST_TEMPLATE` on a second webhook instead.
Source: docs.datadoghq.com/integrations/webhooks and /monitors/notify/variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rollback.adapters.alert_sources.readings import alerting, content_key, only_a_test, parser
from rollback.adapters.alert_sources.untrusted import Fields, Unreadable, json_object, split_tags, tags
from rollback.core.alert_cycles import datadog_cycle
from rollback.core.alerts import Alert, Edge, Reading

TEMPLATE: Mapping[str, str] = {
    "id": "$ID",
    "alert_id": "$ALERT_ID",
    "alert_cycle_key": "$ALERT_CYCLE_KEY",
    "alert_transition": "$ALERT_TRANSITION",
    "alert_type": "$ALERT_TYPE",
    "alert_priority": "$ALERT_PRIORITY",
    "alert_scope": "$ALERT_SCOPE",
    "date": "$DATE",
    "last_updated": "$LAST_UPDATED",
    "tags": "$TAGS",
    "event_title": "$EVENT_TITLE",
    "link": "$LINK",
    "org_id": "$ORG_ID",
}
"""The custom payload for the webhook. It leaves out what may hold private data: the message, log samples, users."""

TEST_TEMPLATE: Mapping[str, str] = {**TEMPLATE, "rollback_test": "true"}
"""The same for a second webhook, whose notifications are answered and recorded, and do nothing."""

_MISSING = re.compile(r"\$[A-Z][A-Z0-9_]*(?:\[[^\]]*\])?|null", re.IGNORECASE)
"""A variable that Datadog did not know stays as it is; one without a value is empty or the word `null`."""

_NO_ID = re.compile(r"0+")

_TRANSITIONS: Mapping[str, Edge] = {
    "triggered": Edge.FIRED,
    "re triggered": Edge.REPEATED,  # what renotification sends while the monitor stays in alert
    "renotify": Edge.REPEATED,
    "re notify": Edge.REPEATED,
    "recovered": Edge.RECOVERED,
    "warn recovered": Edge.RECOVERED,  # from warning to OK, by way of an alert or not
    "warn": Edge.UNCLEAR,
    "re warn": Edge.UNCLEAR,
    "no data": Edge.UNCLEAR,
    "re no data": Edge.UNCLEAR,
}
"""`$ALERT_TRANSITION` in small letters, blanks for dashes. What is not here is not understood."""

_NOT_ALERTING = frozenset({"warning", "info", "success"})
"""`$ALERT_TYPE` of states other than alert. `Renotify` alone does not say which state it repeats."""

_PRIORITY = re.compile(r"P[1-5]")


def _read(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
    fields = _flat(json_object(headers, body)).without(_MISSING)
    monitor = _identifier(fields, "alert_id")
    cycle = _identifier(fields, "alert_cycle_key")
    if not monitor or not cycle:
        raise Unreadable(
            "It names no monitor or no alert cycle (ALERT_ID, ALERT_CYCLE_KEY), as in Datadog's own default payload: "
            "paste this program's template into the webhook."
        )
    alert = Alert(
        source=source,
        monitor=monitor,
        cycle=datadog_cycle(cycle),
        edge=_edge(fields),
        occurred_at=fields.moment("date") or fields.moment("last_updated"),
        priority=_priority(fields),
        tags=tags(one for one in _tag_words(fields) if one.strip() != "*"),
        title=fields.text("event_title") or fields.text("title"),
        link=fields.link("link"),
    )
    told = ("id", "org_id", "date", "alert_transition", "alert_scope", "alert_type")
    key = content_key("datadog", monitor, cycle, *(fields.word(name) for name in told))
    if fields.says_true("rollback_test"):
        return only_a_test(key, "It says that it is a test (rollback_test).")
    return alerting(key, alert)


parse = parser(_read)
"""The `AlertParser` of Datadog."""


def _flat(document: Fields) -> Fields:
    """The fields of the body and of its `metadata`, with small letters. Two that differ in one name are ambiguous."""
    found: dict[str, object] = {}
    for name, value in (*document.values.items(), *document.inner("metadata").values.items()):
        small = name.lower()
        if found.setdefault(small, value) != value and small in TEST_TEMPLATE:
            raise Unreadable(f"It says {small} twice, and differently.")
    return Fields(found)


def _identifier(fields: Fields, name: str) -> str:
    found = fields.identifier(name)
    return "" if _NO_ID.fullmatch(found) else found


def _edge(fields: Fields) -> Edge:
    word = " ".join(fields.word("alert_transition").replace("-", " ").split()).casefold()
    edge = _TRANSITIONS.get(word)
    if edge is None:
        raise Unreadable("Its ALERT_TRANSITION is missing, or none that is known.")
    if edge is Edge.REPEATED and fields.word("alert_type").casefold() in _NOT_ALERTING:
        return Edge.UNCLEAR
    return edge


def _priority(fields: Fields) -> str:
    """The monitor's priority. `$PRIORITY` is the event's (`normal`, `low`), and counts only if it looks like one."""
    other = fields.priority("priority")
    return fields.priority("alert_priority") or (other if _PRIORITY.fullmatch(other) else "")


def _tag_words(fields: Fields) -> list[str]:
    return [word for name in ("tags", "alert_scope") for word in split_tags(fields.values.get(name))]
