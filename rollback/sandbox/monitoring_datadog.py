"""A stand-in of Datadog's monitor API: keys, filters, pages, group states, downtimes, rate limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollback.sandbox.wire import Answer, Request, json_answer

STATES = ("Alert", "Ignored", "No Data", "OK", "Skipped", "Unknown", "Warn")


@dataclass(slots=True)
class DdGroup:
    """The state of one group of a monitor; times in seconds since 1970, None: never."""

    status: str = "OK"
    triggered: int | None = None
    resolved: int | None = None
    no_data: int | None = None


@dataclass(slots=True)
class DdMonitor:
    """One monitor. `warning` is its threshold for warnings, None: it has none."""

    id: int
    name: str
    message: str = ""
    tags: list[str] = field(default_factory=list)
    priority: int | None = None
    groups: dict[str, DdGroup] = field(default_factory=dict)
    silenced: dict[str, int | None] = field(default_factory=dict)
    downtimes: list[dict[str, Any]] = field(default_factory=list)
    draft: bool = False
    warning: float | None = None
    overall: str | None = None
    """The overall state, where it differs from the worst of the groups."""


class DatadogApi:
    """`add` monitors, then `trigger` and `resolve` their groups.

    `limit` is the number of requests in each period of `period` seconds; None: no limit. `validates`: whether
    `/api/v1/validate` accepts the API key.
    """

    API_KEY = "0123456789abcdef0123456789abcdef"
    APPLICATION_KEY = "fedcba9876543210fedcba9876543210fedcba98"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.monitors: dict[int, DdMonitor] = {}
        self.limit: int | None = None
        self.period = 60
        self._asked: list[float] = []

    def add(self, number: int, name: str, **fields: Any) -> DdMonitor:
        """A monitor with one group that is OK, unless `groups` says otherwise."""
        monitor = DdMonitor(number, name, **fields)
        monitor.groups = monitor.groups or {"*": DdGroup()}
        self.monitors[number] = monitor
        return monitor

    def trigger(self, number: int, group: str = "*", at: datetime | None = None, status: str = "Alert") -> None:
        """The group changes to `status` now, or at `at`."""
        one = self.monitors[number].groups.setdefault(group, DdGroup())
        when = int((at or self._now()).timestamp())
        one.status, one.triggered = status, when
        if status == "No Data":
            one.no_data = when

    def resolve(self, number: int, group: str = "*", at: datetime | None = None) -> None:
        """The group is OK again, now or at `at`."""
        one = self.monitors[number].groups[group]
        one.status, one.resolved = "OK", int((at or self._now()).timestamp())

    def answer(self, request: Request) -> Answer | None:
        """The answer to one of its paths, None for another's."""
        if request.path == "/api/v1/validate":
            return json_answer({"valid": True}) if self._has_api_key(request) else self._forbidden()
        if request.path != "/api/v1/monitor" and not request.path.startswith("/api/v1/monitor/"):
            return None
        if not self._has_api_key(request) or request.headers.get("dd-application-key") != self.APPLICATION_KEY:
            return self._forbidden()
        limits = self._limits()
        if limits and limits["X_RateLimit_Remaining"] == "-1":
            return json_answer({"errors": ["Rate limit exceeded"]}, 429, **{**limits, "X_RateLimit_Remaining": "0"})
        if request.path == "/api/v1/monitor":
            return json_answer(self._page(request.query), 200, **limits)
        number = request.path.rpartition("/")[2]
        if not number.isdigit() or int(number) not in self.monitors:
            return json_answer({"errors": ["Monitor not found"]}, 404, **limits)
        return json_answer(self._document(self.monitors[int(number)], request.query), 200, **limits)

    def _has_api_key(self, request: Request) -> bool:
        return request.headers.get("dd-api-key") == self.API_KEY

    def _forbidden(self) -> Answer:
        return json_answer({"errors": ["Forbidden"]}, 403)

    def _limits(self) -> dict[str, str]:
        """Headers of the rate limit; the period is aligned to the calendar."""
        if self.limit is None:
            return {}
        now = self._now().timestamp()
        began = now - now % self.period
        self._asked = [at for at in self._asked if at >= began]
        left = self.limit - len(self._asked) - 1
        if left >= 0:
            self._asked.append(now)
        return {
            "X_RateLimit_Limit": str(self.limit),
            "X_RateLimit_Period": str(self.period),
            "X_RateLimit_Remaining": str(max(left, -1)),
            "X_RateLimit_Reset": str(int(began + self.period - now)),
            "X_RateLimit_Name": "monitors",
        }

    def _page(self, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = set(filter(None, query.get("monitor_tags", "").split(",")))
        found = [
            self._document(monitor, query)
            for _, monitor in sorted(self.monitors.items())
            if query.get("name", "").lower() in monitor.name.lower() and wanted <= set(monitor.tags)
        ]
        if "page" not in query:
            return found
        size = min(int(query.get("page_size", "100")), 1000)
        begins = int(query["page"]) * size
        return found[begins : begins + size]

    def _document(self, monitor: DdMonitor, query: dict[str, str]) -> dict[str, Any]:
        states = {group.status for group in monitor.groups.values()}
        worst = next((state for state in ("Alert", "Warn", "No Data", "OK") if state in states), "Unknown")
        groups = {name: self._group(name, group) for name, group in monitor.groups.items()}
        document: dict[str, Any] = {
            "id": monitor.id,
            "org_id": 1000,
            "type": "query alert",
            "name": monitor.name,
            "message": monitor.message,
            "tags": monitor.tags,
            "query": "sum(last_5m):sum:synthetic.errors{env:prod}.as_count() > 10",
            "options": {
                "silenced": monitor.silenced,
                "thresholds": {"critical": 10.0, "warning": monitor.warning},
                "notify_no_data": False,
            },
            "multi": len(monitor.groups) > 1,
            "created": "2026-01-05T10:00:00.000000+00:00",
            "modified": "2026-02-05T10:00:00.000000+00:00",
            "overall_state": monitor.overall or worst,
            "overall_state_modified": "2026-02-05T10:00:00.000000+00:00",
            "priority": monitor.priority,
            "draft_status": "draft" if monitor.draft else "published",
            "deleted": None,
            "state": {"groups": groups} if query.get("group_states") == "all" else {},
        }
        if query.get("with_downtimes") == "true":
            document["matching_downtimes"] = monitor.downtimes
        return document

    def _group(self, name: str, group: DdGroup) -> dict[str, Any]:
        return {
            "name": name,
            "status": group.status,
            "last_triggered_ts": group.triggered,
            "last_notified_ts": group.triggered,
            "last_resolved_ts": group.resolved,
            "last_nodata_ts": group.no_data,
        }
