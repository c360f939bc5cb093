"""The read APIs of monitoring systems, on one port of 127.0.0.1, whose alerts are set by hand.

    Datadog        GET /api/v1/monitor, /api/v1/monitor/<id>, /api/v1/validate
    AppDynamics    POST /controller/api/oauth/access_token, GET /controller/rest/applications/…,
                   /controller/alerting/rest/v1/applications/<id>/health-rules
    Alertmanager   GET /api/v2/alerts, /api/v2/status
    Prometheus     GET /api/v1/alerts, /api/v1/rules, /api/v1/status/runtimeinfo

Shapes, paging, keys and rate limits are as the vendors describe them; see the pollers for the sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from rollback.sandbox.monitoring_appdynamics import AppDynamicsApi
from rollback.sandbox.monitoring_datadog import DatadogApi
from rollback.sandbox.request_log import RequestLog
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer

Now = Callable[[], datetime]
Fault = Callable[[Request], Answer | None]
"""Looks at each request first; what it returns is the answer, None leaves it to the stand-in."""


def system_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class MonitoringApi:
    """All four, from the constructor until `stop()` or the end of the `with` block. `now` is their clock."""

    def __init__(self, *, now: Now = system_now, port: int = 0, fault: Fault | None = None) -> None:
        self.datadog = DatadogApi(now)
        self.appdynamics = AppDynamicsApi(now)
        self.alertmanager = AlertmanagerApi(now)
        self.prometheus = PrometheusApi(now)
        self.fault = fault
        self.log = RequestLog()
        self._wire = WireServer(self._handle, port)

    def __enter__(self) -> MonitoringApi:
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
        answer = self.fault(request) if self.fault is not None else None
        for system in (self.datadog, self.appdynamics, self.alertmanager, self.prometheus):
            answer = answer or system.answer(request)
        answer = answer or json_answer({"errors": ["Not found"]}, 404)
        entry.status = answer.status
        return answer


def written(at: datetime, *, digits: int = 9) -> str:
    """RFC 3339 in UTC with so many digits after the seconds: Go writes nine, Alertmanager's API three."""
    fraction = f"{at.astimezone(UTC).microsecond * 1000:09d}"[:digits]
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"


# -- Alertmanager ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class AmAlert:
    """One alert in Alertmanager. Its end moves ahead while `renewed`; then it is dropped when the end has come."""

    fingerprint: str
    labels: dict[str, str]
    starts_at: datetime
    ends_at: datetime
    state: str = "active"
    silenced_by: list[str] = field(default_factory=list)
    inhibited_by: list[str] = field(default_factory=list)


class AlertmanagerApi:
    """`fire` an alert, `resolve` it, `silence` it, `restart`. `token`: what requests must bear; empty: nothing."""

    VALID = timedelta(minutes=4)

    def __init__(self, now: Now) -> None:
        self._now = now
        self.alerts: dict[str, AmAlert] = {}
        self.started = now()
        self.cluster = "ready"
        self.token = ""
        self.prometheus_is_up = True

    def fire(self, fingerprint: str, starts_at: datetime, **labels: str) -> AmAlert:
        """An alert that Prometheus keeps sending."""
        alert = AmAlert(fingerprint, labels, starts_at, self._now() + self.VALID)
        self.alerts[fingerprint] = alert
        return alert

    def resolve(self, fingerprint: str) -> None:
        """Prometheus said that it is over."""
        del self.alerts[fingerprint]

    def silence(self, fingerprint: str) -> None:
        """A silence matches it."""
        self.alerts[fingerprint].state, self.alerts[fingerprint].silenced_by = "suppressed", ["s-1"]

    def restart(self) -> None:
        """All alerts are forgotten until Prometheus sends them again."""
        self.alerts.clear()
        self.started = self._now()

    def answer(self, request: Request) -> Answer | None:
        """The answer to one of its paths, None for another's."""
        if not request.path.startswith("/api/v2/"):
            return None
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return json_answer("Unauthorized", 401)
        match request.path:
            case "/api/v2/alerts":
                return json_answer([self._document(alert) for alert in self._present()])
            case "/api/v2/status":
                uptime = written(self.started, digits=3)
                return json_answer({"cluster": {"status": self.cluster, "peers": []}, "uptime": uptime})
        return None

    def _present(self) -> list[AmAlert]:
        for alert in list(self.alerts.values()):
            if self.prometheus_is_up:
                alert.ends_at = self._now() + self.VALID
            elif alert.ends_at <= self._now():
                del self.alerts[alert.fingerprint]
        return list(self.alerts.values())

    def _document(self, alert: AmAlert) -> dict[str, Any]:
        return {
            "annotations": {"summary": "Synthetic alert"},
            "endsAt": written(alert.ends_at, digits=3),
            "fingerprint": alert.fingerprint,
            "receivers": [{"name": "sm-team"}],
            "startsAt": written(alert.starts_at, digits=3),
            "status": {"inhibitedBy": alert.inhibited_by, "silencedBy": alert.silenced_by, "state": alert.state},
            "updatedAt": written(self._now(), digits=3),
            "generatorURL": "https://prometheus.example.org/graph?g0.expr=up",
            "labels": alert.labels,
        }


