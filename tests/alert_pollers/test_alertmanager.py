"""Alertmanager: what is resolved and what is only forgotten both vanish; only one of them is recovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.adapters.alert_pollers.alertmanager import AlertmanagerAlertPoller
from rollback.adapters.alert_sources.alertmanager import parse
from rollback.adapters.careful_http import bearer
from rollback.core.alerts import Edge
from rollback.errors import StoreRefused
from rollback.sandbox.monitoring import written
from rollback.sandbox.wire import Request, json_answer, json_bytes
from tests.alert_pollers.benches import NOON, AlertmanagerBench, alerts, edges

FIRED, UNCLEAR, RECOVERED = Edge.FIRED, Edge.UNCLEAR, Edge.RECOVERED


@pytest.fixture
def bench() -> Iterator[AlertmanagerBench]:
    made = AlertmanagerBench()
    yield made
    made.close()


def test_an_alert_bears_what_rules_match_on(bench: AlertmanagerBench) -> None:
    bench.api.alertmanager.fire("f1", NOON, alertname="SmErrors", severity="critical", env="prod", empty="")
    (alert,) = alerts(bench.poll())
    assert (alert.monitor, alert.priority, alert.title) == ("SmErrors", "CRITICAL", "SmErrors")
    assert alert.tags == ("alertname:SmErrors", "env:prod", "severity:critical")
    assert alert.link.startswith("https://prometheus.example.org/")


def test_pushed_and_polled_the_same_alert_is_the_same_cycle(bench: AlertmanagerBench) -> None:
    """The webhook writes nanoseconds, the API milliseconds."""
    starts_at = NOON.replace(microsecond=123_987)
    bench.api.alertmanager.fire("f1", starts_at, alertname="SmErrors", severity="critical")
    (polled,) = alerts(bench.poll())
    entry = {
        "status": "firing",
        "labels": {"alertname": "SmErrors", "severity": "critical"},
        "annotations": {},
        "startsAt": written(starts_at).replace("Z", "654-05:00").replace("T12", "T07").replace("000654", "654"),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "f1",
    }
    body = json_bytes({"version": "4", "groupKey": "{}:{}", "receiver": "sm", "status": "firing", "alerts": [entry]})
    (pushed,) = parse("watch", {"content-type": "application/json"}, body).alerts
    assert (pushed.monitor, pushed.cycle, pushed.tags) == (polled.monitor, polled.cycle, polled.tags)
    assert pushed.priority == polled.priority


@pytest.mark.parametrize("how", ["silence", "inhibit", "unprocessed", "new state"])
def test_what_is_suppressed_is_unclear_and_stays_so_when_it_vanishes(bench: AlertmanagerBench, how: str) -> None:
    bench.fire("SmErrors")
    alert = bench.api.alertmanager.alerts["fSmErrors"]
    match how:
        case "silence":
            bench.api.alertmanager.silence("fSmErrors")
        case "inhibit":
            alert.inhibited_by = ["other"]
        case "unprocessed":
            alert.state = "unprocessed"
        case _:
            alert.state = "something new"
    assert edges(bench.poll()) == [("SmErrors", UNCLEAR)]
    (state,) = bench.poller.monitors(["SmErrors"], bench.clock.now())
    assert (state.state, state.muted) == ("unknown", how in ("silence", "inhibit"))
    bench.resolve("SmErrors")
    assert bench.poll() == [], "nothing fired, so nothing recovered"


def test_after_a_restart_absence_is_no_recovery(bench: AlertmanagerBench) -> None:
    bench.fire("SmErrors")
    (fired,) = alerts(bench.poll())
    bench.api.alertmanager.restart()
    for _ in range(3):
        assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, UNCLEAR)]
    bench.api.alertmanager.fire("fSmErrors", NOON, alertname="SmErrors", severity="critical")
    assert alerts(bench.poll()) == [fired], "it was sent again: the same cycle, still firing"
    bench.resolve("SmErrors")
    assert edges(bench.poll()) == [("SmErrors", RECOVERED)]


def test_an_alert_that_nobody_renewed_has_not_recovered(bench: AlertmanagerBench) -> None:
    """Prometheus is down: its alerts run out by themselves."""
    bench.fire("SmErrors")
    bench.poll()
    bench.api.alertmanager.prometheus_is_up = False
    assert edges(bench.poll(later=60)) == [("SmErrors", FIRED)]
    assert edges(bench.poll(later=600)) == [("SmErrors", UNCLEAR)]
    assert edges(bench.poll(later=600)) == [("SmErrors", UNCLEAR)]


def test_a_long_pause_between_polls_leaves_it_unclear(bench: AlertmanagerBench) -> None:
    bench.fire("SmErrors")
    bench.poll()
    bench.resolve("SmErrors")
    assert edges(bench.poll(later=3600)) == [("SmErrors", UNCLEAR)]


def test_a_cluster_that_is_settling_tells_of_no_recovery(bench: AlertmanagerBench) -> None:
    bench.fire("SmErrors")
    bench.poll()
    bench.resolve("SmErrors")
    bench.api.alertmanager.cluster = "settling"
    assert edges(bench.poll()) == [("SmErrors", UNCLEAR)]
    bench.api.alertmanager.cluster = "ready"
    assert edges(bench.poll()) == [("SmErrors", RECOVERED)]


@pytest.mark.parametrize("status", [[], {}, {"uptime": "soon"}, {"uptime": None, "cluster": 5}, None])
def test_an_instance_that_does_not_say_who_it_is_tells_of_no_recovery(bench: AlertmanagerBench, status: Any) -> None:
    bench.fire("SmErrors")
    bench.api.fault = lambda request: json_answer(status) if request.path.endswith("status") else None
    bench.poll()
    bench.resolve("SmErrors")
    assert edges(bench.poll()) == [("SmErrors", UNCLEAR)]


def test_what_recovered_and_fires_again_in_the_same_cycle_counts_as_firing(bench: AlertmanagerBench) -> None:
    """An end that was told is later than the beginning; only a later repetition makes the cycle fire again."""
    bench.fire("SmErrors")
    (fired,) = alerts(bench.poll())
    bench.resolve("SmErrors")
    (over,) = alerts(bench.poll())
    bench.api.alertmanager.fire("fSmErrors", NOON, alertname="SmErrors", severity="critical")
    (again,) = alerts(bench.poll())
    assert (again.edge, again.cycle) == (Edge.REPEATED, fired.cycle)
    assert again.occurred_at is not None
    assert over.occurred_at is not None
    assert again.occurred_at > over.occurred_at
    assert alerts(bench.poll()) == [again]
    bench.resolve("SmErrors")
    (ended,) = alerts(bench.poll())
    assert ended.edge is RECOVERED
    assert ended.occurred_at is not None
    assert ended.occurred_at > again.occurred_at


def test_the_matchers_are_sent(bench: AlertmanagerBench) -> None:
    asked: list[Request] = []

    def fault(request: Request) -> None:
        asked.append(request)

    bench.poller.close()
    bench.poller = AlertmanagerAlertPoller("watch", url=bench.api.url, clock=bench.clock, filters=['service="sm"'])
    bench.api.fault = fault
    bench.poll()
    assert asked[0].query["filter"] == 'service="sm"'
    assert asked[0].query["silenced"] == "true"


def test_a_token_is_sent_and_a_wrong_one_is_not_shown(bench: AlertmanagerBench) -> None:
    bench.api.alertmanager.token = "right-token"
    with pytest.raises(StoreRefused, match="credentials of watch"):
        bench.poll()
    for token, works in (("wrong-token", False), ("right-token", True)):
        bench.poller.close()
        headers = bearer(lambda token=token: token)  # type: ignore[misc]
        bench.poller = AlertmanagerAlertPoller("watch", url=bench.api.url, clock=bench.clock, headers=headers)
        if works:
            assert bench.poll() == []
        else:
            with pytest.raises(StoreRefused) as failed:
                bench.poll()
            assert token not in f"{failed.value} {failed.value.next}"


STATUS = {"state": "active", "silencedBy": [], "inhibitedBy": []}
BAD: list[Any] = [
    {},
    None,
    [1],
    [{"labels": {"alertname": "x"}}],
    [{"labels": {"alertname": "x"}, "status": STATUS, "fingerprint": "f"}],
    [{"labels": {"alertname": "x"}, "status": STATUS, "fingerprint": "f", "startsAt": "yesterday"}],
    [{"labels": {"alertname": "x"}, "status": STATUS, "fingerprint": "", "startsAt": "2026-11-23T12:00:00Z"}],
    [{"labels": {"alertname": 1}, "status": STATUS, "fingerprint": "f", "startsAt": "2026-11-23T12:00:00Z"}],
    [{"labels": {}, "status": STATUS, "fingerprint": "f", "startsAt": "2026-11-23T12:00:00Z"}],
    [{"labels": {"alertname": "x"}, "status": "active", "fingerprint": "f", "startsAt": "2026-11-23T12:00:00Z"}],
]


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_no_list_of_alerts_is_refused(bench: AlertmanagerBench, document: Any) -> None:
    bench.api.fault = lambda request: json_answer(document) if request.path.endswith("alerts") else None
    with pytest.raises(StoreRefused, match="no list of alerts"):
        bench.poll()


def test_names_that_are_too_long_stay_different(bench: AlertmanagerBench) -> None:
    bench.api.alertmanager.fire("f1", NOON, alertname="x" * 300 + "1")
    bench.api.alertmanager.fire("f2", NOON, alertname="x" * 300 + "2")
    assert len({one.monitor for one in alerts(bench.poll())}) == 2


def test_a_monitor_names_the_receivers_that_it_tells(bench: AlertmanagerBench) -> None:
    bench.fire("SmErrors")
    state, absent = bench.poller.monitors(["SmErrors", "Other"], bench.clock.now())
    assert (state.state, state.notifies) == ("alert", ("sm-team",))
    assert (absent.state, absent.alerts) == ("unknown", ())
