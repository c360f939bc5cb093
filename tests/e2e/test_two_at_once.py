"""Two people, two terminals, one moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.clock import SystemClock
from rollback.controller import Controller
from rollback.core.events import CaseOpened
from rollback.core.history import Actor
from rollback.core.model import Severity
from rollback.flag_reference import read_flag_reference
from rollback.history import History, Latest
from rollback.kill_settings import KillSettings
from rollback.session import Session
from tests.e2e.conftest import on_v1, on_v2
from tests.e2e.worlds import FEATURE, World, served, write_policies


@pytest.mark.slow
def test_two_disables_at_once_are_both_done_and_are_one_case(world: World) -> None:
    both = [world.cli.start("disable", "sm", "--json") for _ in range(2)]
    told = [running.result().expect(0).json for running in both]
    assert sorted(one["attached"] for one in told) == [False, True], "one opened the case, the other is attached"
    assert len({one["kill"] for one in told}) == 2, "each has a kill of its own"
    assert served(world.flipt.url) == 0
    assert told[0]["incident"] == told[1]["incident"] == world.cli.status()["incident"]
    opened = [row for row in world.cli.history() if row["name"] == "off_written"]
    assert {row["incident"] for row in opened} == {told[0]["incident"]}
    world.cli.run("verify").expect(0)


@pytest.mark.slow
def test_two_disables_at_once_from_two_machines_are_both_done(world: World) -> None:
    """They share nothing but the flag. Each has its record; the flag tells each of the other."""
    machines = [world.cli, world.machine("second")]
    both = [machine.start("disable", "sm", "--json") for machine in machines]
    for running in both:
        assert running.result().expect(0).json["off_proven"] is True
    assert served(world.flipt.url) == 0
    assert len(world.cli.status()["ours_on_flag"]) == 2
    for machine in machines:
        machine.run("verify").expect(0)


@pytest.mark.slow
@on_v1
def test_after_two_disables_at_once_one_enable_gives_everything_back(world: World) -> None:
    before = world.flag
    for running in [world.cli.start("disable", "sm") for _ in range(2)]:
        running.result().expect(0)
    world.mend()
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert world.flag == before


@pytest.mark.slow
@on_v2
def test_two_returns_at_once_only_one_raises(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    before_incident = world.cli.status()["incident"]
    world.mend()
    both = [world.cli.start("enable", "sm", "--reason", "fixed") for _ in range(2)]
    codes = sorted(running.result().code for running in both)
    assert codes[0] == 0 or served(world.flipt.url) == 0, "either one brought it back, or it is off"
    assert codes in ([0, 0], [0, 3], [0, 4], [3, 4], [4, 4])
    steps = [row for row in world.cli.history() if row["name"] == "returned_in_full"]
    assert len(steps) <= 1
    assert {row["incident"] for row in world.cli.history()} == {before_incident}


class LookedAtBySomebodyElse(History):
    """A history in which another process acts right after this one has looked for an open case."""

    then: Callable[[], object] | None = None

    def latest(self, feature: str) -> Latest:
        """See `History.latest`."""
        found = super().latest(feature)
        act, self.then = self.then, None
        if act is not None:
            act()
        return found


def test_a_case_that_another_process_opens_between_two_looks_is_attached_to(tmp_path: Path) -> None:
    first, second = (
        _controller(tmp_path, history)
        for history in (LookedAtBySomebodyElse(*_record(tmp_path)), History(*_record(tmp_path)))
    )
    opened = CaseOpened(f"{FEATURE}-20261123T030000Z-aaaa", FEATURE, Severity.CRITICAL)
    theirs = CaseOpened(f"{FEATURE}-20261123T030000Z-bbbb", FEATURE, Severity.CRITICAL)
    history = first.session.history
    assert isinstance(history, LookedAtBySomebodyElse)
    history.then = lambda: second.open_case(theirs)
    assert first.open_case(opened) is False
    assert first.require().incident_id == theirs.incident_id


def _record(folder: Path) -> tuple[Path, str, Callable[[str], None]]:
    return folder / "rollback.journal", f"sqlite:///{folder / 'rollback.db'}", lambda _sentence: None


def _controller(folder: Path, history: History) -> Controller:
    reference = read_flag_reference(write_policies(folder / "policies"), "sm", {})
    store = DeclarativeFileFlagStore(folder / "unused.yml")
    actor = Actor("responder", authenticated="os")
    return Controller(Session(KillSettings(), reference, store, history, SystemClock(), actor, lambda _sentence: None))
