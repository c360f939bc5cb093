"""Turning a feature off goes first: in a storm of alerts, what can wait a moment does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

LONGEST = 1.0
"""Seconds for which one off is given way. A flag store that hangs takes longer, and then nobody is in its way."""

A_MOMENT = 0.25
"""Seconds that one piece of other work gives way, at most: an answer to a sender is due within a second."""


class RightOfWay:
    """Who turns a feature off takes it; others `give` it. For any number of threads. Nobody ever waits for good."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._taken: dict[object, float] = {}
        self._free: Future[None] = Future()
        self._free.set_result(None)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Others give way until this ends, or for `LONGEST`."""
        mine = object()
        with self._lock:
            self._taken[mine] = self._monotonic() + LONGEST
            if self._free.done():
                self._free = Future()
        try:
            yield
        finally:
            with self._lock:
                del self._taken[mine]
                if not self._taken:
                    self._free.set_result(None)  # under the lock: whoever takes it next must get a new one

    def free(self) -> tuple[Future[None], float]:
        """A future that is done once nobody has it, and the seconds to wait for that, at most; 0 when nobody has it.

        The future belongs to all who wait: it must not be cancelled.
        """
        with self._lock:
            left = max(self._taken.values(), default=0.0) - self._monotonic()
            return self._free, min(A_MOMENT, max(0.0, left))

    def give(self) -> None:
        """Waits, in a thread that has other work, until nobody has it; for `A_MOMENT` at most."""
        free, seconds = self.free()
        if seconds:
            wait({free}, seconds)
