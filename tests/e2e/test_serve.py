"""Alerts as each sender delivers them, to a real server: off once, proven, and explained."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import until
from tests.e2e.serving import FIRES, OLD, RECOVERS, SECRET, Sent, Serving, datadog, pagerduty, serving, with_alerts
from tests.e2e.worlds import World, seen_of, served

pytestmark = pytest.mark.slow


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A broken feature with rules for every sender."""
    world = make_world("v2")
    with_alerts(world.cli.policies)
    return world


@pytest.fixture
def server(world: World) -> Iterator[Serving]:
    """A server that is ready."""
    with serving(world.cli) as running:
        yield running


def is_proven(server: Serving) -> bool:
    return server.cli.status()["off_proven"] is True and server.cli.status()["state"] == "disabled"


@pytest.mark.parametrize("sender", FIRES)
def test_each_sender_turns_off_once_its_recovery_flips_nothing_and_a_replay_changes_nothing(
    world: World, server: Serving, sender: str
) -> None:
    fired = FIRES[sender]()
    assert server.send(fired).status_code == 202
    until(lambda: is_proven(server), what="a proven off")
    assert served(world.flipt.url) == 0
    incident, flag, writes = server.cli.status()["incident"], world.flag, world.writes

    assert server.send(RECOVERS[sender]()).status_code == 202
    until(lambda: "alerts_recovered" in server.names(), what="the recovery")
    assert server.send(fired).status_code == 202, "the very same request again"
    until(lambda: server.counted("rollback_duplicate_deliveries_total", source=fired.source) == 1, what="the duplicate")

    assert (world.flag, world.writes) == (flag, writes), "no flip, no second disable"
    assert server.cli.status()["incident"] == incident
    assert server.names().count("case_opened") == 1
    assert server.names().count("disable_commanded") == 1
    first = server.decisions()[0]
    assert first["evidence"]["monitor"]
    assert first["rule"]
    assert first["why"]
    server.cli.run("verify").expect(0)


def test_during_a_rotation_both_secrets_count_and_a_signature_of_any_is_enough(world: World, server: Serving) -> None:
    assert server.send(datadog("Recovered", "c-9", secret=OLD)).status_code == 202
    assert (
        server.send(pagerduty("incident.resolved", "P9", secrets=("something else entirely", OLD))).status_code == 202
    )
    assert world.writes == 0


def forged() -> dict[str, Sent]:
    """Requests that are nobody's, by what is wrong with them."""
    wrong = "0123456789abcdef-a-guess"
    signed = pagerduty()
    return {
        "no secret": datadog().without("X-Rollback-Secret"),
        "a wrong secret": datadog(secret=wrong),
        "a secret cut short": datadog(secret=SECRET[:-1]),
        "no signature": signed.without("X-PagerDuty-Signature"),
        "a signature by another secret": pagerduty(secrets=(wrong,)),
        "a signature of another body": Sent("pagerduty", signed.body.replace(b"P1", b"P2"), signed.headers),
        "the secret of another way": Sent("alertmanager", signed.body, {"X-Rollback-Secret": SECRET}),
        "oversized": Sent("datadog", b" " * (2 * 1024 * 1024), datadog().headers),
        "an unknown sender": Sent("nobody", datadog().body, datadog().headers),
    }


def test_no_forged_oversized_or_unsigned_request_changes_anything_and_each_is_counted(
    world: World, server: Serving
) -> None:
    before = world.flag
    requests = forged()
    for name, request in requests.items():
        answer = server.send(request)
        assert 400 <= answer.status_code < 500, name
        assert SECRET not in answer.text
        assert len(answer.content) < 1000
    assert server.counted("rollback_receiver_refused_total") == len(requests)
    assert server.counted("rollback_deliveries_total") == 0
    assert (world.flag, world.writes) == (before, 0)
    assert server.cli.status()["state"] == "normal"


def test_a_test_notification_is_answered_recorded_and_does_nothing(world: World, server: Serving) -> None:
    body = json.dumps(
        {"event": {"id": "01", "event_type": "pagey.ping", "resource_type": "pagey", "data": {}}}
    ).encode()
    signed = pagerduty()
    import hashlib
    import hmac

    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert server.send(Sent(signed.source, body, {"X-PagerDuty-Signature": f"v1={signature}"})).status_code == 202
    until(lambda: server.counted("rollback_deliveries_total", kind="test") == 1, what="the test")
    assert world.writes == 0


