"""The gate of one stage: observes until the evidence passes and nothing holds the raise back, or ends the return.

Evidence is collected all the while, also while people are waited for: what opens the gate is the evidence of the very
moment of the raise. Time in which only people, a calendar or a switch hold it back does not count against the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollback.core import events as e
from rollback.core.evidence import Judgement, Verdict
from rollback.core.machine import firing_words
from rollback.core.model import State
from rollback.evidence_book import Alarms, EvidenceBook, Stage
from rollback.freshness import Freshness
from rollback.return_comparison import Comparing
from rollback.return_end import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollback.ports import Measurement
    from rollback.return_holds import Holds
    from rollback.return_watch import ReturnWatch


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the return stands: the stage `index` of `steps`, and what has to be there before it goes on.

    `share` is the part of alpha that this stage may spend. `soak` and `deadline` are seconds. `go`: a person has to
    judge it. `users`: so many requests of this metric have to be seen, None when it does not matter.
    """

    index: int
    steps: int
    title: str
    soak: float
    deadline: float
    share: float = 1.0
    go: bool = False
    users: tuple[str, int] | None = None


@dataclass(slots=True)
class ReturnGate:
    """All gates of one return. `comparing` goes on from stage to stage."""

    watch: ReturnWatch
    holds: Holds
    comparing: Comparing | None = None
    _said: tuple[str, ...] = ()

    def pass_stage(self, stand: Stand) -> None:
        """Observes until the stage is passed, and keeps its evidence, however it ends.

        Raises `Stop` when it does not pass, `Restart` when what is observed changes, `Overtaken` after a disable.
        """
        self.watch.begin_evidence()
        incident = self.watch.incident
        attempt = max(1, incident.attempt)
        stage = Stage(stand.index, stand.steps, attempt, incident.fix, self.watch.basis, stand.share)
        book = self.watch.book(stage)
        try:
            _Observing(self, stand, book).run()
        finally:
            self.watch.keep(book)

    def wait_without_evidence(self, title: str) -> None:
        """A forced return skips the evidence, and waits for what else the policy wants. Raises as `pass_stage`."""
        watch = self.watch
        watch.begin_evidence()
        while standing := self.holds.standing(go=False):
            self.tell(standing)
            watch.observe()
            self.holds.ask()
            until = watch.incident.forced_until
            if until is not None and watch.session.clock.now() >= until:
                raise Stop(e.WatchStopped(f"the forced return has expired while it waited ({title})"), 4)
            watch.session.clock.sleep(watch.policy.gate.interval.total_seconds())

    def tell(self, standing: tuple[str, ...]) -> None:
        """Says what it waits for, each time that this changes."""
        if standing != self._said:
            self._said = standing
            if standing:
                self.watch.progress.say(f"Waiting, and watching: {'; '.join(standing)}.")


