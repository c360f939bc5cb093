"""Counts of requests and failed ones from Datadog's metric queries.

Source: docs.datadoghq.com/api/latest/metrics/query-timeseries-points (GET /api/v1/query; `from` and `to` in seconds,
points in milliseconds), docs.datadoghq.com/dashboards/functions/rollup (buckets). A point stands at the beginning of
its bucket. The documentation calls `interval` milliseconds; the API gives seconds, so both are understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rollback.adapters.careful_http import CarefulHttp, Headers
from rollback.adapters.health_probes.series import (
    MOST_SERIES,
    Series,
    combined,
    document_of,
    rows,
    seconds,
    stratum_name,
    table,
    unix,
)
from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_sources import DatadogMetrics
from rollback.core.metric_verdict import Missing, Number, Strata, number
from rollback.core.metric_window import EPOCH, Window

PATH = "/api/v1/query"


class DatadogMetricSource:
    """A `WindowSource`. A window is the sum of its buckets, every one of which has to be there, once, as a number.

    The bucket that begins with a window's end is incomplete and dropped. An answer that is about another time, in
    another unit, or a rate, is none.
    """

    revisable = True

    def __init__(self, source: DatadogMetrics, http: CarefulHttp, headers: Headers) -> None:
        self._source, self._http, self._headers = source, http, headers

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]:
        """The counts of each window. Raises `NoAnswer`."""
        return combined(self._source, windows, self._asking(windows))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _asking(self, windows: Sequence[Window]) -> Callable[[str], Series]:
        begins, ends = windows[0].begins, windows[-1].ends

        def ask(query: str) -> Series:
            params = (("from", str(unix(begins))), ("to", str(unix(ends))), ("query", query))
            within = self._source.timeout.total_seconds()
            document = document_of(self._http, PATH, params=params, headers=self._headers(), within=within)
            return read_series(document, windows, unit=self._source.unit, tag=self._tag)

        return ask

    @property
    def _tag(self) -> str | None:
        return None if self._source.by_tag is None else self._source.by_tag.tag


def read_series(document: Any, windows: Sequence[Window], *, unit: str | None, tag: str | None) -> Series:
    """What an answer says about `windows`. Raises `NoAnswer` when it is not about them, or not as described."""
    fields = table(document, "it")
    if fields.get("status") != "ok" or fields.get("error"):
        raise NoAnswer("Datadog says that the query failed")
    _check_time(fields, windows)
    found: dict[Window, dict[str, Number]] = {window: {} for window in windows}
    for entry in rows(fields.get("series"), "series"):
        one = table(entry, "series")
        _check_unit(one.get("unit"), unit)
        name = _stratum(one.get("tag_set"), tag)
        bucket = _bucket(one.get("interval"), windows[0].length)
        points = _points(one.get("pointlist"), windows, bucket)
        for window in windows:
            if name in found[window]:
                raise NoAnswer("two series for one part of the traffic")
            total = _sum(points, window, bucket)
            if total is not None:
                found[window][name] = total
    return found


def _check_time(fields: Mapping[str, Any], windows: Sequence[Window]) -> None:
    for name, at in (("from_date", windows[0].begins), ("to_date", windows[-1].ends)):
        if name in fields and seconds(fields[name], name, per_second=1000) != at - EPOCH:
            raise NoAnswer(f"the answer is about another time: {name}")


def _check_unit(told: Any, wanted: str | None) -> None:
    """Datadog gives two: of the value, and per what. A count has no second one."""
    parts = [one for one in told if one is not None] if isinstance(told, list) else []
    if isinstance(told, list) and len(told) > 1 and told[1] is not None:
        raise NoAnswer("the answer is a rate, not a count: use .as_count()")
    if wanted is None:
        return
    names = (
        {parts[0].get(key) for key in ("name", "plural", "short_name")} if parts and isinstance(parts[0], dict) else {}
    )
    if wanted not in names:
        raise NoAnswer("the answer has another unit than the policy says")


def _stratum(tags: Any, tag: str | None) -> str:
    if tag is None:
        if tags not in (None, []):
            raise NoAnswer("the query is grouped, and by_tag is not set")
        return ""
    values = [one.removeprefix(f"{tag}:") for one in rows(tags, "tag_set") if str(one).startswith(f"{tag}:")]
    if len(values) != 1 or len(tags) != 1:
        raise NoAnswer("the query is not grouped by the tag of by_tag alone")
    return stratum_name(values[0])


def _bucket(interval: Any, length: timedelta) -> timedelta:
    for per_second in (1, 1000):
        found = seconds(interval, "interval", per_second=per_second)
        if found and not length % found:
            return found
    raise NoAnswer("the buckets of the answer do not fit the window: use .rollup(sum, seconds)")


def _points(listed: Any, windows: Sequence[Window], bucket: timedelta) -> dict[timedelta, Number]:
    """The points by the beginning of their bucket, since 1970."""
    begins, ends = windows[0].begins - EPOCH, windows[-1].ends - EPOCH
    points: dict[timedelta, Number] = {}
    for point in rows(listed, "pointlist", most=MOST_SERIES * 10):
        pair = rows(point, "pointlist", most=2)
        if len(pair) != 2:
            raise NoAnswer("the answer is not as described: a point is no pair")
        at = seconds(pair[0], "a point", per_second=1000)
        if at % bucket:
            raise NoAnswer("a point is not at the beginning of a bucket")
        if not begins - bucket <= at <= ends:
            raise NoAnswer("the answer holds points of another time")
        if at in points:
            raise NoAnswer("two points of one time")
        points[at] = number(pair[1])
    return points


def _sum(points: Mapping[timedelta, Number], window: Window, bucket: timedelta) -> Number:
    """None when no bucket of the window is there; missing when one is not, or is no number."""
    begins = window.begins - EPOCH
    inside = [points.get(begins + place * bucket) for place in range(window.length // bucket)]
    if all(value is None for value in inside):
        return None
    total = 0.0
    for value in inside:
        if value is None:
            return Missing("gaps: a bucket of the window is not there")
        if isinstance(value, Missing):
            return value
        total += value
    return number(total)
