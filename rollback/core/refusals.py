"""What the table of transitions cannot say: who may, and whether the case itself forbids it.

Pure, and on the kill path: standard library only. Nothing here refuses an off.
"""

from __future__ import annotations

from datetime import datetime

from rollback.core import events as e
from rollback.core.approvals import Permit, missing
from rollback.core.events import Event
from rollback.core.flag import BUCKETS
from rollback.core.history import Actor
from rollback.core.model import FIRING_KEPT, Incident, Severity, State
from rollback.errors import PolicyRefused

YOUR_ACCOUNT = "Run it from your own account on a terminal, without --actor."


def refuse(incident: Incident, event: Event, now: datetime) -> None:
    """Raises `PolicyRefused` when the case forbids the event, or the one who acts may not. No off is ever refused."""
    match event:
        case e.ReturnStarted() if incident.state is not State.MONITORING:  # there it is on already, and must be watched
            _guard_return(incident)
        case e.GatePassed(permit=permit):
            if incident.severity is not Severity.LOW:  # what was said since the return began counts too
                _guard_return(incident)
            _guard_quiet(incident)
            _guard_permitted(incident, permit, now)
        case e.FalseAlarmDeclared(by=by):
            if by.is_claimed:
                raise PolicyRefused("A false alarm is declared by an authenticated person.")
            _guard_return(incident)
            _guard_blind(incident)
        case e.SeverityLowered(severity=severity, by=by):
            if by.is_claimed or severity.rank >= incident.severity.rank:
                raise PolicyRefused("Only an authenticated person lowers a severity, and only to a lower one.")
        case e.DisableUndone(by=by):
            _guard_undo(incident, by, now)
            _guard_quiet(incident)
        case e.ReduceCommanded(held=held) if not 0 < held < BUCKETS:
            raise PolicyRefused(f"A kill that holds off {held} of {BUCKETS} buckets is no reduction.")
        case _:
            _refuse_word(incident, event)


def _refuse_word(incident: Incident, event: Event) -> None:
    """What only a person can say, and only about the case as it is now."""
    match event:
        case e.BlindGateAccepted(by=by) if by.is_claimed:
            raise PolicyRefused(
                f"Only an authenticated person can accept a blind gate; {by.name} is merely claimed.", next=YOUR_ACCOUNT
            )
        case e.ApprovalGiven(by=by) | e.StepApproved(by=by) | e.SwitchLifted(by=by) if not by.is_person:
            raise PolicyRefused(f"Only an authenticated person can say that; {by.name} is not one.", next=YOUR_ACCOUNT)
        case e.ApprovalGiven(fix=fix, epoch=epoch) if (fix, epoch) != (incident.fix, incident.epoch):
            what = "another fix was deployed" if fix != incident.fix else "it was turned off again"
            raise PolicyRefused(
                f"Since you looked {what}, so this approval would be for something else.",
                next=f"Look again: rollback approve {incident.feature} --reason R",
            )
        case _:
            pass


def _guard_permitted(incident: Incident, permit: Permit | None, now: datetime) -> None:
    """What the policy wants beside the evidence, looked at once more at the very moment of the raise."""
    if permit is None:
        return
    if permit.rule is not None and (words := missing(permit.rule, incident, permit.digest, now)):
        raise PolicyRefused(
            f"{incident.feature} takes no step up: {words}.",
            next=f"One of them gives it: rollback approve {incident.feature} --reason R",
        )
    if permit.go and not incident.step_go:
        raise PolicyRefused(
            f"{incident.feature} takes no step up before a person has judged this one.",
            next=f"Judge it: rollback approve {incident.feature} --step --reason R",
        )


def _guard_return(incident: Incident) -> None:
    _guard_held_back(incident)
    if incident.severity is Severity.LOW:
        return
    if incident.sensitive and not incident.blind_accepted_by:
        raise _by_a_person(incident, "is a security or privacy case")
    _guard_blind(incident)


def _guard_blind(incident: Incident) -> None:
    if incident.gate_blind and not incident.blind_accepted_by:
        raise _by_a_person(incident, "has a blind gate: it was green while broken")


def _by_a_person(incident: Incident, why: str) -> PolicyRefused:
    return PolicyRefused(
        f"The case {incident.incident_id} {why}, so evidence alone brings nothing back.",
        next=f"An authenticated person decides: rollback enable {incident.feature} --accept-blind --reason R",
    )


def _guard_held_back(incident: Incident) -> None:
    if incident.keep_off:
        raise PolicyRefused(
            f"{incident.feature} is kept off until somebody lifts that.",
            next=f"Lift it: rollback release {incident.feature} --reason R",
        )
    if incident.pending_off_since is not None:
        raise PolicyRefused(
            f"An off of {incident.feature} is still pending since {incident.pending_off_since.isoformat()}.",
            next=f"Settle it first: rollback disable {incident.feature}",
        )


def firing_words(incident: Incident) -> str:
    """Which attached alerts fire, in a few words; empty when none does. No step up happens while one fires."""
    if incident.firing_unkept:
        return f"more than {FIRING_KEPT} alerts were attached, and which of them fire is not known"
    shown = ", ".join(incident.firing[:3])
    match len(incident.firing):
        case 0:
            return ""
        case 1:
            return f"the alert {shown} fires"
        case count if count > 3:
            return f"{count} alerts fire: {shown} and {count - 3} more"
        case count:
            return f"{count} alerts fire: {shown}"


def _guard_quiet(incident: Incident) -> None:
    """Evidence of health and a firing alert contradict each other: somebody looks first (invariants 8 and 14)."""
    if words := firing_words(incident):
        raise PolicyRefused(
            f"{incident.feature} takes no step up while {words}.",
            next=f"Wait until it recovers, or lift it: rollback release {incident.feature} --reason R",
        )


def _guard_undo(incident: Incident, by: Actor, now: datetime) -> None:
    through_the_gate = f"Bring it back through the gate: rollback enable {incident.feature} --reason R"
    _guard_held_back(incident)
    if not incident.undo_by or incident.undo_until is None or now > incident.undo_until:
        raise PolicyRefused(
            "A disable can be undone within 10 minutes, and only when it is the case's only one.", next=through_the_gate
        )
    if by.is_claimed or by.name != incident.undo_by:
        raise PolicyRefused(f"Only {incident.undo_by}, authenticated, can undo this disable.", next=through_the_gate)
