"""Rows of a recorded incident, from CSV or JSON lines, as a recording. Pure; `docs/replay.md` has the columns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, assert_never

from rollback.core import events as e
from rollback.core.alerts import Alert, Edge
from rollback.core.flag import BUCKETS
from rollback.core.history import Actor
from rollback.core.model import Severity
from rollback.core.replay_course import event_word
from rollback.core.replay_recording import (
    AlertHeard,
    Counts,
    Deployed,
    Disabled,
    Enabled,
    FlagSeen,
    HeldBack,
    Item,
    Mark,
    Opened,
    Recording,
    Sampled,
    SwitchSeen,
    Told,
)

COLUMNS = (
    *("at", "kind", "name", "value", "total", "from", "source", "monitor", "cycle", "priority", "tags", "occurred_at"),
    *("authenticated", "until", "text"),
)
"""Every column, in the order of the documentation."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_KNOWN_HOW = ("", "os", "token", "oidc", "ci")
_MOST = 10**12
_LONGEST_NAME = 200

Row = Mapping[str, Any]
Clean = Callable[[str], str]


class RowError(ValueError):
    """Rows that cannot be read, each with its line and what is wrong."""

    def __init__(self, wrong: list[tuple[int, str]]) -> None:
        super().__init__(f"{len(wrong)} rows are wrong")
        self.wrong = wrong


def recording_of_rows(rows: Iterable[tuple[int, Row]], feature: str, clean: Clean = str) -> Recording:
    """The recording of these rows, each with its line; `clean` cuts and redacts text of people.

    Raises `RowError` with all rows that are wrong. A row with the key "" was wrong before: its value says why.
    """
    found: list[Item] = []
    wrong: list[tuple[int, str]] = []
    for line, row in rows:
        try:
            if "" in row:
                raise ValueError(row[""])
            found.append(_item(_Row(row, clean)))
        except ValueError as error:
            wrong.append((line, str(error)))
    if wrong:
        raise RowError(wrong)
    late = sum(later.at < earlier.at for earlier, later in pairwise(found))
    items = _joined(sorted(found, key=lambda item: item.at))
    notes = [f"{late} rows stood behind later ones: they were put in order."] if late else []
    audience = _audience(items)
    if audience is None:
        notes.append(
            "The recording does not say how many had the feature: all of 100 buckets are taken, harm is not told."
        )
    return Recording(
        feature,
        tuple(items),
        tuple(_done(items, audience)),
        audience=audience,
        measured=any(isinstance(item, Told) and isinstance(item.event, e.GateMeasured) for item in items),
        notes=tuple(notes),
    )


def _item(row: _Row) -> Item:
    kind = row.text("kind")
    reader = KINDS.get(kind)
    if reader is None:
        raise ValueError(f"the kind {kind[:40]!r} is not known; known: {', '.join(KINDS)}")
    return reader(row)


