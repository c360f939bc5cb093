"""The figures: what is counted, that none of it is a secret, and that what is not known is not zero."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollback.errors import HistoryUnwritable
from rollback.server.metrics import Meters
from tests.fakes.clock import FakeClock
from tests.server.stand_ins import ENVIRON, World, datadog, delivery, request, serving, status_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    with serving(tmp_path, clock=clock) as running:
        yield running


def figures(world: World) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Each series by name and labels."""
    text = world.talk(request("GET", "/metrics", close=True)).partition(b"\r\n\r\n")[2].decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_what_the_dispatcher_and_the_supervisor_tell_is_shown(world: World) -> None:
    meters = world.services.meters
    meters.decided("turn_off")
    meters.decided("turn_off")
    meters.off_written(0.7)
    meters.off_ended("proven")
    meters.incidents({"disabled": 2})
    meters.incidents({"verifying": 1, "normal": 3})
    meters.exposure("secure-messaging", 0.0)
    meters.exposure("checkout", None)
    meters.needs_human("secure-messaging", True)
    meters.armed("secure-messaging", True)
    meters.armed("secure-messaging", False)
    meters.heartbeat(datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    found = figures(world)
    assert found["rollback_decisions_total"] == {(("action", "turn_off"),): 2}
    assert found["rollback_off_seconds_count"] == {(): 1}
    assert found["rollback_off_seconds_sum"] == {(): 0.7}
    assert found["rollback_offs_total"] == {(("result", "proven"),): 1}
    assert found["rollback_incidents"] == {(("state", "verifying"),): 1}  # and no case is counted twice
    assert found["rollback_exposure_percent"][("feature", "secure-messaging"),] == 0
    assert math.isnan(found["rollback_exposure_percent"][("feature", "checkout"),])
    assert found["rollback_needs_human"] == {(("feature", "secure-messaging"),): 1}
    assert found["rollback_armed"] == {(("feature", "secure-messaging"),): 0}
    assert found["rollback_heartbeat_timestamp_seconds"] == {(): 1795435200}


def test_what_waits_in_the_inbox_is_counted_and_aged(world: World, clock: FakeClock) -> None:
    assert figures(world)["rollback_inbox_pending"] == {(): 0}
    assert figures(world)["rollback_inbox_oldest_pending_age_seconds"] == {(): 0}
    world.talk(delivery(datadog("one")))
    clock.sleep(30)
    world.talk(delivery(datadog("two")))
    clock.sleep(12)
    assert figures(world)["rollback_inbox_pending"] == {(): 2}
    assert figures(world)["rollback_inbox_oldest_pending_age_seconds"] == {(): 42}
    world.inbox.settle({kept.number: "done" for kept in world.kept()}, clock.now())
    assert figures(world)["rollback_inbox_pending"] == {(): 0}


def test_an_inbox_that_cannot_be_read_is_not_an_empty_one(world: World) -> None:
    world.services.keeper.close()
    world.inbox.close()
    with pytest.raises(HistoryUnwritable):
        world.inbox.pending(1)
    found = figures(world)
    assert math.isnan(found["rollback_inbox_pending"][()])
    assert math.isnan(found["rollback_inbox_oldest_pending_age_seconds"][()])


def test_channels_and_sources_are_shown(world: World) -> None:
    found = figures(world)
    assert found["rollback_notices_total"] == {
        (("channel", "slack"), ("result", "told")): 5,
        (("channel", "slack"), ("result", "given_up")): 1,
    }
    assert found["rollback_notices_waiting"] == {(("channel", "slack"),): 2}
    assert found["rollback_source_open"][("source", "datadog"),] == 1
    assert found["rollback_source_open"][("source", "closed"),] == 0


def test_no_secret_is_a_figure(world: World) -> None:
    world.talk(delivery(X_Rollback_Secret="a-forged-secret-of-somebody"))
    text = world.talk(request("GET", "/metrics", close=True))
    assert status_of(text) == 200
    for secret in (*ENVIRON.values(), "a-forged-secret-of-somebody"):
        assert secret.encode() not in text


def test_openmetrics_is_spoken_to_who_asks_for_it(world: World) -> None:
    answer = world.talk(request("GET", "/metrics", None, {"Accept": "application/openmetrics-text"}, close=True))
    assert b"content-type: application/openmetrics-text" in answer
    assert answer.endswith(b"# EOF\n")


def test_two_servers_count_apart() -> None:
    one, other = Meters(), Meters()
    one.decided("turn_off")
    assert one.registry.get_sample_value("rollback_decisions_total", {"action": "turn_off"}) == 1
    assert other.registry.get_sample_value("rollback_decisions_total", {"action": "turn_off"}) is None


def test_counts_from_many_threads_are_all_there() -> None:
    meters = Meters()

    def count() -> None:
        for _ in range(500):
            meters.delivered("datadog", "alerts")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = {"source": "datadog", "kind": "alerts"}
    assert meters.registry.get_sample_value("rollback_deliveries_total", labels) == 4000
