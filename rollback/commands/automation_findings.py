"""What `doctor` looks at for automation: `automation.yaml`, secrets, ways to people, the state database, armed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rollback import bootstrap
from rollback.commands.finding import Finding, tried
from rollback.commands.sources import closed_because, unasked_because
from rollback.errors import NotHealthy, RollbackError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rollback.core.automation_policy import AutomationPolicy, NoticeRoute
    from rollback.kill_settings import KillSettings
    from rollback.policy_files import Policies
    from rollback.session import Session

_VARIABLES = re.compile(r"\bROLLBACK_[A-Z0-9_]+")


def automation_findings(settings: KillSettings, warn: Callable[[str], None]) -> Iterator[Finding]:
    """Nothing where there is no `automation.yaml`: then no alert is meant to do anything."""
    loaded = loaded_policies(settings)
    if loaded is None or (loaded.automation_file is None and not loaded.broken_automation):
        return
    yield tried("automation", lambda: _told(loaded.automation))
    if loaded.broken_automation:
        return
    policy, environ = loaded.automation, bootstrap.environment()
    for name, source in policy.sources.items():
        why = closed_because(source, environ)
        hint = "Set it where `rollback serve` runs; until then its deliveries are turned away."
        how = f"open, proves itself by {source.authentication}"
        yield Finding(f"source {name}", 2 if why else 0, f"closed: {why}" if why else how, hint)
    for name, poll in policy.polls.items():
        why = unasked_because(poll, environ)
        hint = "Set it where `rollback serve` or `rollback watch` runs; until then it is not asked."
        yield Finding(f"poll {name}", 2 if why else 0, f"not asked: {why}" if why else "address and keys are set", hint)
    for name, route in policy.notices.items():
        why = _untold_because(route, environ)
        hint = "Set it where `rollback serve` runs; until then nobody is told there."
        yield Finding(f"notices {name}", 2 if why else 0, why or f"{route.kind}, at least {route.urgency}", hint)
    if policy.heartbeat is not None:
        is_set = policy.heartbeat.url is not None
        detail = "the outside watchdog's address is set" if is_set else "its address is not set"
        yield Finding("heartbeat", 0 if is_set else 2, detail, "Without it nobody notices when automation dies.")
    yield tried("state database", lambda: _state(settings, warn))


def armed_finding(session: Session, loaded: Policies | None) -> Iterator[Finding]:
    """The latest results of the checks that the server makes; nothing for a feature that no alert is about."""
    from rollback.arming_record import status_from_record

    feature = loaded.features.get(session.feature) if loaded is not None else None
    if loaded is None or loaded.automation_file is None or feature is None or not feature.policy.rules:
        return

    def look() -> str:
        verdict = status_from_record(session.history, session.feature, session.clock.now())
        if not verdict.is_armed:
            raise NotHealthy("NOT ARMED: " + "; ".join(verdict.why), next="See docs/arming.md for each check.")
        return "; ".join(("armed", *verdict.remarks))

    yield tried(f"{session.feature}: armed", look)


def named_variables(settings: KillSettings) -> frozenset[str]:
    """Variables that the policies name: they are no settings, and no mistakes either."""
    found: set[str] = set()
    for path in Path(settings.policies).glob("**/*.y*ml"):
        try:
            found.update(_VARIABLES.findall(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeError):
            continue
    return frozenset(found)


def loaded_policies(settings: KillSettings) -> Policies | None:
    """The folder; None when it cannot be read (another finding says so)."""
    from rollback.policy_files import load_policies

    try:
        return load_policies(settings.policies, bootstrap.environment())
    except RollbackError:
        return None


def _told(policy: AutomationPolicy) -> str:
    counts = ((len(policy.sources), "sources"), (len(policy.polls), "polls"), (len(policy.notices), "ways to people"))
    return ", ".join(f"{count} {what}" for count, what in counts)


def _untold_because(route: NoticeRoute, environ: Mapping[str, str]) -> str:
    missing = [name for name in (route.url_variable, route.secret_variable) if name and not environ.get(name)]
    return f"{' and '.join(missing)} not set" if missing else ""


def _state(settings: KillSettings, warn: Callable[[str], None]) -> str:
    """A synced transaction that changes nothing, in the database that deliveries are kept in."""
    from rollback import automation_bootstrap as adapters
    from rollback.clock import SystemClock

    inbox = adapters.inbox(settings, warn)
    try:
        inbox.settle({0: "doctor"}, SystemClock().now())  # there is no delivery 0
        waiting = len(inbox.pending(1000))
    finally:
        inbox.close()
    return f"{settings.state} is writable; {waiting} deliveries wait"
