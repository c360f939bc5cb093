"""What a person decides on the way back: force, blind gates, evidence of a fix, a larger audience, undo, keep-off."""

from __future__ import annotations

import getpass
from datetime import timedelta

import pytest

from tests.e2e.conftest import MakeWorld, on_v1, on_v2
from tests.e2e.harness import aged, until
from tests.e2e.worlds import FLAG, FOR_HALF, HALF, NAMESPACE, World, flag_of, served, write_policies
from tests.sandbox.calls import threshold

# -- the way around the gate ---------------------------------------------------------------------------------------


@pytest.mark.slow
@on_v1
def test_force_skips_the_gate_says_so_and_leaves_a_review_item(world: World) -> None:
    before = world.flag
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    done = world.cli.run("enable", "sm", "--reason", "PO decided", "--force", "--for", "1h").expect(0)
    assert "FORCED" in done.out
    assert world.flag == before
    reviews = [row["after"]["review"] for row in world.cli.history() if row["kind"] == "transition"]
    assert reviews[-1], "somebody has to look at it afterwards"


@pytest.mark.slow
def test_force_never_skips_the_monitor(make_world: MakeWorld) -> None:
    world = make_world("v2")
    write_policies(world.cli.policies, monitoring="30s")
    world.cli.run("disable", "sm").expect(0)
    done = world.cli.run("enable", "sm", "--reason", "PO decided", "--force").expect(4)
    assert "harm" in done.out
    assert served(world.flipt.url) == 0, "it was harmful, and went down by itself"


@pytest.mark.slow
def test_a_forced_return_without_evidence_expires(make_world: MakeWorld) -> None:
    world = make_world("v1")
    write_policies(world.cli.policies, monitoring="10m")
    world.cli.run("disable", "sm").expect(0)
    world.api.behave(error_rate=0.0, mode="disabled")
    done = world.cli.run("enable", "sm", "--reason", "PO decided", "--force", "--for", "1s").expect(4)
    assert "expired" in done.out
    assert served(world.flipt.url) == 0


def test_force_has_a_limit_and_for_needs_force(make_world: MakeWorld) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    before = world.flag
    too_long = world.cli.run("enable", "sm", "--reason", "x", "--force", "--for", "9h", "--json").expect(3)
    assert "8h" in too_long.json["error"]["message"]
    alone = world.cli.run("enable", "sm", "--reason", "x", "--for", "1h", "--json").expect(2)
    assert "--force" in alone.json["error"]["message"]
    assert world.flag == before


# -- a gate that could not see the fault ---------------------------------------------------------------------------


@pytest.mark.slow
@on_v2
def test_a_blind_gate_opens_nothing_by_itself(world: World) -> None:
    """The probes were green while people called it broken: they cannot see this fault."""
    world.mend()
    world.cli.run("disable", "sm").expect(0)
    assert world.cli.status()["gate_blind"] is True
    before = world.flag
    for words in (("enable",), ("enable", "--accept-blind", "--actor", "somebody"), ("false-alarm",)):
        done = world.cli.run(words[0], "sm", "--reason", "x", *words[1:], "--json").expect(3)
        assert "blind" in done.json["error"]["message"], words
    assert world.flag == before
    world.cli.run("enable", "sm", "--reason", "I looked at it myself", "--accept-blind").expect(0)
    assert served(world.flipt.url) > 0


@pytest.mark.slow
def test_a_sensitive_case_comes_back_only_by_an_authenticated_person(make_world: MakeWorld) -> None:
    world = make_world("v2", flag_of(threshold(100, True)))
    world.cli.run("open", "sm", "--severity", "high", "--sensitive", "--reason", "messages of others are seen").expect(
        0
    )
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    world.cli.run("enable", "sm", "--reason", "fixed").expect(3)
    world.cli.run("enable", "sm", "--reason", "fixed", "--accept-blind", "--actor", "somebody").expect(3)
    assert served(world.flipt.url) == 0
    world.cli.run("enable", "sm", "--reason", "fixed", "--accept-blind").expect(0)


# -- evidence belongs to a fix -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evidence_of_the_same_fix_is_kept_for_the_next_run_and_no_other(make_world: MakeWorld) -> None:
    world = make_world("v2")
    write_policies(world.cli.policies, soak="3s")
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    asked = world.api.log.count("GET", "folders")
    running = world.cli.start("enable", "sm", "--reason", "fixed", "--fix", "abc123")
    until(lambda: world.api.log.count("GET", "folders") > asked + 60, what="observing")
    running.signal()
    running.result().expect(130)
    again = world.cli.start("enable", "sm", "--reason", "fixed", "--fix", "abc123")
    kept = int(again.said("from an earlier run").split()[0])
    again.signal()
    again.result().expect(130)
    assert kept >= 50, "what was observed counts"
    assert served(world.flipt.url) == 0
    other = world.cli.start("enable", "sm", "--reason", "fixed", "--fix", "def456")
    other.said("step 1 of 3")
    other.signal()
    assert "from an earlier run" not in other.result().expect(130).out, "another fix begins from nothing"


