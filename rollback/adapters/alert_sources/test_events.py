"""Test events of each kind of sender, as `rollback doctor` sends them: the bodies that our templates make, and how they
prove their sender. A parser reads each of them as a test, so that they are answered and recorded, and do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from string import Template

from rollback.adapters.alert_sources import appdynamics, datadog
from rollback.adapters.alert_sources.alertmanager import TEST_LABEL
from rollback.adapters.alert_sources.pagerduty import TEST_EVENT
from rollback.errors import ConfigurationError

MONITOR = "rollback-doctor"
"""The monitor that test events name: none of anybody's."""


def trial_body(kind: str, at: datetime, word: str) -> bytes:
    """The body of a test event of this kind. `word` is different for each event, so that none is taken for another.

    Raises `ConfigurationError`, which lists them, for a kind that has none.
    """
    make = _BODIES.get(kind)
    if make is None:
        known = ", ".join(sorted(_BODIES))
        raise ConfigurationError(f"There is no test event of kind {kind[:40]!r}.", next=f"Known: {known}.")
    return json.dumps(make(at.astimezone(UTC), word)).encode()


def trial_headers(scheme: str, secret: str, body: bytes, *, header: str = "", user: str = "") -> dict[str, str]:
    """The headers by which a sender with this secret proves itself. The other half is `authenticity`.

    Raises `ConfigurationError`, which lists them, for a scheme that is none.
    """
    match scheme:
        case "secret_header":
            return {header: secret}
        case "basic":
            return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}
        case "bearer":
            return {"Authorization": f"Bearer {secret}"}
        case "pagerduty_signature":
            return {"X-PagerDuty-Signature": f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}
        case _:
            raise ConfigurationError(
                f"unknown authentication {scheme[:40]!r}",
                next="Use secret_header, basic, bearer or pagerduty_signature.",
            )


def _datadog(at: datetime, word: str) -> Mapping[str, object]:
    """Datadog puts values in for `$NAME`; times are milliseconds."""
    moment = str(int(at.timestamp() * 1000))
    values = {
        "ID": word,
        "ALERT_ID": MONITOR,
        "ALERT_CYCLE_KEY": word,
        "ALERT_TRANSITION": "Triggered",
        "ALERT_TYPE": "error",
        "DATE": moment,
        "LAST_UPDATED": moment,
        "EVENT_TITLE": "test event of rollback doctor",
    }
    return {name: Template(text).safe_substitute(values) for name, text in datadog.TEST_TEMPLATE.items()}


def _pagerduty(at: datetime, word: str) -> Mapping[str, object]:
    """What the button "Send test event" of a webhook sends (developer.pagerduty.com, Webhooks: `pagey.ping`)."""
    return {
        "event": {
            "id": word,
            "event_type": TEST_EVENT,
            "resource_type": "pagey",
            "occurred_at": _rfc3339(at),
            "agent": None,
            "client": None,
            "data": {"message": "test event of rollback doctor", "type": "ping"},
        }
    }


def _alertmanager(at: datetime, word: str) -> Mapping[str, object]:
    labels = {"alertname": MONITOR, TEST_LABEL: "true", "word": word}
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "test event of rollback doctor"},
        "startsAt": _rfc3339(at),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": hashlib.sha256(word.encode()).hexdigest()[:16],
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{MONITOR}"}}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": MONITOR,
        "groupLabels": {"alertname": MONITOR},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": [alert],
    }


def _appdynamics(at: datetime, word: str) -> Mapping[str, object]:
    """The second template, with values for `${latestEvent.…}`; what an event lacks stays as it is."""
    values = {
        "latestEvent.guid": word,
        "latestEvent.id": word,
        "latestEvent.eventType": "POLICY_OPEN_CRITICAL",
        "latestEvent.eventTime": _rfc3339(at),
        "latestEvent.displayName": "test event of rollback doctor",
        "latestEvent.severity": "ERROR",
        "latestEvent.healthRule.id": MONITOR,
        "latestEvent.incident.id": word,
    }
    template = appdynamics.TEST_TEMPLATE
    for name, value in values.items():
        template = template.replace(f"${{{name}}}", value)
    filled: dict[str, object] = json.loads(template)
    return filled


def _generic(at: datetime, word: str) -> Mapping[str, object]:
    return {"id": word, "monitor": MONITOR, "cycle": word, "edge": "test", "at": _rfc3339(at)}


def _rfc3339(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


_BODIES: Mapping[str, Callable[[datetime, str], Mapping[str, object]]] = {
    "datadog": _datadog,
    "pagerduty": _pagerduty,
    "alertmanager": _alertmanager,
    "appdynamics": _appdynamics,
    "generic": _generic,
}
