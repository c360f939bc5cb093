"""The e-detector of `rollback.core.detector`, for many watches at once: false alarms in years, delay at harm.

Per bet M is lifted to 1 before each sample. With u = max(log M, 0) a failed sample makes u + b of it and g clean ones
make max(u - g c, 0), so a watch needs one step per failed sample, not one per sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rollback.core.detector import SECONDS_PER_YEAR, beta_from_false_alarms
from rollback.core.evidence import log_bound, mus
from tests.figures.gate import Bools, Counts, Floats
from tests.figures.numbers import Numbers


@dataclass(frozen=True, slots=True)
class Detector:
    """The bets of one metric. `up[k]`, `down[k]`: what a failed sample adds to log M, what a clean one takes."""

    up: Floats
    down: Floats
    bound: float

    @classmethod
    def of(cls, numbers: Numbers, metrics: int = 1) -> Detector:
        """As `evidence_book.Alarms` sets it for so many metrics."""
        beta = beta_from_false_alarms(numbers.false_alarms_per_year / metrics, 1 / numbers.monitor_interval)
        return cls.at_level(numbers.p0, beta)

    @classmethod
    def at_level(cls, p0: float, beta: float) -> Detector:
        """With an alarm at M = 1/beta."""
        slopes = np.array(mus(p0))
        return cls(np.log1p(slopes * (1 - p0)), -np.log1p(-slopes * p0), log_bound(beta))

    def start(self, watches: int) -> Floats:
        """The state before any sample, per watch and bet."""
        return np.zeros((watches, self.up.size))

    def after(self, state: Floats, clean: Counts) -> Floats:
        """The state after so many clean samples and then a failed one. Alarms can only come then."""
        return np.asarray(np.maximum(state - clean[:, None] * self.down, 0.0) + self.up)

    def alarms(self, state: Floats) -> Bools:
        """Which watches alarm: the mean of M over all bets is at the bound."""
        near = state.max(axis=1) >= self.bound
        result = np.zeros(len(state), bool)
        if near.any():
            tops = state[near].max(axis=1, keepdims=True)
            logs = tops[:, 0] + np.log(np.exp(state[near] - tops).mean(axis=1))
            result[near] = logs >= self.bound
        return result


def samples_per_year(numbers: Numbers) -> float:
    """How many rounds a year of watching without a pause has."""
    return SECONDS_PER_YEAR / numbers.monitor_interval


def false_alarms(rng: Generator, detector: Detector, rate: float, watches: int, samples: float) -> int:
    """How many alarms so many watches raise at a constant `rate`, each `samples` long, starting anew after an alarm."""
    state = detector.start(watches)
    seen = np.zeros(watches, np.int64)
    alarms = 0
    while (seen < samples).any():
        for clean in rng.geometric(rate, (256, watches)) - 1:
            seen += clean + 1
            state = detector.after(state, clean)
            if (state.max(axis=1) >= detector.bound).any():
                alarmed = detector.alarms(state)
                alarms += int((alarmed & (seen <= samples)).sum())
                state[alarmed] = 0.0
    return alarms


def delays(
    rng: Generator,
    detector: Detector,
    rate: float,
    watches: int,
    limit: int,
    *,
    healthy: float = 0.005,
    past: int = 4000,
) -> Counts:
    """After how many samples at `rate` each watch alarms; -1: not within `limit`.

    Before that it was `healthy` for `past` samples.
    """
    state = detector.start(watches)
    seen = np.zeros(watches, np.int64)
    going = np.arange(watches)
    while going.size:
        clean = rng.geometric(healthy, going.size) - 1
        over = seen[going] + clean >= past  # no failed sample until then: harm begins within this gap
        rest = (past - seen[going])[over]
        state[going[over]] = np.maximum(state[going[over]] - rest[:, None] * detector.down, 0.0)
        going, clean = going[~over], clean[~over]
        state[going] = detector.after(state[going], clean)
        seen[going] += clean + 1
    state[detector.alarms(state)] = 0.0
    found = np.full(watches, -1)
    left, at = np.arange(watches), np.zeros(watches, np.int64)
    while left.size:
        clean = rng.geometric(rate, left.size) - 1
        at = at + clean + 1
        state = detector.after(state, clean)
        alarmed = detector.alarms(state) & (at <= limit)
        found[left[alarmed]] = at[alarmed]
        go_on = ~alarmed & (at < limit)
        left, at, state = left[go_on], at[go_on], state[go_on]
    return found


def first_alarm(detector: Detector, bad: Bools) -> Counts:
    """At which sample each watch alarms, on samples given one by one; -1: never."""
    state = detector.start(len(bad))
    found = np.full(len(bad), -1)
    for place, failed in enumerate(bad.T):
        state = np.where(failed[:, None], state + detector.up, np.maximum(state - detector.down, 0.0))
        if failed.any():
            alarmed = detector.alarms(state) & failed & (found < 0)
            found[alarmed] = place + 1
    return found
