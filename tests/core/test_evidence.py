"""The e-processes against exact products and published figures, and what the gate makes of them."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.evidence import (
    BETS,
    EProcess,
    Evidence,
    HarmEvidence,
    judge,
    lambdas,
    log_mean_exp,
    mus,
    step_alpha,
)

P0 = 0.02
ALPHA = 0.01

rates = st.floats(0.0001, 0.9)
binary_samples = st.lists(st.sampled_from([0, 1]), max_size=40)
any_samples = st.lists(st.one_of(st.sampled_from([0, 1]), st.floats(0, 1)), max_size=40)
both_tests = pytest.mark.parametrize("test", [Evidence, HarmEvidence])

AnyProcess = TypeVar("AnyProcess", bound=EProcess)


def observed(process: AnyProcess, samples: Sequence[float]) -> AnyProcess:
    for x in samples:
        process = process.observe(x)
    return process


def exact_e(slopes: Sequence[float], p0: float, samples: Sequence[float]) -> Fraction:
    """E in exact arithmetic, straight from its definition."""
    products = [
        math.prod((1 + Fraction(slope) * (Fraction(x) - Fraction(p0)) for x in samples), start=Fraction(1))
        for slope in slopes
    ]
    return sum(products, start=Fraction(0)) / BETS


def log_of(value: Fraction) -> float:
    # math.log of a tiny Fraction would go through a float that underflows.
    return math.log(value.numerator) - math.log(value.denominator)


# -- the bets ----------------------------------------------------------------------------------------------


@given(rates)
def test_no_bet_can_lose_its_whole_stake_in_one_sample(p0: float) -> None:
    assert len(lambdas(p0)) == len(mus(p0)) == BETS
    assert all(bet > 0 and 1 - bet * (1 - p0) >= 0.0099 for bet in lambdas(p0))
    assert all(bet > 0 and 1 - bet * p0 >= 0.0099 for bet in mus(p0))


def test_bets_are_those_of_the_published_formulas() -> None:
    assert lambdas(P0) == pytest.approx([0.99 * k / (20 * 0.98) for k in range(1, 21)])
    assert mus(P0)[0] == pytest.approx(0.5)
    assert mus(P0)[-1] == pytest.approx(0.99 / P0)
    ratios = [bold / timid for timid, bold in zip(mus(P0), mus(P0)[1:], strict=False)]
    assert ratios == pytest.approx([99 ** (1 / 19)] * 19)


@pytest.mark.parametrize("p0", [0.0, 1.0, -0.1, 1e-9, 2.0, math.nan, math.inf])
def test_p0_at_or_outside_its_limits_is_refused(p0: float) -> None:
    for refused in (lambdas, mus, Evidence.start, HarmEvidence.start):
        with pytest.raises(ValueError, match="p0 must lie"):
            refused(p0)


def test_the_base_alone_bets_on_nothing() -> None:
    with pytest.raises(NotImplementedError):
        _ = EProcess(P0).log_e


# -- E against its definition ------------------------------------------------------------------------------


@given(rates, any_samples)
def test_e_is_the_mean_of_the_products_of_its_definition(p0: float, samples: list[float]) -> None:
    health = observed(Evidence.start(p0), samples)
    harm = observed(HarmEvidence.start(p0), samples)
    assert health.log_e == pytest.approx(
        log_of(exact_e([-bet for bet in lambdas(p0)], p0, samples)), rel=1e-9, abs=1e-9
    )
    assert harm.log_e == pytest.approx(log_of(exact_e(mus(p0), p0, samples)), rel=1e-9, abs=1e-9)
    assert health.samples == harm.samples == len(samples)
    assert health.harm == pytest.approx(sum(samples))


@both_tests
@given(p0=rates, samples=binary_samples, data=st.data())
def test_counts_equal_single_samples_in_any_order_to_the_last_bit(
    test: type[EProcess], p0: float, samples: list[int], data: st.DataObject
) -> None:
    singly = observed(test.start(p0), samples)
    shuffled = observed(test.start(p0), data.draw(st.permutations(samples)))
    at_once = test.from_counts(p0, sum(samples), len(samples))
    cut = data.draw(st.integers(0, len(samples)))
    in_two = test.start(p0)
    for part in (samples[:cut], samples[cut:]):
        in_two = in_two.observe_counts(sum(part), len(part))
    assert singly == shuffled == at_once == in_two
    assert singly.log_products == at_once.log_products


@both_tests
@given(p0=rates, bad=st.integers(0, 10**9), clean=st.integers(0, 10**9))
def test_e_stays_a_positive_number_after_a_billion_samples(
    test: type[EProcess], p0: float, bad: int, clean: int
) -> None:
    process = test.from_counts(p0, bad, bad + clean)
    assert all(math.isfinite(log) for log in process.log_products)
    assert math.isfinite(process.log_e)


@given(rates, any_samples, st.floats(0, 1), st.floats(0, 1))
def test_more_harm_never_helps_the_gate_and_never_hides_from_the_mirror(
    p0: float, samples: list[float], one: float, other: float
) -> None:
    less, more = sorted((one, other))
    health, harm = observed(Evidence.start(p0), samples), observed(HarmEvidence.start(p0), samples)
    assert health.observe(more).log_e <= health.observe(less).log_e + 1e-9
    assert harm.observe(more).log_e >= harm.observe(less).log_e - 1e-9


@both_tests
def test_a_fair_sample_leaves_the_expected_e_unchanged(test: type[EProcess]) -> None:
    """At a rate of exactly p0 the next E is, on average, this E: the martingale that Ville's inequality needs."""
    before = observed(test.start(P0), [0, 0, 1, 0, 0.25])
    after = P0 * math.exp(before.observe(1).log_e) + (1 - P0) * math.exp(before.observe(0).log_e)
    assert after == pytest.approx(math.exp(before.log_e), rel=1e-12)


