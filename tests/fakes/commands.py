"""The commands in the order in which the program's own run them, on a session that is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollback.bring_back import Return
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.effects import LowerExposure
from rollback.core.ladder import reduced
from rollback.core.model import Severity, State, Watcher
from rollback.core.policy import SeverityPolicy
from rollback.core.proof import OffProof
from rollback.disable import Kill, new_incident_id, put_kill
from rollback.lowering import carry_out, prove
from rollback.ports import HealthProbe
from rollback.prover import Prover, lacking_words
from rollback.raising import view
from rollback.return_end import Outcome
from rollback.session import Session, nonce
from rollback.settling import settle
from tests.fakes.policies import critical
from tests.fakes.progress import KeptProgress
from tests.fakes.world import World, a_dead_process


@dataclass
class Person:
    """Somebody at a terminal: one session, one controller, and what was said. `probe` None: the world's."""

    world: World
    session: Session
    policy: SeverityPolicy = field(default_factory=critical)
    probe: HealthProbe | None = None
    watcher: Watcher = field(default_factory=a_dead_process)
    progress: KeptProgress = field(default_factory=KeptProgress)
    interrupted: Callable[[], bool] = lambda: False
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = Controller(self.session)

    # -- off --------------------------------------------------------------------------------------------------------

    def disable(self, reason: str = "it is broken", *, timeout: float = 60.0, wait: bool = True) -> OffProof:
        """`rollback disable`; raises what `put_kill` raises, before any case is written."""
        kill = self.kill(reason, timeout=timeout)
        return self.after_kill(kill, wait=wait)

    def kill(self, reason: str = "it is broken", *, timeout: float = 60.0) -> Kill:
        """Its first half: off is written."""
        deadline = self.session.clock.monotonic() + timeout
        return put_kill(self.session, reason=reason, deadline=deadline, on_trouble=self._trouble)

    def after_kill(self, kill: Kill, *, wait: bool = True) -> OffProof:
        """Its second half: case, proof, ledger."""
        self.controller = Controller(self.session)
        target, polarity = kill.target, self.session.reference.polarity
        opened = e.CaseOpened(target.incident_id, self.session.feature, Severity.CRITICAL, by=self.session.actor.name)
        self.controller.open_case(opened)
        self.controller.handle(e.DisableCommanded(kill.key, target.epoch))
        audience = exposures.exposure(kill.audience, polarity).percent
        self.controller.handle(e.OffWritten(kill.key, audience, kill.was_off(polarity), kill.at, kill.clock))
        proof = self._proven(self.world.prover(), kill, wait)
        current = self.controller.reload()
        if current is not None and current.epoch <= target.epoch:
            self.controller.handle(e.OffProven() if proof.proven else e.OffNotProven(lacking_words(proof)[:300]))
        self.session.history.feed()
        return proof

    def _proven(self, prover: Prover, kill: Kill, wait: bool) -> OffProof:
        if not wait:
            return prover.look(self.session.clock.monotonic() + 5.0)[0]
        return prover.prove(kill.turned + self.session.reference.prove_within_seconds, lambda _: None)

    def _trouble(self, error: Exception, left: float) -> None:
        self.progress.say(f"trouble: {error} ({left:g} s left)")

    # -- settling, facts, cases -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """What every changing command does first."""
        settle(self.session, self.controller, self.world.prover, self.progress.say)
        self.controller.reload()

    def note(self, text: str = "noted") -> None:
        """`rollback note`."""
        self.settle()
        if self.controller.incident is not None:
            self.controller.handle(e.NoteAdded(text), data={"text": text})
        else:
            self.controller.fact("note_added", data={"text": text})
        self.session.history.feed()

    def open_low(self) -> None:
        """`rollback open --severity low`."""
        self.settle()
        self.controller.open_case(self._opened(Severity.LOW))
        self.controller.handle(e.FixingStarted())
        self.session.history.feed()

    def open_high(self, percent: float = 10.0) -> None:
        """`rollback open --severity high`."""
        self.settle()
        held = reduced(view(self.session).without_us, self.session.reference.polarity, percent)
        assert held is not None
        self.controller.open_case(self._opened(Severity.HIGH, held))
        epoch = self.controller.require().epoch + 1
        decision = self.controller.handle(e.ReduceCommanded(f"kill-{epoch}-{nonce()}", epoch, held))
        for effect in decision.effects:
            if isinstance(effect, LowerExposure):
                carry_out(self.session, self.controller, effect, "reduce", prover=None, say=self.progress.say)
        self.session.history.feed()

    def adopt(self) -> None:
        """`rollback adopt`."""
        self.settle()
        flag = view(self.session)
        kills = [mark for mark in flag.marks if mark.role == "kill"]
        assert kills
        assert self.controller.incident is None
        first = next(r for r in flag.snapshot.config.rollouts if "rollback:" in r.description)
        held = exposures.threshold_buckets(first.percentage or 0.0)
        keys = tuple(mark.key for mark in kills)
        self.controller.handle(e.Adopted(kills[0].incident, self.session.feature, kills[0].epoch, held, keys))
        prove(self.session, self.controller, self.world.prover(), self.progress.say, wait=flag.now.is_off)
        self.session.history.feed()

    def _opened(self, severity: Severity, held: int | None = None) -> e.CaseOpened:
        by = self.session.actor.name
        return e.CaseOpened(new_incident_id(self.session), self.session.feature, severity, by=by, held=held)

    # -- back -------------------------------------------------------------------------------------------------------

    def enable(self, *, fix: str | None = None, forced_until: datetime | None = None, **options: Any) -> Outcome:
        """`rollback enable`; `options` are the return's own (`until_full`, `cohort`)."""
        self.settle()
        if self.controller.incident is None:
            return Outcome(0, State.NORMAL, "nothing to do")
        return self.bring_back(fix=fix, forced_until=forced_until, **options)

    def bring_back(self, *, fix: str | None = None, forced_until: datetime | None = None, **options: Any) -> Outcome:
        """What `enable` does once everything is settled."""
        since = self.controller.require().epoch
        if fix:
            self.controller.handle(e.FixDeployed(fix), strict=True)
        if self.controller.require().state is State.DISABLING:
            prove(self.session, self.controller, self.world.prover(), self.progress.say, wait=True)
        returning = self.returning(since_epoch=since, **options)
        outcome = returning.run(forced_until=forced_until, watcher=self.watcher)
        self.session.history.feed()
        return outcome

    def approve(self, *, role: str = "approver", valid_for: timedelta = timedelta(hours=1)) -> None:
        """`rollback approve`, for the flag and the fix as they are now."""
        self.controller.reload()
        incident = self.controller.require()
        until = self.session.clock.now() + valid_for
        digest = view(self.session).digest
        given = e.ApprovalGiven(self.session.actor, role, incident.fix, digest, incident.epoch, until)
        self.controller.handle(given)

    def say(self, event: e.Event) -> None:
        """Another word of a person, e.g. `rollback approve --step`."""
        self.controller.handle(event)

    def returning(self, **options: Any) -> Return:
        """The return itself, not begun."""
        return Return(
            session=self.session,
            controller=self.controller,
            policy=self.policy,
            probe=self.probe or self.world.probe,
            progress=self.progress,
            interrupted=self.interrupted,
            lower=self.lower,
            reason="fixed",
            **options,
        )

    def lower(self, effect: LowerExposure, why: str) -> bool:
        """A retreat."""
        say, prover = self.progress.say, self.world.prover()
        return carry_out(self.session, self.controller, effect, why, prover=prover, say=say)


def person(world: World, **fields: Any) -> Person:
    """Somebody in a new process."""
    return Person(world, fields.pop("session", None) or world.session(), **fields)
