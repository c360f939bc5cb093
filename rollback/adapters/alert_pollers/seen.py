"""What a poller saw firing, so that it can say that it is over. In memory; a new process is told with `remember`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollback.alert_ports import Cycle
from rollback.core.alerts import Alert, Edge

MOST = 10_000
"""Cycles that are remembered. Of one that was forgotten no recovery is told: that only makes a return wait."""

TOLD_FOR = timedelta(minutes=15)
"""How long a recovery is told again with each poll. It is not lost, then, when what was polled could not be kept."""


class Seen:
    """The cycles that fired and are not over, and the ends that were told lately. Not for several threads."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._firing: dict[str, Alert] = {}
        self._told: dict[str, tuple[datetime, tuple[Alert, ...]]] = {}
        self._back: dict[str, datetime] = {}

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process saw: those of `cycles` that are firing and of this source."""
        for one in cycles:
            if one.source == self._source and one.is_firing:
                alert = Alert(one.source, one.monitor, one.cycle, Edge.FIRED, one.fired_at)
                self._firing.setdefault(one.cycle, alert)

    def firing(self) -> list[Alert]:
        """The last firing notice of each cycle that is not over."""
        return list(self._firing.values())

    def has(self, cycle: str) -> bool:
        """Whether the cycle fired and is not over."""
        return cycle in self._firing

    def keep(self, alerts: Sequence[Alert], now: datetime) -> list[Alert]:
        """Folds in the edges of one complete answer, and gives all that is to be told: these, and the latest ends.

        A recovery of a cycle that was neither seen firing nor fires in this very answer is dropped. A cycle that fires
        again after its end was told is a repetition from now on: by its old time the end would be the later one.
        """
        alerts = [self._again(alert, now) for alert in alerts]
        for alert in alerts:
            if alert.edge in (Edge.FIRED, Edge.REPEATED):
                self._firing[alert.cycle] = alert
        known = [alert for alert in alerts if alert.edge is not Edge.RECOVERED]
        for alert in alerts:
            if alert.edge is Edge.RECOVERED and (began := self._firing.pop(alert.cycle, None)) is not None:
                self._back.pop(alert.cycle, None)
                self._told[alert.cycle] = (now, (began, alert) if began in alerts else (alert,))
                known.append(alert)
        for cycle in [cycle for cycle, (at, _) in self._told.items() if now - at > TOLD_FOR]:
            del self._told[cycle]
        for cycle in list(self._firing)[: max(0, len(self._firing) - MOST)]:
            del self._firing[cycle]
            self._back.pop(cycle, None)
        fresh = {(one.cycle, one.edge) for one in known}
        again = [one for _, told in self._told.values() for one in told if (one.cycle, one.edge) not in fresh]
        return known + again

    def _again(self, alert: Alert, now: datetime) -> Alert:
        if alert.edge is not Edge.FIRED:
            return alert
        if alert.cycle in self._told:
            del self._told[alert.cycle]
            self._back[alert.cycle] = now
        back = self._back.get(alert.cycle)
        return alert if back is None else replace(alert, edge=Edge.REPEATED, occurred_at=back)


def over(alert: Alert, at: datetime | None) -> Alert:
    """The same cycle, recovered at `at`."""
    return replace(alert, edge=Edge.RECOVERED, occurred_at=at)


def unclear(alert: Alert, why: str, at: datetime | None = None) -> Alert:
    """The same cycle, of which neither harm nor health is known now. `why` goes into the title, for people."""
    said = alert.title.partition(" (")[0]
    return replace(alert, edge=Edge.UNCLEAR, occurred_at=at, title=f"{said} ({why})" if said else why)
