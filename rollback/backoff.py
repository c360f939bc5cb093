"""How long to wait before trying again. Kill path: standard library only."""

from __future__ import annotations

import random

_own = random.Random()  # noqa: S311 (spreads load, guards nothing)
"""Not the one that everybody in the process shares and may have seeded."""

_DOUBLINGS = 30
"""More would only make the number too large to compute with: no wait is that long."""


def full_jitter(first: float, longest: float, failures: int) -> float:
    """Seconds to wait after so many failures in a row (from 1), so that many who failed together do not come back so.

    Drawn from 0 to `first` after one, to twice that after two, and so on, at most `longest` ("full jitter": Brooker,
    Exponential Backoff And Jitter, 2015).
    """
    top = min(longest, first * 2 ** min(failures - 1, _DOUBLINGS))
    return _own.uniform(0.0, top)
