"""The way back: gate → ladder → monitoring, in one living process that watches all it exposes (invariant 9).

Every raise needs the evidence of the stage below it, its soak done, and a fresh read of the flag. Harm, a signal or a
newer disable ends it: down to where it was proven safe, or out of the way of the one who disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rollback import raising
from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.evidence import Judgement, Verdict
from rollback.core.flag import BUCKETS
from rollback.core.ladder import Rung, plan
from rollback.core.machine import Decision, firing_words
from rollback.core.model import Incident, Severity, State, Watcher
from rollback.core.scalars import format_duration
from rollback.errors import HistoryUnwritable, PolicyRefused, RollbackError, StoreError
from rollback.evidence_book import Alarms, EvidenceBook, Stage
from rollback.raising import FlagEdited, FlagView, Overtaken, view
from rollback.return_end import Outcome, Restart, Stop

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.policy import SeverityPolicy
    from rollback.output import Progress
    from rollback.ports import HealthProbe, Measurement
    from rollback.session import Session

LOOK_AT_FLAG_EVERY = 1.0
"""Seconds between two looks at the flag while observing: how soon a disable by somebody else is noticed."""


@dataclass(slots=True)
class Return:
    """One run of `rollback enable`. `interrupted` says whether a signal came; `lower` puts a kill for a retreat.

    `since_epoch` is the case's epoch when the command began: whoever disables while it waits for a proof wins as well.
    `hand_over` says whether `serve` will take the watch of what is back in full: then an interruption need not retreat.
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
    _digest: str = ""
    _allowed: int = 0
    _reduced: int = 0
    _epoch: int = 0
    _looked: float = field(default=float("-inf"))

    def run(self, *, forced_until: datetime | None, watcher: Watcher) -> Outcome:
        """Begins or takes up the return and stays until it has ended, one way or the other."""
        flag, incident = view(self.session), self._incident
        if self.since_epoch is not None and incident.epoch > self.since_epoch:
            return self._overtaken(raising.disabled_again(self.session))
        if incident.state is not State.MONITORING:
            try:
                raising.check_may_begin(self.session, incident, flag)
            except Overtaken as error:
                return self._overtaken(error)
            self._allowed = self._reduced = raising.open_at_settled(self.session, incident, flag)
        self._digest = flag.digest
        kills = tuple(mark.key for mark in flag.marks if mark.role == "kill")
        started = e.ReturnStarted(watcher, self.session.actor, kills, forced_until)
        self._epoch = self.controller.handle(started, reason=self.reason, strict=True).incident.epoch
        if self._epoch > incident.epoch:
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
                if self._incident.forced_until is None:
                    self._gate(index, len(rungs), self._title(below, index, len(rungs)), below)
                edited = self._raise(rungs[index], below)
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

    def _left(self) -> Outcome:
        """Back at 100 %, and this command ends here: `serve` watches from now on, or a person has to."""
        state = self._incident.state
        if self.hand_over():
            self._handle(e.WatchHandedOver("serve"))
            return Outcome(0, state, "Back at 100 %; serve watches it from here on.")
        self._handle(e.WatchHandedOver("responder"))
        return Outcome(0, state, "Back at 100 %; nobody watches it from here on.", self._watch_hint)

    def _checked(self) -> Outcome:
        """A low case: the gate, then the monitor, while it stays on."""
        while True:
            try:
                self._gate(0, 1, "checking while it stays on", None)
                break
            except Restart as change:
                self.progress.say(f"{change}: the evidence starts again.")
        self._handle(e.GatePassed(0), strict=True)
        return self._monitor()

    def _rungs(self, flag: FlagView, below: Rung | None) -> list[Rung]:
        """The rungs that are left above what is open; the cohort comes first, when nothing was let in yet."""
        incident = self._incident
        one_step = incident.one_step or incident.forced_until is not None
        percents = [100.0] if one_step else [step.percent for step in self.policy.ladder]
        ladder = plan(flag.without_us, self.session.reference.polarity, percents)
        for line in ladder.skipped:
            self.progress.say(line)
        if not flag.base.buckets:
            self.progress.say("Without us the flag lets nobody in: the return only takes our rollouts out.")
        first = [Rung(-1, 0.0, BUCKETS, 0)] if self.cohort and below is None else []
        return [*first, *ladder.above(raising.open_at_settled(self.session, incident, flag))]

    def _planned_anew(self, below: Rung | None) -> list[Rung]:
        """The rungs that are left on the flag as somebody has edited it; a larger audience is a person's decision."""
        flag = view(self.session)
        self._digest = flag.digest
        if why := raising.audience_grown(self._incident, flag):
            raise Stop(e.EvidenceEnded(why[:300]), PolicyRefused.exit_code)
        return self._rungs(flag, below)

    def _raise(self, rung: Rung, below: Rung | None) -> bool:
        """Evidence is there now: look, decide, write, read back, record. True when it was edited meanwhile."""
        is_cohort = rung.index < 0
        self._look_at_flag(must_answer=True)
        if firing := firing_words(self._incident):
            raise Restart(firing)
        self._handle(e.GatePassed(rung.held), strict=True)
        cohort = self.cohort if is_cohort else ()
        after = raising.raise_to(self.session, self._incident, rung.held, digest=self._digest, cohort=cohort)
        event = e.StepRaised(rung.held) if rung.held else e.ReturnedInFull()
        self._handle(event, data={"exposure": after.now.percent})
        if rung.held and (wider := raising.let_in(self._incident, after, rung.open_buckets)):
            raise Stop(e.WatchStopped(wider), 4)
        edited = after.digest != self._digest
        self._digest = after.digest
        self._allowed = after.open_to_all
        what = "the cohort is let in" if is_cohort else f"step {rung.percent:g} %"
        was = below.open_buckets if below else 0
        self.progress.say(
            f"{what}: {after.now.percent} of 100 buckets are open (before: {was}); a kill holds off {rung.held}."
        )
        return edited

    def _title(self, below: Rung | None, index: int, steps: int) -> str:
        where = "off" if below is None else ("cohort" if below.index < 0 else f"{below.percent:g} %")
        return f"step {index + 1} of {steps} (now: {where})"

    # -- observing -------------------------------------------------------------------------------------------

    def _gate(self, index: int, steps: int, title: str, rung: Rung | None) -> None:
        """Observes until the evidence passes, and keeps it, however it ends.

        Raises `Stop` when it does not pass, `Restart` when what is observed changes.
        """
        incident = self._incident
        book = self._book(Stage(index, steps, max(1, incident.attempt), incident.fix, self._basis))
        try:
            self._until_passed(book, title, *self._limits(rung))
        finally:
            self._keep(book)

    def _until_passed(self, book: EvidenceBook, title: str, soak: float, deadline: float) -> None:
        clock = self.session.clock
        began = clock.monotonic()
        called = False
        while True:
            book.observe(self._observe())
            elapsed = clock.monotonic() - began
            judgement = self._judged(book, soaked=elapsed >= soak, expired=elapsed >= deadline)
            book.flush(clock.now())
            rate = sum(metric.samples for metric in judgement.metrics) / max(1, len(judgement.metrics))
            self.progress.evidence(
                title,
                judgement,
                rate=rate / max(elapsed, 1e-3),
                soak_left=max(0.0, soak - elapsed),
                time_left=deadline - elapsed,
            )
            if judgement.verdict is Verdict.HEALTHY:
                return
            self._check_not_over(judgement)
            if judgement.final and not called:
                called = True
                self._call_human(f"not enough evidence at this step: {'; '.join(judgement.reasons)}"[:300])
            if elapsed >= 2 * deadline:
                raise Stop(e.WatchStopped("nobody decided about a step without enough evidence"), 4)
            clock.sleep(self.policy.gate.interval.total_seconds())

    def _judged(self, book: EvidenceBook, *, soaked: bool, expired: bool) -> Judgement:
        """The verdict of the evidence; it is never enough while an attached alert still fires (invariants 8 and 14)."""
        judgement = book.judge(soaked=soaked, expired=expired)
        firing = firing_words(self._incident)
        if judgement.verdict is not Verdict.HEALTHY or not firing:
            return judgement
        return Judgement(Verdict.INCONCLUSIVE, expired, (firing, *judgement.reasons), judgement.metrics)

    def _check_not_over(self, judgement: Judgement) -> None:
        """Raises `Stop` on harm, and at the deadline while nothing is exposed."""
        why = "; ".join(judgement.reasons)
        if judgement.verdict is Verdict.UNHEALTHY:
            raise Stop(e.HarmSeen(why[:300]), 4)
        if judgement.final and self._incident.state is not State.RAMPING:
            raise Stop(e.EvidenceEnded(f"{judgement.verdict}: {why}"[:300]), 4)

    def _keep(self, book: EvidenceBook) -> None:
        """Writes the rest of the evidence; what cannot be kept is said, and never stands in the way of a retreat."""
        try:
            book.flush(self.session.clock.now(), always=True)
        except HistoryUnwritable as error:
            self.progress.say(f"The last evidence could not be kept: {error.message}")

    def _call_human(self, what: str) -> None:
        """Exposure stays where it is, watched, while a person is asked."""
        self._handle(e.EvidenceEnded(what))
        self.progress.say(f"A person is needed: {what}. Exposure stays, and is watched.")

    def _monitor(self) -> Outcome:
        """Watches the full exposure with the e-detector for the policy's time."""
        incident, clock = self._incident, self.session.clock
        rule = self.policy.monitoring
        alarms = Alarms(self.probe.metrics, self.policy.gate.p0, rule)
        book = self._book(Stage(99, 1, incident.attempt, incident.fix, self._basis))
        began, length = clock.monotonic(), rule.duration.total_seconds()
        self.progress.say(f"Monitoring for {format_duration(rule.duration)}; harm turns it down again by itself.")
        while (elapsed := clock.monotonic() - began) < length or firing_words(self._incident):
            measured = self._observe()
            book.observe(measured)
            judgement = book.judge(soaked=False, expired=False)
            book.flush(clock.now())
            self.progress.watching(judgement, time_left=max(0.0, length - elapsed))
            if harmful := alarms.observe(measured):
                book.flush(clock.now(), always=True)
                raise Stop(e.HarmSeen(f"{', '.join(harmful)} became harmful while monitored"), 4)
            self._check_forced(judgement)
            clock.sleep(rule.interval.total_seconds())
        book.flush(clock.now(), always=True)
        self._look_at_flag()
        self._handle(e.MonitoringEnded())
        return Outcome(0, State.RESOLVED, "Monitored to the end; the case is resolved.")

    def _check_forced(self, judgement: Judgement) -> None:
        """A forced return lasts only as long as it was given, unless the evidence came in meanwhile."""
        until = self._incident.forced_until
        if until is None or self.session.clock.now() < until:
            return
        if not judgement.metrics or not all(metric.passed for metric in judgement.metrics):
            raise Stop(e.WatchStopped("the forced return has expired without enough evidence"), 4)

    def _observe(self) -> Sequence[Measurement]:
        """One round of probes; before it, whatever ends the watch."""
        if self.interrupted():
            if self._incident.state is State.MONITORING and self.hand_over():
                raise Stop(e.WatchHandedOver("serve"), 130)
            raise Stop(e.WatchStopped("interrupted"), 130)
        if self.session.clock.monotonic() - self._looked >= LOOK_AT_FLAG_EVERY:
            self._look_at_flag()
            self._looked = self.session.clock.monotonic()
        return self.probe.measure()

    def _look_at_flag(self, *, must_answer: bool = False) -> None:
        """Notices a newer disable, drift, and any other foreign edit: that one starts the evidence again."""
        try:
            flag = view(self.session)
        except StoreError as error:
            if must_answer:
                raise
            self.progress.say(f"The flag store does not answer, so nothing is raised: {error.message}")
            return
        fix = self._incident.fix
        self._reload()
        incident = self._incident
        raising.check_not_overtaken(self.session, incident, flag)
        if incident.state is State.MONITORING:
            return
        if incident.fix != fix:
            raise Restart("another fix was deployed")
        if incident.severity is Severity.LOW:
            return
        if what := raising.let_in(incident, flag, self._allowed):
            if not flag.has_kill or incident.state is not State.RAMPING:
                raise Stop(e.DriftSeen(*raising.next_kill(incident), what), 4)
            raise Stop(e.WatchStopped(what), 4)
        if flag.digest != self._digest:
            raise Restart("somebody edited the flag")

    # -- the end ---------------------------------------------------------------------------------------------

    def _stopped(self, stop: Stop, next_step: str = "") -> Outcome:
        """Records why, and retreats when the table says so; a disable that came in meanwhile has done so already."""
        incident = self.controller.reload()
        if incident is None or incident.epoch != self._epoch:
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

    def _handle(self, event: e.Event, *, data: Mapping[str, Any] | None = None, strict: bool = False) -> Decision:
        """Like the controller's, on the case as it is now; a newer epoch means that somebody disabled."""
        self._reload()
        return self.controller.handle(event, reason=self.reason, data=data, strict=strict)

    def _reload(self) -> None:
        incident = self.controller.reload()
        if incident is None or incident.epoch != self._epoch:
            raise raising.disabled_again(self.session)

    # -- small things ----------------------------------------------------------------------------------------

    @property
    def _incident(self) -> Incident:
        return self.controller.require()

    @property
    def _basis(self) -> str:
        return f"{(self.policy_digest or self._incident.policy_hash)[:12]}:{self._digest}"

    @property
    def _watch_hint(self) -> str:
        return f"Watch it to the end of monitoring: rollback enable {self.session.feature} --reason R"

    def _limits(self, rung: Rung | None) -> tuple[float, float]:
        """Minimum soak and deadline, in seconds, of the gate or of the step that is exposed now."""
        rule = self.policy.gate if rung is None or rung.index < 0 else self.policy.ladder[rung.index]
        return rule.minimum_soak.total_seconds(), rule.deadline.total_seconds()

    def _book(self, stage: Stage) -> EvidenceBook:
        def record(name: str, data: Mapping[str, Any]) -> None:
            self.controller.fact(name, data=data, strict=True)

        book = EvidenceBook.for_gate(stage, self.policy.gate, record)
        book.expect(self.probe.metrics)
        kept = book.resume(self.session.history.entries(self.session.feature).entries, self._incident.incident_id)
        if kept:
            self.progress.say(f"{kept} samples (of all metrics) from an earlier run of this step are kept.")
        return book
