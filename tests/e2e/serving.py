"""`rollback serve` as a process, and senders that deliver as the documented ones do: their shapes, their signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from rollback.adapters.alert_sources.appdynamics import TEMPLATE as APPDYNAMICS
from rollback.adapters.alert_sources.datadog import TEMPLATE as DATADOG
from tests.e2e.harness import PATIENCE, Cli, Running
from tests.e2e.worlds import FEATURE

SECRET = "0123456789abcdef-the-one-in-use"
OLD = "0123456789abcdef-the-old-one"

RULES = """
alerts:
  - {name: datadog-errors, source: datadog, monitors: ["4711"], severity: critical}
  - {name: pagerduty-p1, source: pagerduty, monitors: [PF9KMXH], priorities: [P1], severity: critical}
  - {name: alertmanager-errors, source: alertmanager, monitors: [SmErrors], severity: critical}
  - name: appdynamics-health
    source: appdynamics
    monitors: ["77"]
    severity: critical
    guard: {within: 30s, by: [probes]}
  - name: own-monitor
    source: own
    monitors: [m-1]
    severity: critical
    guard: {within: 30s, by: [probes]}
"""

AUTOMATION = """
sources:
  datadog: {kind: datadog, authentication: secret_header, secrets: [DATADOG_SECRET, DATADOG_SECRET_OLD]}
  pagerduty: {kind: pagerduty, authentication: pagerduty_signature, secrets: [PAGERDUTY_SECRET, PAGERDUTY_SECRET_OLD]}
  alertmanager: {kind: alertmanager, authentication: bearer, secrets: [ALERTMANAGER_SECRET]}
  appdynamics: {kind: appdynamics, authentication: basic, user: appd, secrets: [APPDYNAMICS_SECRET]}
  own: {kind: generic, authentication: secret_header, secrets: [OWN_SECRET]}
storm_brake: {features: 3, window: 10m}
"""

SECRETS = {
    "DATADOG_SECRET": SECRET,
    "DATADOG_SECRET_OLD": OLD,
    "PAGERDUTY_SECRET": SECRET,
    "PAGERDUTY_SECRET_OLD": OLD,
    "ALERTMANAGER_SECRET": SECRET,
    "APPDYNAMICS_SECRET": SECRET,
    "OWN_SECRET": SECRET,
}


def with_alerts(policies: Path, rules: str = RULES, automation: str = AUTOMATION) -> None:
    """Adds rules to the feature, and who may send."""
    file = policies / "features" / f"{FEATURE}.yaml"
    file.write_text(file.read_text() + rules)
    (policies / "automation.yaml").write_text(automation)


# -- what senders send -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as a sender makes it."""

    source: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def without(self, *names: str) -> Sent:
        """The same without these headers."""
        return replace(self, headers={name: value for name, value in self.headers.items() if name not in names})


def datadog(transition: str = "Triggered", cycle: str = "cycle-1", *, secret: str = SECRET, **more: str) -> Sent:
    """As the webhook integration with our template."""
    now = str(int(datetime.now(UTC).timestamp() * 1000))
    given = {
        "$ID": f"event-{cycle}-{transition}",
        "$ALERT_ID": "4711",
        "$ALERT_CYCLE_KEY": cycle,
        "$ALERT_TRANSITION": transition,
        "$ALERT_TYPE": "error",
        "$ALERT_PRIORITY": "P1",
        "$DATE": now,
        "$LAST_UPDATED": now,
        "$TAGS": "env:eks-prod,service:mhv-messaging",
        "$EVENT_TITLE": "Non-200 answers above tolerance",
        **more,
    }
    body = json.dumps({name: given.get(value, value) for name, value in DATADOG.items()})
    return Sent("datadog", body.encode(), {"X-Rollback-Secret": secret})


def pagerduty(
    kind: str = "incident.triggered", incident: str = "PGR0VU2", *, secrets: tuple[str, ...] = (SECRET,)
) -> Sent:
    """A V3 event, signed over the raw bytes; two signatures while a secret is changed."""
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "event": {
            "id": f"{incident}-{kind}",
            "event_type": kind,
            "resource_type": "incident",
            "occurred_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "agent": None,
            "client": {"name": "Monitoring"},
            "data": {
                "id": incident,
                "type": "incident",
                "status": "resolved" if kind == "incident.resolved" else "triggered",
                "created_at": (now - timedelta(seconds=2)).isoformat(timespec="seconds"),
                "title": "Messages cannot be sent",
                "service": {"id": "PF9KMXH", "type": "service_reference", "summary": "Secure Messaging"},
                "priority": {"id": "PSO75BM", "type": "priority_reference", "summary": "P1"},
                "urgency": "high",
                "teams": [],
                "assignees": [],
                "resolve_reason": None,
            },
        }
    }
    body = json.dumps(document).encode()
    signed = ",".join(f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}" for secret in secrets)
    return Sent("pagerduty", body, {"X-PagerDuty-Signature": signed, "X-Webhook-Id": f"webhook-{incident}-{kind}"})


