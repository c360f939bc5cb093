"""Puts the server together: the automatic trigger behind a receiver, beside the interface for programs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rollback import automation_bootstrap as adapters
from rollback import bootstrap, restraint
from rollback.automation import Automation, Measures, build
from rollback.errors import RollbackError
from rollback.policy_files import load_policies
from rollback.server.metrics import Meters
from rollback.server.operations import Operations
from rollback.server.record import ServerRecord
from rollback.server.run import DEFAULT_HOST, DEFAULT_PORT, serve
from rollback.server.services import Services
from rollback.server.sources import open_sources

if TYPE_CHECKING:
    from rollback.alert_ports import Kept
    from rollback.core.history import Actor
    from rollback.core.verdicts import Action


class ServerMeasures(Measures):
    """What automation measures, as the server's metrics."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}

    def decided(self, action: Action) -> None:
        """One decision on one alert."""
        self._meters.decided(action.value)

    def off_written(self, seconds: float) -> None:
        """From receipt to acknowledged."""
        self._meters.off_written(seconds)

    def off_ended(self, result: str) -> None:
        """How the proof of an off ended."""
        self._meters.off_ended(result)

    def stands(self, feature: str, state: str, exposure: int | None, *, needs_human: bool) -> None:
        """Where a feature stands."""
        with self._lock:
            self._states[feature] = state
            by_state = Counter(self._states.values())
        self._meters.incidents(by_state)
        self._meters.exposure(feature, exposure)
        self._meters.needs_human(feature, needs_human)


@dataclass(slots=True)
class Deciding:
    """The part of automation that the receiver hands deliveries to."""

    automation: Automation

    def start(self) -> None:
        """The desks."""
        self.automation.start_deciding()

    def accept(self, kept: Kept) -> None:
        """Once it is durably kept."""
        self.automation.dispatcher.accept(kept)

    def stop(self, seconds: float) -> bool:
        """False when that took too long."""
        return self.automation.stop_deciding(seconds)

    @property
    def is_well(self) -> str:
        """Why alerts may not be acted on now; empty when they are."""
        return self.automation.dispatcher.is_well


@dataclass(slots=True)
class Watching:
    """The part of automation that watches over what is open."""

    automation: Automation

    def start(self) -> None:
        """The keepers."""
        self.automation.start_watching()

    def stop(self, seconds: float) -> bool:
        """False when that took too long."""
        return self.automation.stop_watching(seconds)


@dataclass(slots=True)
class Holds:
    """Holds as facts of the record, known to the desks at once."""

    automation: Automation

    def hold(self, feature: str, until: datetime | None, what: str, actor: Actor, reason: str) -> None:
        """Automation leaves the feature alone until then; None: it may act again. Raises `HistoryUnwritable`."""
        history, clock = self.automation.history, self.automation.clock
        if until is None:
            restraint.unhold(history, clock, feature, actor, reason)
        else:
            restraint.hold(history, clock, feature, until, what, actor, reason)
        self.automation.restraints.read()


def services(automation: Automation, meters: Meters) -> Services:
    """Everything that the application needs. Raises `ConfigurationError` when no source of alerts is open."""
    settings, environ = automation.settings, bootstrap.environment()
    sources = open_sources(automation.policies.automation, environ, adapters.PARSERS, adapters.authenticity)

    def policies() -> str:
        try:
            broken = load_policies(settings.policies, environ).broken_features
        except RollbackError as error:
            return error.message
        return "; ".join(one.error.message for one in broken)

    def workers() -> Mapping[str, bool]:
        return automation.workers

    return Services(
        clock=automation.clock,
        sources=sources,
        inbox=automation.inbox,
        keeper=adapters.GroupCommit(automation.inbox),
        dispatcher=Deciding(automation),
        supervisor=Watching(automation),
        notices=automation.outbox,
        tokens=adapters.tokens(settings),
        holds=Holds(automation),
        operations=Operations(),
        record=ServerRecord(automation.clock),
        idempotency=adapters.idempotency(settings),
        policies=policies,
        workers=workers,
        meters=meters,
        worlds=automation.worlds,
    )


def run(host: str = DEFAULT_HOST, port: int = DEFAULT_PORT, *, hand_over: bool = False) -> int:
    """`rollback serve`. Raises `ConfigurationError` and `HistoryUnwritable` before anything is started."""
    meters = Meters()
    automation = build(ServerMeasures(meters))
    automation.supervisor.hand_over = hand_over
    return serve(services(automation, meters), host=host, port=port)
