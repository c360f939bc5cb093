"""From the inbox to the desks. What is kept is looked at once, goes to each feature that it concerns, and is settled.

A critical alert overtakes a storm by its own desk: what concerns no feature is worked off elsewhere, in batches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rollback import log
from rollback.alert_ports import Notice
from rollback.alerting.desk import AT_ONCE, TOLD_IN_ONE, Desk, Item
from rollback.alerting.right_of_way import RightOfWay
from rollback.core.alerts import ReadingKind
from rollback.errors import RollbackError
from rollback.facts import AUTOMATION, record_fact

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollback.alert_ports import Inbox, Kept
    from rollback.alerting.parts import Parts
    from rollback.alerting.routing import Routes
    from rollback.history import History
    from rollback.ports import Clock

BEGUN_AGAIN = 10_000
"""Pending deliveries that are taken up at start; what is beyond follows when these are settled."""

GATHERS = 0.25
"""Seconds in which deliveries that concern no feature gather, once several came at the same time: in a storm they cost
few writes, and leave the disk to those that a feature waits for."""

RESTARTS = 10
"""How many processes may take up a delivery: one that waits for the end of a hold sees a few, poison sees them all."""


@dataclass(slots=True)
class Dispatcher:
    """Takes what the inbox has kept. `heard` is told of every delivery first, so that a silent source is noticed."""

    inbox: Inbox
    clock: Clock
    history: History
    routes: Routes
    desks: Mapping[str, Desk]
    parts: Parts
    notify: Callable[[Notice], None]
    way: RightOfWay
    heard: Callable[[Kept], None] = lambda _kept: None
    _others: list[Kept] = field(default_factory=list)
    _changed: Condition = field(default_factory=Condition)
    _stopping: bool = False
    _thread: Thread | None = None

    def start(self) -> None:
        """Starts the desks, and takes up what an earlier process left."""
        self.parts.start()
        for desk in self.desks.values():
            desk.start()
        self._thread = Thread(target=self._run, name="inbox-others", daemon=True)
        self._thread.start()
        for kept in self.inbox.pending(BEGUN_AGAIN):
            self._again(kept)

    def accept(self, kept: Kept) -> None:
        """Once it is durably kept; returns at once."""
        self.heard(kept)
        wanted: dict[str, list[Item]] = {}
        if kept.kind is ReadingKind.ALERTS:
            for alert in kept.alerts:
                for feature in self.routes.features_of(alert):
                    wanted.setdefault(feature, []).append(Item(kept, alert))
        known = {feature: items for feature, items in wanted.items() if feature in self.desks}
        if known:
            self.parts.begin(kept, [feature for feature, items in known.items() for _ in items])
            for feature, items in known.items():
                self.desks[feature].take(items)
            return
        with self._changed:
            self._others.append(kept)
            self._changed.notify_all()

    @property
    def is_well(self) -> str:
        """Why alerts may not be acted on now; empty when they are."""
        dead = [feature for feature, desk in self.desks.items() if not desk.is_alive]
        if dead:
            return f"nobody decides on alerts of {', '.join(sorted(dead))}"
        return self.parts.trouble

    def stop(self, seconds: float) -> bool:
        """Ends each desk after what it is doing; what waits stays in the inbox. False when that took too long."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = time.monotonic() + seconds

        def left() -> float:
            return max(0.0, until - time.monotonic())

        for desk in self.desks.values():
            desk.ask_to_stop()
        late = [feature for feature, desk in self.desks.items() if not desk.stop(left())]
        well = not late
        if self._thread is not None:
            self._thread.join(left())
            well = well and not self._thread.is_alive()
        return self.parts.stop(max(1.0, left())) and well

    def _again(self, kept: Kept) -> None:
        """What an earlier process began and did not end; what ends every process that begins it is poison."""
        try:
            if self.inbox.begin(kept.number) > RESTARTS:
                self.inbox.set_aside(kept.number, f"begun {RESTARTS} times and never ended", self.clock.now())
                text = f"A delivery of {kept.source} could not be processed and was set aside: rollback inbox list"
                self.notify(Notice(f"poison:{kept.number}", None, None, "call", text, "responder"))
                return
        except RollbackError as error:
            log.event("delivery_not_begun", delivery=kept.number, error=error.message)
        self.accept(kept)

    # -- what concerns no feature ---------------------------------------------------------------------------------

    def _run(self) -> None:
        before = 1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._others or self._stopping)
                if before > 1:
                    self._changed.wait_for(lambda: len(self._others) >= AT_ONCE or self._stopping, GATHERS)
                if self._stopping:
                    return
                batch, self._others = self._others[:AT_ONCE], self._others[AT_ONCE:]
            before = len(batch)
            self.way.give()
            try:
                self._work_off(batch)
            except Exception as error:  # they stay in the inbox, and the next start takes them up
                log.event("deliveries_not_recorded", error=f"{type(error).__name__}: {error}", deliveries=len(batch))

    def _work_off(self, batch: Sequence[Kept]) -> None:
        """Kept for reading, recorded, and told where somebody should know."""
        alerts = [alert for kept in batch for alert in kept.alerts]
        if alerts:
            self.inbox.see(alerts)
        data = {
            "deliveries": [
                {
                    "delivery": kept.number,
                    "source": kept.source,
                    "kind": kept.kind.value,
                    "why": kept.why or "No rule of any feature is about it.",
                    "monitors": sorted({alert.monitor for alert in kept.alerts})[:5],
                }
                for kept in batch[:TOLD_IN_ONE]
            ],
            "count": len(batch),
        }
        record_fact(self.history, self.clock, AUTOMATION, "deliveries_recorded", data=data)
        outcomes = {kept.number: kept.why or "no rule is about it" for kept in batch}
        self.inbox.settle(outcomes, self.clock.now())
        for kept in batch:
            if kept.kind is ReadingKind.UNKNOWN:
                hour = f"{self.clock.now():%Y-%m-%dT%H}"
                text = f"A delivery of {kept.source} was not understood: {kept.why}\nRead it: rollback inbox list"
                self.notify(Notice(f"unknown:{kept.source}:{hour}", None, None, "tell", text, "responder"))
