"""What a dead process left behind is settled by the next changing command, which says so (invariants 5, 9, 10, 18).

The state that comes out is never more exposed than the last settled step: a lowering that was meant is done again, a
raise that was meant is not, and an exposure whose watcher died goes down.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS
from rollback.core.history import Entry, EntryKind
from rollback.core.model import Incident, Severity, State
from rollback.errors import FlagMissing, StoreError
from rollback.identity import is_alive
from rollback.lowering import carry_out, prove
from rollback.raising import view

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.marker import Marker
    from rollback.prover import Prover
    from rollback.session import Session

ASK_AFTER = timedelta(minutes=15)
"""An off that is pending longer than this is not tried again without asking: the world has moved on (invariant 5)."""

Say = Callable[[str], None]


def settle(session: Session, controller: Controller, prover: Callable[[], Prover], say: Say) -> None:
    """Brings case and flag to a settled state. Costs a read of the history, and of the flag when something is open.

    Raises nothing of the store's: what cannot be settled now is said and stays for the next command.
    """
    session.history.feed()
    controller.reload()
    dangling = _dangling(session)
    incident = controller.incident
    if incident is None and not dangling:
        return
    if incident is not None and _watch_is_over(incident):
        _retreat(session, controller, prover, say)
        return
    if not dangling and (incident is None or incident.pending_off_since is None):
        if incident is not None and incident.state is State.DISABLING:
            prove(session, controller, prover(), say, wait=False)  # the one who disabled did not wait for it
        return
    try:
        marks = view(session).marks
    except (StoreError, FlagMissing) as error:
        say(f"What an earlier command left open cannot be settled now: {error.message}")
        return
    for intent in dangling:
        _settle_intent(session, controller, intent, marks, prover, say)
    _retry_pending(session, controller, marks, prover, say)


def _dangling(session: Session) -> list[Entry]:
    """Intents to lower exposure of which nothing more was heard: their process died in between."""
    intents: dict[str, Entry] = {}
    for entry in session.history.entries(session.feature).entries:
        if entry.name == "lower_exposure" and entry.key:
            if entry.kind is EntryKind.INTENT:
                intents[entry.key] = entry
            else:
                intents.pop(entry.key, None)
        elif entry.name in ("off_written", "reduce_settled", "intent_settled"):
            for key in (entry.key, entry.data.get("key")):
                intents.pop(str(key), None)
    return list(intents.values())


def _watch_is_over(incident: Incident) -> bool:
    """A case that needs a watcher, and whose watcher is known to be dead."""
    watched = incident.state in (State.VERIFYING, State.RAMPING, State.MONITORING)
    return watched and incident.watcher is not None and is_alive(incident.watcher) is False


def _retreat(session: Session, controller: Controller, prover: Callable[[], Prover], say: Say) -> None:
    incident = controller.require()
    why = f"the process that watched it (pid {incident.watcher.pid if incident.watcher else '?'}) died"
    decision = controller.handle(e.WatchStopped(why))
    lowered = [effect for effect in decision.effects if isinstance(effect, LowerExposure)]
    if not lowered:
        say(
            f"{session.reference.name}: {why}; exposure was not raised, and stays as it is ({decision.incident.state})."
        )
        return
    say(f"{session.reference.name}: {why} while it was {incident.state}; turning it down again.")
    for effect in lowered:
        carry_out(session, controller, effect, why, prover=prover(), say=say, wait=False)


def _settle_intent(
    session: Session,
    controller: Controller,
    intent: Entry,
    marks: tuple[Marker, ...],
    prover: Callable[[], Prover],
    say: Say,
) -> None:
    """One lowering that was meant: it arrived (then the case learns of it), or it is done again now."""
    held = int((intent.after or {}).get("held", BUCKETS))
    key, epoch = str(intent.key), intent.epoch
    arrived = any(mark.key == key for mark in marks)
    superseded = any(mark.role == "kill" and mark.epoch > epoch for mark in marks)
    opened = e.CaseOpened(str(intent.incident), session.feature, Severity.CRITICAL, by=intent.actor.name)
    if held == BUCKETS and controller.incident is None:
        controller.open_case(opened, reason=intent.reason)
    incident = controller.incident
    if incident is None or (superseded and not arrived):
        controller.fact("intent_settled", data={"key": key, "result": "superseded"})
        return
    age = session.clock.now() - intent.at
    if not arrived and age > ASK_AFTER:
        controller.fact("intent_settled", data={"key": key, "result": "too old to repeat without asking"})
        controller.handle(
            e.HumanCalled(f"an off of {intent.at.isoformat()} never reached the flag store: disable again?")
        )
        say(f"An off of {age} ago never reached the flag store. Still wanted? rollback disable {session.feature}")
        return
    if held == BUCKETS and key not in incident.kills:
        controller.handle(e.DisableCommanded(key, epoch), reason=intent.reason)
    effect = LowerExposure(key, epoch, held)
    said = "had reached the flag" if arrived else "had not reached the flag, and is done now"
    say(f"A lowering of {intent.actor.name} whose process died {said} ({key}).")
    carry_out(
        session, controller, effect, intent.reason or "settled after a crash", prover=prover(), say=say, wait=False
    )


def _retry_pending(
    session: Session,
    controller: Controller,
    marks: tuple[Marker, ...],
    prover: Callable[[], Prover],
    say: Say,
) -> None:
    """An off that is still pending is tried again while it is young."""
    incident = controller.incident
    if incident is None or incident.pending_off_since is None:
        return
    if session.clock.now() - incident.pending_off_since > ASK_AFTER:
        say(f"An off is pending since {incident.pending_off_since.isoformat()}: rollback disable {session.feature}")
        return
    if any(mark.role == "kill" and mark.epoch >= incident.epoch for mark in marks):
        controller.handle(e.OffWritten(marks[0].key, None))
        prove(session, controller, prover(), say, wait=False)
        return
    say("An off is pending; trying it again.")
    key = incident.kills[-1] if incident.kills else f"kill-{incident.epoch}-retry"
    carry_out(
        session,
        controller,
        LowerExposure(key, incident.epoch, BUCKETS),
        incident.reason,
        prover=prover(),
        say=say,
        wait=False,
    )
