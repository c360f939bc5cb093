"""Counters that are gathered in memory, so that counting costs no write of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class GatheredCounts:
    """Counts until somebody writes them down; `flush` is called from a thread of its own `after` seconds at the latest.

    `flush` is expected to use `taken`, and not to raise.
    """

    def __init__(self, flush: Callable[[], None], after: float) -> None:
        self._flush = flush
        self._after = after
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def add(self, name: str, by: int) -> None:
        """Counts, and sees to it that it is written down soon."""
        with self._lock:
            self._counts[name] += by
            self._arm()

    def now(self) -> Counter[str]:
        """What is not written down yet."""
        with self._lock:
            return Counter(self._counts)

    @contextmanager
    def taken(self) -> Iterator[Counter[str]]:
        """Everything gathered, for one transaction; when that fails it is gathered still."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            yield counts
        except BaseException:
            with self._lock:
                self._counts.update(counts)
                self._arm()
            raise

    def close(self) -> None:
        """No flush begins by itself any more; one that runs has ended."""
        with self._lock:
            self._is_closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()

    def _arm(self) -> None:
        if self._timer is None and not self._is_closed and self._counts:
            self._timer = threading.Timer(self._after, self._ring)
            self._timer.daemon = True  # a program that forgot to close ends all the same
            self._timer.start()

    def _ring(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._timer = None
            is_needed = bool(self._counts)
        if is_needed:
            self._flush()
