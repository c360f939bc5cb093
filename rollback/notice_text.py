"""The words of a notice: cleaned before they are kept, and marked when they come late or perhaps twice. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta

from rollback.alert_ports import Notice
from rollback.notice_ports import Waiting

MAX_LINES = 100
MAX_LINE = 1000
"""Characters of one line. Together with the lines: more than any channel shows, and an end to what is kept."""

MAX_KEY = 300

LATE = timedelta(minutes=5)
"""A notice that is told later than this says when it is from: by then people may know something newer."""


def cleaned(notice: Notice) -> Notice:
    """The same without control characters (line ends and tabs as blanks apart), cut to what is kept.

    It is not redacted again: `Notice.text` is redacted by its maker, and a command in it has to stay as it is.
    """
    return replace(
        notice,
        key=_line(notice.key, MAX_KEY),
        feature=None if notice.feature is None else _line(notice.feature, MAX_KEY),
        incident=None if notice.incident is None else _line(notice.incident, MAX_KEY),
        role=_line(notice.role, MAX_KEY),
        text="\n".join(lines(notice.text)),
    )


def lines(text: str) -> list[str]:
    """The lines of a text, at least one, without empty ones at its ends; the first is the headline."""
    found = [_line(line, MAX_LINE) for line in text[: MAX_LINES * MAX_LINE].splitlines()]
    while found and not found[0].strip():
        del found[0]
    while found and not found[-1].strip():
        del found[-1]
    if len(found) > MAX_LINES:
        found = [*found[: MAX_LINES - 1], "…"]
    return found or ["(a notice without words)"]


def worded(waiting: Waiting, now: datetime) -> Notice:
    """The notice as it is told now: its headline says when it comes late, and when it may have been told before."""
    marks = []
    if waiting.begun:
        marks.append("Repeated, perhaps")
    if now - waiting.at > LATE:
        marks.append(f"Late, from {waiting.at:%Y-%m-%d %H:%M:%S} UTC")
    if not marks:
        return waiting.notice
    return replace(waiting.notice, text=f"[{'; '.join(marks)}] {waiting.notice.text}")


def cut(text: str, length: int) -> str:
    """At most `length` characters; what is cut off ends in `…`."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _line(text: str, length: int) -> str:
    return cut("".join(_printable(letter) for letter in text[: 2 * length]).rstrip(), length)


def _printable(letter: str) -> str:
    # Format characters (Cf) turn the direction of writing around, or hide; a lone surrogate (Cs) cannot be encoded.
    category = unicodedata.category(letter)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs") else letter
