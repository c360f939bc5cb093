"""Whether news of each metric still come in: evidence of an hour ago says nothing about now (invariant 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollback.words import span

if TYPE_CHECKING:
    from rollback.ports import Measurement

SHORTEST = 60.0
"""Seconds without news that always count as fresh: one slow round, or a restart of what is asked."""

GAPS = 5
"""A metric is stale after so many times its usual gap; one that comes in windows of five minutes has long gaps."""


@dataclass(slots=True)
class _Seen:
    first: float
    last: float
    window: float
    rounds: int = 1

    @property
    def gap(self) -> float:
        """The usual time between two of its samples: at least the window that one is about."""
        return max(self.window, (self.last - self.first) / (self.rounds - 1) if self.rounds > 1 else 0.0)


@dataclass(slots=True)
class Freshness:
    """When each metric brought its samples, by a monotonic clock in seconds."""

    _seen: dict[str, _Seen] = field(default_factory=dict)

    def observe(self, measurements: Sequence[Measurement], now: float) -> None:
        """Notes which metrics brought a sample in this round."""
        for one in measurements:
            if one.harm is None:
                continue
            if (seen := self._seen.get(one.metric)) is None:
                window = (one.ends - one.begins).total_seconds() if one.begins and one.ends else 0.0
                self._seen[one.metric] = _Seen(now, now, window)
            else:
                seen.last, seen.rounds = now, seen.rounds + 1

    def stale(self, metrics: Iterable[str], now: float) -> tuple[str, ...]:
        """The metrics of which nothing is known now, in words; one without any sample in this run is one of them."""
        found = []
        for name in metrics:
            seen = self._seen.get(name)
            if seen is None:
                found.append(f"{name}: nothing was heard of it in this run")
            elif now - seen.last > max(SHORTEST, GAPS * seen.gap):
                found.append(f"{name}: nothing was heard of it for {span(now - seen.last)}")
        return tuple(found)
