"""What ends a return: harm, missing evidence, signals, trouble. Nothing stays exposed without a watcher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollback.core import events as e
from rollback.core.evidence import step_alpha
from rollback.core.model import State
from rollback.errors import HistoryUnwritable, StoreRefused
from rollback.journal import Journal
from tests.fakes.commands import Person, person
from tests.fakes.flag_store import CONFLICT, LOST_AFTER, LOST_BEFORE, UNREACHABLE, Mishap
from tests.fakes.policies import ALPHA, critical, gate, high, low, step
from tests.fakes.world import HALF, SM, World

LONG = {"duration": "5m", "interval": "500ms", "false_alarms_per_year": 365}


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def broken_from(world: World, buckets: int, harm: float | None = 1.0) -> None:
    """Healthy until so many buckets are open."""
    world.probe.say("folders", lambda _round: harm if world.open_buckets >= buckets else 0.0)


def once_open(world: World, buckets: int, act: Callable[[], object]) -> None:
    """Once, at the first probe after so many buckets are open."""
    done: list[bool] = []

    def on_round(_number: int) -> None:
        if world.open_buckets == buckets and not done:
            done.append(True)
            act()

    world.probe.on_round = on_round


# -- harm -----------------------------------------------------------------------------------------------------------


def test_harm_while_verifying_leaves_exposure_as_it_is(off: World) -> None:
    off.probe.say("folders", 1.0)
    writes = off.store.writes
    outcome = person(off).enable()
    assert (outcome.exit_code, outcome.state) == (4, State.DISABLED)
    assert (off.store.writes, off.open_buckets) == (writes, 0)
    assert off.last.needs_human is not None


@pytest.mark.parametrize("buckets", [5, 25, 50], ids=["first step", "second step", "monitoring"])
def test_harm_on_the_way_turns_a_critical_feature_off_again(off: World, buckets: int) -> None:
    broken_from(off, buckets)
    outcome = person(off, policy=critical(monitoring=LONG)).enable()
    assert (outcome.exit_code, outcome.state) == (4, State.DISABLED)
    assert off.open_buckets == 0
    assert off.last.epoch == 2, "a kill of its own, ahead of the first"
    assert len(off.kills) == (1 if buckets == 50 else 2)
    assert off.last.needs_human is not None or off.state() is State.DISABLED


@pytest.mark.parametrize("buckets", [25, 50], ids=["at a step", "monitoring"])
def test_harm_on_the_way_takes_a_high_case_back_to_its_reduced_level(tmp_path: Path, buckets: int) -> None:
    world = World(tmp_path, HALF)
    policy = high((50, 100), monitoring=LONG)
    person(world, policy=policy).open_high(20.0)
    broken_from(world, buckets)
    outcome = person(world, policy=policy).enable()
    assert (outcome.exit_code, outcome.state, world.open_buckets) == (4, State.REDUCED, 10)


def test_what_counted_against_a_fix_still_counts_when_the_same_fix_is_tried_again(off: World) -> None:
    off.probe.say("folders", 1.0)
    assert person(off).enable(fix="bad1dea").exit_code == 4
    bad = off.probe.rounds
    off.probe.say("folders", 0.0)
    again = person(off)
    assert again.enable(fix="bad1dea").exit_code == 0
    assert f"{bad} samples (of all metrics) from an earlier run" in again.progress.text
    _, first = again.progress.judgements[0]
    assert (first.metrics[0].samples, first.metrics[0].harm) == (bad + 1, bad)


def test_another_fix_starts_from_nothing_and_spends_less(off: World) -> None:
    off.probe.say("folders", 1.0)
    assert person(off).enable(fix="bad1dea").exit_code == 4
    off.probe.say("folders", 0.0)
    again = person(off)
    assert again.enable(fix="600df1x").exit_code == 0
    _, first = again.progress.judgements[0]
    assert first.metrics[0].samples == 1
    assert first.metrics[0].bound == pytest.approx(1 / step_alpha(ALPHA, 3, 2))


# -- not enough evidence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [None, 0.4], ids=["no data", "in between"])
def test_without_enough_evidence_while_verifying_it_ends_at_the_deadline(off: World, harm: float | None) -> None:
    off.probe.say("folders", None if harm is None else lambda number: float(number % 3 == 0))
    outcome = person(off, policy=critical(gate=gate(deadline="3s", alpha=1e-9, harm_alpha=1e-9))).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (4, State.DISABLED, 0)
    assert 3.0 <= off.clock.elapsed <= 4.0
    assert off.last.needs_human is not None


def patient() -> list[dict[str, object]]:
    return [step(10, deadline="5s"), step(50, deadline="5s"), step(100, deadline="5s")]


def test_at_a_step_a_person_is_called_exposure_stays_and_evidence_that_comes_later_counts(off: World) -> None:
    broken_from(off, 5, None)
    off.at(8.0, lambda: off.probe.say("folders", 0.0))
    seen: list[tuple[int, bool]] = []
    off.probe.on_round = lambda _number: seen.append((off.open_buckets, off.last.needs_human is not None))
    somebody = person(off, policy=critical(ladder=patient()))
    assert somebody.enable().exit_code == 0
    assert "A person is needed" in somebody.progress.text
    assert (5, True) in seen, "still exposed, and watched, after the person was called"
    assert (0, True) not in seen
    assert off.open_buckets == 50


def test_where_nobody_decides_it_goes_down_at_twice_the_deadline(off: World) -> None:
    broken_from(off, 5, None)
    outcome = person(off, policy=critical(ladder=patient())).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (4, State.DISABLED, 0)
    assert off.clock.elapsed <= 13.0


# -- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [0, 5, 25, 50])
def test_an_interrupt_retreats_first_whatever_is_exposed(off: World, buckets: int) -> None:
    came: list[bool] = []
    once_open(off, buckets, lambda: came.append(True))
    somebody = person(off, policy=critical(monitoring=LONG))
    somebody.interrupted = lambda: bool(came)
    outcome = somebody.enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (130, State.DISABLED, 0)
    assert off.last.watcher is None


# -- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mishap", "code"),
    [
        (UNREACHABLE, 6),
        (LOST_BEFORE, 5),
        (LOST_AFTER, 5),
        (Mishap(error=StoreRefused("the token was taken away")), 6),
    ],
    ids=["unreachable", "lost before", "lost after", "refused"],
)
@pytest.mark.parametrize("nth", [0, 1, 2], ids=["first step", "second step", "full"])
def test_a_raise_that_fails_ends_in_off(off: World, nth: int, mishap: Mishap, code: int) -> None:
    off.store.next("write", *[Mishap()] * nth, mishap)
    outcome = person(off).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (code, State.DISABLED, 0)


def test_conflicts_without_end_raise_nothing(off: World) -> None:
    def time_passes(_what: str) -> None:
        off.clock.elapsed += 1.0

    off.store.on_call = time_passes
    off.store.next("write", *[CONFLICT] * 12)
    outcome = person(off).enable()
    assert (outcome.exit_code, off.open_buckets) == (6, 0)


def test_a_store_out_of_reach_while_observing_raises_nothing_and_ends_no_watch(off: World) -> None:
    off.at(0.3, lambda: off.store.next("read", UNREACHABLE))
    somebody = person(off, policy=critical(gate=gate(minimum_soak="5s")))
    assert somebody.enable().exit_code == 0
    assert "nothing is raised" in somebody.progress.text


def test_a_journal_that_breaks_on_the_way_ends_in_off(off: World) -> None:
    somebody = person(off)

    def breaks() -> None:
        def sync(_fd: int) -> None:
            raise OSError(5, "Input/output error")

        somebody.session.history.journal = Journal(off.folder / "rollback.journal", sync=sync)

    once_open(off, 5, breaks)
    outcome = somebody.enable()
    assert (outcome.exit_code, off.open_buckets) == (8, 0)
    assert "off_written" in "".join(off.fallen), "what was done went elsewhere"


def test_a_return_whose_beginning_cannot_be_recorded_is_refused(off: World) -> None:
    somebody = person(off)

    def sync(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    somebody.session.history.journal = Journal(off.folder / "rollback.journal", sync=sync)
    with pytest.raises(HistoryUnwritable):
        somebody.enable()
    assert off.open_buckets == 0
    assert off.probe.rounds == 0


@pytest.mark.parametrize("buckets", [5, 50], ids=["at a step", "monitoring"])
def test_an_error_that_nobody_has_thought_of_leaves_nothing_exposed(off: World, buckets: int) -> None:
    once_open(off, buckets, lambda: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        person(off).enable()
    assert (off.open_buckets, off.state()) == (0, State.DISABLED)


def test_a_flag_that_disappears_on_the_way_ends_the_return_with_the_off_pending(off: World) -> None:
    once_open(off, 5, lambda: off.store.remove(SM))
    outcome = person(off).enable()
    assert outcome.exit_code == 2
    assert outcome.state is State.DISABLING
    assert off.last.pending_off_since is not None


def test_who_keeps_it_off_on_the_way_stops_the_return(off: World) -> None:
    once_open(off, 5, lambda: person(off).controller.handle(e.KeptOff()))
    outcome = person(off).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (3, State.DISABLED, 0)


@pytest.mark.parametrize("case", ["critical", "low"])
def test_a_fix_that_is_deployed_while_it_is_monitored_is_recorded_and_ends_no_watch(tmp_path: Path, case: str) -> None:
    world = World(tmp_path, HALF)
    policy = critical(monitoring=LONG) if case == "critical" else low(monitoring=LONG)
    if case == "critical":
        person(world).disable()
    else:
        person(world, policy=policy).open_low()
    world.at(60.0, lambda: person(world).controller.handle(e.FixDeployed("1a7er")))
    somebody: Person = person(world, policy=policy)
    assert somebody.enable().exit_code == 0
    assert world.last.fix == "1a7er"
    assert world.open_buckets == 50
