"""Whatever a metric system answers: nothing is a good sample but a well-formed positive volume."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.health_probes.datadog_metrics import read_series
from rollback.adapters.health_probes.datadog_monitor import GOOD, state_of
from rollback.adapters.health_probes.maintenance_windows import active_services
from rollback.adapters.health_probes.prometheus import read_matrix
from rollback.adapters.health_probes.reading_back import Unread
from rollback.adapters.health_probes.series import Series, combined, unix
from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_sources import DatadogMetrics
from rollback.core.metric_verdict import Counts, Known, Rule, judged
from rollback.core.metric_window import Window, first_window
from rollback.sandbox.metrics_api import monitor_document
from tests.health_probes.stand_ins import StillClock

NOW = StillClock().now()
FIRST = first_window(NOW, timedelta(minutes=1))
WINDOWS = (FIRST, FIRST.after)
SOURCE = DatadogMetrics.model_validate(
    {"kind": "datadog_metrics", "name": "errors", "url": None, "requests": "requests", "errors": "errors"}
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def datadog(value: Any = 50.0) -> dict[str, Any]:
    points = [[unix(window.begins) * 1000.0, value] for window in WINDOWS]
    series = {"interval": 60, "tag_set": [], "unit": None, "pointlist": points}
    bounds = {"from_date": unix(FIRST.begins) * 1000, "to_date": unix(WINDOWS[-1].ends) * 1000}
    return {"status": "ok", **bounds, "series": [series]}


def prometheus(value: Any = "50") -> dict[str, Any]:
    values = [[unix(window.ends), value] for window in WINDOWS]
    result = [{"metric": {}, "values": values}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def read(kind: str, document: Any) -> Series:
    if kind == "prometheus":
        return read_matrix(document, WINDOWS, tag=None)
    return read_series(document, WINDOWS, unit=None, tag=None)


def good_samples(kind: str, requests: Any, errors: Any) -> int:
    """How many good samples the two answers are worth, over both windows. Raises nothing but what a source may."""
    rule = Rule("errors", minimum_volume=20, cap=100)
    try:
        found = combined(SOURCE, WINDOWS, lambda query: read(kind, requests if query == "requests" else errors))
    except NoAnswer:
        return 0
    total = 0
    for strata in found.values():
        for one in judged(rule, strata, Known())[0]:
            total += 0 if one.counts is None else one.counts.total - one.counts.bad
    return total


TEMPLATES = {"datadog_metrics": datadog, "prometheus": prometheus}


def test_the_templates_themselves_are_good_answers() -> None:
    assert good_samples("datadog_metrics", datadog(), datadog(0)) == 100
    assert good_samples("prometheus", prometheus(), prometheus("0")) == 100


@pytest.mark.parametrize("kind", TEMPLATES)
@given(json_values, json_values)
def test_arbitrary_json_is_never_a_good_sample(kind: str, requests: Any, errors: Any) -> None:
    assert good_samples(kind, requests, errors) == 0


@pytest.mark.parametrize("kind", TEMPLATES)
@given(json_values)
def test_arbitrary_numbers_are_a_good_sample_only_as_a_positive_volume(kind: str, value: Any) -> None:
    template = TEMPLATES[kind]
    zero = template("0" if kind == "prometheus" else 0)
    found = good_samples(kind, template(value), zero)
    if found:
        assert float(value) >= 20
        assert isinstance(value, str) == (kind == "prometheus")
    assert good_samples(kind, zero, template(value)) == 0


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a document."""
    found = [path] if path else []
    inner: Sequence[tuple[Any, Any]] = []
    if isinstance(document, Mapping):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    for key, value in inner:
        found += places(value, (*path, key))
    return found


def changed(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(document)
    spot: Any = made
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    return made


@pytest.mark.parametrize("kind", TEMPLATES)
@given(st.data(), json_values, st.booleans())
def test_one_thing_that_is_not_as_it_should_be_never_adds_good_samples(
    kind: str, data: st.DataObject, value: Any, in_errors: bool
) -> None:
    template = TEMPLATES[kind]
    requests, errors = template(), template("3" if kind == "prometheus" else 3)
    usual = good_samples(kind, requests, errors)
    path = data.draw(st.sampled_from(places(errors if in_errors else requests)))
    if in_errors:
        errors = changed(errors, path, value)
    else:
        requests = changed(requests, path, value)
    found = good_samples(kind, requests, errors)
    if found > usual:  # more requests, or fewer errors, told as plain numbers
        assert isinstance(value, (int, float, str, list))
        assert not isinstance(value, bool)
        assert found <= 2 * 100


@given(json_values)
def test_arbitrary_json_is_no_healthy_monitor(document: Any) -> None:
    try:
        assert state_of(document, "4711", FIRST, NOW) != GOOD
    except NoAnswer:
        return


@given(st.data(), json_values)
def test_a_changed_monitor_is_good_only_while_all_that_says_so_is_there(data: st.DataObject, value: Any) -> None:
    document = {"id": 4711, **monitor_document()}
    path = data.draw(st.sampled_from(places(document)))
    made = changed(document, path, value)
    try:
        found = state_of(made, "4711", Window(NOW, NOW + timedelta(minutes=5)), NOW)
    except NoAnswer:
        return
    if found == GOOD:
        assert made["overall_state"] == "OK"
        assert made["options"]["on_missing_data"] in ("show_no_data", "show_and_notify_no_data") or (
            made["options"]["on_missing_data"] is None and made["options"].get("notify_no_data") is True
        )
    assert found == GOOD or not isinstance(found, Counts) or found.bad == 1


@given(json_values)
def test_arbitrary_json_is_no_list_without_maintenance(document: Any) -> None:
    try:
        found = list(active_services(document, NOW))
    except Unread:
        return
    assert isinstance(document, dict)
    assert isinstance(document["data"], list)
    assert found == []
