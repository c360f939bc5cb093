"""SIGINT, SIGTERM and SIGHUP become a question that a loop asks, so that a retreat comes first."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def listen() -> Callable[[], bool]:
    """From now on the signals interrupt nothing; what is returned tells whether one came."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    return lambda: bool(came)
