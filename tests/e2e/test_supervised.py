"""What a running server looks after: drift, what is pending, and whatever is exposed without a living watcher."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Running, until
from tests.e2e.serving import SECRETS, Serving, datadog, serving, with_alerts
from tests.e2e.worlds import FLAG, FOR_HALF, FOR_VETERANS, NAMESPACE, World, flag_of, seed_of, served, write_policies

pytestmark = pytest.mark.slow


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A feature with rules."""
    return ruled(make_world("v2"))


@pytest.fixture
def server(world: World) -> Iterator[Serving]:
    """A server that is ready."""
    with serving(world.cli) as running:
        yield running


def ruled(world: World, **limits: Any) -> World:
    """The world with rules, and with these limits in its policies."""
    write_policies(world.cli.policies, **limits)
    with_alerts(world.cli.policies)
    return world


def state(world: World) -> str:
    return str(world.cli.status()["state"])


def edit(world: World) -> None:
    """Somebody puts the flag back as the team had it: our kill is gone."""
    fields = {name: value for name, value in flag_of(FOR_VETERANS, FOR_HALF).items() if name != "key"}
    world.flipt.edit_flag(NAMESPACE, FLAG, **fields)


# -- while it is off ------------------------------------------------------------------------------------------------


def test_a_foreign_edit_that_lets_users_in_is_put_right_once_and_then_a_human_is_called(
    world: World, server: Serving
) -> None:
    server.send(datadog())
    until(lambda: state(world) == "disabled", what="off")
    edit(world)
    until(lambda: served(world.flipt.url) == 0, what="the drift put right")
    until(lambda: state(world) == "disabled", what="proven again")
    assert "drift_seen" in server.names()
    edit(world)
    until(lambda: world.cli.status()["needs_human"] is not None, what="the call")
    assert "second foreign edit" in server.running.said("second foreign edit")


def test_a_foreign_edit_that_opens_a_reduced_feature_wider_is_put_right(world: World, server: Serving) -> None:
    world.cli.run("open", "sm", "--severity", "high", "--reason", "slow").expect(0)
    until(lambda: state(world) == "reduced", what="reduced")
    reduced = served(world.flipt.url)
    edit(world)
    until(lambda: "drift_seen" in server.names(), what="the drift seen")
    until(lambda: state(world) == "reduced", what="the drift put right")
    assert served(world.flipt.url) == reduced


def test_an_off_that_the_store_did_not_take_is_tried_again_until_it_does(make_world: MakeWorld) -> None:
    world = ruled(make_world("v2"))
    port = world.flipt.port
    with serving(world.cli) as server:
        world.flipt.stop()
        assert server.send(datadog()).status_code == 202, "kept, although nothing can be done now"
        assert "rollback runbook" in server.running.said("does not take the off")
        with FliptServer("v2", seed=seed_of(flag_of(FOR_VETERANS, FOR_HALF)), port=port) as back:
            until(lambda: served(back.url) == 0, what="off once it is back")
            until(lambda: server.cli.status()["off_proven"], what="proven")
        assert server.names().count("case_opened") == 1


# -- on its way back --------------------------------------------------------------------------------------------------


def disabled(world: World, server: Serving) -> None:
    """An alert turned it off, and is over; the application is mended."""
    server.send(datadog())
    until(lambda: state(world) == "disabled", what="off")
    server.send(datadog("Recovered"))
    until(lambda: "alerts_recovered" in server.names(), what="the recovery")
    world.mend()


def climbing(world: World, *, until_full: bool = False) -> Running:
    """A return that has let somebody in, and cannot end soon."""
    words = ("enable", "sm", "--reason", "fixed", *(("--until", "full") if until_full else ()))
    running = world.cli.start(*words)
    running.said("step 10 %")
    return running


def test_a_return_until_full_is_handed_over_and_watched_to_its_end(world: World, server: Serving) -> None:
    disabled(world, server)
    done = world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
    assert "serve watches it from here on" in done.out
    until(lambda: state(world) == "normal", what="monitored and resolved")
    assert server.names()[-1] == "monitoring_ended"
    assert served(world.flipt.url) > 0


