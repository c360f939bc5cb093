"""`rollback watch`, for teams with read access alone, and the probes that run all the time: the same rules decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from rollback.sandbox.monitoring import MonitoringApi
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Running, until
from tests.e2e.serving import serving, with_alerts
from tests.e2e.worlds import World, served

pytestmark = pytest.mark.slow

RULES = """
alerts:
  - {name: sm-errors, source: datadog, monitors: ["4711"], tags: [env:eks-prod], severity: critical}
  - {name: sm-alerts, source: alertmanager, monitors: [SmErrors], severity: critical}
"""


def polls(url: str) -> str:
    """Whom to ask."""
    return (
        "polls:\n"
        f"  datadog: {{kind: datadog, url: '{url}', interval: 5s, query: 'Secure Messaging',\n"
        "    credentials: {api_key: DD_API_KEY, application_key: DD_APP_KEY}}\n"
        f"  alertmanager: {{kind: alertmanager, url: '{url}', interval: 5s}}\n"
    )


@contextmanager
def watching(world: World, api: MonitoringApi) -> Iterator[Running]:
    """`rollback watch`, which has asked once."""
    running = world.cli.start("watch", DD_API_KEY=api.datadog.API_KEY, DD_APP_KEY=api.datadog.APPLICATION_KEY)
    try:
        running.said("Watching: datadog, alertmanager")
        yield running
    finally:
        if running.is_running:
            running.kill()


def ask_once(world: World, api: MonitoringApi) -> None:
    """`rollback watch --once`, to its end."""
    keys = {"DD_API_KEY": api.datadog.API_KEY, "DD_APP_KEY": api.datadog.APPLICATION_KEY}
    world.cli.start("watch", "--once", **keys).result().expect(0)


def names(world: World) -> list[str]:
    return [str(row["name"]) for row in world.cli.history()]


def test_a_monitor_that_fires_turns_off_and_its_recovery_is_attached(make_world: MakeWorld) -> None:
    world = make_world("v2")
    with MonitoringApi() as api:
        api.datadog.add(4711, "MHV Secure Messaging errors", tags=["env:eks-prod"], priority=1)
        with_alerts(world.cli.policies, RULES, polls(api.url))
        with watching(world, api) as running:
            api.datadog.trigger(4711, at=datetime.now(UTC) - timedelta(seconds=2))
            until(lambda: world.cli.status()["off_proven"], what="a proven off")
            writes = world.writes
            api.datadog.resolve(4711, at=datetime.now(UTC))
            until(lambda: "alerts_recovered" in names(world), what="the recovery")
            assert world.writes == writes
            running.signal(15)
            assert running.result().code == 0
        assert names(world).count("case_opened") == 1
        assert served(world.flipt.url) == 0


def test_no_data_and_muted_monitors_turn_nothing_off(make_world: MakeWorld) -> None:
    world = make_world("v1")
    with MonitoringApi() as api:
        api.datadog.add(4711, "MHV Secure Messaging errors", tags=["env:eks-prod"])
        api.datadog.trigger(4711, at=datetime.now(UTC), status="No Data")
        with_alerts(world.cli.policies, RULES, polls(api.url))
        ask_once(world, api)
    assert world.writes == 0
    assert world.cli.status()["state"] == "normal"


def test_once_asks_decides_and_ends(make_world: MakeWorld) -> None:
    world = make_world("v2")
    with MonitoringApi() as api:
        api.alertmanager.fire("c0ffee", datetime.now(UTC) - timedelta(seconds=3), alertname="SmErrors", env="prod")
        api.datadog.add(1, "MHV Secure Messaging")
        with_alerts(world.cli.policies, RULES, polls(api.url))
        ask_once(world, api)
        ask_once(world, api)
    assert served(world.flipt.url) == 0
    assert names(world).count("case_opened") == 1
    assert names(world).count("disable_commanded") == 1


def test_with_nobody_to_ask_it_says_so_and_ends(make_world: MakeWorld) -> None:
    world = make_world("v2")
    done = world.cli.run("watch").expect(2)
    assert "polls" in done.err


def test_our_own_probes_turn_a_broken_feature_off_before_any_monitor_tells(make_world: MakeWorld) -> None:
    world = make_world("v2")
    rules = "\nprobing: {enabled: true, interval: 20ms, severity: critical}\n"
    with_alerts(world.cli.policies, rules)
    world.mend()
    with serving(world.cli) as server:
        writes = world.writes
        until(lambda: world.api.count() > 50, what="probes")
        assert world.writes == writes, "healthy: nothing happens"
        world.break_it()
        until(lambda: served(world.flipt.url) == 0, what="off")
        until(lambda: server.cli.status()["off_proven"], what="proven")
        assert server.decisions()[0]["evidence"]["source"] == "probes"
