"""Prometheus: absence is recovery only when the same process evaluated the rule well since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from rollback.core.alerts import Edge
from rollback.errors import StoreRefused
from rollback.sandbox.wire import json_answer
from tests.alert_pollers.benches import NOON, PrometheusBench, alerts, edges

FIRED, UNCLEAR, RECOVERED = Edge.FIRED, Edge.UNCLEAR, Edge.RECOVERED


@pytest.fixture
def bench() -> Iterator[PrometheusBench]:
    made = PrometheusBench()
    yield made
    made.close()


def test_an_alert_bears_what_rules_match_on(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON, severity="page", env="prod")
    (alert,) = alerts(bench.poll())
    assert (alert.monitor, alert.priority, alert.occurred_at) == ("SmErrors", "PAGE", NOON)
    assert alert.tags == ("alertname:SmErrors", "env:prod", "severity:page")


def test_it_fired_after_its_wait_and_not_when_it_became_active(bench: PrometheusBench) -> None:
    """With `for: 20m` an alert that fires just now would else look 20 minutes old, too old to act on."""
    bench.api.prometheus.fire("SmErrors", NOON - timedelta(minutes=20))
    bench.api.prometheus.rules["SmErrors"].waits = 1200
    (alert,) = alerts(bench.poll())
    assert alert.occurred_at == NOON


def test_what_is_pending_fires_not(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON, "pending")
    assert bench.poll() == []
    (state,) = bench.poller.monitors(["SmErrors"], bench.clock.now())
    assert (state.state, state.why) == ("unknown", "pending")


def test_what_is_pending_again_has_not_recovered(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON)
    bench.poll()
    bench.api.prometheus.fire("SmErrors", bench.clock.now(), "pending")
    assert edges(bench.poll()) == [("SmErrors", UNCLEAR)]


def test_active_anew_is_a_new_cycle_and_ends_the_one_before(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON)
    (first,) = alerts(bench.poll())
    bench.clock.passed += 100
    bench.api.prometheus.fire("SmErrors", bench.clock.now())
    told = {one.edge: one for one in alerts(bench.poll())}
    assert told[RECOVERED].cycle == first.cycle
    assert told[FIRED].cycle != first.cycle


def test_two_alerts_of_one_rule_are_two_cycles_of_one_monitor(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON, pod="a")
    bench.api.prometheus.fire("SmErrors", NOON, pod="b")
    (reading,) = bench.poll()
    assert len({one.cycle for one in reading.alerts}) == 2
    bench.api.prometheus.resolve("SmErrors", pod="a")
    (reading,) = bench.poll()
    assert sorted(one.edge for one in reading.alerts) == [FIRED, RECOVERED]


def test_after_a_restart_absence_is_no_recovery_until_the_rules_had_time(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON)
    (fired,) = alerts(bench.poll())
    bench.api.prometheus.restart()
    for _ in range(14):
        assert [(one.cycle, one.edge) for one in alerts(bench.poll(later=60))] == [(fired.cycle, UNCLEAR)]
    assert [(one.cycle, one.edge) for one in alerts(bench.poll(later=120))] == [(fired.cycle, RECOVERED)]


def test_an_alert_that_is_restored_after_a_restart_is_the_same_cycle(bench: PrometheusBench) -> None:
    bench.api.prometheus.fire("SmErrors", NOON)
    first = bench.poll()
    bench.api.prometheus.restart()
    bench.poll()
    bench.api.prometheus.fire("SmErrors", NOON)
    assert [one.key for one in bench.poll()] == [one.key for one in first]


@pytest.mark.parametrize("how", ["gone", "err", "unknown", "not evaluated", "frozen", "no start", "second rule"])
def test_absence_without_a_sound_rule_is_no_recovery(bench: PrometheusBench, how: str) -> None:
    prometheus = bench.api.prometheus
    prometheus.fire("SmErrors", NOON)
    bench.poll()
    rule = prometheus.rules["SmErrors"]
    prometheus.resolve("SmErrors")
    match how:
        case "gone":
            del prometheus.rules["SmErrors"]
        case "not evaluated":
            document = {"name": "SmErrors", "health": "unknown", "lastEvaluation": "0001-01-01T00:00:00Z"}
            data = {"groups": [{"rules": [document], "interval": 15}]}
            answer = json_answer({"status": "success", "data": data})
            bench.api.fault = lambda request: answer if request.path.endswith("rules") else None
        case "frozen":
            rule.evaluated = bench.clock.now()
        case "no start":
            prometheus.tells_start = False
        case "second rule":
            documents = [
                {"name": "SmErrors", "health": health, "lastEvaluation": "2026-11-23T18:00:00Z"}
                for health in ("ok", "err")
            ]
            data = {"groups": [{"rules": documents, "interval": 15}]}
            answer = json_answer({"status": "success", "data": data})
            bench.api.fault = lambda request: answer if request.path.endswith("rules") else None
        case _:
            rule.health = how
    for _ in range(3):
        assert edges(bench.poll()) == [("SmErrors", UNCLEAR)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"health": "err"}, "gives no result"),
        ({"evaluated": NOON - timedelta(minutes=10)}, "not evaluated lately"),
    ],
)
def test_a_rule_that_says_nothing_about_now_is_unknown(
    bench: PrometheusBench, change: dict[str, Any], why: str
) -> None:
    bench.fire("SmErrors")
    bench.resolve("SmErrors")
    for name, value in change.items():
        setattr(bench.api.prometheus.rules["SmErrors"], name, value)
    (state,) = bench.poller.monitors(["SmErrors"], bench.clock.now())
    assert state.state == "unknown"
    assert why in state.why


BAD: list[Any] = [
    [],
    None,
    {},
    {"status": "error", "errorType": "timeout", "error": "x"},
    {"status": "success"},
    {"status": "success", "data": []},
    {"status": "success", "data": {"alerts": None, "groups": None}},
    {"status": "success", "data": {"alerts": [1], "groups": [1]}},
    {"status": "success", "data": {"alerts": [{}], "groups": [{}]}},
    {"status": "success", "data": {"alerts": [{"labels": {"alertname": "x"}}], "groups": [{"rules": [{}]}]}},
    {"status": "success", "data": {"alerts": [{"labels": {"alertname": 1}}], "groups": [{"rules": 5}]}},
]


@pytest.mark.parametrize("part", ["alerts", "rules"])
@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_no_list_of_alerts_or_rules_is_refused(bench: PrometheusBench, part: str, document: Any) -> None:
    bench.api.fault = lambda request: json_answer(document) if request.path.endswith(part) else None
    with pytest.raises(StoreRefused, match=f"no list of {part}"):
        bench.poll()


def test_wrong_credentials_are_told(bench: PrometheusBench) -> None:
    bench.api.fault = lambda _: json_answer({}, 401)
    with pytest.raises(StoreRefused, match="credentials of watch"):
        bench.poll()
