"""A disable between any two calls of a return wins: afterwards the feature is off, and stays off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollback.core.model import State
from rollback.errors import PolicyRefused
from rollback.return_end import Outcome
from tests.crash.dying import DyingHistory, Tripwire, wire
from tests.fakes.commands import person
from tests.fakes.policies import critical, high
from tests.fakes.world import BOB, HALF, World

Act = Callable[[World], object]

UNSEEN = 12
"""Moments between the last look at the flag and the end: nothing is written there any more."""


class Meanwhile(Tripwire):
    """Lets somebody act at one moment; nobody dies."""

    def __init__(self, at: int | None, act: Callable[[], object]) -> None:
        super().__init__(at)
        self._act = act
        self._acting = False

    def is_next(self, moment: str) -> bool:
        """Counts the return's own moments alone."""
        if self._acting:
            return False
        if super().is_next(moment):
            self._acting = True
            self._act()
            self._acting = False
        return False


@dataclass(frozen=True)
class Ended:
    """How a return ended into which somebody came at `moment`; `None`: it was refused before it began."""

    world: World
    at: int
    moment: str
    outcome: Outcome | None
    moments: int
    seen_after: tuple[int, ...]


def met(folder: Path, at: int | None, act: Act, *, revisions: bool, is_high: bool = False) -> Ended:
    """A return of a critical or high case, with `act` at its moment number `at`."""
    folder.mkdir()
    world = World(folder, HALF, revisions=revisions)
    policy = high((50, 100)) if is_high else critical((50, 100))
    person(world).open_high(20.0) if is_high else person(world).disable()
    seen: list[int] = []

    def somebody_acts() -> None:
        act(world)
        seen.append(world.open_buckets)

    meanwhile = Meanwhile(None, somebody_acts)
    alice = person(world, session=world.session(history=DyingHistory(world, meanwhile)), policy=policy)
    alice.settle()
    meanwhile.moments.clear()
    meanwhile.at = at
    wire(world, meanwhile)
    watch(world, seen)
    try:
        outcome = alice.bring_back(fix="600df1x")
    except PolicyRefused:
        outcome = None
    wire(world, None)
    moment = meanwhile.moments[at] if at is not None and at < len(meanwhile.moments) else "never"
    return Ended(world, at or 0, moment, outcome, len(meanwhile.moments), tuple(seen))


def watch(world: World, seen: list[int]) -> None:
    """Keeps every exposure that follows a write, once somebody has acted."""
    inner = world.store.on_call

    def look(what: str) -> None:
        inner(what)
        if seen and what == "write done":
            seen.append(world.open_buckets)

    world.store.on_call = look


def disabled_by_bob(world: World) -> None:
    assert person(world, session=world.session(BOB)).disable().proven


def killed_by_bob_alone(world: World) -> None:
    """His process dies right after the write: no case has heard of it."""
    person(world, session=world.session(BOB)).kill()


def check(ended: Ended, *, is_recorded: bool) -> None:
    world, where = ended.world, ended.moment
    assert set(ended.seen_after) == {0}, f"{where}: {ended.seen_after}"
    assert world.open_buckets == 0, where
    noticed = ended.outcome is None or ended.outcome.exit_code == 4
    assert noticed or (not is_recorded and ended.at >= ended.moments - UNSEEN), f"{where}: {ended.outcome}"
    person(world).note()
    assert world.open_buckets == 0, f"{where}: it stays off"
    assert world.state() is State.DISABLED, where
    if is_recorded:
        assert world.last.epoch >= 2, where
    assert person(world, policy=critical((50, 100))).enable(fix="7ea5e00").exit_code == 0, where
    assert world.flag.rollouts == HALF.rollouts, where


@pytest.mark.parametrize("revisions", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("is_high", [False, True], ids=["critical", "high"])
def test_a_disable_at_any_moment_of_a_return_wins(tmp_path: Path, revisions: bool, is_high: bool) -> None:
    clean = met(tmp_path / "clean", None, disabled_by_bob, revisions=revisions, is_high=is_high)
    assert clean.outcome is not None
    assert clean.outcome.exit_code == 0
    last = last_moment(clean)
    for at in range(last):
        check(met(tmp_path / str(at), at, disabled_by_bob, revisions=revisions, is_high=is_high), is_recorded=True)
    assert last > 50


@pytest.mark.parametrize("revisions", [True, False], ids=["v2", "v1"])
def test_a_kill_that_no_case_has_heard_of_wins_at_any_moment_as_well(tmp_path: Path, revisions: bool) -> None:
    clean = met(tmp_path / "clean", None, killed_by_bob_alone, revisions=revisions)
    for at in range(last_moment(clean)):
        check(met(tmp_path / str(at), at, killed_by_bob_alone, revisions=revisions), is_recorded=False)


def last_moment(clean: Ended) -> int:
    """Up to the moment when the case is resolved: from then on it is a disable of its own."""
    return clean.moments - 5
