"""A stand-in of the AppDynamics controller: tokens, applications, health rules, their violations."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from rollback.sandbox.wire import Answer, Request, json_answer

APPLICATIONS = "/controller/rest/applications/"
RULES = "/controller/alerting/rest/v1/applications/"


@dataclass(slots=True)
class AdViolation:
    """One violation of a health rule. `ended` None: it is open."""

    id: int
    rule: int
    rule_name: str
    started: datetime
    severity: str = "CRITICAL"
    status: str = "OPEN"
    ended: datetime | None = None


class AppDynamicsApi:
    """`violate` a rule, `resolve` the violation. Known are one API client and one user, both of account `customer1`."""

    CLIENT, SECRET = "rollback@customer1", "4b1f2a30-aaaa-bbbb-cccc-0123456789ab"
    USER, PASSWORD = "reader@customer1", "synthetic-password"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.application = "sm-api"
        self.rules: dict[int, dict[str, Any]] = {}
        self.violations: dict[int, AdViolation] = {}
        self.token_seconds = 300
        self.tokens: list[str] = []
        self.valid: set[str] = set()

    def violate(self, number: int, rule: int, started: datetime, severity: str = "CRITICAL") -> AdViolation:
        """A violation of a rule, which is made when it is not there."""
        self.rules.setdefault(rule, {"id": rule, "name": f"Health rule {rule}", "enabled": True})
        self.violations[number] = AdViolation(number, rule, self.rules[rule]["name"], started, severity)
        return self.violations[number]

    def resolve(self, number: int, at: datetime, status: str = "RESOLVED") -> None:
        """The violation is over."""
        self.violations[number].status, self.violations[number].ended = status, at

    def answer(self, request: Request) -> Answer | None:
        """The answer to one of its paths, None for another's."""
        if request.path == "/controller/api/oauth/access_token":
            return self._token(request)
        if not request.path.startswith((APPLICATIONS, RULES)):
            return None
        if not self._is_known(request.headers.get("authorization", "")):
            return json_answer({"error": "unauthorized"}, 401)
        if request.path.startswith(RULES):
            return json_answer(list(self.rules.values())) if request.path == f"{RULES}7/health-rules" else None
        name, _, rest = request.path.removeprefix(APPLICATIONS).partition("/")
        if name not in (self.application, "7"):
            return json_answer({"error": "Invalid application"}, 400)
        match rest:
            case "":
                return json_answer([{"id": 7, "name": self.application, "accountGuid": "a-1"}])
            case "problems/healthrule-violations":
                return json_answer(self._window(request.query))
        return None

    def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        given = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"))
        if request.method != "POST" or given != ("client_credentials", self.CLIENT, self.SECRET):
            return json_answer({"error": "invalid_client"}, 401)
        token = f"synthetic.{len(self.tokens)}"
        self.tokens.append(token)
        self.valid = {token}
        return json_answer({"access_token": token, "expires_in": self.token_seconds})

    def _is_known(self, authorization: str) -> bool:
        basic = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        return authorization == f"Basic {basic}" or authorization.removeprefix("Bearer ") in self.valid

    def _window(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """What began within the window, or ended in it."""
        since = self._now() - timedelta(minutes=int(query["duration-in-mins"]))
        return [
            self._document(one)
            for one in self.violations.values()
            if one.started >= since or (one.ended is not None and one.ended >= since)
        ]

    def _document(self, one: AdViolation) -> dict[str, Any]:
        return {
            "id": one.id,
            "name": one.rule_name,
            "description": "AppDynamics has detected a problem with <b>Synthetic tier</b>.",
            "severity": one.severity,
            "incidentStatus": one.status,
            "startTimeInMillis": _millis(one.started),
            "detectedTimeInMillis": 0,
            "endTimeInMillis": _millis(one.ended) if one.ended is not None else 0,
            "affectedEntityDefinition": {"entityType": "APPLICATION_COMPONENT", "entityId": 12, "name": "sm-tier"},
            "triggeredEntityDefinition": {"entityType": "POLICY", "entityId": one.rule, "name": one.rule_name},
            "deepLinkUrl": f"https://appd.example.org/#location=APP_INCIDENT_DETAIL&incident={one.id}",
        }


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
