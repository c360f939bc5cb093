"""A feature that stays off calls its owner at set times: when, and with which words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rollback.core.model import NeedsHuman

MOST_STEPS = 10
"""Next steps that a reminder lists; more is a page that nobody reads at night."""


def due(
    off_since: datetime, reminded: Sequence[datetime], after: Sequence[timedelta], then_every: timedelta, now: datetime
) -> timedelta | None:
    """Which mark has come and was not told: the time off that it stands for. None when there is nothing to tell.

    The marks are `after`, and from the last of them on every `then_every` (from 0 on when `after` is empty). Of several
    that passed while nobody could tell, only the latest is due: no burst after downtime. `reminded` are the times of
    earlier reminders, in any order; those before `off_since` belong to another outage, and those later than `now` (a
    clock was put back) count for nothing, because a reminder too many is better than silence.
    Raises ValueError when `then_every` is not above zero.
    """
    if then_every <= timedelta(0):
        raise ValueError(f"reminders come every so often: then_every must be above zero, not {then_every}")
    mark = _latest(sorted(after), then_every, now - off_since)
    if mark is None or any(off_since + mark <= told <= now for told in reminded):
        return None
    return mark


def _latest(after: Sequence[timedelta], then_every: timedelta, off_for: timedelta) -> timedelta | None:
    last = after[-1] if after else timedelta(0)
    times = (off_for - last) // then_every
    if times > 0:
        return last + times * then_every
    return max((mark for mark in after if timedelta(0) < mark <= off_for), default=None)


def reminder_key(incident: str, off_since: datetime, mark: timedelta) -> str:
    """The key of the notice, equal for the same mark of the same outage: two watchers tell it once."""
    return f"still-off:{incident}:{off_since:%Y%m%dT%H%M%SZ}:{mark // timedelta(seconds=1)}"


def still_off_text(
    name: str,
    off_since: datetime,
    now: datetime,
    incident: str,
    needs_human: NeedsHuman | None = None,
    next_steps: Sequence[str] = (),
) -> str:
    """What the owner is told; the first line is the headline. `name` is the feature's, as people say it.

    Times are UTC. `needs_human` adds what a person has to do, which role, and by when.
    """
    told = [f"{name} is still off: for {_words(now - off_since)}, since {off_since:%Y-%m-%d %H:%M} UTC ({incident})."]
    if needs_human is not None:
        by = f", by {needs_human.by:%Y-%m-%d %H:%M} UTC" if needs_human.by else ""
        told.append(f"It needs {needs_human.role or 'somebody'}: {needs_human.what}{by}.")
    if next_steps:
        told.append("Next:")
        told.extend(f"{number}. {step}" for number, step in enumerate(next_steps[:MOST_STEPS], 1))
    if len(next_steps) > MOST_STEPS:
        told.append(f"and {len(next_steps) - MOST_STEPS} more steps.")
    return "\n".join(told)


def _words(duration: timedelta) -> str:
    minutes = max(0, duration // timedelta(minutes=1))
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "less than a minute"
