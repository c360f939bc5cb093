"""`rollback enable`: back only on evidence, step by step, giving back what would be there without us."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.worlds import ENTITIES, FLAG, HALF, NAMESPACE, Counting, World, served, write_policies
from tests.sandbox.calls import ask

STORES_OWN = {"id", "rank", "createdAt", "updatedAt"}
"""What a store numbers and dates by itself; order and content are compared."""

BACK = ("enable", "sm", "--reason", "fixed", "--fix", "600df1x")


def content(value: Any) -> Any:
    """Order and content of a flag."""
    if isinstance(value, dict):
        return {key: content(one) for key, one in value.items() if key not in STORES_OWN}
    return [content(one) for one in value] if isinstance(value, list) else value


def add_rollout(world: World, percentage: float, description: str) -> None:
    """What a colleague does meanwhile: one more rollout behind all others, through the management API."""
    url, flag = world.flipt.url, f"{NAMESPACE}/flags/{FLAG}"
    threshold = {"percentage": percentage, "value": False}
    if world.flipt.api == "v1":
        there = ask(url, "GET", f"/api/v1/namespaces/{flag}/rollouts").body["rules"]
        new = {"rank": max(one["rank"] for one in there) + 1, "description": description, "threshold": threshold}
        assert ask(url, "POST", f"/api/v1/namespaces/{flag}/rollouts", new).status == 200
        return
    resources = f"/api/v2/environments/default/namespaces/{NAMESPACE}/resources"
    read = ask(url, "GET", f"{resources}/flipt.core.Flag/{FLAG}").body
    payload = read["resource"]["payload"]
    payload["rollouts"].append({"type": "THRESHOLD_ROLLOUT_TYPE", "description": description, "threshold": threshold})
    body = {"key": FLAG, "revision": read["revision"], "payload": payload}
    assert ask(url, "PUT", resources, body).status == 200


@pytest.mark.slow
def test_a_flag_with_a_half_of_its_own_climbs_in_real_steps(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, HALF)
    before = content(world.flag)
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    with Counting(world.flipt) as counted:
        done = world.cli.run(*BACK).expect(0)
    steps = list(counted.seen)
    assert steps[0] == 0
    assert steps == sorted(steps), "nobody flips back and forth"
    assert len(steps) == 4, f"off, 10 %, 50 % and all of its own half: {steps}"
    shares = [count / steps[-1] for count in steps[1:]]
    assert 0.05 < shares[0] < 0.15
    assert 0.4 < shares[1] < 0.6
    assert "5 of 100 buckets are open" in done.out
    assert content(world.flag) == before


@pytest.mark.slow
def test_the_return_keeps_what_others_edited_meanwhile(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    add_rollout(world, 100, "the others wait")
    world.flipt.edit_flag(NAMESPACE, "other", enabled=False)
    world.mend()
    world.cli.run(*BACK).expect(0)
    told = [one.get("description", "") for one in world.flag["rollouts"]]
    assert told == ["veterans have it", "half of everybody else", "the others wait"]
    assert world.flag["metadata"] == {"owner": "mhv", "tier": 1}


def test_a_broken_feature_stays_off_and_the_fix_is_named(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    stopped = world.cli.run(*BACK, "--json").expect(4).json
    assert stopped["state"] == "disabled"
    assert stopped["exposure"] == 0
    assert served(world.flipt.url) == 0
    assert world.cli.status()["fix"] == "600df1x"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ramping_retreats_first(world: World, number: int) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    running = world.cli.start(*BACK)
    running.said("step 10 %")
    running.signal(number)
    running.result().expect(130)
    assert served(world.flipt.url) == 0
    world.cli.run("verify").expect(0)


@pytest.mark.slow
def test_a_disable_during_a_return_wins(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    running = world.cli.start(*BACK)
    running.said("step 10 %")
    world.cli.run("disable", "sm", "--reason", "again").expect(0)
    running.result().expect(4)
    assert served(world.flipt.url) == 0
    assert world.cli.status()["off_proven"] is True


def test_a_gate_that_was_green_while_broken_opens_nothing_by_itself(world: World) -> None:
    world.mend()
    world.cli.run("disable", "sm").expect(0)
    refused = world.cli.run(*BACK).expect(3)
    assert "blind" in refused.all
    assert served(world.flipt.url) == 0
    claimed = world.cli.run(*BACK, "--accept-blind", "--actor", "somebody").expect(3)
    assert "claimed" in claimed.all
    world.cli.run(*BACK, "--accept-blind").expect(0)
    assert served(world.flipt.url) > ENTITIES


def test_evidence_of_the_same_fix_is_kept_across_runs(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    first = world.cli.start(*BACK)
    first.said("step 1 of 3")
    first.signal()
    first.result().expect(130)
    again = world.cli.run(*BACK).expect(0)
    assert "from an earlier run" in again.out


def test_a_larger_audience_than_before_is_a_persons_decision(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, HALF)
    world.cli.run("disable", "sm").expect(0)
    kept = {name: value for name, value in content(world.flag).items() if name != "key"}
    world.flipt.edit_flag(NAMESPACE, FLAG, **{**kept, "enabled": True})
    world.mend()
    refused = world.cli.run(*BACK).expect(3)
    assert "release" in refused.all
    assert served(world.flipt.url) == 0
    world.cli.run("release", "sm", "--reason", "it is meant for all now").expect(0)
    world.cli.run(*BACK).expect(0)
    assert served(world.flipt.url) == 3 * ENTITIES


def test_a_forced_return_needs_no_evidence_but_is_watched(world: World) -> None:
    write_policies(world.cli.policies, monitoring="30s")  # long enough for harm to be found on any machine
    world.cli.run("disable", "sm").expect(0)
    forced = world.cli.run("enable", "sm", "--reason", "decided", "--force", "--for", "1h").expect(4)
    assert "FORCED" in forced.out, "the application is broken, so the monitor ends it"
    assert served(world.flipt.url) == 0
    too_long = world.cli.run("enable", "sm", "--reason", "decided", "--force", "--for", "9h").expect(3)
    assert "at most" in too_long.all


def test_until_full_ends_at_full_exposure_and_says_who_watches(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    done = world.cli.run(*BACK, "--until", "full").expect(0)
    assert "nobody watches" in done.out
    told = world.cli.status()
    assert told["state"] == "monitoring"
    assert told["needs_human"]["what"]
    world.cli.run("enable", "sm", "--reason", "watching").expect(0)
    assert world.cli.status()["state"] == "normal"


def test_without_a_case_there_is_nothing_to_do(world: World) -> None:
    done = world.cli.run(*BACK, "--json").expect(0).json
    assert done["outcome"] == "nothing to do"
    assert world.writes == 0
