"""Work with a hard time limit.

httpx's timeouts bound one wait at a time: a name server that hangs, or an answer that drips, is bounded by none of
them. So the work runs in a thread of its own, which is left behind when the time is up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


AFTERWARDS = 1.0
"""Seconds that a timeout inside the work should lie behind the limit: so it is the limit that says what was too slow,
and the thread that is left behind ends soon after."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises; `TimeoutError` when it takes longer than `seconds`."""
    if seconds <= 0:
        raise TimeoutError("no time was left")
    task = _Task(work)
    threading.Thread(target=task.run, name="client-view", daemon=True).start()
    if not task.done.wait(seconds):
        raise TimeoutError(f"no end within {seconds:.1f} s")
    if task.failure is not None:
        raise task.failure
    return task.results[0]


class _Task(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Event()
        self.failure: Exception | None = None
        self.results: list[T] = []
        self._work = work

    def run(self) -> None:
        try:
            self.results.append(self._work())
        except Exception as error:
            self.failure = error
        finally:
            self.done.set()
