"""What `rollback status` does: reads the flag on every replica, and says so when case and flag differ."""

from __future__ import annotations

import os
from typing import Any

from rollback import bootstrap, status
from rollback.arming_record import NEVER, status_from_record
from rollback.controller import Controller
from rollback.core.evidence import Evidence, log_bound
from rollback.core.exposure import Exposure
from rollback.core.model import Incident
from rollback.core.proof import OffProof
from rollback.errors import RollbackError
from rollback.kill_settings import read_settings
from rollback.lowering import turned_by_record
from rollback.output import Output
from rollback.raising import FlagView, view
from rollback.restraint import held
from rollback.session import Session
from rollback.words import clean, when, world_line

LOOK_WITHIN = 5.0
"""Seconds for one look at everything."""


def show_one(feature: str | None, flag: str | None, output: Output) -> int:
    """One feature: the document, or its words."""
    session = bootstrap.open_session(feature, flag, None, output.warn)
    output.line(world_line(session.world))
    told, error = _read(session)
    if output.as_json:
        if error is not None:
            told["error"] = {"code": error.code, "message": error.message, "next": error.next}
        output.document({**told, "exit": error.exit_code if error else 0})
        return error.exit_code if error else 0
    _say(output, session, told)
    if error is not None:
        raise error
    return 0


def show_all(output: Output) -> int:
    """Every feature of the policy folder, one line each; one that cannot be read does not hide the others."""
    from rollback.policy_files import load_policies

    settings = read_settings(os.environ, forgiving=True)
    loaded = load_policies(settings.policies, bootstrap.environment())
    documents: list[dict[str, Any]] = []
    for key in sorted(loaded.features):
        try:
            told, error = _read(bootstrap.open_session(key, None, None, output.warn))
        except RollbackError as failed:
            told, error = {"feature": key, "exposure": None, "off_proven": False}, failed
        if error is not None:
            told["error"] = {"code": error.code, "message": error.message, "next": error.next}
        documents.append(told)
    broken = [{"file": str(one.file), "error": one.error.message} for one in loaded.broken_features]
    if output.as_json:
        output.document({"features": documents, "broken_policies": broken, "exit": 0})
        return 0
    _table(documents, output)
    for one in broken:
        output.warn(f"{one['file']}: {one['error']}")
    return 0


def _read(session: Session) -> tuple[dict[str, Any], RollbackError | None]:
    """The document of one feature; with the error that kept the flag from being read, if any."""
    incident = Controller(session).incident
    flag: FlagView | None = None
    failed: RollbackError | None = None
    try:
        flag = view(session, session.clock.monotonic() + LOOK_WITHIN)
    except RollbackError as error:
        failed = error
    proof, seen = _look(session, incident, flag) if flag is not None else (None, None)
    told = status.document(
        session.reference,
        session.world,
        incident,
        seen,
        proof,
        marks=flag.marks if flag else (),
        evidence=_evidence(session, incident),
    )
    return {**told, **_automation(session, incident)}, failed


def _automation(session: Session, incident: Incident | None) -> dict[str, Any]:
    """How the automatic trigger stands to the feature: armed or why not, held until when, which alerts fire."""
    told: dict[str, Any] = {
        "armed": None,
        "armed_why": [],
        "automation_held_until": None,
        "alerts_firing": list(incident.firing) if incident else [],
    }
    try:
        verdict = status_from_record(session.history, session.feature, session.clock.now())
        hold = held(session.history, session.feature)
    except RollbackError:  # a record that cannot be read tells neither
        return told
    if verdict.why != (NEVER,):
        told["armed"], told["armed_why"] = verdict.is_armed, list(verdict.why)
    if hold is not None and session.clock.now() < hold.until:
        told["automation_held_until"] = hold.until.isoformat().replace("+00:00", "Z")
    return told


def _look(session: Session, incident: Incident | None, flag: FlagView) -> tuple[OffProof | None, Exposure | None]:
    """What clients see now, and the exposure: the worst of the replicas, or of the file when nobody serves it."""
    prover = bootstrap.prover(session)
    try:
        turned = _turned(session, incident) if incident is not None else None
        if turned is not None:
            prover.turned_before(turned)
        proof, seen = prover.look(session.clock.monotonic() + LOOK_WITHIN)
    finally:
        prover.close()
    return proof, flag.now if seen is None and prover.file_only else seen


def _turned(session: Session, incident: Incident) -> float | None:
    """When the last replica turned; where the clocks cannot tell, long ago once somebody has waited for the proof."""
    turned = turned_by_record(session, incident)
    if turned is None and incident.proven_at is not None:
        return session.clock.monotonic() - (session.reference.poll_interval_seconds or 0.0)
    return turned


