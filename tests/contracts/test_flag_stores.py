"""What every `FlagStore` promises, whatever it writes to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollback.core import exposure as exposures
from rollback.core.flag import Constraint, FlagConfig, FlagRef, FlagSnapshot, FlagType, Polarity, Rollout, Segment
from rollback.core.marker import Marker
from rollback.errors import Conflict, FlagMissing, StoreUnreachable
from tests.contracts.flag_store_benches import BENCHES, BOOLEAN, VARIANT, Bench

ON = Polarity()
KILL = Marker("i-1", "kill-1-aaa", "jdoe", "2026-11-23T03:12:27+00:00", "0f" * 8)
SECOND = Marker("i-1", "kill-2-bbb", "jdoe")
COHORT = Marker("i-1", "cohort-1-ccc", "jdoe")
TENTH = Rollout(value=True, percentage=10.0, description="somebody's tenth")


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with BENCHES[request.param](tmp_path) as opened:
        yield opened


def read(bench: Bench, ref: FlagRef = BOOLEAN, *, segments: bool = False) -> FlagSnapshot:
    return bench.store.read(ref, deadline=bench.deadline(), segments=segments)


def write(bench: Bench, base: FlagSnapshot, desired: FlagConfig) -> FlagSnapshot:
    after = bench.store.write(base, desired, deadline=bench.deadline())
    assert told(after.config) == told(read(bench, base.ref).config), "what a write returns is what is there"
    return after


def told(config: FlagConfig) -> object:
    """All of a flag that `segments=True` does not add to."""
    return replace(config, segments={}, defects=())


def killed(bench: Bench, marker: Marker = KILL) -> FlagSnapshot:
    base = read(bench)
    return write(bench, base, exposures.kill(base.config, ON, marker))


def test_a_read_gives_the_rollouts_in_order_with_their_descriptions(bench: Bench) -> None:
    config = read(bench).config
    assert (config.key, config.type, config.enabled, config.defects) == ("sm", FlagType.BOOLEAN, True, ())
    assert config.rollouts == (
        Rollout(value=True, segments=("veterans",), description="veterans first"),
        Rollout(value=True, percentage=50.0),
        Rollout(value=False, percentage=100.0, description="the rest"),
    )


def test_a_read_gives_rules_variants_and_the_default(bench: Bench) -> None:
    config = read(bench, VARIANT).config
    assert (config.type, config.enabled, config.description) == (FlagType.VARIANT, True, "shades")
    assert (config.variants, config.default_variant) == (("on", "control"), "on")
    assert [(rule.segments, rule.distributions[0].variant, rule.distributions[0].rollout) for rule in config.rules] == [
        (("veterans",), "on", 100.0)
    ]


@pytest.mark.parametrize("ref", [BOOLEAN, VARIANT])
def test_segments_are_looked_up_when_asked_for(bench: Bench, ref: FlagRef) -> None:
    expected = Segment("veterans", match_all=False, constraints=(Constraint("string", "role", "eq", "veteran"),))
    assert read(bench, ref, segments=True).config.segments == {"veterans": expected}


@pytest.mark.parametrize("ref", [FlagRef("default", "mhv", "nope"), FlagRef("default", "nope", "sm")])
def test_a_flag_that_does_not_exist_is_missing_and_not_off(bench: Bench, ref: FlagRef) -> None:
    with pytest.raises(FlagMissing):
        read(bench, ref)


def test_an_environment_that_does_not_exist_is_a_missing_flag(bench: Bench) -> None:
    with pytest.raises(FlagMissing):
        read(bench, FlagRef("nowhere", "mhv", "sm"))


def test_the_store_is_named_for_every_output(bench: Bench) -> None:
    read(bench)
    assert bench.store.where


def test_a_kill_is_in_front_carries_its_marker_and_leaves_the_rest_untouched(bench: Bench) -> None:
    before = read(bench)
    after = killed(bench)
    assert after.config.rollouts[0] == Rollout(value=False, percentage=100.0, description=str(KILL))
    assert after.config.rollouts[1:] == before.config.rollouts
    assert exposures.ours(after.config) == (KILL,)
    assert exposures.exposure(after.config, ON).is_off


def test_the_whole_way_there_and_back_leaves_no_trace(bench: Bench) -> None:
    original = bench.content()
    off = killed(bench)
    cohort = write(bench, off, exposures.with_cohort(off.config, ON, ("veterans",), COHORT))
    assert [one.description for one in cohort.config.rollouts][:2] == [str(COHORT), str(KILL)]
    lowered = write(bench, cohort, exposures.with_kill_at(cohort.config, KILL.key, 40))
    assert lowered.config.rollouts[1].percentage == 40.0
    again = write(bench, lowered, exposures.kill(lowered.config, ON, SECOND))
    assert exposures.exposure(again.config, ON).is_off
    assert exposures.ours(again.config) == (SECOND, COHORT, KILL)
    back = write(bench, again, exposures.without(again.config))
    assert exposures.ours(back.config) == ()
    assert bench.content() == original


def test_one_of_ours_can_be_taken_out_alone(bench: Bench) -> None:
    off = killed(bench)
    twice = write(bench, off, exposures.kill(off.config, ON, SECOND))
    one = write(bench, twice, exposures.without(twice.config, [KILL.key]))
    assert exposures.ours(one.config) == (SECOND,)


def test_lowering_the_newest_kill_and_taking_out_the_older_is_one_change(bench: Bench) -> None:
    off = killed(bench)
    twice = write(bench, off, exposures.kill(off.config, ON, SECOND))
    desired = exposures.with_kill_at(exposures.without(twice.config, [KILL.key]), SECOND.key, 30)
    after = write(bench, twice, desired)
    assert [
        (mark.key, one.percentage)
        for mark, one in zip(exposures.ours(after.config), after.config.rollouts, strict=False)
    ] == [(SECOND.key, 30.0)]


def test_what_others_add_while_the_flag_is_off_survives_the_restore(bench: Bench) -> None:
    killed(bench)
    bench.somebody_adds(TENTH)
    off = read(bench)
    back = write(bench, off, exposures.without(off.config))
    assert [one.description for one in back.config.rollouts] == ["veterans first", "", "the rest", TENTH.description]


def test_a_kill_on_an_old_reading_keeps_what_others_have_written_since(bench: Bench) -> None:
    base = read(bench)
    bench.somebody_adds(TENTH)
    try:
        bench.store.write(base, exposures.kill(base.config, ON, KILL), deadline=bench.deadline())
    except Conflict:
        assert exposures.ours(read(bench).config) == (), "a conflict means that nothing of ours is there"
        killed(bench)
    after = read(bench)
    assert exposures.exposure(after.config, ON).is_off
    assert TENTH in after.config.rollouts


def test_a_kill_wins_over_whatever_somebody_has_put_in_front_meanwhile(bench: Bench) -> None:
    base = read(bench)
    bench.somebody_adds(replace(TENTH, percentage=100.0), in_front=True)
    try:
        bench.store.write(base, exposures.kill(base.config, ON, KILL), deadline=bench.deadline())
    except Conflict:
        killed(bench)
    after = read(bench)
    assert exposures.exposure(after.config, ON).is_off
    assert len(after.config.rollouts) == 5


def test_a_cohort_on_an_old_reading_never_gets_ahead_of_a_newer_kill(bench: Bench) -> None:
    old = killed(bench)
    bench.somebody_adds(Rollout(value=False, percentage=100.0, description=str(SECOND)), in_front=True)
    desired = exposures.with_cohort(old.config, ON, ("veterans",), COHORT)
    with pytest.raises(Conflict):
        bench.store.write(old, desired, deadline=bench.deadline())
    after = read(bench)
    assert exposures.ours(after.config) == (SECOND, KILL)
    assert exposures.exposure(after.config, ON).is_off


def test_a_ramp_of_a_kill_that_somebody_took_out_changes_nothing(bench: Bench) -> None:
    old = killed(bench)
    bench.somebody_removes(str(KILL))
    content = bench.content()
    with pytest.raises(Conflict):
        bench.store.write(old, exposures.with_kill_at(old.config, KILL.key, 50), deadline=bench.deadline())
    assert bench.content() == content


def test_what_is_wanted_already_is_not_written_again(bench: Bench) -> None:
    off = killed(bench)
    after = bench.store.write(off, off.config, deadline=bench.deadline())
    assert told(after.config) == told(off.config)
    assert read(bench).revision == off.revision


def test_after_the_deadline_nothing_is_written(bench: Bench) -> None:
    base = read(bench)
    content = bench.content()
    with pytest.raises(StoreUnreachable):
        bench.store.write(base, exposures.kill(base.config, ON, KILL), deadline=time.monotonic() - 1)
    assert bench.content() == content


def test_a_variant_flag_goes_off_and_comes_back_with_everything_it_had(bench: Bench) -> None:
    original = bench.content()
    base = read(bench, VARIANT)
    off = write(bench, base, exposures.kill(base.config, ON, KILL))
    assert exposures.exposure(off.config, ON).is_off
    assert (off.config.enabled, off.config.default_variant) == (False, None)
    assert exposures.ours(off.config)[0].key == KILL.key
    write(bench, off, exposures.without(off.config))
    assert bench.content() == original


def test_a_variant_flag_that_was_off_before_stays_off_after_us(bench: Bench) -> None:
    bench.somebody_disables()
    original = bench.content()
    base = read(bench, VARIANT)
    off = write(bench, base, exposures.kill(base.config, ON, KILL))
    assert exposures.exposure(off.config, ON).is_off
    back = write(bench, off, exposures.without(off.config))
    assert (back.config.enabled, back.config.default_variant) == (False, "on")
    assert bench.content() == original


def test_fractions_of_a_percent_and_marks_of_all_kinds_come_through_unchanged(bench: Bench) -> None:
    bench.somebody_adds(Rollout(value=True, percentage=0.5, description='«½» — "quoted": {braces} # \\ ünï'))
    original = bench.content()
    base = read(bench)
    off = write(bench, base, exposures.kill(base.config, ON, KILL))
    assert off.config.rollouts[1:] == base.config.rollouts
    write(bench, off, exposures.without(off.config))
    assert bench.content() == original


def test_an_inverted_flag_is_killed_with_true(bench: Bench) -> None:
    inverted = Polarity(on_value=False)
    base = read(bench)
    after = write(bench, base, exposures.kill(base.config, inverted, KILL))
    assert after.config.rollouts[0].value is True
    assert exposures.exposure(after.config, inverted).is_off
