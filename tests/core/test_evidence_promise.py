"""The promise of the gate, measured: what stays broken passes with probability <= alpha, at any time.

E depends on samples of 0 and 1 only through their counts, and with every clean sample it rises. So within a
run it can first reach 1/alpha only at a clean sample, and in a clean streak it is highest at the end. It is
enough to draw the lengths of the clean streaks (geometric), and to ask at the end of each: are there as many
clean samples as that number of failed ones needs? That need is asked of `Evidence` itself, once per number of
failed samples. The first test checks this short cut against samples that are observed one by one.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from functools import cache

import pytest

from rollback.core.evidence import Evidence, HarmEvidence

P0 = 0.02
ALPHA = 0.01
SAMPLES = 3000

Rate = Callable[[int, int, bool], float]
"""The chance of harm in a sample: from its place, the samples since the last harm, and whether E > 1."""


@cache
def clean_needed(bad: int, alpha: float = ALPHA) -> int:
    """How many clean samples make `bad` failed ones pass."""
    return Evidence.from_counts(P0, bad, bad).clean_samples_missing(alpha)


@cache
def clean_allowed(bad: int) -> int:
    """With how many clean samples at most `bad` failed ones are called harm; -1: with none."""
    most = -1
    while HarmEvidence.from_counts(P0, bad, bad + most + 1).rejects(ALPHA):
        most += 1
    return most


def streak(source: random.Random, rate: float) -> int:
    """The number of clean samples before the next failed one."""
    return int(math.log(1 - source.random()) / math.log1p(-rate))


def passes(source: random.Random, rate: float = P0) -> bool:
    """Run one gate on a steadily broken feature, looking at each sample."""
    clean = bad = 0
    while True:
        clean += min(streak(source, rate), SAMPLES - clean - bad)
        if clean >= clean_needed(bad):
            return True
        if clean + bad >= SAMPLES:
            return False
        bad += 1


def passes_at(source: random.Random, rate: Rate) -> bool:
    """Run one gate on a feature whose rate depends on time, on the past, and on what the gate has seen."""
    clean = bad = since = 0
    for place in range(SAMPLES):
        leading = clean >= clean_needed(bad, 0.999)
        if source.random() < rate(place, since, leading):
            bad, since = bad + 1, 0
            continue
        clean, since = clean + 1, since + 1
        if clean >= clean_needed(bad):
            return True
    return False


def log_binomial_tail(successes: int, runs: int, rate: float) -> float:
    """log P(X <= successes) for X binomial."""
    terms = [
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * math.log(rate)
        + (runs - k) * math.log1p(-rate)
        for k in range(successes + 1)
    ]
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def upper_bound(successes: int, runs: int) -> float:
    """The upper end of the two-sided 95 % Clopper-Pearson interval: where P(X <= successes) is 2.5 %."""
    low, high = successes / runs, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if log_binomial_tail(successes, runs, middle) > math.log(0.025) else (low, middle)
    return high


def measured(
    what: str, run: Callable[[random.Random], bool], runs: int, record: Callable[[str, object], None]
) -> tuple[float, float]:
    """Return the rate of passing runs and its upper bound; print and record both."""
    source = random.Random(20_260)
    passed = sum(run(source) for _ in range(runs))
    rate, bound = passed / runs, upper_bound(passed, runs)
    print(f"{what}: {passed} of {runs} runs = {rate:.2%}, 95 % upper bound {bound:.2%}, promised {ALPHA:.2%}")
    record(f"{what}: rate", rate)
    record(f"{what}: upper bound", bound)
    return rate, bound


def test_the_short_cut_decides_as_samples_observed_one_by_one() -> None:
    source = random.Random(7)
    decisions = set()
    for rate in (0.002, 0.01, 0.02) * 5:
        evidence, short_cut, one_by_one = Evidence.start(P0), False, False
        for _ in range(700):
            evidence = evidence.observe(int(source.random() < rate))
            one_by_one |= evidence.passes(ALPHA)
            short_cut |= evidence.clean >= clean_needed(evidence.bad)
            assert short_cut == one_by_one
        decisions.add(one_by_one)
    assert decisions == {True, False}


def test_clopper_pearson_agrees_with_tables() -> None:
    assert upper_bound(0, 100) == pytest.approx(0.03622, abs=5e-5)
    assert upper_bound(5, 100) == pytest.approx(0.11283, abs=5e-5)
    assert upper_bound(50, 100) == pytest.approx(0.60168, abs=5e-5)


def test_a_feature_broken_at_p0_passes_no_more_often_than_promised(
    record_property: Callable[[str, object], None],
) -> None:
    rate, bound = measured("broken at p0", passes, 10_000, record_property)
    assert bound <= ALPHA
    assert rate >= ALPHA / 3, "a gate that hardly ever passes at the limit would need too many samples"


def test_a_feature_broken_at_three_percent_hardly_ever_passes(
    record_property: Callable[[str, object], None],
) -> None:
    _, bound = measured("broken at 3 %", lambda source: passes(source, 0.03), 1000, record_property)
    assert bound <= ALPHA


DRIFTS: dict[str, tuple[int, Rate]] = {
    "rising": (1000, lambda place, _since, _leading: P0 * (1 + 2 * place / SAMPLES)),
    "waves": (1000, lambda place, _since, _leading: P0 * (1 + math.sin(place / 100) ** 2)),
    "failures come together": (1000, lambda _place, since, _leading: P0 * (4 if since < 20 else 1)),
    # This one comes close to alpha, so fewer runs could not tell.
    "calm while the gate is winning": (4000, lambda _place, _since, leading: P0 * (1 if leading else 1.5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIFTS)
def test_no_drift_above_p0_gets_past_the_gate_more_often(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    """The rate may follow the clock, the past, even the gate itself, as long as it never is below p0."""
    runs, rate = DRIFTS[name]
    _, bound = measured(name, lambda source: passes_at(source, rate), runs, record_property)
    assert bound <= ALPHA


@pytest.mark.slow
def test_fractional_harm_that_drifts_above_p0_passes_no_more_often(
    record_property: Callable[[str, object], None],
) -> None:
    """A sample has no harm, or one that is uniform in (0, 1): on average p0 at first, and more from then on."""

    def run(source: random.Random) -> bool:
        evidence = Evidence.start(P0)
        while evidence.samples < SAMPLES:
            mean = P0 * (1 + evidence.samples / SAMPLES)
            evidence = evidence.observe_counts(0, (clean := streak(source, 2 * mean)))
            if clean and evidence.passes(ALPHA):
                return True
            evidence = evidence.observe(source.random())
        return False

    _, bound = measured("fractional harm", run, 1000, record_property)
    assert bound <= ALPHA


def test_a_healthy_feature_is_called_harmed_no_more_often_than_promised(
    record_property: Callable[[str, object], None],
) -> None:
    """The mirror: it can first reject at a failed sample, so it is asked after each of them."""

    def run(source: random.Random) -> bool:
        clean = bad = 0
        while True:
            clean += streak(source, P0)
            bad += 1
            if clean + bad > SAMPLES:
                return False
            if clean <= clean_allowed(bad):
                return True

    _, bound = measured("healthy at p0, called harmed", run, 10_000, record_property)
    assert bound <= ALPHA


def test_windows_that_overlap_would_break_the_promise(record_property: Callable[[str, object], None]) -> None:
    """Windows of five minutes read every minute, at one sample a second, count each sample five times."""

    def run(source: random.Random) -> bool:
        window: deque[int] = deque(maxlen=5)
        clean = bad = 0
        for _ in range(SAMPLES // 60):
            window.append(sum(source.random() < P0 for _ in range(60)))
            if len(window) == 5:
                clean, bad = clean + 300 - sum(window), bad + sum(window)
                if clean >= clean_needed(bad):
                    return True
        return False

    rate, _ = measured("overlapping windows", run, 1000, record_property)
    assert rate == pytest.approx(0.16, abs=0.04)


def test_faults_in_bursts_are_outside_the_promise_so_a_soak_is_needed(
    record_property: Callable[[str, object], None],
) -> None:
    """2 % on average, but 50 failures in a row and then quiet: the rate is not p0 at every sample."""

    def run(source: random.Random) -> bool:
        clean = bad = 0
        while clean + bad < 4 * SAMPLES:
            clean += streak(source, P0 / (50 * (1 - P0)))
            if clean >= clean_needed(bad):
                return True
            bad += 50
        return False

    rate, _ = measured("bursts of 50", run, 1000, record_property)
    assert rate > 0.8
