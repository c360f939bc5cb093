"""An off whose proof takes time: it passes on a monotonic clock, whoever looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback.core.model import State
from rollback.prover import Prover
from rollback.settling import settle
from tests.fakes.commands import person
from tests.fakes.world import World


@pytest.fixture
def polled(tmp_path: Path) -> World:
    """Clients ask for the flag once a minute."""
    return World(tmp_path, poll_interval_seconds=60.0, prove_within_seconds=100.0)


def test_who_did_not_wait_finds_it_proven_once_every_client_has_asked(polled: World) -> None:
    person(polled).disable(wait=False)
    polled.clock.sleep(59)
    person(polled).settle()
    assert polled.state() is State.DISABLING
    polled.clock.sleep(2)
    person(polled).settle()
    assert polled.state() is State.DISABLED


def test_a_wall_clock_that_was_set_ahead_proves_nothing(polled: World) -> None:
    person(polled).disable(wait=False)
    polled.clock.ahead = 3600.0
    polled.clock.sleep(5)
    person(polled).settle()
    assert polled.state() is State.DISABLING


def test_who_looks_again_and_again_proves_it_by_what_it_has_seen_itself(polled: World) -> None:
    turns: dict[str, float] = {}

    def prover() -> Prover:
        made = polled.prover()
        made.turns = turns
        return made

    somebody = person(polled)
    somebody.disable(wait=False)
    polled.clock.ahead = 3600.0
    for seconds, state in ((5.0, State.DISABLING), (50.0, State.DISABLING), (11.0, State.DISABLED)):
        polled.clock.sleep(seconds)
        settle(somebody.session, somebody.controller, prover, somebody.progress.say)
        assert polled.state() is state
