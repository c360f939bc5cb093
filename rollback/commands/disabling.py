"""What `rollback disable` does, in order: world, kill, case, proof, ledger, and what to type next. Kill path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollback import bootstrap
from rollback.disable import Kill, open_case, put_kill, target_for
from rollback.errors import FlagMissing, StoreError
from rollback.output import Output
from rollback.session import Session
from rollback.words import span, when, world_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rollback.controller import Controller
    from rollback.core.history import Actor
    from rollback.core.proof import OffProof
    from rollback.ports import ClientView
    from rollback.prover import Prover

NOT_PROVEN = 5


@dataclass(frozen=True, slots=True)
class Request:
    """The command's words."""

    feature: str | None
    flag: str | None
    reason: str
    no_wait: bool
    timeout: float
    actor: str | Actor | None
    dry_run: bool = False


@dataclass(slots=True)
class _Trouble:
    """Says once what can be done by hand, then counts down."""

    session: Session
    output: Output
    steps: list[str] = field(default_factory=list)
    first: str = ""

    def __call__(self, error: Exception, left: float) -> None:
        if not self.steps:
            self.first = getattr(error, "message", str(error))
            self.output.warn(self.first)
            self.say_steps("By hand, meanwhile:")
        self.output.live(f"The flag store does not answer; trying for another {span(left)} (Ctrl-C stops the trying)")

    def say_steps(self, title: str) -> None:
        """The manual steps for this very feature, numbered, once."""
        if self.steps:
            return
        self.steps = bootstrap.manual_steps(self.session)
        self.output.line(title, bold=True)
        for number, step in enumerate(self.steps, 1):
            first, *rest = step.splitlines()
            self.output.line(f"{number}. {first}")
            for line in rest:
                self.output.line(f"   {line}")


def run(request: Request, output: Output) -> int:
    """Runs the command; returns its exit code."""
    session = bootstrap.open_session(request.feature, request.flag, request.actor, output.warn)
    output.line(world_line(session.world))
    if request.dry_run:
        return _dry_run(session, output)
    try:
        return turn_off(session, request, output)
    finally:
        session.store.close()


def turn_off(
    session: Session, request: Request, output: Output, entered: Callable[[Kill], None] = lambda _kill: None
) -> int:
    """Kill, case, proof, ledger, on a session that is given; returns the exit code.

    `entered` is called once the kill is written and its case knows it, before the proof: whoever waits for off alone
    need not wait for that. It must not raise.
    """
    engines = bootstrap.engines(session)
    try:
        return _turn_off(session, request, output, entered, engines)
    finally:  # whatever happened: an engine is a process
        for engine in engines:
            engine.close()


def _turn_off(
    session: Session,
    request: Request,
    output: Output,
    entered: Callable[[Kill], None],
    engines: Sequence[ClientView],
) -> int:
    def start_engines() -> None:
        """Its slow start overlaps with the write, and not with the imports before it, which would wait for the CPU."""
        for engine in engines:
            engine.prepare()

    trouble = _Trouble(session, output)
    bootstrap.waiting.tell = lambda left, error: trouble(error, left)
    deadline = session.clock.monotonic() + request.timeout
    try:
        kill = put_kill(
            session, reason=request.reason, deadline=deadline, on_trouble=trouble, before_write=start_engines
        )
    except FlagMissing as error:
        return _missing(session, output, error)
    except StoreError as error:
        return _pending(session, output, error, trouble)
    except KeyboardInterrupt:
        return _pending(session, output, _stopped_by_hand(), trouble)
    _say_written(output, session, kill)
    return _Aftermath(session, output, request, kill, entered).run(bootstrap.prover(session, engines))


def _say_written(output: Output, session: Session, kill: Kill) -> None:
    output.line(f"{session.reference.name}: off was written and acknowledged at {when(kill.at)}; proving it now.")


def _dry_run(session: Session, output: Output) -> int:
    """Reads the flag and says what would become of it."""
    from rollback.core.exposure import exposure, kill
    from rollback.core.marker import Marker

    snapshot = session.store.read(session.reference.ref, deadline=session.clock.monotonic() + 10)
    target = target_for(session, snapshot.config, open_case(session))
    marker = Marker(target.incident_id, f"kill-{target.epoch}-dry", session.actor.name)
    now = exposure(snapshot.config, session.reference.polarity)
    after = exposure(kill(snapshot.config, session.reference.polarity, marker), session.reference.polarity)
    output.line(
        f"Now {_percent(now.percent)} of the 100 buckets are open: {'; '.join(now.why) or now.unknown or 'none'}."
    )
    output.line(f"A kill in front would leave {_percent(after.percent)}. Nothing was written (--dry-run).")
    if output.as_json:
        output.document(
            {
                "dry_run": True,
                "feature": session.feature,
                "world": session.world,
                "exposure": now.percent,
                "exposure_after": after.percent,
                "incident": target.incident_id if target.attached else None,
                "exit": 0,
            }
        )
    return 0


