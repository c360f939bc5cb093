"""`rollback disable` with the policies that are shipped: off for everybody, proven, told, and recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.harness import SHIPPED_POLICIES, Cli, Result
from tests.e2e.worlds import CONTEXTS, ENTITIES, FEATURE, World, served, served_by_sdk, world_in

DATED = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d E[SD]T \(\d\d:\d\d:\d\d UTC\)"
"""A time with weekday, date and zone, as `TZ=America/New_York` writes it."""
PROMISED_KEYS = {
    "feature",
    "state",
    "severity",
    "incident",
    "since",
    "exposure",
    "off_proven",
    "off_basis",
    "store",
    "needs_human",
    "evidence",
}


@dataclass(frozen=True, slots=True)
class Disabled:
    """A world after `rollback disable sm`: what the command said, and how many were served before."""

    world: World
    cli: Cli
    done: Result
    served_before: int


def shipped(world: World) -> Cli:
    """A machine with the shipped policies; only clients poll faster."""
    return Cli(world.folder / "shipped", world.flipt.url, SHIPPED_POLICIES, {"SM_CLIENT_POLL_SECONDS": "1"})


@pytest.fixture(scope="module")
def disabled(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disabled]:
    """One disable, looked at from many sides."""
    with world_in(tmp_path_factory.mktemp(f"disabled-{api}"), api) as world:
        cli, before = shipped(world), served(world.flipt.url)
        yield Disabled(world, cli, cli.run("disable", "sm", "--reason", "non-200s").expect(0), before)


@pytest.mark.slow
def test_after_disable_nobody_is_served_by_server_or_sdk(disabled: Disabled) -> None:
    assert ENTITIES < disabled.served_before < ENTITIES * len(CONTEXTS), "the flag was on for some before"
    assert served(disabled.world.flipt.url) == 0
    assert served_by_sdk(disabled.world.flipt.url) == 0


@pytest.mark.slow
def test_the_first_line_of_disable_names_the_world(disabled: Disabled) -> None:
    first = disabled.done.lines[0]
    assert disabled.world.flipt.url in first
    for part in ("environment default", "namespace mhv", "flag secure-messaging"):
        assert part in first


@pytest.mark.slow
def test_disable_tells_times_with_zone_what_is_not_covered_case_and_next(disabled: Disabled) -> None:
    said = disabled.done.out
    assert re.search(rf"is OFF on the server since {DATED}, proven", said)
    assert re.search(rf"Clients that poll follow by {DATED}, assumed by time", said)
    assert "Not covered: VA Health and Benefits mobile app" in said
    assert re.search(r"Case secure-messaging-\d{8}T\d{6}Z-[0-9a-f]{4}: critical", said)
    assert re.search(rf"Proven for every kind of client at {DATED}", said)
    following = next(line for line in disabled.done.lines if line.startswith("Next: "))
    assert "rollback status" in following
    assert "rollback enable" in following
    assert disabled.done.err == "", "nothing to warn about"


@pytest.mark.slow
def test_status_after_a_disable_has_every_promised_key_and_part_of_the_proof(disabled: Disabled) -> None:
    told = disabled.cli.status()
    assert told.keys() >= PROMISED_KEYS
    assert told["feature"] == FEATURE
    assert (told["state"], told["severity"], told["exposure"], told["off_proven"]) == ("disabled", "critical", 0, True)
    assert told["needs_human"] is None
    assert disabled.world.flipt.url in told["store"]
    assert told["world"]["environment"] == "default"
    assert {part["name"]: part["status"] for part in told["off_basis"]["parts"]} == {
        "reasoning": "proven",
        "engine": "proven",
        "server": "proven",
        "polling": "assumed",
        "effect": "not_configured",
    }
    assert "VA Health and Benefits mobile app" in told["off_basis"]["not_covered"]


@pytest.mark.slow
def test_status_claims_no_proof_before_pollers_had_time(disabled: Disabled) -> None:
    told = disabled.cli.run("status", "sm", "--json", SM_CLIENT_POLL_SECONDS="3600").expect(0).json
    assert told["exposure"] == 0
    assert told["off_proven"] is False
    assert {part["name"]: part["status"] for part in told["off_basis"]["parts"]}["polling"] == "waiting"


@pytest.mark.slow
def test_history_has_the_intent_before_the_write_and_the_proof_last(disabled: Disabled) -> None:
    rows = disabled.cli.history()
    assert [row["kind"] for row in rows[:2]] == ["intent", "outcome"]
    assert [row["name"] for row in rows] == [
        "lower_exposure",
        "lower_exposure",
        "case_opened",
        "disable_commanded",
        "off_written",
        "off_proven",
    ]
    assert {row["reason"] for row in rows[:2]} == {"non-200s"}
    assert disabled.cli.run("verify").expect(0).lines[0].startswith("secure-messaging: whole")


@pytest.mark.slow
def test_the_feature_is_found_by_key_and_by_its_open_incident(disabled: Disabled) -> None:
    incident = disabled.cli.status()["incident"]
    for name in (FEATURE, incident):
        assert disabled.cli.run("status", name, "--json").expect(0).json["incident"] == incident
    unknown = disabled.cli.run("status", "nosuch", "--json").expect(2)
    assert unknown.json["error"]["code"] == "configuration"


# -- what does not stop it -----------------------------------------------------------------------------------------


def test_no_wait_returns_with_exit_5_and_says_what_is_pending(world: World) -> None:
    done = shipped(world).run("disable", "sm", "--no-wait", SM_CLIENT_POLL_SECONDS="60").expect(5)
    assert "is OFF on the server since" in done.out
    assert "poll" in done.lines[-1]
    assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_ctrl_c_stops_the_waiting_and_never_the_off(world: World) -> None:
    cli = shipped(world)
    running = cli.start("disable", "sm", SM_CLIENT_POLL_SECONDS="60")
    running.said("is OFF on the server")
    assert running.is_running, "it waits for those who poll"
    running.signal()
    done = running.result().expect(5)
    assert "The flag stays off" in done.out
    assert served(world.flipt.url) == 0
    assert cli.status()["exposure"] == 0


def test_a_second_disable_puts_a_kill_of_its_own_in_front_and_attaches(world: World) -> None:
    first = world.cli.run("disable", "sm", "--json").expect(0).json
    second = world.cli.run("disable", "sm", "--json").expect(0).json
    assert (first["attached"], second["attached"]) == (False, True)
    assert second["incident"] == first["incident"]
    assert second["off_since"] == first["off_since"], "it is off since the first one"
    status = world.cli.status()
    assert [mark["key"] for mark in status["ours_on_flag"]] == [second["kill"], first["kill"]]
    for key in ("state", "severity", "exposure", "off_proven", "off_since", "not_covered"):
        assert second[key] == status[key], key


def test_the_very_flag_can_be_turned_off_without_any_policy(world: World) -> None:
    bare = Cli(world.folder / "bare", world.flipt.url, world.folder / "no-such-folder")
    done = bare.run("disable", "--flag", "default/mhv/secure-messaging", "--json", "--no-wait").expect(5)
    assert done.json["exposure"] == 0
    assert done.json["off_proven"] is False, "without a policy nobody knows who reads it"
    assert served(world.flipt.url) == 0


@pytest.mark.parametrize("broken", ["gate: [unfinished", "severity: critical\nmitigation: nonsense\n"])
def test_a_broken_policy_outside_the_flags_reference_delays_nothing(world: World, broken: str) -> None:
    (world.cli.policies / "critical.yaml").write_text(broken)
    told = world.cli.run("disable", "sm", "--json").expect(0).json
    assert told["off_proven"] is True
    assert served(world.flipt.url) == 0


def test_probes_that_hang_do_not_hold_up_the_off(world: World) -> None:
    world.api.behave(mode="hang")
    running = world.cli.start("disable", "sm")
    running.said("is OFF on the server")
    assert served(world.flipt.url) == 0
    running.result().expect(0)
