"""What `policy replay` does: a recorded incident through one policy or two, beside what was done."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollback.core.model import Severity
from rollback.core.replay import CANNOT_KNOW, ReplayPolicy, replay
from rollback.core.replay_alerts import AlertPolicy
from rollback.core.replay_course import Course, Figures, differences, figures
from rollback.core.replay_recording import Mark, Recording
from rollback.policy_files import Policies, load_policies
from rollback.release_calendar import ReleaseCalendar
from rollback.replay_files import read_recording
from rollback.words import clean, span

if TYPE_CHECKING:
    from rollback.core.automation_policy import Limits
    from rollback.core.feature_policy import FeaturePolicy
    from rollback.output import Output

TOLERANCE = timedelta(seconds=2)
"""Within this, two moves count as the same: a write and a round of probes take their time."""

SHOWN = 200
"""Rows of the table; `--json` has all of them."""

_CELL = 90


@dataclass(frozen=True, slots=True)
class Request:
    """The command's words. `compare` None: one policy alone."""

    file: str
    feature: str
    policies: str
    compare: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A policy's course on the recording; `apart` says where it parts from what was done (empty: it does not, or the
    recording cannot tell)."""

    folder: str
    course: Course
    apart: tuple[str, ...]


def run(request: Request, output: Output, environ: Mapping[str, str]) -> int:
    """Replays and tells; returns the exit code. Raises `ConfigurationError` for a bad file or folder."""
    folders = [request.policies, *([request.compare] if request.compare else [])]
    loaded = [load_policies(folder, environ) for folder in folders]
    feature = loaded[0].feature(request.feature).policy.feature
    policies = [policy_of(one, request.feature) for one in loaded]
    recording = read_recording(Path(request.file), feature)
    replayed = [_replayed(folder, recording, policy) for folder, policy in zip(folders, policies, strict=True)]
    done = figures(recording, recording.done, is_open=recording.audience) if recording.done else None
    if output.as_json:
        output.document(_document(recording, done, replayed))
    else:
        _tell(recording, done, replayed, output)
    return 0


def policy_of(loaded: Policies, feature: str) -> ReplayPolicy:
    """What a folder says about a feature. Raises `ConfigurationError` for what is not there, or broken."""
    found = loaded.feature(feature).policy
    automation = loaded.automation
    severities = {severity: loaded.severity(found, severity).policy for severity in Severity}
    metrics = metrics_of(found)
    alerts = AlertPolicy(
        rules=found.rules,
        limits={source: _limits(automation.limits(source)) for source in sorted(automation.source_names)},
        default_limits=_limits(automation.limits("")),
        gate=severities[Severity.CRITICAL].gate,
        metrics=tuple(metrics),
    )
    has_cohort = found.cohort is not None and bool(found.cohort.segments)
    frozen = {
        severity: ReleaseCalendar(policy.freeze).words
        for severity, policy in severities.items()
        if policy.freeze is not None
    }
    return ReplayPolicy(severities, alerts, metrics, timedelta(seconds=found.follow_seconds), has_cohort, frozen)


def metrics_of(feature: FeaturePolicy) -> dict[str, float]:
    """The metrics that the feature's gate asks for, each with the exposure (percent) from which on it must pass."""
    own = {endpoint.name: 0.0 for endpoint in feature.health.endpoints}
    return own | {metric.name: metric.counts_from for metric in feature.health.metrics}


def _limits(limits: Limits) -> tuple[timedelta, timedelta]:
    return limits.maximum_age, limits.clock_skew


def _replayed(folder: str, recording: Recording, policy: ReplayPolicy) -> Replayed:
    course = replay(recording, policy)
    apart = differences(recording.done, course.marks, TOLERANCE) if recording.is_ledger else []
    return Replayed(folder, course, tuple(apart))


# -- for people ----------------------------------------------------------------------------------------------------


