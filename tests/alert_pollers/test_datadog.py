"""Datadog's monitors: which state is harm, which is health, and which is neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.core.alerts import Edge
from rollback.sandbox.monitoring_datadog import DdGroup
from rollback.sandbox.wire import json_answer
from tests.alert_pollers.benches import NOON, DatadogBench, alerts, edges, other_datadog

FIRED, UNCLEAR, RECOVERED = Edge.FIRED, Edge.UNCLEAR, Edge.RECOVERED


@pytest.fixture
def bench() -> Iterator[DatadogBench]:
    made = DatadogBench()
    yield made
    made.close()


# -- what an alert says ------------------------------------------------------------------------------------------


def test_an_alert_bears_what_rules_match_on(bench: DatadogBench) -> None:
    bench.api.datadog.add(
        103,
        "SM by host",
        priority=2,
        tags=["env:prod"],
        groups={"host:a,az:east": DdGroup(), "host:b,az:east": DdGroup()},
    )
    bench.api.datadog.trigger(103, "host:b,az:east")
    (alert,) = alerts(bench.poll())
    assert (alert.monitor, alert.priority, alert.title) == ("103", "P2", "SM by host")
    assert alert.tags == ("az:east", "env:prod", "host:b")
    assert alert.occurred_at == NOON
    assert alert.cycle == f"103|host:b,az:east|{int(NOON.timestamp())}"


def test_each_group_is_a_cycle_of_its_own(bench: DatadogBench) -> None:
    bench.api.datadog.add(103, "SM by host", groups={"host:a": DdGroup(), "host:b": DdGroup()})
    bench.api.datadog.trigger(103, "host:a")
    bench.poll()
    bench.api.datadog.trigger(103, "host:b")
    bench.api.datadog.resolve(103, "host:a")
    (reading,) = bench.poll()
    assert [(one.cycle.split("|")[1], one.edge) for one in reading.alerts] == [
        ("host:a", RECOVERED),
        ("host:b", FIRED),
    ]


@pytest.mark.parametrize(("priority", "told"), [(1, "P1"), (5, "P5"), (None, ""), (0, ""), (6, ""), (True, "")])
def test_only_priorities_of_datadog_are_told(bench: DatadogBench, priority: int | None, told: str) -> None:
    bench.api.datadog.monitors[101].priority = priority
    bench.fire("101")
    assert alerts(bench.poll())[0].priority == told


def test_a_priority_that_is_changed_while_it_fires_is_a_new_delivery_of_the_same_cycle(bench: DatadogBench) -> None:
    """Else a monitor that is raised to P1 during the incident would never be judged by the rule for P1."""
    bench.api.datadog.monitors[101].priority = 3
    bench.fire("101")
    (before,) = bench.poll()
    bench.api.datadog.monitors[101].priority = 1
    (after,) = bench.poll()
    assert after.key != before.key
    assert after.alerts[0].cycle == before.alerts[0].cycle


def test_a_name_that_is_changed_is_no_new_delivery(bench: DatadogBench) -> None:
    bench.fire("101")
    (before,) = bench.poll()
    bench.api.datadog.monitors[101].name = "Another name"
    (after,) = bench.poll()
    assert after.key == before.key


# -- neither harm nor health -------------------------------------------------------------------------------------

SILENCES: list[tuple[str, dict[str, Any]]] = [
    ("a mute without end", {"silenced": {"*": None}}),
    ("a mute that lasts", {"silenced": {"*": int(NOON.timestamp()) + 3600}}),
    ("a downtime", {"downtimes": [{"id": 1, "scope": ["env:prod"], "start": int(NOON.timestamp()) - 60, "end": None}]}),
    ("a downtime for all", {"downtimes": [{"id": 1, "scope": "*", "start": None, "end": None}]}),
    ("a draft", {"draft": True}),
]


@pytest.mark.parametrize("fields", [case[1] for case in SILENCES], ids=[case[0] for case in SILENCES])
def test_what_is_silenced_is_neither_harm_nor_health(bench: DatadogBench, fields: dict[str, Any]) -> None:
    bench.fire("101")
    (fired,) = alerts(bench.poll())
    for name, value in fields.items():
        setattr(bench.api.datadog.monitors[101], name, value)
    assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, UNCLEAR)]
    bench.resolve("101")
    assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, UNCLEAR)], "muted OK is no health"
    (state,) = bench.poller.monitors(["101"], bench.clock.now())
    assert (state.state, bool(state.why)) == ("unknown", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"silenced": {"*": int(NOON.timestamp()) - 1}},
        {"downtimes": [{"id": 1, "scope": ["*"], "start": None, "end": int(NOON.timestamp()) - 1}]},
        {"downtimes": [{"id": 1, "scope": ["*"], "start": int(NOON.timestamp()) + 3600, "end": None}]},
    ],
)
def test_a_silence_that_is_over_or_to_come_hides_nothing(bench: DatadogBench, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(bench.api.datadog.monitors[101], name, value)
    bench.fire("101")
    assert edges(bench.poll()) == [("101", FIRED)]


def test_a_silence_of_one_group_hides_no_other(bench: DatadogBench) -> None:
    bench.api.datadog.add(
        103, "SM by host", groups={"host:a": DdGroup(), "host:b": DdGroup()}, silenced={"host:a": None}
    )
    bench.api.datadog.trigger(103, "host:a")
    bench.api.datadog.trigger(103, "host:b")
    found = {one.cycle.split("|")[1]: one.edge for one in alerts(bench.poll())}
    assert found == {"host:a": UNCLEAR, "host:b": FIRED}
    (state,) = bench.poller.monitors(["103"], bench.clock.now())
    assert (state.state, state.muted) == ("alert", False)


def test_when_it_is_no_longer_muted_it_fires(bench: DatadogBench) -> None:
    bench.mute("101")
    bench.fire("101")
    assert edges(bench.poll()) == [("101", UNCLEAR)]
    bench.api.datadog.monitors[101].silenced = {}
    assert edges(bench.poll()) == [("101", FIRED)]


@pytest.mark.parametrize("status", ["No Data", "Warn", "Ignored", "Skipped", "Unknown", "Something new"])
def test_no_other_state_ends_an_alert(bench: DatadogBench, status: str) -> None:
    bench.fire("101")
    (fired,) = alerts(bench.poll())
    bench.api.datadog.trigger(101, status=status, at=bench.clock.now())
    assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, UNCLEAR)]
    (state,) = bench.poller.monitors(["101"], bench.clock.now())
    assert (state.state, bool(state.why)) == ("unknown", True)
    bench.resolve("101")
    assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, RECOVERED)]


@pytest.mark.parametrize("status", ["No Data", "Warn"])
def test_missing_data_and_warnings_are_told_as_unclear(bench: DatadogBench, status: str) -> None:
    bench.api.datadog.trigger(101, status=status)
    (alert,) = alerts(bench.poll())
    assert (alert.edge, alert.occurred_at) == (UNCLEAR, NOON)
    assert alert.title.startswith("SM errors (")


def test_a_monitor_that_says_alert_without_any_group_that_does_is_unclear(bench: DatadogBench) -> None:
    bench.api.datadog.monitors[101].overall = "Alert"
    assert edges(bench.poll()) == [("101", UNCLEAR)]


def test_a_monitor_without_any_group_is_judged_by_its_overall_state(bench: DatadogBench) -> None:
    modified = "2026-11-23T11:58:30.000000+00:00"

    def bare(overall: str) -> None:
        document = {"id": 101, "name": "SM", "overall_state": overall, "overall_state_modified": modified, "state": {}}
        bench.api.fault = lambda request: json_answer([document] if request.query.get("page") == "0" else [])

    bare("Alert")
    (alert,) = alerts(bench.poll())
    assert alert.edge is FIRED
    assert str(alert.occurred_at) == "2026-11-23 11:58:30+00:00"
    bare("OK")
    assert edges(bench.poll()) == [("101", RECOVERED)]


def test_an_alert_without_a_time_says_so(bench: DatadogBench) -> None:
    bench.api.datadog.monitors[101].groups["*"] = DdGroup("Alert")
    (alert,) = alerts(bench.poll())
    assert (alert.edge, alert.occurred_at) == (FIRED, None)


@pytest.mark.parametrize("how", ["monitor", "group", "tags"])
def test_what_is_not_told_any_more_has_not_recovered(bench: DatadogBench, how: str) -> None:
    other_datadog(bench, monitor_tags=["service:sm"])
    bench.fire("101")
    (fired,) = alerts(bench.poll())
    monitor = bench.api.datadog.monitors[101]
    if how == "monitor":
        del bench.api.datadog.monitors[101]
    elif how == "tags":
        monitor.tags = []
    else:
        monitor.groups = {"host:new": DdGroup()}
    told = alerts(bench.poll())
    assert [(one.cycle, one.edge) for one in told] == [(fired.cycle, UNCLEAR)]
    assert "told any more" in told[0].title


def test_a_state_that_cannot_be_read_is_no_health(bench: DatadogBench) -> None:
    bench.fire("101")
    (fired,) = alerts(bench.poll())
    broken = {"id": 101, "name": "SM", "overall_state": "OK", "state": {"groups": [1, 2]}}
    bench.api.fault = lambda request: json_answer([broken] if request.query.get("page") == "0" else [])
    assert [(one.cycle, one.edge) for one in alerts(bench.poll())] == [(fired.cycle, UNCLEAR)]


# -- between two polls -------------------------------------------------------------------------------------------


def test_an_alert_that_came_and_went_between_two_polls_is_not_lost(bench: DatadogBench) -> None:
    bench.poll()
    bench.clock.passed += 5
    bench.fire("101")
    bench.clock.passed += 5
    bench.resolve("101")
    told = alerts(bench.poll())
    assert [one.edge for one in told] == [FIRED, RECOVERED]
    assert told[0].cycle == told[1].cycle
    assert [one.key for one in bench.poll()] == [one.key for one in bench.poll()]


@pytest.mark.parametrize("doubt", ["warning", "no data"])
def test_what_came_and_went_is_unclear_when_it_may_have_been_no_alert(bench: DatadogBench, doubt: str) -> None:
    bench.poll()
    bench.clock.passed += 5
    if doubt == "warning":
        bench.api.datadog.monitors[101].warning = 5.0
        bench.fire("101")
    else:
        bench.api.datadog.trigger(101, status="No Data")
    bench.clock.passed += 5
    bench.resolve("101")
    assert edges(bench.poll()) == [("101", UNCLEAR)]


def test_flapping_between_two_polls_ends_one_cycle_and_begins_another(bench: DatadogBench) -> None:
    bench.fire("101")
    (first,) = alerts(bench.poll())
    bench.clock.passed += 5
    bench.resolve("101")
    resolved = bench.clock.now()
    bench.clock.passed += 5
    bench.fire("101")
    told = {one.edge: one for one in alerts(bench.poll())}
    assert told[RECOVERED].cycle == first.cycle
    assert told[RECOVERED].occurred_at == resolved
    assert told[FIRED].cycle != first.cycle


def test_a_trigger_anew_without_a_resolution_ends_the_cycle_before(bench: DatadogBench) -> None:
    bench.fire("101")
    (first,) = alerts(bench.poll())
    bench.fire("101")
    told = {one.edge: one for one in alerts(bench.poll())}
    assert told[RECOVERED].cycle == first.cycle
    assert told[RECOVERED].occurred_at == told[FIRED].occurred_at


def test_what_was_over_before_the_first_poll_is_history(bench: DatadogBench) -> None:
    bench.fire("101")
    bench.clock.passed += 5
    bench.resolve("101")
    assert bench.poll() == []
    assert bench.poll() == []
