"""What `source list` does: who may deliver alerts, who is asked for them, and when each was heard last. No secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollback import bootstrap, restraint
from rollback.clock import SystemClock
from rollback.errors import ConfigurationError, RollbackError
from rollback.output import Output

if TYPE_CHECKING:
    from rollback.alert_ports import Kept
    from rollback.core.automation_policy import AutomationPolicy, Poll, Source
    from rollback.kill_settings import KillSettings
    from rollback.policy_files import Policies

LOOKED_BACK = 2000
"""Deliveries in which a source's last one is looked for."""


def closed_because(source: Source, environ: Mapping[str, str]) -> str:
    """Why the source's deliveries are turned away; empty when they are not. The server decides in the same way."""
    from rollback import automation_bootstrap as adapters

    secrets = [environ[variable] for variable in source.secrets if environ.get(variable)]
    if not secrets:
        return f"{' and '.join(source.secrets)} not set" if source.secrets else "it names no secret"
    try:
        adapters.authenticity(source.authentication.value, secrets, header=source.header, user=source.user or "")
    except ConfigurationError as error:
        return error.message
    return ""


def unasked_because(poll: Poll, environ: Mapping[str, str]) -> str:
    """Why the system is not asked here; empty when it is."""
    missing = [variable for variable in poll.credentials.values() if not environ.get(variable)]
    if missing:
        return f"{', '.join(missing)} not set"
    return "" if poll.url is not None else "its address is not set"


def recent_deliveries(settings: KillSettings, limit: int, warn: Any) -> list[tuple[Kept, str]]:
    """The newest deliveries of this machine's inbox with their outcomes; none where there is no inbox. Creates none.

    Raises `HistoryUnwritable` when it cannot be read.
    """
    from rollback import automation_bootstrap as adapters

    if not Path(settings.state).exists():
        return []
    inbox = adapters.inbox(settings, warn)
    try:
        return inbox.recent(limit)
    finally:
        inbox.close()


def list_sources(output: Output) -> int:
    """One row for each source and poll."""
    from rollback.policy_files import load_policies

    settings, history = bootstrap.open_history(output.warn)
    loaded, environ = load_policies(settings.policies, bootstrap.environment()), bootstrap.environment()
    now = SystemClock().now()
    mutes = {name: until for name, until in restraint.read_restraints(history, ()).mutes.items() if until > now}
    try:
        kept = [one for one, _ in recent_deliveries(settings, LOOKED_BACK, output.warn)]
    except RollbackError as error:
        output.warn(f"When each was heard last is not known: {error.message}")
        kept = []
    rows = _rows(loaded, environ, mutes, kept)
    if output.as_json:
        output.document({"sources": rows, "exit": 0})
    elif not rows:
        output.line("No source is configured, so no alert comes in: see automation.yaml in the policies.")
    else:
        _table(rows, output)
    return 0


def _rows(
    loaded: Policies, environ: Mapping[str, str], mutes: Mapping[str, datetime], kept: list[Kept]
) -> list[dict[str, Any]]:
    policy = loaded.automation
    beats = _heartbeats(loaded, policy)
    rows = []
    for way, sources in (("delivers", policy.sources), ("is asked", policy.polls)):
        for name in sorted(sources):
            is_source = way == "delivers"
            closed = (
                closed_because(policy.sources[name], environ)
                if is_source
                else unasked_because(policy.polls[name], environ)
            )
            mine = [one for one in kept if one.source == name]
            regular = beats.get(name, frozenset())
            heartbeat = [
                one.received_at
                for one in mine
                if any(None in regular or alert.monitor in regular for alert in one.alerts)
            ]
            rows.append(
                {
                    "name": name,
                    "way": way,
                    "kind": sources[name].kind.value,
                    "proves_itself_by": policy.sources[name].authentication.value if is_source else None,
                    "open": not closed,
                    "closed_because": closed or None,
                    "muted_until": mutes.get(name),
                    "last_heard": max((one.received_at for one in mine), default=None),
                    "heartbeat": bool(regular),
                    "last_heartbeat": max(heartbeat, default=None),
                }
            )
    return rows


def _heartbeats(loaded: Policies, policy: AutomationPolicy) -> dict[str, frozenset[str | None]]:
    """By source, the monitors whose alerts are heartbeats; None among them: any monitor of it."""
    found: dict[str, set[str | None]] = {}
    for name, source in policy.sources.items():
        if source.heartbeat is not None:
            found.setdefault(name, set()).add(source.heartbeat.monitor)
    for feature in loaded.features.values():
        for rule in feature.policy.rules:
            if rule.is_heartbeat and not rule.inactive_because:
                found.setdefault(rule.source, set()).update(rule.known_monitors or {None})
    return {name: frozenset(monitors) for name, monitors in found.items()}


def _table(rows: list[dict[str, Any]], output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    from rollback.commands.tables import rendered
    from rollback.words import when

    headings = ("source", "kind", "proves itself by", "open", "muted until", "last heard", "last heartbeat")
    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        is_open = "yes" if row["open"] else f"[bold red]CLOSED[/]: {escape(row['closed_because'])}"
        regular = when(row["last_heartbeat"]) if row["last_heartbeat"] else "never" if row["heartbeat"] else "none"
        table.add_row(
            row["name"],
            row["kind"],
            row["proves_itself_by"] or "is asked",
            is_open,
            when(row["muted_until"]) if row["muted_until"] else "",
            when(row["last_heard"]) if row["last_heard"] else "never",
            regular,
        )
    output.raw(rendered(table, output.columns))
