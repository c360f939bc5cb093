"""The query APIs of metric systems, on one port of 127.0.0.1, with requests and failures that are set by hand.

    Datadog      GET /api/v1/query, /api/v1/monitor/<id>
    Prometheus   GET /api/v1/query_range

A query is any text; which numbers it gives is decided by the words in it: `errors` and `successes` count those, every
other query counts requests; one with ` by ` in it is grouped. Shapes are as the vendors describe them; see the probes
for the sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rollback.sandbox.request_log import RequestLog
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer


@dataclass(slots=True)
class Traffic:
    """Requests of each bucket, and how many of them fail; both may be a function of the bucket's beginning (Unix)."""

    requests: float | Callable[[int], float | None] = 100.0
    errors: float | Callable[[int], float | None] = 0.0

    def at(self, what: str, bucket: int) -> float | None:
        """The number of `requests`, `errors` or `successes` of one bucket; None: no point."""
        requests, errors = (one(bucket) if callable(one) else one for one in (self.requests, self.errors))
        if what == "successes":
            return None if requests is None else requests - (errors or 0.0)
        return errors if what == "errors" else requests


@dataclass(slots=True)
class MetricsApi:
    """All of them, from the constructor until `stop()` or the end of the `with` block.

    `traffic` is by the value of the tag that the query is grouped by; an ungrouped one gets the sum. `bucket` is in
    seconds. `monitor` is what `/api/v1/monitor/<id>` gives, but for the id. `fault` looks at each request first: what
    it returns is the answer. `edit` may change each document before it is sent. `token` and `keys` are what requests
    must bear; empty: nothing.
    """

    traffic: dict[str, Traffic] = field(default_factory=lambda: {"web": Traffic()})
    bucket: int = 60
    monitor: dict[str, Any] = field(default_factory=lambda: monitor_document())
    fault: Callable[[Request], Answer | None] | None = None
    edit: Callable[[dict[str, Any]], Any] | None = None
    token: str = ""
    keys: tuple[str, str] | None = None
    log: RequestLog = field(default_factory=RequestLog)
    _wire: WireServer = field(init=False)

    def __post_init__(self) -> None:
        self._wire = WireServer(self._handle)

    def __enter__(self) -> MetricsApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._wire.url

    def stop(self) -> None:
        """Closes the port and all connections. Idempotent."""
        self._wire.stop()

    def _handle(self, request: Request) -> Answer:
        entry = self.log.begin(request.method, request.path)
        answer = (self.fault(request) if self.fault is not None else None) or self._answer(request)
        entry.status = answer.status
        return answer

    def _answer(self, request: Request) -> Answer:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return json_answer({"status": "error", "error": "unauthorized"}, 401)
        borne = (request.headers.get("dd-api-key"), request.headers.get("dd-application-key"))
        if self.keys is not None and borne != self.keys:
            return json_answer({"errors": ["Forbidden"]}, 403)
        if request.path == "/api/v1/query" and "from" in request.query:
            document = self._datadog(request.query)
        elif request.path == "/api/v1/query_range":
            document = self._prometheus(request.query)
        elif found := re.fullmatch(r"/api/v1/monitor/(\d+)", request.path):
            document = {"id": int(found[1]), **self.monitor}
        else:
            return json_answer({"errors": ["Not found"]}, 404)
        return json_answer(self.edit(document) if self.edit is not None else document)

    def _strata(self, query: str) -> list[tuple[str, list[Traffic]]]:
        if " by " in query:
            return [(name, [one]) for name, one in self.traffic.items()]
        return [("", list(self.traffic.values()))] if self.traffic else []

    def _total(self, traffic: list[Traffic], query: str, bucket: int) -> float | None:
        what = next((word for word in ("errors", "successes") if word in query), "requests")
        numbers = [number for one in traffic if (number := one.at(what, bucket)) is not None]
        return sum(numbers) if numbers else None

    # -- Datadog: a point stands at the beginning of its bucket; the last one is incomplete ----------------------------

    def _datadog(self, query: dict[str, str]) -> dict[str, Any]:
        begins, ends, text = int(query["from"]), int(query["to"]), query["query"]
        buckets = range(begins - begins % self.bucket, ends + 1, self.bucket)
        series = []
        for name, traffic in self._strata(text):
            numbers = [(bucket, self._total(traffic, text, bucket)) for bucket in buckets]
            points = [[bucket * 1000.0, number] for bucket, number in numbers if number is not None]
            tags = [f"{_tag_of(text)}:{name}"] if name else []
            if points:
                series.append(self._series(text, points, tags))
        return {
            "status": "ok",
            "resp_version": 1,
            "res_type": "time_series",
            "query": text,
            "from_date": begins * 1000,
            "to_date": ends * 1000,
            "message": "",
            "group_by": [_tag_of(text)] if " by " in text else [],
            "series": series,
        }

    def _series(self, text: str, points: list[list[Any]], tags: list[str]) -> dict[str, Any]:
        unit = {"family": "network", "id": 19, "name": "request", "short_name": "req", "plural": "requests"}
        return {
            "metric": "trace.rack.request.hits",
            "display_name": "trace.rack.request.hits",
            "expression": text,
            "scope": ",".join(tags) or "*",
            "tag_set": tags,
            "aggr": "sum",
            "query_index": 0,
            "interval": self.bucket,
            "length": len(points),
            "start": points[0][0],
            "end": points[-1][0] + self.bucket * 1000 - 1,
            "pointlist": points,
            "unit": [{**unit, "scale_factor": 1.0}, None],
        }

    # -- Prometheus: a value stands at the end of its range ------------------------------------------------------------

    def _prometheus(self, query: dict[str, str]) -> dict[str, Any]:
        text, step = query["query"], int(query["step"])
        times = range(int(query["start"]), int(query["end"]) + 1, step)
        result = []
        for name, traffic in self._strata(text):
            numbers = [(at, self._total(traffic, text, at - step)) for at in times]
            values = [[at, _text(number)] for at, number in numbers if number is not None]
            if values:
                result.append({"metric": {_tag_of(text): name} if name else {}, "values": values})
        return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def monitor_document(**changes: Any) -> dict[str, Any]:
    """A monitor that is OK and would show missing data, with one group."""
    return {
        "name": "Secure Messaging: errors",
        "type": "query alert",
        "query": "sum(last_5m):sum:trace.rack.request.errors{service:sm}.as_count() > 50",
        "message": "@webhook-rollback",
        "tags": ["env:prod"],
        "overall_state": "OK",
        "overall_state_modified": "2026-11-20T10:00:00.000000+00:00",
        "draft_status": "published",
        "deleted": None,
        "options": {"on_missing_data": "show_no_data", "silenced": {}},
        "matching_downtimes": [],
        "state": {"groups": {"*": {"name": "*", "status": "OK", "last_triggered_ts": None, "last_nodata_ts": None}}},
        **changes,
    }


def _tag_of(query: str) -> str:
    found = re.search(r" by [{(]([^})]+)[})]", query)
    return found[1] if found else ""


def _text(number: float) -> str:
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(str(number), f"{number:g}")
