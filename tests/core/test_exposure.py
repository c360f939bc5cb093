"""Exposure by example: the flags that were measured on real servers, and the ones that must never be called off."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rollback.core.exposure import (
    Exposure,
    exposure,
    kill,
    kill_percentage_for,
    opened_by,
    ours,
    threshold_buckets,
    with_cohort,
    with_kill_at,
    without,
)
from rollback.core.flag import BUCKETS, Distribution, FlagConfig, Operator, Polarity, Rollout, Rule
from tests.core.flag_strategies import (
    CONSTRAINED,
    EVERYBODY,
    NOBODY_KNOWS,
    boolean,
    is_served,
    marker,
    segment,
    variant,
)

ON = Polarity()
DOWN = Polarity(on_value=False)
ONE, TWO, *_ = CONSTRAINED


def percent(config: FlagConfig, polarity: Polarity = ON) -> int | None:
    return exposure(config, polarity).percent


def only(*keys: str, value: bool, operator: Operator = Operator.OR) -> Rollout:
    return Rollout(value, segments=keys, operator=operator)


# -- thresholds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held", "left"), [(100, 0), (75, 0), (50, 0), (40, 10), (25, 25), (0, 50)])
def test_a_kill_above_a_rollout_of_the_teams_own_leaves_what_was_measured(held: int, left: int) -> None:
    half = boolean(Rollout(True, 50.0), enabled=False)
    killed = with_kill_at(kill(half, ON, marker()), marker().key, held)
    assert percent(killed) == left
    assert exposure(killed, ON).buckets == frozenset(range(held, 50))


def test_a_segments_users_are_a_quarter_back_at_a_kill_of_75() -> None:
    config = boolean(Rollout(False, 75.0), only(ONE, value=True), Rollout(True, 50.0), enabled=False)
    assert percent(config) == 25


@pytest.mark.parametrize(
    ("percentage", "buckets"),
    [
        (0, 0),
        (0.4, 1),
        (1.5, 2),
        (99.01, 100),
        (100, 100),
        (-5, 0),
        (150, 100),
        (math.inf, 100),
        (-math.inf, 0),
        (99.0000001, 99),
        (50.0000001, 50),
        (1e-50, 0),
        (math.nan, 0),
    ],
)
def test_thresholds_count_whole_buckets_in_single_precision(percentage: float, buckets: int) -> None:
    assert threshold_buckets(percentage) == buckets


def test_99_01_false_is_off_for_all_and_99_0000001_false_is_not() -> None:
    assert exposure(boolean(Rollout(False, 99.01)), ON).is_off
    assert exposure(boolean(Rollout(False, 99.0000001)), ON).buckets == {99}


def test_a_threshold_that_is_no_number_shields_nobody_and_may_let_in_everybody() -> None:
    assert percent(boolean(Rollout(False, math.nan))) == 100
    assert percent(boolean(Rollout(True, math.nan), enabled=False)) == 100
    assert exposure(boolean(Rollout(False, 100.0), Rollout(True, math.nan)), ON).is_off


@pytest.mark.parametrize(("enabled", "polarity", "expected"), [(True, ON, 100), (False, ON, 0), (True, DOWN, 0)])
def test_without_rollouts_enabled_alone_decides(enabled: bool, polarity: Polarity, expected: int) -> None:
    assert percent(boolean(enabled=enabled), polarity) == expected


def test_enabled_false_turns_nothing_off_while_a_rollout_is_above_it() -> None:
    config = boolean(only(ONE, value=True), Rollout(True, 50.0), enabled=False)
    assert percent(config) == 100
    assert exposure(config, ON).why == ("its rollout 1: segment segment-0",)


def test_each_open_bucket_says_why() -> None:
    config = boolean(Rollout(False, 10.0), Rollout(True, 30.0), enabled=True)
    reasons = exposure(config, ON).reasons
    assert reasons[9] is None
    assert reasons[10] == "its rollout 2: threshold 30 percent"
    assert reasons[30] == "the default: enabled is true"
    assert exposure(config, ON).why == ("its rollout 2: threshold 30 percent", "the default: enabled is true")


def test_a_rollout_of_ours_is_named_as_ours() -> None:
    cohort = with_cohort(boolean(enabled=False), ON, (ONE, TWO), marker(role="cohort"))
    assert exposure(cohort, ON).why == ("our rollout 1: segment segment-0 or segment-1",)


# -- segments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("match_all", [True, False])
def test_a_segment_without_constraints_matches_everybody(match_all: bool) -> None:
    everybody = segment("all", match_all=match_all, constrained=False)
    shielded = FlagConfig("sm", boolean().type, True, (only("all", value=False),), segments={"all": everybody})
    assert exposure(shielded, ON).is_off


def test_a_segment_with_constraints_never_shields() -> None:
    assert percent(boolean(only(ONE, value=False))) == 100


@pytest.mark.parametrize(
    ("operator", "expected"),
    [(Operator.OR, 0), (Operator.AND, 100)],
)
def test_one_segment_for_everybody_shields_with_or_and_not_with_and(operator: Operator, expected: int) -> None:
    assert percent(boolean(only(ONE, EVERYBODY, value=False, operator=operator))) == expected


def test_and_of_segments_that_all_match_everybody_shields() -> None:
    assert percent(boolean(only(EVERYBODY, EVERYBODY, value=False, operator=Operator.AND))) == 0


def test_a_segment_that_could_not_be_looked_up_may_match_anybody_and_nobody() -> None:
    assert percent(boolean(only(NOBODY_KNOWS, value=False))) == 100
    assert percent(boolean(only(NOBODY_KNOWS, value=True), enabled=False)) == 100


@pytest.mark.parametrize("operator", list(Operator))
def test_a_rollout_that_names_no_segment_may_match_anybody_and_nobody(operator: Operator) -> None:
    assert percent(boolean(only(value=False, operator=operator))) == 100
    assert exposure(boolean(only(value=True, operator=operator), enabled=False), ON).why == (
        "its rollout 1: segment (none named)",
    )


def test_the_same_segment_in_two_rollouts_is_decided_once() -> None:
    config = boolean(only(ONE, value=False), only(ONE, value=True), enabled=False)
    assert exposure(config, ON).is_off
    together = boolean(only(ONE, value=False), only(ONE, TWO, value=True, operator=Operator.AND), enabled=False)
    assert exposure(together, ON).is_off
    assert percent(boolean(only(ONE, value=False), only(ONE, TWO, value=True), enabled=False)) == 100


def test_a_member_who_slips_through_an_and_is_let_in_further_down() -> None:
    both = only(ONE, TWO, value=False, operator=Operator.AND)
    assert percent(boolean(both, only(ONE, value=True), enabled=False)) == 100
    assert percent(boolean(both, only(ONE, TWO, value=True, operator=Operator.AND), enabled=False)) == 0


def test_with_more_than_eight_segments_each_rollout_is_taken_by_itself_which_is_an_upper_bound() -> None:
    shielded = [only(key, value=False) for key in CONSTRAINED[:8]] + [only(ONE, value=True)]
    assert exposure(boolean(*shielded, enabled=False), ON).is_off
    assert percent(boolean(only(CONSTRAINED[8], value=False), *shielded, enabled=False)) == 100


def test_polarity_false_is_the_same_flag_turned_over() -> None:
    config = boolean(Rollout(False, 30.0), only(ONE, value=True), enabled=True)
    assert exposure(config, DOWN).buckets == frozenset(range(30))
    assert percent(kill(config, DOWN, marker()), DOWN) == 0
    assert kill(config, DOWN, marker()).rollouts[0].value is True


# -- unknown is never off ------------------------------------------------------------------------------------


def test_a_flag_that_cannot_be_evaluated_is_unknown_and_never_off() -> None:
    broken = boolean(Rollout(False, 100.0), defects=("its rank -1 is negative", "its rank 2 is there more than once"))
    seen = exposure(broken, ON)
    assert seen.unknown == "its rank -1 is negative; its rank 2 is there more than once"
    assert seen.percent is None
    assert not seen.is_off
    assert seen.buckets == frozenset()
    assert not exposure(kill(broken, ON, marker()), ON).is_off


def test_nothing_is_let_in_while_the_exposure_is_unknown() -> None:
    broken = boolean(defects=("its rank -1 is negative",))
    assert kill_percentage_for(broken, ON, 50) == BUCKETS


def test_off_is_claimed_only_of_all_buckets() -> None:
    assert Exposure((None,) * 100).is_off
    assert not Exposure((None,) * 99 + ("why",)).is_off


# -- variant flags -------------------------------------------------------------------------------------------


def rule(*keys: str, shares: dict[str, float]) -> Rule:
    return Rule(keys, tuple(Distribution(name, share) for name, share in shares.items()))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (variant(enabled=False, default="blue"), "the default variant blue"),
        (variant(rule(ONE, shares={"blue": 1})), "its rule 1: variant blue to 1 percent"),
        (variant(rule(ONE, shares={})), "its rule 1 has no distributions"),
        (variant(rule(ONE, shares={"blue": 0})), "its rule 1 has no distributions"),
        (variant(rule(ONE, shares={"blue": math.nan})), "its rule 1: variant blue to nan percent"),
        (variant(rule(ONE, shares={"off": 100}), default="blue"), "the default variant blue"),
        (variant(rule(EVERYBODY, shares={"off": 99}), default="blue"), "the default variant blue"),
        (variant(rule(EVERYBODY, shares={"off": 99}), rule(ONE, shares={"blue": 9})), "its rule 2: variant blue to 9 "),
    ],
)
def test_whatever_serves_a_variant_that_means_on_opens_all_buckets(config: FlagConfig, why: str) -> None:
    seen = exposure(config, Polarity(on_variants=frozenset({"blue", "green"})))
    assert seen.percent == 100
    assert seen.why[0].startswith(why)


@pytest.mark.parametrize(
    "config",
    [
        variant(enabled=False),
        variant(enabled=False, default="off"),
        variant(),
        variant(rule(EVERYBODY, shares={"off": 50, "green": 0, "blue": 0}), enabled=False),
        variant(rule(ONE, shares={"off": 100}), default="off"),
        variant(rule(EVERYBODY, shares={"off": 100}), rule(ONE, shares={"blue": 100}), default="blue"),
    ],
)
def test_a_variant_flag_is_off_when_nobody_gets_a_variant_that_means_on(config: FlagConfig) -> None:
    assert exposure(config, Polarity(on_variants=frozenset({"blue", "green"}))).is_off


def test_without_a_list_every_variant_means_on() -> None:
    assert percent(variant(enabled=False, default="off")) == 100


# -- kill and restore, by example ----------------------------------------------------------------------------


def test_a_cohort_ahead_of_a_kill_lets_in_its_members_alone() -> None:
    killed = kill(boolean(enabled=True), ON, marker(1))
    config = with_cohort(killed, ON, (ONE,), marker(1, "cohort"))
    assert [mark.role for mark in ours(config)] == ["cohort", "kill"]
    assert is_served(config, ON, 7, frozenset({ONE}))
    assert not is_served(config, ON, 7, frozenset({TWO}))
    assert exposure(config, ON).why == ("our rollout 1: segment segment-0",)


def test_a_percentage_for_a_kill_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        with_kill_at(kill(boolean(), ON, marker(1)), marker(2).key, 50)


def test_how_many_a_kill_must_hold_off_is_counted_above_it() -> None:
    half = boolean(Rollout(True, 50.0), enabled=False)
    assert [kill_percentage_for(half, ON, share) for share in (0, 1, 10, 50, 100)] == [50, 50, 45, 25, 0]
    assert [opened_by(half, ON, held) for held in (100, 50, 45, 25, 0)] == [0, 0, 5, 25, 50]
    upper = boolean(Rollout(False, 80.0))
    assert [kill_percentage_for(upper, ON, share) for share in (0, 5, 50, 100)] == [100, 99, 90, 0]


WAS = "rollback:sm-1:kill-1-ab1 by alex at 2026-11-23T08:00:00Z head 0123456789ab was "


@pytest.mark.parametrize("description", ["", "Shown to pilots.", "Two\nlines\n"])
def test_a_variant_kill_writes_what_was_there_behind_the_description(description: str) -> None:
    config = variant(enabled=True, default="blue", description=description)
    killed = kill(config, ON, marker())
    assert (killed.enabled, killed.default_variant) == (False, None)
    assert killed.description == (description and description + "\n") + WAS + "enabled=true,default=blue"
    assert without(killed) == config


def test_a_default_variant_that_means_off_is_left_alone() -> None:
    polarity = Polarity(on_variants=frozenset({"blue"}))
    killed = kill(variant(default="off"), polarity, marker())
    assert killed.default_variant == "off"
    assert without(replace(killed, default_variant=None)).default_variant is None


def test_a_field_of_a_variant_flag_that_somebody_changed_since_is_left() -> None:
    killed = kill(variant(enabled=True, default="blue", description="d"), ON, marker())
    assert without(replace(killed, default_variant="green")).default_variant == "green"
    enabled_again = kill(variant(enabled=False, default="blue"), ON, marker())
    assert without(replace(enabled_again, enabled=True)).enabled
    assert without(replace(killed, variants=("green",))).default_variant is None
    assert without(replace(killed, description="rewritten")) == replace(killed, description="rewritten")


def test_a_second_kill_of_a_variant_flag_remembers_what_the_first_took_and_what_was_set_since() -> None:
    config = variant(enabled=True, default="blue", description="d")
    first = kill(config, ON, marker(1))
    assert without(kill(first, ON, marker(2))) == config
    changed = replace(first, default_variant="green", enabled=True)
    again = kill(changed, ON, marker(2))
    assert exposure(again, ON).is_off
    assert [mark.epoch for mark in ours(again)] == [2]
    assert without(again) == replace(config, default_variant="green")
    off_since = kill(replace(first, default_variant="off"), Polarity(on_variants=frozenset({"blue"})), marker(2))
    assert without(off_since).default_variant == "off"
    assert without(replace(off_since, default_variant=None)).default_variant is None
    enabled_since = replace(kill(replace(config, enabled=False), ON, marker(1)), enabled=True)
    assert without(kill(enabled_since, ON, marker(2))).enabled


def test_an_older_kill_of_a_variant_flag_is_not_taken_out_from_under_a_newer_one() -> None:
    first = kill(variant(enabled=True, default="blue"), ON, marker(1))
    second = kill(first, ON, marker(2))
    assert without(second, [marker(1).key]) == second
    assert without(second, [marker(2).key]).enabled


def test_odd_letters_in_a_variant_survive_the_marker() -> None:
    odd = "blue, =bright %1"
    config = variant(default=odd, variants=(odd,))
    assert without(kill(config, ON, marker())) == config
