"""Measures the gate once, when a case opens (design, invariant 7).

A gate that is green while people call the feature broken cannot see this fault: it is blind, and must not open by
itself later. So what counts here is whether any harm is seen at all; this is no test of health.
"""

from __future__ import annotations

import math

from rollback.ports import Clock, HealthProbe, Measurement

SPACING_SECONDS = 0.05
"""From the beginning of one round to the next, at least: 20 rounds a second do not burden what is broken already."""


def measure_once(
    probe: HealthProbe, clock: Clock, *, within_seconds: float, samples: int = 50, p0: float | None = None
) -> bool | None:
    """True: data and no harm (the gate is green). False: some harm was seen (it stops at the first). None: no data.

    At most `samples` rounds; none begins after `within_seconds`, so it lasts that long and one round at most. With
    several metrics one that gives data is enough for True, because True is the careful answer: a person decides. The
    probe is left open.

    A metric that counts users' requests always has some that fail. Its window shows harm when a share of `p0` or more
    failed, and says nothing when `p0` is not given.
    """
    deadline = clock.monotonic() + within_seconds
    seen = False
    for left in range(samples - 1, -1, -1):
        began = clock.monotonic()
        if began >= deadline or not probe.metrics:
            break
        for measurement in probe.measure():
            harmed = _harmed(measurement, p0)
            if harmed:
                return False
            seen = seen or harmed is False
        now = clock.monotonic()
        pause = min(began + SPACING_SECONDS, deadline) - now
        if left and pause > 0:
            clock.sleep(pause)
    return True if seen else None


def _harmed(measurement: Measurement, p0: float | None) -> bool | None:
    """Whether it shows harm; None: it says nothing. NaN is neither."""
    harm = measurement.harm
    if harm is None or math.isnan(harm):
        return None
    if measurement.total is not None:
        return None if p0 is None else harm >= p0
    return harm > 0
