"""The way back: gate → ladder → monitoring, in one living process that watches all it exposes (invariant 9).

Every raise needs the evidence of the stage below it, its soak done, what the policy wants of people, and a fresh read
of the flag. Harm, a signal or a newer disable ends it: down to where it was proven safe, or out of the way of the one
who disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rollback import raising
from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS
from rollback.core.ladder import COHORT, Rung, needs_a_go, plan
from rollback.core.machine import Decision, firing_words
from rollback.core.model import Incident, Severity, State, Watcher
from rollback.errors import PolicyRefused, RollbackError
from rollback.raising import FlagEdited, FlagView, Overtaken, view
from rollback.return_comparison import Comparing
from rollback.return_end import Outcome, Restart, Stop
from rollback.return_gate import ReturnGate, Stand
from rollback.return_holds import Holds, SwitchSight
from rollback.return_monitor import ReturnMonitor
from rollback.return_watch import ReturnWatch

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.policy import SeverityPolicy
    from rollback.output import Progress
    from rollback.ports import HealthProbe
    from rollback.session import Session


class HeldBack(Exception):
    """Between the gate and the write somebody took an approval back, or a freeze began: the gate waits again."""


@dataclass(slots=True)
class Return:
    """One run of `rollback enable`. `interrupted` says whether a signal came; `lower` puts a kill for a retreat.

    `since_epoch` is the case's epoch when the command began: whoever disables while it waits for a proof wins as well.
    `hand_over` says whether `serve` will take the watch of what is back in full: then an interruption need not retreat.
    `switches` are those beside the flag that the policy names.
    """

    session: Session
    controller: Controller
    policy: SeverityPolicy
    probe: HealthProbe
    progress: Progress
    interrupted: Callable[[], bool]
    lower: Callable[[LowerExposure, str], bool]
    reason: str
    until_full: bool = False
    cohort: tuple[str, ...] = ()
    policy_digest: str = ""
    since_epoch: int | None = None
    hand_over: Callable[[], bool] = lambda: False
    switches: Sequence[SwitchSight] = ()
    _watch: ReturnWatch = field(init=False)
    _holds: Holds = field(init=False)
    _gate: ReturnGate = field(init=False)
    _reduced: int = 0

    def __post_init__(self) -> None:
        self._watch = ReturnWatch(
            self.session,
            self.controller,
            self.policy,
            self.probe,
            self.progress,
            self.interrupted,
            self.hand_over,
            self.reason,
            self.policy_digest,
        )

    @property
    def exposed(self) -> int:
        """How many buckets are open at this moment, by what was last read back; a cohort is not counted."""
        return self._watch.allowed

    def run(self, *, forced_until: datetime | None, watcher: Watcher) -> Outcome:
        """Begins or takes up the return and stays until it has ended, one way or the other."""
        flag, incident = view(self.session), self._incident
        if self.since_epoch is not None and incident.epoch > self.since_epoch:
            return self._overtaken(raising.disabled_again(self.session))
        self._prepare(forced=forced_until is not None)
        if incident.state is not State.MONITORING:
            try:
                raising.check_may_begin(self.session, incident, flag)
            except Overtaken as error:
                return self._overtaken(error)
            self._watch.allowed = self._reduced = raising.open_at_settled(self.session, incident, flag)
        if incident.state is State.MONITORING or incident.severity is Severity.LOW:
            self._watch.allowed = flag.open_to_all
        self._watch.digest = flag.digest
        kills = tuple(mark.key for mark in flag.marks if mark.role == "kill")
        started = e.ReturnStarted(watcher, self.session.actor, kills, forced_until)
        self._watch.epoch = self.controller.handle(started, reason=self.reason, strict=True).incident.epoch
        if self._watch.epoch > incident.epoch:
            return self._stopped(Stop(e.WatchStopped("it was disabled again while the return began"), 4))
        try:
            return self._climb(flag)
        except Stop as stop:
            return self._stopped(stop)
        except Overtaken as error:
            return self._overtaken(error)
        except RollbackError as error:
            lost = Stop(e.WatchStopped(error.message[:200]), error.exit_code)
            return self._stopped(lost, next_step=error.next)
        except (Exception, KeyboardInterrupt) as error:  # whatever it is: what was raised does not stay unwatched
            self._stopped(Stop(e.WatchStopped(f"unexpected: {type(error).__name__}"), 1))
            raise

    def _prepare(self, *, forced: bool) -> None:
        """What the stages share. Raises ConfigurationError, before anything is begun, for what cannot be used here."""
        self._holds = Holds(self._watch, self.switches, forced)
        comparing = Comparing(self.policy.compare) if self.policy.compare is not None else None
        self._gate = ReturnGate(self._watch, self._holds, comparing)

    # -- the climb -------------------------------------------------------------------------------------------

    def _climb(self, flag: FlagView) -> Outcome:
        incident = self._incident
        if incident.state is State.MONITORING:
            return self._monitor()
        if incident.severity is Severity.LOW:
            return self._checked()
        rungs = self._rungs(flag, None)
        below: Rung | None = None
        index = 0
        while index < len(rungs):
            try:
                self._pass(self._stand(below, rungs[index], index, len(rungs)))
                edited = self._raise(rungs[index], below)
            except HeldBack:
                continue
            except (Restart, FlagEdited) as change:
                self.progress.say(f"{change}: the evidence of this step starts again.")
                rungs = [*rungs[:index], *self._planned_anew(below)]
                continue
            below, index = rungs[index], index + 1
            if edited and below.held:
                rungs = [*rungs[:index], *self._planned_anew(below)]
        if self.until_full:
            return self._left()
        return self._monitor()

    def _pass(self, stand: Stand) -> None:
        """The gate of one stage; a forced return waits only for what is no evidence."""
        if self._incident.forced_until is None:
            self._gate.pass_stage(stand)
        else:
            self._gate.wait_without_evidence(stand.title)

    def _left(self) -> Outcome:
        """Back at 100 %, and this command ends here: `serve` watches from now on, or a person has to."""
        state = self._incident.state
        if self.hand_over():
            self._watch.handle(e.WatchHandedOver("serve"))
            return Outcome(0, state, "Back at 100 %; serve watches it from here on.")
        self._watch.handle(e.WatchHandedOver("responder"))
        hint = f"Watch it to the end of monitoring: rollback enable {self.session.feature} --reason R"
        return Outcome(0, state, "Back at 100 %; nobody watches it from here on.", hint)

    def _checked(self) -> Outcome:
        """A low case: the gate, then the monitor, while it stays on."""
        gate = self.policy.gate
        soak, deadline = gate.minimum_soak.total_seconds(), gate.deadline.total_seconds()
        while True:
            try:
                self._gate.pass_stage(Stand(0, 1, "checking while it stays on", soak, deadline))
                break
            except Restart as change:
                self.progress.say(f"{change}: the evidence starts again.")
        self._watch.handle(e.GatePassed(0), strict=True)
        return self._monitor()

    def _monitor(self) -> Outcome:
        """Full exposure, watched to the end of the policy's time."""
        ReturnMonitor(self._watch, self._holds).run()
        self._watch.look_at_flag()
        self._watch.handle(e.MonitoringEnded())
        return Outcome(0, State.RESOLVED, "Monitored to the end; the case is resolved.")

    # -- the rungs -------------------------------------------------------------------------------------------

    def _rungs(self, flag: FlagView, below: Rung | None) -> list[Rung]:
        """The rungs that are left above what is open; the cohort comes first, when nothing was let in yet."""
        incident = self._incident
        shares = self.policy.shares(cohort=bool(self.cohort))
        first = [Rung(COHORT, 0.0, BUCKETS, 0, shares[0])] if self.cohort and below is None else []
        if self._is_one_step:
            ladder = plan(flag.without_us, self.session.reference.polarity, [100.0])
        else:
            of_steps = shares[len(shares) - len(self.policy.ladder) :]
            ladder = plan(flag.without_us, self.session.reference.polarity, self.policy.percents, of_steps)
        for line in ladder.skipped:
            self.progress.say(line)
        if not flag.base.buckets:
            self.progress.say("Without us the flag lets nobody in: the return only takes our rollouts out.")
        return [*first, *ladder.above(raising.open_at_settled(self.session, incident, flag))]

    @property
    def _is_one_step(self) -> bool:
        """Whether the ladder is one rung: forced, or declared a false alarm."""
        return self._incident.one_step or self._incident.forced_until is not None

    def _planned_anew(self, below: Rung | None) -> list[Rung]:
        """The rungs that are left on the flag as somebody has edited it; a larger audience is a person's decision."""
        flag = view(self.session)
        self._watch.digest = flag.digest
        if why := raising.audience_grown(self._incident, flag):
            raise Stop(e.EvidenceEnded(why[:300]), PolicyRefused.exit_code)
        return self._rungs(flag, below)

    def _stand(self, below: Rung | None, above: Rung, index: int, steps: int) -> Stand:
        """What has to be there before `above` is raised, while `below` (None: nothing) is exposed."""
        policy = self.policy
        where = "off" if below is None else ("cohort" if below.index == COHORT else f"{below.percent:g} %")
        step = policy.ladder[below.index] if below is not None and below.index != COHORT else None
        cohort = policy.cohort if below is not None and below.index == COHORT else None
        limits = step or cohort or policy.gate
        users = (step.users_metric, step.minimum_users) if step and step.users_metric and step.minimum_users else None
        return Stand(
            index,
            steps,
            f"step {index + 1} of {steps} (now: {where})",
            limits.minimum_soak.total_seconds(),
            limits.deadline.total_seconds(),
            above.share,
            self._needs_go(below, above),
            users,
        )

    def _needs_go(self, below: Rung | None, above: Rung) -> bool:
        """Whether a person has to judge before `above` is raised; who calls it a false alarm has judged."""
        human = [step.judgement == "human" for step in self.policy.ladder]
        return not self._is_one_step and needs_a_go(human, below, above)

    def _raise(self, rung: Rung, below: Rung | None) -> bool:
        """Evidence is there now: look, decide, write, read back, record. True when it was edited meanwhile."""
        watch, is_cohort = self._watch, rung.index == COHORT
        watch.look_at_flag(must_answer=True)
        if firing := firing_words(self._incident):
            raise Restart(firing)
        go = self._needs_go(below, rung)
        if self._holds.standing(go=go):
            raise HeldBack
        watch.handle(e.GatePassed(rung.held, self._holds.permit(go=go)), strict=True)
        cohort = self.cohort if is_cohort else ()
        after = raising.raise_to(self.session, self._incident, rung.held, digest=watch.digest, cohort=cohort)
        event = e.StepRaised(rung.held) if rung.held else e.ReturnedInFull()
        watch.handle(event, data={"exposure": after.now.percent})
        if rung.held and (wider := raising.let_in(self._incident, after, rung.open_buckets)):
            raise Stop(e.WatchStopped(wider), 4)
        edited = after.digest != watch.digest
        watch.digest, watch.allowed = after.digest, after.open_to_all
        what = "the cohort is let in" if is_cohort else f"step {rung.percent:g} %"
        was = below.open_buckets if below else 0
        self.progress.say(
            f"{what}: {after.now.percent} of 100 buckets are open (before: {was}); a kill holds off {rung.held}."
        )
        return edited

    # -- the end ---------------------------------------------------------------------------------------------

    def _stopped(self, stop: Stop, next_step: str = "") -> Outcome:
        """Records why, and retreats when the table says so; a disable that came in meanwhile has done so already."""
        incident = self.controller.reload()
        if incident is None or incident.epoch != self._watch.epoch:
            return self._overtaken(raising.disabled_again(self.session))
        event = stop.event
        if isinstance(event, e.EvidenceEnded) and self._incident.state is State.RAMPING:
            event = e.WatchStopped(event.why)
        try:
            decision = self.controller.handle(event, reason=self.reason)
        except PolicyRefused:  # it came in between these two lines
            return self._overtaken(raising.disabled_again(self.session))
        if isinstance(event, e.WatchHandedOver):
            return Outcome(stop.exit_code, State.MONITORING, "Interrupted; serve goes on watching it.")
        why = event.what if isinstance(event, e.DriftSeen) else event.why
        self._retreat(decision, why)
        state = self._incident.state if self.controller.incident else State.RESOLVED
        hint = next_step or f"See where it stands: rollback status {self.session.feature}"
        return Outcome(stop.exit_code, state, f"Stopped: {why}.", hint)

    def _overtaken(self, error: Overtaken) -> Outcome:
        """Somebody else's disable wins; nothing is left to do here."""
        incident = self.controller.reload()
        return Outcome(error.exit_code, incident.state if incident else State.DISABLING, error.message, error.next)

    def _retreat(self, decision: Decision, why: str) -> None:
        for effect in decision.effects:
            if isinstance(effect, LowerExposure):
                self.progress.say(f"Retreat: {why}.")
                self.lower(raising.wide_enough(self.session, effect, self._reduced), why)

    @property
    def _incident(self) -> Incident:
        return self.controller.require()
