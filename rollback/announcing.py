"""What people are told about a case, from its image: each state once, and each call for a human once. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rollback.alert_ports import Notice
from rollback.core.model import Incident, State
from rollback.redaction import redact
from rollback.words import when

if TYPE_CHECKING:
    from rollback.flag_reference import FlagReference

_CALLS = frozenset({State.DISABLING, State.REDUCING})
"""States in which responders begin at once (the runbook's step 2)."""

_QUIET = frozenset({State.NORMAL, State.TRIGGERED, State.VERIFYING})


def notices(reference: FlagReference, incident: Incident) -> Sequence[Notice]:
    """All that people should have been told of this image by now; whoever tells them drops the keys that were told."""
    told = []
    if incident.state not in _QUIET:
        told.append(_of_state(reference, incident))
    if incident.needs_human is not None:
        told.append(_of_human(reference, incident))
    return told


def _of_state(reference: FlagReference, incident: Incident) -> Notice:
    lines = [f"{reference.name}: {_headline(incident)}"]
    lines.append(f"Case {incident.incident_id}, {incident.severity}, opened by {incident.opened_by or '?'}.")
    if incident.reason:
        lines.append(f"Why: {incident.reason}")
    if incident.firing:
        lines.append(f"{len(incident.firing)} alerts are attached and fire.")
    lines += [f"Not covered: {surface.name} ({surface.because})." for surface in reference.not_covered]
    if reference.channels:
        lines.append(f"Talk: {', '.join(reference.channels)}")
    lines.append(f"Next: {_next(reference.feature, incident.state)}")
    urgency = "call" if incident.state in _CALLS else "tell"
    key = f"{incident.incident_id}:{incident.epoch}:{incident.state}"
    return _notice(key, incident, urgency, lines)


def _headline(incident: Incident) -> str:
    at = f" since {when(incident.turned_at)}" if incident.turned_at else ""
    match incident.state:
        case State.DISABLING if incident.pending_off_since and incident.settled_held is None:
            return "an off is PENDING: it is NOT known to be off."
        case State.DISABLING:
            return f"off was written{at}; it is being proven."
        case State.DISABLED:
            return f"OFF for every user{at}, proven." if incident.proven_at else f"off{at}, NOT proven."
        case State.REDUCING | State.REDUCED:
            return f"reduced{at}; it stays on for a part of its users."
        case State.FIXING:
            return "a low case is open; it stays on, and nothing may interrupt it."
        case State.RAMPING:
            return "coming back, step by step."
        case State.MONITORING:
            return "back in full, and watched."
        case State.RESOLVED:
            return "the case is resolved."
        case _:
            return f"{incident.state}."


def _next(feature: str, state: State) -> str:
    match state:
        case State.RESOLVED:
            return f"rollback history {feature} --format markdown (the timeline)"
        case State.DISABLED | State.REDUCED | State.DISABLING | State.REDUCING:
            return f"rollback status {feature} · rollback fix {feature} COMMIT · rollback enable {feature} --reason R"
        case _:
            return f"rollback status {feature}"


def _of_human(reference: FlagReference, incident: Incident) -> Notice:
    human = incident.needs_human
    assert human is not None
    digest = hashlib.sha256(human.what.encode()).hexdigest()[:12]
    lines = [
        f"{reference.name} needs a human ({human.role}): {human.what}",
        f"Case {incident.incident_id}, {incident.severity}, {incident.state}, since {when(human.since)}.",
        f"Next: rollback status {reference.feature}",
    ]
    return _notice(f"{incident.incident_id}:{incident.epoch}:human:{digest}", incident, "call", lines, human.role)


def _notice(key: str, incident: Incident, urgency: str, lines: Sequence[str], role: str = "responder") -> Notice:
    text = "\n".join(redact(line) for line in lines)
    return Notice(key, incident.feature, incident.incident_id, urgency, text, role)
