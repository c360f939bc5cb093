"""Cases other than a critical one, other machines, other flags: low, high, undo, false alarm, keep-off, adopt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.test_way_back import BACK, content
from tests.e2e.worlds import ENTITIES, FLAG, NAMESPACE, USUAL, World, served, write_policies
from tests.sandbox.calls import threshold


def test_a_low_case_never_writes_to_the_flag(world: World) -> None:
    before, on = content(world.flag), served(world.flipt.url)
    world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
    world.cli.run("fix", "sm", "7ea5e00").expect(0)
    world.cli.run("close", "sm", "--reason", "fixed").expect(4)  # the application is still broken
    assert world.cli.status()["state"] == "fixing"
    world.mend()
    world.cli.run("close", "sm", "--reason", "fixed").expect(0)
    assert world.writes == 0
    assert (content(world.flag), served(world.flipt.url)) == (before, on)
    assert world.cli.status()["state"] == "normal"


def test_a_high_case_stays_on_reduced_and_comes_back_by_the_ladder(world: World) -> None:
    before = content(world.flag)
    opened = world.cli.run("open", "sm", "--severity", "high", "--reason", "slow", "--json").expect(0).json
    assert opened["state"] == "reduced"
    told = world.cli.status()
    assert 0 < told["exposure"] <= 10
    world.mend()
    world.cli.run(*BACK).expect(0)
    assert content(world.flag) == before


def test_a_reduction_that_would_leave_none_is_refused(make_world: MakeWorld, api: str) -> None:
    few = {**USUAL, "rollouts": [threshold(3, True, "three percent")]}
    world = make_world(api, few)
    refused = world.cli.run("open", "sm", "--severity", "high", "--reason", "slow").expect(3)
    assert "leave nobody" in refused.all
    assert world.writes == 0
    assert world.cli.status()["state"] == "normal"


def test_a_low_case_is_raised_to_high_and_acts(world: World) -> None:
    world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
    world.cli.run("raise", "sm", "--severity", "high", "--reason", "it spreads").expect(0)
    told = world.cli.status()
    assert (told["severity"], told["state"]) == ("high", "reduced")
    refused = world.cli.run("raise", "sm", "--severity", "low", "--reason", "no").expect(3)
    assert "refused" in refused.all or "not possible" in refused.all


def test_a_disable_raises_an_open_low_case(world: World) -> None:
    world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
    case = world.cli.status()["incident"]
    done = world.cli.run("disable", "sm", "--json").expect(0).json
    assert (done["incident"], done["severity"], done["attached"]) == (case, "critical", True)
    assert served(world.flipt.url) == 0


def test_a_wrong_disable_is_undone_by_the_same_person_alone(world: World) -> None:
    before = content(world.flag)
    world.mend()
    world.cli.run("disable", "sm", "--reason", "wrong one").expect(0)
    world.cli.run("undo", "sm", "--reason", "sorry", "--actor", "somebody-else").expect(3)
    assert served(world.flipt.url) == 0
    world.cli.run("undo", "sm", "--reason", "sorry").expect(0)
    assert content(world.flag) == before


def test_a_false_alarm_needs_a_gate_that_can_see(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("false-alarm", "sm", "--reason", "nothing there").expect(4)
    world.mend()
    before_full = served(world.flipt.url)
    world.cli.run("false-alarm", "sm", "--reason", "nothing there").expect(0)
    assert before_full == 0
    assert served(world.flipt.url) > ENTITIES


def test_kept_off_until_released(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("keep-off", "sm", "--reason", "audit").expect(0)
    world.mend()
    assert "release" in world.cli.run(*BACK).expect(3).all
    world.cli.run("release", "sm", "--reason", "audit is done").expect(0)
    world.cli.run(*BACK).expect(0)


def test_another_machine_recognises_and_adopts_the_case(world: World) -> None:
    before = content(world.flag)
    world.cli.run("disable", "sm").expect(0)
    case = world.cli.status()["incident"]
    other = world.machine("second")
    told = other.status()
    assert told["exposure"] == 0
    assert told["ours_on_flag"][0]["incident"] == case
    assert told["differs"]
    world.mend()
    assert "adopt" in other.run(*BACK).expect(3).all
    other.run("adopt", "sm").expect(0)
    assert other.status()["incident"] == case
    other.run(*BACK).expect(0)
    assert content(world.flag) == before


def test_two_disables_at_once_are_one_case(world: World) -> None:
    first, second = world.cli.start("disable", "sm", "--json"), world.cli.start("disable", "sm", "--json")
    told = [first.result().expect(0).json, second.result().expect(0).json]
    assert served(world.flipt.url) == 0
    status = world.cli.status()
    assert status["off_proven"] is True
    opened = [row for row in world.cli.history() if row["name"] == "off_proven"]
    assert {row["incident"] for row in opened} == {status["incident"]}
    assert {one["exit"] for one in told} == {0}
    world.cli.run("verify").expect(0)


def variant_world(make_world: MakeWorld, api: str) -> World:
    flag: dict[str, Any] = {
        "key": FLAG,
        "name": "Secure Messaging",
        "type": "VARIANT_FLAG_TYPE",
        "enabled": True,
        "description": "the team's own words",
        "variants": [{"key": "new", "name": "new", "default": True}, {"key": "old", "name": "old"}],
        "rules": [{"segment": "veterans", "distributions": [{"variant": "new", "rollout": 100}]}],
    }
    world = make_world(api, flag)
    write_policies(world.folder / "policies", flag=f"{{namespace: {NAMESPACE}, key: {FLAG}, on_variants: [new]}}")
    return world


def test_a_variant_flag_is_off_for_everybody_and_comes_back_whole(make_world: MakeWorld, api: str) -> None:
    world = variant_world(make_world, api)
    before = content(world.flag)
    assert served(world.flipt.url, variants=["new"]) > ENTITIES
    world.cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url, variants=["new"]) == 0
    world.mend()
    done = world.cli.run(*BACK).expect(0)
    assert "whole or not at all" in done.out
    assert content(world.flag) == before


def test_where_true_means_down_disabling_serves_true(make_world: MakeWorld, api: str, tmp_path: Path) -> None:
    world = make_world(api, {**USUAL, "rollouts": [threshold(20, True, "down for a fifth")]})
    write_policies(tmp_path / "policies", flag=f"{{namespace: {NAMESPACE}, key: {FLAG}, on: false}}")
    before = content(world.flag)
    world.cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url, on=False) == 0
    world.mend()
    world.cli.run(*BACK).expect(0)
    assert content(world.flag) == before


@pytest.mark.slow
def test_off_is_not_claimed_until_the_last_replica_has_turned(make_world: MakeWorld, api: str) -> None:
    from rollback.sandbox import FliptServer

    world = make_world(api)
    with FliptServer(api, replica_of=world.flipt, lag=1.5) as replica:
        cli = world.machine("both", ROLLBACK_FLIPT_URL=f"{world.flipt.url},{replica.url}")
        running = cli.start("disable", "sm")
        running.said("NOT PROVEN")
        running.result().expect(0)
        assert served(replica.url) == 0


def test_a_replica_that_never_turns_leaves_off_unproven(make_world: MakeWorld, api: str) -> None:
    from rollback.sandbox import FliptServer

    world = make_world(api)
    write_policies(world.folder / "policies", prove_within="1s")
    with FliptServer(api, replica_of=world.flipt, lag=3600.0) as replica:
        cli = world.machine("both", ROLLBACK_FLIPT_URL=f"{world.flipt.url},{replica.url}")
        done = cli.run("disable", "sm", "--json").expect(5).json
        assert done["off_proven"] is False
        assert served(replica.url) > 0
        assert cli.status()["exposure"] == 100
