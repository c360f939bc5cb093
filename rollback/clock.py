"""The real clock. Kill path: standard library only."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time in UTC, a monotonic clock in seconds, and waiting."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits; a negative number is no wait."""
        if seconds > 0:
            time.sleep(seconds)
