"""What a monitor of Datadog's API says: fields in, alerts out. Pure.

Source: docs.datadoghq.com/api/latest/monitors (Get all monitors; models Monitor, MonitorState, MonitorStateGroup,
MonitorOptions, MatchingDowntime, MonitorOverallStates).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rollback.adapters.alert_pollers.reading import Odd, identifier, moment, rfc3339, rows, seconds, table, tags, words
from rollback.adapters.alert_pollers.seen import over, unclear
from rollback.alert_ports import MonitorState
from rollback.core.alert_cycles import datadog_group_cycle
from rollback.core.alerts import Alert, Edge

WHOLE = "*"
"""The group of a monitor without groups."""

_MENTION = re.compile(r"(?<![\w.@])@[\w.+-]+(?:@[\w.-]+)?(?:/[\w.-]+)*")
_SAYS = {
    "Alert": "",
    "OK": "",
    "No Data": "no data",
    "Warn": "a warning",
    "Ignored": "ignored by Datadog",
    "Skipped": "skipped by Datadog",
    "Unknown": "unknown to Datadog",
}


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a monitor. Times are seconds since 1970; None: it never happened, or is not told."""

    name: str
    status: str
    triggered: int | None = None
    resolved: int | None = None
    no_data: int | None = None
    why: str = ""
    """Why its state is unknown whatever the status says; empty when it is not."""

    def place(self, monitor: str) -> str:
        """What all cycles of this group have in common."""
        return datadog_group_cycle(monitor, self.name, None).rpartition("|")[0]


@dataclass(frozen=True, slots=True)
class DatadogMonitor:
    """One monitor. `why` is set when nothing it says can be taken for health or harm."""

    id: str
    name: str
    overall: str
    priority: str
    tags: tuple[str, ...]
    notifies: tuple[str, ...]
    link: str
    groups: tuple[Group, ...]
    warns: bool
    why: str = ""

    @property
    def muted(self) -> bool:
        """True when all of it is muted."""
        return bool(self.groups) and all(group.why.startswith("muted") for group in self.groups)

    def alert(self, source: str, group: Group, edge: Edge, at: int | None, why: str = "") -> Alert:
        """An edge of the group's present cycle, at `at` (seconds)."""
        cycle = datadog_group_cycle(self.id, group.name, group.triggered)
        made = self.described(Alert(source, self.id, cycle, edge, moment(at)), group)
        return unclear(made, why, moment(at)) if edge is Edge.UNCLEAR else made

    def described(self, alert: Alert, group: Group) -> Alert:
        """The alert with the monitor's present priority, tags, name and link, and the group's tags."""
        own = [tag.strip() for tag in group.name.split(",")] if group.name != WHOLE else []
        found = tags([*self.tags, *own])
        return replace(alert, priority=self.priority, tags=found, title=self.name, link=self.link)


def read_monitor(entry: Any, where: str, *, app_url: str, now: datetime) -> DatadogMonitor:
    """One entry of the answer. Raises `Odd` when not even its id can be read; else it is a monitor, perhaps unknown."""
    fields = table(entry, where)
    number = identifier(fields.get("id"), f"{where}.id")
    try:
        groups, why = _groups(fields, where, now), ""
    except Odd:
        groups, why = (), "its state cannot be read"
    if fields.get("draft_status") == "draft":
        why = "a draft"
    options = fields.get("options")
    thresholds = options.get("thresholds") if isinstance(options, dict) else None
    priority = fields.get("priority")
    return DatadogMonitor(
        id=number,
        name=words(fields.get("name")) or f"monitor {number}",
        overall=str(fields.get("overall_state")),
        priority=f"P{priority}" if type(priority) is int and 1 <= priority <= 5 else "",
        tags=tags(fields["tags"]) if isinstance(fields.get("tags"), list) else (),
        notifies=mentions(fields.get("message")),
        link=f"{app_url}/monitors/{number}" if number.isdigit() else "",
        groups=groups,
        warns=not isinstance(thresholds, dict) or thresholds.get("warning") is not None,
        why=why,
    )


