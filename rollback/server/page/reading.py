"""Reads the world for the page: each feature as `rollback status` does, beside the record and the server's own parts.

Every call may take seconds, and is made in a thread that has nothing else to do. Nothing here writes to a flag.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rollback import bootstrap, log
from rollback.commands import standing
from rollback.core.model import Severity, State
from rollback.core.triggers import cycle_reference
from rollback.errors import RollbackError
from rollback.kill_settings import read_settings
from rollback.policy_files import Policies, load_policies
from rollback.redaction import redact
from rollback.server.api_features import summaries
from rollback.server.page import cards
from rollback.server.streams import EventOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollback.alert_ports import Inbox, Kept
    from rollback.server.health import Health
    from rollback.server.services import Services

POLICIES_EVERY = 10.0
"""Seconds after which the policies are read again: a feature that is new, or whose file broke, shows that soon."""

DELIVERIES_SHOWN = 20


class Reading:
    """The world as it is now. `features` before the others. Each method raises nothing but errors of `rollback.errors`
    and what nobody expected; the caller shows both."""

    def __init__(self, services: Services, health: Health, wrong_tokens: Callable[[], int]) -> None:
        self._services = services
        self._health = health
        self._wrong_tokens = wrong_tokens
        self._policies: Policies | None = None
        self._policies_at = 0.0

    def features(self) -> list[str]:
        """All features by key, those first whose file is broken: nobody may take a missing card for a healthy one."""
        now = self._services.clock.monotonic()
        if self._policies is None or now - self._policies_at > POLICIES_EVERY:
            settings = read_settings(os.environ, forgiving=True)
            self._policies = load_policies(settings.policies, bootstrap.environment())
            self._policies_at = now
        return [*(one.file.stem for one in self._policies.broken_features), *sorted(self._policies.features)]

    def signature(self) -> object:
        """Changes when something was recorded: then it is worth looking at once."""
        settings = read_settings(os.environ, forgiving=True)
        try:
            known = os.stat(settings.journal)
        except OSError:
            return None
        return known.st_mtime_ns, known.st_size

    def card(self, key: str) -> dict[str, Any]:
        """One feature. A flag that cannot be read is unknown, and says why."""
        told, warnings = self._status(key)
        _, history = bootstrap.open_history(_log)
        found = history.entries(key)
        entries, incident = found.entries, told.get("incident")
        if found.trouble:
            warnings = [*warnings, f"This history may not be all: {found.trouble}"]
        return cards.card(
            told,
            warnings,
            case=next((one for one in summaries(entries) if one["incident"] == incident), None) if incident else None,
            timeline=cards.timeline(entries, str(incident)) if incident else [],
            decisions=cards.decisions(entries),
            alerts=self._firing([str(one) for one in told.get("alerts_firing") or ()]),
            monitoring_until=self._monitoring_until(key, told),
            operation=self._operation(key),
        )

    def _status(self, key: str) -> tuple[dict[str, Any], list[str]]:
        events: list[Mapping[str, Any]] = []
        broken = [one for one in (self._policies.broken_features if self._policies else ()) if one.file.stem == key]
        try:
            with bootstrap.closing():
                standing.show_one(key, None, EventOutput(events.append, as_json=True))
        except RollbackError as error:
            wrong = {"message": error.message, "next": error.next}
            unread = {"feature": key, "exposure": None, "exposure_unknown": "it could not be read", "error": wrong}
            events.append({"document": unread})
        warnings = list(dict.fromkeys(str(event["warn"]) for event in events if "warn" in event))
        warnings += [f"Its policy is broken, so no alert turns it off: {one.error.message}" for one in broken]
        told = next(dict(event["document"]) for event in reversed(events) if "document" in event)
        warnings = [*(str(one) for one in told.get("warnings") or ()), *warnings]
        return told, warnings

    def _monitoring_until(self, key: str, told: Mapping[str, Any]) -> str | None:
        """Until when it is monitored at least; None when it is not, or nobody can say."""
        if told.get("state") != State.MONITORING or self._policies is None:
            return None
        try:
            feature = self._policies.feature(key).policy
            policy = self._policies.severity(feature, Severity(told["severity"])).policy
            return cards.iso(datetime.fromisoformat(told["since"]) + policy.monitoring.duration)
        except (RollbackError, ValueError):
            return None

    def _operation(self, key: str) -> dict[str, Any] | None:
        """The return that this server carries out for the feature, with its last line."""
        for one in self._services.operations.running():
            if one.feature == key:
                last = one.work.lines[-1:]
                began = cards.iso(one.began_at)
                return {"command": one.command, "by": one.by, "began_at": began, "line": "".join(last)}
        return None

    def _firing(self, references: list[str]) -> list[dict[str, Any]]:
        """The attached alerts that fire, as far as the inbox still knows them by name."""
        if not references:
            return []
        inbox: Inbox = self._services.inbox
        try:
            cycles = {cycle_reference(one.source, one.monitor, one.cycle): one for one in inbox.firing()}
            titles = {
                cycle_reference(alert.source, alert.monitor, alert.cycle): alert.title
                for kept, _ in inbox.recent(200)
                for alert in kept.alerts
            }
        except RollbackError:
            cycles, titles = {}, {}
        told = []
        for reference in references:
            cycle = cycles.get(reference)
            told.append(
                {
                    "source": cycle.source if cycle else reference.partition(":")[0],
                    "monitor": cycle.monitor if cycle else "",
                    "since": cards.iso(cycle.fired_at) if cycle else None,
                    "title": titles.get(reference, ""),
                }
            )
        return told

    def rest(self) -> dict[str, Any]:
        """What belongs to no feature: the newest deliveries, and how the server itself does."""
        services = self._services
        trouble = ""
        found: list[tuple[Kept, str]] = []
        try:
            found = services.inbox.recent(DELIVERIES_SHOWN)
        except RollbackError as error:
            trouble = error.message
        return {
            "deliveries": [_delivery(kept, outcome) for kept, outcome in found],
            "deliveries_trouble": trouble,
            "worlds": list(services.worlds),
            "parts": {**self._health.live(), **self._health.ready()},
            "closed_sources": {name: one.closed for name, one in services.sources.items() if one.closed},
            "channels": [
                {
                    "name": one.channel,
                    "waiting": one.waiting,
                    "failing_since": cards.iso(one.failing_since),
                    "why": redact(one.why, 200),
                }
                for one in services.notices.standing()
            ],
            "wrong_tokens": self._wrong_tokens(),
        }


def _delivery(kept: Kept, outcome: str) -> dict[str, Any]:
    """Everything in it was cut and redacted when it came in."""
    return {
        "number": kept.number,
        "source": kept.source,
        "received_at": cards.iso(kept.received_at),
        "kind": kept.kind.value,
        "why": kept.why,
        "outcome": outcome,
        "alerts": [
            {"monitor": alert.monitor, "edge": alert.edge.value, "priority": alert.priority, "title": alert.title}
            for alert in kept.alerts[:5]
        ],
        "more": max(0, len(kept.alerts) - 5),
    }


def _log(sentence: str) -> None:
    log.event("record_trouble", why=sentence)
