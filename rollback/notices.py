"""Telling people: `tell` and forget. Each notice is told once per channel, also across a crash, and delays nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from rollback.alert_ports import Notice
from rollback.errors import ConfigurationError, RollbackError
from rollback.notice_ports import OutboxStore, Route, Waiting, rank
from rollback.notice_text import cleaned
from rollback.notice_worker import LOOK_AGAIN, ChannelWorker, Standing, note
from rollback.ports import Clock
from rollback.redaction import redact

REMEMBERED = timedelta(days=30)
"""How long a key is known: a notice with the same key is not told again within this time."""

PRUNE_EVERY = 86_400.0

DEAD_AGAIN = 3600.0
"""Seconds until the other channels are told again that one is dead: once an hour."""


class Outbox:
    """Takes notices in and tells each on every channel that takes its urgency, once per key.

    `tell` may be called from any thread; it returns at once whatever channels, disk and network do, and never raises.
    A thread of its own keeps what was told in `store`, then hands it to one thread per channel; so a channel that
    hangs holds up neither the others nor the caller. Between `tell` and the store lie a few milliseconds, in which a
    kill loses the notice: who can wait asks `kept`, who cannot tells it again after a restart (once per key).

    Kept notices survive the process: the next one tells them, exactly once. The exception is a process that dies while
    it sends: nobody can know whether that arrived, so it is sent again and marked as a repeat. When the store cannot
    be used, notices are told all the same, but not remembered. A channel that refuses a notice for good, or is silent
    for ten minutes, is named to the others, once an hour. `limit` bounds what is in memory, per channel and on the way
    to the store; beyond it the least urgent go first. Raises `ConfigurationError` for two channels of one name.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        store: OutboxStore,
        *,
        clock: Clock,
        limit: int = 1000,
        look_again: float = LOOK_AGAIN,
    ) -> None:
        names = [route.channel.name for route in routes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"Two notice channels have the name {twice[0]!r}.", next="Give each its own name.")
        self._store = store
        self._clock = clock
        self._limit = limit
        self._lock = threading.Condition()
        self._incoming: list[tuple[Notice, datetime]] = []
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._pending: set[str] = set()
        self._unkept: OrderedDict[str, None] = OrderedDict()
        self._dropped = 0
        self._closing = False
        self._named_dead: dict[str, float] = {}
        self._prune_at = clock.monotonic()
        self._workers = [
            ChannelWorker(route, store, clock=clock, report=self._dead, limit=limit, look_again=look_again)
            for route in routes
        ]
        self._keeper = threading.Thread(target=self._keep, name="notices", daemon=True)
        self._threads = [
            threading.Thread(target=worker.run, name=f"notices-{worker.name}", daemon=True) for worker in self._workers
        ]
        for thread in (self._keeper, *self._threads):
            thread.start()

    def tell(self, notice: Notice) -> None:
        """Takes a notice in; one whose key was told before is left out. Never blocks, never raises."""
        with suppress(Exception), self._lock:
            if self._closing or notice.key in self._recent:
                return
            self._incoming.append((notice, self._clock.now()))
            self._pending.add(notice.key)
            self._mark(self._recent, notice.key)
            if len(self._incoming) > self._limit:
                self._drop_one()
            self._lock.notify_all()

    def kept(self, keys: Iterable[str], deadline: float) -> bool:
        """Waits until the notices with these keys are in the store; True when they are, so that a crash loses none.

        False at `deadline` (monotonic seconds of the clock), or when one of them could not be stored, or was dropped.
        Keys that were not told to this outbox count as kept.
        """
        wanted = tuple(keys)
        with self._lock:
            while any(key in self._pending for key in wanted):
                left = deadline - self._clock.monotonic()
                if left <= 0 or not self._keeper.is_alive():
                    return False
                self._lock.wait(left)
            return not any(key in self._unkept for key in wanted)

    def standing(self) -> list[Standing]:
        """How each channel does, for the page and the metrics."""
        return [worker.standing() for worker in self._workers]

    @property
    def lost(self) -> int:
        """How many notices, or tellings of one on a channel, were dropped because memory was full."""
        with self._lock:
            return self._dropped + sum(worker.lost for worker in self._workers)

    def close(self, deadline: float) -> int:
        """Takes nothing more in, tells what it can until `deadline` (monotonic seconds), and ends.

        Returns how many tellings are left over; they wait in the store for the next process. A channel that hangs is
        left behind. Idempotent.
        """
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._join(self._keeper, deadline)
        for worker in self._workers:
            worker.finish(deadline)
        for thread in self._threads:
            self._join(thread, deadline)
        self._tell_of_the_dead(deadline)
        for worker, thread in zip(self._workers, self._threads, strict=True):
            if not thread.is_alive():
                worker.route.channel.close()
        self._store.close()
        return len(self._incoming) + sum(standing.waiting for standing in self.standing())

    # -- the keeper's thread -----------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while True:
            with self._lock:
                while not self._incoming and not self._closing:
                    self._lock.wait(max(1.0, self._prune_at - self._clock.monotonic()))
                    if self._clock.monotonic() >= self._prune_at:
                        break
                if self._closing and not self._incoming:
                    return
                batch, self._incoming = self._incoming, []
            for notice, at in batch:
                self._settle(notice.key, is_kept=self._taken(notice, at))
            self._prune()

    def _taken(self, notice: Notice, at: datetime) -> bool:
        try:
            return self._hand_on(cleaned(notice), at)
        except Exception as error:  # a fault of ours must not end the thread
            note("notice_lost", key=notice.key, why=type(error).__name__)
            return False

    def _settle(self, key: str, *, is_kept: bool) -> None:
        with self._lock:
            self._pending.discard(key)
            if is_kept:
                self._unkept.pop(key, None)
            else:
                self._mark(self._unkept, key)
            self._lock.notify_all()

    def _hand_on(self, notice: Notice, at: datetime, but: str = "") -> bool:
        """Into the store, then to the channels. False when it could not be stored."""
        workers = [worker for worker in self._workers if worker.route.takes(notice) and worker.name != but]
        is_kept = True
        try:
            if not self._store.remember(notice, [worker.name for worker in workers], at):
                return True
        except RollbackError as error:
            is_kept = False
            note("outbox_unusable", key=notice.key, why=error.message)
        if not workers:
            note("notice_for_nobody", key=notice.key, urgency=notice.urgency)
        for worker in workers:
            worker.offer(Waiting(notice, at), is_kept=is_kept)
        return is_kept

    def _prune(self) -> None:
        if self._clock.monotonic() < self._prune_at:
            return
        self._prune_at = self._clock.monotonic() + PRUNE_EVERY
        try:
            self._store.prune(self._clock.now() - REMEMBERED)
        except RollbackError as error:
            note("outbox_unusable", why=error.message)

    def _drop_one(self) -> None:
        """Leaves out the oldest of the least urgent ones that were not handed on yet."""
        least = max(rank(notice.urgency) for notice, _ in self._incoming)
        place = next(i for i, (notice, _) in enumerate(self._incoming) if rank(notice.urgency) == least)
        notice, _ = self._incoming.pop(place)
        self._recent.pop(notice.key, None)
        self._pending.discard(notice.key)
        self._mark(self._unkept, notice.key)
        self._dropped += 1

    def _mark(self, keys: OrderedDict[str, None], key: str) -> None:
        keys[key] = None
        if len(keys) > 10 * self._limit:
            keys.popitem(last=False)

    # -- a channel's thread ------------------------------------------------------------------------------------------

    def _dead(self, name: str, why: str) -> None:
        """Tells the other channels that notices do not arrive at this one, once an hour."""
        now, at = self._clock.monotonic(), self._clock.now()
        with self._lock:
            last = self._named_dead.get(name)
            if last is not None and now - last < DEAD_AGAIN:
                return
            self._named_dead[name] = now
        text = f"Notices do not arrive at the channel {redact(name, 80)}.\n{redact(why, 300)}"
        key = f"channel-dead:{name}:{at:%Y%m%dT%H}"  # with the hour: a restart does not tell it again at once
        self._hand_on(cleaned(Notice(key, None, None, "call", text)), at, but=name)

    def _tell_of_the_dead(self, deadline: float) -> None:
        """A channel may turn out to be dead at the very end, when the others have ended: they are told even so."""
        for place, worker in enumerate(self._workers):
            if worker.standing().waiting and not self._threads[place].is_alive():
                self._threads[place] = thread = threading.Thread(target=worker.run, name="notices-end", daemon=True)
                thread.start()
                self._join(thread, deadline)

    def _join(self, thread: threading.Thread, deadline: float) -> None:
        thread.join(max(0.0, deadline - self._clock.monotonic()))
