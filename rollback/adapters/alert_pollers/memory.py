"""A stand-in that says what it is told to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from rollback.adapters.alert_pollers.reading import of_monitors
from rollback.adapters.alert_pollers.seen import Seen, over, unclear
from rollback.alert_ports import Cycle, MonitorState
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import StoreError


class MemoryAlertPoller:
    """An `AlertPoller` over monitors in memory, changed by `fire`, `resolve` and `mute`.

    `failing` is raised instead of answering, when it is set.
    """

    def __init__(self, source: str, monitors: Iterable[str] = ()) -> None:
        self.source = source
        self.failing: StoreError | None = None
        self.closed = False
        self._names = list(monitors)
        self._firing: dict[str, Alert] = {}
        self._resolved: dict[str, datetime] = {}
        self._muted: set[str] = set()
        self._seen = Seen(source)

    def fire(self, monitor: str, at: datetime, *, priority: str = "", tags: tuple[str, ...] = ()) -> None:
        """From now on `monitor` fires, since `at`."""
        if monitor not in self._names:
            self._names.append(monitor)
        cycle = f"{monitor}@{at.isoformat()}"
        self._firing[monitor] = Alert(self.source, monitor, cycle, Edge.FIRED, at, priority, tags, monitor)

    def resolve(self, monitor: str, at: datetime) -> None:
        """From now on `monitor` is well, since `at`."""
        if (alert := self._firing.pop(monitor, None)) is not None:
            self._resolved[alert.cycle] = at

    def mute(self, monitor: str, muted: bool = True) -> None:
        """Mutes `monitor`: what it says is unclear."""
        (self._muted.add if muted else self._muted.discard)(monitor)

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process saw firing."""
        self._seen.remember(cycles)

    def poll(self, now: datetime) -> list[Reading]:
        """One reading for each monitor that fires, is unclear, or recovered lately."""
        if self.failing is not None:
            raise self.failing
        found = [self._edge(alert) for alert in self._firing.values()]
        for one in self._seen.firing():
            if one.cycle in self._resolved:
                found.append(over(one, self._resolved[one.cycle]))
        return of_monitors(self.source, self._seen.keep(found, now))

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:  # noqa: ARG002
        """The monitors of `ids` that exist."""
        if self.failing is not None:
            raise self.failing
        return [self._state(name) for name in dict.fromkeys(ids) if name in self._names]

    def close(self) -> None:
        """Nothing more is said. Idempotent."""
        self.closed = True

    def _edge(self, alert: Alert) -> Alert:
        return unclear(alert, "muted", alert.occurred_at) if alert.monitor in self._muted else replace(alert)

    def _state(self, name: str) -> MonitorState:
        muted = name in self._muted
        alerts = tuple(self._edge(self._firing[name]) for _ in (0,) if name in self._firing)
        state = "unknown" if muted else "alert" if alerts else "ok"
        return MonitorState(name, name, state, "muted" if muted else "", muted, alerts=alerts)
