"""The climb: every step on evidence, exposure as planned, and at the end the flag as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.evidence import Evidence, step_alpha
from rollback.core.flag import FlagConfig, Polarity, Rollout
from rollback.core.model import State
from rollback.errors import PolicyRefused
from rollback.raising import view
from rollback.return_end import Outcome
from tests.fakes.commands import person
from tests.fakes.policies import ALPHA, P0, critical, gate, high, low
from tests.fakes.world import ALL, HALF, SHIPPED, SM, World
from tests.shell.test_disable import SHADES


def climbed(world: World) -> list[tuple[str, object]]:
    """Each raise, with the exposure that was read back after it."""
    raised = [entry for entry in world.entries() if entry.name in ("step_raised", "returned_in_full")]
    return [(entry.name, entry.data["exposure"]) for entry in raised]


def disabled(folder: Path, flag: FlagConfig = SHIPPED, **reference: object) -> World:
    world = World(folder, flag, **reference)  # type: ignore[arg-type]
    person(world).disable()
    return world


@pytest.mark.parametrize("revisions", [True, False], ids=["v2", "v1"])
def test_a_return_climbs_step_by_step_and_gives_back_the_very_flag(tmp_path: Path, revisions: bool) -> None:
    world = World(tmp_path, revisions=revisions)
    original = world.flag
    person(world).disable()
    outcome = person(world).enable(fix="600df1x")
    assert (outcome.exit_code, outcome.state) == (0, State.RESOLVED)
    assert climbed(world) == [("step_raised", 10), ("step_raised", 50), ("returned_in_full", 100)]
    assert world.flag == original
    assert world.incident is None
    assert world.said == []


def test_a_step_is_that_part_of_what_would_be_open_without_us(tmp_path: Path) -> None:
    world = disabled(tmp_path, HALF)
    assert person(world, policy=critical((10, 50, 100))).enable().exit_code == 0
    assert climbed(world) == [("step_raised", 5), ("step_raised", 25), ("returned_in_full", 50)]
    assert [entry.after["settled_held"] for entry in world.entries("step_raised") if entry.after] == [45, 25]


def test_steps_that_open_no_new_bucket_are_skipped_and_that_is_said(tmp_path: Path) -> None:
    few = replace(HALF, rollouts=(Rollout(value=True, percentage=3.0),))
    world = disabled(tmp_path, few)
    somebody = person(world, policy=critical((10, 40, 50, 100)))
    assert somebody.enable().exit_code == 0
    assert climbed(world) == [("step_raised", 1), ("returned_in_full", 3)]
    assert "step 10 % is skipped" in somebody.progress.text
    assert "step 50 % is skipped" in somebody.progress.text


def test_nothing_is_raised_before_its_evidence_is_there_and_its_soak_is_over(world: World) -> None:
    person(world).disable()
    began, raised = world.clock.elapsed, []

    def note_raise(what: str) -> None:
        if what == "write done":
            raised.append((world.clock.elapsed, world.probe.rounds))

    world.store.on_call = note_raise
    assert person(world, policy=critical((50, 100), gate=gate(minimum_soak="5s"))).enable().exit_code == 0
    (first_at, first_rounds), (second_at, second_rounds) = raised
    needed = Evidence.start(P0).clean_samples_missing(step_alpha(ALPHA, 2, 1))
    assert first_rounds >= needed
    assert second_rounds - first_rounds >= needed
    assert first_at - began >= 5.0 - 1e-6
    assert second_at - first_at >= 0.5 - 1e-6


def test_each_stage_has_evidence_of_its_own_and_the_judgements_were_shown(world: World) -> None:
    person(world).disable()
    somebody = person(world)
    somebody.enable()
    titles = list(dict.fromkeys(title for title, _ in somebody.progress.judgements))
    assert [title.split(" (")[0] for title in titles] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    firsts = [next(j for t, j in somebody.progress.judgements if t == title) for title in titles]
    assert [j.metrics[0].samples for j in firsts] == [1, 1, 1]
    assert len(somebody.progress.watched) == 6


def test_all_metrics_have_to_pass(world: World) -> None:
    person(world).disable()
    world.probe = MemoryHealthProbe({"folders": 0.0, "threads": None}, clock=world.clock)
    somebody = person(world, policy=critical(gate=gate(deadline="3s")))
    outcome = somebody.enable()
    assert (outcome.exit_code, world.open_buckets) == (4, 0)


# -- variants of the way back ---------------------------------------------------------------------------------------


def test_until_full_ends_at_full_exposure_and_hands_the_watch_over(world: World) -> None:
    person(world).disable()
    outcome = person(world).enable(until_full=True)
    assert (outcome.exit_code, outcome.state, world.open_buckets) == (0, State.MONITORING, 100)
    assert world.last.watcher is None
    assert world.last.needs_human is not None
    assert "nobody watches" in world.last.needs_human.what
    assert person(world).enable().exit_code == 0, "and the watch can be taken up again"
    assert world.incident is None


def test_a_cohort_is_let_in_ahead_of_the_kill_and_gone_with_it(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    original = world.flag
    person(world).disable()
    seen: list[tuple[int, list[str]]] = []

    def look(what: str) -> None:
        if what == "write done":
            marks = exposures.ours(world.flag)
            seen.append((len(seen), [mark.role for mark in marks]))

    world.store.on_call = look
    assert person(world, policy=critical((50, 100))).enable(cohort=("veterans",)).exit_code == 0
    assert [roles for _, roles in seen] == [["cohort", "kill"], ["cohort", "kill"], []]
    first = world.entries("step_raised")[0]
    assert first.after is not None
    assert first.after["settled_held"] == 100
    assert world.flag == original


def test_a_variant_flag_comes_back_whole_in_one_step(tmp_path: Path) -> None:
    world = World(tmp_path, SHADES)
    original = world.flag
    proof = person(world).disable()
    assert proof.proven
    assert (world.flag.enabled, world.flag.default_variant) == (False, None)
    somebody = person(world)
    assert somebody.enable().exit_code == 0
    assert climbed(world) == [("returned_in_full", 100)]
    assert "variant flag" in somebody.progress.text
    assert world.flag == original


def test_where_true_means_down_off_is_true_for_everybody(tmp_path: Path) -> None:
    inverted = replace(
        ALL, enabled=False, rollouts=(Rollout(value=True, percentage=20.0, description="down for some"),)
    )
    world = World(tmp_path, inverted, polarity=Polarity(on_value=False))
    assert world.open_buckets == 80
    assert person(world).disable().proven
    assert world.flag.rollouts[0].value is True
    assert person(world, policy=critical((50, 100))).enable().exit_code == 0
    assert climbed(world) == [("step_raised", 40), ("returned_in_full", 80)]
    assert world.flag == world.store.config(SM)
    assert world.flag.rollouts == inverted.rollouts


def test_a_flag_that_serves_nobody_without_us_only_loses_our_rollouts(tmp_path: Path) -> None:
    nobody = replace(ALL, enabled=False)
    world = disabled(tmp_path, nobody)
    somebody = person(world)
    assert somebody.enable().exit_code == 0
    assert climbed(world) == [("returned_in_full", 0)]
    assert "lets nobody in" in somebody.progress.text
    assert world.kills == []


# -- low: not a second of uptime ------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [0.0, 1.0, None], ids=["healthy", "broken", "blind"])
def test_a_low_case_never_writes_to_the_store(world: World, harm: float | None) -> None:
    policy = low(gate=gate(deadline="3s"))
    person(world, policy=policy).open_low()
    world.probe.say("folders", harm)
    outcome = person(world, policy=policy).enable(fix="7ea5e00")
    person(world).note()
    assert outcome.exit_code == (0 if harm == 0.0 else 4)
    assert world.store.writes == 0
    assert world.open_buckets == 100
    assert world.state() is (State.RESOLVED if harm == 0.0 else State.FIXING)
    assert world.entries("lower_exposure") == []


def test_a_low_case_that_turns_harmful_while_monitored_is_open_again_and_still_on(world: World) -> None:
    policy = low(monitoring={"duration": "60s", "interval": "500ms", "false_alarms_per_year": 365})
    person(world, policy=policy).open_low()
    world.at(10.0, lambda: world.probe.say("folders", 1.0))
    outcome = person(world, policy=policy).enable()
    assert (outcome.exit_code, world.state()) == (4, State.FIXING)
    assert (world.store.writes, world.open_buckets) == (0, 100)


# -- high: reduced, and back ----------------------------------------------------------------------------------------


def test_a_high_case_climbs_from_its_reduced_level(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    original = world.flag
    person(world, policy=high()).open_high(20.0)
    assert world.open_buckets == 10
    assert person(world, policy=high((10, 40, 100))).enable().exit_code == 0
    assert climbed(world) == [("step_raised", 20), ("returned_in_full", 50)], "10 % would open nothing"
    assert world.flag == original


# -- forced ---------------------------------------------------------------------------------------------------------


LONG = {"duration": "10m", "interval": "500ms", "false_alarms_per_year": 365}


def forced(world: World, seconds: float) -> Outcome:
    until = world.clock.now() + timedelta(seconds=seconds)
    return person(world, policy=critical(monitoring=LONG)).enable(forced_until=until)


def test_a_forced_return_skips_the_gate_in_one_step_and_expires_without_evidence(world: World) -> None:
    person(world).disable()
    world.probe.say("folders", None)
    outcome = forced(world, 60)
    assert climbed(world) == [("returned_in_full", 100)]
    assert outcome.exit_code == 4
    assert world.open_buckets == 0
    assert 60 <= world.clock.elapsed <= 75
    assert world.last.review != ()


def test_a_forced_return_that_finds_evidence_meanwhile_stays(world: World) -> None:
    person(world).disable()
    assert forced(world, 60).exit_code == 0
    assert world.open_buckets == 100
    assert world.incident is None


def test_the_monitor_is_not_skipped_by_force(world: World) -> None:
    person(world).disable()
    world.probe.say("folders", 1.0)
    assert forced(world, 600).exit_code == 4
    assert world.open_buckets == 0
    assert world.clock.elapsed < 60


def test_a_force_expires_as_it_was_given_when_the_watch_is_taken_up_again(world: World) -> None:
    person(world).disable()
    world.probe.say("folders", None)
    first = person(world, policy=critical(monitoring=LONG))
    until = world.clock.now() + timedelta(seconds=60)
    first.enable(forced_until=until, until_full=True)
    outcome = person(world, policy=critical(monitoring=LONG)).enable()
    assert outcome.exit_code == 4
    assert world.open_buckets == 0
    assert world.clock.elapsed <= 75


def test_a_force_that_is_given_the_second_time_does_not_outlast_what_was_asked_for(world: World) -> None:
    person(world).disable()
    world.probe.say("folders", None)
    forced(world, 60)
    world.probe.say("folders", 0.0)
    outcome = person(world).enable(fix="600df1x")
    assert outcome.exit_code == 0
    assert [entry.data["exposure"] for entry in world.entries("step_raised")] == [10, 50], "a plain return climbs again"


# -- who decides ----------------------------------------------------------------------------------------------------


def test_an_audience_that_has_grown_is_refused_until_it_is_released(tmp_path: Path) -> None:
    world = disabled(tmp_path, HALF)
    world.edit(lambda config: replace(config, enabled=True))  # now everybody, not half
    with pytest.raises(PolicyRefused, match="100 of 100"):
        person(world).enable()
    assert (world.open_buckets, world.state()) == (0, State.DISABLED)
    somebody = person(world)
    somebody.controller.handle(e.Released(view(somebody.session).digest))
    assert person(world).enable().exit_code == 0
    assert world.open_buckets == 100
