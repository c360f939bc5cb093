"""`rollback enable`: only on evidence, in real steps, and back to what would be there without us."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from rollback.sandbox import Fault, FliptServer
from tests.e2e.conftest import MakeWorld, on_v1, on_v2
from tests.e2e.worlds import (
    FLAG,
    FOR_HALF,
    FOR_VETERANS,
    HALF,
    MANAGEMENT,
    NAMESPACE,
    WRITES,
    Counting,
    World,
    count_now,
    flag_of,
    seen_of,
    served,
    write_policies,
)
from tests.sandbox.calls import ask, threshold


def test_a_feature_that_is_still_broken_stays_off_exit_4(world: World) -> None:
    world.cli.run("disable", "sm").expect(0)
    writes = world.writes
    done = world.cli.run("enable", "sm", "--reason", "maybe").expect(4)
    assert "harm" in done.out
    assert world.writes == writes, "the flag was not even touched"
    assert served(world.flipt.url) == 0
    status = world.cli.status()
    assert status["state"] == "disabled"
    assert status["evidence"]["metrics"]["folders"]["bad"] > 0


def test_an_endpoint_that_says_disabled_is_never_health(make_world: MakeWorld) -> None:
    world = make_world("v2")
    write_policies(world.cli.policies, deadline="1s")
    world.cli.run("disable", "sm").expect(0)
    world.api.behave(error_rate=0.0, mode="disabled")
    before = world.flag
    world.cli.run("enable", "sm", "--reason", "maybe").expect(4)
    assert world.flag == before


@pytest.mark.parametrize("words", [("enable", "sm", "--reason", "x"), ("ci", "sm", "--fix", "abc1234")], ids=" ".join)
def test_without_anything_to_ask_a_return_is_refused_at_once_and_says_what_is_missing(
    make_world: MakeWorld, words: tuple[str, ...]
) -> None:
    """The shipped gate's deadline is two hours: nobody should wait that long for an address that was never set."""
    world = make_world("v2")
    write_policies(world.cli.policies, deadline="2h")
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("fix", "sm", "abc1234").expect(0)
    for command in (words, ("check", "sm")):
        done = world.cli.run(*command, SM_API_URL=None).expect(4)
        assert "SM_API_URL" in done.err
    assert world.cli.status()["state"] == "disabled"


@pytest.mark.slow
def test_the_measured_exposure_of_each_step_is_real_and_no_step_is_empty(make_world: MakeWorld, api: str) -> None:
    """The flag lets in half by a threshold of its own, so a kill of 50 would open nobody: steps are counted."""
    world = make_world(api, HALF)
    write_policies(world.cli.policies, soak="500ms")
    full = count_now(world.flipt)
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    with Counting(world.flipt) as counting:
        done = world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    counts = list(counting.seen)
    assert counts == sorted(counts), "never down on the way"
    assert counts[0] == 0
    assert counts[-1] == full == count_now(world.flipt)
    assert len(counts) == 4, f"off, and three steps, each of which lets somebody in: {counts}"
    for percent, count in zip((10, 50, 100), counts[1:], strict=True):
        assert abs(count - full * percent / 100) < 40, "a share of those who had it before"
        assert f"step {percent} %: " in done.out
    raised = [row["data"]["exposure"] for row in world.cli.history() if "exposure" in row["data"]]
    assert raised == [5, 25, 50]


@pytest.mark.slow
def test_segments_of_the_flag_climb_with_everybody_else(world: World) -> None:
    before, flag = served(world.flipt.url), world.flag
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    told = world.cli.run("enable", "sm", "--reason", "fixed", "--fix", "abc123", "--json").expect(0).json
    assert (told["state"], told["exposure"], told["incident"]) == ("resolved", 100, None)
    assert world.flag == flag
    assert served(world.flipt.url) == before
    assert world.cli.status()["state"] in ("normal", "resolved")
    names = [row["name"] for row in world.cli.history()]
    assert names.count("gate_passed") == 3
    assert names[-1] == "monitoring_ended"


@pytest.mark.slow
def test_the_return_keeps_what_others_edited_meanwhile(world: World) -> None:
    """Another flag, a rollout that was appended to this one, and its description."""
    world.cli.run("disable", "sm").expect(0)
    edited_by_people(world)
    expected = flag_of(FOR_VETERANS, FOR_HALF, threshold(100, False, "their last rule"), description="new words")
    world.cli.run("release", "sm", "--reason", "that is wanted").expect(0)
    world.mend()
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    with_us_never_there = FliptServer(world.flipt.api, seed={"namespaces": {NAMESPACE: {"flags": [expected]}}})
    with with_us_never_there as reference:
        assert world.flag == seen_of(reference)
    assert seen_of(world.flipt, "other")["enabled"] is False


