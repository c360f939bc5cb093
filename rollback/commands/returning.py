"""What `enable`, `ci`, `undo`, `false-alarm` and `close` do: settle, check, then the return itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback import bootstrap, status
from rollback.bring_back import Return
from rollback.commands import return_plan
from rollback.commands.progress import ReturnProgress
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.history import Actor
from rollback.core.machine import decide
from rollback.core.model import Severity, State
from rollback.core.scalars import format_duration, parse_duration
from rollback.errors import ConfigurationError, NotHealthy, PolicyRefused, RollbackError, Unproven
from rollback.flapping import check_budget
from rollback.identity import actor, is_alive, this_process
from rollback.lowering import carry_out, prove
from rollback.output import Output
from rollback.prover import Prover, lacking_words
from rollback.raising import FlagView, audience_grown, view
from rollback.redaction import redact
from rollback.return_end import Outcome
from rollback.serve_presence import serving
from rollback.session import Session
from rollback.settling import WATCHED, settle
from rollback.switch_bootstrap import switch_sights
from rollback.words import when, world_line

if TYPE_CHECKING:
    from rollback.adapters.health_probes.combined import CombinedHealthProbe


@dataclass(frozen=True, slots=True)
class Request:
    """The command's words. `plain` writes lines without a live display; `pipeline`: a job of CI asks, and no person."""

    feature: str
    reason: str
    fix: str | None = None
    until_full: bool = False
    force: bool = False
    force_for: str | None = None
    accept_blind: bool = False
    actor: str | Actor | None = None
    dry_run: bool = False
    plain: bool = False
    pipeline: bool = False
    false_alarm: bool = False
    undo: bool = False
    low_only: bool = False


def run(
    request: Request,
    output: Output,
    listen: Callable[[], Callable[[], bool]],
    *,
    hand_over: Callable[[], bool] | None = None,
) -> int:
    """Runs the command; returns its exit code.

    `listen` is called when the return begins; what it gives tells whether somebody wants it to end: then it retreats,
    or, once back in full, leaves the watch to `serve` if `hand_over` (None: a look beside the journal) says it lives.
    """
    fix = redact(request.fix, max_length=80) if request.fix else None
    request = replace(request, reason=redact(request.reason), fix=fix)
    progress = ReturnProgress(output, plain=request.plain)
    asks = request.actor
    if request.pipeline and asks is None:
        asks = Actor(actor(None).name, authenticated="ci")
    session = bootstrap.open_session(request.feature, None, asks, output.warn)
    bootstrap.waiting.tell = output.waiting
    output.line(world_line(session.world))
    controller = Controller(session)
    if request.dry_run:
        return _dry_run(session, controller, output)
    settle(session, controller, lambda: bootstrap.prover(session), progress.say)
    if controller.reload() is None:
        return _nothing_open(session, output)
    return _Run(request, output, progress, session, controller, listen(), hand_over or _serve_lives(session)).go()


def _serve_lives(session: Session) -> Callable[[], bool]:
    return lambda: serving(session.settings.journal) is not None


def _nothing_open(session: Session, output: Output) -> int:
    """No case here: nothing to do, unless another machine left one on the flag."""
    flag = view(session)
    if flag.marks:
        raise PolicyRefused(
            f"The flag carries case {flag.marks[0].incident} of another machine (by {flag.marks[0].actor or '?'}).",
            next=f"Take it over first: rollback adopt {session.feature}",
        )
    output.line("Nothing to do: there is no open case, and nothing of ours is on the flag.")
    if output.as_json:
        output.document(
            {
                **status.document(session.reference, session.world, None, flag.now, None),
                "exit": 0,
                "outcome": "nothing to do",
            }
        )
    return 0


def _dry_run(session: Session, controller: Controller, output: Output) -> int:
    """What the return would do, writing nothing anywhere."""
    incident = controller.incident
    if incident is None:
        return _nothing_open(session, output)
    return_plan.show(session, incident, output)
    return 0


