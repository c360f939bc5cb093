"""The one path by which a case changes: nothing is lost, nothing is doubled, and two processes agree on the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rollback.controller import Controller
from rollback.core import events as e
from rollback.core.history import EntryKind
from rollback.core.model import Severity, State
from rollback.errors import HistoryUnwritable, PolicyRefused
from rollback.history import History, Latest
from rollback.incident_codec import incident_from_json
from tests.fakes.commands import person
from tests.fakes.world import BOB, FEATURE, World
from tests.shell.test_disable import broken_journal


def opened(number: int, severity: Severity = Severity.CRITICAL) -> e.CaseOpened:
    return e.CaseOpened(f"{FEATURE}-20261123T12000{number}Z-aaaa", FEATURE, severity, by="alice")


def controller(world: World, history: History | None = None) -> Controller:
    return Controller(world.session(history=history))


class Interleaved(History):
    """A history in which another process acts right after this one has looked for the n-th time, counted from 1."""

    def __init__(self, world: World, nth: int, act: Callable[[], object]) -> None:
        own = world.history()
        super().__init__(own.journal.path, f"sqlite:///{world.folder / 'rollback.db'}", world.said.append)
        self.journal = own.journal
        self.looks = 0
        self._nth = nth
        self._act = act

    def latest(self, feature: str) -> Latest:
        """See `History.latest`."""
        found = super().latest(feature)
        self.looks += 1
        if self.looks == self._nth:
            self._act()
        return found


def test_what_is_decided_is_recorded_with_before_after_actor_and_key(world: World) -> None:
    one = controller(world)
    one.open_case(opened(1), reason="broken")
    one.handle(e.DisableCommanded("kill-1-ab", 1), reason="broken", data={"by": "hand"})
    entry = world.entries("disable_commanded")[0]
    assert (entry.kind, entry.key, entry.epoch, entry.reason) == (EntryKind.TRANSITION, "kill-1-ab", 1, "broken")
    assert (entry.actor.name, entry.incident, entry.data) == ("alice", one.require().incident_id, {"by": "hand"})
    assert entry.before == {"state": "triggered", "severity": "critical"}
    assert incident_from_json(entry.after or {}) == one.require()


def test_what_is_refused_records_nothing_and_changes_nothing(world: World) -> None:
    one = controller(world)
    one.open_case(opened(1))
    before, names = one.require(), world.names
    with pytest.raises(PolicyRefused):
        one.handle(e.GatePassed(0))
    assert (one.require(), world.names) == (before, names)


def test_without_a_case_there_is_nothing_to_act_on(world: World) -> None:
    with pytest.raises(PolicyRefused, match="no open case"):
        controller(world).require()
    assert world.names == []


def test_another_process_sees_the_case_at_once_and_goes_on_with_its_newest_image(world: World) -> None:
    one, other = controller(world), controller(world)
    one.open_case(opened(1))
    other.handle(e.FixDeployed("600df1x"))
    one.handle(e.NoteAdded("seen"))
    assert one.require().fix == "600df1x", "the image was read again before the event"


def test_a_raise_that_cannot_be_recorded_is_refused_and_an_off_is_not(world: World) -> None:
    broken = world.history(broken_journal(world.folder / "rollback.journal"))
    one = controller(world, broken)
    with pytest.raises(HistoryUnwritable):
        one.handle(opened(1), strict=True)
    with pytest.raises(HistoryUnwritable):
        one.fact("evidence", strict=True)
    assert one.open_case(opened(1))
    one.handle(e.DisableCommanded("kill-1-ab", 1))
    assert one.require().state is State.DISABLING


def test_an_open_case_is_attached_to(world: World) -> None:
    assert controller(world).open_case(opened(1)) is True
    other = controller(world)
    assert other.open_case(opened(2)) is False
    assert other.require().incident_id == opened(1).incident_id
    assert len(world.entries("case_opened")) == 1


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_two_processes_that_open_a_case_in_the_same_moment_agree_on_the_first(world: World, nth: int) -> None:
    other = Controller(world.session(BOB))
    history = Interleaved(world, nth, lambda: other.open_case(opened(1)))
    one = controller(world, history)
    is_first = one.open_case(opened(2))
    assert history.looks >= nth, "the other one has acted"
    assert is_first is False
    for process in (one, other, one, other):
        process.handle(e.NoteAdded("still the same case?"))
        assert process.require().incident_id == opened(1).incident_id
    assert controller(world).require().incident_id == opened(1).incident_id


@pytest.mark.parametrize("nth", [2, 3])
def test_two_disables_that_open_a_case_in_the_same_moment_are_one_case_that_comes_back(world: World, nth: int) -> None:
    alice, bob = person(world), person(world, session=world.session(BOB))
    first = bob.kill()
    history = Interleaved(world, nth, lambda: bob.after_kill(first))
    kill = alice.kill()
    alice.session = world.session(history=history)
    assert alice.after_kill(kill).proven
    person(world).note()
    incident = world.last
    assert (incident.incident_id, incident.state) == (first.target.incident_id, State.DISABLED)
    assert set(incident.kills) == set(world.kills) == {first.key, kill.key}
    assert person(world).enable().exit_code == 0
    assert world.kills == []
    assert world.incident is None


def test_a_case_is_never_opened_under_the_name_of_one_that_is_closed(world: World) -> None:
    """A closed case's images outrank a new one of the same name, so nobody would ever see that it is open."""
    one = controller(world)
    one.open_case(opened(1, Severity.LOW))
    one.handle(e.FixingStarted())
    one.handle(e.FalseAlarmDeclared(one.session.actor))
    assert one.reload() is None
    assert one.open_case(opened(1)) is True
    assert one.require().incident_id != opened(1).incident_id
    one.handle(e.DisableCommanded("kill-1-ab", 1))
    assert controller(world).require().state is State.DISABLING


def test_an_image_that_cannot_be_read_is_said_and_taken_as_no_case(world: World) -> None:
    one = controller(world)
    one.open_case(opened(1))
    entry = world.entries("case_opened")[0]
    world.history().record(replace(entry, entry_id="broken", after={"state": "sideways"}))
    assert controller(world).incident is None
    assert any("cannot be read" in said for said in world.said)
