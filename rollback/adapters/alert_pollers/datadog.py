"""Polls Datadog's monitors, as a team with read access alone sees them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rollback.adapters.alert_pollers.datadog_reading import Before, DatadogMonitor, alerts_of, read_monitor, state_of
from rollback.adapters.alert_pollers.reading import Odd, of_monitors, rows
from rollback.adapters.alert_pollers.seen import Seen, unclear
from rollback.adapters.careful_answers import Denied, NotThere, Reply, asked_wait
from rollback.adapters.careful_http import CarefulHttp, Secret
from rollback.adapters.datadog_sites import addresses
from rollback.alert_ports import Cycle, MonitorState
from rollback.core.alerts import Alert, Reading
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from rollback.ports import Clock

MAX_PAGE = 1000
MAX_PAGES = 20
"""More monitors than 20,000 are not asked for: then the query is too wide."""

MAX_ASKED = 50
"""Monitors that `monitors` describes at most in one call, each by a request of its own."""


class DatadogAlertPoller:
    """An `AlertPoller` over `GET /api/v1/monitor`.

    `site` is one of `datadog_sites.SITES` or the address of its API; for a stand-in an address on this machine. `name`,
    `monitor_tags` and `tags` narrow the monitors: a part of the name; the monitor's tags (all); the scope's tags.
    `api_key` and `application_key` give the keys whenever they are needed; the application key needs `monitors_read`.

    A cycle is a monitor, a group and the moment at which it triggered. Fired: status Alert. Recovered: a cycle that was
    seen firing, whose group is OK again. Everything else (No Data, Warn, muted by `options.silenced` or a downtime, a
    draft, a monitor or group that is not told any more) is unclear. An alert that came and went between two polls is
    told when the API leaves no doubt that it was one (`datadog_reading._flap`).

    The rate limit is kept before it is hit: after an answer with `X-RateLimit-Remaining: 0` nothing is sent until
    `X-RateLimit-Reset` seconds have passed; until then `StoreUnreachable` with `retry_after`. A poll takes at most
    `within` seconds. No monitor at all is `StoreRefused`: what watches nothing must not look healthy.
    """

    def __init__(
        self,
        source: str,
        *,
        site: str,
        api_key: Secret,
        application_key: Secret,
        clock: Clock,
        name: str = "",
        monitor_tags: Sequence[str] = (),
        tags: Sequence[str] = (),
        page_size: int = MAX_PAGE,
        within: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not 1 <= page_size <= MAX_PAGE:
            raise ConfigurationError(f"Datadog gives 1 to {MAX_PAGE} monitors a page, not {page_size}.")
        api_url, self._app_url = addresses(site)
        self.source = source
        self._http = CarefulHttp(api_url, "Datadog", monotonic=clock.monotonic, tls=tls)
        self._api_key, self._application_key = api_key, application_key
        narrowed = (("name", name), ("monitor_tags", ",".join(monitor_tags)), ("tags", ",".join(tags)))
        self._query = tuple((key, value) for key, value in narrowed if value)
        self._page_size, self._within = page_size, within
        self._seen = Seen(source)
        self._before: Before | None = None

    def remember(self, cycles: Iterable[Cycle]) -> None:
        """Takes up what an earlier process saw firing, so that its end is told. Cycles of the webhook are others."""
        self._seen.remember(one for one in cycles if one.cycle.startswith(f"{one.monitor}|"))

    def poll(self, now: datetime) -> list[Reading]:
        """One reading for each monitor that fires, is unclear, or recovered lately. Raises as the port says."""
        monitors = self._all(now)
        found: list[Alert] = []
        for monitor in monitors.values():
            found += self._judged(monitor, now)
        gone = "its monitor is not told any more (deleted, renamed, or with other tags)"
        found += [unclear(one, gone) for one in self._seen.firing() if one.monitor not in monitors]
        told = of_monitors(self.source, self._seen.keep(found, now))
        triggers = {group.place(one.id): group.triggered for one in monitors.values() for group in one.groups}
        self._before = Before(now, triggers)
        return told

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
        """Those of `ids` that exist, at most `MAX_ASKED`. `ok`: every group is OK, not muted, and has data."""
        deadline = self._http.deadline(self._within)
        return [state_of(one, self._judged(one, now)) for one in self._each(ids, deadline, now)]

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    def _judged(self, monitor: DatadogMonitor, now: datetime) -> list[Alert]:
        firing = [one for one in self._seen.firing() if one.monitor == monitor.id]
        return alerts_of(self.source, monitor, firing, self._before, now)

    def _all(self, now: datetime) -> dict[str, DatadogMonitor]:
        """Every monitor of the query, by id: pages until one is not full, and the one after that, which must be empty.

        An answer whose pages end early by mistake would hide the alerts of the later ones.
        """
        deadline = self._http.deadline(self._within)
        found: dict[str, DatadogMonitor] = {}
        for page in range(MAX_PAGES):
            entries = self._page(page, deadline, now)
            found.update((one.id, one) for one in entries)
            if len(entries) < self._page_size:
                if self._page(page + 1, deadline, now):
                    raise StoreUnreachable("Datadog answered with a page of monitors that is not full, and then more.")
                break
        else:
            raise StoreRefused(
                f"Datadog has more than {MAX_PAGES * self._page_size} monitors for this query.",
                next="Narrow the query by name or tags.",
            )
        if not found:
            raise StoreRefused(
                f"Datadog shows no monitor for the query of {self.source}: nothing is watched.",
                next="Check the name and the tags of the query, and that the application key may read monitors.",
            )
        return found

    def _page(self, page: int, deadline: float, now: datetime) -> list[DatadogMonitor]:
        params = (
            *self._query,
            ("group_states", "all"),
            ("with_downtimes", "true"),
            ("page", str(page)),
            ("page_size", str(self._page_size)),
        )
        document = self._get("/api/v1/monitor", deadline, params).document
        try:
            entries = rows(document, "the answer")
            return [
                read_monitor(entry, f"monitors[{place}]", app_url=self._app_url, now=now)
                for place, entry in enumerate(entries)
            ]
        except Odd as error:
            raise StoreRefused(f"Datadog answered with something that is no list of monitors: {error}.") from None

    def _each(self, ids: Sequence[str], deadline: float, now: datetime) -> Iterator[DatadogMonitor]:
        for number in list(dict.fromkeys(ids))[:MAX_ASKED]:
            if not (number.isascii() and number.isdigit() and len(number) < 30):
                continue  # no monitor of Datadog has such an id
            params = (("group_states", "all"), ("with_downtimes", "true"))
            try:
                document = self._get(f"/api/v1/monitor/{number}", deadline, params).document
            except NotThere:
                continue
            try:
                yield read_monitor(document, f"monitor {number}", app_url=self._app_url, now=now)
            except Odd as error:
                raise StoreRefused(f"Datadog answered with something that is no monitor: {error}.") from None

    def _get(self, path: str, deadline: float, params: Sequence[tuple[str, str]]) -> Reply:
        headers = {"dd-api-key": self._api_key(), "dd-application-key": self._application_key()}
        try:
            reply = self._http.get(path, deadline=deadline, params=params, headers=headers)
        except Denied as denied:
            raise self._which_key(denied, deadline) from None
        if reply.headers.get("x-ratelimit-remaining", "").strip() == "0":
            self._http.be_quiet(asked_wait(reply.headers) or 0.0)
        return reply

    def _which_key(self, denied: Denied, deadline: float) -> StoreRefused:
        """Which of the two keys it is: `GET /api/v1/validate` looks at the API key alone."""
        try:
            reply = self._http.get("/api/v1/validate", deadline=deadline, headers={"dd-api-key": self._api_key()})
        except Denied:
            return StoreRefused(
                f"Datadog does not accept the API key of {self.source} ({denied.status}).",
                next="Is it the key of this site and organisation, and not revoked?",
            )
        except (StoreRefused, StoreUnreachable):
            return StoreRefused(
                f"Datadog does not accept a key of {self.source} ({denied.status}).", next="Check both keys."
            )
        document: Any = reply.document
        if isinstance(document, dict) and document.get("valid") is True:
            return StoreRefused(
                f"Datadog does not accept the application key of {self.source} ({denied.status}).",
                next="Is it of the same organisation, and may it read monitors (monitors_read)?",
            )
        return StoreRefused(f"Datadog says that the API key of {self.source} is not valid.", next="Check the API key.")


def parse_query(query: str) -> tuple[str, tuple[str, ...]]:
    """A query as in Datadog's monitor search: the words of the name, and the values of `tag:…`.

    Raises `ConfigurationError` for another `word:…` of that search (`status:`, `type:`), which would narrow silently.
    """
    names, tags = [], []
    for word in query.split():
        facet, colon, value = word.partition(":")
        if not colon:
            names.append(word)
        elif facet == "tag" and value:
            tags.append(value.strip('"'))
        else:
            raise ConfigurationError(
                f"The query for Datadog holds {word[:60]!r}, which is not understood.",
                next="Write words of the monitor's name, and tag:name:value.",
            )
    return " ".join(names), tuple(tags)
