"""A monitor's OK is one good sample per window, and only when it could not have meant that nothing came in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rollback.adapters.health_probes.datadog_monitor import GOOD, HARM, state_of
from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_verdict import Missing
from rollback.core.metric_window import Window
from rollback.sandbox.metrics_api import monitor_document
from tests.health_probes.metric_benches import health, probing, standing_in
from tests.health_probes.stand_ins import StillClock

NOW = StillClock().now()
WINDOW = Window(NOW - timedelta(minutes=6), NOW - timedelta(minutes=1))
INSIDE = int((NOW - timedelta(minutes=3)).timestamp())
BEFORE = int((NOW - timedelta(hours=3)).timestamp())


def state(document: dict[str, Any]) -> Any:
    return state_of({"id": 4711, **document}, "4711", WINDOW, NOW)


def grouped(**changes: Any) -> dict[str, Any]:
    """A monitor whose only group is changed."""
    group = {"name": "*", "status": "OK", "last_triggered_ts": BEFORE, "last_nodata_ts": None, **changes}
    overall = changes.get("status", "OK")
    return monitor_document(overall_state=overall, state={"groups": {"*": group}})


def test_ok_is_good_and_alert_is_harm() -> None:
    assert state(monitor_document()) == GOOD
    assert state(grouped(status="Alert")) == HARM


def test_an_alert_that_came_and_went_within_the_window_is_harm() -> None:
    assert state(grouped(last_triggered_ts=INSIDE)) == HARM
    assert state(grouped(last_triggered_ts=BEFORE)) == GOOD


def test_one_group_that_alerts_is_enough() -> None:
    groups = {"a": {"status": "OK"}, "b": {"status": "Alert"}}
    assert state(monitor_document(state={"groups": groups})) == HARM


@pytest.mark.parametrize("status", ["No Data", "Warn", "Ignored", "Skipped", "Unknown", "Something new", "", None, 7])
def test_every_other_state_is_no_data(status: Any) -> None:
    assert isinstance(state(grouped(status=status)), Missing)
    assert isinstance(state(monitor_document(overall_state=status)), Missing)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"on_missing_data": "show_no_data", "silenced": {"*": None}}},
        {"options": {"on_missing_data": "show_no_data", "silenced": {"host:a": None}}},
        {"options": {"on_missing_data": "show_no_data", "silenced": {"*": int(NOW.timestamp()) + 60}}},
        {"options": {"on_missing_data": "show_no_data", "silenced": {"*": "nonsense"}}},
        {"matching_downtimes": [{"id": 1, "scope": ["*"], "start": BEFORE, "end": None}]},
        {"matching_downtimes": [{"id": 1, "scope": ["*"], "start": None, "end": int(NOW.timestamp()) + 60}]},
        {"draft_status": "draft"},
        {"deleted": "2026-11-01T00:00:00Z"},
    ],
)
def test_a_monitor_that_is_muted_or_not_in_use_is_no_data_also_when_it_is_ok(changes: dict[str, Any]) -> None:
    assert isinstance(state(monitor_document(**changes)), Missing)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"on_missing_data": "show_no_data", "silenced": {"*": BEFORE}}},
        {"matching_downtimes": [{"id": 1, "scope": ["*"], "start": BEFORE, "end": BEFORE + 60}]},
        {"matching_downtimes": [{"id": 1, "scope": ["*"], "start": int(NOW.timestamp()) + 3600, "end": None}]},
    ],
)
def test_a_silence_that_is_over_or_to_come_changes_nothing(changes: dict[str, Any]) -> None:
    assert state(monitor_document(**changes)) == GOOD


@pytest.mark.parametrize(
    "options",
    [
        {},
        None,
        {"on_missing_data": "default"},
        {"on_missing_data": "resolve"},
        {"on_missing_data": "default", "notify_no_data": True},
        {"notify_no_data": False},
    ],
)
def test_an_ok_that_may_mean_that_nothing_came_in_is_no_data(options: Any) -> None:
    found = state(monitor_document(options=options))
    assert isinstance(found, Missing)
    assert "on_missing_data" in found.why


@pytest.mark.parametrize(
    "options",
    [{"on_missing_data": "show_and_notify_no_data"}, {"on_missing_data": "show_no_data"}, {"notify_no_data": True}],
)
def test_an_ok_of_a_monitor_that_shows_missing_data_counts(options: Any) -> None:
    assert state(monitor_document(options=options)) == GOOD


def test_a_monitor_that_was_without_data_within_the_window_is_no_data() -> None:
    assert isinstance(state(grouped(last_nodata_ts=INSIDE)), Missing)
    assert state(grouped(last_nodata_ts=BEFORE)) == GOOD


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"id": 1},
        {"id": 4711, "state": []},
        {"id": 4711, **monitor_document(state={"groups": {"a": "OK"}})},
        {"id": 4711, **monitor_document(state={"groups": {"a": {"status": "OK", "last_triggered_ts": "x"}}})},
        {"id": 4711, **monitor_document(state={"groups": {"a": {"status": "OK", "last_triggered_ts": 99**5}}})},
        {"id": 4711, **monitor_document(options=[])},
        {"id": 4711, **monitor_document(matching_downtimes={"a": 1})},
    ],
)
def test_what_is_no_monitor_or_another_one_says_nothing(document: Any) -> None:
    try:
        found = state_of(document, "4711", WINDOW, NOW)
    except NoAnswer:
        return
    assert isinstance(found, Missing)


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def source(url: str, **fields: Any) -> dict[str, Any]:
    base = {"kind": "datadog_monitor", "name": "monitor", "url": url, "monitor": "4711", "window": "5m"}
    return {**base, "counts_from": 0, **fields}


def samples(*edits: Callable[[dict[str, Any]], Any] | None) -> list[tuple[int | None, int | None]]:
    """Bad and total of each round that is not waiting, one edit of the monitor for every minute."""
    clock, found = StillClock(), []
    with standing_in() as api, probing(health(source(api.url)), clock) as probe:
        probe.measure()
        for edit in edits:
            api.edit = edit
            clock.passed += 60
            found += [(one.bad, one.total) for one in probe.measure() if not one.waiting]
    return found


def test_ok_is_one_sample_per_window_however_often_it_is_asked() -> None:
    assert samples(*[None] * 30) == [(0, 1)] * 5


def test_an_alert_is_one_bad_sample() -> None:
    def alert(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, **grouped(status="Alert")}

    assert samples(*[None] * 9, *[alert] * 5) == [(0, 1), (1, 1)]


def test_a_window_that_is_read_too_late_is_missing_because_a_monitor_tells_only_the_present() -> None:
    clock = StillClock()
    with standing_in() as api, probing(health(source(api.url)), clock) as probe:
        probe.measure()
        clock.passed += 14 * 60
        (found,) = probe.measure()
    assert found.total is None
    assert "too long ago" in found.detail


def test_without_a_monitor_nothing_is_known() -> None:
    clock = StillClock()
    with standing_in() as api, probing(health(source(api.url, monitor=None)), clock) as probe:
        (found,) = probe.measure()
        assert found.harm is None
        assert "its monitor is not known" in probe.unknown["monitor"]
        assert api.log.all() == []
