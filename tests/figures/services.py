"""Services to judge: each draws the samples of many runs, and runs one gate on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.random import Generator

from tests.figures.gate import Bools, Floats, GateRuns, Rule, run_samples, run_streaks

CHUNK = 2_000_000
"""Samples that are drawn one by one at a time: about 100 MB with all that is computed from them."""

DAY = 24 * 3600


class Service(Protocol):
    """What is judged. `run` runs one gate per entry of `began` (seconds since midnight, when that gate began)."""

    @property
    def name(self) -> str: ...

    def run(self, rng: Generator, rule: Rule, began: Floats, interval: float) -> GateRuns: ...


@dataclass(frozen=True, slots=True)
class Bursts:
    """`rate` of all samples fail, `length` in a row each time; the gaps between are geometric. A run begins anywhere.

    With `length` 1 each sample fails with the same chance, whatever came before: a constant rate.
    """

    name: str
    rate: float
    length: int = 1

    def run(self, rng: Generator, rule: Rule, began: Floats, interval: float) -> GateRuns:  # noqa: ARG002
        """All runs at once."""
        runs = began.size
        if self.rate == 0:
            return run_streaks(rule, np.zeros(runs, np.int64), lambda n: np.full(n, rule.limits.last), 1)
        if self.length == 1:
            return run_streaks(rule, np.zeros(runs, np.int64), lambda n: rng.geometric(self.rate, n) - 1, 1)
        begins = self.rate / (self.rate + self.length * (1 - self.rate))
        inside = rng.random(runs) < self.rate
        begin_bad = np.where(inside, rng.integers(1, self.length + 1, runs), 0)
        return run_streaks(rule, begin_bad, lambda n: rng.geometric(begins, n) - 1, self.length)


def constant(rate: float) -> Bursts:
    """A service that fails at the same rate all the time."""
    return Bursts(f"constant {percent(rate)}", rate)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A service that is drawn sample by sample: `draw(rng, began, samples, interval)` gives failed or not."""

    name: str
    draw: Callable[[Generator, Floats, int, float], Bools]

    def run(self, rng: Generator, rule: Rule, began: Floats, interval: float) -> GateRuns:
        """In chunks, so that memory stays small."""
        chunk = max(1, CHUNK // rule.limits.last)
        parts = [
            run_samples(rule, self.draw(rng, began[start : start + chunk], rule.limits.last, interval))
            for start in range(0, began.size, chunk)
        ]
        return GateRuns(np.concatenate([part.ending for part in parts]), np.concatenate([part.at for part in parts]))


def drifting(name: str, rate: Callable[[Floats], Floats]) -> Sampled:
    """A rate that follows the time since the gate began, in seconds."""

    def draw(rng: Generator, began: Floats, samples: int, interval: float) -> Bools:
        rates = rate(np.asarray(np.arange(samples) * interval, np.float64)).astype(np.float32)
        return np.asarray(rng.random((began.size, samples), dtype=np.float32) < rates)

    return Sampled(name, draw)


def by_the_clock(name: str, quiet: float, loud: float, begins: float, lasts: float) -> Sampled:
    """Fails at rate `loud` every day from `begins` on for `lasts` seconds, and at rate `quiet` otherwise."""

    def draw(rng: Generator, began: Floats, samples: int, interval: float) -> Bools:
        clock = (began[:, None] + np.arange(samples) * interval - begins) % DAY
        rates = np.where(clock < lasts, np.float32(loud), np.float32(quiet))
        return np.asarray(rng.random((began.size, samples), dtype=np.float32) < rates)

    return Sampled(name, draw)


def two_moods(name: str, calm: float, stormy: float, calm_lasts: float, stormy_lasts: float) -> Sampled:
    """A Markov chain of two moods with a rate each; so many samples each mood lasts on average."""
    to_storm, to_calm = 1 / calm_lasts, 1 / stormy_lasts

    def draw(rng: Generator, began: Floats, samples: int, interval: float) -> Bools:  # noqa: ARG001
        runs = began.size
        is_stormy = rng.random(runs) < stormy_lasts / (calm_lasts + stormy_lasts)
        moods = np.empty((samples, runs), bool)
        for place, turn in enumerate(rng.random((samples, runs), dtype=np.float32)):
            moods[place] = is_stormy
            is_stormy = is_stormy ^ (turn < np.where(is_stormy, to_calm, to_storm))
        rates = np.where(moods, np.float32(stormy), np.float32(calm))
        return np.ascontiguousarray((rng.random((samples, runs), dtype=np.float32) < rates).T)

    return Sampled(name, draw)


def autoregressive(name: str, rate: float, correlation: float) -> Sampled:
    """Fails when an AR(1) process of unit variance is above its upper `rate` quantile: failures come in clusters."""
    threshold = NormalDist().inv_cdf(1 - rate)

    def draw(rng: Generator, began: Floats, samples: int, interval: float) -> Bools:  # noqa: ARG001
        runs = began.size
        level = rng.standard_normal(runs, dtype=np.float32)
        noise = rng.standard_normal((samples, runs), dtype=np.float32) * np.float32((1 - correlation**2) ** 0.5)
        failed = np.empty((samples, runs), bool)
        for place in range(samples):
            failed[place] = level > threshold
            level = np.float32(correlation) * level + noise[place]
        return np.ascontiguousarray(failed.T)

    return Sampled(name, draw)


def percent(rate: float) -> str:
    """A rate as people write it: `2 %`, `0.5 %`."""
    return f"{100 * rate:.4g} %"


def any_time_of_day(rng: Generator, runs: int) -> Floats:
    """Times of day at which runs begin, all equally likely."""
    return np.asarray(rng.random(runs) * DAY)
