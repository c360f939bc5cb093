"""The models of other tools' rules, and the bounds, against what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.figures.intervals import clopper_pearson, poisson_upper
from tests.figures.peers import (
    argo_like,
    flagger_like,
    growthbook_bound,
    growthbook_like,
    in_a_row,
    is_high,
    kayenta_like,
    mann_whitney_z,
)
from tests.figures.tables import percent

RUNS = 20_000


def binomial_tail(at_most: int, runs: int, rate: float) -> float:
    return sum(math.comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(at_most + 1))


def test_rules_with_a_limit_pass_as_often_as_arithmetic_says() -> None:
    rng = np.random.default_rng(1)
    ok = binomial_tail(1, 50, 0.03)  # a measurement of 50 requests may have one failed: 2 %
    expected = {
        in_a_row(30): 0.97**30,
        argo_like(1): binomial_tail(1, 5, 1 - ok),
        flagger_like(50): binomial_tail(4, 9, 1 - ok),
    }
    for peer, chance in expected.items():
        assert peer.brings_back(rng, 0.03, RUNS).mean() == pytest.approx(chance, abs=0.015)


def test_no_rule_keeps_out_what_never_fails() -> None:
    rng = np.random.default_rng(2)
    for peer in (in_a_row(3), argo_like(0), flagger_like(200), growthbook_like(1000, 0.0), kayenta_like(50, 0.0)):
        assert peer.brings_back(rng, 0.0, 50).all()


def test_the_confidence_sequence_is_that_of_its_paper() -> None:
    log = -2 * math.log(0.1)
    rho2 = (log + math.log(1 + log)) / 5000
    n, variance = 4000, 0.0001
    spread = n * rho2 + 1
    width = math.sqrt(variance * n * 2 * spread / (n * n * rho2) * math.log(1 + math.sqrt(spread) / 0.1))
    assert growthbook_bound(np.array([0.05]), np.array([variance]), n)[0] == pytest.approx(0.05 - width)
    assert width > 1.645 * math.sqrt(variance), "looking at any time costs something"


def test_the_sequential_rule_ships_what_is_not_proven_harmful_in_time() -> None:
    rng = np.random.default_rng(3)
    small, large = growthbook_like(1000, 0.005), growthbook_like(20_000, 0.005)
    assert small.brings_back(rng, 0.01, 2000).mean() > 0.95
    assert large.brings_back(rng, 0.01, 2000).mean() < 0.2
    assert large.brings_back(rng, 0.005, 2000).mean() > 0.95, "and it hardly ever stops what is as good as before"


def test_the_rank_statistic_counts_pairs_and_corrects_for_ties() -> None:
    x, y = np.array([1, 2, 2, 5, 7]), np.array([0, 2, 3, 3])
    pairs = np.subtract.outer(x, y)
    beyond = float((pairs > 0).sum() + 0.5 * (pairs == 0).sum()) - 10
    ties = (3**3 - 3) + (2**3 - 2)  # three twos, two threes
    sigma = math.sqrt(20 / 12 * (10 - ties / (9 * 8)))
    assert mann_whitney_z(x, y) == pytest.approx((beyond - 0.5) / sigma)
    assert mann_whitney_z(y, x) == pytest.approx(-mann_whitney_z(x, y))


def test_counts_that_are_mostly_zero_hide_a_fault_from_the_rank_test() -> None:
    old, new = np.array([0] * 50 + [1] * 10), np.array([0] * 30 + [1] * 25 + [2] * 5)
    assert new.mean() > 3 * old.mean()
    assert not is_high(new, old)
    assert is_high(new + 2, old)
    assert not is_high(old, old)
    assert not is_high(np.zeros(9, np.int64), np.zeros(9, np.int64)), "all tied: nothing to tell apart"


def test_bounds_agree_with_tables() -> None:
    assert clopper_pearson(0, 100) == pytest.approx(0.03622, abs=5e-5)
    assert clopper_pearson(5, 100) == pytest.approx(0.11283, abs=5e-5)
    assert clopper_pearson(7, 7) == 1.0
    assert poisson_upper(0, 1) == pytest.approx(3.689, abs=5e-4)
    assert poisson_upper(10, 2) == pytest.approx(18.39 / 2, abs=5e-3)


@pytest.mark.parametrize(("successes", "runs"), [(-1, 10), (11, 10), (0, 0)])
def test_a_count_that_cannot_be_is_refused(successes: int, runs: int) -> None:
    with pytest.raises(ValueError, match="no count"):
        clopper_pearson(successes, runs)
    with pytest.raises(ValueError, match="no count"):
        poisson_upper(-1 if runs else successes, float(runs))


def test_shares_are_written_without_false_precision_and_never_rounded_to_all() -> None:
    written = [percent(share) for share in (0.0, 1e-6, 0.00083, 0.02, 0.123, 0.9993, 0.99999, 1.0)]
    assert written == ["0 %", "< 0.001 %", "0.083 %", "2 %", "12 %", "99.93 %", "100 %", "100 %"]
