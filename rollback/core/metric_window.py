"""Windows of a metric: closed, disjoint, aligned to the calendar, each used once. Pure.

A window holds the times t with begins <= t < ends. All windows of one length begin at whole multiples of it since 1970
(UTC), which is where monitoring systems put their buckets, so two processes that ask for one metric mean the same
windows. A window is due when its end and the source's ingestion delay have passed: what is asked for earlier is not
complete yet. It is then asked for twice, a window apart; one that reads otherwise the second time was not complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PATIENCE = 3
"""For so many windows' lengths it is tried to read one that is due; then it is missing, and the next one's turn."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """From `begins` on, until before `ends`; aware UTC."""

    begins: datetime
    ends: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.ends - self.begins

    @property
    def after(self) -> Window:
        """The window that follows without a gap."""
        return Window(self.ends, self.ends + self.length)

    @property
    def before(self) -> Window:
        """The window that precedes it without a gap."""
        return Window(self.begins - self.length, self.begins)


def first_window(since: datetime, length: timedelta) -> Window:
    """The first window that begins at `since` or later. Raises ValueError for a length below a second."""
    if length < timedelta(seconds=1):
        raise ValueError(f"a window is a second long at least, not {length}")
    begins = EPOCH - (EPOCH - since) // length * length
    return Window(begins, begins + length)


def last_closed(now: datetime, length: timedelta, delay: timedelta) -> Window:
    """The newest window that is due at `now`."""
    return first_window(now - delay - 2 * length + timedelta(microseconds=1), length)


def is_due(window: Window, now: datetime, delay: timedelta) -> bool:
    """Whether it is closed, and its data have had `delay` to come in."""
    return now >= window.ends + delay


def is_given_up(window: Window, now: datetime, delay: timedelta) -> bool:
    """Whether it has been due for so long that it is missing for good. Only time decides, never what was read."""
    return now >= window.ends + delay + PATIENCE * window.length