@both_tests
@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf, -0.001, 1.001])
def test_what_is_not_a_harm_is_refused_not_counted(test: type[EProcess], x: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        test.start(P0).observe(x)


@both_tests
@pytest.mark.parametrize(
    ("bad", "total"),
    [(-1, 3), (4, 3), (0, -1), (0, math.inf), (0, math.nan), (math.nan, 1), (0.5, 1), (0, 3.0)],
)
def test_impossible_counts_are_refused_not_counted(test: type[EProcess], bad: Any, total: Any) -> None:
    with pytest.raises(ValueError, match="0 <= bad <= total"):
        test.from_counts(P0, 0, 10).observe_counts(bad, total)


def test_the_mean_of_logarithms_does_not_overflow() -> None:
    assert log_mean_exp([5000.0, -5000.0]) == pytest.approx(5000 - math.log(2))


# -- the published figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "clean"),
    [(ALPHA, 315), (ALPHA / 3, 377), (ALPHA / 4, 393), (ALPHA / 5, 406), (ALPHA / 10, 444)],
)
def test_clean_samples_that_a_step_needs_from_nothing(alpha: float, clean: int) -> None:
    assert Evidence.start(P0).clean_samples_missing(alpha) == clean


@given(rates, any_samples, st.floats(1e-6, 0.5))
def test_samples_missing_is_the_smallest_number_that_passes(p0: float, samples: list[float], alpha: float) -> None:
    evidence = observed(Evidence.start(p0), samples)
    missing = evidence.clean_samples_missing(alpha)
    assert evidence.observe_counts(0, missing).passes(alpha)
    assert evidence.passes(alpha) == (missing == 0)
    if missing:
        assert not evidence.observe_counts(0, missing - 1).passes(alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.5, -0.01, math.nan])
def test_an_alpha_that_would_let_anything_or_nothing_through_is_refused(alpha: float) -> None:
    for asked in (
        Evidence.start(P0).passes,
        Evidence.start(P0).clean_samples_missing,
        HarmEvidence.start(P0).rejects,
        lambda value: step_alpha(value, 1, 1),
        lambda value: judge([], alpha=value, harm_alpha=ALPHA, soaked=True, expired=False),
        lambda value: judge([], alpha=ALPHA, harm_alpha=value, soaked=True, expired=False),
    ):
        with pytest.raises(ValueError, match="alpha or beta must lie strictly"):
            asked(alpha)


