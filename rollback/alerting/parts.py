"""Deliveries in work: one may carry alerts of many features, and is settled when each of them is done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rollback import log
from rollback.alerting.right_of_way import RightOfWay
from rollback.errors import HistoryUnwritable

if TYPE_CHECKING:
    from rollback.alert_ports import Inbox, Kept
    from rollback.ports import Clock

RETRY_EVERY = 1.0
"""Seconds before settling is tried again when the inbox cannot be written; until then a restart does the work again."""


@dataclass(slots=True)
class _Open:
    waiting: Counter[str]
    words: list[str] = field(default_factory=list)


class Parts:
    """Knows who still works on which delivery. Settling is gathered: nobody who works on an off waits for it."""

    def __init__(self, inbox: Inbox, clock: Clock, way: RightOfWay) -> None:
        self._inbox = inbox
        self._clock = clock
        self._way = way
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, str] = {}
        self._changed = Condition()
        self._stopping = False
        self._thread = Thread(target=self._run, name="inbox-settling", daemon=True)
        self.trouble = ""

    def start(self) -> None:
        """Settles from now on."""
        self._thread.start()

    def begin(self, kept: Kept, desks: Iterable[str]) -> None:
        """These desks will each say `done` of the delivery, as often as they are named."""
        with self._changed:
            self._open[kept.number] = _Open(Counter(desks))

    def done(self, number: int, desk: str, words: str) -> None:
        """One desk is done with it; `words` for the record."""
        with self._changed:
            part = self._open.get(number)
            if part is None:
                return
            part.waiting[desk] -= 1
            part.words.append(f"{desk}: {words}")
            if not any(left > 0 for left in part.waiting.values()):
                del self._open[number]
                self._ended[number] = "; ".join(part.words)[:1000]
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many deliveries somebody still works on."""
        with self._changed:
            return len(self._open)

    def stop(self, seconds: float) -> bool:
        """Settles what has ended; False when that took too long."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._stopping)
            self._way.give()
            with self._changed:
                batch, self._ended = self._ended, {}
                if not batch:
                    return
            try:
                self._inbox.settle(batch, self._clock.now())
                self.trouble = ""
            except HistoryUnwritable as error:
                self.trouble = error.message
                log.event("inbox_not_settled", error=error.message, deliveries=len(batch))
                with self._changed:
                    if self._stopping:
                        return
                    self._ended = {**batch, **self._ended}
                    self._changed.wait(RETRY_EVERY)
