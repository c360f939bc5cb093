"""The watch after the return: seldom a false alarm, soon a true one, however long all was well before."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.detector import MAX_BETA, SECONDS_PER_YEAR, HealthDetector, beta_from_false_alarms
from rollback.core.evidence import BETS, HarmEvidence, mus

P0 = 0.02
BETA = 0.001

samples_of_all_kinds = st.lists(st.one_of(st.sampled_from([0, 1]), st.floats(0, 1)), max_size=40)


def samples_until_alarm(detector: HealthDetector, rate: float, beta: float, source: random.Random, most: int) -> int:
    """The run length to the alarm; `most` when none came until then."""
    for count in range(1, most + 1):
        failed = source.random() < rate
        detector = detector.observe(int(failed))
        if failed and detector.alarm(beta):
            return count
    return most


# -- the definition ----------------------------------------------------------------------------------------


@given(st.floats(0.0001, 0.9), samples_of_all_kinds)
def test_no_bet_is_below_one_before_the_next_sample(p0: float, samples: list[float]) -> None:
    products, detector = [1.0] * BETS, HealthDetector.start(p0)
    for x in samples:
        detector = detector.observe(x)
        products = [max(m, 1.0) * (1 + bet * (x - p0)) for m, bet in zip(products, mus(p0), strict=True)]
    assert detector.log_m == pytest.approx(math.log(statistics.fmean(products)), rel=1e-9, abs=1e-9)
    assert detector.samples == len(samples)
    assert detector.harm == pytest.approx(sum(samples))


@given(st.lists(st.sampled_from([0, 1]), max_size=40))
def test_it_is_never_behind_the_test_that_remembers_everything(samples: list[int]) -> None:
    detector, evidence = HealthDetector.start(P0), HarmEvidence.start(P0)
    for x in samples:
        detector, evidence = detector.observe(x), evidence.observe(x)
        assert detector.log_m >= evidence.log_e - 1e-9


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=40))
def test_a_batch_never_shows_more_harm_than_its_samples_one_by_one(samples: list[int]) -> None:
    """Otherwise the promise about false alarms would not hold for batches."""
    singly = HealthDetector.start(P0)
    for x in samples:
        singly = singly.observe(x)
    batch = HealthDetector.start(P0).observe_counts(sum(samples), len(samples))
    assert batch.log_m <= singly.log_m + 1e-9
    assert (batch.samples, batch.harm) == (singly.samples, singly.harm)


def test_an_empty_batch_changes_nothing() -> None:
    detector = HealthDetector.start(P0).observe(0)
    assert detector.observe_counts(0, 0) == detector


# -- the promise -------------------------------------------------------------------------------------------


def test_false_alarms_come_no_sooner_than_promised_even_at_p0(
    record_property: Callable[[str, object], None],
) -> None:
    """The run length is cut off, so its mean is, if anything, too small."""
    beta, source = MAX_BETA, random.Random(11)
    lengths = [samples_until_alarm(HealthDetector.start(P0), P0, beta, source, most=1000) for _ in range(200)]
    mean, error = statistics.fmean(lengths), statistics.stdev(lengths) / math.sqrt(len(lengths))
    print(f"mean run length at p0 at least {mean:.0f} +- {error:.0f} samples, promised {1 / beta:.0f}")
    record_property("mean run length", mean)
    assert mean - 3 * error >= 1 / beta


def test_batches_keep_the_promise_too() -> None:
    beta, source, lengths = MAX_BETA, random.Random(12), []
    for _ in range(200):
        detector = HealthDetector.start(P0)
        while detector.samples < 2000 and not detector.alarm(beta):
            detector = detector.observe_counts(sum(source.random() < P0 for _ in range(20)), 20)
        lengths.append(detector.samples)
    error = statistics.stdev(lengths) / math.sqrt(len(lengths))
    assert statistics.fmean(lengths) - 3 * error >= 1 / beta


@pytest.mark.parametrize(("rate", "most"), [(0.2, 40), (1.0, 4)])
def test_harm_after_a_long_good_time_is_found_as_soon_as_at_the_start(rate: float, most: int) -> None:
    source, long_good = random.Random(13), HealthDetector.start(P0)
    for _ in range(2000):
        long_good = long_good.observe(0)
    fresh = HealthDetector.start(P0)
    from_long_good = statistics.median(samples_until_alarm(long_good, rate, BETA, source, 500) for _ in range(60))
    from_start = statistics.median(samples_until_alarm(fresh, rate, BETA, source, 500) for _ in range(60))
    assert from_start <= from_long_good <= most
    remembering = HarmEvidence.from_counts(P0, most, 2000 + most)
    assert not remembering.rejects(BETA), "the test that remembers everything would still be silent"


# -- beta --------------------------------------------------------------------------------------------------


def test_beta_follows_from_the_false_alarms_that_a_year_may_bring() -> None:
    assert beta_from_false_alarms(1, 1) == pytest.approx(1 / SECONDS_PER_YEAR)
    assert beta_from_false_alarms(2, 0.1) == pytest.approx(20 / SECONDS_PER_YEAR)


@given(st.floats(1e-6, 1e9), st.floats(1e-9, 1e6))
def test_however_seldom_samples_come_beta_stays_small(per_year: float, per_second: float) -> None:
    assert 0 < beta_from_false_alarms(per_year, per_second) <= MAX_BETA


def test_one_failed_sample_alone_is_no_alarm_at_the_default_p0() -> None:
    assert not HealthDetector.start(P0).observe(1).alarm(MAX_BETA)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_rates_that_make_no_sense_are_refused(wrong: float) -> None:
    for per_year, per_second in ((wrong, 1.0), (1.0, wrong)):
        with pytest.raises(ValueError, match="rates must be above 0"):
            beta_from_false_alarms(per_year, per_second)


@pytest.mark.parametrize("beta", [0.0, 1.0, math.nan])
def test_a_beta_that_would_always_or_never_alarm_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="alpha or beta must lie strictly"):
        HealthDetector.start(P0).alarm(beta)


# -- records -----------------------------------------------------------------------------------------------


@given(st.floats(0.0001, 0.9), samples_of_all_kinds)
def test_a_record_read_back_from_json_continues_to_the_last_bit(p0: float, samples: list[float]) -> None:
    detector = HealthDetector.start(p0)
    for x in samples:
        detector = detector.observe(x)
    again = HealthDetector.from_dict(json.loads(json.dumps(detector.to_dict())))
    assert again == detector
    assert again.observe(0.5) == detector.observe(0.5)


damages = [
    {"p0": 0.0},
    {"p0": None},
    {"log_detectors": [0.0]},
    {"log_detectors": [math.nan] * BETS},
    {"log_detectors": None},
    {"samples": -1},
    {"samples": 1.5},
    {"harm": 2.0},
    {"harm": math.nan},
    {"harm": "1"},
]


@pytest.mark.parametrize("damage", damages, ids=str)
def test_a_damaged_record_is_refused(damage: dict[str, Any]) -> None:
    record = HealthDetector.start(P0).observe(1).to_dict()
    assert HealthDetector.from_dict(record).samples == 1
    with pytest.raises(ValueError, match=r"."):
        HealthDetector.from_dict(record | damage)


@pytest.mark.parametrize("lost", ["p0", "log_detectors", "samples", "harm"])
def test_a_record_that_lost_a_field_is_refused(lost: str) -> None:
    record = {name: value for name, value in HealthDetector.start(P0).to_dict().items() if name != lost}
    with pytest.raises(ValueError, match=lost):
        HealthDetector.from_dict(record)


@pytest.mark.parametrize("x", [math.nan, -0.1, 1.1])
def test_what_is_not_a_harm_is_refused(x: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        HealthDetector.start(P0).observe(x)
