"""Who may permit a return, and whether enough of them have. Pure; nothing here is ever asked for an off.

An approval permits, and replaces no evidence. It is for one fix and for the flag as it was when it was given: another
fix, an edit of the flag or another off makes it void. Four eyes: whoever turned the feature off, deployed the fix, or
brings it back does not approve that return. Standard library only: the kill path reads cases that hold approvals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollback.core.history import Actor
from rollback.core.model import Approval, Incident

APPROVER = "approver"
"""The role of an account of the operating system, unless the policy says otherwise."""

ALERT = "alert-"
"""How the names of those begin that act for an alert: an off by one of them was nobody's, so it bars nobody."""

GO = "a person has to say go"
"""How the call begins in which a person is asked to judge a step."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """What a policy says of approvals (`core.return_policy.Approvals`).

    `required` different people, each with one of `roles`, or with a role of `escalate_to` that was called already.
    An approval is good for `valid_for`. The roles of `escalate_to` are called in order, one each `escalate_after`.
    `roles_of` gives the roles of accounts by their names.
    """

    required: int = 1
    roles: tuple[str, ...] = (APPROVER,)
    four_eyes: bool = True
    valid_for: timedelta = timedelta(hours=1)
    escalate_after: timedelta = timedelta(minutes=30)
    escalate_to: tuple[str, ...] = ()
    roles_of: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """What one raise needs beside its evidence: approvals by `rule` of the flag with `digest`, and a person's go.

    `rule` None: no approval. The machine looks itself, at the case as it is at that moment.
    """

    rule: ApprovalRule | None
    digest: str
    go: bool = False


def roles_held(rule: ApprovalRule, actor: Actor) -> tuple[str, ...]:
    """The roles of somebody; none for who is no authenticated person.

    A token has the role that it was issued for, and no name in a policy adds to it: whoever names a token would
    otherwise choose its rights. An account of the operating system has what `roles_of` says, else `APPROVER`.
    """
    if not actor.is_person:
        return ()
    if actor.authenticated == "os":
        return (rule.roles_of or {}).get(actor.name, (APPROVER,))
    return (actor.role,) if actor.role else ()


def allowed_roles(rule: ApprovalRule, incident: Incident) -> tuple[str, ...]:
    """The roles that may approve now: those of the rule, and those further up that were called."""
    request = incident.approval_request
    called = [role for role in (request.roles if request else ()) if role in rule.escalate_to]
    return tuple(dict.fromkeys((*rule.roles, *called)))


def barred(rule: ApprovalRule, incident: Incident) -> Mapping[str, str]:
    """Who may not approve this return, by name, and why (four eyes)."""
    return dict(_barred(incident)) if rule.four_eyes else {}


def _barred(incident: Incident) -> Iterator[tuple[str, str]]:
    if incident.returned_by:
        yield incident.returned_by, "brings it back"
    if incident.fixed_by:
        yield incident.fixed_by, "deployed the fix"
    for name in incident.disabled_by or (incident.opened_by,):
        if name and not name.startswith(ALERT):
            yield name, "turned it off" if incident.disabled_by else "opened the case"


def role_of(rule: ApprovalRule, incident: Incident, actor: Actor) -> str | None:
    """The role in which somebody may approve this return; None when they may not (`why_not` says why)."""
    if actor.name in barred(rule, incident):
        return None
    allowed = allowed_roles(rule, incident)
    return next((role for role in roles_held(rule, actor) if role in allowed), None)


def why_not(rule: ApprovalRule, incident: Incident, actor: Actor) -> str:
    """Why somebody may not approve this return, as a sentence; empty when they may."""
    if not actor.is_person:
        return f"Only an authenticated person approves; {actor.name} is not one."
    why = barred(rule, incident).get(actor.name)
    if why is not None:
        return f"Four eyes: {actor.name} {why}, so somebody else approves."
    if role_of(rule, incident, actor) is None:
        held = ", ".join(roles_held(rule, actor)) or "no role"
        return f"{actor.name} has {held}, and {_any_of(allowed_roles(rule, incident))} may approve."
    return ""


def counted(rule: ApprovalRule, incident: Incident, digest: str, now: datetime) -> tuple[Approval, ...]:
    """The approvals that count at `now` for the case's fix and the flag with `digest`."""
    allowed, not_these = allowed_roles(rule, incident), barred(rule, incident)
    return tuple(
        one
        for one in incident.approvals
        if (one.fix, one.digest) == (incident.fix, digest)
        and one.role in allowed
        and one.by not in not_these
        and (one.used or now < one.expires_at)
    )


def missing(rule: ApprovalRule, incident: Incident, digest: str, now: datetime) -> str:
    """What is still missing, and who may give it, in a few words; empty when nothing is."""
    lacking = rule.required - len(counted(rule, incident, digest, now))
    if lacking <= 0:
        return ""
    which = "an approval is" if lacking == 1 else f"{lacking} approvals are"
    besides = ", ".join(sorted(barred(rule, incident)))
    but = f", but not {besides}" if besides else ""
    return f"{which} missing ({_any_of(allowed_roles(rule, incident))} may give it{but})"


def next_role(rule: ApprovalRule, incident: Incident, digest: str, now: datetime) -> str | None:
    """The role to call at `now`, when an approval is missing; None when nobody (else) is to be called yet."""
    order = rule.escalate_to or rule.roles
    request = incident.approval_request
    if request is None or request.digest != digest:
        return order[0]
    asked = len(request.roles)
    is_due = now >= request.since + asked * rule.escalate_after
    return order[asked] if asked < len(order) and is_due else None


def _any_of(roles: tuple[str, ...]) -> str:
    return " or ".join(roles)
