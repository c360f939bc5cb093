"""Alert cycles and the places for turning off, inside a transaction of the inbox's database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from rollback.adapters.inboxes.alert_codec import from_column, time_column, to_column
from rollback.adapters.inboxes.folding import Decided, cycle_of, joined, worst
from rollback.alert_ports import Cycle, Unkeepable
from rollback.codec import time_from_text
from rollback.core.alerts import Alert
from rollback.errors import HistoryUnwritable

CycleKey = tuple[str, str, str]

_COLUMNS = "source, monitor, cycle, fired_at, recovered_at, decided"
# As `Cycle.is_firing`, and word for word as the index has it, or it would not be used.
FIRING = "fired_at IS NOT NULL AND (recovered_at IS NULL OR fired_at > recovered_at)"


def keys_of(cycles: Sequence[Alert | Cycle]) -> list[CycleKey]:
    """What tells a cycle from all others, as the database holds it. Raises `Unkeepable`."""
    keys: list[CycleKey] = []
    reasons: dict[int, str] = {}
    for position, each in enumerate(cycles):
        try:
            source, monitor = to_column(each.source, "source"), to_column(each.monitor, "monitor")
            keys.append((source, monitor, to_column(each.cycle, "cycle")))
            if isinstance(each, Alert) and each.occurred_at is not None:
                time_column(each.occurred_at, "occurred_at")
        except ValueError as error:
            reasons[position] = str(error)
    if reasons:
        raise Unkeepable(reasons)
    return keys


def see(connection: sqlite3.Connection, alerts: Sequence[Alert], keys: Sequence[CycleKey], now: str) -> list[Cycle]:
    """Folds all the alerts, then tells how each one's cycle is."""
    stored: dict[CycleKey, Cycle | None] = {}
    known: dict[CycleKey, Cycle] = {}
    for alert, key in zip(alerts, keys, strict=True):
        if key not in stored:
            stored[key] = _stored(connection, key)
        new = cycle_of(alert)
        old = known.get(key) or stored[key] or Cycle(new.source, new.monitor, new.cycle)
        known[key] = joined(old, new)
    for key, cycle in known.items():
        if cycle != stored[key] and (cycle.fired_at or cycle.recovered_at):
            times = (_column(cycle.fired_at), _column(cycle.recovered_at))
            connection.execute(
                f"INSERT INTO cycles ({_COLUMNS}, touched_at) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
                "ON CONFLICT (source, monitor, cycle) DO UPDATE SET fired_at = excluded.fired_at,"
                " recovered_at = excluded.recovered_at, touched_at = excluded.touched_at",
                (*key, *times, _decided(cycle.decided), now),
            )
    return [known[key] for key in keys]


def mark_decided(connection: sqlite3.Connection, feature: str, ranks: Iterable[tuple[CycleKey, int]], now: str) -> None:
    """Marks them as decided by the feature, also those of which nothing else is known."""
    for key, rank in ranks:
        stored = _stored(connection, key)
        decided = worst(stored.decided if stored else (), ((feature, rank),))
        connection.execute(
            "INSERT INTO cycles (source, monitor, cycle, decided, touched_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (source, monitor, cycle) DO UPDATE SET decided = excluded.decided,"
            " touched_at = excluded.touched_at",
            (*key, _decided(decided), now),
        )


def firing(connection: sqlite3.Connection) -> list[Cycle]:
    """All that fire, sorted by source, monitor and cycle."""
    query = f"SELECT {_COLUMNS} FROM cycles WHERE {FIRING} ORDER BY source, monitor, cycle"  # noqa: S608
    return [_cycle(row) for row in connection.execute(query)]


def reserve(connection: sqlite3.Connection, feature: str, at: datetime, since: datetime, limit: int) -> bool:
    """Takes a place, or keeps the one that the feature has in this window: it lasts from its latest use.

    A place of the future was taken by a clock that was ahead: it counts from now on, and not until that time comes.
    """
    window, now = time_column(since, "since"), time_column(at, "at")
    connection.execute("UPDATE places SET at = ? WHERE at > ?", (now, now))
    row = connection.execute("SELECT at FROM places WHERE feature = ?", (feature,)).fetchone()
    if row is None or row[0] < window:
        taken = connection.execute("SELECT count(*) FROM places WHERE at >= ?", (window,)).fetchone()[0]
        if taken >= limit:
            return False
    connection.execute(
        "INSERT INTO places VALUES (?, ?) ON CONFLICT (feature) DO UPDATE SET at = excluded.at", (feature, now)
    )
    return True


def forget(connection: sqlite3.Connection, before: str) -> None:
    """Removes the cycles that do not fire, and the places, that nothing has touched since."""
    connection.execute(f"DELETE FROM cycles WHERE touched_at < ? AND NOT ({FIRING})", (before,))  # noqa: S608
    connection.execute("DELETE FROM places WHERE at < ?", (before,))


def _stored(connection: sqlite3.Connection, key: CycleKey) -> Cycle | None:
    query = f"SELECT {_COLUMNS} FROM cycles WHERE source = ? AND monitor = ? AND cycle = ?"  # noqa: S608
    row = connection.execute(query, key).fetchone()
    return None if row is None else _cycle(row)


def _decided(decided: Decided) -> str:
    return json.dumps(dict(decided), separators=(",", ":"))


def _cycle(row: tuple[str, str, str, str | None, str | None, str]) -> Cycle:
    try:
        source, monitor, cycle = map(from_column, row[:3])
        decided = tuple(sorted((str(feature), int(rank)) for feature, rank in json.loads(row[5]).items()))
        return Cycle(source, monitor, cycle, _time(row[3]), _time(row[4]), decided)
    except (ValueError, TypeError, AttributeError) as error:  # neither firing nor recovered may be guessed
        raise HistoryUnwritable(
            "the state of an alert cycle cannot be read back, the state database is damaged",
            next="stop this program, add .damaged to the file's name and keep it; a new one begins then",
        ) from error


def _column(at: datetime | None) -> str | None:
    return None if at is None else time_column(at, "occurred_at")


def _time(column: str | None) -> datetime | None:
    return None if column is None else time_from_text(column)
