"""Waiting for a condition, with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 0.005


def wait_until(condition: Callable[[], bool], timeout: float = 5.0) -> float:
    """Look until the condition holds, and tell how many seconds that took. Fails after `timeout`."""
    started = time.monotonic()
    pause = threading.Event()
    while not condition():
        assert time.monotonic() - started < timeout, "it did not happen in time"
        pause.wait(EVERY_SECONDS)
    return time.monotonic() - started
