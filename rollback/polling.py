"""Asking for alerts, again and again: what a poll finds goes the way of what senders deliver, by the same inbox."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import TYPE_CHECKING

from rollback import log
from rollback.alert_ports import Delivery, Notice, Unkeepable
from rollback.core.alerts import ReadingKind
from rollback.errors import RollbackError, StoreRefused, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from rollback.alert_ports import AlertPoller, Inbox, Kept
    from rollback.core.alerts import Reading
    from rollback.ports import Clock

SILENT_AFTER = 5
"""Polls in a row that fail before people are told: from then on nobody hears this system's alerts."""

LONGEST_PAUSE = 300.0
"""Seconds. A system that refuses us, or asks to wait, is asked at least this often."""


@dataclass(slots=True)
class PollLoop:
    """Asks one system every `interval`. `accept` takes what is new, once it is durably kept."""

    poller: AlertPoller
    interval: timedelta
    inbox: Inbox
    clock: Clock
    accept: Callable[[Kept], None]
    notify: Callable[[Notice], None]
    _stop: Event = field(default_factory=Event)
    _failed: int = 0
    _thread: Thread | None = None

    def start(self) -> None:
        """Asks from now on."""
        self._thread = Thread(target=self._run, name=f"poll-{self.poller.source}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still asks."""
        return self._thread is not None and self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Ends after the poll that is under way."""
        self._stop.set()

    def stop(self, seconds: float) -> bool:
        """Waits for its end. False when that took too long."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)
        if not self.is_alive:
            self.poller.close()
        return not self.is_alive

    def poll(self) -> float:
        """One poll; the seconds until the next."""
        every = self.interval.total_seconds()
        try:
            self._keep(self.poller.poll(self.clock.now()))
        except Exception as error:  # an error of ours in one answer is silence like any other
            self._failed += 1
            why = error.message if isinstance(error, RollbackError) else type(error).__name__
            log.event("poll_failed", source=self.poller.source, error=why, in_a_row=self._failed)
            if self._failed == SILENT_AFTER:
                self._tell_silence(why)
            asked = error.retry_after if isinstance(error, StoreUnreachable) else None
            pause = every * 2 if isinstance(error, StoreRefused) else every
            return min(max(pause, asked or 0.0), max(LONGEST_PAUSE, every))
        if self._failed >= SILENT_AFTER:
            text = f"{self.poller.source} answers again; its alerts are heard."
            self.notify(Notice(self._key("again"), None, None, "tell", text, "responder"))
        self._failed = 0
        return every

    def _keep(self, readings: Sequence[Reading]) -> None:
        now = self.clock.now()
        source = self.poller.source
        deliveries = [
            Delivery(source, reading.key, now, reading.kind, reading.alerts, reading.why)
            for reading in readings
            if reading.kind is not ReadingKind.IGNORED
        ]
        for kept in self._put(deliveries) if deliveries else ():
            if kept is not None:
                self.accept(kept)

    def _put(self, deliveries: Sequence[Delivery]) -> Sequence[Kept | None]:
        """All of them; one that cannot be kept as what it is, is kept as unknown, and holds no other back."""
        try:
            return self.inbox.put(deliveries)
        except Unkeepable as error:
            log.event("readings_unkeepable", source=self.poller.source, why=error.message, readings=len(error.reasons))
            return self.inbox.put(
                [
                    _emptied(delivery, error.reasons[position]) if position in error.reasons else delivery
                    for position, delivery in enumerate(deliveries)
                ]
            )

    def _tell_silence(self, why: str) -> None:
        text = f"{self.poller.source} does not answer, so its alerts are not heard: {why}"
        self.notify(Notice(self._key("silent"), None, None, "call", text, "responder"))

    def _key(self, word: str) -> str:
        return f"poll:{self.poller.source}:{word}:{self.clock.now():%Y-%m-%dT%H}"

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self.poll())


def _emptied(delivery: Delivery, reason: str) -> Delivery:
    """What can be kept of one that cannot: that it was there, and why it is not."""
    why = f"It could not be kept as what it is: {reason}"[:300]
    return replace(delivery, kind=ReadingKind.UNKNOWN, alerts=(), why=why)
