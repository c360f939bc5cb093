"""decide(incident, event, now, nonce) → what the incident becomes and what to do. Pure: no clock, no randomness.

States change only by `transitions.TABLE`; this module adds the facts that ride on an incident, `refusals` who may.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from rollback.core import events as e
from rollback.core import permitting
from rollback.core.approvals import GO
from rollback.core.effects import CallHuman, Effect, LowerExposure, ProveOff, RaiseExposure, WatchExposure
from rollback.core.events import Event
from rollback.core.flag import BUCKETS
from rollback.core.model import FIRING_KEPT, Incident, NeedsHuman, Severity, State
from rollback.core.refusals import firing_words, refuse
from rollback.core.transitions import FACTS, next_state
from rollback.errors import PolicyRefused

__all__ = ["RAISE_EXPIRES_AFTER", "UNDO_WITHIN", "Decision", "decide", "firing_words"]

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
    refuse(incident, event, now)
    after = replace(incident, severity=severity, state=state, since=incident.since if state is incident.state else now)
    if isinstance(event, e.DriftSeen):
        return _drift(incident.state, after, event, now)
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
                safe_held=event.held,
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
    """A disable makes any case critical; a severity is only ever raised, except by `SeverityLowered`.

    A high case that was lowered from critical has no reduced level that was proven safe: its retreat is off again.
    """
    match event:
        case e.DisableCommanded():
            return Severity.CRITICAL
        case e.HarmSeen() | e.WatchStopped() if incident.severity is Severity.HIGH and incident.safe_held == BUCKETS:
            return Severity.CRITICAL
        case e.SeverityRaised(severity=severity) if severity.rank <= incident.severity.rank:
            raise PolicyRefused(f"The case is {incident.severity} already; {severity} is not above it.")
        case _:
            return incident.severity


def _apply(incident: Incident, event: Event, now: datetime, nonce: str) -> Decision:
    """The facts and effects of an event that is allowed; the state is already the new one."""
    if type(event) in FACTS:
        return _fact(incident, event, now)
    match event:
        case e.DisableCommanded(key=key, epoch=epoch, by=by):
            lowered = _lower(permitting.disabled_by(incident, by), key, epoch, BUCKETS, now)
            if incident.epoch > 0:
                return lowered
            may_undo = replace(lowered.incident, undo_by=by or incident.opened_by, undo_until=now + UNDO_WITHIN)
            return Decision(may_undo, lowered.effects)
        case e.OffWritten() | e.OffUnsettled() | e.OffNotProven() | e.OffProven():
            return _off(incident, event, now)
        case e.ReduceCommanded(key=key, epoch=epoch, held=held):
            return _lower(replace(incident, safe_held=held), key, epoch, held, now)
        case e.ReduceSettled(held=held, audience=audience):
            kept = audience if incident.audience is None else incident.audience
            return Decision(replace(incident, settled_held=held, turned_at=now, turned_clock=None, audience=kept))
        case e.SeverityRaised(severity=severity, held=held):
            return Decision(replace(incident, severity=severity, safe_held=held, watcher=None))
        case e.SeverityLowered(severity=severity):
            safe_held = None if severity is Severity.LOW else incident.safe_held
            return Decision(replace(incident, severity=severity, safe_held=safe_held))
        case e.FixingStarted():
            return Decision(incident)
        case e.StepApproved():
            return Decision(permitting.answered(replace(incident, step_go=True), GO))
        case _:
            return _return(incident, event, now, nonce)


def _off(
    incident: Incident, event: e.OffWritten | e.OffUnsettled | e.OffNotProven | e.OffProven, now: datetime
) -> Decision:
    """What came of a kill."""
    match event:
        case e.OffWritten(audience=audience, was_off=was_off, at=at, clock=clock):
            is_known = was_off and incident.turned_at is not None
            written = replace(
                incident,
                settled_held=BUCKETS,
                turned_at=incident.turned_at if is_known else at or now,
                turned_clock=incident.turned_clock if is_known else clock,
                proven_at=None,
                pending_off_since=None,
                audience=audience if incident.audience is None else incident.audience,
            )
            return Decision(written, (ProveOff(incident.epoch),))
        case e.OffUnsettled(why=why):
            return _called(replace(incident, pending_off_since=incident.pending_off_since or now), why, now)
        case e.OffNotProven(missing=missing):
            return _called(replace(incident, proven_at=None), f"off is not proven: {missing}", now)
        case e.OffProven():
            return Decision(replace(incident, proven_at=now, needs_human=None))
        case _:
            assert_never(event)


def _let_in(incident: Incident) -> Incident:
    """Users have it again: nothing is known any more of an off before."""
    return replace(incident, proven_at=None, turned_at=None, turned_clock=None)


def _return(incident: Incident, event: Event, now: datetime, nonce: str) -> Decision:
    """The events of the way back."""
    match event:
        case e.ReturnStarted():
            return Decision(_begun(incident, event), (WatchExposure(incident.epoch),))
        case e.GatePassed(held=held):
            if incident.severity is Severity.LOW:
                return Decision(incident, (WatchExposure(incident.epoch),))
            permitted = permitting.permitted(incident, event, now)
            return Decision(permitted, (RaiseExposure(incident.epoch, held, now + RAISE_EXPIRES_AFTER),))
        case e.StepRaised(held=held):
            return Decision(replace(_let_in(incident), settled_held=held, step_go=False))
        case e.ReturnedInFull():
            return Decision(replace(_let_in(permitting.unapproved(incident)), settled_held=0, kills=()))
        case e.HarmSeen(why=why):
            refuted = replace(permitting.unapproved(incident), one_step=False)  # whoever called it well was wrong
            return _retreat(_with_human(refuted, f"the feature was harmful on its way back: {why}", now), now, nonce)
        case e.WatchStopped():
            return _retreat(incident, now, nonce)
        case e.EvidenceEnded(why=why):
            stays = incident if incident.state is State.RAMPING else replace(incident, watcher=None)
            return _called(stays, why, now)
        case e.MonitoringEnded():
            return Decision(replace(incident, watcher=None, needs_human=None))
        case e.FalseAlarmDeclared():
            return Decision(replace(incident, one_step=True))
        case e.DisableUndone(watcher=watcher):
            undone = replace(incident, one_step=True, watcher=watcher, undo_by="", undo_until=None)
            return Decision(undone, (RaiseExposure(incident.epoch, 0, now + RAISE_EXPIRES_AFTER),))
        case _:
            raise AssertionError(f"not an event of the way back: {event!r}")  # pragma: no cover - see the table's test


def _begun(incident: Incident, event: e.ReturnStarted) -> Incident:
    """A return begins, or the watch of one that is back in full is taken up again: a force then expires as given."""
    earlier = incident.forced_until if incident.state is State.MONITORING else None
    return replace(
        incident,
        watcher=event.watcher,
        returned_by=incident.returned_by if incident.state is State.MONITORING else event.by.name,
        kills=tuple(dict.fromkeys((*incident.kills, *event.kills))),
        forced_until=event.forced_until or earlier,
        review=(*incident.review, "forced return: review it") if event.forced_until else incident.review,
        attempt=max(1, incident.attempt),
        needs_human=None,
    )


def _fact(incident: Incident, event: Event, now: datetime) -> Decision:
    match event:
        case e.FixDeployed() | e.CodeChanged():
            return Decision(permitting.deployed(incident, event))
        case e.GateMeasured(green=green):
            # Once, when the case opens: a later answer says nothing about whether the gate could see this fault.
            return Decision(replace(incident, gate_blind=green if incident.gate_blind is None else incident.gate_blind))
        case e.BlindGateAccepted(by=by):
            return Decision(replace(incident, blind_accepted_by=by.name))
        case e.KeptOff():
            return Decision(replace(incident, keep_off=True))
        case e.Released(digest=digest):
            return Decision(_released(incident, digest))
        case e.NoteAdded():
            return Decision(incident)
        case e.AlertsAttached(cycles=cycles):
            firing = tuple(dict.fromkeys((*incident.firing, *cycles)))
            unkept = incident.firing_unkept or len(firing) > FIRING_KEPT
            return Decision(replace(incident, firing=firing[:FIRING_KEPT], firing_unkept=unkept))
        case e.AlertsRecovered(cycles=cycles):
            left = tuple(one for one in incident.firing if one not in cycles)
            return Decision(replace(incident, firing=left))
        case e.WatchHandedOver(to=to):
            return _called(replace(incident, watcher=None), f"nobody watches what is exposed; {to} has to", now, to)
        case e.HumanCalled(what=what, role=role):
            return _called(incident, what, now, role)
        case e.ApprovalAsked(role=role, what=what):
            return _called(permitting.asked(incident, event, now), what, now, role)
        case _:
            return Decision(permitting.said(incident, event, now))


def _released(incident: Incident, digest: str) -> Incident:
    """A person has looked: what held the return back is lifted, firing alerts included."""
    return replace(
        incident,
        keep_off=False,
        accepted_digest=digest,
        needs_human=None,
        drift_repairs=0,
        drift_left=False,
        firing=(),
        firing_unkept=False,
    )


def _drift(before: State, incident: Incident, event: e.DriftSeen, now: datetime) -> Decision:
    """A foreign edit is put right once per case; a second one stops automation (invariant 16).

    A return retreats all the same, because what it exposes is never left without a watcher.
    """
    seen = replace(incident, drift_repairs=incident.drift_repairs + 1, watcher=None, settled_held=None, proven_at=None)
    lowered = _lower(seen, event.key, event.epoch, _safe_held(seen), now)
    if incident.drift_repairs == 0:
        return lowered
    stays = lowered if before is State.RAMPING else Decision(replace(seen, drift_left=True))
    called = _called(stays.incident, f"a second foreign edit lets users in: {event.what}", now)
    return Decision(called.incident, (*stays.effects, *called.effects))


def _lower(incident: Incident, key: str, epoch: int, held: int, now: datetime) -> Decision:
    """A kill of its own in front; the case's epoch rises, so that every return begun before it stops.

    An off is pending from here on until it is written, so that a crash in between leaves it to be tried again.
    """
    lowered = replace(
        permitting.unapproved(incident),
        switches_lifted=(),
        epoch=max(epoch, incident.epoch),
        kills=tuple(dict.fromkeys((*incident.kills, key))),
        pending_off_since=incident.pending_off_since or now if held == BUCKETS else incident.pending_off_since,
        undo_by="",
        undo_until=None,
        watcher=None,
        proven_at=None,
        settled_held=None,  # until the store has acknowledged it
        forced_until=None,
        one_step=False,
        drift_left=False,
        safe_held=BUCKETS if held == BUCKETS else incident.safe_held,
    )
    return Decision(lowered, (LowerExposure(key, epoch, held),))


def _safe_held(incident: Incident) -> int:
    """Where a retreat ends: off, or for a high case its reduced level."""
    if incident.state is State.DISABLING or incident.safe_held is None:
        return BUCKETS
    return incident.safe_held


def _retreat(incident: Incident, now: datetime, nonce: str) -> Decision:
    """Down to the last step that was proven safe, when the state says that exposure has to go down."""
    if incident.state not in (State.DISABLING, State.REDUCING):
        return Decision(replace(incident, watcher=None))
    epoch = incident.epoch + 1
    return _lower(incident, f"kill-{epoch}-{nonce}", epoch, _safe_held(incident), now)


def _with_human(incident: Incident, what: str, now: datetime, role: str = "responder") -> Incident:
    if incident.needs_human and incident.needs_human.what == what:
        return incident
    return replace(incident, needs_human=NeedsHuman(what, role, now))


def _called(incident: Incident, what: str, now: datetime, role: str = "responder") -> Decision:
    return Decision(_with_human(incident, what, now, role), (CallHuman(what, role),))