def alertmanager(status: str = "firing", fingerprint: str = "c0ffee", *, secret: str = SECRET) -> Sent:
    """Version 4 of the webhook's body."""
    now = datetime.now(UTC)
    began = _BEGAN.setdefault(fingerprint, now - timedelta(seconds=2)).isoformat()
    document = {
        "version": "4",
        "groupKey": '{}:{alertname="SmErrors"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "rollback",
        "groupLabels": {"alertname": "SmErrors"},
        "commonLabels": {"alertname": "SmErrors"},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.example.org",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "SmErrors", "env": "prod", "severity": "critical"},
                "annotations": {"summary": "errors above tolerance"},
                "startsAt": began,
                "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else now.isoformat(),
                "generatorURL": "https://prometheus.example.org/graph",
                "fingerprint": fingerprint,
            }
        ],
    }
    return Sent("alertmanager", json.dumps(document).encode(), {"Authorization": f"Bearer {secret}"})


_BEGAN: dict[str, datetime] = {}
"""When each alert began: its recovery says the same time."""


def appdynamics(kind: str = "POLICY_OPEN_CRITICAL", incident: str = "901", *, secret: str = SECRET) -> Sent:
    """Our template with its variables replaced, as the controller does it."""
    given = {
        "latestEvent.guid": f"guid-{incident}-{kind}",
        "latestEvent.id": f"5{incident}",
        "latestEvent.eventType": kind,
        "latestEvent.eventTime": f"{datetime.now(UTC):%a %b %d %H:%M:%S} UTC {datetime.now(UTC):%Y}",
        "latestEvent.displayName": "Health rule violated",
        "latestEvent.severity": "ERROR",
        "latestEvent.healthRule.id": "77",
        "latestEvent.healthRule.name": "SM errors",
        "latestEvent.incident.id": incident,
        "latestEvent.application.id": "12",
        "latestEvent.application.name": "mhv",
    }
    text = APPDYNAMICS
    for name, value in given.items():
        text = text.replace("${" + name + "}", value)
    basic = base64.b64encode(f"appd:{secret}".encode()).decode()
    return Sent("appdynamics", text.encode(), {"Authorization": f"Basic {basic}"})


def own(edge: str = "fired", cycle: str = "cycle-1", *, secret: str = SECRET) -> Sent:
    """The small document of anything that has a secret."""
    document = {
        "id": f"{cycle}-{edge}",
        "monitor": "m-1",
        "cycle": cycle,
        "edge": edge,
        "at": datetime.now(UTC).isoformat(),
        "priority": "P1",
        "tags": ["env:prod"],
        "title": "it fails",
    }
    return Sent("own", json.dumps(document).encode(), {"X-Rollback-Secret": secret})


FIRES: Mapping[str, Callable[[], Sent]] = {
    "datadog": datadog,
    "pagerduty": pagerduty,
    "alertmanager": alertmanager,
    "appdynamics": appdynamics,
    "own": own,
}
RECOVERS: Mapping[str, Callable[[], Sent]] = {
    "datadog": lambda: datadog("Recovered"),
    "pagerduty": lambda: pagerduty("incident.resolved"),
    "alertmanager": lambda: alertmanager("resolved"),
    "appdynamics": lambda: appdynamics("POLICY_CLOSE_CRITICAL"),
    "own": lambda: own("recovered"),
}


# -- the server ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Serving:
    """A running server. `cli` is the machine that it runs on."""

    cli: Cli
    running: Running
    url: str

    def send(self, sent: Sent) -> httpx.Response:
        """Delivers one request."""
        headers = {"Content-Type": "application/json", **sent.headers}
        return httpx.post(f"{self.url}/alerts/{sent.source}", content=sent.body, headers=headers, timeout=PATIENCE)

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric over all its labels but these."""
        total = 0.0
        for line in httpx.get(f"{self.url}/metrics", timeout=PATIENCE).text.splitlines():
            is_asked = line.startswith((f"{name}{{", f"{name} "))
            if is_asked and all(f'{label}="{value}"' in line for label, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def names(self) -> list[str]:
        """The names of all that is recorded of the feature, in order."""
        return [str(row["name"]) for row in self.cli.history()]

    def decisions(self) -> list[dict[str, Any]]:
        """Every decision on an alert, in order."""
        rows = [row for row in self.cli.history() if row["name"] == "alerts_decided"]
        return [decision for row in rows for decision in row["data"]["decisions"]]

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.running.signal(15)
        return self.running.result().code


@contextmanager
def serving(cli: Cli, **more: str | None) -> Iterator[Serving]:
    """`rollback serve` on a free port, ready; killed afterwards when it still runs."""
    running = cli.start("serve", "--port", "0", **SECRETS, **more)
    try:
        line = running.said("Ready: listening on")
        yield Serving(cli, running, line.split("listening on ")[1].strip().rstrip("."))
    finally:
        if running.is_running:
            running.kill()
