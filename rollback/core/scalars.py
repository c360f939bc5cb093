"""How the text of a policy file becomes a duration or a yes and no.

Both readers of policy files use these, so that they cannot disagree. Kill path: standard library only.
"""

from __future__ import annotations

import re
from datetime import timedelta

KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.,-]*"
"""What a flag's environment, namespace and key may look like: never a slash, a quote or a blank."""

FEATURE_PATTERN = r"[a-z0-9][a-z0-9-]*"
"""What a feature's key and aliases may look like: also the name of its file."""

DURATION_PATTERN = r"\d+(\.\d+)?(ms|s|m|h|d)?"
"""A duration as text: `30s`, `5m`, `2h`, `1d`, `500ms`, or a number of seconds."""

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
"""In microseconds: whole numbers lose nothing, and `decimal` would cost the kill path a millisecond of imports."""

_LONGEST = timedelta(days=3660)
_MICROSECOND = timedelta(microseconds=1)


def parse_duration(value: object) -> timedelta:
    """The duration that a policy file means: a number of seconds, or text such as `30s`, `5m`, `2h`, `1d`, `500ms`.

    Zero is allowed; more than ten years is not. Raises ValueError with a sentence that says what is expected.
    """
    if isinstance(value, timedelta):
        return _within_bounds(value, value)
    if isinstance(value, float) and 0 <= value < _LONGEST.total_seconds():
        return timedelta(seconds=value)
    found = None
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        found = re.fullmatch(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?\s*(ms|s|m|h|d)?", str(value).strip())
    if found is None:
        raise ValueError(f"a duration is text such as 30s, 5m, 2h, 1d or a number of seconds, not {value!r}")
    whole, fraction, unit = found[1], found[2] or "", _UNITS[found[3] or "s"]
    microseconds = int(whole + fraction) * unit // 10 ** len(fraction)
    if microseconds > _LONGEST // _MICROSECOND:
        raise ValueError(f"a duration is at most {_LONGEST.days} days, not {value!r}")
    return timedelta(microseconds=microseconds)


def _within_bounds(duration: timedelta, said: object) -> timedelta:
    if not timedelta(0) <= duration <= _LONGEST:
        raise ValueError(f"a duration lies between 0 and {_LONGEST.days} days, not {said}")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as exactly this duration, e.g. `90s`, `2m`, `1d`."""
    microseconds = duration // _MICROSECOND
    if microseconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(microseconds, _UNITS[unit])
        if not rest:
            return f"{count}{unit}"
    return f"{microseconds // 1_000}.{microseconds % 1_000:03d}ms"


def parse_boolean(value: object) -> bool:
    """Yes or no: YAML 1.2's `true` and `false`, or the same words as text (from a variable).

    `on`, `off`, `yes`, `no`, 0 and 1 are refused, because what they mean depends on who reads them. Raises ValueError
    with a sentence that says what is expected.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "True", "TRUE"):
        return True
    if isinstance(value, str) and value in ("false", "False", "FALSE"):
        return False
    raise ValueError(f"write true or false, not {value!r}")
