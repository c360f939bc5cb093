"""Polls the alerts of a Prometheus.

Source: prometheus/prometheus, docs/querying/api.md (Alerts, Rules, Runtime Information).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollback.adapters.alert_pollers.reading import (
    Odd,
    labels,
    of_monitors,
    rfc3339,
    rows,
    table,
    tags,
    text,
    words,
)
from rollback.adapters.alert_pollers.seen import Seen, over, unclear
from rollback.adapters.careful_answers import Denied, NotThere
from rollback.adapters.careful_http import CarefulHttp, Headers, Params, nobody
from rollback.alert_ports import Cycle, MonitorState
from rollback.core.alert_cycles import bounded, prometheus_cycle
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import StoreRefused
from rollback.ports import Clock

SETTLED = timedelta(minutes=15)
"""How long after a restart of Prometheus absence means nothing. Longer than `rules.alert.for-grace-period` (10 min),
which an alert that was firing may spend as pending, and than the time until rates have samples again (5 min)."""

STALE = timedelta(minutes=2)
"""A rule that was evaluated longer ago than this, and than three of its intervals, says nothing about now."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert of the answer. `place` is what all cycles of its labels have in common."""

    alert: Alert
    state: str

    @property
    def place(self) -> str:
        """The hash of the labels."""
        return place_of(self.alert)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting rule. `evaluated` None: not yet since the start, or not told. `waits` is the rule's `for`."""

    name: str
    health: str
    evaluated: datetime | None
    waits: timedelta
    interval: timedelta

    @property
    def sound(self) -> bool:
        """Whether its last evaluation gave a result."""
        return self.health == "ok" and self.evaluated is not None


