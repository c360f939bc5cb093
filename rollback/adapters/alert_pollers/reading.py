"""Reading untrusted documents: typed getters that name the place, times, tags, and words for people."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from rollback.core.alerts import Alert, Edge, Reading, ReadingKind
from rollback.redaction import redact

MAX_TAGS = 64
MAX_TEXT = 200
"""Characters of a tag, a title, a link; a longer id is named by its hash instead."""

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:?\d\d)")


class Odd(ValueError):
    """A document is not what the vendor describes; the text says where, and quotes nothing of it."""


def table(value: Any, where: str) -> Mapping[str, Any]:
    """`value`, which has to be an object. Raises `Odd`."""
    if not isinstance(value, dict):
        raise Odd(f"{where} is no object")
    return value


def rows(value: Any, where: str) -> Sequence[Any]:
    """`value`, which has to be a list. Raises `Odd`."""
    if not isinstance(value, list):
        raise Odd(f"{where} is no list")
    return value


def text(value: Any, where: str) -> str:
    """`value`, which has to be text that is not empty. Raises `Odd`."""
    if not isinstance(value, str) or not value:
        raise Odd(f"{where} is no text")
    return value


def identifier(value: Any, where: str) -> str:
    """An id as text: a whole number from 0 on, or text that is not empty. Raises `Odd`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**30:
        return str(value)
    return text(value, where)


def labels(value: Any, where: str) -> dict[str, str]:
    """A set of labels: text to text. Raises `Odd`."""
    found = table(value, where)
    if not all(isinstance(label, str) for label in found.values()):
        raise Odd(f"{where} holds a label that is no text")
    return dict(found)


def words(value: Any, longest: int = MAX_TEXT) -> str:
    """Text for people: cut and redacted; empty for anything that is no text."""
    return redact(value, longest) if isinstance(value, str) else ""


def seconds(value: Any) -> int | None:
    """Seconds since 1970, None for 0, for nonsense, and for times before 2000 or after 2200."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) and moment(value) is not None else None


def moment(value: Any, *, per_second: int = 1) -> datetime | None:
    """The time of a number of seconds since 1970 (`per_second` 1000: milliseconds), aware UTC; None for nonsense."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if not _EARLIEST.timestamp() <= value / per_second < _LATEST.timestamp():
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=value / per_second)


def rfc3339(value: Any) -> datetime | None:
    """The time of an RFC 3339 text, cut off after the microseconds, aware UTC; None for nonsense.

    Go's zero time (`0001-01-01T00:00:00Z`) is None as well.
    """
    found = _RFC3339.fullmatch(value) if isinstance(value, str) and len(value) < 50 else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    at += timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
    return at if _EARLIEST <= at < _LATEST else None


def tags(found: Iterable[Any]) -> tuple[str, ...]:
    """Tags as an alert keeps them: redacted, cut, sorted, unique, at most 64. What is no text is left out."""
    kept = {words(tag) for tag in found if isinstance(tag, str)}
    return tuple(sorted(kept - {""})[:MAX_TAGS])


def web_link(value: Any) -> str:
    """An http(s) link of at most 200 characters, else nothing."""
    link = words(value)
    return link if re.fullmatch(r"https?://[^\s\"'<>]+", link) else ""


def of_monitors(source: str, alerts: Iterable[Alert]) -> list[Reading]:
    """One reading for each monitor, sorted. Equal alerts make an equal key, any other alert another one.

    Titles and links do not count: they may change without anything having happened.
    """
    ordered = sorted(alerts, key=lambda alert: (alert.monitor, alert.cycle, _ORDER[alert.edge]))
    return [
        Reading(ReadingKind.ALERTS, _key(source, monitor, those := list(group)), tuple(those))
        for monitor, group in groupby(ordered, key=lambda alert: alert.monitor)
    ]


_ORDER = {Edge.FIRED: 0, Edge.REPEATED: 1, Edge.UNCLEAR: 2, Edge.RECOVERED: 3}


def _key(source: str, monitor: str, alerts: Sequence[Alert]) -> str:
    parts = [
        (one.cycle, one.edge, one.occurred_at.isoformat() if one.occurred_at else None, one.priority, one.tags)
        for one in alerts
    ]
    canonical = json.dumps([source, monitor, parts], ensure_ascii=True)
    return f"poll:{hashlib.sha256(canonical.encode()).hexdigest()[:40]}"
