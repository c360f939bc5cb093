"""Times in which nothing is raised: the freeze of a release calendar. Pure, on a time that is local already.

Nothing here is ever asked for an off or a reduction. What time it is where (`America/New_York`) is the caller's
affair, because time zones are files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

LOOK_AHEAD = 400
"""Days in which an end of the freeze is looked for; a year and a bit, so that a list of holidays cannot hide it."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The weekdays as policies name them, in the order of `datetime.weekday`."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Each of the three is a freeze of its own. `weekdays` count from 0, Monday.

    `hours` is from the first time (included) to the second (not included) each day; when the first is the later one it
    goes over midnight. None: no hours.
    """

    days: frozenset[date] = frozenset()
    weekdays: frozenset[int] = frozenset()
    hours: tuple[time, time] | None = None


def frozen(freeze: Freeze, local: datetime) -> str:
    """Why nothing is raised at this local time, in a few words; empty when nothing stands in the way.

    Raises ValueError for a time without a zone: nobody would know whose midnight it is.
    """
    if local.tzinfo is None:
        raise ValueError("a freeze is compared with a local time that knows its zone")
    if local.date() in freeze.days:
        return f"{local:%Y-%m-%d} is a day without releases"
    if local.weekday() in freeze.weekdays:
        return f"{local:%A} is a day without releases"
    if freeze.hours is not None and _within(freeze.hours, local.time()):
        start, end = freeze.hours
        return f"from {start:%H:%M} to {end:%H:%M} there are no releases"
    return ""


def ends(freeze: Freeze, local: datetime) -> datetime | None:
    """When the freeze at this local time is over, as local time; `local` itself when there is none.

    None when it does not end within `LOOK_AHEAD` days: then nothing is ever raised.
    """
    last = local.date() + timedelta(days=LOOK_AHEAD)
    moment = local
    while frozen(freeze, moment):
        moment = _next_edge(freeze, moment)
        if moment.date() > last:
            return None
    return moment


def _next_edge(freeze: Freeze, local: datetime) -> datetime:
    """The next time at which it may be over: midnight, or the end of the hours."""
    midnight = datetime.combine(local.date() + timedelta(days=1), time.min, tzinfo=local.tzinfo)
    if freeze.hours is None or not _within(freeze.hours, local.time()):
        return midnight
    end = datetime.combine(local.date(), freeze.hours[1], tzinfo=local.tzinfo)
    return end if end > local else midnight


def _within(hours: tuple[time, time], at: time) -> bool:
    start, end = hours
    return start <= at < end if start < end else at >= start or at < end
