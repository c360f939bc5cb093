"""Exposure against a reference that evaluates one entity as Flipt does, and kill and restore on random flags."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.core.exposure import (
    MAX_BRANCHING_SEGMENTS,
    exposure,
    kill,
    ours,
    with_cohort,
    with_kill_at,
    without,
)
from rollback.core.flag import BUCKETS, FlagConfig, FlagType, Polarity, Rollout
from rollback.core.marker import parse
from tests.core.flag_strategies import (
    CONSTRAINED,
    EVERYBODY,
    NOBODY_KNOWS,
    VARIANTS,
    boolean_flags,
    foreign_texts,
    is_served,
    marker,
    memberships,
    percentages,
    polarities,
    segment_rollouts,
    thresholds,
    variant_flags,
    variant_polarities,
)

quick = settings(max_examples=60)
deep = settings(max_examples=3000)
buckets = st.integers(0, BUCKETS - 1)
foreign_rollouts = thresholds() | segment_rollouts([*CONSTRAINED[:2], EVERYBODY], 1)
either = st.tuples(boolean_flags(), polarities) | st.tuples(variant_flags(), variant_polarities)


def all_memberships(keys: tuple[str, ...]) -> list[frozenset[str]]:
    return [frozenset(some) for size in range(len(keys) + 1) for some in combinations(keys, size)]


def served_buckets(config: FlagConfig, polarity: Polarity, keys: tuple[str, ...]) -> frozenset[int]:
    """Every bucket of which some entity is served, by trying all that an entity can be."""
    return frozenset(
        bucket
        for bucket in range(BUCKETS)
        if any(is_served(config, polarity, bucket, members) for members in all_memberships(keys))
    )


# -- never a miss --------------------------------------------------------------------------------------------


def check_no_miss(config: FlagConfig, polarity: Polarity, bucket: int, members: frozenset[str], share: float) -> None:
    if is_served(config, polarity, bucket, members, share):
        seen = exposure(config, polarity)
        assert bucket in seen.buckets
        assert not seen.is_off


@quick
@given(boolean_flags(), polarities, memberships)
def test_whoever_is_served_is_in_an_open_bucket(
    config: FlagConfig, polarity: Polarity, members: frozenset[str]
) -> None:
    for bucket in range(BUCKETS):
        check_no_miss(config, polarity, bucket, members, 0)


@quick
@given(variant_flags(), variant_polarities, memberships)
def test_whoever_is_served_a_variant_that_means_on_keeps_the_flag_from_being_off(
    config: FlagConfig, polarity: Polarity, members: frozenset[str]
) -> None:
    for share in (0, 19.9, 33.33, 50, 99.99):
        check_no_miss(config, polarity, 0, members, share)


@pytest.mark.fuzz
@deep
@given(either, buckets, memberships, st.floats(0, 100, exclude_max=True))
def test_whoever_is_served_is_in_an_open_bucket_in_many_flags(
    flag: tuple[FlagConfig, Polarity], bucket: int, members: frozenset[str], share: float
) -> None:
    check_no_miss(*flag, bucket, members, share)


# -- nor more than can happen --------------------------------------------------------------------------------


@settings(max_examples=150)
@given(boolean_flags(constrained=2, least_segments=1), polarities)
def test_an_open_bucket_has_somebody_who_is_served(config: FlagConfig, polarity: Polarity) -> None:
    keys = (*CONSTRAINED[:2], NOBODY_KNOWS)
    assert exposure(config, polarity).buckets == served_buckets(config, polarity, keys)


@pytest.mark.fuzz
@settings(max_examples=400)
@given(boolean_flags(constrained=7, least_segments=1), polarities, buckets)
def test_an_open_bucket_has_somebody_who_is_served_up_to_eight_segments(
    config: FlagConfig, polarity: Polarity, bucket: int
) -> None:
    keys = (*CONSTRAINED[:7], NOBODY_KNOWS)
    assert len(keys) == MAX_BRANCHING_SEGMENTS
    somebody = any(is_served(config, polarity, bucket, members) for members in all_memberships(keys))
    assert (bucket in exposure(config, polarity).buckets) == somebody


# -- kill and restore ----------------------------------------------------------------------------------------


def check_kill_and_restore(config: FlagConfig, polarity: Polarity) -> None:
    killed = kill(config, polarity, marker())
    assert exposure(killed, polarity).is_off
    assert ours(killed)[0].key == marker().key
    assert without(killed) == config
    assert without(killed, [marker().key]) == config
    assert without(killed, ["kill-9-other"]) == killed


@quick
@given(either)
def test_a_kill_is_off_for_every_flag_and_taking_it_out_gives_back_what_was_there(
    flag: tuple[FlagConfig, Polarity],
) -> None:
    check_kill_and_restore(*flag)


@pytest.mark.fuzz
@deep
@given(either)
def test_a_kill_is_off_and_can_be_taken_out_of_many_flags(flag: tuple[FlagConfig, Polarity]) -> None:
    check_kill_and_restore(*flag)


@quick
@given(either, st.integers(2, 5))
def test_kills_of_several_epochs_leave_nothing_behind(flag: tuple[FlagConfig, Polarity], last: int) -> None:
    config, polarity = flag
    killed = config
    for epoch in range(1, last + 1):
        killed = kill(killed, polarity, marker(epoch))
        assert exposure(killed, polarity).is_off
        assert ours(killed)[0].epoch == epoch
    assert without(killed) == config


@quick
@given(boolean_flags(), polarities)
def test_one_kill_is_taken_out_and_the_kills_of_others_stay(config: FlagConfig, polarity: Polarity) -> None:
    both = kill(kill(config, polarity, marker(1)), polarity, marker(2))
    assert without(both, [marker(1).key]) == kill(config, polarity, marker(2))
    assert without(both, [marker(2).key]) == kill(config, polarity, marker(1))
    assert exposure(without(both, [marker(2).key]), polarity).is_off


@quick
@given(boolean_flags(), polarities, st.integers(0, BUCKETS), st.booleans())
def test_a_kill_at_a_percentage_and_a_cohort_are_taken_out_whole(
    config: FlagConfig, polarity: Polarity, held: int, has_cohort: bool
) -> None:
    killed = with_kill_at(kill(config, polarity, marker()), marker().key, held)
    assert exposure(killed, polarity).buckets == {
        bucket for bucket in exposure(config, polarity).buckets if bucket >= held
    }
    if has_cohort:
        killed = with_cohort(killed, polarity, (CONSTRAINED[0],), marker(role="cohort"))
        assert [mark.role for mark in ours(killed)] == ["cohort", "kill"]
        assert without(killed, [marker().key]).rollouts[1:] == config.rollouts
    assert without(killed) == config


@quick
@given(boolean_flags(), polarities, st.lists(st.tuples(st.integers(0, 9), foreign_rollouts), max_size=3), st.data())
def test_what_others_edit_while_it_is_off_stays_where_they_put_it(
    config: FlagConfig, polarity: Polarity, edits: list[tuple[int, Rollout]], data: st.DataObject
) -> None:
    rollouts = list(kill(config, polarity, marker()).rollouts)
    for place, added in edits:
        rollouts.insert(min(place, len(rollouts)), added)
    theirs = [rollout for rollout in rollouts if parse(rollout.description) is None]
    gone = data.draw(st.none() | st.sampled_from(theirs)) if theirs else None
    if gone:
        rollouts.remove(gone)
        theirs.remove(gone)
    edited = replace(config, rollouts=tuple(rollouts), enabled=not config.enabled)
    assert without(edited) == replace(edited, rollouts=tuple(theirs))


@quick
@given(variant_flags(), variant_polarities, st.sampled_from(VARIANTS), foreign_texts)
def test_what_others_set_on_a_variant_flag_while_it_is_off_stays(
    config: FlagConfig, polarity: Polarity, default: str, line: str
) -> None:
    killed = kill(config, polarity, marker())
    edited = replace(killed, default_variant=default, description=f"{killed.description}\n{line}")
    back = without(edited)
    assert back.default_variant == default
    assert back.enabled == config.enabled
    assert back.description == f"{config.description}\n{line}"
    assert back.rules == config.rules


@quick
@given(percentages, st.integers(0, BUCKETS))
def test_nobody_flips_back_and_forth_while_a_kill_is_lowered(percentage: float, held: int) -> None:
    config = FlagConfig("sm", FlagType.BOOLEAN, False, (Rollout(True, percentage),))
    killed = kill(config, Polarity(), marker())
    last: frozenset[int] = frozenset()
    for step in sorted({100, held, held // 2, 0}, reverse=True):
        now = exposure(with_kill_at(killed, marker().key, step), Polarity()).buckets
        assert last <= now
        last = now
    assert last == exposure(config, Polarity()).buckets
