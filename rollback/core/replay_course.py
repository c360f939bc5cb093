"""What a course of events cost: minutes off, minutes of harm that users met, returns that were false. Pure."""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from rollback.core.events import Event
from rollback.core.flag import BUCKETS
from rollback.core.replay_recording import Mark, Recording, Sampled

COVERS = timedelta(minutes=1)
"""How long a single sample speaks for, at most: until the next one of its metric, or this. Then the rate is unknown."""

RAISED = frozenset({"step_raised", "returned_in_full"})

MOVES = frozenset(
    {
        *("case_opened", "disable_commanded", "off_written", "off_proven", "reduce_commanded", "reduce_settled"),
        *("fixing_started", "return_started", "gate_passed", "harm_seen", "evidence_ended", "watch_stopped"),
        *("monitoring_ended", *RAISED),
    }
)
"""The transitions by which two courses are compared: those that change a state or an exposure."""

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


def event_word(event: Event) -> str:
    """`OffProven` → `off_proven`: an event's name in the history."""
    return _WORDS.sub("_", type(event).__name__).lower()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a course came to.

    `off_minutes` is how long nobody could be served. `harm_minutes` is the harm rate times the share of users who had
    the feature, added up: one minute of it is a minute of full outage for everybody. `unknown_minutes` is how long the
    feature was open and the recording has no rate, or no exposure. None: the recording has no exposure, or no rate, at
    all. `false_returns` counts the returns that let somebody in and had to be taken back.
    """

    off_minutes: float | None
    harm_minutes: float | None
    unknown_minutes: float
    false_returns: int


@dataclass(frozen=True, slots=True)
class Course:
    """A course of events: its marks in order, and what it came to. `unused` are readings that counted for nothing, with
    the reason; `ends_in` is the state at the end of the recording."""

    marks: tuple[Mark, ...]
    figures: Figures
    ends_in: str
    unused: tuple[tuple[str, int], ...] = ()

    def first(self, *whats: str) -> Mark | None:
        """The first mark of one of these words."""
        return next((mark for mark in self.marks if mark.what in whats), None)


def moves(marks: Iterable[Mark]) -> list[Mark]:
    """The marks that change a state or an exposure."""
    return [mark for mark in marks if mark.what in MOVES]


def differences(done: Sequence[Mark], would: Sequence[Mark], tolerance: timedelta) -> list[str]:
    """Where two courses part, a sentence for each place; empty when they took the same steps within `tolerance`."""
    one, other = moves(done), moves(would)
    for was, is_now in zip(one, other, strict=False):
        if was.what != is_now.what:
            return [f"{was.what} was at {was.at.isoformat()}, and here it is {is_now.what} at {is_now.at.isoformat()}"]
        if abs(was.at - is_now.at) > tolerance:
            return [f"{was.what} was at {was.at.isoformat()}, and here at {is_now.at.isoformat()}"]
    if len(one) > len(other):
        return [f"{one[len(other)].what} at {one[len(other)].at.isoformat()} does not come about"]
    if len(other) > len(one):
        return [f"{other[len(one)].what} at {other[len(one)].at.isoformat()} did not come about"]
    return []


def figures(recording: Recording, marks: Sequence[Mark], *, is_open: int | None) -> Figures:
    """What the course of these marks came to by the recording's samples. `is_open` is the exposure before the first."""
    line = _exposures(marks, is_open)
    begins, ends = recording.origin, recording.ends_at
    rates = _rates(recording)
    cuts = sorted({begins, ends, *(at for at, _ in line), *(at for one in rates for at in one[:2])})
    cuts = [at for at in cuts if begins <= at <= ends]
    off = harm = unknown = 0.0
    known_exposure = False
    worst = _Worst(rates)
    for start, end in pairwise(cuts):
        minutes = (end - start).total_seconds() / 60
        exposure = _exposure_at(line, start)
        known_exposure = known_exposure or exposure is not None
        if exposure == 0:
            off += minutes
            continue
        rate = worst.between(start, end)
        if exposure is None or rate is None:
            unknown += minutes
        else:
            harm += minutes * rate * exposure / BUCKETS
    return Figures(
        off_minutes=off if known_exposure else None,
        harm_minutes=harm if known_exposure and rates else None,
        unknown_minutes=unknown,
        false_returns=false_returns(marks),
    )


def false_returns(marks: Sequence[Mark]) -> int:
    """How many returns let somebody in, and what they opened was closed again before the case was resolved."""
    count, is_up = 0, False
    before: int | None = None
    for mark in marks:
        if mark.what == "monitoring_ended":
            is_up = False
        if mark.exposure is None:
            continue
        if before is not None and mark.exposure > before:
            is_up = True
        elif before is not None and mark.exposure < before and is_up:
            count, is_up = count + 1, False
        before = mark.exposure
    return count


def _exposures(marks: Sequence[Mark], is_open: int | None) -> list[tuple[datetime, int | None]]:
    """The exposure as a step function, from the marks that say one."""
    line: list[tuple[datetime, int | None]] = []
    before = is_open
    for mark in marks:
        if mark.exposure is not None and mark.exposure != before:
            line.append((mark.at, mark.exposure))
            before = mark.exposure
    return [(datetime.min.replace(tzinfo=UTC), is_open), *line]


def _exposure_at(line: Sequence[tuple[datetime, int | None]], at: datetime) -> int | None:
    return next((exposure for since, exposure in reversed(line) if since <= at), None)


_Rate = tuple[datetime, datetime, float]


def _rates(recording: Recording) -> list[_Rate]:
    """From when to when which harm rate is known, by each metric."""
    found: list[_Rate] = []
    earlier: dict[str, tuple[datetime, float | None]] = {}
    for item in recording.items:
        if not isinstance(item, Sampled):
            continue
        for name, counts in item.metrics.items():
            if item.began < item.at:
                if counts.rate is not None:
                    found.append((item.began, item.at, counts.rate))
                continue
            since, rate = earlier.get(name, (item.at, None))
            if rate is not None:
                found.append((since, min(item.at, since + COVERS), rate))
            earlier[name] = (item.at, counts.rate)
    for since, rate in earlier.values():
        if rate is not None:
            found.append((since, min(recording.ends_at, since + COVERS), rate))
    return sorted(one for one in found if one[0] < one[1])


class _Worst:
    """The worst metric's rate, asked for in the order of time."""

    def __init__(self, rates: Sequence[_Rate]) -> None:
        self._coming = deque(rates)
        self._known: list[tuple[float, datetime]] = []

    def between(self, start: datetime, end: datetime) -> float | None:
        """From `start` to `end`, which no rate's border divides; None when none is known."""
        while self._coming and self._coming[0][0] <= start:
            _, until, rate = self._coming.popleft()
            heapq.heappush(self._known, (-rate, until))
        while self._known and self._known[0][1] < end:
            heapq.heappop(self._known)
        return -self._known[0][0] if self._known else None
