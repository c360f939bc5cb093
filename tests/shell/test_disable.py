"""Off: nothing delays it, nothing doubles it, and nothing is said that is not known."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rollback.core import exposure as exposures
from rollback.core.flag import Distribution, FlagConfig, FlagType, Polarity, Rollout, Rule
from rollback.core.marker import Marker
from rollback.core.model import State
from rollback.errors import Conflict, FlagMissing, StoreRefused, StoreUnreachable, Unsettled
from rollback.journal import Journal
from tests.fakes.commands import person
from tests.fakes.flag_store import CONFLICT, LOST_AFTER, LOST_BEFORE, UNREACHABLE, Mishap
from tests.fakes.world import BOB, FEATURE, SM, World

REFUSED = Mishap(error=StoreRefused("the token may not write"))
SHADES = FlagConfig(
    SM.flag_key,
    FlagType.VARIANT,
    enabled=True,
    description="shades",
    default_variant="on",
    variants=("on", "control"),
    rules=(Rule(("veterans",), (Distribution("on", 100.0),)),),
)


def broken_journal(path: Path) -> Journal:
    def sync(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    return Journal(path, sync=sync)


def outcomes(world: World) -> list[tuple[str | None, object]]:
    """Key and result of each outcome."""
    return [(e.key, e.data.get("result")) for e in world.entries("lower_exposure") if e.kind == "outcome"]


def intents(world: World) -> list[str | None]:
    """The keys of the intents."""
    return [e.key for e in world.entries("lower_exposure") if e.kind == "intent"]


# -- what must not delay it -------------------------------------------------------------------------------------


def test_a_kill_goes_out_although_the_journal_cannot_be_written(world: World) -> None:
    history = world.history(broken_journal(world.folder / "rollback.journal"))
    somebody = person(world, session=world.session(history=history))
    proof = somebody.disable()
    assert proof.proven
    assert world.open_buckets == 0
    assert '"kind":"intent"' in world.fallen[0], "the intent goes to standard error and syslog, before the write"
    assert any("No space left" in said for said in world.said)
    assert [e.name for e in world.entries()][:2] == ["lower_exposure", "lower_exposure"], (
        "the ledger got it by the feed"
    )
    assert world.last.state is State.DISABLED


def test_a_kill_goes_out_although_the_ledger_is_locked(world: World) -> None:
    person(world).note()
    other = sqlite3.connect(world.folder / "rollback.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert person(world).disable().proven
        assert world.open_buckets == 0
        assert any("lock" in said for said in world.said)
    finally:
        other.close()
    report = world.history().feed()
    assert report.ok
    assert report.new > 0, "the journal kept it for the ledger"


def test_a_kill_needs_neither_policies_nor_an_open_case_nor_a_reason(world: World) -> None:
    kill = person(world).kill("")
    assert world.open_buckets == 0
    assert (kill.target.attached, kill.target.epoch) == (False, 1)
    assert kill.target.incident_id.startswith(f"{FEATURE}-20261123T120000Z-")


def test_the_intent_is_in_the_journal_before_anything_is_written(world: World) -> None:
    seen: list[list[str]] = []

    def look(what: str) -> None:
        if what == "write":
            seen.append(world.names)

    world.store.on_call = look
    kill = person(world).kill()
    assert seen == [["intent lower_exposure"]]
    (intent, _) = world.entries()
    assert (intent.key, intent.incident, intent.after) == (
        kill.key,
        kill.target.incident_id,
        {"held": 100, "flag": "default/mhv/secure-messaging"},
    )


# -- what the store does ----------------------------------------------------------------------------------------


def test_an_answer_that_was_lost_is_settled_by_reading_back_and_not_doubled(world: World) -> None:
    world.store.next("write", LOST_AFTER)
    kill = person(world).kill()
    assert world.kills == [kill.key]
    assert world.store.writes == 1
    assert intents(world) == [kill.key]
    assert outcomes(world) == [(kill.key, "written")]
    assert kill.target.epoch == 1


def test_an_answer_that_was_lost_is_not_doubled_in_an_open_case_either(world: World) -> None:
    person(world).disable()
    world.store.next("write", LOST_AFTER)
    kill = person(world).kill()
    assert world.kills[0] == kill.key
    assert len(world.kills) == 2
    assert kill.target.epoch == 2


def test_a_write_that_never_arrived_is_sent_again(world: World) -> None:
    world.store.next("write", LOST_BEFORE, LOST_BEFORE)
    kill = person(world).kill()
    assert world.kills == [kill.key]
    assert outcomes(world) == [(kill.key, "written")]


def test_a_store_that_comes_back_within_the_time_is_written_to(world: World) -> None:
    world.store.next("read", *[UNREACHABLE] * 7)
    somebody = person(world)
    somebody.kill()
    assert world.open_buckets == 0
    assert world.clock.elapsed == 7.0
    assert [line.rsplit("(", 1)[1] for line in somebody.progress.lines] == [f"{60 - n} s left)" for n in range(7)]


def test_out_of_reach_until_the_deadline_is_said_as_such_and_never_claimed(world: World) -> None:
    world.store.always("read", UNREACHABLE)
    with pytest.raises(StoreUnreachable):
        person(world).kill(timeout=5.0)
    assert world.clock.elapsed == 5.0
    assert world.store.writes == 0
    assert [result for _, result in outcomes(world)] == ["unreachable"]


@pytest.mark.parametrize("later", [UNREACHABLE, CONFLICT, REFUSED], ids=["unreachable", "conflict", "refused"])
def test_what_was_sent_and_is_not_known_is_unsettled_whatever_comes_later(world: World, later: Mishap) -> None:
    def time_passes(_what: str) -> None:
        world.clock.elapsed += 0.5

    world.store.next("write", LOST_BEFORE, *[later] * 99)
    world.store.on_call = time_passes
    with pytest.raises(Unsettled):
        person(world).kill(timeout=5.0)
    assert [result for _, result in outcomes(world)] == ["unsettled"]


def test_a_flag_that_keeps_changing_under_us_ends_at_the_deadline_and_leaves_an_outcome(world: World) -> None:
    def time_passes(_what: str) -> None:
        world.clock.elapsed += 1.0

    world.store.on_call = time_passes
    world.store.always("write", CONFLICT)
    with pytest.raises(StoreUnreachable) as caught:
        person(world).kill(timeout=5.0)
    assert not isinstance(caught.value, Conflict)
    assert [result for _, result in outcomes(world)] == ["unreachable"]


def test_a_refusal_is_not_tried_again(world: World) -> None:
    world.store.always("write", REFUSED)
    with pytest.raises(StoreRefused):
        person(world).kill()
    assert world.clock.elapsed == 0
    assert [result for _, result in outcomes(world)] == ["refused"]


def test_a_flag_that_is_not_there_is_missing_and_not_off(world: World) -> None:
    world.store.remove(SM)
    with pytest.raises(FlagMissing):
        person(world).kill()
    assert [result for _, result in outcomes(world)] == ["missing"]


def test_somebody_elses_edit_in_between_stays(world: World) -> None:
    tenth = Rollout(value=True, percentage=10.0, description="somebody's tenth")
    world.store.next("write", Mishap(before=lambda: world.put_in_front(tenth)))
    kill = person(world).kill()
    assert world.open_buckets == 0
    assert [r.description for r in world.flag.rollouts[1:]] == [
        tenth.description,
        "veterans have it",
        "",
        "the others wait",
    ]
    assert (world.kills, intents(world)) == ([kill.key], [kill.key])


def test_a_kill_that_got_there_unheard_does_not_count_as_off_from_before(world: World) -> None:
    person(world).disable()
    world.put_in_front(Rollout(value=True, percentage=100.0, description="somebody lets everybody in"))
    world.store.next("write", LOST_AFTER)
    assert not person(world).kill().was_off(Polarity())


@pytest.mark.parametrize("moment", ["write", "write done"])
def test_an_interrupt_while_a_write_is_under_way_leaves_it_unsettled(world: World, moment: str) -> None:
    interrupt_at(world, moment)
    with pytest.raises(Unsettled):
        person(world).kill()
    assert [result for _, result in outcomes(world)] == ["unsettled"]


def test_an_interrupt_before_anything_was_sent_is_only_an_interrupt(world: World) -> None:
    interrupt_at(world, "read")
    with pytest.raises(KeyboardInterrupt):
        person(world).kill()
    assert world.store.writes == 0


def test_an_interrupt_while_waiting_after_a_lost_answer_leaves_it_unsettled(world: World) -> None:
    def stop(_elapsed: float) -> None:
        raise KeyboardInterrupt

    world.store.next("write", LOST_BEFORE)
    world.clock.on_sleep = stop
    with pytest.raises(Unsettled):
        person(world).kill()


def interrupt_at(world: World, moment: str) -> None:
    """Ctrl-C at this moment of the first such call."""

    def stop(what: str) -> None:
        if what == moment:
            raise KeyboardInterrupt

    world.store.on_call = stop


# -- which case it belongs to -----------------------------------------------------------------------------------


def test_each_disable_puts_a_kill_of_its_own_in_front_and_raises_the_epoch(world: World) -> None:
    person(world).disable()
    second = person(world).kill()
    assert (second.target.epoch, second.target.attached) == (2, True)
    assert world.kills == [second.key, world.kills[1]]
    assert [e for e in intents(world) if e == second.key] == [second.key], "one intent of the second"


def test_a_case_that_another_machine_left_on_the_flag_is_attached_to(world: World) -> None:
    mark = Marker("sm-20261101T000000Z-beef", "kill-7-abc", "carol")
    world.edit(lambda config: exposures.kill(config, Polarity(), mark))
    kill = person(world).kill()
    assert (kill.target.incident_id, kill.target.epoch, kill.target.attached) == (mark.incident, 8, True)
    first, second = [e for e in world.entries("lower_exposure") if e.kind == "intent"]
    assert first.epoch == 1
    assert (second.key, second.incident, second.epoch) == (kill.key, mark.incident, 8)
    assert outcomes(world) == [(first.key, "superseded"), (kill.key, "written")], "each intent has an outcome"


@pytest.mark.parametrize("revisions", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("moment", ["read", "read done", "write", "write done"])
def test_two_disables_at_once_end_in_one_case_and_one_attaches(tmp_path: Path, revisions: bool, moment: str) -> None:
    world = World(tmp_path, revisions=revisions)
    alice, bob = person(world), person(world, session=world.session(BOB))
    begun: list[str] = []

    def interleave(what: str) -> None:
        if what == moment and not begun:
            begun.append(what)
            assert bob.disable().proven

    world.store.on_call = interleave
    assert alice.disable().proven
    assert world.open_buckets == 0
    opened = {e.incident for e in world.entries("case_opened")}
    assert len(opened) == 1
    person(world).note()
    incident = world.last
    assert (incident.state, incident.incident_id) == (State.DISABLED, opened.pop())
    assert set(incident.kills) == set(world.kills)
    assert {e.actor.name for e in world.entries("disable_commanded")} == {"alice", "bob"}
    assert person(world).enable().exit_code == 0
    assert world.kills == []
