"""Somebody else edits the flag while a feature comes back: evidence starts again, drift is put right, people decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, Polarity, Rollout
from rollback.core.marker import Marker
from rollback.core.model import State
from rollback.core.policy import SeverityPolicy
from tests.fakes.commands import Person, person
from tests.fakes.policies import critical, gate, high, step
from tests.fakes.world import HALF, SM, World

LONG_GATE = gate(minimum_soak="10s", deadline="60s")
EVERYBODY = Rollout(value=True, percentage=100.0, description="somebody lets everybody in")
HARMLESS = Rollout(value=False, percentage=0.0, description="somebody's words")


def patient(percents: tuple[int, ...] = (10, 50, 100)) -> SeverityPolicy:
    """Ten seconds at each stage, so that there is time for somebody to disturb it."""
    ladder = [step(percent, minimum_soak="10s", deadline="60s") for percent in percents]
    return critical(gate=LONG_GATE, ladder=ladder)


def somebody_with(world: World, percents: tuple[int, ...] = (10, 50, 100)) -> Person:
    return person(world, policy=patient(percents))


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def append(world: World, rollout: Rollout) -> None:
    world.edit(lambda config: replace(config, rollouts=(*config.rollouts, rollout)))


def when_writing(world: World, act: Callable[[], object]) -> None:
    """Once, right before the next write of anybody."""
    done: list[bool] = []

    def interleave(what: str) -> None:
        if what == "write" and not done:
            done.append(True)
            act()

    world.store.on_call = interleave


def exposures_seen(world: World, while_running: Callable[[], object]) -> list[int]:
    """Every exposure that the flag had meanwhile, in order."""
    seen = [world.open_buckets]
    inner = world.store.on_call

    def look(what: str) -> None:
        inner(what)
        if what.endswith("done") and world.open_buckets != seen[-1]:
            seen.append(world.open_buckets)

    world.store.on_call = look
    while_running()
    return seen


# -- evidence is for the flag as it is ------------------------------------------------------------------------------


def test_a_foreign_edit_while_verifying_starts_the_evidence_again(off: World) -> None:
    off.at(9.0, lambda: append(off, HARMLESS))
    somebody = somebody_with(off)
    assert somebody.enable().exit_code == 0
    assert "somebody edited the flag" in somebody.progress.text
    first = off.entries("step_raised")[0]
    assert first.at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 19.0
    assert HARMLESS in off.flag.rollouts, "everyone else's edits stay"


def test_an_edit_between_the_last_look_and_the_raise_is_noticed_before_anything_is_raised(off: World) -> None:
    off.at(9.95, lambda: append(off, HARMLESS))
    somebody = somebody_with(off)
    assert somebody.enable().exit_code == 0
    first = off.entries("step_raised")[0]
    assert first.at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 19.0
    assert "somebody edited the flag" in somebody.progress.text


def test_an_edit_at_the_moment_of_the_write_is_never_taken_for_what_was_tested(off: World) -> None:
    when_writing(off, lambda: append(off, HARMLESS))
    somebody = somebody_with(off)
    assert somebody.enable().exit_code == 0
    started = off.entries("return_started")[0].at.timestamp()
    second = off.entries("step_raised")[1].at.timestamp()
    assert second - started >= 29.0, "ten seconds more than without the edit"
    assert off.kills == []


@pytest.mark.parametrize("revisions", [True, False], ids=["v2", "v1"])
def test_an_edit_at_the_moment_of_the_write_that_lets_in_more_than_the_step_retreats(
    tmp_path: Path, revisions: bool
) -> None:
    """A store without revisions merges the two writes, so what was read back decides."""
    world = World(tmp_path, HALF, revisions=revisions)
    person(world).disable()
    when_writing(world, lambda: world.put_in_front(replace(EVERYBODY, percentage=40.0)))
    assert somebody_with(world).enable().exit_code == 4
    assert (world.open_buckets, world.state()) == (0, State.DISABLED)
    assert "returned_in_full" not in {entry.name for entry in world.entries()}


def test_after_an_edit_the_steps_are_counted_anew(off: World) -> None:
    """Otherwise the step of 10 percent would let in all whom the edit let in besides."""
    smaller = Rollout(value=False, percentage=40.0, description="somebody takes 40 out")

    def shrink() -> None:
        off.edit(lambda config: replace(config, rollouts=(config.rollouts[0], smaller, *config.rollouts[1:])))

    off.at(5.0, shrink)
    assert somebody_with(off).enable().exit_code == 0
    raised = [entry.data["exposure"] for entry in off.entries("step_raised")]
    assert raised == [1, 5], "10 and 50 percent of the ten buckets that are left"
    assert off.open_buckets == 10


def test_an_edit_while_a_step_is_exposed_starts_the_evidence_of_that_step_again(off: World) -> None:
    off.at(15.0, lambda: append(off, HARMLESS))
    somebody = somebody_with(off)
    assert somebody.enable().exit_code == 0
    assert "somebody edited the flag" in somebody.progress.text
    started = off.entries("return_started")[0].at.timestamp()
    first, second = [entry.at.timestamp() - started for entry in off.entries("step_raised")]
    assert first < 11
    assert second >= 24.0


def test_another_fix_while_verifying_starts_the_evidence_again(off: World) -> None:
    def deploy() -> None:
        person(off).controller.handle(e.FixDeployed("5ec0nd"))

    off.at(8.0, deploy)
    somebody = somebody_with(off)
    assert somebody.enable(fix="f1rst").exit_code == 0
    assert "another fix was deployed" in somebody.progress.text
    first = off.entries("step_raised")[0].at.timestamp()
    assert first - off.entries("return_started")[0].at.timestamp() >= 17.0


def test_any_other_deploy_while_verifying_or_ramping_starts_the_evidence_again(off: World) -> None:
    """What is seen from then on is about other code (invariant 8)."""

    def deploy(commit: str) -> None:
        person(off).controller.handle(e.CodeChanged(commit))

    off.at(8.0, lambda: deploy("b7d1f00"))
    off.at(24.0, lambda: deploy("c0ffee1"))
    somebody = somebody_with(off)
    assert somebody.enable(fix="f1rst").exit_code == 0
    assert "b7d1f00 was deployed" in somebody.progress.text
    assert "c0ffee1 was deployed" in somebody.progress.text
    started = off.entries("return_started")[0].at.timestamp()
    first, second = [entry.at.timestamp() - started for entry in off.entries("step_raised")]
    assert first >= 17.0
    assert second >= 33.0
    bases = {
        str(entry.data["basis"]).rpartition(":")[2] for entry in off.entries("evidence") if entry.data["stage"] < 9
    }
    assert {"1", "2"} <= bases


# -- who may come back is a person's decision -----------------------------------------------------------------------


@pytest.mark.parametrize("moment", [5.0, 9.95], ids=["while observing", "right before the raise"])
def test_an_edit_that_makes_the_audience_larger_stops_the_return_and_asks(off: World, moment: float) -> None:
    off.at(moment, lambda: off.edit(lambda config: replace(config, enabled=True)))
    somebody = somebody_with(off)
    assert exposures_seen(off, somebody.enable) == [0]
    assert off.state() is State.DISABLED
    assert off.last.needs_human is not None
    assert "100" in off.last.needs_human.what


# -- drift ----------------------------------------------------------------------------------------------------------


def lowered_ours(config: FlagConfig) -> FlagConfig:
    key = exposures.ours(config)[0].key
    return exposures.with_kill_at(config, key, 30)


@pytest.mark.parametrize(
    "edit",
    [exposures.without, lambda c: replace(c, rollouts=(EVERYBODY, *c.rollouts)), lowered_ours],
    ids=["kill taken out", "somebody in front", "kill lowered by hand"],
)
def test_an_edit_that_lets_users_in_while_verifying_is_put_right_once(
    off: World, edit: Callable[[FlagConfig], FlagConfig]
) -> None:
    off.at(5.0, lambda: off.edit(edit))
    somebody = somebody_with(off)
    outcome = somebody.enable()
    assert outcome.exit_code == 4
    assert off.open_buckets == 0
    assert (off.state(), off.last.drift_repairs) == (State.DISABLED, 1)
    assert off.clock.elapsed < 8.0, "noticed at the next look"


def test_a_second_such_edit_stops_automation_and_calls_a_human(off: World) -> None:
    for _ in range(2):
        off.at(5.0, off.remove_ours)
        assert somebody_with(off).enable().exit_code == 4
    assert off.last.drift_repairs == 2
    assert off.last.needs_human is not None
    assert "second foreign edit" in off.last.needs_human.what
    writes = off.store.writes
    settler = person(off)
    settler.settle()
    assert "left to people" in settler.progress.text
    assert off.store.writes == writes, "nobody fights over the flag"
    person(off).disable()
    assert off.open_buckets == 0


def test_a_kill_that_is_taken_out_at_a_step_is_put_back(off: World) -> None:
    off.at(15.0, off.remove_ours)
    assert somebody_with(off).enable().exit_code == 4
    assert (off.open_buckets, off.state()) == (0, State.DISABLED)
    assert off.clock.elapsed < 18.0


def test_an_edit_that_lets_in_more_than_the_step_retreats(off: World) -> None:
    off.at(15.0, lambda: off.put_in_front(EVERYBODY))
    assert somebody_with(off).enable().exit_code == 4
    assert (off.open_buckets, off.state()) == (0, State.DISABLED)


def test_a_reduced_feature_that_somebody_opens_wider_is_reduced_again(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    policy = high((50, 100), gate=LONG_GATE)
    person(world, policy=policy).open_high(20.0)
    world.at(5.0, lambda: world.put_in_front(EVERYBODY))
    assert person(world, policy=policy).enable().exit_code == 4
    assert (world.open_buckets, world.state()) == (10, State.REDUCED)


def test_edits_of_others_while_monitored_are_theirs(off: World) -> None:
    policy = critical((100,), monitoring={"duration": "20s", "interval": "500ms"})
    off.at(10.0, lambda: off.put_in_front(EVERYBODY))
    assert person(off, policy=policy).enable().exit_code == 0
    assert off.open_buckets == 100


# -- kills of others ------------------------------------------------------------------------------------------------


def test_a_newer_kill_of_another_machine_is_not_swept_away_by_a_return_that_begins(off: World) -> None:
    """Nobody here knows of that case; whoever disabled there has not seen ours come back."""
    mark = Marker("secure-messaging-20261123T115959Z-beef", "kill-9-cafe", "carol")
    off.edit(lambda config: exposures.kill(config, Polarity(), mark))
    somebody = person(off)
    outcome = somebody.enable()
    assert (outcome.exit_code, off.open_buckets) == (4, 0)
    assert "carol" in outcome.message
    assert off.kills[0] == mark.key
    person(off).disable()
    assert person(off).enable().exit_code == 0, "disabling here takes it over"
    assert off.flag == off.store.config(SM)
    assert off.kills == []