def mentions(message: Any) -> tuple[str, ...]:
    """The recipients in a monitor's message, as Datadog writes them (`@slack-…`); addresses of people are masked."""
    found = _MENTION.findall(message[:20_000]) if isinstance(message, str) else []
    return tuple(sorted({words(mention.rstrip(".-")) for mention in found}))[:64]


def _groups(fields: Mapping[str, Any], where: str, now: datetime) -> tuple[Group, ...]:
    overall = fields.get("overall_state")
    if not isinstance(overall, str):
        raise Odd(f"{where}.overall_state is no text")
    state = table(fields.get("state") or {}, f"{where}.state")
    told = table(state.get("groups") or {}, f"{where}.state.groups")
    found = [_group(name, entry, f"{where}.state.groups") for name, entry in told.items()]
    changed = rfc3339(fields.get("overall_state_modified"))
    since = int(changed.timestamp()) if changed is not None else None
    if not found:
        found = [Group(WHOLE, overall, since if overall == "Alert" else None, since if overall == "OK" else None)]
    elif overall == "Alert" and all(group.status != "Alert" for group in found):
        found.append(Group(WHOLE, overall, since, why="the monitor says Alert, and none of its groups does"))
    silences = _silences(fields, now)
    return tuple(_muted(group, silences, alone=len(found) == 1) for group in found)


def _group(name: str, entry: Any, where: str) -> Group:
    fields = table(entry, where)
    status = fields.get("status")
    if not isinstance(status, str):
        raise Odd(f"{where}: a status is no text")
    return Group(
        name=name or WHOLE,
        status=status,
        triggered=seconds(fields.get("last_triggered_ts")),
        resolved=seconds(fields.get("last_resolved_ts")),
        no_data=seconds(fields.get("last_nodata_ts")),
        why="" if status in _SAYS else "in a state that is not known here",
    )


def _silences(fields: Mapping[str, Any], now: datetime) -> list[frozenset[str]]:
    """The scopes that are muted now, each as the tags that a group must have; an empty set is everything."""
    options = fields.get("options")
    silenced = options.get("silenced") if isinstance(options, dict) else None
    found = []
    if isinstance(silenced, dict):
        for scope, until in silenced.items():
            ends = moment(until)
            if ends is None or ends > now:
                found.append(_scope([scope]))
    downtimes = fields.get("matching_downtimes")
    for downtime in rows(downtimes, "matching_downtimes") if downtimes is not None else ():
        one = table(downtime, "matching_downtimes")
        begins, ends = moment(one.get("start")), moment(one.get("end"))
        scope = one.get("scope")
        if (begins is None or begins <= now) and (ends is None or ends > now):
            found.append(_scope(scope if isinstance(scope, list) else [scope]))
    return found


def _scope(scope: Sequence[Any]) -> frozenset[str]:
    parts = (part.strip() for one in scope if isinstance(one, str) for part in re.split(r",| AND ", one))
    return frozenset(part for part in parts if part not in ("", WHOLE))


def _muted(group: Group, silences: Collection[frozenset[str]], *, alone: bool) -> Group:
    """A silence that matches the monitor matches its only group; else the group must bear all tags of its scope."""
    own = {tag.strip() for tag in group.name.split(",")}
    if group.why or not any(alone or scope <= own for scope in silences):
        return group
    return Group(group.name, group.status, group.triggered, group.resolved, group.no_data, "muted")


# -- what follows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Before:
    """What the last complete answer said: when it came, and when each place had triggered last."""

    at: datetime
    triggered: Mapping[str, int | None]


