"""Times as senders write them. What makes no sense is None, never a guess: an alert without a time is not acted on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""A time outside of [EARLIEST, LATEST) is none: Alertmanager's 0001-01-01, Go's and Java's empty dates, overflows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = EARLIEST.timestamp(), LATEST.timestamp()
_NUMBER = re.compile(r"[0-9]{9,13}(?:\.[0-9]{1,9})?")
_RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_JAVA = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([0-9]{2})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([A-Z]{3}) ([0-9]{4})"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ZONES = {"UTC": 0, "GMT": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
"""The names that RFC 5322, 4.3, gives a meaning, in hours. Elsewhere CST may be China's: then the alert seems to be
hours old or ahead, and is told instead of acted on."""


def moment(value: object) -> datetime | None:
    """A time as RFC 3339 with its zone, or seconds or milliseconds since 1970, as a number or text; aware UTC.

    Seconds and milliseconds cannot be mixed up: both are accepted only between `EARLIEST` and `LATEST`. A time without
    a zone is None. Fractions are cut off after microseconds.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _since_1970(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _since_1970(float(text) if "." in text else int(text))
    return _rfc_3339(text)


def java_moment(text: str) -> datetime | None:
    """A time as Java's `Date.toString()` writes it (`Mon Apr 03 02:04:55 UTC 2023`), as AppDynamics does; aware UTC.

    None when it is no such time, or in a zone whose name has no agreed meaning. The day of the week is not checked.
    Source: docs.oracle.com, java.util.Date.
    """
    found = _JAVA.fullmatch(text.strip())
    if found is None or found[6] not in _ZONES:
        return None
    month = _MONTHS.index(found[1]) + 1
    zone = timezone(timedelta(hours=_ZONES[found[6]]))
    return _moment(int(found[7]), month, int(found[2]), (int(found[3]), int(found[4]), int(found[5])), 0, zone)


def _rfc_3339(text: str) -> datetime | None:
    found = _RFC_3339.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    microsecond = int(((found[7] or "") + "000000")[:6])
    zone = _zone(found[8])
    return None if zone is None else _moment(year, month, day, (hour, minute, second), microsecond, zone)


def _zone(text: str) -> timezone | None:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _moment(
    year: int, month: int, day: int, time: tuple[int, int, int], microsecond: int, zone: timezone
) -> datetime | None:
    if not EARLIEST.year - 1 <= year <= LATEST.year:  # far enough from the ends of the calendar to change the zone
        return None
    try:
        at = datetime(year, month, day, *time, microsecond, zone).astimezone(UTC)
    except ValueError:
        return None
    return at if EARLIEST <= at < LATEST else None


def _since_1970(number: float) -> datetime | None:
    if _FIRST <= number < _LAST:
        return _EPOCH + timedelta(seconds=number)
    if _FIRST * 1000 <= number < _LAST * 1000:
        return _EPOCH + timedelta(milliseconds=number)
    return None