class PrometheusAlertPoller:
    """An `AlertPoller` over `GET /api/v1/alerts`, `/rules` and `/status/runtimeinfo`.

    A monitor is the label `alertname`, a cycle the labels and `activeAt`. Fired: state `firing`, at `activeAt` and the
    rule's `for` (a lower bound: the API does not tell the moment). `pending` is nothing, or unclear when it had fired.

    Recovered: it was seen firing, is absent from a whole answer, and every rule of its name was evaluated without error
    since, by the same process. A restart empties the answer too: for `SETTLED` after one, absence is unclear. So is it
    when the rule is gone or its evaluation fails, and when the server does not tell when it started.
    """

    def __init__(
        self,
        source: str,
        *,
        url: str,
        clock: Clock,
        headers: Headers = nobody,
        within: float = 20.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.source = source
        self._http = CarefulHttp(url, "Prometheus", monotonic=clock.monotonic, tls=tls)
        self._headers = headers
        self._within = within
        self._seen = Seen(source)
        self._last_seen: dict[str, tuple[datetime | None, datetime | None]] = {}

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process saw firing, so that its end is told."""
        self._seen.remember(cycles)

    def poll(self, now: datetime) -> list[Reading]:
        """One reading for each alert name that fires, is unclear, or recovered lately. Raises as the port says."""
        deadline = self._http.deadline(self._within)
        entries = self._entries(deadline)
        rules = self._rules(deadline)
        started = self._started(deadline)  # last: a restart in between is seen
        firing = [_dated(one.alert, rules) for one in entries if one.state == "firing"]
        there = {one.place: one for one in entries}
        found = list(firing)
        for one in self._seen.firing():
            if all(one.cycle != alert.cycle for alert in firing):
                found.append(self._not_firing(one, there.get(place_of(one)), rules, started, now))
        readings = of_monitors(self.source, self._seen.keep(found, now))
        evaluated = {name: _evaluated(those) for name, those in rules.items()}
        self._last_seen.update((one.cycle, (evaluated.get(one.monitor), started)) for one in firing)
        self._last_seen = {cycle: last for cycle, last in self._last_seen.items() if self._seen.has(cycle)}
        return readings

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
        """The alerting rules of `ids` that exist, by name. `ok` means evaluated lately, without error, and not active.

        Prometheus does not tell whether an expression had any data, so `ok` is no evidence of health.
        """
        deadline = self._http.deadline(self._within)
        entries = self._entries(deadline)
        rules = self._rules(deadline)
        states = []
        for name in dict.fromkeys(ids):
            if name in rules:
                mine = [one for one in entries if one.alert.monitor == name]
                states.append(_state(name, rules[name], mine, now))
        return states

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _not_firing(
        self,
        one: Alert,
        there: Entry | None,
        rules: Mapping[str, Sequence[Rule]],
        started: datetime | None,
        now: datetime,
    ) -> Alert:
        """What became of a cycle that was seen firing and is not in the answer as such."""
        if there is not None and there.state == "firing":  # the same labels, active anew: this cycle ended before
            return over(one, there.alert.occurred_at)
        if there is not None:
            return unclear(one, "active again, not firing yet")
        mine = rules.get(one.monitor, ())
        if not mine:
            return unclear(one, "gone, and so is its rule")
        evaluated = _evaluated(mine)
        if evaluated is None:
            return unclear(one, "gone, but its rule gives no result")
        if started is None:
            return unclear(one, "gone, but Prometheus does not tell when it started")
        seen_at, process = self._last_seen.get(one.cycle, (None, None))
        if process != started and evaluated - started < SETTLED:
            return unclear(one, "gone, but Prometheus may have been restarted since")
        if seen_at is not None and evaluated <= seen_at:
            return unclear(one, "gone, but its rule was not evaluated since")
        return over(one, now)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _entries(self, deadline: float) -> list[Entry]:
        try:
            found = rows(self._data("/api/v1/alerts", deadline).get("alerts"), "data.alerts")
            return [_entry(self.source, one, f"data.alerts[{place}]") for place, one in enumerate(found)]
        except Odd as error:
            raise StoreRefused(f"Prometheus answered with something that is no list of alerts: {error}.") from None

    def _rules(self, deadline: float) -> dict[str, list[Rule]]:
        found: dict[str, list[Rule]] = {}
        try:
            data = self._data("/api/v1/rules", deadline, (("type", "alert"),))
            for group in rows(data.get("groups"), "data.groups"):
                fields = table(group, "a group of rules")
                for one in rows(fields.get("rules"), "the rules of a group"):
                    rule = _rule(table(one, "a rule"), fields.get("interval"))
                    found.setdefault(rule.name, []).append(rule)
        except Odd as error:
            raise StoreRefused(f"Prometheus answered with something that is no list of rules: {error}.") from None
        return found

    def _started(self, deadline: float) -> datetime | None:
        try:
            return rfc3339(self._data("/api/v1/status/runtimeinfo", deadline).get("startTime"))
        except (NotThere, Odd):  # a relative of Prometheus that does not have it
            return None

    def _data(self, path: str, deadline: float, params: Params = ()) -> Mapping[str, Any]:
        try:
            document = self._http.get(path, deadline=deadline, params=params, headers=self._headers()).document
        except Denied as denied:
            raise StoreRefused(
                f"Prometheus does not accept the credentials of {self.source} ({denied.status}).",
                next="Check the token, or the user and the password.",
            ) from None
        fields = table(document, "the answer")
        if fields.get("status") != "success":
            raise Odd("its status is not success")
        return table(fields.get("data"), "data")


def place_of(alert: Alert) -> str:
    """What all cycles of one set of labels have in common."""
    return alert.cycle.partition("@")[0]


def _entry(source: str, value: Any, where: str) -> Entry:
    fields = table(value, where)
    own = labels(fields.get("labels"), f"{where}.labels")
    active_at = rfc3339(fields.get("activeAt"))
    if active_at is None:
        raise Odd(f"{where}.activeAt is no time")
    alert = Alert(
        source=source,
        monitor=bounded(text(own.get("alertname"), f"{where}.labels.alertname")),
        cycle=prometheus_cycle(own, active_at),
        edge=Edge.FIRED,
        occurred_at=active_at,
        priority=words(own.get("severity") or own.get("priority"), 20).upper(),
        tags=tags(f"{name}:{label}" for name, label in own.items() if label),
        title=words(own.get("alertname")),
    )
    return Entry(alert, text(fields.get("state"), f"{where}.state"))


def _rule(fields: Mapping[str, Any], interval: Any) -> Rule:
    return Rule(
        name=bounded(text(fields.get("name"), "a rule's name")),
        health=str(fields.get("health")),
        evaluated=rfc3339(fields.get("lastEvaluation")),
        waits=_duration(fields.get("duration")),
        interval=_duration(interval),
    )


def _duration(value: Any) -> timedelta:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**7
    return timedelta(seconds=value) if usable else timedelta(0)


def _dated(alert: Alert, rules: Mapping[str, Sequence[Rule]]) -> Alert:
    """The alert at the earliest moment at which it can have fired: `activeAt` and the shortest `for` of its name."""
    waits = min((rule.waits for rule in rules.get(alert.monitor, ())), default=timedelta(0))
    assert alert.occurred_at is not None
    return replace(alert, occurred_at=alert.occurred_at + waits)


def _evaluated(rules: Sequence[Rule]) -> datetime | None:
    """When all of them had been evaluated without error; None when one has not, or when there is none."""
    if not rules or not all(rule.sound for rule in rules):
        return None
    return min(rule.evaluated for rule in rules if rule.evaluated is not None)


def _state(name: str, rules: Sequence[Rule], entries: Sequence[Entry], now: datetime) -> MonitorState:
    alerts = tuple(_dated(one.alert, {name: rules}) for one in entries if one.state == "firing")
    evaluated = _evaluated(rules)
    why = ""
    if evaluated is None:
        why = "its rule gives no result"
    elif now - evaluated > max(STALE, 3 * max(rule.interval for rule in rules)):
        why = "its rule was not evaluated lately"
    elif entries and not alerts:
        why = "pending"
    found = sorted({tag for one in entries for tag in one.alert.tags})
    return MonitorState(
        monitor=name,
        name=words(name),
        state="alert" if alerts else "unknown" if why else "ok",
        why="" if alerts else why,
        tags=tags(found),
        alerts=alerts,
    )