def test_a_watch_that_serve_took_over_still_turns_off_at_harm(make_world: MakeWorld) -> None:
    world = ruled(make_world("v2"), monitoring="1h")
    with serving(world.cli) as server:
        disabled(world, server)
        world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
        until(lambda: server.names()[-1] == "return_started", what="the watch taken over")
        world.break_it()
        until(lambda: served(world.flipt.url) == 0, what="off again")


@pytest.mark.crash
def test_what_a_killed_return_left_exposed_goes_down_by_itself(make_world: MakeWorld) -> None:
    world = ruled(make_world("v2"), soak="19s")
    with serving(world.cli) as server:
        disabled(world, server)
        write_policies(world.cli.policies, soak="50ms", monitoring="1h")
        with_alerts(world.cli.policies)
        running = climbing(world)
        running.kill()
        until(lambda: served(world.flipt.url) == 0, what="down again")
        assert "watch_stopped" in server.names()


@pytest.mark.parametrize("hands_over", [False, True], ids=["retreats", "hands over"])
def test_a_server_that_ends_while_it_watches_retreats_or_hands_over(make_world: MakeWorld, hands_over: bool) -> None:
    world = ruled(make_world("v2"), monitoring="1h")
    running = world.cli.start("serve", "--port", "0", *(("--hand-over",) if hands_over else ()), **SECRETS)
    server = Serving(world.cli, running, running.said("Ready").split("listening on ")[1].strip().rstrip("."))
    disabled(world, server)
    world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
    until(lambda: server.names()[-1] == "return_started", what="the watch taken over")
    running.signal(signal.SIGTERM)
    assert running.result().code == 0
    assert (served(world.flipt.url) > 0) is hands_over
    if hands_over:
        with serving(world.cli) as successor:
            until(lambda: successor.names()[-1] == "return_started", what="the watch taken over again")


@pytest.mark.crash
def test_what_a_killed_server_watched_goes_down_when_the_next_one_starts(make_world: MakeWorld) -> None:
    world = ruled(make_world("v2"), monitoring="1h")
    with serving(world.cli) as server:
        disabled(world, server)
        world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
        until(lambda: server.names()[-1] == "return_started", what="the watch taken over")
        server.running.kill()
    assert served(world.flipt.url) > 0
    with serving(world.cli):
        until(lambda: served(world.flipt.url) == 0, what="down again")


def test_a_new_cycle_after_the_return_turns_it_off_again_and_a_reminder_of_the_old_one_does_not(
    make_world: MakeWorld,
) -> None:
    world = ruled(make_world("v2"), monitoring="1h")
    with serving(world.cli) as server:
        disabled(world, server)
        world.cli.run("enable", "sm", "--reason", "fixed", "--until", "full").expect(0)
        until(lambda: server.names()[-1] == "return_started", what="the watch taken over")
        writes = world.writes
        assert server.send(datadog("Renotify")).status_code == 202
        until(lambda: server.decisions()[-1]["evidence"]["edge"] == "repeated", what="the reminder")
        assert world.writes == writes
        assert server.send(datadog("Triggered", "cycle-2")).status_code == 202
        until(lambda: served(world.flipt.url) == 0, what="off again")
        until(lambda: state(world) == "disabled", what="proven")
        assert server.names().count("case_opened") == 1


def test_no_step_up_happens_while_an_attached_alert_fires(world: World, server: Serving) -> None:
    server.send(datadog())
    until(lambda: state(world) == "disabled", what="off")
    world.mend()
    write_policies(world.cli.policies, deadline="3s")
    with_alerts(world.cli.policies)
    done = world.cli.run("enable", "sm", "--reason", "fixed").expect(4)
    assert "fires" in done.out + done.err
    assert served(world.flipt.url) == 0
    server.send(datadog("Recovered"))
    until(lambda: "alerts_recovered" in server.names(), what="the recovery")
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
