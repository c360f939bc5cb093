"""What a dead process left behind is settled by the next changing command, which says so (invariants 5, 9, 10, 18).

The state that comes out is never more exposed than the last settled step: a lowering that was meant is done again, a
raise that was meant is not, and an exposure whose watcher died goes down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS
from rollback.core.history import Entry, EntryKind
from rollback.core.model import Incident, Severity, State
from rollback.disable import MISSING, REFUSED, SUPERSEDED
from rollback.errors import FlagMissing, HistoryUnwritable, StoreError
from rollback.identity import is_alive
from rollback.lowering import carry_out, prove
from rollback.raising import view
from rollback.return_watch import ALIVE
from rollback.session import nonce

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.machine import Decision
    from rollback.core.marker import Marker
    from rollback.prover import Prover
    from rollback.session import Session

ASK_AFTER = timedelta(minutes=15)
"""An off that is pending longer than this is not tried again without asking: the world has moved on (invariant 5)."""

WATCHED = (State.VERIFYING, State.RAMPING, State.MONITORING)
"""States in which a process watches."""

FIRST_SIGN_WITHIN = timedelta(minutes=15)
"""How long a watcher may take for its first sign of life in a state: rounds that are minutes apart included."""

_ENDS = ("off_written", "reduce_settled", "intent_settled")

Say = Callable[[str], None]


def settle(
    session: Session,
    controller: Controller,
    prover: Callable[[], Prover],
    say: Say,
    *,
    spare: timedelta = timedelta(0),
) -> None:
    """Brings case and flag to a settled state. Costs a read of the history, and of the flag when something is open.

    Intents younger than `spare` are left alone: whoever settles again and again would meet those of commands that live.
    Raises nothing of the store's: what cannot be settled now is said and stays for the next command.
    """
    session.history.feed()
    controller.reload()
    _Settling(session, controller, prover, say, spare).run()


def unfinished(entries: Iterable[Entry]) -> list[Entry]:
    """Intents to lower exposure that no case knows the end of: their process died in between.

    An intent ends with the transition that its case made of it (`off_written`, `reduce_settled`), with a refusal, when
    it was written down anew, or with what an earlier settling found. The outcome `written` alone is no end: the case
    has not heard of it yet.
    """
    intents: dict[str, Entry] = {}
    for entry in entries:
        if entry.name == "lower_exposure" and entry.kind is EntryKind.INTENT and entry.key:
            intents[entry.key] = entry
        elif entry.name in _ENDS or entry.data.get("result") in (REFUSED, MISSING, SUPERSEDED):
            intents.pop(str(entry.data.get("key") or entry.key), None)
        elif entry.name == "off_unsettled":  # the case itself remembers that it is pending
            intents = {key: intent for key, intent in intents.items() if intent.incident != entry.incident}
    return list(intents.values())


class _Settling:
    """One settling: first the watcher that died, then lowerings that were meant, then what is still pending."""

    def __init__(
        self, session: Session, controller: Controller, prover: Callable[[], Prover], say: Say, spare: timedelta
    ) -> None:
        self.session = session
        self.controller = controller
        self.prover = prover
        self.say = say
        self.spare = spare

    def run(self) -> None:
        incident = self.controller.incident
        if incident is not None and (watch_is_over(incident) or self._is_silent(incident)):
            self._stop_watching(incident)
        now = self.session.clock.now()
        found = unfinished(self.session.history.entries(self.session.feature).entries)
        intents = [intent for intent in found if now - intent.at >= self.spare]
        if found and not intents:
            return
        if intents:
            try:
                marks = view(self.session).marks
            except (StoreError, FlagMissing) as error:
                self.say(f"What an earlier command left open cannot be settled now: {error.message}")
                return
            for intent in intents:
                self._finish(intent, marks)
        self._go_on()

    def _is_silent(self, incident: Incident) -> bool:
        """Whether a watcher on another machine has given no sign of life for too long; False when nobody can tell."""
        if incident.state not in WATCHED or incident.watcher is None or is_alive(incident.watcher) is not None:
            return False
        try:
            signs = self.session.history.facts(self.session.feature, (ALIVE,))
        except HistoryUnwritable:
            return False
        until = incident.since + FIRST_SIGN_WITHIN
        for sign in signs:
            if sign.incident == incident.incident_id:
                until = max(until, sign.at + timedelta(seconds=float(sign.data.get("for", 0.0))))
        return self.session.clock.now() > until

    def _stop_watching(self, incident: Incident) -> None:
        """Whatever it exposed goes down; the table says how far."""
        watcher = incident.watcher
        process = f"the process that watched it (pid {watcher.pid} on {watcher.host})" if watcher else "its watcher"
        is_here = watcher is not None and is_alive(watcher) is False
        why = f"{process} {'died' if is_here else 'gives no sign of life any more'}"
        after = self.controller.handle(e.WatchStopped(why)).incident
        goes_down = after.state in (State.DISABLING, State.REDUCING)
        what = "turning it down again" if goes_down else f"exposure was not raised, and stays as it is ({after.state})"
        self.say(f"{self.session.reference.name}: {why} while it was {incident.state}; {what}.")

    def _finish(self, intent: Entry, marks: tuple[Marker, ...]) -> None:
        """One lowering that was meant: it arrived (then the case learns of it), or it is done again now."""
        key, epoch, held = str(intent.key), intent.epoch, int((intent.after or {}).get("held", BUCKETS))
        arrived = any(mark.key == key for mark in marks)
        if not arrived and any(mark.role == "kill" and mark.epoch > epoch for mark in marks):
            self.controller.fact("intent_settled", data={"key": key, "result": "superseded"})
            return
        age = self.session.clock.now() - intent.at
        if not arrived and age > ASK_AFTER:
            self._ask(key, intent)
            return
        if held == BUCKETS:
            self._enter_case(intent, key)
        incident = self.controller.incident
        if incident is None or (held != BUCKETS and incident.state is not State.REDUCING):
            self.controller.fact("intent_settled", data={"key": key, "result": "its case has moved on"})
            return
        said = "had reached the flag" if arrived else "had not reached the flag, and is done now"
        self.say(f"A lowering by {intent.actor.name} whose process died {said} ({key}).")
        self._lower(LowerExposure(key, epoch, held), intent.reason or "settled after a crash")

    def _enter_case(self, intent: Entry, key: str) -> None:
        """The case and the command, as the process that died would have recorded them."""
        opened = e.CaseOpened(
            str(intent.incident), self.session.feature, Severity.CRITICAL, by=intent.actor.name, reason=intent.reason
        )
        self.controller.open_case(opened, reason=intent.reason)
        if key not in self.controller.require().kills:
            self.controller.handle(e.DisableCommanded(key, intent.epoch, by=intent.actor.name), reason=intent.reason)

    def _ask(self, key: str, intent: Entry) -> None:
        """Too old to repeat: the world has moved on since."""
        self.controller.fact("intent_settled", data={"key": key, "result": "too old to repeat without asking"})
        what = f"an off of {intent.at.isoformat()} never reached the flag store: disable again?"
        if self.controller.incident is not None:
            self.controller.handle(e.HumanCalled(what))
        self.say(f"{what} rollback disable {self.session.feature}")

    def _go_on(self) -> None:
        """What the case's own state says is still to be done."""
        incident = self.controller.incident
        if incident is None:
            return
        if incident.drift_left:
            name = self.session.feature
            self.say(f"A second foreign edit let users in, and is left to people: rollback disable {name}")
            return
        match incident.state:
            case State.TRIGGERED if incident.severity is Severity.LOW:
                self.controller.handle(e.FixingStarted())
            case State.TRIGGERED if incident.severity is Severity.HIGH and incident.safe_held is not None:
                epoch = incident.epoch + 1
                event = e.ReduceCommanded(f"kill-{epoch}-{nonce()}", epoch, incident.safe_held)
                self._carry_out_effects(self.controller.handle(event))
            case State.REDUCING if incident.safe_held is not None:
                self._lower(LowerExposure(incident.kills[-1], incident.epoch, incident.safe_held), incident.reason)
            case State.DISABLING:
                self._go_on_disabling(incident)
            case _:
                pass

    def _go_on_disabling(self, incident: Incident) -> None:
        """Off that is not written yet is written; off that nobody waited to see proven is looked at."""
        pending = incident.pending_off_since
        if pending is not None and self.session.clock.now() - pending > ASK_AFTER:
            what = f"an off is pending since {pending.isoformat()}, and users may be served: disable again?"
            if incident.needs_human is None or incident.needs_human.what != what:
                self.controller.handle(e.HumanCalled(what))
            self.say(f"An off is pending since {pending.isoformat()}: rollback disable {self.session.feature}")
        elif incident.settled_held != BUCKETS:
            self.say("An off is pending; trying it again.")
            self._lower(LowerExposure(incident.kills[-1], incident.epoch, BUCKETS), incident.reason)
        else:
            self._with_prover(lambda prover: prove(self.session, self.controller, prover, self.say, wait=False))

    def _carry_out_effects(self, decision: Decision) -> None:
        for effect in decision.effects:
            if isinstance(effect, LowerExposure):
                self._lower(effect, decision.incident.reason)

    def _lower(self, effect: LowerExposure, why: str) -> None:
        self._with_prover(
            lambda prover: carry_out(
                self.session, self.controller, effect, why, prover=prover, say=self.say, wait=False
            )
        )

    def _with_prover(self, work: Callable[[Prover], object]) -> None:
        prover = self.prover()
        try:
            work(prover)
        finally:
            prover.close()


def watch_is_over(incident: Incident) -> bool:
    """A case that needs a watcher, and whose watcher is known to be dead."""
    return incident.state in WATCHED and incident.watcher is not None and is_alive(incident.watcher) is False