@dataclass(slots=True)
class _Row:
    """One row; each look says what is wrong in one sentence."""

    values: Row
    clean: Clean
    at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.time("at")

    def has(self, name: str) -> bool:
        return self.values.get(name) not in (None, "")

    def text(self, name: str, *, needed: bool = True) -> str:
        value = self.values.get(name)
        if value is None or value == "":
            if needed:
                raise ValueError(f"{name} is missing")
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{name} must be text")
        if len(str(value)) > _LONGEST_NAME and name != "text":
            raise ValueError(f"{name} is longer than {_LONGEST_NAME} characters")
        return self.clean(str(value)) if name == "text" else str(value)

    def time(self, name: str) -> datetime:
        value = self.values.get(name)
        if value is None or value == "":
            raise ValueError(f"{name} is missing")
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ValueError(f"{name} must be RFC 3339 with an offset, as 2026-11-23T09:00:00-05:00, not {value!r:.40}")
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            raise ValueError(f"{name} is no time: {value!r:.40}") from None

    def number(self, name: str) -> float:
        value = self.values.get(name)
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (OverflowError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a number, not {value!r:.40}")
        return number

    def count(self, name: str, most: int = _MOST) -> int:
        number = self.number(name)
        if number != int(number) or not 0 <= number <= most:
            raise ValueError(f"{name} must be a whole number from 0 to {most}, not {self.values.get(name)!r:.40}")
        return int(number)

    def actor(self) -> Actor:
        how = self.text("authenticated", needed=False)
        if how not in _KNOWN_HOW:
            raise ValueError(f"authenticated is one of {', '.join(_KNOWN_HOW[1:])}, or empty, not {how[:40]!r}")
        return Actor(self.text("name", needed=False)[:64], how)

    def word(self, name: str, known: Iterable[str]) -> str:
        word = self.text(name)
        if word not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, not {word[:40]!r}")
        return word


def _alert(row: _Row) -> Item:
    edge = Edge(row.word("name", [one.value for one in Edge]))
    # Without the column the row's own time is the sender's; with it, an empty cell says that the sender gave none.
    says = "occurred_at" in row.values
    occurred = (row.time("occurred_at") if row.has("occurred_at") else None) if says else row.at
    tags = row.values.get("tags") or ()
    words = tags.split() if isinstance(tags, str) else tags
    if not isinstance(words, list | tuple) or not all(isinstance(tag, str) for tag in words):
        raise ValueError("tags are words with blanks between them, or a list of words")
    alert = Alert(
        source=row.text("source"),
        monitor=row.text("monitor"),
        cycle=row.text("cycle"),
        edge=edge,
        occurred_at=occurred,
        priority=row.text("priority", needed=False).upper(),
        tags=tuple(sorted(set(words))),
        title=row.text("text", needed=False),
    )
    return AlertHeard(row.at, alert)


def _probe(row: _Row) -> Item:
    name = row.text("name")
    if not row.has("value"):
        return Sampled(row.at, row.at, {name: Counts(0, 0, 1)})
    harm = row.number("value")
    if not 0 <= harm <= 1:
        raise ValueError(f"value is the harm of a probe, from 0 (good) to 1 (harm), not {harm:g}")
    return Sampled(row.at, row.at, {name: Counts(int(harm > 0), 1, 0, harm)})


def _metric(row: _Row) -> Item:
    name, began = row.text("name"), row.time("from")
    if began >= row.at:
        raise ValueError("from must be before at: a window of a metric has a length")
    if not row.has("total") and not row.has("value"):
        return Sampled(row.at, began, {name: Counts(0, 0, 1, is_window=True)})
    bad, total = row.count("value"), row.count("total")
    if bad > total:
        raise ValueError(f"value is how many of total were bad, and {bad} is more than {total}")
    return Sampled(row.at, began, {name: Counts(bad, total, int(total == 0), is_window=True)})


def _enable(row: _Row) -> Item:
    forced = row.time("until") if row.has("until") else None
    return Enabled(row.at, row.actor(), row.text("text", needed=False), forced)


def _flag(row: _Row) -> Item:
    match row.word("name", ("exposure", "audience", "edited")):
        case "exposure":
            return FlagSeen(row.at, exposure=row.count("value", BUCKETS))
        case "audience":
            return FlagSeen(row.at, audience=row.count("value", BUCKETS))
        case _:
            return FlagSeen(row.at, edited=True)


def _hold(row: _Row) -> Item:
    return HeldBack(row.at, row.time("until") if row.has("until") else None, row.text("text", needed=False))


def _open(row: _Row) -> Item:
    severity = Severity(row.word("name", (Severity.HIGH.value, Severity.LOW.value)))
    return Opened(row.at, severity, Actor("", ""), row.text("text", needed=False))


def _switch(row: _Row) -> Item:
    return SwitchSeen(row.at, row.text("name"), row.word("value", ("up", "lifted")) == "up")


def _gate(row: _Row) -> Item:
    green = {"green": True, "harm": False, "unknown": None}[row.word("name", ("green", "harm", "unknown"))]
    return Told(row.at, e.GateMeasured(green))


KINDS: Mapping[str, Callable[[_Row], Item]] = {
    "alert": _alert,
    "probe": _probe,
    "metric": _metric,
    "disable": lambda row: Disabled(row.at, row.actor(), row.text("text", needed=False)),
    "enable": _enable,
    "open": _open,
    "fix": lambda row: Told(row.at, e.FixDeployed(row.text("name")[:80])),
    "deploy": lambda row: Deployed(row.at, row.text("name")),
    "note": lambda row: Told(row.at, e.NoteAdded(row.text("text"))),
    "flag": _flag,
    "hold": _hold,
    "keep_off": lambda row: Told(row.at, e.KeptOff()),
    "release": lambda row: Told(row.at, e.Released("")),
    "accept_blind": lambda row: Told(row.at, e.BlindGateAccepted(row.actor())),
    "gate": _gate,
    "approve": lambda row: Told(row.at, e.ApprovalGiven(row.actor(), "", "", "", 0, row.at)),
    "go": lambda row: Told(row.at, e.StepApproved(row.actor())),
    "switch": _switch,
    "stop": lambda row: Told(row.at, e.WatchStopped("interrupted")),
}
"""Each kind of row, in the order of the documentation."""


def _joined(items: list[Item]) -> list[Item]:
    """Readings of the same moment become one: a step is judged on all of them together."""
    joined: list[Item] = []
    for item in items:
        last = joined[-1] if joined else None
        if (
            isinstance(item, Sampled)
            and isinstance(last, Sampled)
            and (last.at, last.began) == (item.at, item.began)
            and not set(last.metrics) & set(item.metrics)
        ):
            joined[-1] = replace(last, metrics={**last.metrics, **item.metrics})
        else:
            joined.append(item)
    return joined


def _audience(items: list[Item]) -> int | None:
    """How many buckets were open without us: said, or what was open before anybody turned anything off."""
    for item in items:
        if isinstance(item, FlagSeen) and item.audience is not None:
            return item.audience
        if isinstance(item, FlagSeen) and item.exposure is not None:
            return item.exposure or None
        if isinstance(item, Disabled | Enabled):
            break
    return next((item.audience for item in items if isinstance(item, FlagSeen) and item.audience is not None), None)


def _done(items: Iterable[Item], audience: int | None) -> Iterable[Mark]:
    """What was done, as far as the rows say it."""
    exposure = audience
    for item in items:
        if isinstance(item, FlagSeen) and item.exposure is not None:
            exposure = item.exposure
        if (told := _told(item)) is not None:
            what, text = told
            yield Mark(item.at, what, text, exposure=exposure)


def _told(item: Item) -> tuple[str, str] | None:
    """A row's word and what it says; None for a reading, which is no act."""
    match item:
        case FlagSeen():
            return _flag_told(item)
        case AlertHeard(alert=alert):
            return "alert", f"{alert.edge} {alert.source} {alert.monitor}"
        case Disabled(by=by, reason=reason):
            return "disable_commanded", _who(by, reason)
        case Enabled(by=by, reason=reason):
            return "return_started", _who(by, reason)
        case Opened(severity=severity, reason=reason):
            return "case_opened", f"{severity} {reason}".strip()
        case Deployed(what=what):
            return "deployed", what
        case Told(event=event):
            return _word(event), _said(event)
        case SwitchSeen(name=name, is_up=is_up):
            return "switch_seen", f"{name} is {'up' if is_up else 'lifted'}"
        case HeldBack(until=until, what=what):
            return ("automation_held" if until else "automation_released"), what
        case Sampled():
            return None
        case _:
            assert_never(item)


def _flag_told(seen: FlagSeen) -> tuple[str, str]:
    if seen.exposure is not None:
        return "exposure", f"{seen.exposure} of {BUCKETS} buckets open"
    if seen.audience is not None:
        return "audience", _open_without_us(seen.audience)
    return "flag_edited", ""


def _open_without_us(audience: int) -> str:
    return f"without us {audience} of {BUCKETS} buckets are open"


def _word(event: e.Event) -> str:
    return "note" if isinstance(event, e.NoteAdded) else event_word(event)


def _said(event: e.Event) -> str:
    match event:
        case e.NoteAdded(text=text):
            return text
        case e.FixDeployed(commit=commit):
            return commit
        case _:
            return ""


def _who(by: Actor, reason: str) -> str:
    return ": ".join(part for part in (f"by {by.name}" if by.name else "", reason) if part)
