"""What a dead process left behind is settled by the next changing command, which says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from rollback.core import events as e
from rollback.core.history import EntryKind
from rollback.core.model import State, Watcher
from rollback.errors import FlagMissing, StoreRefused, StoreUnreachable, Unsettled
from rollback.identity import this_process
from rollback.settling import unfinished
from tests.crash.dying import Crash
from tests.fakes.commands import Person, person
from tests.fakes.flag_store import LOST_AFTER, LOST_BEFORE, UNREACHABLE, Mishap
from tests.fakes.policies import critical, gate, high, low
from tests.fakes.world import BOB, FEATURE, SM, World


def dies(world: World, call: str, act: Callable[[], object], *, nth: int = 1) -> None:
    """`act` dies at the n-th such moment of the store."""
    seen: list[str] = []

    def trip(what: str) -> None:
        seen.append(what)
        if what == call and seen.count(call) == nth:
            raise Crash(what)

    world.store.on_call = trip
    with pytest.raises(Crash):
        act()
    world.store.on_call = lambda _what: None


def minutes(world: World, number: float) -> None:
    world.clock.elapsed += number * 60


def a_return_that_died_at(world: World, buckets: int, **fields: object) -> Person:
    """Disabled, then on its way back, dead right after so many buckets were opened and recorded."""
    person(world).disable()
    somebody = person(world, **fields)

    def trip(_round: int) -> None:
        if world.open_buckets == buckets:
            raise Crash("probe")

    world.probe.on_round = trip
    with pytest.raises(Crash):
        somebody.enable()
    world.probe.on_round = None
    return somebody


# -- a watcher on another machine ----------------------------------------------------------------------------------


def test_a_watcher_elsewhere_is_given_up_once_it_gives_no_sign_of_life(world: World) -> None:
    elsewhere = Watcher("another-machine", 4711, "boot:1")
    a_return_that_died_at(world, 10, watcher=elsewhere)
    minutes(world, 14)
    person(world).note()
    assert world.state() is State.RAMPING, "nobody here can see whether it lives"
    minutes(world, 2)
    next_one = person(world)
    next_one.note()
    assert (world.state(), world.open_buckets) == (State.DISABLED, 0)
    assert "another-machine) gives no sign of life" in next_one.progress.text


def test_a_watcher_elsewhere_that_gives_signs_of_life_is_left_alone(world: World) -> None:
    somebody = a_return_that_died_at(world, 10, watcher=Watcher("another-machine", 4711, "boot:1"))
    for _ in range(4):
        minutes(world, 10)
        somebody.controller.fact("watch_alive", data={"for": 660.0})
    minutes(world, 10)
    person(world).note()
    assert world.state() is State.RAMPING
    minutes(world, 2)
    person(world).note()
    assert world.state() is State.DISABLED


def test_a_return_gives_a_sign_of_life_once_a_minute(world: World) -> None:
    person(world).disable()
    somebody = person(world, policy=critical(gate=gate(minimum_soak="150s", deadline="300s")))
    assert somebody.enable().exit_code == 0
    signs = [entry.at for entry in world.entries("watch_alive")]
    assert len(signs) >= 2
    assert all(60 <= (later - sooner).total_seconds() < 70 for sooner, later in pairwise(signs))


# -- a lowering whose process died ------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "said"), [("write", "had not reached the flag"), ("write done", "had reached")])
def test_an_off_whose_process_died_is_done_or_recognised_once(world: World, call: str, said: str) -> None:
    dies(world, call, person(world).disable)
    next_one = person(world, session=world.session(BOB))
    next_one.note()
    assert world.open_buckets == 0
    assert said in next_one.progress.text
    assert "alice" in next_one.progress.text, "whose off it was"
    assert len(world.kills) == 1
    assert world.state() is State.DISABLED
    assert world.last.opened_by == "alice"
    again = person(world)
    again.note()
    assert again.progress.lines == [], "what is settled is not settled again"
    assert len(world.kills) == 1


def test_an_off_that_never_arrived_and_is_old_asks_first(world: World) -> None:
    dies(world, "write", person(world).disable)
    minutes(world, 16)
    next_one = person(world)
    next_one.note()
    assert world.open_buckets == 100
    assert "disable again?" in next_one.progress.text
    assert world.incident is None
    person(world).note()
    assert world.open_buckets == 100


def test_an_old_off_that_did_arrive_is_taken_into_a_case_all_the_same(world: World) -> None:
    dies(world, "write done", person(world).disable)
    minutes(world, 60)
    person(world).note()
    assert world.state() is State.DISABLED
    assert world.open_buckets == 0


def test_an_old_off_in_an_open_case_calls_a_human(world: World) -> None:
    person(world).open_low()
    dies(world, "write", person(world).disable)
    minutes(world, 16)
    person(world).note()
    assert world.last.needs_human is not None
    assert "disable again?" in world.last.needs_human.what
    assert world.store.writes == 0


def test_an_off_that_a_newer_one_has_made_needless_is_not_repeated(world: World) -> None:
    person(world).disable()
    dies(world, "write", person(world).disable)
    person(world).disable()  # epoch 3; the dead one was 2
    dead = [entry for entry in world.entries("lower_exposure") if entry.kind is EntryKind.INTENT][1]
    history = world.history()
    history.record(replace(dead, entry_id="older", key="kill-1-dead", epoch=1))
    person(world).note()
    assert ("kill-1-dead", "superseded") in {(x.data["key"], x.data["result"]) for x in world.entries("intent_settled")}
    assert "kill-1-dead" not in world.kills


def test_an_off_whose_case_was_closed_meanwhile_opens_a_case_of_its_own(world: World) -> None:
    person(world).disable()
    dies(world, "write", lambda: person(world, session=world.session(BOB)).disable())
    returning = person(world)
    returning.controller.reload()
    assert returning.returning().run(forced_until=None, watcher=returning.watcher).exit_code == 0
    assert world.incident is None
    person(world).note()
    assert world.open_buckets == 0, "bob meant it, and nobody took it back"
    assert world.state() is State.DISABLED
    assert world.last.incident_id != world.entries("case_opened")[0].incident


def test_an_intent_that_was_written_down_anew_is_nothing_left_open(world: World) -> None:
    person(world).disable()
    world.folder.joinpath("rollback.db").unlink()
    world.folder.joinpath("rollback.journal").unlink()
    other_machine = person(world)
    other_machine.disable()
    assert unfinished(world.entries()) == []
    person(world).note()
    assert world.entries("intent_settled") == []


# -- an off that is pending --------------------------------------------------------------------------------------


def left_pending(world: World, error: type[Exception], mishap: Mishap) -> None:
    """A disable that ended without an off, and has recorded that as the command line does."""
    somebody = person(world)
    world.store.always("write", mishap)
    with pytest.raises(error):
        somebody.kill(timeout=3.0)
    world.store.always("write", None)
    intent = world.entries("lower_exposure")[-1]
    somebody.controller.open_case(e.CaseOpened(str(intent.incident), FEATURE, critical().severity, by="alice"))
    somebody.controller.handle(e.DisableCommanded(str(intent.key), intent.epoch))
    somebody.controller.handle(e.OffUnsettled("no answer"))


@pytest.mark.parametrize(
    ("error", "mishap"),
    [
        (StoreUnreachable, UNREACHABLE),
        (Unsettled, LOST_BEFORE),
        (StoreRefused, Mishap(error=StoreRefused("no"))),
    ],
    ids=["unreachable", "unsettled", "refused"],
)
def test_a_pending_off_is_tried_again_with_its_own_key(world: World, error: type[Exception], mishap: Mishap) -> None:
    left_pending(world, error, mishap)
    key = world.last.kills[-1]
    assert world.last.pending_off_since is not None
    person(world).note()
    assert (world.open_buckets, world.kills) == (0, [key])
    assert world.state() is State.DISABLED
    assert world.incident is not None
    assert world.incident.pending_off_since is None


def test_a_pending_off_that_had_arrived_is_recognised_and_not_doubled(world: World) -> None:
    left_pending(world, Unsettled, LOST_BEFORE)
    person(world, session=world.session(history=world.history())).kill()  # it arrives late, as if
    count = len(world.kills)
    person(world).note()
    assert world.open_buckets == 0
    assert len(world.kills) <= count + 1
    assert world.state() is State.DISABLED


def test_a_pending_off_older_than_15_minutes_is_said_and_not_repeated(world: World) -> None:
    left_pending(world, StoreUnreachable, UNREACHABLE)
    minutes(world, 16)
    next_one = person(world)
    next_one.note()
    assert world.open_buckets == 100
    assert "pending since" in next_one.progress.text
    assert world.last.pending_off_since is not None, "it stays visible"


def test_a_store_that_does_not_answer_leaves_everything_for_the_next_command(world: World) -> None:
    dies(world, "write", person(world).disable)
    world.store.next("read", UNREACHABLE)
    next_one = person(world)
    next_one.note()
    assert "cannot be settled now" in next_one.progress.text
    assert world.open_buckets == 100
    person(world).note()
    assert world.open_buckets == 0


def test_a_flag_that_is_gone_does_not_stop_the_command_that_settles(world: World) -> None:
    a_return_that_died_at(world, 10)
    world.store.remove(SM)
    next_one = person(world)
    next_one.note()
    assert "NOT LOWERED" in next_one.progress.text
    assert world.last.pending_off_since is not None
    with pytest.raises(FlagMissing):
        _ = world.flag


def test_off_that_nobody_waited_to_see_proven_is_proven_by_the_next_command(world: World) -> None:
    world.readers[0].lag = 5.0
    proof = person(world).disable(wait=False)
    assert not proof.proven
    assert world.state() is State.DISABLING
    world.clock.sleep(6.0)
    person(world).note()
    assert world.state() is State.DISABLED


# -- a watcher that died -----------------------------------------------------------------------------------------


def test_what_a_dead_process_had_raised_goes_off_again(world: World) -> None:
    a_return_that_died_at(world, 10)
    assert world.open_buckets == 10
    next_one = person(world)
    next_one.note()
    assert world.open_buckets == 0
    assert world.state() is State.DISABLED
    assert "died" in next_one.progress.text
    assert "ramping" in next_one.progress.text


def test_what_was_fully_back_and_unwatched_goes_off_again(world: World) -> None:
    a_return_that_died_at(world, 100)
    assert world.state() is State.MONITORING
    person(world).note()
    assert world.open_buckets == 0
    assert world.state() is State.DISABLED


def test_a_high_case_goes_back_to_its_reduced_level(world: World) -> None:
    person(world, policy=high()).open_high()
    somebody = person(world, policy=high())
    world.probe.on_round = lambda _round: (_ for _ in ()).throw(Crash()) if world.open_buckets == 50 else None
    with pytest.raises(Crash):
        somebody.enable()
    world.probe.on_round = None
    person(world).note()
    assert (world.open_buckets, world.state()) == (10, State.REDUCED)


def test_while_verifying_nothing_is_exposed_so_nothing_is_written(world: World) -> None:
    person(world).disable()
    world.probe.on_round = lambda _round: (_ for _ in ()).throw(Crash())
    with pytest.raises(Crash):
        person(world).enable()
    world.probe.on_round = None
    writes = world.store.writes
    next_one = person(world)
    next_one.note()
    assert (world.store.writes, world.state()) == (writes, State.DISABLED)
    assert "was not raised" in next_one.progress.text


def test_a_watcher_that_lives_or_cannot_be_looked_at_is_left_alone(world: World) -> None:
    for watcher in (this_process(), replace(this_process(), host="another-machine")):
        other = World(world.folder / watcher.host)
        other.folder.mkdir()
        a_return_that_died_at(other, 10, watcher=watcher)
        person(other).note()
        assert other.open_buckets == 10
        assert other.state() is State.RAMPING


def test_what_was_handed_over_to_somebody_is_left_to_them(world: World) -> None:
    person(world).disable()
    assert person(world).enable(until_full=True).exit_code == 0
    person(world).note()
    assert (world.open_buckets, world.state()) == (100, State.MONITORING)
    assert world.last.needs_human is not None


def test_a_retreat_that_does_not_come_about_stays_pending(world: World) -> None:
    a_return_that_died_at(world, 10)
    world.store.always("write", UNREACHABLE)
    first = person(world)
    first.note()
    assert "NOT LOWERED" in first.progress.text
    assert world.last.pending_off_since is not None
    world.store.always("write", None)
    person(world).note()
    assert (world.open_buckets, world.state()) == (0, State.DISABLED)


def test_a_retreat_whose_answer_is_lost_is_one_kill(world: World) -> None:
    a_return_that_died_at(world, 10)
    world.store.next("write", LOST_AFTER)
    person(world).note()
    assert len(world.kills) == 2, "the first one, and one of the retreat"
    assert world.state() is State.DISABLED


# -- nothing to settle -------------------------------------------------------------------------------------------


def test_with_nothing_open_the_flag_is_not_even_read(world: World) -> None:
    person(world).note()
    assert (world.store.reads, world.store.writes) == (0, 0)
    person(world, policy=low()).open_low()
    person(world, policy=low(gate=gate())).note()
    assert (world.store.reads, world.store.writes) == (0, 0)
