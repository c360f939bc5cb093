"""Many senders, one writer: single deliveries that come in at the same time share one synced transaction.

While one batch is on its way to the disk, the next one gathers. So the inbox keeps up with a storm without making a
lone delivery wait: a disk syncs a few hundred times a second, whatever it is given each time.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from rollback.alert_ports import Delivery, Inbox, Kept, Unkeepable
from rollback.errors import HistoryUnwritable, RollbackError

CAPACITY = 2000
"""Deliveries that may wait: four batches. More would only hide a disk that stands still."""
BATCH = 500
LINGER = 0.002
"""Seconds that a batch waits for as many companions as the one before it had, so that callers who wait for their
answers before they send again end up in one batch. After a batch of one, nothing waits."""


class Overloaded(HistoryUnwritable):
    """Too many deliveries wait already; this one was not taken. Its sender is to try again (503)."""

    code = "overloaded"


class _Waiting(NamedTuple):
    delivery: Delivery
    future: Future[Kept | None]


class GroupCommit:
    """Puts deliveries into `inbox` in batches, from one thread of its own; used from any number of threads and tasks.

    The inbox stays the caller's: close it after this. `is_closing` is true from the moment that nothing more is taken.
    """

    def __init__(self, inbox: Inbox, *, capacity: int = CAPACITY, batch: int = BATCH, linger: float = LINGER) -> None:
        self._inbox = inbox
        self._capacity = capacity
        self._batch = batch
        self._linger = linger
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self.is_closing = False
        self._has_failed = False
        self._writer = threading.Thread(target=self._write, name="inbox-writer", daemon=True)
        self._writer.start()

    @property
    def is_alive(self) -> bool:
        """Whether the writer lives: without it nothing is kept."""
        return self._writer.is_alive()

    def submit(self, delivery: Delivery) -> Future[Kept | None]:
        """Hands in one delivery; never waits for the disk. The future has what `Inbox.put` says, after the commit.

        It fails with `HistoryUnwritable` when it is not kept: the whole batch when the database cannot be used,
        this one alone (`Unkeepable`) when it is the only bad one. It cannot be cancelled: what was handed in is kept,
        also when its caller waits no more. For a task: `await asyncio.wrap_future(group.submit(delivery))`. Raises
        `Overloaded` at once when too many wait, `HistoryUnwritable` after `close`.
        """
        future: Future[Kept | None] = Future()
        future.set_running_or_notify_cancel()
        with self._changed:
            if self.is_closing:
                raise HistoryUnwritable("the inbox takes nothing any more, this program is ending", next="try again")
            if len(self._waiting) >= self._capacity:
                raise Overloaded(
                    f"{self._capacity} deliveries wait to be kept already", next="send it again in a few seconds"
                )
            self._waiting.append(_Waiting(delivery, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Takes nothing more; all that was handed in is kept, or has failed, when this returns. May be called twice."""
        with self._changed:
            self.is_closing = True
            self._changed.notify()
        self._writer.join()

    def _write(self) -> None:
        before = 1
        while batch := self._gather(before):
            before = len(batch)
            if self.is_closing and self._has_failed:
                # At the end nobody waits for a broken disk once for each batch.
                _fail(batch, HistoryUnwritable("this program is ending and its inbox cannot be written"))
            else:
                self._commit(batch)

    def _gather(self, before: int) -> list[_Waiting]:
        """The next batch; empty when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.is_closing)
            if before > 1:
                companions = min(before, self._batch)
                self._changed.wait_for(lambda: len(self._waiting) >= companions or self.is_closing, self._linger)
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            kept = self._inbox.put([each.delivery for each in batch])
        except Unkeepable as error:
            self._without_the_bad(batch, error)
        except RollbackError as error:
            self._has_failed = True
            _fail(batch, error)
        except Exception as error:  # whatever it is, the writer must live and nobody may wait for ever
            self._has_failed = True
            _fail(batch, HistoryUnwritable(f"the inbox failed unexpectedly ({type(error).__name__})"), error)
        else:
            self._has_failed = False
            for each, result in zip(batch, kept, strict=True):
                each.future.set_result(result)

    def _without_the_bad(self, batch: list[_Waiting], error: Unkeepable) -> None:
        for position, reason in error.reasons.items():
            batch[position].future.set_exception(Unkeepable({0: reason}))
        rest = [each for position, each in enumerate(batch) if position not in error.reasons]
        if rest:
            self._commit(rest)


def _fail(batch: list[_Waiting], error: RollbackError, cause: BaseException | None = None) -> None:
    for each in batch:
        own = HistoryUnwritable(error.message, next=error.next)  # one for each: a raised error belongs to its thread
        own.__cause__ = cause or error
        each.future.set_exception(own)
