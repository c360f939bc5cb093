"""Polls the alerts of an Alertmanager.

Sources: prometheus/alertmanager, api/v2/openapi.yaml (getAlerts, getStatus); Prometheus sends each firing alert anew,
with an end some minutes ahead, until it resolves it (prometheus/prometheus, rules/manager.go).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollback.adapters.alert_pollers.reading import (
    Odd,
    identifier,
    labels,
    of_monitors,
    rfc3339,
    rows,
    table,
    tags,
    text,
    web_link,
    words,
)
from rollback.adapters.alert_pollers.seen import Seen, over, unclear
from rollback.adapters.careful_answers import Denied, Reply
from rollback.adapters.careful_http import CarefulHttp, Headers, nobody
from rollback.alert_ports import Cycle, MonitorState
from rollback.core.alert_cycles import alertmanager_cycle, bounded
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import StoreRefused
from rollback.ports import Clock

_WHY = {"active": "", "suppressed": "silenced or inhibited", "unprocessed": "not processed yet"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert of the answer. `why` says why it is no harm that counts (silenced, inhibited); empty: it fires."""

    alert: Alert
    why: str
    ends_at: datetime | None
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """Which Alertmanager answered: when it started (None: not told), and whether its cluster is still settling."""

    started: datetime | None
    settling: bool