def alerts_of(
    source: str, monitor: DatadogMonitor, firing: Sequence[Alert], before: Before | None, now: datetime
) -> list[Alert]:
    """All edges that a monitor shows. `firing` are its cycles that were seen firing and are not over.

    Health is only the status OK of a group that is neither muted nor of a draft. What is not told any more, muted,
    without data, or a warning, is unclear.
    """
    if monitor.why:
        return [unclear(one, monitor.why) for one in firing]
    found: list[Alert] = []
    told = set()
    for group in monitor.groups:
        place = group.place(monitor.id)
        told.add(place)
        mine = [monitor.described(one, group) for one in firing if one.cycle.rpartition("|")[0] == place]
        found += _edges(source, monitor, group, mine, before, now)
    lost = [one for one in firing if one.cycle.rpartition("|")[0] not in told]
    return found + [unclear(one, "its group is not told any more") for one in lost]


def _edges(
    source: str, monitor: DatadogMonitor, group: Group, mine: Sequence[Alert], before: Before | None, now: datetime
) -> list[Alert]:
    why = group.why or _SAYS.get(group.status, "")
    if group.status == "Alert" and not why:
        fired = monitor.alert(source, group, Edge.FIRED, group.triggered)
        return [fired, *(over(one, _superseded(one, group)) for one in mine if one.cycle != fired.cycle)]
    if group.status == "OK" and not why:
        return [over(one, _recovered(one, group, now)) for one in mine] or _flap(source, monitor, group, before)
    if mine:
        return [unclear(one, why, moment(group.no_data) if group.status == "No Data" else None) for one in mine]
    if group.status in ("Alert", "No Data", "Warn"):
        at = group.no_data if group.status == "No Data" else group.triggered
        return [monitor.alert(source, group, Edge.UNCLEAR, at, why)]
    return []


def _recovered(one: Alert, group: Group, now: datetime) -> datetime:
    """When it was resolved; now, when the API's time is missing or from before it fired."""
    resolved = moment(group.resolved)
    return resolved if resolved is not None and (one.occurred_at is None or resolved >= one.occurred_at) else now


def _superseded(one: Alert, group: Group) -> datetime | None:
    """The group triggered anew: the cycle before it is over, at its resolution or at the latest when this began."""
    resolved, began = moment(group.resolved), moment(group.triggered)
    if resolved is not None and began is not None and (one.occurred_at or resolved) <= resolved <= began:
        return resolved
    return began


def _flap(source: str, monitor: DatadogMonitor, group: Group, before: Before | None) -> list[Alert]:
    """A trigger and its end, both since the last answer: an alert that no poll saw. None without a last answer.

    The API does not tell whether it was an alert, a warning or missing data that triggered. Where it can only have been
    an alert, it fired; else it is unclear.
    """
    if before is None or group.triggered is None or group.resolved is None or group.resolved < group.triggered:
        return []
    place = group.place(monitor.id)
    known = before.triggered.get(place)
    if group.triggered <= (known if known is not None else before.at.timestamp()):
        return []
    if monitor.warns or (group.no_data is not None and group.no_data >= before.at.timestamp()):
        return [monitor.alert(source, group, Edge.UNCLEAR, group.triggered, "triggered and over between two polls")]
    fired = monitor.alert(source, group, Edge.FIRED, group.triggered)
    return [fired, over(fired, moment(group.resolved))]


def state_of(monitor: DatadogMonitor, alerts: Sequence[Alert]) -> MonitorState:
    """The monitor as it is now, with the edges of this answer. `ok` only when everything about it says OK."""
    firing = any(alert.edge in (Edge.FIRED, Edge.REPEATED) for alert in alerts)
    whys = [monitor.why, *(group.why or _SAYS.get(group.status, "") for group in monitor.groups)]
    if monitor.overall != "OK":
        whys.append(_SAYS.get(monitor.overall, "") or f"its overall state is {words(monitor.overall, 20)}")
    why = next((one for one in whys if one), "")
    state = "alert" if firing else "unknown" if why else "ok"
    return MonitorState(
        monitor=monitor.id,
        name=monitor.name,
        state=state,
        why=why if state == "unknown" else "",
        muted=monitor.muted,
        notifies=monitor.notifies,
        tags=monitor.tags,
        alerts=tuple(alerts),
    )
