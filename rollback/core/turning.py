"""How long a feature is off by the record, counted on a monotonic clock although another process turned it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollback.core.model import Incident

STEPPED = 2.0
"""Seconds by which the two clocks may have moved against one another before the wall clock counts as set anew."""

SLEWED = 0.001
"""The same for each second that has passed: a clock that is being corrected runs up to 500 ppm off (adjtimex(2))."""


def last_turned(incident: Incident, now: datetime, monotonic: float, replica_lag: float) -> float | None:
    """When the last replica turned, on the caller's monotonic clock, which shows `monotonic` at `now`.

    None when nobody can tell: nothing was turned, or wall clock and monotonic clock lie further apart than when it was
    turned. Then this is another machine, or it was started anew, or somebody has set its clock, and the time that has
    passed since is not known: whoever needs it must see the feature off and wait.
    """
    if incident.turned_at is None or incident.turned_clock is None:
        return None
    moved = abs(now.timestamp() - monotonic - incident.turned_clock)
    passed = abs((now - incident.turned_at).total_seconds())
    if moved > STEPPED + SLEWED * passed:
        return None
    return min(monotonic, incident.turned_at.timestamp() - incident.turned_clock + replica_lag + moved)