def _percent(value: int | None) -> str:
    return "an unknown number" if value is None else str(value)


def _missing(session: Session, output: Output, error: FlagMissing) -> int:
    """A flag that is not there is never off: the application's own default decides."""
    if output.as_json:
        told = {"code": error.code, "message": error.message, "next": error.next}
        output.document(
            {"error": told, "exit": error.exit_code, "exposure": None, "off_proven": False, "world": session.world}
        )
        return error.exit_code
    output.line("Exposure: unknown. A missing flag is not off: the application's own default decides.", fg="red")
    raise error


def _stopped_by_hand() -> StoreError:
    from rollback.errors import StoreUnreachable

    return StoreUnreachable("Stopped by hand before the flag store answered; nothing was acknowledged.")


def _pending(session: Session, output: Output, error: StoreError, trouble: _Trouble) -> int:
    """Not off, or not known to be: the case says so, the manual steps are there, and nothing is claimed."""
    from rollback.controller import Controller
    from rollback.core import events as e

    controller = Controller(session)
    incident_id, key, epoch = _intended(session)
    _enter_case(controller, session, incident_id, key, epoch)
    if error.exit_code != NOT_PROVEN:  # the first failure tells most, unless a write is on its way: that goes first
        error = type(error)(trouble.first or error.message, next=error.next)
    controller.handle(e.OffUnsettled(error.message[:300]))
    session.history.feed()
    trouble.say_steps("By hand, now:")
    certain = "it is not known whether it arrived" if error.exit_code == NOT_PROVEN else "certainly nothing changed"
    if output.as_json:
        told = {"code": error.code, "message": error.message, "next": error.next, "manual_steps": trouble.steps}
        output.document(
            {"error": told, "exit": error.exit_code, "exposure": None, "off_proven": False, "world": session.world}
        )
        return error.exit_code
    output.line(
        f"NOT OFF as far as anybody knows ({certain}). The off stays pending: rollback disable {session.feature}"
    )
    raise error


def _intended(session: Session) -> tuple[str, str, int]:
    """Case, key and epoch of the kill that was meant, as its intent says; made up when no intent could be kept."""
    from rollback.core.history import EntryKind

    for entry in reversed(session.history.recent(session.feature)):
        if entry.kind is EntryKind.INTENT and entry.incident and entry.key:
            return entry.incident, entry.key, entry.epoch
    target = target_for(session, None, open_case(session))
    return target.incident_id, f"kill-{target.epoch}-pending", target.epoch


def _enter_case(controller: Controller, session: Session, incident_id: str, key: str, epoch: int) -> None:
    """Opens the case or attaches to the open one, and records the command."""
    from rollback.core import events as e
    from rollback.core.model import Severity
    from rollback.errors import PolicyRefused

    opened = e.CaseOpened(
        incident_id,
        session.feature,
        Severity.CRITICAL,
        by=session.actor.name,
        policy_hash=bootstrap.policy_digest(session),
    )
    try:
        controller.open_case(opened)
    except PolicyRefused:  # another process opened one between two looks at the journal: then this one attaches
        controller.reload()
    controller.handle(e.DisableCommanded(key, epoch, by=session.actor.name))


