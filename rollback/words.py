"""How figures and names are written for people. Kill path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def when(moment: datetime) -> str:
    """A time with weekday, date and zone of this machine, and in UTC: nobody has to guess which midnight."""
    local = moment.astimezone()
    text = f"{local:%a %Y-%m-%d %H:%M:%S %Z}"
    return text if local.utcoffset() == timedelta(0) else f"{text} ({moment.astimezone(UTC):%H:%M:%S} UTC)"


def span(seconds: float) -> str:
    """`45 s`, `2 min 5 s`, `3 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clean(text: str) -> str:
    """Text from outside without control characters, so that it cannot move the cursor, fake a line or turn it round."""
    return _CONTROL.sub("?", text).replace("\n", " ")


def world_line(world: Mapping[str, str]) -> str:
    """The first line of every output (invariant 4)."""
    return clean(
        f"{world['store']} · environment {world['environment']} · namespace {world['namespace']} · flag {world['flag']}"
    )