def median_samples(test: type[EProcess], rate: float, runs: int) -> float:
    """The median number of samples until the test decides, at a steady rate of failed samples."""
    random_source = random.Random(20)
    lengths = []
    for _ in range(runs):
        process = test.start(P0)
        while True:
            clean = int(math.log(1 - random_source.random()) / math.log1p(-rate))
            if isinstance(process, Evidence) and process.clean_samples_missing(ALPHA) <= clean:
                lengths.append(process.samples + process.clean_samples_missing(ALPHA))
                break
            process = process.observe_counts(1, clean + 1)
            if isinstance(process, HarmEvidence) and process.rejects(ALPHA):
                lengths.append(process.samples)
                break
    return statistics.median(lengths)


def test_a_healthy_feature_with_one_percent_errors_passes_after_about_1460_samples() -> None:
    assert median_samples(Evidence, 0.01, 500) == pytest.approx(1460, rel=0.08)


@pytest.mark.parametrize(("rate", "published", "tolerance"), [(0.05, 326, 0.08), (0.2, 18, 0.12)])
def test_the_mirror_test_finds_harm_as_soon_as_published(rate: float, published: int, tolerance: float) -> None:
    assert median_samples(HarmEvidence, rate, 1500) == pytest.approx(published, rel=tolerance)


def test_the_mirror_test_also_finds_a_rate_between_one_and_two_p0() -> None:
    """Bets in equal steps of 0.99/20 would lose money there, and never find it."""
    assert HarmEvidence.from_counts(P0, 300, 10_000).rejects(ALPHA)
    assert not HarmEvidence.from_counts(P0, 200, 10_000).rejects(ALPHA)


# -- what one step may spend -------------------------------------------------------------------------------


def test_all_steps_of_all_fixes_never_spend_more_than_alpha() -> None:
    for steps in (1, 3, 4, 5):
        spent = math.fsum(steps * step_alpha(ALPHA, steps, attempt) for attempt in range(1, 2001))
        assert ALPHA * 0.999 < spent <= ALPHA
    assert step_alpha(ALPHA, 4, 1) == pytest.approx(ALPHA / 8)
    assert step_alpha(ALPHA, 4, 3) == pytest.approx(ALPHA / 48)


@pytest.mark.parametrize(("steps", "attempt"), [(0, 1), (1, 0), (-1, 1), (1, -2)])
def test_steps_and_attempts_count_from_one(steps: int, attempt: int) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        step_alpha(ALPHA, steps, attempt)


# -- records -----------------------------------------------------------------------------------------------


@both_tests
@given(p0=rates, samples=any_samples)
def test_a_record_read_back_from_json_continues_to_the_last_bit(
    test: type[EProcess], p0: float, samples: list[float]
) -> None:
    process = observed(test.start(p0), samples)
    again = test.from_dict(json.loads(json.dumps(process.to_dict())))
    assert again == process
    assert again.observe(0.5).log_products == process.observe(0.5).log_products


damages = [
    {"p0": math.nan},
    {"p0": "0.02"},
    {"p0": None},
    {"clean": -1},
    {"clean": 3.5},
    {"bad": "1"},
    {"fractional": None},
    {"fractional_harm": 2.0},
    {"fractional_harm": math.nan},
    {"fractional_harm": None},
    {"fractional_logs": []},
    {"fractional_logs": [0.0] * (BETS - 1)},
    {"fractional_logs": [math.inf] * BETS},
    {"fractional_logs": ["0"] * BETS},
    {"fractional_logs": None},
    {"fractional": 0, "fractional_harm": 0.0},
]


@both_tests
@pytest.mark.parametrize("damage", damages, ids=str)
def test_a_damaged_record_is_refused_never_taken_for_evidence(test: type[EProcess], damage: dict[str, Any]) -> None:
    record = test.start(P0).observe(0).observe(0.5).to_dict()
    assert test.from_dict(record).samples == 2
    with pytest.raises(ValueError, match=r"."):
        test.from_dict(record | damage)


@both_tests
@pytest.mark.parametrize("lost", ["p0", "clean", "bad", "fractional", "fractional_harm", "fractional_logs"])
def test_a_record_that_lost_a_field_is_refused(test: type[EProcess], lost: str) -> None:
    """A record without its failed samples would otherwise be the best of evidence."""
    record = {name: value for name, value in test.start(P0).to_dict().items() if name != lost}
    with pytest.raises(ValueError, match=lost):
        test.from_dict(record)
