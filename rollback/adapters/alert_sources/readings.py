"""The verdicts of the parsers, and the keys by which a delivery is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from rollback.adapters.alert_sources.untrusted import Unreadable
from rollback.alert_ports import AlertParser
from rollback.core.alerts import Alert, Reading, ReadingKind


def parser(read: Callable[[str, Mapping[str, str], bytes], Reading]) -> AlertParser:
    """Makes a parser of a function that may raise `Unreadable`: that is the verdict UNKNOWN, with its sentence."""

    def parse(source: str, headers: Mapping[str, str], body: bytes) -> Reading:
        try:
            return read(source, headers, body)
        except Unreadable as error:
            return unknown(body, str(error))

    return parse


def content_key(*parts: str | Sequence[str]) -> str:
    """The key of a delivery that is understood: `content:` and a hash of what identifies it, in this order.

    All of it comes from the body. A header such as PagerDuty's `X-Webhook-Id` is not signed: whoever could set it could
    pass an alert off as one that is known, so that it would be lost. The sender's own id is always one part among
    others, so that a sender that repeats ids loses nothing.
    """
    content = json.dumps(parts, ensure_ascii=True)
    return f"content:{hashlib.sha256(content.encode()).hexdigest()}"


def unknown(body: bytes, why: str) -> Reading:
    """Not understood; the same bytes again are the same delivery."""
    return Reading(ReadingKind.UNKNOWN, f"body:{hashlib.sha256(body).hexdigest()}", why=why)


def ignored(key: str, why: str) -> Reading:
    """Understood, and of no concern."""
    return Reading(ReadingKind.IGNORED, key, why=why)


def only_a_test(key: str, why: str) -> Reading:
    """A test notification. Its key is no alert's, so that a test never passes the alert off as one that is known."""
    return Reading(ReadingKind.TEST, f"test:{key}", why=why)


def alerting(key: str, *alerts: Alert) -> Reading:
    """At least one alert."""
    return Reading(ReadingKind.ALERTS, key, alerts)
