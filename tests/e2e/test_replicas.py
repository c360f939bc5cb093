"""Several servers: off is claimed when the last of them has turned, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli
from tests.e2e.worlds import World, served, write_policies

NEVER = 3600.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends the replicas."""
    with ExitStack() as servers:
        yield servers


def with_replica(world: World, stack: ExitStack, lag: float, **policy: Any) -> tuple[Cli, FliptServer]:
    """The world with a second server that shows what the first was `lag` seconds ago."""
    replica = stack.enter_context(FliptServer(replica_of=world.flipt, lag=lag))
    write_policies(world.cli.policies, **policy)
    cli = Cli(world.cli.folder, f"{world.flipt.url},{replica.url}", world.cli.policies, world.cli.settings)
    return cli, replica


@pytest.mark.slow
def test_off_is_not_claimed_before_the_lagging_replica_has_turned(world: World, stack: ExitStack) -> None:
    cli, replica = with_replica(world, stack, 2.0, replica_lag="2s")
    running = cli.start("disable", "sm")
    said = running.said("NOT PROVEN")
    assert replica.url in said, "it says which server"
    assert running.is_running
    done = running.result().expect(0)
    assert served(replica.url) == served(world.flipt.url) == 0
    claimed = next(number for number, line in enumerate(done.lines) if "Proven for every kind of client" in line)
    assert claimed == len(done.lines) - 1, "the claim is the last thing that it says"


@pytest.mark.slow
def test_a_replica_that_never_turns_is_exit_5_and_calls_a_human(world: World, stack: ExitStack) -> None:
    cli, replica = with_replica(world, stack, NEVER, prove_within="1s")
    told = cli.run("disable", "sm", "--json").expect(5).json
    assert told["off_proven"] is False
    status = cli.status()
    assert status["exposure"] == 100, "the worst of the replicas counts"
    assert status["off_proven"] is False
    assert status["needs_human"]
    assert served(replica.url) > 0
    lagging = [part for part in status["off_basis"]["parts"] if part.get("replica") == replica.url]
    assert {part["name"]: part["status"] for part in lagging}["reasoning"] == "open"


@pytest.mark.slow
def test_who_is_called_reads_which_replica_did_not_turn(make_world: MakeWorld, stack: ExitStack) -> None:
    world = make_world("v2")
    cli, replica = with_replica(world, stack, NEVER, prove_within="1s")
    done = cli.run("disable", "sm").expect(5)
    assert replica.url in done.lines[-1]
    assert world.flipt.url not in done.lines[-1], "that one is off"
    assert replica.url in cli.status()["needs_human"]["what"]


@pytest.mark.slow
def test_from_an_off_that_nobody_has_seen_no_return_starts(make_world: MakeWorld, stack: ExitStack) -> None:
    world = make_world("v2")
    cli, _ = with_replica(world, stack, NEVER, prove_within="1s")
    cli.run("disable", "sm").expect(5)
    world.mend()
    before = world.flag
    assert cli.run("enable", "sm", "--reason", "fixed", "--json").expect(5).json["error"]["code"] == "not_proven"
    assert world.flag == before


@pytest.mark.slow
def test_a_replica_that_is_out_of_reach_is_not_off(make_world: MakeWorld, stack: ExitStack) -> None:
    world = make_world("v1")
    cli, replica = with_replica(world, stack, 0.0, prove_within="1s")
    replica.stop()
    done = cli.run("disable", "sm").expect(5)
    assert replica.url in done.out
    assert served(world.flipt.url) == 0, "and still, what could be turned off is off"