# -- Prometheus --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PromRule:
    """One alerting rule. `waits` is its `for` in seconds. `evaluated` None: now, at each request."""

    name: str
    waits: float = 0.0
    health: str = "ok"
    evaluated: datetime | None = None
    interval: float = 15.0


class PrometheusApi:
    """`rules` and `alerts` (labels as a tuple of pairs → state and `activeAt`); `restart` forgets the alerts."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self.rules: dict[str, PromRule] = {}
        self.alerts: dict[tuple[tuple[str, str], ...], tuple[str, datetime]] = {}
        self.started = now() - timedelta(days=30)
        self.tells_start = True

    def fire(self, name: str, active_at: datetime, state: str = "firing", **labels: str) -> None:
        """An alert of the rule `name`, which is made when it is not there."""
        self.rules.setdefault(name, PromRule(name))
        self.alerts[self._key(name, labels)] = (state, active_at)

    def resolve(self, name: str, **labels: str) -> None:
        """The condition holds no more."""
        del self.alerts[self._key(name, labels)]

    def restart(self) -> None:
        """The alerts are forgotten until their rules are evaluated."""
        self.alerts.clear()
        self.started = self._now()

    def answer(self, request: Request) -> Answer | None:
        """The answer to one of its paths, None for another's."""
        match request.path:
            case "/api/v1/alerts":
                return self._success({"alerts": [self._alert(labels) for labels in self.alerts]})
            case "/api/v1/rules":
                rules = [self._rule(rule) for rule in self.rules.values()]
                group = {"name": "example", "file": "/rules.yaml", "interval": 15, "rules": rules}
                return self._success({"groups": [group] if rules else []})
            case "/api/v1/status/runtimeinfo" if self.tells_start:
                return self._success({"startTime": written(self.started), "CWD": "/", "goroutineCount": 48})
        return None

    def _key(self, name: str, labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted({"alertname": name, **labels}.items()))

    def _success(self, data: dict[str, Any]) -> Answer:
        return json_answer({"status": "success", "data": data})

    def _alert(self, labels: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        state, active_at = self.alerts[labels]
        return {
            "labels": dict(labels),
            "annotations": {},
            "state": state,
            "activeAt": written(active_at),
            "value": "1e+00",
        }

    def _rule(self, rule: PromRule) -> dict[str, Any]:
        mine = [labels for labels in self.alerts if dict(labels)["alertname"] == rule.name]
        states = {self.alerts[labels][0] for labels in mine}
        return {
            "name": rule.name,
            "query": "vector(1) > 0",
            "duration": rule.waits,
            "labels": {},
            "annotations": {},
            "alerts": [self._alert(labels) for labels in mine],
            "health": rule.health,
            "type": "alerting",
            "state": "firing" if "firing" in states else "pending" if states else "inactive",
            "lastEvaluation": written(rule.evaluated or self._now()),
        }
