"""Where one feature stands, as one document: read from the flag, which is the truth, beside what the case says.

`status`, `disable`, `enable` and the machine-readable output of all of them are this document. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback.core.flag import BUCKETS
from rollback.core.model import Incident, State

if TYPE_CHECKING:
    from rollback.core.exposure import Exposure
    from rollback.core.marker import Marker
    from rollback.core.proof import OffProof
    from rollback.flag_reference import FlagReference


def document(
    reference: FlagReference,
    world: Mapping[str, str],
    incident: Incident | None,
    exposure: Exposure | None,
    proof: OffProof | None,
    *,
    marks: tuple[Marker, ...] = (),
    evidence: Mapping[str, Any] | None = None,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The document of `status FEATURE --json`.

    `exposure` is the worst over the replicas, None when nothing could be read; then `exposure` is null and nothing is
    claimed. `off_proven` is true only when the exposure is 0 and every part of the proof holds.
    """
    percent = exposure.percent if exposure else None
    proven = bool(percent == 0 and proof is not None and proof.proven)
    return {
        "feature": reference.feature,
        "name": reference.name,
        "state": incident.state.value if incident else State.NORMAL.value,
        "severity": incident.severity.value if incident else None,
        "incident": incident.incident_id if incident else None,
        "since": _time(incident.since) if incident else None,
        "opened_at": _time(incident.opened_at) if incident else None,
        "exposure": percent,
        "exposure_reasons": list(exposure.why) if exposure and exposure.unknown is None else [],
        "exposure_unknown": (exposure.unknown if exposure else "the flag could not be read"),
        "off_proven": proven,
        "off_since": _time(incident.turned_at) if incident and incident.turned_at and percent == 0 else None,
        "off_basis": proof.to_json() if proof else None,
        "pollers_follow_by": _time(_pollers(reference, incident)) if percent == 0 else None,
        "not_covered": [{"name": surface.name, "because": surface.because} for surface in reference.not_covered],
        "store": world["store"],
        "world": dict(world),
        "needs_human": _human(incident),
        "pending_off_since": _time(incident.pending_off_since) if incident else None,
        "evidence": dict(evidence) if evidence else None,
        "fix": (incident.fix or None) if incident else None,
        "gate_blind": incident.gate_blind if incident else None,
        "kept_off": incident.keep_off if incident else False,
        "ours_on_flag": [
            {"incident": mark.incident, "key": mark.key, "by": mark.actor, "at": mark.at} for mark in marks
        ],
        "differs": differences(incident, exposure, marks),
        "warnings": list(warnings),
    }


def differences(incident: Incident | None, exposure: Exposure | None, marks: tuple[Marker, ...]) -> list[str]:
    """Where the flag and the case do not say the same (invariant 19); the flag is right."""
    found: list[str] = []
    percent = exposure.percent if exposure else None
    if incident is None:
        if marks:
            found.append(
                f"the flag carries a {marks[0].role} of case {marks[0].incident}, which is not open here: adopt it"
            )
        return found
    verifying_off = incident.state is State.VERIFYING and incident.settled_held == BUCKETS
    if (incident.state is State.DISABLED or verifying_off) and percent not in (0, None):
        found.append(f"the case says {incident.state}, but {percent} of 100 buckets are open on the flag")
    strangers = [mark for mark in marks if mark.role == "kill" and mark.key not in incident.kills]
    if strangers:
        found.append(f"the flag carries a kill that this history does not know, by {strangers[0].actor or 'somebody'}")
    return found


def _pollers(reference: FlagReference, incident: Incident | None) -> datetime | None:
    """When clients that poll have followed, by time alone; None when nobody polls or the flag was not turned."""
    if incident is None or incident.turned_at is None or reference.poll_interval_seconds is None:
        return None
    wait = reference.poll_interval_seconds + reference.replica_lag_seconds
    return incident.turned_at + timedelta(seconds=wait)


def _human(incident: Incident | None) -> dict[str, Any] | None:
    if incident is None or incident.needs_human is None:
        return None
    human = incident.needs_human
    return {"what": human.what, "role": human.role, "since": _time(human.since), "by": _time(human.by)}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
