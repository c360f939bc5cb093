"""Two rates compared as they come: what is no worse is called so with probability 1 - alpha, and worse is found."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.comparison import RATIOS, Comparison, Counts, Pair, pair_of
from rollback.core.evidence import log_bound

ALPHA = 0.05
RUNS, WINDOWS = 800, 60

counts = st.integers(0, 60).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))
pairs = st.builds(Pair, counts, counts)


def factor(pair: Pair, ratio: float) -> float:
    """The window's factor as it stands in the docstring: by the two shares, and not simplified."""
    requests = pair.having.total + pair.lacking.total
    share = pair.having.total / requests
    moved = ratio * share / (ratio * share + 1 - share)
    return float((moved / share) ** pair.having.bad * ((1 - moved) / (1 - share)) ** pair.lacking.bad)


@given(st.lists(pairs, max_size=5))
def test_e_is_the_mean_of_the_products_of_the_factors(windows: list[Pair]) -> None:
    products = [1.0] * len(RATIOS)
    comparison = Comparison.start()
    for window in windows:
        comparison = comparison.observe(window)
        if window.having.total and window.lacking.total:
            products = [done * factor(window, ratio) for done, ratio in zip(products, RATIOS, strict=True)]
    assert comparison.log_e == pytest.approx(math.log(math.fsum(products) / len(RATIOS)), abs=1e-6)


def test_given_all_errors_the_factor_has_a_mean_of_at_most_one_when_both_arms_are_alike() -> None:
    """Exactly, by the hypergeometric distribution; and less when the arm with the feature is the better one."""
    for with_it, without, errors in product((1, 3, 10), (2, 15), (1, 4, 9)):
        if errors > with_it + without:
            continue
        for odds, ratio in product((1.0, 0.5), RATIOS):
            mean = total = 0.0
            for bad in range(max(0, errors - without), min(with_it, errors) + 1):
                weight = math.comb(with_it, bad) * math.comb(without, errors - bad) * odds**bad
                mean += weight * factor(Pair(Counts(bad, with_it), Counts(errors - bad, without)), ratio)
                total += weight
            assert mean / total <= 1 + 1e-9


# -- the promise, measured -------------------------------------------------------------------------------------------

Rates = Callable[[random.Random, int], tuple[float, float]]
"""The rates with and without the feature in a window, by its place."""


def alike(_source: random.Random, _place: int) -> tuple[float, float]:
    return 0.05, 0.05


def bad_hours_for_both(source: random.Random, _place: int) -> tuple[float, float]:
    rate = source.choice([0.01, 0.02, 0.3])
    return rate, rate


def better(_source: random.Random, _place: int) -> tuple[float, float]:
    return 0.03, 0.06


def drifting(_source: random.Random, place: int) -> tuple[float, float]:
    rate = 0.01 + 0.2 * place / WINDOWS
    return rate, rate


def binomial(source: random.Random, total: int, rate: float) -> int:
    return sum(source.random() < rate for _ in range(total))


def ever_rejected(source: random.Random, rates: Rates) -> bool:
    """Looks after each window; the part that has the feature grows on the way, as on a ladder."""
    comparison = Comparison.start()
    for place in range(WINDOWS):
        share = 0.1 if place < WINDOWS // 2 else 0.5
        with_it = max(1, round(40 * share))
        with_rate, without_rate = rates(source, place)
        window = Pair(
            Counts(binomial(source, with_it, with_rate), with_it),
            Counts(binomial(source, 40 - with_it, without_rate), 40 - with_it),
        )
        comparison = comparison.observe(window)
        if comparison.rejects(ALPHA):
            return True
    return False


@pytest.mark.parametrize("rates", [alike, bad_hours_for_both, better, drifting], ids=lambda rates: rates.__name__)
def test_what_is_no_worse_is_hardly_ever_called_worse(rates: Rates) -> None:
    """At the true level of 5 % more than 59 of 800 runs would happen once in 500 times."""
    source = random.Random(20261123)
    rejected = sum(ever_rejected(source, rates) for _ in range(RUNS))
    assert rejected <= 59


def test_what_is_three_times_as_bad_is_found() -> None:
    source = random.Random(20261124)
    found = sum(ever_rejected(source, lambda _source, _place: (0.24, 0.08)) for _ in range(200))
    assert found >= 180


def test_what_is_bad_for_both_is_not_called_worse() -> None:
    comparison = Comparison.start()
    for _ in range(500):
        comparison = comparison.observe(Pair(Counts(5, 10), Counts(45, 90)))
    assert not comparison.rejects(ALPHA)
    assert comparison.words == "2500 of 5000 with it, 22500 of 45000 without"


# -- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [
        Pair(Counts(0, 10), Counts(0, 90)),
        Pair(Counts(5, 10), Counts(0, 0)),
        Pair(Counts(0, 0), Counts(7, 90)),
        Pair(Counts(0, 0), Counts(0, 0)),
    ],
)
def test_a_window_without_errors_or_with_one_arm_alone_says_nothing(window: Pair) -> None:
    seen = Comparison.start().observe(window)
    assert seen.log_products == Comparison.start().log_products
    assert seen.having == window.having


@pytest.mark.parametrize(("bad", "total"), [(2, 1), (-1, 5), (0, -1), (0.5, 1), (1, True + 0.5)])
def test_counts_that_are_none_are_refused(bad: float, total: float) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        Counts(bad, total)  # type: ignore[arg-type]


def test_e_before_any_window_is_one_and_rejects_nothing() -> None:
    assert Comparison.start().log_e == 0
    assert not Comparison.start().rejects(0.99)
    with pytest.raises(ValueError, match="strictly between"):
        Comparison.start().rejects(1.0)
    assert log_bound(ALPHA) > 0


WINDOW = {
    "sends[flag:on]": Counts(1, 10),
    "sends[flag:off]": Counts(2, 90),
    "sends[region:on]": Counts(9, 9),
    "reads[flag:on]": Counts(8, 8),
    "sends": Counts(3, 100),
}


def test_the_two_strata_of_the_metric_are_found_by_tag_and_value() -> None:
    assert pair_of(WINDOW, "sends", "flag:on", "flag:off") == Pair(Counts(1, 10), Counts(2, 90))
    assert pair_of(WINDOW, "sends", "flag:on", "off") == Pair(Counts(1, 10), Counts(2, 90))


@pytest.mark.parametrize(
    ("metric", "having", "lacking"),
    [("sends", "on", "off"), ("sends", "flag:on", "flag:maybe"), ("other", "flag:on", "flag:off")],
    ids=["two tags have that value", "a stratum is missing", "another metric"],
)
def test_strata_that_cannot_be_told_apart_say_nothing(metric: str, having: str, lacking: str) -> None:
    assert pair_of(WINDOW, metric, having, lacking) is None
