"""A clock that moves only when somebody waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

FAR_AHEAD = 1e9
"""Where the monotonic clock begins: beyond any real one, since views in memory compare deadlines with the real one."""


class FakeClock:
    """A `Clock` whose `sleep` moves the time on and returns at once.

    `on_sleep` is called after each sleep with the seconds since the beginning, e.g. to let something happen at a
    certain time.
    """

    ahead = 0.0
    """Seconds by which somebody has set the wall clock ahead."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.on_sleep: Callable[[float], None] | None = None

    def now(self) -> datetime:
        """Noon, and what has passed since."""
        return NOON + timedelta(seconds=self.elapsed + self.ahead)

    def monotonic(self) -> float:
        """Seconds; comparable with nothing but itself."""
        return FAR_AHEAD + self.elapsed

    def sleep(self, seconds: float) -> None:
        """Lets that much time pass."""
        self.elapsed += max(0.0, seconds)
        if self.on_sleep is not None:
            self.on_sleep(self.elapsed)