def edited_by_people(world: World) -> None:
    """What a colleague does in the browser while the feature is off."""
    if world.flipt.api == "v1":
        base = f"/api/v1/namespaces/{NAMESPACE}/flags"
        _ok(world, "PUT", f"{base}/other", {"name": "Other", "enabled": False})
        fields = {"name": "Secure Messaging", "description": "new words", "enabled": False}
        _ok(world, "PUT", f"{base}/{FLAG}", {**fields, "metadata": {"owner": "mhv", "tier": 1}})
        rollouts = _ok(world, "GET", f"{base}/{FLAG}/rollouts")["rules"]
        rank = max(rollout["rank"] for rollout in rollouts) + 1
        body = {"rank": rank, "description": "their last rule", "threshold": {"percentage": 100, "value": False}}
        _ok(world, "POST", f"{base}/{FLAG}/rollouts", body)
        return
    base = f"/api/v2/environments/default/namespaces/{NAMESPACE}/resources"
    for key, changes in (("other", {"enabled": False}), (FLAG, {"description": "new words"})):
        found = _ok(world, "GET", f"{base}/flipt.core.Flag/{key}")
        payload = {**found["resource"]["payload"], **changes}
        if key == FLAG:
            payload["rollouts"] = [
                *payload["rollouts"],
                {
                    "type": "THRESHOLD_ROLLOUT_TYPE",
                    "description": "their last rule",
                    "threshold": {"percentage": 100, "value": False},
                },
            ]
        _ok(world, "PUT", base, {"key": key, "revision": found["revision"], "payload": payload})


def _ok(world: World, method: str, path: str, body: Any = None) -> Any:
    answer = ask(world.flipt.url, method, path, body)
    assert answer.status == 200, answer.body
    return answer.body


# -- what ends it --------------------------------------------------------------------------------------------------


def climbing(world: World, **limits: Any) -> Any:
    """A return that has let the first tenth in, and watches it for long."""
    write_policies(world.cli.policies, soak="20s", deadline="60s", **limits)
    (world.cli.policies / "critical.yaml").write_text(
        (world.cli.policies / "critical.yaml").read_text().replace("minimum_soak: 20s", "minimum_soak: 50ms", 1)
    )
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    running = world.cli.start("enable", "sm", "--reason", "fixed")
    running.said("step 10 %")
    assert served(world.flipt.url) > 0
    return running


@pytest.mark.slow
@pytest.mark.parametrize(("api", "number"), [("v1", signal.SIGINT), ("v2", signal.SIGTERM)])
def test_a_signal_while_ramping_retreats_first_and_then_ends_with_130(world: World, number: signal.Signals) -> None:
    running = climbing(world)
    running.signal(number)
    done = running.result().expect(130)
    assert "Retreat" in done.out
    assert served(world.flipt.url) == 0
    status = world.cli.status()
    assert (status["exposure"], status["pending_off_since"]) == (0, None)


@pytest.mark.slow
@on_v2
def test_harm_while_ramping_turns_it_off_again_by_itself(world: World) -> None:
    running = climbing(world)
    world.break_it()
    done = running.result().expect(4)
    assert "Retreat" in done.out
    assert served(world.flipt.url) == 0
    assert world.cli.status()["state"] == "disabled"


@pytest.mark.slow
@pytest.mark.parametrize(("api", "elsewhere"), [("v1", False), ("v2", False), ("v1", True)])
def test_a_disable_while_ramping_wins_over_the_return(make_world: MakeWorld, api: str, elsewhere: bool) -> None:
    world = make_world(api)
    running = climbing(world)
    who = world.machine("second") if elsewhere else world.cli
    told = who.run("disable", "sm", "--json").expect(0).json
    assert told["off_proven"] is True
    done = running.result().expect(4)
    assert "disabled again" in done.out
    assert served(world.flipt.url) == 0
    assert who.status()["exposure"] == 0


@pytest.mark.slow
@on_v2
def test_after_kill_minus_9_while_ramping_the_next_changing_command_retreats_and_says_so(world: World) -> None:
    running = climbing(world)
    running.kill()
    assert served(world.flipt.url) > 0, "nobody was left to turn it down"
    done = world.cli.run("note", "sm", "what happened?").expect(0)
    assert "died" in done.out
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_only_one_process_brings_it_back(make_world: MakeWorld) -> None:
    world = make_world("v2")
    running = climbing(world)
    done = world.cli.run("enable", "sm", "--reason", "me too", "--json").expect(3)
    assert str(running.pid) in done.json["error"]["message"]
    running.signal()
    running.result().expect(130)


@pytest.mark.slow
@on_v1
def test_a_foreign_edit_that_takes_our_kill_out_while_ramping_is_put_right(world: World) -> None:
    running = climbing(world)
    fields = {name: value for name, value in flag_of(FOR_VETERANS, FOR_HALF).items() if name != "key"}
    world.flipt.edit_flag(NAMESPACE, FLAG, **fields)
    running.result().expect(4)
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_until_full_returns_at_100_percent_and_says_that_nobody_watches(make_world: MakeWorld) -> None:
    world = make_world("v1")
    write_policies(world.cli.policies, monitoring="10m")
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    done = world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
    assert "nobody watches" in done.out
    status = world.cli.status()
    assert (status["state"], status["exposure"]) == ("monitoring", 100)
    assert status["needs_human"], "somebody has to watch"
    running = world.cli.start("enable", "sm", "--reason", "I watch")
    running.said("Monitoring")
    running.signal()
    running.result().expect(130)
    assert served(world.flipt.url) == 0, "whoever watched has left, so it went down"


@pytest.mark.slow
def test_a_raise_that_the_store_refuses_leaves_nothing_half_open(make_world: MakeWorld) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    world.flipt.faults.add(Fault.status(WRITES, MANAGEMENT, status=403, body={"code": 7, "message": "denied"}, times=1))
    world.cli.run("enable", "sm", "--reason", "fixed").expect(6)
    assert served(world.flipt.url) == 0
