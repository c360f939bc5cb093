"""What people say about a return stays on the case, and falls away when what they spoke of has changed.

Pure, and on the kill path: standard library only. An off needs nothing of this; it makes all of it void.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rollback.core import events as e
from rollback.core.approvals import ALERT, counted
from rollback.core.events import Event
from rollback.core.model import NAMES_KEPT, Approval, ApprovalRequest, Incident


def asked(incident: Incident, event: e.ApprovalAsked, now: datetime) -> Incident:
    """One more role was called; another state of the flag is another request, and begins with the first role."""
    request = incident.approval_request
    if request is None or request.digest != event.digest:
        request = ApprovalRequest(event.digest, now, (), event.what)
    roles = tuple(dict.fromkeys((*request.roles, event.role)))
    return replace(incident, approval_request=replace(request, roles=roles, what=event.what))


def said(incident: Incident, event: Event, now: datetime) -> Incident:
    """An approval given or taken back, or a switch of which somebody says that it is lifted."""
    match event:
        case e.ApprovalGiven(by=by, role=role, fix=fix, digest=digest, expires_at=expires_at):
            given = Approval(by.name, role, fix, digest, now, expires_at)
            return replace(incident, approvals=(*_of_others(incident, by.name), given)[-NAMES_KEPT:])
        case e.ApprovalWithdrawn(by=by):
            return replace(incident, approvals=_of_others(incident, by.name))
        case e.SwitchLifted(name=name):
            lifted = tuple(dict.fromkeys((*incident.switches_lifted, name)))
            return replace(incident, switches_lifted=lifted[-NAMES_KEPT:])
        case _:
            raise AssertionError(f"not a fact: {event!r}")  # pragma: no cover - see the table's test


def _of_others(incident: Incident, name: str) -> tuple[Approval, ...]:
    return tuple(one for one in incident.approvals if one.by != name)


def deployed(incident: Incident, event: e.FixDeployed | e.CodeChanged) -> Incident:
    """Another fix is another attempt, and whatever was approved was the one before. Other code is neither."""
    if isinstance(event, e.CodeChanged):
        return replace(incident, deployed=event.commit, code_changes=incident.code_changes + 1)
    if event.commit == incident.fix:
        return incident
    changed = replace(incident, fix=event.commit, fixed_by=event.by, attempt=incident.attempt + 1)
    return unapproved(changed)


def permitted(incident: Incident, event: e.GatePassed, now: datetime) -> Incident:
    """The approvals that permit this raise permit the whole return; whoever was called for them has answered."""
    permit, request = event.permit, incident.approval_request
    if permit is None or permit.rule is None:
        return incident
    count = counted(permit.rule, incident, permit.digest, now)
    used = tuple(replace(one, used=True) if one in count else one for one in incident.approvals)
    return replace(answered(incident, request.what) if request else incident, approvals=used)


def unapproved(incident: Incident) -> Incident:
    """What people have said about this return does not hold for another one."""
    request = incident.approval_request
    free = answered(incident, request.what) if request else incident
    return replace(free, approvals=(), approval_request=None, step_go=False)


def answered(incident: Incident, what: str) -> Incident:
    """The case without the call for a human that begins with these words; any other call stays."""
    human = incident.needs_human
    return replace(incident, needs_human=None) if human is not None and human.what.startswith(what) else incident


def disabled_by(incident: Incident, by: str) -> Incident:
    """The case with who turned it off (empty: who opened it); an alert is nobody."""
    name = by or incident.opened_by
    if not name or name.startswith(ALERT):
        return incident
    names = (*(one for one in incident.disabled_by if one != name), name)
    return replace(incident, disabled_by=names[-NAMES_KEPT:])
