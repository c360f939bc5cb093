"""One return of a replay: gate, ladder and the watch after it, as `rollback enable` would have gone about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollback.core import events as e
from rollback.core.deploys import code_words
from rollback.core.evidence import Judgement, Verdict, step_alpha
from rollback.core.exposure import opened_by
from rollback.core.flag import BUCKETS
from rollback.core.ladder import COHORT, Rung, needs_a_go, plan
from rollback.core.model import Incident, Severity, State, Watcher
from rollback.core.refusals import firing_words
from rollback.core.replay_case import POLARITY, ReplayedCase, larger_audience
from rollback.core.replay_holds import ReplayedHolds
from rollback.core.replay_readings import Kept, Readings, StageKey
from rollback.core.replay_recording import Sampled
from rollback.core.replay_watch import Alarms, Book, Comparing, FullWatch, StageWatch, empty_book, known_counts
from rollback.core.severity_policy import SeverityPolicy

MONITORING_STAGE = 99
"""The place of the watch after the return among the stages whose evidence is kept."""

ACROSS = "it lies across the beginning of a step"
NOT_ASKED = "the policy asks for none of its metrics"
SWITCH_UP = "a switch was up, or not known to be lifted"


@dataclass(slots=True)
class ReplayedReturn:
    """One return. `kept` goes from return to return; `edits` counts the foreign edits of the flag that were told.

    `metrics` are the feature's, each with the exposure (percent) from which on it must pass.
    """

    case: ReplayedCase
    policy: SeverityPolicy
    metrics: Mapping[str, float]
    has_cohort: bool
    readings: Readings
    kept: Kept
    watcher: Watcher
    holds: ReplayedHolds
    edits: int = 0
    rungs: list[Rung] = field(default_factory=list)
    index: int = 0
    below: Rung | None = None
    stage: StageWatch | None = None
    watch: FullWatch | None = None
    comparing: Comparing | None = None
    flag: str = ""
    code: tuple[str, int] = ("", 0)
    waits: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it still watches: nobody disabled, nothing ended it, nobody took it over."""
        return self.case.case is not None and self.case.case.watcher == self.watcher

    @property
    def digest(self) -> str:
        """How the flag is known that the evidence is about."""
        return f"{self.flag}+{self.edits}" if self.edits else self.flag

    @property
    def _incident(self) -> Incident:
        assert self.case.case is not None
        return self.case.case

    @property
    def _full(self) -> FullWatch:
        assert self.watch is not None
        return self.watch

    def begin(self, now: datetime) -> None:
        """Right after `ReturnStarted`."""
        self.flag, self.code = self.readings.flag_at(now), self._incident.code
        self.comparing = Comparing(self.policy.compare) if self.policy.compare is not None else None
        if self.case.state is State.MONITORING:
            self._monitor(now)
        elif self._incident.severity is Severity.LOW:
            self._stage(now)
        else:
            self.rungs = self._planned(first=True)
            if self._incident.forced_until is None:
                self._stage(now)
            else:
                self.waits = True
                self.case.timer(self._incident.forced_until, self._time_is_up)
                self._go_on_forced(now)

    # -- what comes in ----------------------------------------------------------------------------------------------

    def read(self, reading: Sampled) -> None:
        """A reading of the recording, at its end."""
        now = reading.at
        if reading.flag and reading.flag != self.flag:
            self.flag = reading.flag
            self._edited(reading.began)  # an edit that only a reading shows changes no audience, so it goes on
        if self.waits:
            self._go_on_forced(now)
        elif self.stage is not None:
            self._observed(self.stage, reading, now)
        else:
            self._watched(self._full, reading, now)

    def told(self, now: datetime) -> None:
        """The case was told something. Another fix, or other code, begins the evidence of the step again."""
        if not self.is_alive:
            return
        if self.stage is not None and (deployed := code_words(self.code, self._incident)):
            self.code = self._incident.code
            self._again(now, deployed)
        elif self.waits:
            self._go_on_forced(now)

    def flag_edited(self, now: datetime, edits: int) -> None:
        """A foreign edit begins the evidence of the step again; `edits` counts them."""
        self.edits = edits
        self._edited(now)

    def _edited(self, now: datetime) -> None:
        """A low case does not touch the flag, nor mind it."""
        if self.is_alive and self.stage is not None and self._incident.severity is not Severity.LOW:
            self._again(now, "somebody edited the flag")

    def _counts(self, reading: Sampled, book: Book, began: datetime) -> bool:
        """Whether the reading is evidence here; if not, it is counted as unused."""
        why = ""
        if not known_counts(reading, book):
            why = NOT_ASKED
        elif reading.began < began:
            why = ACROSS
        elif self.holds.up():
            why = SWITCH_UP
        self.kept.unused[why] += bool(why)
        return not why

    # -- one step -----------------------------------------------------------------------------------------------------

    def _planned(self, *, first: bool) -> list[Rung]:
        incident, policy = self._incident, self.policy
        one_step = incident.one_step or incident.forced_until is not None
        with_cohort = self.has_cohort and policy.use_cohort
        shares = policy.shares(cohort=with_cohort)
        own = shares[1:] if with_cohort else shares
        ladder = plan(self.case.flag, POLARITY, [100.0] if one_step else policy.percents, None if one_step else own)
        held = BUCKETS if incident.settled_held is None else incident.settled_held
        is_open = opened_by(self.case.flag, POLARITY, held)
        cohort = [Rung(COHORT, 0.0, BUCKETS, 0, shares[0])] if with_cohort and first else []
        return [*cohort, *ladder.above(is_open)]

    def _stage(self, now: datetime) -> None:
        """The evidence of the next step begins."""
        policy, attempt = self.policy, max(1, self._incident.attempt)
        rung = self.rungs[self.index] if self.rungs else None
        soak, deadline = self._limits()
        step = policy.ladder[self.below.index] if self.below is not None and self.below.index >= 0 else None
        users = (step.users_metric, step.minimum_users) if step and step.users_metric and step.minimum_users else None
        human = [one.judgement == "human" for one in policy.ladder]
        self.stage = StageWatch(
            began=now,
            soak=soak,
            deadline=deadline,
            alpha=step_alpha(policy.gate.alpha * (rung.share if rung else 1.0), 1, attempt),
            gate=policy.gate,
            book=self.kept.books.setdefault(self._key(self.index), self._empty()),
            go=rung is not None and needs_a_go(human, self.below, rung) and not self._incident.one_step,
            users=users,
        )
        self.case.timer(now + deadline, self._time_is_up)

    def _limits(self) -> tuple[timedelta, timedelta]:
        """Minimum soak and deadline of what is exposed now; off, and a cohort without a step of its own: the gate's."""
        policy, below = self.policy, self.below
        if below is None or (below.index < 0 and policy.cohort is None):
            return policy.gate.minimum_soak, policy.gate.deadline
        if below.index < 0 and policy.cohort is not None:
            return policy.cohort.minimum_soak, policy.cohort.deadline
        return policy.ladder[below.index].minimum_soak, policy.ladder[below.index].deadline

    def _key(self, index: int) -> StageKey:
        incident = self._incident
        digest = self.digest if index < MONITORING_STAGE else f"{self.digest}:{incident.epoch}"
        return (index, max(1, incident.attempt), incident.fix, f"{digest}:{incident.code_changes}")

    def _empty(self) -> Book:
        """The metrics that must pass at the present exposure: what is off has no users to count."""
        counting = [name for name, exposed in self.metrics.items() if exposed <= self.case.open_buckets]
        return empty_book(counting, self.policy.gate.p0)

    def _again(self, now: datetime, why: str) -> None:
        self.case.note(now, "evidence_restarted", why)
        before, without_us = self._incident.audience, self.case.audience
        if self.rungs and before is not None and without_us > before and not self.case.accepted:
            grown = larger_audience(without_us, before)
            is_open = self.case.state is State.RAMPING
            self.case.tell(e.WatchStopped(grown) if is_open else e.EvidenceEnded(grown), now, grown)
            return
        if self.rungs:
            self.rungs = [*self.rungs[: self.index], *self._planned(first=self.below is None)]
        self._stage(now)

    def _observed(self, stage: StageWatch, reading: Sampled, now: datetime) -> None:
        counts = self._counts(reading, stage.book, stage.began)
        if counts:
            stage.observe(reading)
            if stage.alarms is not None and (harmful := stage.alarms.observe(reading)):
                self._harm(f"{', '.join(harmful)} became harmful while a person was waited for", now)
                return
        if self.comparing is not None and reading.began >= stage.began and (worse := self.comparing.observe(reading)):
            self._harm(worse, now)
            return
        self.holds.ask(now, self.digest)
        self._judge(stage, now, may_pass=counts)

    def _judge(self, stage: StageWatch, now: datetime, *, may_pass: bool) -> None:
        found, up = stage.judge(now), self.holds.up()
        last, stage.judged_at = stage.judged_at or stage.began, now
        why = "; ".join(found.reasons)[:300]
        if found.verdict is Verdict.UNHEALTHY:
            self._harm(why, now)
        elif up:
            stage.apart += now - last
        elif found.verdict is not Verdict.HEALTHY:
            self._check_time(stage, now, found, why)
        elif lacking := self._lacking(stage, now, may_pass=may_pass):
            self._check_time(stage, now, found, "; ".join(lacking))
        elif standing := self.holds.standing(now, self.digest, go=stage.go):
            stage.apart += now - last
            self._hold(stage, standing, now)
        else:
            self._raise(now, why, go=stage.go)

    def _lacking(self, stage: StageWatch, now: datetime, *, may_pass: bool) -> tuple[str, ...]:
        firing = firing_words(self._incident)
        nothing = () if may_pass else ("the recording has no reading at this time",)
        return (*([firing] if firing else []), *stage.lacking(now), *nothing)

    def _hold(self, stage: StageWatch, standing: tuple[str, ...], now: datetime) -> None:
        """The evidence is there, and people or a calendar are not: from here on harm that begins is looked for."""
        if stage.alarms is None:
            rule, gate = self.policy.monitoring, self.policy.gate
            stage.alarms = Alarms.start(stage.book, gate.p0, rule, gate.interval)
            self.case.note(now, "held_back", "; ".join(standing))

    def _harm(self, why: str, now: datetime) -> None:
        self.case.tell(e.HarmSeen(why[:300]), now, why)

    def _check_time(self, stage: StageWatch, now: datetime, found: Judgement, why: str) -> None:
        elapsed = stage.elapsed(now)
        if elapsed < stage.deadline:
            return
        if self.case.state is not State.RAMPING:
            self.case.tell(e.EvidenceEnded(f"{found.verdict}: {why}"[:300]), now, why)
            return
        if not stage.called:
            stage.called = True
            self.case.tell(e.EvidenceEnded(f"not enough evidence at this step: {why}"[:300]), now, why)
            self.case.timer(now + stage.deadline, self._time_is_up)
        if elapsed >= 2 * stage.deadline:
            nobody = "nobody decided about a step without enough evidence"
            self.case.tell(e.WatchStopped(nobody), now, nobody)

    def _time_is_up(self, now: datetime) -> None:
        """A deadline without a reading at that moment: the next round notices it, or nobody measures any more."""
        if not self.is_alive:
            return
        interval = self.policy.gate.interval if self.stage else self.policy.monitoring.interval
        if self.readings.will_notice(now, interval):
            return
        if self.waits:
            self._go_on_forced(now)
        elif self.stage is not None:
            self._judge(self.stage, now, may_pass=False)
        else:
            self._check_watch(self._full, now)

    def _gate_passed(self, held: int, now: datetime, why: str, *, go: bool) -> bool:
        is_low = self._incident.severity is Severity.LOW
        permit = None if is_low else self.holds.permit(self.digest, go=go)
        if self.case.tell(e.GatePassed(held, permit), now, why) is not None:
            return True
        self.case.tell(e.WatchStopped("the case forbids the step"), now, "the case forbids the step")
        return False

    def _raise(self, now: datetime, why: str, *, go: bool) -> None:
        """The gate has passed. A low case has no rungs: it is on already, and is watched from here on."""
        rung = self.rungs[self.index] if self.rungs else None
        if not self._gate_passed(rung.held if rung else 0, now, why, go=go):
            return
        if rung is None:
            self._monitor(now)
            return
        text = "the cohort is let in" if rung.index < 0 else f"step {rung.percent:g} %: {rung.open_buckets} buckets"
        event = e.StepRaised(rung.held) if rung.held else e.ReturnedInFull()
        self.case.tell(event, now, text, open_buckets=rung.open_buckets)
        self.below, self.index = rung, self.index + 1
        if self.index < len(self.rungs):
            self._stage(now)
        else:
            self._monitor(now)

    def _go_on_forced(self, now: datetime) -> None:
        """A forced return skips the evidence, and waits for what else the policy wants."""
        until = self._incident.forced_until
        if not self.holds.standing(now, self.digest, go=False):
            self.waits = False
            self._raise(now, "the gate is skipped", go=False)
        elif until is not None and now >= until:
            why = "the forced return has expired while it waited"
            self.case.tell(e.WatchStopped(why), now, why)
        else:
            self.holds.ask(now, self.digest)

    # -- the watch after it -------------------------------------------------------------------------------------------

    def _monitor(self, now: datetime) -> None:
        self.stage = None
        rule, gate, key = self.policy.monitoring, self.policy.gate, self._key(MONITORING_STAGE)
        earlier = self.kept.watches.get(key)
        if earlier is not None:
            self.watch = earlier.taken_up(now, rule.duration)
        else:
            book = self._empty()
            alpha = step_alpha(gate.alpha, 1, max(1, self._incident.attempt))
            alarms = Alarms.start(book, gate.p0, rule, rule.interval)
            self.watch = FullWatch(now, now + rule.duration, alpha, book, alarms)
        self.kept.watches[key] = self.watch
        self.case.timer(self.watch.ends_at, self._time_is_up)
        if self._incident.forced_until is not None:
            self.case.timer(self._incident.forced_until, self._time_is_up)

    def _watched(self, watch: FullWatch, reading: Sampled, now: datetime) -> None:
        last, watch.seen_at = watch.seen_at or watch.began, now
        if self.holds.up():
            watch.ends_at += now - last  # what cannot be seen is not watched
            self.case.timer(watch.ends_at, self._time_is_up)
        if self._counts(reading, watch.book, watch.began) and (harmful := watch.observe(reading)):
            self._harm(f"{', '.join(harmful)} became harmful while monitored", now)
        else:
            self._check_watch(watch, now)

    def _check_watch(self, watch: FullWatch, now: datetime) -> None:
        forced, firing = self._incident.forced_until, firing_words(self._incident)
        if forced is not None and now >= forced and not watch.passes():
            why = "the forced return has expired without enough evidence"
            self.case.tell(e.WatchStopped(why), now, why)
        elif now >= watch.ends_at and not firing:
            self.case.tell(e.MonitoringEnded(), now)
