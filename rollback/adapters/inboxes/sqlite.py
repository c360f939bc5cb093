"""The inbox in the state database: a delivery that was taken in is on the disk."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from rollback.adapters.inboxes import sqlite_cycles
from rollback.adapters.inboxes.alert_codec import Row, from_column, from_row, rows_of, time_column, to_column
from rollback.adapters.inboxes.gathering import GatheredCounts
from rollback.adapters.inboxes.schema import COMPONENT, MIGRATIONS
from rollback.adapters.state_db import LOCK_TIMEOUT, StateDatabase
from rollback.alert_ports import Cycle, Delivery, Kept
from rollback.core.alerts import Alert
from rollback.errors import HistoryUnwritable
from rollback.redaction import redact

KEEP_KEYS = timedelta(days=7)
"""How long a key is known at least: PagerDuty sends a message again for up to 48 hours (its webhook documentation)."""
SET_ASIDE = "set aside: "
"""What the words of `recent` begin with for a delivery that could not be processed."""
_CHUNK = 2000
_COLUMNS = "number, attempts, source, key, received_at, kind, body"
_DELIVERY = tuple(field.name for field in fields(Delivery))
_PENDING = f"SELECT {_COLUMNS} FROM deliveries WHERE ended_at IS NULL ORDER BY number LIMIT ?"  # noqa: S608
_RECENT = f"""
SELECT {_COLUMNS}, is_set_aside, outcome FROM deliveries WHERE body <> '' ORDER BY number DESC LIMIT ?
"""  # noqa: S608
_ATTEMPT = "UPDATE deliveries SET attempts = attempts + 1 WHERE number = ? AND ended_at IS NULL"
_ATTEMPTS = "SELECT attempts FROM deliveries WHERE number = ? AND ended_at IS NULL"
_ENDED = "SELECT number FROM deliveries WHERE ended_at < ?"
_FORGET_CONTENT = f"""
UPDATE deliveries SET body = '', outcome = '' WHERE number IN ({_ENDED} AND body <> '' LIMIT {_CHUNK})
"""  # noqa: S608
_FORGET_KEYS = f"""
DELETE FROM deliveries WHERE number IN ({_ENDED} AND received_at < ? LIMIT {_CHUNK})
"""  # noqa: S608


class SqliteInbox:
    """An `Inbox` at `path`, for several threads and processes.

    `put` raises `Unkeepable` with nothing written when some of its deliveries cannot be kept at all. `begin` is 0 for
    one that is not pending. `see` tells of each cycle after the whole batch; an edge without a time counts as one of
    1970 (`folding`). A place of `reserve_off` lasts from its latest use. `recent` has the newest first, the words empty
    for one that is pending. What is counted is written with the next `put`, `flush_after` seconds later at the latest.

    Only what a power cut may not undo waits for the disk: `put`, `settle`, `set_aside`, `decided`, `reserve_off`. What
    `begin` and `see` wrote is redone from the delivery, which is pending still; `settle` brings it to the disk too.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        flush_after: float = 1.0,
        report: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = StateDatabase(path, COMPONENT, MIGRATIONS, lock_timeout=lock_timeout, report=report, now=now)
        self._now = now
        self._counts = GatheredCounts(self._flush_quietly, flush_after)

    def put(self, deliveries: Sequence[Delivery]) -> list[Kept | None]:
        """Keeps them in one synced transaction; None for each that is there already."""
        rows = rows_of(deliveries)

        def work(connection: sqlite3.Connection) -> list[Kept | None]:
            kept: list[Kept | None] = []
            duplicates: Counter[str] = Counter()
            for delivery, row in zip(deliveries, rows, strict=True):
                cursor = connection.execute(
                    "INSERT INTO deliveries (source, key, received_at, kind, body) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (source, key) DO NOTHING",
                    row,
                )
                if cursor.rowcount == 1:
                    kept.append(_kept(delivery, cursor.lastrowid or 0))
                else:
                    kept.append(None)
                    duplicates[f"duplicate:{row.source}"] += 1
            _add_counts(connection, counted)
            _add_counts(connection, duplicates)
            return kept

        if not rows:
            return []
        with self._counts.taken() as counted:
            return self.database.write(work)

    def pending(self, limit: int) -> list[Kept]:
        """What is not ended, oldest first. One that cannot be read back is set aside, and reported."""
        while True:
            rows = self._select(_PENDING, limit)
            found = [kept for row in rows if (kept := _read(row)) is not None]
            if len(found) < len(rows):
                self._set_unreadable_aside({row[0] for row in rows} - {kept.number for kept in found})
            if found or not rows:
                return found

    def begin(self, number: int) -> int:
        """Counts an attempt and tells how many there were; 0 when it is not pending."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(_ATTEMPT, (number,))
            row = connection.execute(_ATTEMPTS, (number,)).fetchone()
            return 0 if row is None else int(row[0])

        return self.database.write(work, synced=False)

    def settle(self, outcomes: Mapping[int, str], at: datetime) -> None:
        """Ends them; one that has ended already stays as it ended."""
        self._end(outcomes, at, is_set_aside=False)

    def set_aside(self, number: int, why: str, at: datetime) -> None:
        """Ends one that cannot be processed. `why` often quotes an exception, so it is cut and redacted."""
        self._end({number: redact(why)}, at, is_set_aside=True)

    def see(self, alerts: Sequence[Alert]) -> list[Cycle]:
        """Folds the alerts into their cycles."""
        keys = sqlite_cycles.keys_of(alerts)
        if not keys:
            return []
        now = time_column(self._now(), "now")
        return self.database.write(lambda connection: sqlite_cycles.see(connection, alerts, keys, now), synced=False)

    def decided(self, feature: str, cycles: Sequence[tuple[Cycle, int]]) -> None:
        """Marks the cycles as decided by the feature, for good."""
        keys = sqlite_cycles.keys_of([cycle for cycle, _ in cycles])
        ranks = [(key, rank) for key, (_, rank) in zip(keys, cycles, strict=True)]
        now = time_column(self._now(), "now")
        if ranks:
            self.database.write(lambda connection: sqlite_cycles.mark_decided(connection, feature, ranks, now))

    def firing(self) -> list[Cycle]:
        """All cycles that fire, sorted by source, monitor and cycle."""
        return self.database.read(sqlite_cycles.firing)

    def reserve_off(self, feature: str, at: datetime, since: datetime, limit: int) -> bool:
        """Takes one of the window's places, for the last of which two processes may race: one of them gets it."""
        name = to_column(feature)
        return self.database.write(lambda connection: sqlite_cycles.reserve(connection, name, at, since, limit))

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a counter. Never raises; written soon."""
        self._counts.add(to_column(name), by)

    def counts(self) -> dict[str, int]:
        """All counters, with what is not written yet."""
        counted = self._counts.now()
        stored = self.database.read(
            lambda connection: connection.execute("SELECT name, value FROM counters").fetchall()
        )
        counted.update(dict(stored))
        return {from_column(name): value for name, value in sorted(counted.items())}

    def recent(self, limit: int) -> list[tuple[Kept, str]]:
        """The newest deliveries, newest first, each with the words that it ended in."""
        found = []
        for *row, is_set_aside, outcome in self._select(_RECENT, limit):
            kept = _read(row)
            if kept is not None:
                found.append((kept, SET_ASIDE * is_set_aside + from_column(outcome)))
        return found

    def forget(self, before: datetime) -> int:
        """Removes the content of deliveries that ended before that time, and says of how many.

        Their keys, finished cycles and places go when they are older than that *and* than `KEEP_KEYS`. What is pending
        or firing stays for ever. Done in small steps: nobody waits long for it.
        """
        content = time_column(before, "before")
        rest = time_column(min(before, self._now() - KEEP_KEYS), "before")
        forgotten = self._in_steps(_FORGET_CONTENT, content)
        self._in_steps(_FORGET_KEYS, rest, rest)
        self.database.write(lambda connection: sqlite_cycles.forget(connection, rest))
        return forgotten

    def close(self) -> None:
        """Writes what was counted and closes; may be called twice."""
        self._counts.close()
        if self._counts.now():
            self._flush_quietly()
        self.database.close()

    def _end(self, outcomes: Mapping[int, str], at: datetime, *, is_set_aside: bool) -> None:
        ended_at = time_column(at, "at")
        values = [(ended_at, int(is_set_aside), to_column(words), number) for number, words in outcomes.items()]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE deliveries SET ended_at = ?, is_set_aside = ?, outcome = ? "
                "WHERE number = ? AND ended_at IS NULL",
                values,
            )

        if values:
            self.database.write(work)

    def _select(self, query: str, limit: int) -> list[Any]:
        return self.database.read(lambda connection: connection.execute(query, (max(0, limit),)).fetchall())

    def _in_steps(self, statement: str, *values: str) -> int:
        total = 0
        while changed := self.database.write(lambda connection: connection.execute(statement, values).rowcount):
            total += changed
        return total

    def _set_unreadable_aside(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self.set_aside(number, "what was kept of it cannot be read back", self._now())
            self.database.tell(f"delivery {number} in {self.database.path} cannot be read back and has been set aside")
        self.count("unreadable", len(numbers))

    def _flush_quietly(self) -> None:
        with suppress(HistoryUnwritable), self._counts.taken() as counted:
            self.database.write(lambda connection: _add_counts(connection, counted), synced=False)


def _add_counts(connection: sqlite3.Connection, counts: Mapping[str, int]) -> None:
    connection.executemany(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        sorted(counts.items()),
    )


def _kept(delivery: Delivery, number: int, attempts: int = 0) -> Kept:
    values: dict[str, Any] = {name: getattr(delivery, name) for name in _DELIVERY}
    return Kept(**values, number=number, attempts=attempts)


def _read(stored: Sequence[Any]) -> Kept | None:
    """The delivery of a stored row; None when it is damaged."""
    number, attempts, *row = stored
    try:
        return _kept(from_row(Row(*row)), number, attempts)
    except (ValueError, TypeError):
        return None
