"""An inbox in memory: the stand-in that keeps the same promises, for tests and rehearsals. It survives no restart."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from rollback.adapters.inboxes.alert_codec import from_row, rows_of
from rollback.adapters.inboxes.folding import cycle_of, joined, worst
from rollback.adapters.inboxes.sqlite import KEEP_KEYS, SET_ASIDE
from rollback.adapters.inboxes.sqlite_cycles import CycleKey, keys_of
from rollback.alert_ports import Cycle, Delivery, Kept
from rollback.core.alerts import Alert
from rollback.redaction import redact

_DELIVERY = tuple(field.name for field in fields(Delivery))


@dataclass(slots=True)
class _Entry:
    kept: Kept
    words: str = ""
    ended_at: datetime | None = None
    is_forgotten: bool = False


class MemoryInbox:
    """An `Inbox` of this process, as `SqliteInbox`; usable from several threads."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._next = 1
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._by_number: dict[int, _Entry] = {}
        self._cycles: dict[CycleKey, tuple[Cycle, datetime]] = {}
        self._places: dict[str, datetime] = {}
        self._counts: Counter[str] = Counter()

    def put(self, deliveries: Sequence[Delivery]) -> list[Kept | None]:
        """Keeps them; None for each that is there already."""
        rows = rows_of(deliveries)
        kept: list[Kept | None] = []
        with self._lock:
            for delivery, row in zip(deliveries, rows, strict=True):
                if (row.source, row.key) in self._entries:
                    self._counts[f"duplicate:{delivery.source}"] += 1
                    kept.append(None)
                    continue
                entry = _Entry(_kept(from_row(row), self._next))
                self._entries[row.source, row.key] = self._by_number[self._next] = entry
                kept.append(_kept(delivery, self._next))
                self._next += 1
        return kept

    def pending(self, limit: int) -> list[Kept]:
        """What is not ended, oldest first."""
        with self._lock:
            return [entry.kept for entry in self._entries.values() if entry.ended_at is None][: max(0, limit)]

    def begin(self, number: int) -> int:
        """Counts an attempt and tells how many there were; 0 when it is not pending."""
        with self._lock:
            entry = self._pending(number)
            if entry is None:
                return 0
            entry.kept = replace(entry.kept, attempts=entry.kept.attempts + 1)
            return entry.kept.attempts

    def settle(self, outcomes: Mapping[int, str], at: datetime) -> None:
        """Ends them; one that has ended already stays as it ended."""
        with self._lock:
            for number, words in outcomes.items():
                entry = self._pending(number)
                if entry is not None:
                    entry.words, entry.ended_at = words, at

    def set_aside(self, number: int, why: str, at: datetime) -> None:
        """Ends one that cannot be processed."""
        self.settle({number: SET_ASIDE + redact(why)}, at)

    def see(self, alerts: Sequence[Alert]) -> list[Cycle]:
        """Folds the alerts into their cycles."""
        keys = keys_of(alerts)
        found: dict[CycleKey, Cycle] = {}
        with self._lock:
            for alert, key in zip(alerts, keys, strict=True):
                new = cycle_of(alert)
                stored = self._cycles.get(key)
                old = stored[0] if stored is not None else Cycle(new.source, new.monitor, new.cycle)
                found[key] = joined(old, new)
                if found[key] != old:
                    self._cycles[key] = (found[key], self._now())
        return [found[key] for key in keys]

    def decided(self, feature: str, cycles: Sequence[tuple[Cycle, int]]) -> None:
        """Marks the cycles as decided by the feature, for good."""
        with self._lock:
            for (cycle, rank), key in zip(cycles, keys_of([cycle for cycle, _ in cycles]), strict=True):
                stored = self._cycles.get(key)
                known = stored[0] if stored is not None else Cycle(cycle.source, cycle.monitor, cycle.cycle)
                self._cycles[key] = (
                    replace(known, decided=worst(known.decided, ((feature, rank),))),
                    self._now(),
                )

    def firing(self) -> list[Cycle]:
        """All cycles that fire, sorted by source, monitor and cycle."""
        with self._lock:
            return [cycle for _, (cycle, _) in sorted(self._cycles.items()) if cycle.is_firing]

    def reserve_off(self, feature: str, at: datetime, since: datetime, limit: int) -> bool:
        """Takes one of the window's places; it lasts from its latest use."""
        with self._lock:
            self._places = {name: min(place, at) for name, place in self._places.items()}
            held = self._places.get(feature)
            if (held is None or held < since) and sum(place >= since for place in self._places.values()) >= limit:
                return False
            self._places[feature] = at
            return True

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a counter."""
        with self._lock:
            self._counts[name] += by

    def counts(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def recent(self, limit: int) -> list[tuple[Kept, str]]:
        """The newest deliveries, newest first, each with the words that it ended in."""
        with self._lock:
            found = [(entry.kept, entry.words) for entry in self._entries.values() if not entry.is_forgotten]
            return found[::-1][: max(0, limit)]

    def forget(self, before: datetime) -> int:
        """Removes the content of deliveries that ended before that time; the rest as `SqliteInbox.forget`."""
        rest = min(before, self._now() - KEEP_KEYS)
        with self._lock:
            old = [e for e in self._entries.values() if _is_before(e.ended_at, before) and not e.is_forgotten]
            for entry in old:
                entry.is_forgotten = True
            self._entries = {
                key: entry
                for key, entry in self._entries.items()
                if not (_is_before(entry.ended_at, rest) and entry.kept.received_at < rest)
            }
            self._by_number = {entry.kept.number: entry for entry in self._entries.values()}
            self._cycles = {
                key: (cycle, touched_at)
                for key, (cycle, touched_at) in self._cycles.items()
                if cycle.is_firing or touched_at >= rest
            }
            self._places = {feature: at for feature, at in self._places.items() if at >= rest}
            return len(old)

    def close(self) -> None:
        """There is nothing to close."""

    def _pending(self, number: int) -> _Entry | None:
        entry = self._by_number.get(number)
        return entry if entry is not None and entry.ended_at is None else None


def _is_before(at: datetime | None, moment: datetime) -> bool:
    return at is not None and at < moment


def _kept(delivery: Delivery, number: int) -> Kept:
    values: dict[str, Any] = {name: getattr(delivery, name) for name in _DELIVERY}
    return Kept(**values, number=number)