def _evidence(session: Session, incident: Incident | None) -> dict[str, Any] | None:
    """The newest stage's evidence of the open case, summed from the record; None when there is none."""
    if incident is None:
        return None
    kept = [
        e
        for e in session.history.entries(session.feature).entries
        if e.name == "evidence" and e.incident == incident.incident_id
    ]
    if not kept:
        return None
    names = ("stage", "attempt", "fix", "basis")
    stage = {name: kept[-1].data.get(name) for name in names}
    sums: dict[str, dict[str, int]] = {}
    for entry in kept:
        if {name: entry.data.get(name) for name in names} == stage:
            for metric, counts in dict(entry.data.get("metrics", {})).items():
                held = sums.setdefault(metric, {"total": 0, "bad": 0, "missing": 0})
                for word in held:
                    held[word] += int(counts.get(word, 0))
    p0, alpha = float(kept[-1].data.get("p0", 0.02)), float(kept[-1].data.get("alpha", 0.01))
    metrics = {
        name: {**counts, "log_e": round(Evidence.from_counts(p0, counts["bad"], counts["total"]).log_e, 4)}
        for name, counts in sums.items()
    }
    return {**stage, "p0": p0, "alpha": alpha, "log_bound": round(log_bound(alpha), 4), "metrics": metrics}


def _say(output: Output, session: Session, told: dict[str, Any]) -> None:
    name, percent = session.reference.name, told["exposure"]
    if percent is None:
        output.line(f"{name}: exposure UNKNOWN ({told['exposure_unknown']}); unknown is not off.", fg="red", bold=True)
    elif percent == 0:
        proven = "proven" if told["off_proven"] else "NOT PROVEN"
        since = f" since {when(_moment(told['off_since']))}" if told["off_since"] else ""
        output.line(f"{name} is OFF{since}, {proven}.", fg="green" if told["off_proven"] else "yellow", bold=True)
    else:
        output.line(f"{name} is ON: {percent} of 100 buckets are open.", bold=True)
        for why in told["exposure_reasons"]:
            output.line(f"  {why}")
    _say_case(output, session, told)
    for surface in told["not_covered"]:
        output.line(f"Not covered: {surface['name']} ({surface['because']}).")
    for difference in told["differs"]:
        output.line(f"DIFFERS: {difference}.", fg="red")


def _say_case(output: Output, session: Session, told: dict[str, Any]) -> None:
    if told["incident"]:
        since = when(_moment(told["since"]))
        output.line(f"Case {told['incident']}: {told['severity']}, {told['state']} since {since}.")
    else:
        output.line("No open case.")
    if told["exposure"] == 0 and told["off_basis"] and not told["off_proven"]:
        output.line(f"Not proven: {_lacking(told['off_basis'])}", fg="yellow")
    if told["pending_off_since"]:
        output.line(
            f"An off is PENDING since {when(_moment(told['pending_off_since']))}: rollback disable {session.feature}",
            fg="red",
        )
    if told["needs_human"]:
        output.line(f"Needs a human ({told['needs_human']['role']}): {told['needs_human']['what']}", fg="yellow")
    _say_automation(output, told)
    for metric, counts in (told["evidence"] or {}).get("metrics", {}).items():
        output.line(f"Evidence {metric}: {counts['total']} samples, {counts['bad']} bad, {counts['missing']} missing.")


def _say_automation(output: Output, told: dict[str, Any]) -> None:
    if told["alerts_firing"]:
        output.line(f"{len(told['alerts_firing'])} attached alerts fire: no step up while they do.", fg="yellow")
    if told["automation_held_until"]:
        output.line(f"Automation is held until {when(_moment(told['automation_held_until']))}.", fg="yellow")
    if told["armed"] is False and told["armed_why"]:
        output.line(f"NOT ARMED: {'; '.join(told['armed_why'])}.", fg="yellow")
    elif told["armed"]:
        output.line("Armed: a critical alert would turn it off.")


def _lacking(basis: dict[str, Any]) -> str:
    holds = ("proven", "assumed", "not_configured")
    return "; ".join(f"{part['name']}: {part['detail']}" for part in basis["parts"] if part["status"] not in holds)


def _moment(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def _table(documents: list[dict[str, Any]], output: Output) -> None:
    """One row a feature."""
    from rich.table import Table

    from rollback.commands.tables import rendered

    table = Table("feature", "exposure", "proven", "state", "severity", "since", "flag", box=None, pad_edge=False)
    for told in documents:
        world = told.get("world", {})
        exposure = "unknown" if told["exposure"] is None else f"{told['exposure']} %"
        row = (
            told["feature"],
            f"[bold red]{exposure}[/]" if told["exposure"] is None else exposure,
            "yes" if told["off_proven"] else "",
            told.get("state") or "",
            told.get("severity") or "",
            when(_moment(told["since"])) if told.get("since") else "",
            clean(f"{world.get('store', '')} {world.get('namespace', '')}/{world.get('flag', '')}"),
        )
        table.add_row(*row)
    output.raw(rendered(table, output.columns))