def _tell(recording: Recording, done: Figures | None, replayed: Sequence[Replayed], output: Output) -> None:
    origin = recording.origin
    since = "the first alert" if recording.first_alert else "the beginning (no alert is recorded)"
    output.line(f"Replay of {recording.feature}: times are since {since}, {origin.isoformat()}.", bold=True)
    for note in recording.notes:
        output.line(f"Note: {note}")
    rows = side_by_side(recording.done, [one.course.marks for one in replayed])
    output.raw(_course_table(origin, rows[:SHOWN], replayed, output))
    if len(rows) > SHOWN:
        output.line(f"… and {len(rows) - SHOWN} more rows; --json has all of them.")
    output.raw(_figures_table(recording, done, replayed, output))
    for one in replayed:
        for why, count in one.course.unused:
            output.line(f"{one.folder}: {count} readings counted for nothing: {why}.", fg="yellow")
        if recording.is_ledger:
            _tell_agreement(one, output)
    output.line("What a replay cannot know:", bold=True)
    for line in CANNOT_KNOW:
        output.line(f"  - {line}")


def _tell_agreement(one: Replayed, output: Output) -> None:
    if not one.apart:
        output.line(
            f"{one.folder}: the same steps as were taken, within {span(TOLERANCE.total_seconds())}.", fg="green"
        )
    for where in one.apart:
        output.line(f"{one.folder}: it parts from what was done: {where}.", fg="yellow")


Row = tuple[datetime, list[Mark | None]]
"""One row of the table: what was done, then what each policy does."""


def side_by_side(done: Sequence[Mark], courses: Sequence[Sequence[Mark]]) -> list[Row]:
    """Rows of a table: a column for what was done, one for each course; the same thing at the same time is one row."""
    rows: list[Row] = []
    columns = [done, *courses]
    for number, marks in enumerate(columns):
        free: dict[str, deque[Row]] = {}
        for row in sorted(rows, key=lambda one: one[0]):
            for what in {mark.what for mark in row[1] if mark is not None}:
                free.setdefault(what, deque()).append(row)
        for mark in marks:
            waiting = free.get(mark.what, deque())
            while waiting and waiting[0][0] < mark.at - TOLERANCE:
                waiting.popleft()
            if waiting and waiting[0][0] <= mark.at + TOLERANCE:
                waiting.popleft()[1][number] = mark
                continue
            cells: list[Mark | None] = [None] * len(columns)
            cells[number] = mark
            rows.append((mark.at, cells))
    return sorted(rows, key=lambda row: row[0])


def _course_table(origin: datetime, rows: Sequence[Row], replayed: Sequence[Replayed], output: Output) -> str:
    from rich.markup import escape
    from rich.table import Table

    from rollback.commands.tables import rendered

    titles = ["seconds", "hours", "what was done", *(f"policy: {one.folder}" for one in replayed)]
    table = Table(*(escape(clean(title)) for title in titles), box=None, pad_edge=False)
    for at, cells in rows:
        seconds = (at - origin).total_seconds()
        table.add_row(f"{seconds:+.0f}", f"{seconds / 3600:+.2f}", *(_cell(mark) for mark in cells))
    return rendered(table, output.columns)


_COLOURS = {
    "off_written": "green",
    "off_proven": "green",
    "returned_in_full": "green",
    "monitoring_ended": "green",
    "harm_seen": "red",
    "watch_stopped": "red",
    "refused": "yellow",
    "evidence_ended": "yellow",
}


def _cell(mark: Mark | None) -> str:
    from rich.markup import escape

    if mark is None:
        return ""
    text = f"{LABELS.get(mark.what, mark.what.replace('_', ' '))}{f': {mark.text}' if mark.text else ''}"
    cut = text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
    told = escape(clean(cut))
    colour = _COLOURS.get(mark.what)
    return f"[{colour}]{told}[/]" if colour else told


