"""What a job of a pipeline tells of a return: how it ended in a word, its evidence, its timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rollback.core.deploys import evidence_of
from rollback.core.evidence import Evidence
from rollback.core.history import EntryKind

if TYPE_CHECKING:
    from rollback.core.history import Entry
    from rollback.session import Session

TIMELINE_KEPT = 200
"""How many entries of the record are told, the newest ones."""


class Verdict(StrEnum):
    """How the job ended, in a word for later steps."""

    BACK = "back"
    NOTHING_TO_DO = "nothing_to_do"
    RECORDED = "recorded"  # the deploy is not the case's fix
    REFUSED = "refused"
    NOT_HEALTHY = "not_healthy"
    UNWATCHED = "unwatched"
    NOT_PROVEN = "not_proven"
    UNREACHABLE = "unreachable"
    UNWRITABLE = "unwritable"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


_BY_EXIT = {
    0: Verdict.BACK,
    3: Verdict.REFUSED,
    4: Verdict.NOT_HEALTHY,
    5: Verdict.NOT_PROVEN,
    6: Verdict.UNREACHABLE,
    8: Verdict.UNWRITABLE,
    130: Verdict.INTERRUPTED,
}


def verdict_of(exit_code: int) -> Verdict:
    """The word for an exit code."""
    return _BY_EXIT.get(exit_code, Verdict.FAILED)


def evidence_rows(session: Session, incident_id: str, commit: str) -> list[dict[str, Any]]:
    """What was counted for this commit in this case: one row a stage and metric, E against its bound."""
    if not incident_id:
        return []
    rows = []
    for one in evidence_of(session.history.entries(session.feature).entries, incident_id, commit):
        test = Evidence.from_counts(one.p0, one.bad, one.total)
        rows.append(
            {
                "stage": one.stage,
                "metric": one.metric,
                "total": one.total,
                "bad": one.bad,
                "missing": one.missing,
                "log_e": round(test.log_e, 4),
                "bound": round(1 / one.alpha, 1),
                "passed": test.passes(one.alpha),
            }
        )
    return rows


def timeline_rows(session: Session, incident_id: str) -> list[dict[str, Any]]:
    """What happened in this case, from the record, oldest first; evidence stands beside it.

    Without a case the deploys that were recorded. A reason that is that of the row before is left out.
    """
    told: list[dict[str, Any]] = []
    reason = ""
    for entry in session.history.entries(session.feature).entries:
        is_part = entry.incident == incident_id if incident_id else entry.name == "deploy_recorded"
        if not is_part or entry.name == "evidence" or entry.kind in (EntryKind.INTENT, EntryKind.OUTCOME):
            continue
        parts = ["" if entry.reason == reason else entry.reason, *_details(entry)]
        reason = entry.reason or reason
        told.append(
            {
                "at": entry.at.isoformat().replace("+00:00", "Z"),
                "what": entry.name,
                "state": str((entry.after or {}).get("state", "")),
                "who": entry.actor.name,
                "known": entry.actor.authenticated,
                "why": "; ".join(dict.fromkeys(part for part in parts if part)),
            }
        )
    return told[-TIMELINE_KEPT:]


def _details(entry: Entry) -> Iterator[str]:
    """What an entry says beside its reason."""
    data, human = entry.data, (entry.after or {}).get("needs_human")
    if entry.name in ("harm_seen", "evidence_ended", "human_called") and isinstance(human, Mapping):
        yield str(human.get("what", ""))
    for word in ("commit", "why", "text"):
        if (said := str(data.get(word) or "")) and said not in entry.reason:
            yield said
    if data.get("exposure") is not None:
        yield f"{data['exposure']} of 100 buckets open"
