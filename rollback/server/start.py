"""Puts the server together: the automatic trigger behind a receiver, beside the interface for programs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rollback import automation_bootstrap as adapters
from rollback import bootstrap, restraint
from rollback.automation import Automation, Measures, build
from rollback.credentials import with_credentials
from rollback.errors import RollbackError
from rollback.policy_files import load_policies
from rollback.server.metrics import Meters
from rollback.server.operations import Operations
from rollback.server.record import ServerRecord
from rollback.server.run import DEFAULT_HOST, DEFAULT_PORT, serve
from rollback.server.services import Services
from rollback.server.sources import open_sources
from rollback.silence import watchdog_loop
from rollback.watchdog import WatchdogLoop

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

    def armed(self, feature: str, is_armed: bool) -> None:
        """Whether an alert could turn the feature off."""
        self._meters.armed(feature, is_armed)

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
    watchdog: WatchdogLoop | None

    def start(self) -> None:
        """The keepers, and the sign of life for somebody outside."""
        self.automation.start_watching()
        if self.watchdog is not None:
            self.watchdog.start()

    def stop(self, seconds: float) -> bool:
        """False when that took too long."""
        if self.watchdog is not None:
            self.watchdog.stop(1.0)
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
    settings, environ = automation.settings, with_credentials(bootstrap.environment())
    sources = open_sources(automation.policies.automation, environ, adapters.PARSERS, adapters.authenticity)

    commits = adapters.GroupCommit(automation.inbox)

    def policies() -> str:
        try:
            broken = load_policies(settings.policies, environ).broken_features
        except RollbackError as error:
            return error.message
        return "; ".join(one.error.message for one in broken)

    def workers() -> Mapping[str, bool]:
        return {**automation.workers, "inbox-writer": commits.is_alive}

    def why_not_well() -> str:
        dead = [name for name, is_alive in workers().items() if not is_alive]
        return automation.dispatcher.is_well or (f"{', '.join(dead)} ended" if dead else "")

    watchdog = watchdog_loop(
        automation.policies.automation, automation.clock, why_not_well, automation.outbox.tell, meters.heartbeat
    )
    return Services(
        clock=automation.clock,
        sources=sources,
        inbox=automation.inbox,
        keeper=commits,
        dispatcher=Deciding(automation),
        way=automation.dispatcher.way,
        supervisor=Watching(automation, watchdog),
        notices=automation.outbox,
        tokens=adapters.tokens(settings),
        holds=Holds(automation),
        operations=Operations(),
        record=ServerRecord(automation.clock),
        idempotency=adapters.idempotency(settings),
        policies=policies,
        workers=workers,
        meters=meters,
        pipelines=adapters.pipeline_verifier(settings, automation.policies.automation.pipelines, automation.clock),
        worlds=automation.worlds,
    )


def run(
    say: Callable[[str], None], host: str = DEFAULT_HOST, port: int = DEFAULT_PORT, *, hand_over: bool = False
) -> int:
    """`rollback serve`. `say` takes lines for people, and writes them at once.

    Raises `ConfigurationError` and `HistoryUnwritable` before anything is started.
    """
    meters = Meters()
    automation = build(ServerMeasures(meters))
    automation.supervisor.hand_over = hand_over
    return serve(services(automation, meters), host=host, port=port, say=say)
