"""Any other sender that can post a small JSON object and keep a secret.

    {
      "id": "delivery-1",             the delivery's own id, if there is one; equal when it is sent again
      "monitor": "checkout-errors",   what watches; rules name it
      "cycle": "2026-03-01T10:00Z",   the same from trigger to recovery, different for the next trigger
      "edge": "fired",                fired, repeated, recovered, unclear, test
      "at": "2026-03-01T10:00:00Z",   when it happened: RFC 3339, or a number of seconds or milliseconds since 1970
      "priority": "P1",
      "tags": ["env:prod"],
      "title": "Checkout fails",
      "link": "https://monitoring.example.org/alerts/1"
    }

`monitor`, `cycle` and `edge` are needed. Without `at` the alert is recorded and told, and never acted on by itself.
Types are strict, so that a mistake shows in the first test and not in the first incident: a test is checked like an
alert, and one that is answered as a test would have been understood. Further fields are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollback.adapters.alert_sources.readings import alerting, content_key, only_a_test, parser
from rollback.adapters.alert_sources.untrusted import Fields, Unreadable, json_object, tags
from rollback.core.alerts import Alert, Edge, Reading

EXAMPLE: Mapping[str, object] = {
    "id": "delivery-1",
    "monitor": "checkout-errors",
    "cycle": "2026-03-01T10:00Z",
    "edge": "fired",
    "at": "2026-03-01T10:00:00Z",
    "priority": "P1",
    "tags": ["env:prod", "service:checkout"],
    "title": "Checkout fails",
    "link": "https://monitoring.example.org/alerts/1",
}
"""A whole delivery, to start from."""

_TEST = "test"
_EDGES: Mapping[str, Edge] = {edge.value: edge for edge in Edge}
_TEXTS = ("id", "monitor", "cycle", "edge", "priority", "title", "link")


def _read(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
    fields = json_object(headers, body)
    for name in _TEXTS:
        if not isinstance(fields.values.get(name), (str, type(None))):
            raise Unreadable(f"The field {name} is not a text.")
    word = fields.word("edge")
    edge = Edge.UNCLEAR if word == _TEST else _EDGES.get(word)
    if edge is None:
        raise Unreadable("The field edge is none of fired, repeated, recovered, unclear, test.")
    alert = Alert(
        source=source,
        monitor=fields.required("monitor", "The field monitor is missing."),
        cycle=fields.required("cycle", "The field cycle is missing."),
        edge=edge,
        occurred_at=_moment(fields),
        priority=fields.priority("priority"),
        tags=tags(_tag_words(fields)),
        title=fields.text("title"),
        link=fields.link("link"),
    )
    at = alert.occurred_at.isoformat() if alert.occurred_at else ""
    key = content_key("generic", fields.identifier("id"), alert.monitor, alert.cycle, word, at)
    return only_a_test(key, "It says that it is a test, and is understood.") if word == _TEST else alerting(key, alert)


parse = parser(_read)
"""The `AlertParser` of other senders."""


def _moment(fields: Fields) -> datetime | None:
    if fields.values.get("at") is None:
        return None
    found = fields.moment("at")
    if found is None:
        raise Unreadable("The field at is no time: write RFC 3339 with a zone, or seconds since 1970.")
    return found


def _tag_words(fields: Fields) -> list[str]:
    words = fields.values.get("tags")
    if words is None:
        return []
    if not isinstance(words, list):
        raise Unreadable("The field tags is not a list.")
    texts = [word for word in words if isinstance(word, str)]
    if len(texts) != len(words):
        raise Unreadable("The field tags holds something that is not a text.")
    return texts
