"""What `history`, `verify` and `runbook` do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rollback import bootstrap
from rollback.controller import Controller
from rollback.errors import ConfigurationError, LedgerBroken, RollbackError
from rollback.output import Output
from rollback.words import clean, when

BROKEN = 7


def show_history(feature: str | None, form: str, incident: str | None, output: Output) -> int:
    """The record in the form that was asked for; entries that the ledger does not have yet come last."""
    _, history = bootstrap.open_history(output.warn)
    key = _feature_key(feature) if feature else None
    found = history.entries(key)
    if found.trouble:
        output.warn(f"This may not be all: {found.trouble}")
    rows = bootstrap.history_rows(found)
    if incident:
        rows = [row for row in rows if row["incident"] == incident]
        if not rows:
            whose = f" of {clean(key)}" if key else ""
            raise ConfigurationError(
                f"There is no case {clean(incident)} in the record{whose}.", next="See the cases: rollback history"
            )
    if form == "table":
        _table(rows, output)
    else:
        output.raw(bootstrap.exported(rows, form))
    return 0


def _feature_key(name: str) -> str:
    """The key that a name stands for; the name itself when no policy can tell, since the record outlives policies."""
    from rollback.flag_reference import read_flag_reference
    from rollback.kill_settings import read_settings

    try:
        settings = read_settings(os.environ, forgiving=True)
        return read_flag_reference(settings.policies, name, bootstrap.environment()).feature
    except ConfigurationError:
        return name


def _table(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Time, what, who, where it led, why: what a person asks of a history."""
    if not rows:
        output.line("Nothing is recorded.")
        return
    from datetime import datetime

    from rich.markup import escape
    from rich.table import Table

    from rollback.commands.tables import rendered

    table = Table("#", "time", "feature", "what", "state", "who", "why", box=None, pad_edge=False)
    for row in rows:
        after = row["after"] if isinstance(row["after"], dict) else {}
        who = f"{row['actor']}{'' if row['authenticated'] else ' (claimed)'}"
        table.add_row(
            str(row["sequence"] or "–"),
            when(datetime.fromisoformat(str(row["at"]))),
            escape(clean(str(row["feature"]))),
            f"{row['kind']} {row['name']}",
            str(after.get("state", "")),
            escape(clean(who)),
            escape(clean(_why(row))),
        )
    output.raw(rendered(table, output.columns))


def _why(row: Mapping[str, Any]) -> str:
    """The reason, and the figures that an entry carries."""
    data = row["data"] if isinstance(row["data"], dict) else {}
    told = [str(row["reason"] or "")]
    told += [
        f"{name}: {data[name]}" for name in ("result", "why", "exposure", "text") if data.get(name) not in (None, "")
    ]
    for metric, counts in dict(data.get("metrics", {})).items():
        told.append(f"{metric} {counts['total']} samples, {counts['bad']} bad")
    return "; ".join(part for part in told if part)


def show_verification(flags: bool, output: Output) -> int:
    """Checks every chain; with `flags`, also against the heads that markers carry."""
    _, history = bootstrap.open_history(output.warn)
    anchors = _anchors(output) if flags else {}
    try:
        found = history.verify(anchors)
    except RollbackError as error:
        raise LedgerBroken(error.message, next=error.next or "Look at the file; nothing was changed.") from error
    code = 0 if found.ok else BROKEN
    for chain in found.chains:
        words = "whole" if chain.ok else "BROKEN"
        anchored = f", anchored up to {chain.anchored_to}" if chain.anchored_to else ", not anchored"
        output.line(f"{chain.feature}: {words}, {chain.entries} entries{anchored}.", fg="green" if chain.ok else "red")
        for problem in chain.problems:
            output.line(f"  {problem}", fg="red")
    if not found.chains:
        output.line("The ledger is empty: there is nothing to verify.")
    if output.as_json:
        chains = [
            {
                "feature": chain.feature,
                "ok": chain.ok,
                "entries": chain.entries,
                "anchored_to": chain.anchored_to,
                "problems": list(chain.problems),
                "notes": list(chain.notes),
            }
            for chain in found.chains
        ]
        output.document({"ok": found.ok, "chains": chains, "exit": code})
    return code


def _anchors(output: Output) -> dict[str, list[str]]:
    """The heads in our markers on the flags of all features; a flag that cannot be read is said and left out."""
    from rollback.kill_settings import read_settings
    from rollback.policy_files import load_policies
    from rollback.raising import view

    loaded = load_policies(read_settings(os.environ, forgiving=True).policies, bootstrap.environment())
    anchors: dict[str, list[str]] = {}
    for key in loaded.features:
        try:
            marks = view(bootstrap.open_session(key, None, None, output.warn)).marks
        except RollbackError as error:
            output.warn(f"{key}: no head from its flag: {error.message}")
            continue
        anchors[key] = [mark.head for mark in marks if mark.head]
    return anchors


def show_runbook(feature: str, output: Output) -> int:
    """The manual steps as Markdown, with this feature's own names."""
    session = bootstrap.open_session(feature, None, None, output.warn)
    text = bootstrap.runbook(session)
    if output.as_json:
        incident = Controller(session).incident
        steps = bootstrap.manual_steps(session)
        told = {"feature": session.feature, "markdown": text, "manual_steps": steps, "world": session.world}
        output.document({**told, "incident": incident.incident_id if incident else None, "exit": 0})
    else:
        output.raw(f"{text}\n")
    return 0