@pytest.mark.slow
def test_a_changed_policy_makes_the_evidence_start_again(make_world: MakeWorld) -> None:
    world = make_world("v1")
    write_policies(world.cli.policies, soak="3s")
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    asked = world.api.log.count("GET", "folders")
    running = world.cli.start("enable", "sm", "--reason", "fixed", "--fix", "abc123")
    until(lambda: world.api.log.count("GET", "folders") > asked + 60, what="observing")
    running.signal()
    running.result().expect(130)
    write_policies(world.cli.policies, soak="50ms", monitoring="200ms")
    done = world.cli.run("enable", "sm", "--reason", "fixed", "--fix", "abc123").expect(0)
    assert "The policy has changed" in done.out
    assert "from an earlier run" not in done.out


# -- whom it would serve -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_larger_audience_than_before_is_a_persons_decision(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, HALF)
    world.cli.run("disable", "sm").expect(0)
    ours = next(one for one in world.flag["rollouts"] if "rollback:" in one["description"])
    widened = flag_of(ours, FOR_HALF, threshold(100, True, "now for everybody"))
    world.flipt.edit_flag(NAMESPACE, FLAG, **{name: value for name, value in widened.items() if name != "key"})
    world.mend()
    done = world.cli.run("enable", "sm", "--reason", "fixed", "--json").expect(3)
    assert "100" in done.json["error"]["message"]
    assert "50" in done.json["error"]["message"]
    assert "release" in done.json["error"]["next"]
    assert served(world.flipt.url) == 0
    shown = world.cli.run("release", "sm", "--reason", "it is meant for everybody now").expect(0)
    assert "100 of 100 buckets would be open (before the incident: 50)" in shown.out
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert served(world.flipt.url) == 3000


@pytest.mark.slow
def test_keep_off_holds_until_it_is_released(make_world: MakeWorld) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("keep-off", "sm", "--reason", "audit").expect(0)
    world.mend()
    for words in (("enable", "--force"), ("enable",), ("undo",), ("false-alarm",)):
        done = world.cli.run(words[0], "sm", "--reason", "x", *words[1:], "--json").expect(3)
        assert "kept off" in done.json["error"]["message"], words
    assert world.cli.status()["kept_off"] is True
    assert served(world.flipt.url) == 0
    world.cli.run("release", "sm", "--reason", "audit is done").expect(0)
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert served(world.flipt.url) > 0


# -- a disable that was wrong --------------------------------------------------------------------------------------


@pytest.mark.slow
@on_v2
def test_undo_gives_back_at_once_what_was_there_and_watches_it(world: World) -> None:
    before = world.flag
    world.cli.run("disable", "sm", "--reason", "oops").expect(0)
    world.mend()
    done = world.cli.run("undo", "sm", "--reason", "wrong feature").expect(0)
    assert "Monitor" in done.out
    assert world.flag == before
    assert world.cli.status()["incident"] is None


@pytest.mark.slow
def test_undo_is_refused_for_others_a_second_disable_and_after_ten_minutes(make_world: MakeWorld) -> None:
    world = make_world("v1")
    world.mend()
    world.cli.run("disable", "sm").expect(0)
    before = world.flag
    late = aged(world.cli, timedelta(minutes=11))
    assert "10 minutes" in late.run("undo", "sm", "--reason", "x", "--json").expect(3).json["error"]["message"]
    other = world.cli.run("undo", "sm", "--reason", "x", "--actor", "somebody", "--json").expect(3)
    assert getpass.getuser() in other.json["error"]["message"]
    assert world.flag == before
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("undo", "sm", "--reason", "x").expect(3)
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_an_undone_feature_that_is_harmful_goes_off_again(make_world: MakeWorld) -> None:
    world = make_world("v2")
    write_policies(world.cli.policies, monitoring="60s")
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("undo", "sm", "--reason", "I thought it was fine").expect(4)
    assert served(world.flipt.url) == 0


@pytest.mark.slow
@on_v1
def test_false_alarm_takes_the_gate_one_watched_step_and_an_authenticated_person(world: World) -> None:
    before = world.flag
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    world.cli.run("false-alarm", "sm", "--reason", "x", "--actor", "somebody").expect(3)
    assert served(world.flipt.url) == 0
    done = world.cli.run("false-alarm", "sm", "--reason", "the monitor read another service").expect(0)
    assert "step 1 of 1" in done.out
    assert world.flag == before


@pytest.mark.slow
@on_v1
def test_another_machine_adopts_the_case_and_brings_the_feature_back(world: World) -> None:
    before = world.flag
    incident = world.cli.run("disable", "sm", "--json").expect(0).json["incident"]
    world.mend()
    other = world.machine("second")
    assert incident in other.status()["differs"][0], "it recognises what is not its own"
    refused = other.run("enable", "sm", "--reason", "fixed", "--json").expect(3)
    assert "rollback adopt" in refused.json["error"]["next"]
    assert served(world.flipt.url) == 0
    adopted = other.run("adopt", "sm", "--reason", "the first laptop is gone", "--json").expect(0).json
    assert adopted["incident"] == incident
    other.run("enable", "sm", "--reason", "fixed").expect(0)
    assert world.flag == before
    other.run("verify").expect(0)
