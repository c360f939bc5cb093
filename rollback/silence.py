"""Silence is noticed (invariant 17): puts together what checks that features are armed, and the sign of life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from rollback import automation_bootstrap as adapters
from rollback import bootstrap, log
from rollback.arming import ArmingLoop, Subject
from rollback.arming_checks import lookups
from rollback.commands.sources import closed_because
from rollback.core.model import Severity
from rollback.errors import ConfigurationError, RollbackError
from rollback.watchdog import WatchdogLoop

if TYPE_CHECKING:
    from rollback.alert_ports import Inbox, Notice
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.kill_settings import KillSettings
    from rollback.policy_files import Policies
    from rollback.ports import Clock
    from rollback.session import Session

HEARD_BEFORE = 2000
"""Deliveries of the inbox in which heartbeats are looked for that an earlier process heard."""


def arming_loop(
    settings: KillSettings,
    policies: Policies,
    sessions: Mapping[str, Session],
    inbox: Inbox,
    clock: Clock,
    notify: Callable[[Notice], None],
    measure: Callable[[str, bool], None] = lambda _feature, _is_armed: None,
) -> ArmingLoop:
    """The loop for these features, not started. It has pollers and probes of its own, and closes them at its end.

    A feature whose critical policy cannot be read is said in the log and left out: it is not armed.
    """
    environ, policy = bootstrap.environment(), policies.automation
    closed = {name: closed_because(source, environ) for name, source in policy.sources.items()}
    subjects = []
    for feature, session in sessions.items():
        try:
            subjects.append(_subject(policies, feature, session))
        except RollbackError as error:
            log.event("feature_not_checked", feature=feature, error=error.message)
    loop = ArmingLoop(
        subjects,
        policy,
        clock,
        notify,
        lookups=lookups(policy, adapters.pollers(policy, environ, clock), closed),
        auto=settings.auto,
        measure=measure,
    )
    try:
        for kept, _ in inbox.recent(HEARD_BEFORE):
            loop.heard_delivery(kept)
    except RollbackError as error:
        log.event("heartbeats_not_read", error=error.message)
    return loop


def _subject(policies: Policies, feature: str, session: Session) -> Subject:
    policy = policies.feature(feature).policy
    p0 = policies.severity(policy, Severity.CRITICAL).policy.gate.p0
    has_endpoints = policy.health.is_asked
    return Subject(session, policy, p0, bootstrap.probe(session, policy) if has_endpoints else None)


def watchdog_loop(
    policy: AutomationPolicy,
    clock: Clock,
    why_not: Callable[[], str],
    notify: Callable[[Notice], None],
    called: Callable[[datetime], None] = lambda _at: None,
) -> WatchdogLoop | None:
    """The sign of life, not started; None where no address is configured, or it cannot be used (the log says so)."""
    if policy.heartbeat is None or policy.heartbeat.url is None:
        return None
    try:
        post = adapters.post("the outside watchdog", policy.heartbeat.url.get_secret_value(), clock)
    except ConfigurationError as error:
        log.event("watchdog_closed", why=error.message)
        return None
    return WatchdogLoop(policy.heartbeat.every, partial(post.send, b"{}"), why_not, clock, notify, called)