class _Run:
    """One return, from its checks to its last word."""

    def __init__(
        self,
        request: Request,
        output: Output,
        progress: ReturnProgress,
        session: Session,
        controller: Controller,
        interrupted: Callable[[], bool],
        hand_over: Callable[[], bool],
    ) -> None:
        self.request = request
        self.output = output
        self.progress = progress
        self.session = session
        self.controller = controller
        self.feature, self.policy = bootstrap.policies(session, controller.require().severity)
        self.interrupted = interrupted
        self.hand_over = hand_over
        self._returning: Return | None = None

    def go(self) -> int:
        """Checks, declares, climbs, and tells how it ended."""
        if self.request.fix:
            deployed = e.FixDeployed(self.request.fix, by=self.session.actor.name)
            self.controller.handle(deployed, reason=self.request.reason, strict=True)
        if self.request.low_only and self.controller.require().severity is not Severity.LOW:
            raise PolicyRefused(
                "Only a low-severity case is closed like this; a feature that is off or reduced comes back first.",
                next=f"rollback enable {self.session.feature} --reason R",
            )
        flag = view(self.session)
        self._check_audience(flag)
        if self.request.undo:
            return self._undo()
        self._check_not_watched()
        if self.controller.require().state is not State.MONITORING:
            check_budget(self.session, self.policy)
        probe = self._probe(flag.open_to_all)
        try:
            self._check_can_be_asked(probe.metrics, probe.unknown)
            self._finish_disabling()
            self._declare()
            forced = self._forced_until()
            outcome = self._return(probe).run(forced_until=forced, watcher=this_process())
        finally:
            probe.close()
        return self._tell(outcome)

    # -- checks -----------------------------------------------------------------------------------------------------

    def _check_audience(self, flag: FlagView) -> None:
        """A larger audience than before the incident is a person's decision (invariant 11)."""
        if grown := audience_grown(self.controller.require(), flag):
            raise PolicyRefused(
                grown, next=f"Accept that: rollback release {self.session.feature} --reason R; then enable again."
            )

    def _check_can_be_asked(self, metrics: Sequence[str], unknown: Mapping[str, str]) -> None:
        """Every metric must pass, so one that is never asked would only be waited for until the deadline."""
        if self.request.force or self.controller.require().state is State.MONITORING:
            return
        silent = [f"{name} is never asked, {unknown[name]}" for name in metrics if name in unknown]
        if silent or not metrics:
            raise NotHealthy(
                f"There would be no evidence: {'; '.join(silent) or 'the policy names no endpoint'}.",
                next=f"Check the probes: rollback doctor {self.session.feature}",
            )

    def _check_not_watched(self) -> None:
        incident = self.controller.require()
        if incident.watcher is None or incident.state not in WATCHED:
            return
        if is_alive(incident.watcher) is not False:
            raise PolicyRefused(
                f"Process {incident.watcher.pid} on {incident.watcher.host} brings it back already ({incident.state}).",
                next=f"Watch it: rollback status {self.session.feature}",
            )

    def _finish_disabling(self) -> None:
        """A case that is still `disabling` is proven off first: no return starts from an off that nobody has seen."""
        if self.controller.require().state is not State.DISABLING:
            return
        self.progress.say("Off was not proven yet; proving it first.")
        prover = bootstrap.prover(self.session)
        try:
            proof = prove(self.session, self.controller, prover, self.progress.say, wait=True)
        finally:
            prover.close()
        if not proof.proven:
            raise Unproven(
                f"Off is not proven, so no return starts: {lacking_words(proof)}.", next=self._how_to_prove(prover)
            )

    def _how_to_prove(self, prover: Prover) -> str:
        """What a person can do about an off that no waiting proves."""
        if prover.file_only is not None:
            return "Name a Flipt that serves the file: ROLLBACK_FLIPT_URL=file:PATH,https://…; then enable again."
        if prover.readers_unknown is not None:
            return "Say in the feature's policy who reads the flag (clients); then enable again."
        return f"rollback status {self.session.feature}"

    def _declare(self) -> None:
        """What a person declares about the case before the return."""
        actor, request = self.session.actor, self.request
        if request.accept_blind:
            self.controller.handle(e.BlindGateAccepted(actor), reason=request.reason, strict=True)
        if request.false_alarm:
            self.controller.handle(e.FalseAlarmDeclared(actor), reason=request.reason, strict=True)

    def _forced_until(self) -> datetime | None:
        """When a forced return expires; None when it is not forced."""
        if not self.request.force:
            if self.request.force_for:
                raise ConfigurationError("--for says how long a forced return lasts; it needs --force.")
            return None
        rule = self.policy.force
        length = _duration(self.request.force_for) if self.request.force_for else rule.default
        if length > rule.maximum:
            raise PolicyRefused(
                f"A forced return lasts at most {format_duration(rule.maximum)}, not {format_duration(length)}.",
                next=f"Ask for less: --for {format_duration(rule.maximum)}",
            )
        until = self.session.clock.now() + length
        self.progress.say(
            f"FORCED: the gate is skipped, the monitor is not; it expires at {when(until)}, and is reviewed."
        )
        return until

    # -- the return -------------------------------------------------------------------------------------------------

    def _probe(self, open_now: int) -> CombinedHealthProbe:
        """What is asked, by how far the flag is open (until the return knows better) and the case's fix."""

        def exposed() -> float:
            return float(self._returning.exposed if self._returning is not None else open_now)

        def expects() -> str:
            incident = self.controller.incident
            return incident.fix if incident is not None else ""

        return bootstrap.probe(self.session, self.feature, exposed=exposed, expects=expects)

    def _return(self, probe: CombinedHealthProbe) -> Return:
        cohort = self.feature.cohort.segments if self.feature.cohort and self.policy.use_cohort else ()
        self._returning = returning = Return(
            session=self.session,
            controller=self.controller,
            policy=self.policy,
            probe=probe,
            progress=self.progress,
            interrupted=self.interrupted,
            hand_over=self.hand_over,
            lower=self._lower,
            reason=self.request.reason,
            until_full=self.request.until_full,
            cohort=tuple(cohort),
            policy_digest=self._policy_digest(),
            switches=switch_sights(self.session, self.policy),
        )
        return returning

    def _policy_digest(self) -> str:
        """The policy as it is now; when it is not the one that the case pinned, evidence starts from nothing."""
        now, pinned = bootstrap.policy_digest(self.session), self.controller.require().policy_hash
        if pinned and now != pinned:
            self.progress.say("The policy has changed since the case was opened: earlier evidence does not count.")
        return now

    def _lower(self, effect: LowerExposure, why: str) -> bool:
        """A retreat: down first, then the proof. A second signal stops the waiting, not the lowering."""
        prover = bootstrap.prover(self.session)
        try:
            return carry_out(
                self.session,
                self.controller,
                effect,
                why,
                prover=prover,
                say=self.progress.say,
                wait=not self.interrupted(),
            )
        finally:
            prover.close()

    def _undo(self) -> int:
        """Back in one step, then watched; only for the one who disabled it a moment ago."""
        from rollback.raising import raise_to

        actor = self.session.actor
        incident = self.controller.require()
        event = e.DisableUndone(actor, this_process())
        decide(incident, event, now=self.session.clock.now(), nonce="")  # refused before anything is recorded
        self.controller.handle(event, reason=self.request.reason, strict=True)
        raise_to(self.session, self.controller.require(), 0)
        self.controller.handle(e.ReturnedInFull())
        self.progress.say("Taken back: the flag is as it would be without us. It is watched now.")
        probe = self._probe(view(self.session).open_to_all)
        try:
            outcome = self._return(probe).run(forced_until=None, watcher=this_process())
        finally:
            probe.close()
        return self._tell(outcome)

    def _tell(self, outcome: Outcome) -> int:
        """The last word, and the document of `--json`."""
        self.session.history.feed()
        colour = "green" if outcome.exit_code == 0 else "red"
        self.output.line(outcome.message, fg=colour, bold=True)
        if outcome.next:
            self.output.line(f"Next: {outcome.next}")
        if self.output.as_json:
            self.output.document(self._document(outcome))
        return outcome.exit_code

    def _document(self, outcome: Outcome) -> dict[str, Any]:
        try:
            flag: FlagView | None = view(self.session)
        except RollbackError:
            flag = None
        told = status.document(
            self.session.reference,
            self.session.world,
            self.controller.reload(),
            flag.now if flag else None,
            None,
            marks=flag.marks if flag else (),
        )
        told["state"] = outcome.state.value
        return {**told, "outcome": outcome.message, "exit": outcome.exit_code}


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--for {text}: {error}", next="Write 30m or 2h.") from error
