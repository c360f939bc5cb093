"""Answers that are lost, servers that go away in the middle, and others who write at the same moment."""

from __future__ import annotations

from typing import Any

import pytest

from rollback.sandbox import Fault, FliptServer
from tests.e2e.conftest import MakeWorld
from tests.e2e.worlds import (
    FLAG,
    FOR_HALF,
    FOR_VETERANS,
    MANAGEMENT,
    NAMESPACE,
    WRITES,
    World,
    flag_of,
    served,
)
from tests.sandbox.calls import threshold


def vanish(server: FliptServer) -> None:
    """From the next request on the server is gone; the one that is under way is still carried out."""
    server.faults.add(Fault.reset("", "", times=None))


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_is_settled_and_never_called_a_failure(world: World, times: int) -> None:
    fault = world.flipt.faults.add(Fault.lost_answer(WRITES, MANAGEMENT, times=times))
    told = world.cli.run("disable", "sm", "--json").expect(0).json
    assert fault.hits >= 1
    assert told["off_proven"] is True
    assert served(world.flipt.url) == 0
    assert len(world.cli.status()["ours_on_flag"]) == 1, "one kill, however often it was sent"


@pytest.mark.slow
def test_a_server_that_is_gone_right_after_the_write_leaves_it_unknown_exit_5(world: World) -> None:
    world.flipt.faults.add(Fault.edit(WRITES, MANAGEMENT, edit=vanish))
    world.flipt.faults.add(Fault.lost_answer(WRITES, MANAGEMENT))
    done = world.cli.run("disable", "sm", "--timeout", "2", "--json").expect(5)
    assert done.json["error"]["code"] == "not_settled"
    assert (done.json["exposure"], done.json["off_proven"]) == (None, False)
    assert "nothing changed" not in done.all
    assert "fate is unknown" in done.json["error"]["message"], "that comes before what else went wrong"
    world.flipt.faults.clear()
    assert world.cli.status()["pending_off_since"] is not None, "a pending off stays visible"
    world.cli.run("note", "sm", "the server is back").expect(0)
    status = world.cli.status()
    assert (status["pending_off_since"], status["exposure"]) == (None, 0)
    assert len(status["ours_on_flag"]) == 1, "it had arrived, and was not done a second time"


@pytest.mark.slow
def test_ctrl_c_while_a_write_is_under_way_does_not_claim_that_nothing_changed(world: World) -> None:
    fault = world.flipt.faults.add(Fault.hang(WRITES, MANAGEMENT, times=None))
    running = world.cli.start("disable", "sm", ROLLBACK_FLIPT_TIMEOUT="30")
    assert fault.wait_hit(30)
    running.signal()
    done = running.result().expect(5)
    assert "it is not known whether it arrived" in done.out
    assert "nothing changed" not in done.all


@pytest.mark.slow
def test_a_process_killed_while_its_write_is_under_way_is_settled_by_the_next_command(world: World) -> None:
    fault = world.flipt.faults.add(Fault.hang(WRITES, MANAGEMENT, times=None))
    running = world.cli.start("disable", "sm", ROLLBACK_FLIPT_TIMEOUT="30")
    assert fault.wait_hit(30)
    running.kill()
    world.flipt.faults.clear()
    world.cli.run("note", "sm", "my laptop died").expect(0)
    assert served(world.flipt.url) == 0
    assert len(world.cli.status()["ours_on_flag"]) == 1


def test_a_storm_of_stale_revisions_ends_in_off(make_world: MakeWorld) -> None:
    world = make_world("v2")
    storm = world.flipt.faults.add(Fault.conflict("PUT", MANAGEMENT, times=8))
    world.cli.run("disable", "sm").expect(0)
    assert storm.hits == 8
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_a_storm_without_end_is_exit_6_and_certainly_nothing_changed(make_world: MakeWorld) -> None:
    world = make_world("v2")
    """Each put is answered before time is up: the last one is followed by a read that is not."""
    world.flipt.faults.add(Fault.conflict("PUT", MANAGEMENT, times=None))
    before = world.flag
    world.flipt.faults.add(Fault.hang("GET", MANAGEMENT, times=None, after=2))
    done = world.cli.run("disable", "sm", "--timeout", "8").expect(6)
    assert "certainly nothing changed" in done.out
    assert world.flag == before


def test_an_edit_of_the_same_flag_in_between_is_kept(world: World) -> None:
    theirs = flag_of(FOR_VETERANS, FOR_HALF, threshold(70, True, "their pilot"), description="edited in between")

    def edit(server: FliptServer) -> None:
        fields: dict[str, Any] = {name: value for name, value in theirs.items() if name != "key"}
        server.edit_flag(NAMESPACE, FLAG, **fields)

    world.flipt.faults.add(Fault.edit(WRITES, MANAGEMENT, edit=edit))
    world.cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url) == 0
    flag = world.flag
    assert flag["description"] == "edited in between"
    assert [rollout["description"] for rollout in flag["rollouts"]][1:] == [
        "veterans have it",
        "half of everybody else",
        "their pilot",
    ]


def test_errors_that_pass_are_tried_again(world: World) -> None:
    world.flipt.faults.add(Fault.status(WRITES, MANAGEMENT, status=503, times=2))
    world.flipt.faults.add(Fault.reset("GET", MANAGEMENT, times=2))
    world.cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_a_return_whose_answers_are_lost_goes_on_and_restores_the_flag(world: World) -> None:
    before = world.flag
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    fault = world.flipt.faults.add(Fault.lost_answer(WRITES, MANAGEMENT, times=3))
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert fault.hits == 3
    assert world.flag == before
    assert served(world.flipt.url) > 0
