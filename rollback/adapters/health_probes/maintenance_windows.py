"""Planned silence, as vets-api announces it: GET /v0/maintenance_windows.

JSON:API documents whose attributes are externalService, startTime and endTime; in snake case without the header that
asks for camel case. A window of PagerDuty's comes to it within minutes, and ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rollback.adapters.health_probes.reading_back import Endpoint, Unread
from rollback.core.health_policy import MaintenanceCheck

MOST = 1000
"""More windows than that are not what was asked for."""


class MaintenanceWatch:
    """Says, look by look, whether a maintenance window of one of the services is active."""

    steady_seconds = 0.0

    def __init__(self, check: MaintenanceCheck, endpoint: Endpoint, now: Callable[[], datetime]) -> None:
        self.every_seconds = check.every.total_seconds()
        self._check, self._endpoint, self._now = check, endpoint, now

    def look(self) -> str | None:
        """Asks once. None: no window is active."""
        try:
            active = sorted(set(active_services(self._endpoint.read(), self._now())) & set(self._check.services))
        except Unread as error:
            return f"whether there is maintenance is not known: {error.why}" if self._check.required else None
        return f"silence during maintenance of {', '.join(active)}" if active else None

    def close(self) -> None:
        """Closes the connection."""
        self._endpoint.close()


def active_services(document: Any, now: datetime) -> Iterator[str]:
    """The services with a window that is active at `now`. Raises `Unread` for anything that cannot be read."""
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MOST:
        raise Unread("the answer is no list of maintenance windows")
    for entry in entries:
        attributes = entry.get("attributes") if isinstance(entry, dict) else None
        if not isinstance(attributes, dict):
            raise Unread("a maintenance window has no attributes")
        service = _either(attributes, "externalService", "external_service")
        begins = _time(_either(attributes, "startTime", "start_time"))
        ends = _time(_either(attributes, "endTime", "end_time"))
        if not isinstance(service, str) or begins is None or ends is None:
            raise Unread("a maintenance window cannot be read")
        if begins <= now < ends:
            yield service


def _either(attributes: Mapping[str, Any], camel: str, snake: str) -> Any:
    return attributes.get(camel, attributes.get(snake))


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str) or len(value) > 50:
        return None
    try:
        at = datetime.fromisoformat(value)
        return None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
