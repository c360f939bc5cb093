"""The watch after the return: full exposure, with the e-detector, for the policy's time.

Whoever takes the watch over goes on where it was left: the same evidence, the same detector, and only the time that was
really watched counts. It does not end while an attached alert fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from rollback.core import events as e
from rollback.core.evidence import Judgement
from rollback.core.machine import firing_words
from rollback.core.scalars import format_duration
from rollback.evidence_book import Alarms, Stage, kept_batches, watched_time
from rollback.return_end import Stop
from rollback.words import span

if TYPE_CHECKING:
    from rollback.evidence_book import EvidenceBook
    from rollback.return_holds import Holds
    from rollback.return_watch import ReturnWatch

MONITOR = 99
"""The stage's place: after every step that a ladder may have."""


BLIND_FOR = 900.0
"""Seconds without any data after which a person is called; the time of monitoring stands still meanwhile."""


@dataclass(slots=True)
class ReturnMonitor:
    """One watch. `run` returns when it is over without harm."""

    watch: ReturnWatch
    holds: Holds
    _called: bool = False

    def run(self) -> None:
        """Watches to the end of the policy's time. Raises `Stop` on harm or a signal, `Overtaken` after a disable."""
        book = self.watch.book(self._stage, tell=False)
        try:
            self._observe(book)
        finally:
            self.watch.keep(book)  # whoever takes the watch over goes on from here

    def _observe(self, book: EvidenceBook) -> None:
        watch = self.watch
        clock, rule = watch.session.clock, watch.policy.monitoring
        alarms, before = self._taken_up()
        self._say(rule.duration, before)
        began = last = seen = clock.monotonic()
        left = (rule.duration - before).total_seconds()
        while (elapsed := clock.monotonic() - began) < left or firing_words(watch.incident):
            if elapsed >= left:
                self._call_over_time()
            measured = self.holds.counting(watch.observe())
            is_blind = not any(one.harm is not None or one.waiting for one in measured)
            if self.holds.up() or is_blind:
                left += clock.monotonic() - last  # what cannot be seen is not watched
            last = clock.monotonic()
            seen = seen if is_blind else last
            if last - seen >= BLIND_FOR:
                self._call("nothing is seen of its health while it is monitored")
            book.observe(measured)
            judgement = book.judge(soaked=False, expired=False)
            book.flush(clock.now())
            watch.progress.watching(judgement, time_left=max(0.0, left - elapsed))
            if harmful := alarms.observe(measured):
                raise Stop(e.HarmSeen(f"{', '.join(harmful)} became harmful while monitored"), 4)
            self._check_forced(judgement)
            clock.sleep(rule.interval.total_seconds())

    @property
    def _stage(self) -> Stage:
        """Its evidence is of this return alone: what was monitored before another off says nothing about this one."""
        incident = self.watch.incident
        basis = f"{self.watch.basis}:{incident.epoch}"
        return Stage(MONITOR, 1, incident.attempt, incident.fix, basis)

    def _taken_up(self) -> tuple[Alarms, timedelta]:
        """The detectors after what an earlier watcher saw, and how long it watched."""
        watch = self.watch
        alarms = Alarms(watch.probe.metrics, watch.policy.gate.p0, watch.policy.monitoring)
        entries = watch.session.history.entries(watch.session.feature).entries
        batches = list(kept_batches(entries, watch.incident.incident_id, self._stage))
        for batch in batches:
            alarms.take_up(batch)
        return alarms, min(watched_time(batches), watch.policy.monitoring.duration)

    def _say(self, duration: timedelta, before: timedelta) -> None:
        earlier = f" ({span(before.total_seconds())} of it are over already)" if before else ""
        self.watch.progress.say(
            f"Monitoring for {format_duration(duration)}{earlier}; harm turns it down again by itself."
        )

    def _call_over_time(self) -> None:
        """The time is over, and it is not over: somebody has to look at the alert, and is called once."""
        self._call(f"monitored for its time, and not resolved: {firing_words(self.watch.incident)}"[:300])

    def _call(self, what: str) -> None:
        """Once; it stays on, and is watched."""
        human = self.watch.incident.needs_human
        if self._called or (human is not None and human.what == what):
            return
        self._called = True
        self.watch.handle(e.HumanCalled(what))
        self.watch.progress.say(f"A person is needed: {what}. It stays on, and is watched.")

    def _check_forced(self, judgement: Judgement) -> None:
        """A forced return lasts only as long as it was given, unless the evidence came in meanwhile."""
        until = self.watch.incident.forced_until
        if until is None or self.watch.session.clock.now() < until:
            return
        if not judgement.metrics or not all(metric.passed for metric in judgement.metrics):
            raise Stop(e.WatchStopped("the forced return has expired without enough evidence"), 4)
