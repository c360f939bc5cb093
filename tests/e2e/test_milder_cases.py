"""Low cases never touch the flag; high ones reduce it, come back by the ladder, and become critical when asked to."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.worlds import Counting, World, flag_of, served, write_policies
from tests.sandbox.calls import threshold

ON = flag_of(threshold(100, True, "on for everybody"))

# -- low -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_low_case_from_open_to_close_never_writes_to_the_flag(world: World) -> None:
    world.mend()
    flag, before = world.flag, served(world.flipt.url)
    with Counting(world.flipt) as counting:
        world.cli.run("open", "sm", "--severity", "low", "--reason", "typo in a subject line").expect(0)
        assert world.cli.status()["state"] == "fixing"
        world.cli.run("fix", "sm", "abc123").expect(0)
        done = world.cli.run("close", "sm", "--reason", "fixed and deployed").expect(0)
    assert "Monitored to the end" in done.out
    assert world.writes == 0, "not one write, not even of the same content"
    assert len(counting.seen) == 1, "nobody noticed anything"
    assert (world.flag, served(world.flipt.url)) == (flag, before)
    assert world.cli.status()["state"] in ("normal", "resolved")
    exposures = [row["data"].get("exposure") for row in world.cli.history()]
    assert set(exposures) == {None}, "and the record shows it"


@pytest.mark.slow
def test_a_low_case_that_is_still_broken_stays_open_and_on(make_world: MakeWorld) -> None:
    world = make_world("v2")
    before = served(world.flipt.url)
    world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
    world.cli.run("close", "sm", "--reason", "fixed").expect(4)
    assert world.cli.status()["state"] == "fixing"
    assert (world.writes, served(world.flipt.url)) == (0, before)


def test_close_is_for_low_cases_alone(make_world: MakeWorld) -> None:
    world = make_world("v1")
    world.cli.run("disable", "sm").expect(0)
    done = world.cli.run("close", "sm", "--reason", "x", "--json").expect(3)
    assert "rollback enable" in done.json["error"]["next"]
    assert served(world.flipt.url) == 0


# -- high ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_high_case_reduces_and_returns_by_the_ladder(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, ON)
    write_policies(world.cli.policies, soak="400ms")
    flag = world.flag
    world.cli.run("open", "sm", "--severity", "high", "--reason", "some sends fail").expect(0)
    status = world.cli.status()
    assert (status["state"], status["severity"], status["exposure"]) == ("reduced", "high", 10)
    assert 0 < served(world.flipt.url) < 600, "a tenth of 3,000, more or less"
    world.mend()
    with Counting(world.flipt) as counting:
        done = world.cli.run("enable", "sm", "--reason", "reverted").expect(0)
    counts = list(counting.seen)
    assert counts == sorted(counts)
    assert len(counts) == 4, f"a tenth, a quarter, half, all: {counts}"
    assert "step 25 %" in done.out
    assert world.flag == flag


@pytest.mark.slow
def test_harm_on_the_way_back_ends_at_the_reduced_level(make_world: MakeWorld) -> None:
    world = make_world("v2", ON)
    write_policies(world.cli.policies, soak="2s")
    world.cli.run("open", "sm", "--severity", "high", "--reason", "some sends fail").expect(0)
    reduced = served(world.flipt.url)
    world.mend()
    running = world.cli.start("enable", "sm", "--reason", "reverted")
    running.said("step 25 %")
    world.break_it()
    running.result().expect(4)
    assert served(world.flipt.url) == reduced
    assert world.cli.status()["state"] == "reduced"


def test_a_reduction_that_would_leave_nobody_is_refused_and_nothing_is_written(make_world: MakeWorld) -> None:
    world = make_world("v1", flag_of(threshold(5, True, "a pilot")))
    done = world.cli.run("open", "sm", "--severity", "high", "--reason", "x", "--json").expect(3)
    assert "leave nobody" in done.json["error"]["message"]
    assert "rollback disable" in done.json["error"]["next"]
    assert world.writes == 0
    assert world.cli.status()["incident"] is None, "no case that nobody acts on"


# -- raising -------------------------------------------------------------------------------------------------------


def test_low_becomes_high_and_is_reduced_then_critical_and_is_off(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, ON)
    incident = world.cli.run("open", "sm", "--severity", "low", "--reason", "typo", "--json").expect(0).json["incident"]
    world.cli.run("raise", "sm", "--severity", "high", "--reason", "it spreads").expect(0)
    assert 0 < served(world.flipt.url) < 600
    refused = world.cli.run("raise", "sm", "--severity", "critical", "--reason", "x", "--json").expect(3)
    assert "rollback disable" in refused.json["error"]["next"]
    assert world.cli.run("raise", "sm", "--severity", "low", "--reason", "x").code == 3, "only while it is on"
    told = world.cli.run("disable", "sm", "--json").expect(0).json
    assert (told["incident"], told["severity"], told["attached"]) == (incident, "critical", True)
    assert served(world.flipt.url) == 0


def test_a_second_case_is_never_opened_beside_an_open_one(make_world: MakeWorld) -> None:
    world = make_world("v2", ON)
    world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
    for severity in ("low", "high"):
        done = world.cli.run("open", "sm", "--severity", severity, "--reason", "x", "--json").expect(3)
        assert "rollback raise" in done.json["error"]["next"]
    assert world.writes == 0
    assert len({row["incident"] for row in world.cli.history()}) == 1