LABELS: Mapping[str, str] = {
    "audience": "audience",
    "disable_commanded": "turn off",
    "off_written": "off, written",
    "off_proven": "off, proven",
    "reduce_commanded": "reduce",
    "reduce_settled": "reduced",
    "return_started": "return begun",
    "step_raised": "up",
    "returned_in_full": "back in full",
    "harm_seen": "HARM",
    "evidence_ended": "a person is called",
    "watch_stopped": "retreat",
    "monitoring_ended": "resolved",
    "gate_measured": "the gate was asked",
    "fix_deployed": "fix",
}
"""Short words for marks; the others are shown by their own."""


FIGURES: Mapping[str, str] = {
    "seconds_to_off": "seconds until off",
    "seconds_to_full": "seconds until back in full",
    "minutes_off": "minutes off",
    "minutes_of_harm": "minutes of harm met",
    "minutes_unknown": "minutes open, rate unknown",
    "false_returns": "false returns",
}
"""The figures' names for people; minutes of harm are those of a full outage for everybody."""


def _figures_table(recording: Recording, done: Figures | None, replayed: Sequence[Replayed], output: Output) -> str:
    from rich.table import Table

    from rollback.commands.tables import rendered

    table = Table("", "what was done", *(f"policy: {clean(one.folder)}" for one in replayed), box=None, pad_edge=False)
    columns = [_figures(recording, recording.done, done), *(_of(recording, one) for one in replayed)]
    for name in columns[0]:
        table.add_row(FIGURES[name], *(_figure(name, column[name]) for column in columns))
    return rendered(table, output.columns)


def _of(recording: Recording, one: Replayed) -> dict[str, float | None]:
    return _figures(recording, one.course.marks, one.course.figures)


def _figures(recording: Recording, marks: Sequence[Mark], found: Figures | None) -> dict[str, float | None]:
    """The figures by their names, in the order in which they are shown."""
    return {
        "seconds_to_off": _after(recording, marks, lambda mark: mark.exposure == 0),
        "seconds_to_full": _after(recording, marks, lambda mark: mark.what == "returned_in_full"),
        "minutes_off": found.off_minutes if found else None,
        "minutes_of_harm": found.harm_minutes if found else None,
        "minutes_unknown": found.unknown_minutes if found else None,
        "false_returns": found.false_returns if found else None,
    }


def _after(recording: Recording, marks: Sequence[Mark], is_it: Any) -> float | None:
    """Seconds since the first alert, None when it never came about."""
    at = next((mark.at for mark in marks if mark.at >= recording.origin and is_it(mark)), None)
    return None if at is None else (at - recording.origin).total_seconds()


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–" if name.startswith("seconds") else "not known"
    return f"{value:.0f}" if name in ("seconds_to_off", "seconds_to_full", "false_returns") else f"{value:.2f}"


# -- for programs --------------------------------------------------------------------------------------------------


def _document(recording: Recording, done: Figures | None, replayed: Sequence[Replayed]) -> dict[str, Any]:
    return {
        "feature": recording.feature,
        "origin": recording.origin,
        "first_alert": recording.first_alert,
        "ends_at": recording.ends_at,
        "notes": list(recording.notes),
        "done": {
            "steps": [_step(recording, mark) for mark in recording.done],
            "figures": _figures(recording, recording.done, done),
        },
        "policies": [
            {
                "folder": one.folder,
                "steps": [_step(recording, mark) for mark in one.course.marks],
                "figures": _of(recording, one),
                "ends_in": one.course.ends_in,
                "unused": dict(one.course.unused),
                "agrees": not one.apart if recording.is_ledger else None,
                "apart": list(one.apart),
            }
            for one in replayed
        ],
        "cannot_know": list(CANNOT_KNOW),
        "exit": 0,
    }


def _step(recording: Recording, mark: Mark) -> dict[str, Any]:
    return {
        "at": mark.at,
        "seconds": (mark.at - recording.origin).total_seconds(),
        "what": mark.what,
        "text": mark.text,
        "state": mark.state,
        "exposure": mark.exposure,
    }
