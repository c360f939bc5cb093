"""A replica serves what its primary was some time ago, and hands writes on."""

from __future__ import annotations

import time

from rollback.sandbox import FliptServer
from rollback.sandbox.documents import dump_state, read_state
from rollback.sandbox.remote import RemotePrimary
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded, threshold
from tests.sandbox.waiting import wait_until

ROLLOUTS = "/api/v1/namespaces/mhv/flags/sm/rollouts"
KILL = {"rank": 0, "description": "kill", "threshold": {"percentage": 100, "value": False}}


def enabled(server: FliptServer) -> bool:
    """What a server says over HTTP."""
    asked = {"namespaceKey": "mhv", "flagKey": "sm", "entityId": "e", "context": {}}
    return bool(ask(server.url, "POST", "/evaluate/v1/boolean", asked).body["enabled"])


def test_a_replica_turns_later_than_its_primary() -> None:
    with (
        FliptServer("v1", seed=seeded(boolean_flag())) as primary,
        FliptServer(replica_of=primary, lag=0.3) as replica,
    ):
        assert ask(primary.url, "POST", ROLLOUTS, KILL).status == 200
        written = time.monotonic()
        assert not enabled(primary)
        assert enabled(replica)
        assert ask(replica.url, "GET", ROLLOUTS).body["rules"] == []
        wait_until(lambda: not enabled(replica))
        assert 0.25 <= time.monotonic() - written < 2
        assert len(ask(replica.url, "GET", ROLLOUTS).body["rules"]) == 1


def test_a_write_to_a_replica_reaches_the_primary() -> None:
    with (
        FliptServer("v1", seed=seeded(boolean_flag())) as primary,
        FliptServer(replica_of=primary, lag=0.2) as replica,
    ):
        assert ask(replica.url, "POST", ROLLOUTS, KILL).status == 200
        assert not enabled(primary)


def test_a_replica_of_a_read_only_server_is_read_only() -> None:
    with (
        FliptServer("v1", seed=seeded(boolean_flag()), read_only=True) as primary,
        FliptServer(replica_of=primary) as replica,
    ):
        assert ask(replica.url, "POST", ROLLOUTS, KILL).status == 500


def test_a_replica_by_url_follows_writes_through_and_outlives_its_primary() -> None:
    seed = seeded(boolean_flag(rollouts=[threshold(50, True)]), segments=(VETERANS,))
    token = {"authorization": "Bearer secret"}
    with (
        FliptServer("v1", seed=seed, token="secret") as primary,
        FliptServer(replica_of=primary.url, lag=0.2, token="secret") as replica,
    ):
        assert replica.api == "v1"
        assert ask(replica.url, "POST", ROLLOUTS, KILL, **token).status == 200
        assert not primary.evaluate_boolean("mhv", "sm", "e")
        assert len(ask(replica.url, "GET", ROLLOUTS, **token).body["rules"]) == 1
        wait_until(lambda: len(ask(replica.url, "GET", ROLLOUTS, **token).body["rules"]) == 2)
        there, here = (ask(server.url, "GET", ROLLOUTS, **token).body for server in (primary, replica))
        assert there == here
        primary.stop()
        assert ask(replica.url, "GET", ROLLOUTS, **token).body == here


def test_the_stream_of_a_replica_is_late_as_well() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag())) as primary:
        remote = RemotePrimary(primary.url, lag=0.1)
        version = remote.current().version
        primary.touch()
        edited = time.monotonic()
        assert remote.wait_for_change(version, timeout=5).version == version + 1
        assert time.monotonic() - edited >= 0.09


def test_a_dump_gives_the_whole_state_back() -> None:
    variant = {
        "key": "vf",
        "enabled": True,
        "metadata": {"n": 3},
        "variants": [{"key": "blue", "attachment": {"a": 1}, "default": True}],
        "rules": [{"segment": {"key": "veterans"}, "distributions": [{"variant": "blue", "rollout": 99.01}]}],
    }
    rollouts = [threshold(12.5, True, rank=-1), {"segment": {"key": "veterans", "value": True}}]
    seed = {
        "environments": {
            "default": seeded(boolean_flag(rollouts=rollouts), variant, segments=(VETERANS,)),
            "staging": seeded(boolean_flag(enabled=False)),
        }
    }
    dumped = dump_state(read_state(seed, "v2"))
    assert dump_state(read_state(dumped, "v2")) == dumped
