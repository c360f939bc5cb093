"""One channel's notices: in order of urgency, paced, tried again, given up. A thread of its own for each channel."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollback import log
from rollback.errors import RollbackError, StoreRefused, StoreUnreachable
from rollback.notice_ports import Claim, Ending, OutboxStore, PerhapsTold, Route, Waiting, rank
from rollback.notice_text import worded
from rollback.ports import Clock

LOOK_AGAIN = 5.0
"""Seconds between looks into the store while nothing is to do: for what a process that died has left behind."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds to wait after a failure: 1, 2, 4 … up to 5 minutes, so that a channel that is back is seen soon."""

LONGEST_ASKED = 3600.0
"""A system may ask (`Retry-After`) for a longer pause than ours, but not for ever."""

STEP_BACK = 5
"""After so many failures a notice lets the others go first: it may be the one that the system cannot take."""

TOO_OLD = timedelta(hours=24)
"""What could not be told for a day is given up: whoever is told then would be misled rather than informed."""

SILENT_AFTER = 600.0
"""Seconds of failures after which the other channels are told that this one is silent."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one channel does. `waiting` counts what this process has in memory; `failing_since` is None when the last
    attempt was told; `why` is the last failure in words, empty after a success; `last_told_at` None: nothing yet."""

    channel: str
    waiting: int
    told: int
    given_up: int
    last_told_at: datetime | None
    failing_since: datetime | None
    why: str


@dataclass(slots=True)
class _Queued:
    waiting: Waiting
    failures: int = 0


def note(name: str, **facts: object) -> None:
    """Logs a fact; a log that cannot be written (a closed pipe) must not end a thread."""
    with suppress(Exception):
        log.event(name, **facts)


