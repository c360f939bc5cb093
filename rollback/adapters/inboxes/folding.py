"""How the edges of alerts make up what is known of a cycle: a join, so order and repetition change nothing. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

from rollback.alert_ports import Cycle
from rollback.core.alerts import Alert, Edge

Decided = tuple[tuple[str, int], ...]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""When an edge without a time counts as having been: an edge that says its time always weighs more."""


def cycle_of(alert: Alert) -> Cycle:
    """What this alert alone tells of its cycle.

    A reminder says that it fires at that time, as the first notice does. An unclear edge tells nothing.
    """
    cycle = Cycle(alert.source, alert.monitor, alert.cycle)
    at = alert.occurred_at or EPOCH
    match alert.edge:
        case Edge.FIRED | Edge.REPEATED:
            return replace(cycle, fired_at=at)
        case Edge.RECOVERED:
            return replace(cycle, recovered_at=at)
        case Edge.UNCLEAR:
            return cycle
        case _ as unknown:
            assert_never(unknown)


def joined(one: Cycle, other: Cycle) -> Cycle:
    """What both know together of the same cycle: the latest time of each edge, the worst severity decided under."""
    return replace(
        one,
        fired_at=_latest(one.fired_at, other.fired_at),
        recovered_at=_latest(one.recovered_at, other.recovered_at),
        decided=worst(one.decided, other.decided),
    )


def worst(one: Decided, other: Decided) -> Decided:
    """Each feature with the higher of its ranks, sorted."""
    ranks = dict(one)
    for feature, rank in other:
        ranks[feature] = max(rank, ranks.get(feature, rank))
    return tuple(sorted(ranks.items()))


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