class AlertmanagerAlertPoller:
    """An `AlertPoller` over `GET /api/v2/alerts`. `filters` are matchers, such as `service="sm"`; all must match.

    A monitor is the label `alertname`, a cycle the fingerprint and the start, as in the webhook's notices. Fired: state
    `active`. Suppressed (silenced or inhibited) and unprocessed alerts are unclear.

    What is resolved, and what is only forgotten, both vanish from the answer. It is recovered when it was seen firing,
    the same instance answers as then, and the alert's own end (`endsAt`, which Prometheus keeps moving ahead) is still
    to come: then it was resolved. After a restart, or when its end has passed because nobody renewed it, it is unclear.
    Give the address of one instance: behind a balancer, each answer seems to come after a restart.
    """

    def __init__(
        self,
        source: str,
        *,
        url: str,
        clock: Clock,
        headers: Headers = nobody,
        filters: Sequence[str] = (),
        within: float = 20.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.source = source
        self._http = CarefulHttp(url, "Alertmanager", monotonic=clock.monotonic, tls=tls)
        self._headers = headers
        self._filters = tuple(("filter", one) for one in filters)
        self._within = within
        self._seen = Seen(source)
        self._last_seen: dict[str, tuple[datetime | None, datetime | None]] = {}

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process, or the webhook, saw firing."""
        self._seen.remember(cycles)

    def poll(self, now: datetime) -> list[Reading]:
        """One reading for each alert name that fires, is unclear, or recovered lately. Raises as the port says."""
        deadline = self._http.deadline(self._within)
        entries = self._entries(deadline)
        instance = self._instance(deadline)  # after the alerts: a restart before them is seen
        told = {entry.alert.cycle for entry in entries}
        found = [self._edge(entry) for entry in entries]
        found += [self._absent(one, instance, now) for one in self._seen.firing() if one.cycle not in told]
        readings = of_monitors(self.source, self._seen.keep(found, now))
        self._last_seen.update((entry.alert.cycle, (entry.ends_at, instance.started)) for entry in entries)
        self._last_seen = {
            cycle: last for cycle, last in self._last_seen.items() if cycle in told or self._seen.has(cycle)
        }
        return readings

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:  # noqa: ARG002
        """The alert names of `ids`, every one: Alertmanager does not know rules that do not fire, so it is unknown
        whether such a rule exists. Never `ok`. `notifies` are the receivers of the alerts that are there."""
        entries = self._entries(self._http.deadline(self._within))
        return [self._state(name, [one for one in entries if one.alert.monitor == name]) for name in dict.fromkeys(ids)]

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _edge(self, entry: Entry) -> Alert:
        return unclear(entry.alert, entry.why, entry.alert.occurred_at) if entry.why else entry.alert

    def _absent(self, one: Alert, instance: Instance, now: datetime) -> Alert:
        ends_at, started = self._last_seen.get(one.cycle, (None, None))
        if instance.started is None or started != instance.started:
            return unclear(one, "gone, but Alertmanager may have been restarted since")
        if instance.settling:
            return unclear(one, "gone, but Alertmanager's cluster is settling")
        if ends_at is None or now >= ends_at:
            return unclear(one, "gone, but nobody renewed it; is Prometheus down?")
        return over(one, now)

    def _state(self, name: str, entries: Sequence[Entry]) -> MonitorState:
        alerts = tuple(self._edge(entry) for entry in entries)
        firing = any(alert.edge is Edge.FIRED for alert in alerts)
        why = next(
            (entry.why for entry in entries if entry.why), "no such alert is there; whether its rule exists is not told"
        )
        receivers = sorted({receiver for entry in entries for receiver in entry.receivers})
        return MonitorState(
            monitor=name,
            name=words(name),
            state="alert" if firing else "unknown",
            why="" if firing else why,
            muted=bool(entries) and all(entry.why == _WHY["suppressed"] for entry in entries),
            notifies=tuple(receivers),
            alerts=alerts,
        )

    # -- asking ----------------------------------------------------------------------------------------------------

    def _entries(self, deadline: float) -> list[Entry]:
        everything = (("active", "true"), ("silenced", "true"), ("inhibited", "true"), ("unprocessed", "true"))
        document = self._get("/api/v2/alerts", deadline, (*everything, *self._filters)).document
        try:
            return [
                _entry(self.source, one, f"alerts[{place}]") for place, one in enumerate(rows(document, "the answer"))
            ]
        except Odd as error:
            raise StoreRefused(f"Alertmanager answered with something that is no list of alerts: {error}.") from None

    def _instance(self, deadline: float) -> Instance:
        document = self._get("/api/v2/status", deadline).document
        fields: Mapping[str, Any] = document if isinstance(document, dict) else {}
        cluster = fields.get("cluster")
        settling = isinstance(cluster, dict) and cluster.get("status") == "settling"
        return Instance(rfc3339(fields.get("uptime")), settling)

    def _get(self, path: str, deadline: float, params: Sequence[tuple[str, str]] = ()) -> Reply:
        try:
            return self._http.get(path, deadline=deadline, params=params, headers=self._headers())
        except Denied as denied:
            raise StoreRefused(
                f"Alertmanager does not accept the credentials of {self.source} ({denied.status}).",
                next="Check the token, or the user and the password.",
            ) from None


def _entry(source: str, value: Any, where: str) -> Entry:
    fields = table(value, where)
    status = table(fields.get("status"), f"{where}.status")
    state = text(status.get("state"), f"{where}.status.state")
    own = labels(fields.get("labels"), f"{where}.labels")
    fingerprint = identifier(fields.get("fingerprint"), f"{where}.fingerprint")
    starts_at = rfc3339(fields.get("startsAt"))
    if starts_at is None:
        raise Odd(f"{where}.startsAt is no time")
    suppressed = bool(status.get("silencedBy")) or bool(status.get("inhibitedBy"))
    alert = Alert(
        source=source,
        monitor=bounded(text(own.get("alertname"), f"{where}.labels.alertname")),
        cycle=alertmanager_cycle(fingerprint, starts_at),
        edge=Edge.FIRED,
        occurred_at=starts_at,
        priority=words(own.get("severity") or own.get("priority"), 20).upper(),
        tags=tags(f"{name}:{label}" for name, label in own.items() if label),
        title=words(own.get("alertname")),
        link=web_link(fields.get("generatorURL")),
    )
    receivers = fields.get("receivers")
    names = (
        [words(one.get("name")) for one in receivers if isinstance(one, dict)] if isinstance(receivers, list) else []
    )
    why = _WHY["suppressed"] if suppressed else _WHY.get(state, "in a state that is not known here")
    return Entry(alert, why, rfc3339(fields.get("endsAt")), tuple(name for name in names if name))
