"""Ten thousand deliveries at once: none lost, none doubled, and a critical one among them is not late."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.bench.storm import Answers, request_of, storm
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import PATIENCE, until
from tests.e2e.serving import SECRET, Sent, Serving, datadog, pagerduty, serving, with_alerts
from tests.e2e.worlds import World, seen_of

pytestmark = [pytest.mark.slow, pytest.mark.crash]

STORM = 10_000
TIMES = 6 if "COVERAGE_PROCESS_CONFIG" in os.environ else 3
"""How many times its idle time a critical alert may take in a storm; a measured process is slower under load."""
CONNECTIONS = 50

OTHER = """\
feature: other
name: Another feature
production: true
flag: {namespace: mhv, key: other}
clients: [{name: App, kind: polling, interval: 50ms}]
alerts:
  - {name: other-errors, source: datadog, monitors: ["4712"], severity: critical}
"""


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Two features with a critical rule each, on a store whose writes take as long as Flipt v2's."""
    world = make_world("v2", put_delay=0.08)
    with_alerts(world.cli.policies)
    (world.cli.policies / "features" / "other.yaml").write_text(OTHER)
    return world


@pytest.fixture
def server(world: World) -> Iterator[Serving]:
    """A server that is ready."""
    with serving(world.cli) as running:
        yield running


def as_bytes(server: Serving, sent: Sent) -> bytes:
    """The request on the wire."""
    return request_of(urlsplit(server.url).netloc, f"/alerts/{sent.source}", sent.body, dict(sent.headers))


def valid(server: Serving, count: int) -> list[bytes]:
    """Signed alerts of cycles of their own, about which no feature has a rule."""
    sent = (datadog("Triggered", f"storm-{number}", **{"$ALERT_ID": "9999"}) for number in range(count))
    return [as_bytes(server, one) for one in sent]


def is_off(world: World, key: str) -> bool:
    """Whether the flag's first rollout is a kill of everybody."""
    rollouts = seen_of(world.flipt, key).get("rollouts") or []
    first = rollouts[0] if rollouts else {}
    return bool(first.get("threshold", {}).get("percentage") == 100 and not first.get("threshold", {}).get("value"))


def seconds_until_off(world: World, key: str, send: Callable[[], object]) -> float:
    """From the first byte of the alert until the store has the kill."""
    began = time.perf_counter()
    sender = threading.Thread(target=send)
    sender.start()
    never = threading.Event()
    while not is_off(world, key):
        assert time.perf_counter() - began < PATIENCE, f"{key} is not off"
        never.wait(0.001)
    taken = time.perf_counter() - began
    sender.join(PATIENCE)
    return taken


def kept(server: Serving) -> dict[str, str]:
    """The key and the end of every delivery in the inbox's own file."""
    with sqlite3.connect(server.cli.folder / "rollback.state.db") as database:
        return dict(database.execute("SELECT key, COALESCE(ended_at, '') FROM deliveries").fetchall())


def test_in_the_middle_of_a_storm_a_critical_alert_is_acted_on_almost_as_fast_as_in_idleness(
    world: World, server: Serving
) -> None:
    idle = seconds_until_off(world, "other", lambda: server.send(datadog(**{"$ALERT_ID": "4712"})))
    requests = valid(server, STORM)
    middle = threading.Event()
    found: list[Answers] = []
    on_answer = lambda count: middle.set() if count == STORM // 2 else None  # noqa: E731
    sender = threading.Thread(
        target=lambda: found.append(storm(server.url, requests, connections=CONNECTIONS, on_answer=on_answer))
    )
    sender.start()
    assert middle.wait(120)
    stormy = seconds_until_off(world, "secure-messaging", lambda: server.send(datadog("Triggered", "the-one")))
    sender.join(120)
    answers = found[0]
    assert len(answers.with_status(202)) == STORM
    assert answers.percentile(0.99) < 1.0
    assert stormy <= TIMES * idle, f"{stormy:.3f} s in the storm, {idle:.3f} s without"
    until(lambda: all(kept(server).values()), timeout=120, what="everything worked off")
    assert len(kept(server)) == STORM + 2
    names = server.names()
    assert names.count("case_opened") == 1
    server.cli.run("verify").expect(0)


def test_after_kill_minus_9_in_a_storm_everything_that_was_acknowledged_is_there_and_decided(
    world: World, server: Serving
) -> None:
    requests = [*valid(server, 2000), as_bytes(server, datadog("Triggered", "the-one")), *valid(server, STORM)[2000:]]

    def kill(count: int) -> None:
        if count == STORM // 2:
            server.running.kill()

    answers = storm(server.url, requests, connections=CONNECTIONS, on_answer=kill)
    acknowledged = answers.with_status(202)
    assert STORM // 2 <= len(acknowledged) < STORM, "it was killed in the middle"
    with serving(world.cli) as successor:
        until(lambda: all(kept(successor).values()), timeout=120, what="everything worked off")
        assert len(kept(successor)) >= len(acknowledged)
        until(lambda: successor.cli.status()["off_proven"], what="a proven off")
        again = storm(successor.url, requests, connections=CONNECTIONS)
        assert len(again.with_status(202)) == len(requests)
        assert len(kept(successor)) == len(requests), "each is kept once, however often it came"
        until(lambda: all(kept(successor).values()), timeout=120, what="everything worked off")
        names = successor.names()
        assert names.count("case_opened") == 1
        successor.cli.run("verify").expect(0)


def test_duplicated_reordered_delayed_forged_and_malformed_deliveries_end_in_exactly_one_disable(
    world: World, server: Serving
) -> None:
    chance = random.Random(4711)
    good = [
        datadog("Triggered", "the-one"),
        *(datadog("Renotify", "the-one", **{"$ID": f"again-{number}"}) for number in range(200)),
        *(datadog("Recovered", "the-one", **{"$ID": f"over-{number}"}) for number in range(20)),
    ]
    bad = [
        datadog("Triggered", "the-one", secret=SECRET[::-1]),
        datadog("Triggered", "the-one").without("X-Rollback-Secret"),
        pagerduty(secrets=("not the secret at all",)),
        Sent("datadog", b"{" * 500, datadog().headers),
        Sent("datadog", bytes(chance.randrange(256) for _ in range(300)), datadog().headers),
        Sent("datadog", b'{"alert_id": "4711"}', datadog().headers),
        Sent("nobody", datadog().body, datadog().headers),
        datadog("Triggered", "an-old-one", **{"$DATE": "1700000000000", "$LAST_UPDATED": "1700000000000"}),
    ]
    requests = [as_bytes(server, chance.choice(good if chance.random() < 0.6 else bad)) for _ in range(STORM)]
    requests.append(as_bytes(server, good[0]))
    chance.shuffle(requests)
    answers = storm(server.url, requests, connections=CONNECTIONS)
    assert len(answers.answered) == len(requests)
    assert {status for status, _ in answers.answered.values()} <= {202, 401, 404}
    until(lambda: all(kept(server).values()), timeout=120, what="everything worked off")
    until(lambda: server.cli.status()["state"] == "disabled", what="off")
    names = server.names()
    assert names.count("case_opened") == 1
    assert names.count("disable_commanded") == 1
    kills = [rollout for rollout in world.flag["rollouts"] if "rollback:" in rollout.get("description", "")]
    assert len(kills) == 1
    server.cli.run("verify").expect(0)