class _Aftermath:
    """All that follows the write: the case, the proof, the ledger. None of it can undo or delay the off."""

    def __init__(
        self, session: Session, output: Output, request: Request, kill: Kill, entered: Callable[[Kill], None]
    ) -> None:
        from rollback.controller import Controller

        self.session = session
        self.output = output
        self.request = request
        self.kill = kill
        self.entered = entered
        self.controller = Controller(session)
        self._told = False
        self._stop = False
        self._hopeless: tuple[str | None, ...] = ()

    def run(self, prover: Prover) -> int:
        """Records, proves, feeds the ledger, and says what is true."""
        from rollback.core import events as e
        from rollback.core.exposure import exposure
        from rollback.measuring import start_measuring

        audience = exposure(self.kill.audience, self.session.reference.polarity).percent
        _enter_case(self.controller, self.session, self.kill.target.incident_id, self.kill.key, self.kill.target.epoch)
        self.controller.handle(
            e.OffWritten(
                self.kill.key,
                audience,
                self.kill.was_off(self.session.reference.polarity),
                self.kill.at,
                self.kill.clock,
            )
        )
        self.entered(self.kill)
        unmeasured = self.controller.require().gate_blind is None
        measuring = start_measuring(self.session) if unmeasured else None
        try:
            proof = self._prove(prover)
            return self._conclude(proof, measuring)
        finally:
            prover.close()

    @property
    def _is_attached(self) -> bool:
        """True when the case was open already; it may have been opened after this kill was aimed."""
        incident, aimed = self.controller.incident, self.kill.target
        return aimed.attached or (incident is not None and incident.incident_id != aimed.incident_id)

    def _prove(self, prover: Prover) -> OffProof:
        until = self.kill.turned + self.session.reference.prove_within_seconds
        self._hopeless = (prover.file_only, prover.readers_unknown)  # no waiting changes these
        if self.request.no_wait:
            proof, _ = prover.look(self.session.clock.monotonic() + 5.0)
            self._on_look(proof)
            return proof
        try:
            return prover.prove(until, self._on_look, lambda: self._stop)
        except KeyboardInterrupt:
            self.output.line(
                "Ctrl-C: the waiting stops here. The flag stays off; the proof is not complete.", fg="yellow"
            )
            proof, _ = prover.look(self.session.clock.monotonic() + 2.0)
            return proof

    def _on_look(self, proof: OffProof) -> None:
        """The first look is told in full; later ones move the countdown."""
        from rollback.prover import waiting_words

        if not self._told:
            self._told = True
            self._tell(proof)
            self.session.history.feed()
        self._stop = bool(proof.lacking) and all(part.detail in self._hopeless for part in proof.lacking)
        if not proof.proven and not self._stop:
            self.output.live(f"waiting: {waiting_words(proof)}")

    def _tell(self, proof: OffProof) -> None:
        from rollback.prover import lacking_words, off_on_servers

        session, output, incident = self.session, self.output, self.controller.require()
        at = when(incident.turned_at or self.kill.at)
        if off_on_servers(proof):
            output.line(f"{session.reference.name} is OFF on the server since {at}, proven.", fg="green", bold=True)
        else:
            output.line(f"Off was written at {at}, but is NOT PROVEN: {lacking_words(proof)}.", fg="yellow", bold=True)
        poll = session.reference.poll_interval_seconds
        if poll:
            from datetime import timedelta

            by = (incident.turned_at or self.kill.at) + timedelta(seconds=poll + session.reference.replica_lag_seconds)
            output.line(f"Clients that poll follow by {when(by)}, assumed by time.")
        for surface in session.reference.not_covered:
            output.line(f"Not covered: {surface.name} ({surface.because}).")
        attached = " (attached to the open case)" if self._is_attached else ""
        output.line(
            f"Case {incident.incident_id}: {incident.severity}, {incident.state}{attached}, by {session.actor.name}."
        )
        name = session.feature
        output.line(f"Next: rollback status {name} · rollback fix {name} COMMIT · rollback enable {name} --reason R")
        if not self.request.reason:
            output.line(f'Say why, when there is time: rollback note {name} "reason: …"')

    def _conclude(self, proof: OffProof, measuring: Callable[[], bool | None] | None) -> int:
        from rollback import status
        from rollback.core import events as e
        from rollback.core.exposure import exposure
        from rollback.core.model import State
        from rollback.prover import lacking_words

        current = self.controller.reload()
        overtaken = current is None or current.epoch > self.kill.target.epoch
        if not overtaken and current is not None and current.state in (State.DISABLING, State.DISABLED):
            event = e.OffProven() if proof.proven else e.OffNotProven(lacking_words(proof)[:300])
            self.controller.handle(event, data={"off_basis": proof.to_json()})
            if measuring is not None:
                self.controller.handle(e.GateMeasured(measuring()))
        self.session.history.feed()
        code = 0 if proof.proven else NOT_PROVEN
        if proof.proven:
            self.output.line(f"Proven for every kind of client at {when(self.session.clock.now())}.", fg="green")
        else:
            self.output.line(f"Exit {code}: off, but not proven in full: {lacking_words(proof)}.", fg="yellow")
        if self.output.as_json:
            seen = exposure(self.kill.after.config, self.session.reference.polarity)
            told = status.document(self.session.reference, self.session.world, self.controller.incident, seen, proof)
            self.output.document({**told, "attached": self._is_attached, "kill": self.kill.key, "exit": code})
        return code
