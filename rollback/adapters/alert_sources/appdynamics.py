"""AppDynamics' HTTP request actions: what `TEMPLATE` makes the controller send.

Use `TEMPLATE` as the payload (MIME type application/json), select `One Request Per Event` (otherwise events of one
minute are bundled, and all but the latest are lost), and put the secret into a header or use basic authentication:
AppDynamics signs nothing. Only events of health rules are alerts: the monitor is the health rule, the cycle the
incident.

The controller does not escape what it puts in. A name with a quote in it breaks the JSON, and one that is made up to
look like further fields says a name twice: either is not understood and kept for reading. Mended are only commas
before a closing bracket, which templates with conditions leave behind, and line breaks inside of texts.

Nothing that is documented tells a test of a template from an event; `TEST_TEMPLATE` does. A test without a real
health rule leaves its variables unreplaced and is not understood.
Source: help.splunk.com, AppDynamics: HTTP Request Actions and Templates, Info Class Fields, Events Reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from rollback.adapters.alert_sources.moments import java_moment
from rollback.adapters.alert_sources.readings import alerting, content_key, ignored, only_a_test, parser
from rollback.adapters.alert_sources.untrusted import Fields, Unreadable, json_object, tags
from rollback.core.alert_cycles import appdynamics_cycle
from rollback.core.alerts import Alert, Edge, Reading

TEMPLATE = """\
{
  "event_guid": "${latestEvent.guid}",
  "event_id": "${latestEvent.id}",
  "event_type": "${latestEvent.eventType}",
  "event_time": "${latestEvent.eventTime}",
  "event_name": "${latestEvent.displayName}",
  "event_deep_link": "${latestEvent.deepLink}",
  "severity": "${latestEvent.severity}",
  "health_rule_id": "${latestEvent.healthRule.id}",
  "health_rule_name": "${latestEvent.healthRule.name}",
  "incident_id": "${latestEvent.incident.id}",
  "app_id": "${latestEvent.application.id}",
  "app_name": "${latestEvent.application.name}",
  "tier_name": "${latestEvent.tier.name}",
  "node_name": "${latestEvent.node.name}",
  "policy": "${policy.name}"
}
"""
"""The payload of the request. It leaves out the messages, which hold markup, quotes and perhaps private data."""

TEST_TEMPLATE = TEMPLATE.replace("{\n", '{\n  "rollback_test": "true",\n', 1)
"""The same for a second template, whose requests are answered and recorded, and do nothing."""

_MISSING = re.compile(r"\$!?\{[^{}]*\}|null", re.IGNORECASE)
"""A variable that has no value in an event stays as it is."""

_FAMILY = ("POLICY_", "ANOMALY_")

_EDGES: Mapping[str, Edge] = {
    "POLICY_OPEN_CRITICAL": Edge.FIRED,
    "POLICY_UPGRADED": Edge.FIRED,  # from warning to critical
    "POLICY_CONTINUES_CRITICAL": Edge.REPEATED,
    "POLICY_CLOSE": Edge.RECOVERED,
    "POLICY_CLOSE_CRITICAL": Edge.RECOVERED,
    "POLICY_CLOSE_WARNING": Edge.RECOVERED,
    "POLICY_OPEN_WARNING": Edge.UNCLEAR,
    "POLICY_CONTINUES_WARNING": Edge.UNCLEAR,
    "POLICY_DOWNGRADED": Edge.UNCLEAR,  # from critical to warning
    "POLICY_CANCELED": Edge.UNCLEAR,  # the rule was changed, or its data ended: no recovery
    "POLICY_CANCELED_CRITICAL": Edge.UNCLEAR,
    "POLICY_CANCELED_WARNING": Edge.UNCLEAR,
}


def _read(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
    fields = json_object(headers, body, lenient=True).without(_MISSING)
    kind = fields.required("event_type", "It names no event type: use this program's template for the request.")
    told = ("event_guid", "event_id", "event_time", "health_rule_id", "incident_id", "app_id")
    key = content_key("appdynamics", kind, *(fields.word(name) for name in told))
    edge = _EDGES.get(kind.upper())
    if edge is None and kind.upper().startswith(_FAMILY):
        raise Unreadable("Its event type is one of health rules or anomalies, but none that is known.")
    if fields.says_true("rollback_test"):
        return only_a_test(key, "It says that it is a test (rollback_test).")
    if edge is None:
        return ignored(key, "It is no event of a health rule.")
    return alerting(key, _alert(source, edge, fields))


parse = parser(_read)
"""The `AlertParser` of AppDynamics."""


def _alert(source: str, edge: Edge, fields: Fields) -> Alert:
    return Alert(
        source=source,
        monitor=fields.required("health_rule_id", "Its event names no health rule."),
        cycle=appdynamics_cycle(fields.required("incident_id", "Its event names no incident.")),
        edge=edge,
        occurred_at=_moment(fields),
        priority=fields.priority("severity"),
        tags=tags(_tag_words(fields)),
        title=": ".join(filter(None, (fields.text("event_name", 90), fields.text("health_rule_name", 100)))),
        link=fields.link("event_deep_link"),
    )


def _moment(fields: Fields) -> datetime | None:
    return fields.moment("event_time") or java_moment(fields.word("event_time"))


def _tag_words(fields: Fields) -> list[str]:
    """`application:`, `tier:`, `node:`, `policy:` and `health_rule:` with their names."""
    named = {
        "application": "app_name",
        "tier": "tier_name",
        "node": "node_name",
        "policy": "policy",
        "health_rule": "health_rule_name",
    }
    return [f"{tag}:{fields.word(name)}" for tag, name in named.items() if fields.word(name)]
