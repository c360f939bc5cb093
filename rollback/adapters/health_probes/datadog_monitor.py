"""The state of a Datadog monitor as evidence.

Source: docs.datadoghq.com/api/latest/monitors (GET /api/v1/monitor/<id>; Monitor, MonitorState, MonitorOptions,
MatchingDowntime), docs.datadoghq.com/monitors/guide/on_missing_data (what OK means when nothing came in).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollback.adapters.careful_http import CarefulHttp, Headers
from rollback.adapters.health_probes.series import document_of, rows, table, unix
from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_sources import DatadogMonitorEvidence
from rollback.core.metric_verdict import Counts, Missing, Reading, Strata
from rollback.core.metric_window import Window
from rollback.ports import Clock

GOOD, HARM = Counts(0, 1), Counts(1, 1)

_TELLS_NO_DATA = ("show_no_data", "show_and_notify_no_data")

AHEAD = 120
"""Seconds by which Datadog's clock may be ahead of ours."""


class DatadogMonitorSource:
    """A `WindowSource` that reads the state at a window's end. Good: all groups say OK; harm: one says Alert.

    A group that triggered and recovered within the window is harm as well. No Data, Warn, Ignored, Skipped, a mute, a
    downtime, a draft, a window that is asked for too late, and a monitor that shows OK when nothing comes in, are no
    data.
    """

    revisable = False

    def __init__(self, source: DatadogMonitorEvidence, http: CarefulHttp, headers: Headers, clock: Clock) -> None:
        self._source, self._http, self._headers, self._clock = source, http, headers, clock

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]:
        """The last of `windows`; the others are past, and a monitor tells only the present. Raises `NoAnswer`."""
        params = (("group_states", "all"), ("with_downtimes", "true"))
        within = self._source.timeout.total_seconds()
        path = f"/api/v1/monitor/{self._source.monitor}"
        document = document_of(self._http, path, params=params, headers=self._headers(), within=within)
        now = self._clock.now()
        window = windows[-1]
        if now >= window.ends + self._source.delay + window.length:
            return {window: {"": Missing("the window was over too long ago")}}
        return {window: {"": state_of(document, str(self._source.monitor), window, now)}}

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


def state_of(document: Any, monitor: str, window: Window, now: datetime) -> Reading:
    """What a monitor says about `window`, read at `now`. Raises `NoAnswer` when it is not as described."""
    fields = table(document, "it")
    if str(fields.get("id")) != monitor or isinstance(fields.get("id"), bool):
        raise NoAnswer("the answer is about another monitor")
    if fields.get("draft_status") == "draft" or fields.get("deleted"):
        return Missing("the monitor is a draft, or deleted")
    if _is_muted(fields, now):
        return Missing("muted")
    groups = table(table(fields.get("state") or {}, "state").get("groups") or {}, "groups")
    states = [table(group, "groups") for group in groups.values()]
    told = [*(state.get("status") for state in states), fields.get("overall_state")]
    if "Alert" in told or any(_fired_in(state, window, now) for state in states):
        return HARM
    odd = next((one for one in told if one != "OK"), None)
    if odd is not None or fields.get("overall_state") != "OK":
        return Missing(f"the monitor says {odd}" if odd in _STATES else "the monitor is in no known state")
    if any(_seconds(state, "last_nodata_ts") >= unix(window.begins) for state in states):
        return Missing("the monitor had no data within the window")
    if not _tells_no_data(table(fields.get("options") or {}, "options")):
        return Missing("its OK may mean that nothing came in: set on_missing_data to show_no_data")
    return GOOD


_STATES = ("No Data", "Warn", "Ignored", "Skipped", "Unknown")


def _tells_no_data(options: Mapping[str, Any]) -> bool:
    """Whether a monitor without data says so. By default it reads nothing as zero, or keeps its last state."""
    told = options.get("on_missing_data")
    return told in _TELLS_NO_DATA or (told is None and options.get("notify_no_data") is True)


def _fired_in(state: Mapping[str, Any], window: Window, now: datetime) -> bool:
    fired = _seconds(state, "last_triggered_ts")
    if fired > unix(now) + AHEAD:
        raise NoAnswer("the monitor tells of a time that is to come")
    return unix(window.begins) <= fired < unix(window.ends)


def _seconds(state: Mapping[str, Any], name: str) -> float:
    value = state.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 10**11:
        raise NoAnswer(f"the answer is not as described: {name} is no time")
    return value


def _is_muted(fields: Mapping[str, Any], now: datetime) -> bool:
    """Any silence counts, also of one group alone: nobody would know which traffic it hides."""
    options = table(fields.get("options") or {}, "options")
    silenced = table(options.get("silenced") or {}, "silenced")
    if any(until is None or _ends_later(until, now) for until in silenced.values()):
        return True
    return any(_is_active(one, now) for one in _downtimes(fields))


def _downtimes(fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in rows(fields.get("matching_downtimes") or [], "matching_downtimes"):
        yield table(one, "matching_downtimes")


def _is_active(downtime: Mapping[str, Any], now: datetime) -> bool:
    begins, ends = downtime.get("start"), downtime.get("end")
    begun = begins is None or not _ends_later(begins, now + timedelta(seconds=AHEAD))
    return begun and (ends is None or _ends_later(ends, now))


def _ends_later(value: Any, now: datetime) -> bool:
    """Nonsense counts as later: a silence that cannot be read is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 10**11:
        return True
    return value > unix(now)
