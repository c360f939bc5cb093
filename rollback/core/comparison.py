"""Is it worse with the feature than without it? Two rates compared as counts come in, anytime-valid.

While a part of the users has the feature and the others have not, both are served by the same day: a bad hour of a
downstream service raises both rates, and only the feature raises one of them. For each window there are errors of
requests with (b1 of n1) and without it (b0 of n0). Given both n and the total of errors B = b1 + b0, nothing but the
ratio of the two rates says how the errors fall to the two arms. Under "no worse with it" an error falls to the arm with
it with a probability of at most s = n1 / (n1 + n0); with a rate r times as high that would be q = r s / (r s + 1 - s).
The window's factor is

    L(r) = (q / s)^b1 ((1 - q) / (1 - s))^b0 = r^b1 / (1 + (r - 1) s)^B

and E is the mean, over a grid of ratios r > 1, of the products of all windows' factors. It is the martingale of Lindon
& Malek, "Anytime-valid inference for multinomial count data" (arXiv 2011.03567), whose test of many processes looks at
the arm of each event; a grid of ratios takes the place of their Dirichlet prior because s differs from window to window
as the ladder climbs, and because only harm is looked for.

Under the null hypothesis E[L(r)] <= 1 in each window, whatever happened before: r^b1 rises with b1, and b1 is at most
hypergeometric, of which r^b1 has no larger mean than of the binomial with the same s (Hoeffding 1963, theorem 4), where
it is exactly 1. So E reaches 1/alpha with probability <= alpha, however often one looks, even when both rates change
from window to window. What it needs: within one window the samples of an arm are independent and of one rate, or it is
by chance alone who is in which arm. Users who send many requests break that a little; buckets of users keep chance.

It looks for harm, and is no evidence of health: an arm that is as bad as the other one passes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from rollback.core.evidence import is_count, log_bound, log_mean_exp

SMALLEST, LARGEST = 1.1, 20.0
"""The ratios that are looked for: a tenth worse is no reason for a retreat; beyond twenty the smaller bets win too."""

RATIOS = tuple(SMALLEST * (LARGEST / SMALLEST) ** (k / 19) for k in range(20))
"""Twenty ratios in equal proportions, as many as the other tests have bets."""

_STRATUM = re.compile(r"(?P<metric>[^\[\]]+)\[(?P<tag>[^:\]]*):(?P<value>[^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Counts:
    """`bad` of `total` requests of one arm in one window. Raises ValueError unless 0 <= bad <= total, whole numbers."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        if not (is_count(self.bad) and is_count(self.total) and self.bad <= self.total):
            raise ValueError(f"need whole numbers with 0 <= bad <= total, not {self.bad!r} of {self.total!r}")


@dataclass(frozen=True, slots=True)
class Pair:
    """The two arms of one window: closed, and the same for both."""

    having: Counts
    lacking: Counts


@dataclass(frozen=True, slots=True)
class Comparison:
    """The bet against "no worse with it" so far; `having` and `lacking` are the sums of both arms."""

    log_products: tuple[float, ...] = (0.0,) * len(RATIOS)
    having: Counts = Counts(0, 0)
    lacking: Counts = Counts(0, 0)

    @classmethod
    def start(cls) -> Self:
        """Before any window: E = 1."""
        return cls()

    def observe(self, window: Pair) -> Self:
        """After one more window. One without errors, or with only one arm, changes the sums alone."""
        counted = replace(self, having=_sum(self.having, window.having), lacking=_sum(self.lacking, window.lacking))
        requests = window.having.total + window.lacking.total
        errors = window.having.bad + window.lacking.bad
        if not errors or not window.having.total or not window.lacking.total:
            return counted
        share = window.having.total / requests
        logs = (
            log + window.having.bad * math.log(ratio) - errors * math.log1p((ratio - 1) * share)
            for log, ratio in zip(self.log_products, RATIOS, strict=True)
        )
        return replace(counted, log_products=tuple(logs))

    @property
    def log_e(self) -> float:
        """The natural logarithm of E."""
        return log_mean_exp(self.log_products)

    def rejects(self, alpha: float) -> bool:
        """Whether E >= 1/alpha: it is worse with it. Raises ValueError unless 0 < alpha < 1."""
        return self.log_e >= log_bound(alpha)

    @property
    def words(self) -> str:
        """Both rates for a person, e.g. `12 of 300 with it, 5 of 2700 without`."""
        having, lacking = self.having, self.lacking
        return f"{having.bad} of {having.total} with it, {lacking.bad} of {lacking.total} without"


def pair_of(windows: Mapping[str, Counts], metric: str, having: str, lacking: str) -> Pair | None:
    """The two strata of a metric among the windows of one moment, which are named `metric[tag:value]`.

    `having` and `lacking` are values, or `tag:value` where several tags have that value. None when one of them is
    missing, or is there more than once: then this moment says nothing.
    """
    arms = [[counts for name, counts in windows.items() if _is_stratum(name, metric, arm)] for arm in (having, lacking)]
    if any(len(found) != 1 for found in arms):
        return None
    return Pair(arms[0][0], arms[1][0])


def _is_stratum(name: str, metric: str, arm: str) -> bool:
    found = _STRATUM.fullmatch(name)
    if found is None or found["metric"] != metric:
        return False
    return arm in (found["value"], f"{found['tag']}:{found['value']}")


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(one.bad + other.bad, one.total + other.total)