@dataclass(slots=True)
class _Observing:
    """One stage's rounds."""

    gate: ReturnGate
    stand: Stand
    book: EvidenceBook
    fresh: Freshness = field(default_factory=Freshness)
    alarms: Alarms | None = None
    apart: float = 0.0  # seconds in which only people, a calendar or a switch held it back
    called: bool = False
    called_blind: bool = False

    def run(self) -> None:
        watch, stand = self.gate.watch, self.stand
        clock, policy = watch.session.clock, watch.policy
        began = last = clock.monotonic()
        while True:
            up = self._count(watch.observe())
            self.gate.holds.ask()
            now = clock.monotonic()
            elapsed = now - began - self.apart
            judgement, held = self._judged(up, soaked=elapsed >= stand.soak, expired=elapsed >= stand.deadline)
            self.book.flush(clock.now())
            self._show(judgement, elapsed)
            if judgement.verdict is Verdict.HEALTHY:
                return
            self._check_not_over(judgement, held=bool(held))
            firing = firing_words(watch.incident)
            self.gate.tell((*held, *([firing] if firing else [])))
            if held:
                self.apart += now - last
            elif elapsed >= 2 * stand.deadline:
                raise Stop(e.WatchStopped("nobody decided about a step without enough evidence"), 4)
            last = now
            clock.sleep(policy.gate.interval.total_seconds())

    def _count(self, measured: Sequence[Measurement]) -> tuple[str, ...]:
        """Each measurement once, in every test; nothing while a switch is up. Returns those switches, in words."""
        watch = self.gate.watch
        measured = self.gate.holds.counting(measured)
        if up := self.gate.holds.up():
            self._call_blind(up)
            return up
        self.book.expect(watch.probe.metrics)  # a part of the traffic that is new must pass too
        self.book.observe(measured)
        self.fresh.observe(measured, watch.session.clock.monotonic())
        if self.alarms is not None and (harmful := self.alarms.observe(measured)):
            raise Stop(e.HarmSeen(f"{', '.join(harmful)} became harmful while a person was waited for"), 4)
        if self.gate.comparing is not None and (worse := self.gate.comparing.observe(measured)):
            raise Stop(e.HarmSeen(worse[:300]), 4)
        return ()

    def _judged(self, up: tuple[str, ...], *, soaked: bool, expired: bool) -> tuple[Judgement, tuple[str, ...]]:
        """The verdict, and what alone holds it back.

        Evidence is never enough while an attached alert still fires (invariants 8 and 14), while nothing is heard of a
        metric, or before the policy's number of requests was seen.
        """
        judgement = self.book.judge(soaked=soaked, expired=expired and not up)
        if judgement.verdict is Verdict.UNHEALTHY:
            return judgement, ()
        if up:
            return Judgement(Verdict.INCONCLUSIVE, False, up, judgement.metrics), up
        if judgement.verdict is not Verdict.HEALTHY:
            return judgement, ()
        if lacking := self._lacking():
            return Judgement(Verdict.INCONCLUSIVE, expired, lacking + judgement.reasons, judgement.metrics), ()
        standing = self.gate.holds.standing(go=self.stand.go)
        if not standing:
            return judgement, ()
        self._wait()
        return Judgement(Verdict.INCONCLUSIVE, False, standing, judgement.metrics), standing

    def _lacking(self) -> tuple[str, ...]:
        watch = self.gate.watch
        firing = firing_words(watch.incident)
        stale = self.fresh.stale(self.book.metrics, watch.session.clock.monotonic())
        return (*([firing] if firing else []), *stale, *self._users_missing())

    def _users_missing(self) -> tuple[str, ...]:
        """Requests of real users that the policy still wants to see; strata of the metric are added up."""
        if self.stand.users is None:
            return ()
        name, wanted = self.stand.users
        seen = sum(
            metric.health.samples
            for key, metric in self.book.metrics.items()
            if key == name or key.startswith(f"{name}[")
        )
        return () if seen >= wanted else (f"{name}: {seen} of {wanted} requests were seen at this step",)

    def _wait(self) -> None:
        """The evidence is there, and people are not: a long good past must not hide harm that begins now."""
        watch = self.gate.watch
        if self.alarms is None:
            policy = watch.policy
            rule = policy.monitoring.model_copy(update={"interval": policy.gate.interval})
            self.alarms = Alarms(list(self.book.metrics), policy.gate.p0, rule)
        if self.stand.go:
            self.gate.holds.ask_for_go(self.stand.title)

    def _call_blind(self, up: tuple[str, ...]) -> None:
        """Somebody has to know that what is exposed cannot be seen."""
        watch = self.gate.watch
        if not self.called_blind and watch.incident.state is State.RAMPING:
            self.called_blind = True
            watch.handle(e.HumanCalled(f"exposed, and nothing can be seen: {'; '.join(up)}"[:300]))

    def _check_not_over(self, judgement: Judgement, *, held: bool) -> None:
        """Raises `Stop` on harm, and at the deadline while nothing is exposed; else a person is called, once."""
        why = "; ".join(judgement.reasons)
        if judgement.verdict is Verdict.UNHEALTHY:
            raise Stop(e.HarmSeen(why[:300]), 4)
        if held or not judgement.final:
            return
        watch = self.gate.watch
        if watch.incident.state is not State.RAMPING:
            raise Stop(e.EvidenceEnded(f"{judgement.verdict}: {why}"[:300]), 4)
        if not self.called:
            self.called = True
            what = f"not enough evidence at this step: {why}"[:300]
            watch.handle(e.EvidenceEnded(what))
            watch.progress.say(f"A person is needed: {what}. Exposure stays, and is watched.")

    def _show(self, judgement: Judgement, elapsed: float) -> None:
        rate = sum(metric.samples for metric in judgement.metrics) / max(1, len(judgement.metrics))
        self.gate.watch.progress.evidence(
            self.stand.title,
            judgement,
            rate=rate / max(elapsed, 1e-3),
            soak_left=max(0.0, self.stand.soak - elapsed),
            time_left=self.stand.deadline - elapsed,
        )
