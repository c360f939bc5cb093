"""Counts of requests and failed ones from PromQL.

Source: prometheus.io/docs/prometheus/latest/querying/api (GET /api/v1/query_range; a matrix of [seconds, "text"];
`warnings` may come with partial data), .../querying/functions (`increase` extrapolates, so it is rarely whole, and
needs two samples in its range, so a series that went stale gives nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rollback.adapters.careful_http import CarefulHttp, Headers
from rollback.adapters.health_probes.series import (
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
from rollback.core.metric_sources import WINDOW_MARK, PrometheusMetrics
from rollback.core.metric_verdict import Missing, Number, Strata, number
from rollback.core.metric_window import EPOCH, Window

PATH = "/api/v1/query_range"


class PrometheusSource:
    """A `WindowSource`. Each query is evaluated at the end of each window, over the window's length."""

    revisable = True

    def __init__(self, source: PrometheusMetrics, http: CarefulHttp, headers: Headers) -> None:
        self._source, self._http, self._headers = source, http, headers

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]:
        """The counts of each window. Raises `NoAnswer`."""
        return combined(self._source, windows, self._asking(windows))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _asking(self, windows: Sequence[Window]) -> Callable[[str], Series]:
        step = windows[0].length // timedelta(seconds=1)
        tag = None if self._source.by_tag is None else self._source.by_tag.tag

        def ask(query: str) -> Series:
            params = (
                ("query", query.replace(WINDOW_MARK, f"[{step}s]")),
                ("start", str(unix(windows[0].ends))),
                ("end", str(unix(windows[-1].ends))),
                ("step", str(step)),
            )
            within = self._source.timeout.total_seconds()
            document = document_of(self._http, PATH, params=params, headers=self._headers(), within=within)
            return read_matrix(document, windows, tag=tag)

        return ask


def read_matrix(document: Any, windows: Sequence[Window], *, tag: str | None) -> Series:
    """What an answer says about `windows`. Raises `NoAnswer` when it is not about them, or not as described."""
    fields = table(document, "it")
    if fields.get("status") != "success":
        raise NoAnswer("Prometheus says that the query failed")
    if fields.get("warnings"):
        raise NoAnswer("Prometheus warns that the answer may be partial")
    data = table(fields.get("data"), "data")
    if data.get("resultType") != "matrix":
        raise NoAnswer("the answer is not as described: no matrix")
    ends = {window.ends - EPOCH: window for window in windows}
    found: dict[Window, dict[str, Number]] = {window: {} for window in windows}
    names: set[str] = set()
    for entry in rows(data.get("result"), "result"):
        one = table(entry, "result")
        name = _stratum(table(one.get("metric"), "metric"), tag)
        if name in names:
            raise NoAnswer("two series for one part of the traffic")
        names.add(name)
        for value in rows(one.get("values"), "values"):
            pair = rows(value, "values", most=2)
            window = ends.get(seconds(pair[0], "a value")) if len(pair) == 2 else None
            if window is None:
                raise NoAnswer("the answer holds values of another time")
            if name in found[window]:
                raise NoAnswer("two values of one time")
            found[window][name] = _number(pair[1])
    return found


def _stratum(labels: Mapping[str, Any], tag: str | None) -> str:
    if tag is None:
        if labels:
            raise NoAnswer("the query gives labels, and by_tag is not set: sum it up")
        return ""
    if set(labels) != {tag} or not isinstance(labels[tag], str):
        raise NoAnswer("the query is not grouped by the label of by_tag alone")
    return stratum_name(labels[tag])


def _number(value: Any) -> float | Missing:
    """Prometheus writes numbers as text, `NaN` and `+Inf` among them."""
    if not isinstance(value, str) or len(value) > 50:
        return Missing("a value that is no number")
    try:
        return number(float(value))
    except ValueError:
        return Missing("a value that is no number")