def test_what_is_not_understood_is_kept_for_reading_and_told(world: World, server: Serving) -> None:
    assert server.send(Sent("datadog", b'{"title": "[Triggered] it burns"}', datadog().headers)).status_code == 202
    told = server.running.said("was not understood")
    assert "datadog" in told
    assert world.writes == 0


def test_an_old_alert_is_recorded_and_told_and_not_acted_on(world: World, server: Serving) -> None:
    assert server.send(datadog(**{"$DATE": "1700000000000", "$LAST_UPDATED": "1700000000000"})).status_code == 202
    until(lambda: server.decisions() != [], what="the decision")
    assert server.decisions()[0]["action"] == "tell"
    assert world.writes == 0
    assert served(world.flipt.url) > 0


def test_the_server_ends_politely_and_its_successor_finds_everything_settled(world: World, server: Serving) -> None:
    server.send(datadog())
    until(lambda: is_proven(server), what="a proven off")
    assert server.stop() == 0
    writes = world.writes
    with serving(world.cli) as successor:
        assert successor.send(datadog()).status_code == 202
        assert world.writes == writes
        assert successor.cli.status()["state"] == "disabled"


def test_of_a_shared_cause_on_twenty_features_as_many_go_off_as_the_policy_allows_and_a_human_is_called(
    make_world: MakeWorld,
) -> None:
    world = make_world("v1")
    with_alerts(world.cli.policies)
    flags = [f"feature-{number:02}" for number in range(20)]
    for flag in flags:
        new = {"key": flag, "name": flag, "type": "BOOLEAN_FLAG_TYPE", "enabled": True}
        assert world.flipt.carry_out("POST", "/api/v1/namespaces/mhv/flags", new).status == 200
        (world.cli.policies / "features" / f"{flag}.yaml").write_text(
            f"feature: {flag}\nname: {flag}\nproduction: true\nflag: {{namespace: mhv, key: {flag}}}\n"
            "clients: [{name: App, kind: polling, interval: 50ms}]\n"
            "alerts: [{name: platform, source: datadog, tags: [env:eks-prod], severity: critical}]\n"
        )
    with serving(world.cli) as again:
        assert again.send(datadog(**{"$ALERT_ID": "the login of everything"})).status_code == 202
        until(lambda: again.counted("rollback_decisions_total") >= 20, what="twenty decisions")
        off = [flag for flag in flags if killed(world, flag)]
        assert len(off) == 3
        assert "shared cause" in again.running.said("shared cause")
        assert again.counted("rollback_decisions_total", action="tell") == 17
        left = next(flag for flag in flags if flag not in off)
        world.cli.run("disable", left).expect(0)
        assert killed(world, left), "a person is never braked"


def killed(world: World, flag: str) -> bool:
    """Whether a kill of ours is on the flag."""
    return any(
        "rollback:" in rollout.get("description", "") for rollout in seen_of(world.flipt, flag).get("rollouts", [])
    )


def test_what_a_hold_kept_back_is_acted_on_as_soon_as_it_is_released(world: World) -> None:
    world.cli.run("hold", "sm", "--until", "2h", "--reason", "load test").expect(0)
    with serving(world.cli) as server:
        server.send(datadog())
        until(lambda: server.counted("rollback_decisions_total", action="suppress") == 1, what="held back")
        assert served(world.flipt.url) > 0
        world.cli.run("hold", "sm", "--release").expect(0)
        until(lambda: is_proven(server), what="a proven off")
        assert server.names().count("disable_commanded") == 1


def test_a_release_names_the_alerts_that_nobody_waits_for_any_more(world: World, server: Serving) -> None:
    server.send(datadog())
    until(lambda: is_proven(server), what="a proven off")
    until(lambda: server.cli.status()["alerts_firing"], what="the alert attached")
    told = world.cli.run("release", "sm", "--reason", "the monitor was deleted").expect(0)
    (line,) = [line for line in told.out.splitlines() if "Not waited for any more" in line]
    assert line.endswith(" fires.")
    assert server.cli.status()["alerts_firing"] == []
