"""The readings of a recording, looked up by time, and what is kept of them from one replayed return to the next."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollback.core.replay_recording import Recording, Sampled
from rollback.core.replay_watch import Book, FullWatch

StageKey = tuple[int, int, str, str]
"""What evidence is for: the stage's place, the attempt, the fix, and how the flag was."""


@dataclass(slots=True)
class Kept:
    """What is kept from one return to the next: evidence by stage, watches by stage, and what counted for nothing."""

    books: dict[StageKey, Book] = field(default_factory=dict)
    watches: dict[StageKey, FullWatch] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Readings:
    """The recording's readings in order, so that a deadline is noticed by the round that comes next, as it would be."""

    items: Sequence[Sampled]
    ends: list[datetime]

    @classmethod
    def of(cls, recording: Recording) -> Readings:
        """All of a recording."""
        items = [item for item in recording.items if isinstance(item, Sampled)]
        return cls(items, [item.at for item in items])

    def next_after(self, now: datetime) -> Sampled | None:
        """The first reading that ends at `now` or later."""
        index = bisect_left(self.ends, now)
        return self.items[index] if index < len(self.items) else None

    def flag_at(self, now: datetime) -> str:
        """How the flag is known by the next reading; empty when that does not say."""
        found = self.next_after(now)
        return found.flag if found else ""

    def will_notice(self, now: datetime, interval: timedelta) -> bool:
        """Whether a reading that is under way, or due within one interval, will notice that time is up."""
        found = self.next_after(now)
        return found is not None and (found.began <= now < found.at or now < found.at <= now + interval)
