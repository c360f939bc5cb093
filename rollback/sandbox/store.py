"""The state of a stand-in, who may change it, and what it was some time ago."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rollback.sandbox.model import State

KEPT_STATES = 20000


class Source(Protocol):
    """Where a server reads its state from."""

    def current(self) -> State:
        """What to serve now."""

    def wait_for_change(self, version: int, timeout: float) -> State:
        """What to serve now; returns early once its version is another than `version`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A state and the moment (monotonic, seconds) from which it held."""

    since: float
    state: State


class Store:
    """The one place where a state changes: under a lock, one write after the other, all kept for a while."""

    def __init__(self, state: State) -> None:
        self._changed = threading.Condition()
        self._kept: deque[Kept] = deque([Kept(time.monotonic(), state)], maxlen=KEPT_STATES)

    def current(self) -> State:
        """The state after the last write."""
        return self._kept[-1].state

    def as_of(self, age: float) -> State:
        """The state `age` seconds ago; the oldest one known when that is too long ago."""
        moment = time.monotonic() - age
        with self._changed:
            for kept in reversed(self._kept):
                if kept.since <= moment:
                    return kept.state
            return self._kept[0].state

    def update(self, change: Callable[[State], State]) -> State:
        """Apply `change` as one write. An exception in it leaves everything as it was."""
        with self._changed:
            state = change(self._kept[-1].state)
            self._kept.append(Kept(time.monotonic(), state))
            self._changed.notify_all()
            return state

    def wait_for_change(self, version: int, timeout: float) -> State:
        """The current state; waits up to `timeout` seconds for one whose version is not `version`."""
        with self._changed:
            self._changed.wait_for(lambda: self._kept[-1].state.version != version, timeout)
            return self._kept[-1].state


class Lagging:
    """A replica's view: the state of a store as it was `lag` seconds ago."""

    def __init__(self, store: Store, lag: float) -> None:
        self._store = store
        self._lag = lag

    def current(self) -> State:
        """What the store held `lag` seconds ago."""
        return self._store.as_of(self._lag)

    def wait_for_change(self, version: int, timeout: float) -> State:
        """Looks every 10 ms, since what changes is only the age of a write."""
        return poll_for_change(self.current, version, timeout)


def poll_for_change(current: Callable[[], State], version: int, timeout: float, every: float = 0.01) -> State:
    """Ask `current` until its version is not `version` or `timeout` seconds have passed."""
    deadline = time.monotonic() + timeout
    while (state := current()).version == version and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(every, left))
    return state
