"""decide(incident, event, now, nonce) → what the incident becomes and what to do. Pure: no clock, no randomness.

States change only by `transitions.TABLE`; this module adds the guards and the facts that ride on an incident.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollback.core import events as e
from rollback.core.effects import CallHuman, Effect, LowerExposure, ProveOff, RaiseExposure, WatchExposure
from rollback.core.events import Event
from rollback.core.flag import BUCKETS
from rollback.core.model import Incident, NeedsHuman, Severity, State
from rollback.core.transitions import FACTS, next_state
from rollback.errors import PolicyRefused

RAISE_EXPIRES_AFTER = timedelta(seconds=30)
"""A raise that was not written by then is dropped and decided again: its evidence was for that moment."""

UNDO_WITHIN = timedelta(minutes=10)
"""How long a wrong disable can be taken back by the person who made it (`design.md`, Interface)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The incident after the event, and the effects to carry out, the protecting ones first."""

    incident: Incident
    effects: tuple[Effect, ...] = ()


def decide(incident: Incident | None, event: Event, *, now: datetime, nonce: str) -> Decision:
    """What follows from `event`. `nonce` makes the key of a kill that may become necessary.

    Raises `PolicyRefused`, and changes nothing, when the event is not allowed in the incident's state.
    """
    if incident is None or not incident.is_open:
        return _opened(event, now)
    if isinstance(event, e.CaseOpened | e.Adopted):
        raise PolicyRefused(
            f"{incident.feature} already has the open case {incident.incident_id} ({incident.state}).",
            next=f"Use it: rollback status {incident.feature}",
        )
    severity = _severity_after(incident, event)
    state = next_state(severity, incident.state, type(event))
    if state is None:
        raise PolicyRefused(
            f"{type(event).__name__} is not possible while {incident.feature} is {incident.state} ({severity}).",
            next=f"See where it stands: rollback status {incident.feature}",
        )
    _guard(incident, event, now)
    after = replace(incident, severity=severity, state=state, since=incident.since if state is incident.state else now)
    return _apply(after, event, now, nonce)


def _opened(event: Event, now: datetime) -> Decision:
    """The two events that begin a case."""
    if isinstance(event, e.CaseOpened):
        return Decision(
            Incident(
                incident_id=event.incident_id,
                feature=event.feature,
                severity=event.severity,
                state=State.TRIGGERED,
                opened_at=now,
                since=now,
                reason=event.reason,
                opened_by=event.by,
                policy_hash=event.policy_hash,
                sensitive=event.sensitive,
            )
        )
    if isinstance(event, e.Adopted):
        taken = Incident(
            incident_id=event.incident_id,
            feature=event.feature,
            severity=Severity.CRITICAL,
            state=State.DISABLING,
            opened_at=now,
            since=now,
            epoch=event.epoch,
            settled_held=event.held,
            safe_held=BUCKETS,
            kills=event.keys,
        )
        return Decision(taken, (ProveOff(event.epoch),))
    raise PolicyRefused(
        f"There is no open case, so {type(event).__name__} has nothing to act on.",
        next="Open one with: rollback disable FEATURE, or rollback open FEATURE --severity low|high --reason R",
    )


def _severity_after(incident: Incident, event: Event) -> Severity:
    """A disable makes any case critical; a severity is only ever raised, except by `SeverityLowered`."""
    match event:
        case e.DisableCommanded():
            return Severity.CRITICAL
        case e.SeverityRaised(severity=severity) if severity.rank <= incident.severity.rank:
            raise PolicyRefused(f"The case is {incident.severity} already; {severity} is not above it.")
        case _:
            return incident.severity


def _guard(incident: Incident, event: Event, now: datetime) -> None:
    """What the table cannot say: who may, and whether the case itself forbids it. Only returns are ever refused."""
    match event:
        case e.ReturnStarted():
            _guard_return(incident)
        case e.FalseAlarmDeclared(by=by):
            if by.is_claimed:
                raise PolicyRefused("A false alarm is declared by an authenticated person.")
            _guard_return(incident)
        case e.BlindGateAccepted(by=by) if by.is_claimed:
            raise PolicyRefused(
                f"Only an authenticated person can accept a blind gate; {by.name} is merely claimed.",
                next="Run it from your own account on a terminal, without --actor.",
            )
        case e.SeverityLowered(severity=severity, by=by):
            if by.is_claimed or severity.rank >= incident.severity.rank:
                raise PolicyRefused("Only an authenticated person lowers a severity, and only to a lower one.")
        case e.DisableUndone(by=by):
            _guard_undo(incident, by.name, now)
        case _:
            pass


def _guard_return(incident: Incident) -> None:
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
    if incident.severity is Severity.LOW or incident.blind_accepted_by:
        return
    if incident.sensitive or incident.gate_blind:
        why = "is a security or privacy case" if incident.sensitive else "has a blind gate: it was green while broken"
        raise PolicyRefused(
            f"The case {incident.incident_id} {why}, so evidence alone brings nothing back.",
            next=f"An authenticated person decides: rollback enable {incident.feature} --accept-blind --reason R",
        )


def _guard_undo(incident: Incident, name: str, now: datetime) -> None:
    if incident.opened_by != name or incident.opened_by == "":
        raise PolicyRefused(f"Only {incident.opened_by or 'the one who disabled it'} can undo this disable.")
    if now - incident.opened_at > UNDO_WITHIN or incident.epoch > 1:
        raise PolicyRefused(
            "A disable can be undone within 10 minutes, and only when nobody disabled again since.",
            next=f"Bring it back through the gate: rollback enable {incident.feature} --reason R",
        )


def _apply(incident: Incident, event: Event, now: datetime, nonce: str) -> Decision:
    """The facts and effects of an event that is allowed; the state is already the new one."""
    if type(event) in FACTS:
        return _fact(incident, event, now)
    match event:
        case e.DisableCommanded(key=key, epoch=epoch):
            return _lower(replace(incident, pending_off_since=incident.pending_off_since or now), key, epoch, BUCKETS)
        case e.OffWritten() | e.OffUnsettled() | e.OffNotProven() | e.OffProven():
            return _off(incident, event, now)
        case e.ReduceCommanded(key=key, epoch=epoch, held=held):
            return _lower(replace(incident, safe_held=held), key, epoch, held)
        case e.ReduceSettled(held=held, audience=audience):
            kept = audience if incident.audience is None else incident.audience
            return Decision(replace(incident, settled_held=held, turned_at=now, audience=kept))
        case e.DriftSeen():
            return _drift(incident, event, now)
        case e.SeverityRaised(severity=severity):
            return Decision(replace(incident, severity=severity, watcher=None))
        case e.SeverityLowered(severity=severity):
            return Decision(replace(incident, severity=severity))
        case e.FixingStarted():
            return Decision(incident)
        case _:
            return _return(incident, event, now, nonce)


def _off(
    incident: Incident, event: e.OffWritten | e.OffUnsettled | e.OffNotProven | e.OffProven, now: datetime
) -> Decision:
    """What came of a kill."""
    match event:
        case e.OffWritten(audience=audience, was_off=was_off, at=at):
            written = replace(
                incident,
                settled_held=BUCKETS,
                turned_at=incident.turned_at if was_off and incident.turned_at else at or now,
                proven_at=None,
                pending_off_since=None,
                audience=audience if incident.audience is None else incident.audience,
            )
            return Decision(written, (ProveOff(incident.epoch),))
        case e.OffUnsettled(why=why):
            return _called(replace(incident, pending_off_since=incident.pending_off_since or now), why, now)
        case e.OffNotProven(missing=missing):
            return _called(incident, f"off is not proven: {missing}", now)
        case e.OffProven():
            return Decision(replace(incident, proven_at=now, needs_human=None))


def _drift(incident: Incident, event: e.DriftSeen, now: datetime) -> Decision:
    """A foreign edit is put right once per case; a second one stops automation (invariant 16)."""
    seen = replace(incident, drift_repairs=incident.drift_repairs + 1, watcher=None, settled_held=None)
    if incident.drift_repairs >= 1:
        return _called(seen, f"a second foreign edit lets users in: {event.what}", now)
    return _lower(seen, event.key, event.epoch, BUCKETS)


def _return(incident: Incident, event: Event, now: datetime, nonce: str) -> Decision:
    """The events of the way back."""
    match event:
        case e.ReturnStarted(watcher=watcher, kills=kills, forced_until=forced_until):
            review = (*incident.review, "forced return: review it") if forced_until else incident.review
            begun = replace(
                incident,
                watcher=watcher,
                kills=tuple(dict.fromkeys((*incident.kills, *kills))),
                forced_until=forced_until,
                review=review,
                attempt=max(1, incident.attempt),
                needs_human=None,
            )
            return Decision(begun, (WatchExposure(incident.epoch),))
        case e.GatePassed(held=held):
            if incident.severity is Severity.LOW:
                return Decision(incident, (WatchExposure(incident.epoch),))
            return Decision(incident, (RaiseExposure(incident.epoch, held, now + RAISE_EXPIRES_AFTER),))
        case e.StepRaised(held=held):
            return Decision(replace(incident, settled_held=held, proven_at=None))
        case e.ReturnedInFull():
            return Decision(replace(incident, settled_held=0, proven_at=None, kills=()))
        case e.HarmSeen(why=why):
            return _retreat(_with_human(incident, f"the feature was harmful on its way back: {why}", now), nonce)
        case e.WatchStopped():
            return _retreat(incident, nonce)
        case e.EvidenceEnded(why=why):
            stays = incident if incident.state is State.RAMPING else replace(incident, watcher=None)
            return _called(stays, why, now)
        case e.MonitoringEnded():
            return Decision(replace(incident, watcher=None, needs_human=None))
        case e.FalseAlarmDeclared():
            return Decision(replace(incident, one_step=True))
        case e.DisableUndone(watcher=watcher):
            undone = replace(incident, one_step=True, watcher=watcher, pending_off_since=None)
            return Decision(undone, (RaiseExposure(incident.epoch, 0, now + RAISE_EXPIRES_AFTER),))
        case _:
            raise AssertionError(f"not an event of the way back: {event!r}")


def _fact(incident: Incident, event: Event, now: datetime) -> Decision:
    match event:
        case e.FixDeployed(commit=commit):
            is_new = commit != incident.fix
            return Decision(replace(incident, fix=commit, attempt=incident.attempt + is_new))
        case e.GateMeasured(green=green):
            return Decision(replace(incident, gate_blind=green))
        case e.BlindGateAccepted(by=by):
            return Decision(replace(incident, blind_accepted_by=by.name))
        case e.KeptOff():
            return Decision(replace(incident, keep_off=True))
        case e.Released(digest=digest):
            return Decision(
                replace(incident, keep_off=False, accepted_digest=digest, needs_human=None, drift_repairs=0)
            )
        case e.NoteAdded():
            return Decision(incident)
        case e.WatchHandedOver(to=to):
            return _called(replace(incident, watcher=None), f"nobody watches what is exposed; {to} has to", now, to)
        case e.HumanCalled(what=what, role=role):
            return _called(incident, what, now, role)
        case _:
            raise AssertionError(f"not a fact: {event!r}")


def _lower(incident: Incident, key: str, epoch: int, held: int) -> Decision:
    """A kill of its own in front; the case's epoch rises, so that every return begun before it stops."""
    lowered = replace(
        incident,
        epoch=max(epoch, incident.epoch),
        kills=(*incident.kills, key),
        watcher=None,
        proven_at=None,
        forced_until=None,
        safe_held=BUCKETS if held == BUCKETS else incident.safe_held,
    )
    return Decision(lowered, (LowerExposure(key, epoch, held),))


def _retreat(incident: Incident, nonce: str) -> Decision:
    """Down to the last step that was proven safe, when the state says that exposure has to go down."""
    if incident.state not in (State.DISABLING, State.REDUCING):
        return Decision(replace(incident, watcher=None))
    epoch = incident.epoch + 1
    held = BUCKETS if incident.safe_held is None else incident.safe_held
    return _lower(incident, f"kill-{epoch}-{nonce}", epoch, held)


def _with_human(incident: Incident, what: str, now: datetime, role: str = "responder") -> Incident:
    if incident.needs_human and incident.needs_human.what == what:
        return incident
    return replace(incident, needs_human=NeedsHuman(what, role, now))


def _called(incident: Incident, what: str, now: datetime, role: str = "responder") -> Decision:
    return Decision(_with_human(incident, what, now, role), (CallHuman(what, role),))