class ChannelWorker:
    """Tells one channel's notices, one at a time. `step` does what is due; `run` is the thread's life.

    Memory is bounded: of more than `limit` notices the least urgent and latest are left to the store, and fetched when
    there is room; without a store that works they are lost and counted. `report` is told (channel, why) when the
    channel refuses, or is silent for long; it must not block. No error leaves `step` or `run`.
    """

    def __init__(
        self,
        route: Route,
        store: OutboxStore,
        *,
        clock: Clock,
        report: Callable[[str, str], None],
        limit: int = 1000,
        look_again: float = LOOK_AGAIN,
    ) -> None:
        self.route = route
        self.name = route.channel.name
        self.lost = 0
        self._store = store
        self._clock = clock
        self._report = report
        self._limit = limit
        self._look_again = look_again
        self._wake = threading.Condition()
        self._queue: list[tuple[int, int, str]] = []
        self._by_key: dict[str, _Queued] = {}
        self._number = 0
        self._unended: dict[str, Ending] = {}
        self._paused_until = float("-inf")
        self._look_at = float("-inf")
        self._failures = 0
        self._failing_since: tuple[float, datetime] | None = None
        self._told = self._given_up = 0
        self._last_told_at: datetime | None = None
        self._why = ""
        self._ends_at: float | None = None

    # -- from other threads; nothing here waits for more than a few instructions -----------------------------------

    def offer(self, waiting: Waiting, *, is_kept: bool) -> None:
        """Takes a notice in. `is_kept`: the store has it too, so that it can be left there."""
        with self._wake:
            if waiting.notice.key not in self._by_key:
                self._push(_Queued(waiting))
                self._shorten(is_kept)
            self._wake.notify_all()

    def finish(self, deadline: float) -> None:
        """From now on only what is in memory is told, until `deadline` (monotonic seconds); then `run` returns."""
        with self._wake:
            self._ends_at = deadline
            self._wake.notify_all()

    def standing(self) -> Standing:
        """How the channel does."""
        with self._wake:
            since = self._failing_since[1] if self._failing_since else None
            return Standing(
                self.name, len(self._by_key), self._told, self._given_up, self._last_told_at, since, self._why
            )

    # -- the worker's own thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Works until `finish` and its deadline, or until nothing is left after it."""
        while True:
            pause = self.step()
            with self._wake:
                if self._is_finished(pause):
                    return
                if pause > 0 and not self._is_due():
                    self._wake.wait(pause)
                if self._is_finished(0.0):
                    return

    def step(self) -> float:
        """Does at most one sending. The seconds until there may be something to do again; 0.0: at once."""
        now = self._clock.monotonic()
        if now < self._paused_until:
            return self._paused_until - now
        if self._ends_at is None and now >= self._look_at and not self._by_key:
            self._fetch(now)
        queued = self._take()
        if queued is None:
            return max(0.0, self._look_at - now)
        try:
            self._attempt(queued)
        except Exception as error:  # a fault of ours must not end the thread, and the notice stays in line
            self._rescue(queued, type(error).__name__)
        return max(0.0, self._paused_until - self._clock.monotonic())

    def _attempt(self, queued: _Queued) -> None:
        waiting, now = queued.waiting, self._clock.now()
        key = waiting.notice.key
        claim = self._begin(key, now)
        if claim is not Claim.OURS:
            self._forget(key)  # told by another process, or being told: the store brings it again if that one dies
            return
        if now - waiting.at > TOO_OLD:
            self._give_up(key, Ending.TOO_OLD, "it is too old to be told")
            return
        self._paused_until = self._clock.monotonic() + self.route.every_seconds
        try:
            self.route.channel.send(worded(waiting, now))
        except StoreRefused as error:
            self._fails(error.message)
            self._give_up(key, Ending.REFUSED, error.message)
            self._report(self.name, error.message)
        except PerhapsTold as error:
            self._try_again(queued, Ending.UNKNOWN, error.message, error.retry_after)
        except StoreUnreachable as error:
            self._try_again(queued, Ending.NOT_SENT, error.message, error.retry_after)
        except Exception as error:  # a fault of the adapter: it may have been sent
            self._try_again(queued, Ending.UNKNOWN, f"{self.name} failed ({type(error).__name__})", None)
        else:
            self._end(key, Ending.TOLD)
            with self._wake:
                self._told += 1
                self._last_told_at = self._clock.now()
                self._failures, self._failing_since, self._why = 0, None, ""
            note("notice_told", channel=self.name, key=key, repeated=waiting.begun)

    def _give_up(self, key: str, ending: Ending, why: str) -> None:
        self._end(key, ending)
        with self._wake:
            self._given_up += 1
        note("notice_given_up", channel=self.name, key=key, ending=ending.value, why=why)

    def _try_again(self, queued: _Queued, ending: Ending, why: str, asked: float | None) -> None:
        waiting = replace(queued.waiting, begun=queued.waiting.begun or ending is Ending.UNKNOWN)
        if waiting.begun:
            ending = Ending.UNKNOWN  # an earlier attempt may have arrived, whatever became of this one
        failing_for = self._fails(why)
        with self._wake:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 20))
            self._failures += 1
            self._paused_until = self._clock.monotonic() + max(pause, min(asked or 0.0, LONGEST_ASKED))
            queued.waiting, queued.failures = waiting, queued.failures + 1
            self._push(queued, again=queued.failures % STEP_BACK != 0)
        self._tell_store(waiting.notice.key, ending)
        note("notice_not_told", channel=self.name, key=waiting.notice.key, why=why, failures=queued.failures)
        if failing_for >= SILENT_AFTER:
            self._report(self.name, why)

    def _fails(self, why: str) -> float:
        """Notes a failure; for how many seconds the channel has been failing."""
        now = self._clock.monotonic()
        with self._wake:
            self._why = why
            self._failing_since = self._failing_since or (now, self._clock.now())
            return now - self._failing_since[0]

    def _rescue(self, queued: _Queued, why: str) -> None:
        key = queued.waiting.notice.key
        with self._wake:
            self._paused_until = self._clock.monotonic() + FIRST_PAUSE
            self._why = f"the outbox itself failed ({why})"
            if self._by_key.get(key) is queued and all(key != waiting for *_, waiting in self._queue):
                self._push(queued)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def _push(self, queued: _Queued, *, again: bool = False) -> None:
        """Into the line: `again` in front of all others of its urgency."""
        notice = queued.waiting.notice
        self._number += 1
        heapq.heappush(self._queue, (rank(notice.urgency), -1 if again else self._number, notice.key))
        self._by_key[notice.key] = queued

    def _take(self) -> _Queued | None:
        with self._wake:
            if not self._queue:
                return None
            *_, key = heapq.heappop(self._queue)
            return self._by_key[key]

    def _shorten(self, is_kept: bool) -> None:
        if len(self._queue) <= self._limit:
            return
        last = max(self._queue)
        self._queue.remove(last)
        heapq.heapify(self._queue)
        del self._by_key[last[2]]
        self._look_at = float("-inf")
        if not is_kept:
            self.lost += 1

    def _forget(self, key: str) -> None:
        with self._wake:
            self._by_key.pop(key, None)

    def _is_due(self) -> bool:
        """Something came in while this thread was not looking, and no pause holds it back."""
        return bool(self._queue) and self._clock.monotonic() >= self._paused_until

    def _is_finished(self, pause: float) -> bool:
        if self._ends_at is None:
            return False
        now = self._clock.monotonic()
        return not self._by_key or now >= self._ends_at or now + pause > self._ends_at

    # -- the store; while it fails, notices are told all the same ----------------------------------------------------

    def _fetch(self, now: float) -> None:
        self._look_at = now + self._look_again
        for key, ending in list(self._unended.items()):
            self._tell_store(key, ending)
        try:
            found = self._store.waiting(self.name, self._limit, tuple(self._unended))
        except RollbackError as error:
            note("outbox_unusable", channel=self.name, why=error.message)
            return
        with self._wake:
            for waiting in found:
                if waiting.notice.key not in self._by_key and len(self._queue) < self._limit:
                    self._push(_Queued(waiting))

    def _begin(self, key: str, now: datetime) -> Claim:
        try:
            claim = self._store.begin(key, self.name, now)
        except RollbackError:
            return Claim.OURS
        # What could not be stored when it came in is over for the store, and not for us.
        return Claim.OURS if claim is Claim.OVER and not self._seen(key) else claim

    def _seen(self, key: str) -> bool:
        try:
            return self._store.seen(key)
        except RollbackError:
            return False

    def _end(self, key: str, ending: Ending) -> None:
        self._forget(key)
        self._tell_store(key, ending)

    def _tell_store(self, key: str, ending: Ending) -> None:
        """A final ending that cannot be stored is kept in mind, or the store would bring the notice again."""
        try:
            self._store.end(key, self.name, self._clock.now(), ending)
        except RollbackError as error:
            note("outbox_unusable", channel=self.name, why=error.message)
            if ending not in (Ending.NOT_SENT, Ending.UNKNOWN) and len(self._unended) < self._limit:
                self._unended[key] = ending
        else:
            self._unended.pop(key, None)
