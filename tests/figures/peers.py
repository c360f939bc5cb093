"""Models of the rules that other tools publish, and of two rules of thumb.

They are models: one decision, one metric, the numbers below, no traffic shaping. The tools have more to set, some of it
stricter, and most were made to compare a new version with an old one, not to bring back what is known to be broken.

Sources, read as published:
* Argo Rollouts, docs/features/analysis.md: a metric fails once more than `failureLimit` of its measurements failed,
  and succeeds when `count` measurements are taken.
* Flagger, docs/gitbook/usage/how-it-works.md and metrics.md: each interval every check passes and the weight rises, or
  a failed check is counted; at `threshold` failed checks it rolls back. Default interval 60 s.
* GrowthBook, docs/features/safe-rollouts.mdx: guardrails by one-sided sequential testing on the absolute difference; it
  fails when the bound crosses zero, and is "ready to ship" when its duration ends without that. The bound is the
  asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory
  and asymptotic confidence sequences", tuned to 5,000 samples, alpha 0.05.
* Kayenta, MannWhitneyClassifier.scala, MannWhitney.scala, NetflixACAJudge.scala: a metric is High when the lower end of
  the 98 % interval of the Mann-Whitney shift is above 0.25 times its estimate. One look, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tests.figures.gate import Bools, Counts, Floats

LIMIT = 0.02
"""The error rate that rules with a fixed limit allow in a measurement: the p0 of our own gate."""

KAYENTA_TOLERANCE = 0.25
KAYENTA_Z = 2.3263478740408408
"""The 99 % quantile of the normal distribution: the upper end of a two-sided 98 % interval."""

_JUST_ABOVE = 1e-3
"""Less than any step between counts, and the quarter steps of the tolerance."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A rule. `brings_back(rng, rate, runs)` tells which runs it lets back in; `samples` is what it needs at most."""

    name: str
    samples: int
    brings_back: Callable[[Generator, float, int], Bools]


def in_a_row(probes: int) -> Peer:
    """So many clean probes in a row, tried once."""
    return Peer(
        f"{probes} clean probes in a row",
        probes,
        lambda rng, rate, runs: np.asarray(rng.binomial(probes, rate, runs) == 0),
    )


def argo_like(failure_limit: int, requests: int = 50, count: int = 5) -> Peer:
    """`count` measurements of so many requests each; one above `LIMIT` has failed; more than the limit is the end."""

    def brings_back(rng: Generator, rate: float, runs: int) -> Bools:
        failed = rng.binomial(requests, rate, (runs, count)) > LIMIT * requests
        return np.asarray(failed.sum(axis=1) <= failure_limit)

    return Peer(
        f"Argo-like: count {count}, failureLimit {failure_limit}, {requests} requests each",
        count * requests,
        brings_back,
    )


def flagger_like(requests: int, passes: int = 5, threshold: int = 5) -> Peer:
    """`passes` passed checks before `threshold` failed ones, one a minute."""
    checks = passes + threshold - 1

    def brings_back(rng: Generator, rate: float, runs: int) -> Bools:
        failed = rng.binomial(requests, rate, (runs, checks)) > LIMIT * requests
        return np.asarray((~failed).sum(axis=1) >= passes)  # of 9 checks, 5 passed: they came before the 5th failed

    return Peer(
        f"Flagger-like: {passes} passes before {threshold} failures, {requests} requests each",
        checks * requests,
        brings_back,
    )


def growthbook_bound(
    difference: Floats, variance: Floats, samples: int, alpha: float = 0.05, tuned: int = 5000
) -> Floats:
    """The lower end of the one-sided confidence sequence of a difference; `variance` is that of the estimate."""
    log = -2 * math.log(2 * alpha)
    rho = math.sqrt((log + math.log(1 + log)) / tuned)
    spread = samples * rho**2 + 1
    width = 2 * spread / (samples * rho) ** 2 * math.log(1 + math.sqrt(spread) / (2 * alpha))
    return np.asarray(difference - np.sqrt(variance * samples * width))


def growthbook_like(total: int, baseline: float, looks: int = 50) -> Peer:
    """Half of `total` users keep the old value (`baseline`), half get the new one; looked at `looks` times."""
    each = total // looks // 2

    def brings_back(rng: Generator, rate: float, runs: int) -> Bools:
        failing = np.zeros(runs, bool)
        old, new = np.zeros(runs), np.zeros(runs)
        for look in range(1, looks + 1):
            old += rng.binomial(each, baseline, runs)
            new += rng.binomial(each, rate, runs)
            side = look * each
            a, b = old / side, new / side
            variance = (a * (1 - a) + b * (1 - b)) / side
            failing |= (variance > 0) & (growthbook_bound(b - a, variance, 2 * side) > 0)
        return ~failing

    return Peer(f"GrowthBook-like: N* 5,000, α 0.05, duration {total:,} users", total, brings_back)


def kayenta_like(requests: int, baseline: float, points: int = 60) -> Peer:
    """`points` one-minute error rates of the old version (`baseline`) and of the new one, so many requests in each."""

    def brings_back(rng: Generator, rate: float, runs: int) -> Bools:
        old = rng.binomial(requests, baseline, (runs, points))
        new = rng.binomial(requests, rate, (runs, points))
        return np.array([not is_high(new[run], old[run]) for run in range(runs)])

    return Peer(f"Kayenta-like: {points} points of {requests} requests", points * requests, brings_back)


def is_high(new: Counts, old: Counts) -> bool:
    """Whether the new counts are classified as High: the interval's lower end is above the tolerance.

    The lower end is the shift at which the standardised statistic falls through 2.33, so it is above a value when the
    statistic just above that value still is. Counts make the statistic a staircase; a fall right at the value is not
    above it. Equal samples, and samples that are all tied, pass.
    """
    if np.array_equal(new, old) or (new.min() == new.max() == old.min() == old.max()):
        return False
    estimate = float(np.median(np.subtract.outer(new, old)))
    shifted = new.astype(np.float64) - (KAYENTA_TOLERANCE * abs(estimate) + _JUST_ABOVE)
    return mann_whitney_z(shifted, old) > KAYENTA_Z


def mann_whitney_z(x: Floats | Counts, y: Floats | Counts) -> float:
    """The standardised rank sum of x beside y, corrected for ties and continuity, as R's wilcox.test has it."""
    values, where, ties = np.unique(np.concatenate([x, y]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[where]
    nx, ny = x.size, y.size
    both = nx + ny
    beyond = float(ranks[:nx].sum()) - nx * (nx + 1) / 2 - nx * ny / 2
    sigma = math.sqrt(nx * ny / 12 * (both + 1 - float((ties**3 - ties).sum()) / (both * (both - 1))))
    return (beyond - 0.5 * np.sign(beyond)) / sigma if sigma and values.size > 1 else 0.0
