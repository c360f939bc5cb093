"""What numbers are worth: every doubt is missing, and rounding is always against health."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.evidence import Evidence
from rollback.core.metric_verdict import (
    HUGEST,
    REST,
    Counts,
    Known,
    Missing,
    Observation,
    Reading,
    Rule,
    capped,
    failed_of,
    judged,
    number,
    served_of,
)

PLAIN = Rule("errors", minimum_volume=20, cap=100)
PARTED = Rule("errors", minimum_volume=20, cap=100, tag="app", own=2)
counts = st.integers(0, 10**6).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))


def by_metric(found: list[Observation]) -> dict[str, Counts | None]:
    return {one.metric: one.counts for one in found}


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, False, "3", math.nan, math.inf, -math.inf, -1, -0.5, HUGEST + 1, 10**400, -(10**400), [], {}, [1]],
)
def test_what_is_no_plain_count_is_missing(value: object) -> None:
    assert isinstance(number(value), Missing)


@pytest.mark.parametrize("value", [0, 1, 0.0, 12.75, HUGEST])
def test_counts_and_extrapolated_counts_are_numbers(value: float) -> None:
    assert number(value) == value


# -- two queries -------------------------------------------------------------------------------------------------------


def test_extrapolated_counts_are_rounded_against_health() -> None:
    assert failed_of(100.9, 1.1, absent_is_zero=False) == Counts(2, 100)
    assert served_of(100.9, 98.9) == Counts(2, 100)


def test_floating_dust_is_not_a_request_more_or_less() -> None:
    assert failed_of(99.9999999, 2.0000001, absent_is_zero=False) == Counts(2, 100)


def test_more_errors_than_requests_cannot_be() -> None:
    assert isinstance(failed_of(10.0, 11.0, absent_is_zero=False), Missing)
    assert isinstance(served_of(10.0, 11.0), Missing)


def test_everything_failed_is_harm_and_not_a_contradiction() -> None:
    assert failed_of(10.4, 10.4, absent_is_zero=False) == Counts(10, 10)
    assert served_of(10.0, 0.0) == Counts(10, 10)


@pytest.mark.parametrize("absent_is_zero", [True, False])
def test_errors_without_requests_say_nothing(absent_is_zero: bool) -> None:
    assert isinstance(failed_of(None, 0.0, absent_is_zero=absent_is_zero), Missing)
    assert isinstance(failed_of(None, None, absent_is_zero=absent_is_zero), Missing)


def test_absent_errors_are_zero_only_where_the_policy_says_so() -> None:
    assert isinstance(failed_of(50.0, None, absent_is_zero=False), Missing)
    assert failed_of(50.0, None, absent_is_zero=True) == Counts(0, 50)


def test_a_null_among_errors_is_never_zero_errors() -> None:
    assert isinstance(failed_of(50.0, Missing("a null point"), absent_is_zero=True), Missing)


def test_absent_successes_are_missing_and_not_an_outage() -> None:
    assert isinstance(served_of(50.0, None), Missing)


numbers = st.one_of(st.none(), st.builds(Missing, st.just("why")), st.floats(0, 1e12, allow_nan=False))


@given(numbers, numbers, st.booleans())
def test_counts_are_whole_bounded_and_never_better_than_what_was_told(
    requests: float | Missing | None, told: float | Missing | None, absent: bool
) -> None:
    for found, failed in (
        (failed_of(requests, told, absent_is_zero=absent), told),
        (served_of(requests, told), None),
    ):
        if isinstance(found, Missing):
            continue
        assert isinstance(requests, float)
        assert found.total <= requests + 1e-5
        if isinstance(failed, float):
            assert found.bad >= min(failed, found.total) - 1e-5


# -- the cap -----------------------------------------------------------------------------------------------------------


@given(counts, st.integers(1, 10_000))
def test_a_capped_window_never_looks_healthier(window: Counts, cap: int) -> None:
    found = capped(window, cap)
    assert found.total == min(window.total, cap)
    assert found.bad * window.total >= window.bad * found.total
    assert (found.bad == 0) == (window.bad == 0)


def test_a_single_failure_in_a_busy_window_stays_a_failure() -> None:
    assert capped(Counts(1, 1_000_000), 100) == Counts(1, 100)


def test_with_a_cap_of_one_any_failure_is_a_whole_harm() -> None:
    assert capped(Counts(1, 500), 1) == Counts(1, 1)
    assert capped(Counts(0, 500), 1) == Counts(0, 1)


def test_a_window_cannot_weigh_nothing() -> None:
    with pytest.raises(ValueError, match="one sample at least"):
        capped(Counts(0, 5), 0)


def test_however_busy_a_window_one_is_never_enough_for_a_gate() -> None:
    one = Evidence.start(0.02).observe_counts(*_pair(capped(Counts(0, 10**9), PLAIN.cap)))
    assert not one.passes(0.01)


def _pair(one: Counts) -> tuple[int, int]:
    return one.bad, one.total


@pytest.mark.parametrize("cap", [1, 100])
def test_a_service_that_is_broken_at_every_request_hardly_ever_passes(cap: int) -> None:
    """Its requests fail with p0 each; 40 windows of 300. With alpha 5 %, at most 5 % may ever pass."""
    chance, runs, passed = random.Random(7), 300, 0
    for _ in range(runs):
        evidence = Evidence.start(0.02)
        for _ in range(40):
            failed = sum(chance.random() < 0.02 for _ in range(300))
            evidence = evidence.observe_counts(*_pair(capped(Counts(failed, 300), cap)))
            if evidence.passes(0.05):
                passed += 1
                break
    assert passed / runs <= 0.05


def test_failures_that_come_in_bad_minutes_pass_a_large_cap_and_not_a_cap_of_one() -> None:
    """One minute in 50 fails as a whole: 2 % of all requests. Why the cap is there, and what 1 promises."""
    chance, runs = random.Random(11), 300
    passed = {1: 0, 100: 0}
    for _ in range(runs):
        minutes = [300 if chance.random() < 0.02 else 0 for _ in range(60)]
        for cap in passed:
            evidence = Evidence.start(0.02)
            for failed in minutes:
                evidence = evidence.observe_counts(*_pair(capped(Counts(failed, 300), cap)))
                if evidence.passes(0.05):
                    passed[cap] += 1
                    break
    assert passed[1] / runs <= 0.05
    assert passed[100] / runs > 0.5


# -- windows -----------------------------------------------------------------------------------------------------------


def test_a_window_with_enough_traffic_counts() -> None:
    found, _ = judged(PLAIN, {"": Counts(2, 50)}, Known())
    assert by_metric(found) == {"errors": Counts(2, 50)}


@pytest.mark.parametrize(
    ("strata", "why"),
    [
        ({}, "no data"),
        ({"": Counts(0, 0)}, "no traffic"),
        ({"": Counts(0, 19)}, "19 requests; 20 are needed"),
        ({"": Missing("gaps")}, "gaps"),
        ({"web": Counts(0, 50)}, "several series"),
        ({"": Counts(0, 50), "web": Counts(0, 50)}, "several series"),
    ],
)
def test_a_window_in_doubt_is_missing_and_says_why(strata: dict[str, Reading], why: str) -> None:
    (found,), _ = judged(PLAIN, strata, Known())
    assert found.counts is None
    assert why in found.detail


def test_a_part_gets_its_own_metric_in_the_window_after_it_was_large_enough() -> None:
    window: dict[str, Reading] = {"web": Counts(0, 90), "mobile": Counts(5, 30)}
    first, known = judged(PARTED, window, Known())
    assert by_metric(first) == {"errors": Counts(5, 100)}
    assert known.own == ("web", "mobile")
    second, _ = judged(PARTED, window, known)
    assert by_metric(second) == {
        "errors": Counts(5, 100),
        "errors[app:web]": Counts(0, 90),
        "errors[app:mobile]": Counts(5, 30),
    }


def test_what_is_broken_for_a_few_does_not_drown_in_the_whole() -> None:
    known = Known(("mobile", "web"))
    found, _ = judged(PARTED, {"web": Counts(0, 100_000), "mobile": Counts(20, 40)}, known)
    told = by_metric(found)
    assert told["errors[app:mobile]"] == Counts(20, 40)
    whole = told["errors"]
    assert whole is not None
    assert whole.bad <= 1


def test_a_part_that_is_gone_is_missing_and_never_forgotten() -> None:
    known = Known(("mobile", "web"))
    found, after = judged(PARTED, {"web": Counts(0, 100)}, known)
    assert by_metric(found)["errors[app:mobile]"] is None
    assert after.own == ("mobile", "web")


def test_a_part_below_the_minimum_is_counted_with_the_rest_and_missing_itself() -> None:
    known = Known(("mobile", "web"), has_rest=True)
    found, _ = judged(PARTED, {"web": Counts(0, 100), "mobile": Counts(3, 10), "kiosk": Counts(1, 15)}, known)
    told = by_metric(found)
    assert told["errors[app:mobile]"] is None
    assert told[f"errors[app:{REST}]"] == Counts(4, 25)


def test_small_parts_together_are_judged_from_the_window_after_they_were_large_enough() -> None:
    window: dict[str, Reading] = {"a": Counts(0, 12), "b": Counts(1, 12)}
    first, known = judged(PARTED, window, Known())
    assert by_metric(first) == {"errors": Counts(1, 24)}
    assert known == Known((), has_rest=True)
    second, _ = judged(PARTED, window, known)
    assert by_metric(second) == {"errors": Counts(1, 24), f"errors[app:{REST}]": Counts(1, 24)}


def test_no_more_parts_than_the_policy_allows_the_largest_first() -> None:
    window: dict[str, Reading] = {"a": Counts(0, 30), "b": Counts(0, 90), "c": Counts(0, 60)}
    _, known = judged(PARTED, window, Known())
    assert known.own == ("b", "c")


def test_one_part_in_doubt_makes_the_whole_missing() -> None:
    found, _ = judged(PARTED, {"web": Counts(0, 100), "mobile": Missing("gaps")}, Known(("web",), has_rest=True))
    told = by_metric(found)
    assert told["errors"] is None
    assert told[f"errors[app:{REST}]"] is None
    assert told["errors[app:web]"] == Counts(0, 100)


windows = st.dictionaries(
    st.sampled_from(["web", "mobile", "kiosk", "a", "b"]),
    st.one_of(st.builds(Missing, st.just("gaps")), counts),
    max_size=5,
)


@given(st.lists(windows, max_size=6))
def test_each_request_counts_once_among_the_parts_and_known_metrics_never_leave(
    several: list[dict[str, Reading]],
) -> None:
    rule = Rule("errors", minimum_volume=20, cap=10**7, tag="app", own=2)
    known = Known()
    for window in several:
        found, after = judged(rule, window, known)
        assert [one.metric for one in found] == list(known.metrics(rule))
        assert set(known.metrics(rule)) <= set(after.metrics(rule))
        assert len(after.own) <= rule.own
        parts = sum(one.counts.total for one in found[1:] if one.counts is not None)
        assert parts <= sum(one.total for one in window.values() if isinstance(one, Counts))
        known = after


@given(windows)
def test_nothing_counts_without_a_positive_volume(window: dict[str, Reading]) -> None:
    for rule in (PLAIN, PARTED):
        for one in judged(rule, window, Known(("web",), has_rest=rule.tag is not None) if rule.tag else Known())[0]:
            assert one.counts is None or one.counts.total >= 1
