"""Polls the health rule violations of an application in AppDynamics.

Sources: docs.appdynamics.com, Alert and Respond API: Events and Action Suppression API (Retrieve All Health Rule
Violations), Health Rule API (Retrieve a List of Health Rules); Application Model API (applications).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from rollback.adapters.alert_pollers.appdynamics_access import Access
from rollback.adapters.alert_pollers.reading import (
    Odd,
    identifier,
    moment,
    of_monitors,
    rows,
    table,
    tags,
    web_link,
    words,
)
from rollback.adapters.alert_pollers.seen import Seen, over, unclear
from rollback.adapters.careful_answers import Denied, Reply
from rollback.adapters.careful_http import CarefulHttp
from rollback.alert_ports import Cycle, MonitorState
from rollback.core.alert_cycles import appdynamics_cycle
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import ConfigurationError, StoreRefused
from rollback.ports import Clock

CRITICAL = "CRITICAL"
LONGEST = timedelta(days=7)
"""How far back is asked at most, to hear of a violation that is still open."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation of a health rule. `ended` is None while it is open."""

    alert: Alert
    status: str
    started: datetime | None
    ended: datetime | None

    @property
    def critical(self) -> bool:
        """Whether its severity is critical."""
        return self.alert.priority == CRITICAL


class AppDynamicsAlertPoller:
    """An `AlertPoller` over `GET …/problems/healthrule-violations`.

    `application` is a name or an id. `look_back` is the window of each poll; it grows to the start of the oldest
    violation that was seen and is not over.

    A monitor is a health rule (`triggeredEntityDefinition.entityId`), a cycle a violation (`id`, the incident's).
    Fired: OPEN and CRITICAL. Recovered: a violation that was seen firing and is RESOLVED. A violation with severity
    WARNING, one that is CANCELLED (its rule was changed, or what it looks at is gone), and one that is not told any
    more are unclear: absence is no recovery. `occurred_at` is the violation's start; where a warning was seen to become
    critical, the moment of the poll that saw it. A critical one that began and ended between two polls is told as
    both.
    """

    def __init__(
        self,
        source: str,
        *,
        controller: str,
        application: str,
        access: Access,
        clock: Clock,
        look_back: timedelta = timedelta(minutes=60),
        within: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not application or len(application) > 200:
            raise ConfigurationError("The application in AppDynamics is given by its name or id.")
        self.source = source
        self._http = CarefulHttp(controller, "AppDynamics", monotonic=clock.monotonic, tls=tls)
        self._access, self._application = access, application
        self._look_back, self._within = look_back, within
        self._seen = Seen(source)
        self._warned: set[str] = set()
        self._raised: dict[str, datetime] = {}
        self._before: datetime | None = None

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process saw firing, so that its end is told."""
        self._seen.remember(cycles)

    def poll(self, now: datetime) -> list[Reading]:
        """One reading for each health rule that fires, is unclear, or recovered lately. Raises as the port says."""
        deadline = self._http.deadline(self._within)
        violations = self._violations(deadline, now)
        raised = self._raised | {
            one.alert.cycle: now for one in violations if one.critical and one.alert.cycle in self._warned
        }
        found = [edge for one in violations for edge in self._edges(one, raised, now)]
        told = {one.alert.cycle for one in violations}
        found += [
            unclear(one, "its violation is not told any more") for one in self._seen.firing() if one.cycle not in told
        ]
        readings = of_monitors(self.source, self._seen.keep(found, now))
        self._raised = {cycle: at for cycle, at in raised.items() if cycle in told}
        self._warned = {one.alert.cycle for one in violations if one.status == "OPEN" and not one.critical}
        self._before = now
        return readings

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
        """The health rules of `ids` that exist. `ok` means enabled and without an open violation.

        The API does not tell whether a rule has data, so `ok` is no evidence of health.
        """
        deadline = self._http.deadline(self._within)
        rules = self._rules(deadline)
        violations = self._violations(deadline, now)
        states = []
        for number in dict.fromkeys(ids):
            if (rule := rules.get(number)) is None:
                continue
            mine = [one for one in violations if one.alert.monitor == number]
            alerts = tuple(edge for one in mine for edge in self._edges(one, self._raised, now))
            firing = any(alert.edge is Edge.FIRED for alert in alerts)
            why = "" if rule.get("enabled") is True else "disabled"
            why = why or ("a warning is open" if any(one.status == "OPEN" for one in mine) else "")
            state = "alert" if firing else "unknown" if why else "ok"
            name = words(rule.get("name")) or f"health rule {number}"
            states.append(MonitorState(number, name, state, why if state == "unknown" else "", alerts=alerts))
        return states

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _edges(self, one: Violation, raised: Mapping[str, datetime], now: datetime) -> list[Alert]:
        seen = self._seen.has(one.alert.cycle)
        match one.status:
            case "OPEN" if one.critical and one.ended is None:
                began = raised.get(one.alert.cycle, one.started)
                return [replace(one.alert, occurred_at=began)]
            case "OPEN":
                why = "a warning" if one.ended is None else "open, and ended"
                return [unclear(one.alert, why, one.started)]
            case "RESOLVED" if seen:
                return [over(one.alert, one.ended or now)]
            case "RESOLVED" if one.critical and self._before and one.started and one.started > self._before:
                return [one.alert, over(one.alert, one.ended or now)]
            case "RESOLVED":
                return []
        return [unclear(one.alert, f"its state is {words(one.status, 20).lower()}")] if seen else []

    # -- asking ----------------------------------------------------------------------------------------------------

    def _violations(self, deadline: float, now: datetime) -> list[Violation]:
        begins = [one.occurred_at for one in self._seen.firing() if one.occurred_at is not None]
        reach = max(self._look_back, now - min(begins, default=now) + timedelta(minutes=10))
        minutes = int(min(reach, LONGEST).total_seconds() // 60)
        params = (("time-range-type", "BEFORE_NOW"), ("duration-in-mins", str(max(1, minutes))), ("output", "JSON"))
        path = f"/controller/rest/applications/{quote(self._application, safe='')}/problems/healthrule-violations"
        document = self._get(path, deadline, params).document
        try:
            return [
                _violation(self.source, self._application, entry, f"violations[{place}]")
                for place, entry in enumerate(rows(document, "the answer"))
            ]
        except Odd as error:
            raise StoreRefused(f"AppDynamics answered with something that is no list of violations: {error}.") from None

    def _rules(self, deadline: float) -> dict[str, Mapping[str, Any]]:
        path = f"/controller/alerting/rest/v1/applications/{self._number(deadline)}/health-rules"
        document = self._get(path, deadline).document
        try:
            entries = [table(entry, "a health rule") for entry in rows(document, "the answer")]
            return {identifier(entry.get("id"), "a health rule's id"): entry for entry in entries}
        except Odd as error:
            raise StoreRefused(f"AppDynamics answered with something that is no list of rules: {error}.") from None

    def _number(self, deadline: float) -> str:
        """The application's id; the health rule API takes no name."""
        path = f"/controller/rest/applications/{quote(self._application, safe='')}"
        document = self._get(path, deadline, (("output", "JSON"),)).document
        try:
            found = rows(document, "the answer")
            return identifier(table(found[0] if found else None, "the application").get("id"), "the application's id")
        except Odd as error:
            raise StoreRefused(f"AppDynamics answered with something that is no application: {error}.") from None

    def _get(self, path: str, deadline: float, params: Sequence[tuple[str, str]] = ()) -> Reply:
        used = self._access.authorization(self._http, deadline)
        try:
            return self._asked(path, deadline, params, used)
        except Denied as denied:
            fresh = self._access.authorization(self._http, deadline, renew=True) if denied.status == 401 else None
            if fresh is None:
                raise self._denied(denied) from None
        try:
            return self._asked(path, deadline, params, fresh)
        except Denied as denied:
            raise self._denied(denied) from None

    def _asked(self, path: str, deadline: float, params: Sequence[tuple[str, str]], authorization: str | None) -> Reply:
        return self._http.get(path, deadline=deadline, params=params, headers={"authorization": authorization or ""})

    def _denied(self, denied: Denied) -> StoreRefused:
        if denied.status == 401:
            return StoreRefused(
                f"AppDynamics does not accept the credentials of {self.source}.", next="Check name, account and secret."
            )
        return StoreRefused(
            f"AppDynamics does not let {self.source} read the application.", next="Give its role the right to view it."
        )


def _violation(source: str, application: str, entry: Any, where: str) -> Violation:
    fields = table(entry, where)
    rule = table(fields.get("triggeredEntityDefinition"), f"{where}.triggeredEntityDefinition")
    entity = fields.get("affectedEntityDefinition")
    entity = entity if isinstance(entity, dict) else {}
    started = moment(fields.get("startTimeInMillis"), per_second=1000)
    found = (
        f"application:{application}",
        f"health_rule:{rule.get('name') or fields.get('name')}",
        f"entity_type:{entity.get('entityType')}" if entity.get("entityType") else None,
        f"entity:{entity.get('name')}" if entity.get("name") else None,
    )
    alert = Alert(
        source=source,
        monitor=identifier(rule.get("entityId"), f"{where}.triggeredEntityDefinition.entityId"),
        cycle=appdynamics_cycle(identifier(fields.get("id"), f"{where}.id")),
        edge=Edge.FIRED,
        occurred_at=started,
        priority=words(fields.get("severity"), 20).upper(),
        tags=tags(found),
        title=words(fields.get("name")),
        link=web_link(fields.get("deepLinkUrl")),
    )
    status = fields.get("incidentStatus")
    if not isinstance(status, str):
        raise Odd(f"{where}.incidentStatus is no text")
    return Violation(alert, status.upper(), started, moment(fields.get("endTimeInMillis"), per_second=1000))
