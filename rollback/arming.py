"""Whether each feature could be turned off by an alert right now, checked all the time (invariant 17).

`core.arming` has the verdict and says which checks count; `arming_checks` looks at the world; `arming_record` keeps
what was found. Here is the thread that renews each check when it is due, and tells people when the verdict changes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rollback import log
from rollback.alert_ports import Notice
from rollback.arming_record import RECORD_EVERY, read_checked, write_checked
from rollback.arming_watch import RETRY_UNANSWERED, Heartbeat, Task, Watch, watch_over
from rollback.core.arming import NOT_CHECKED, Armed, Check, CheckState, armed
from rollback.errors import RollbackError, StoreUnreachable
from rollback.redaction import redact

if TYPE_CHECKING:
    from datetime import datetime

    from rollback.alert_ports import Kept
    from rollback.arming_checks import Lookup
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.core.policy import FeaturePolicy
    from rollback.ports import Clock, HealthProbe
    from rollback.session import Session

LOOK_EVERY = 30.0
"""Seconds between two judgements at most: how soon it is noticed that something was not renewed in time."""

RETRY_AFTER = timedelta(minutes=5)
"""A check that is not well is made again that soon, so that it is known when somebody has mended it."""

UNANSWERED = 2
"""Checks in a row without an answer before one that was well counts as not well: systems are restarted now and then."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A feature to check. `p0` is that of the gate of its critical policy; `probe` None: no endpoint is configured."""

    session: Session
    policy: FeaturePolicy
    p0: float
    probe: HealthProbe | None = None


_own_random = random.Random()  # noqa: S311 (spreads load, guards nothing)


class ArmingLoop:
    """Checks all features from one thread of its own. The probes and pollers that it is given are closed at its end.

    `lookups` say by source how its monitors are looked up (`arming_checks.lookups`). `auto` False: automation is off as
    a whole. `measure` gets each verdict, e.g. for a metric. The first checks are made within a minute or so of the
    start, spread by `jitter` (from 0 to 1), and a write check not within ten minutes of the one before it: a process
    that is restarted again and again is no storm of writes. `notify` must not block.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        automation: AutomationPolicy,
        clock: Clock,
        notify: Callable[[Notice], None],
        *,
        lookups: Mapping[str, Lookup] | None = None,
        auto: bool = True,
        measure: Callable[[str, bool], None] = lambda _feature, _is_armed: None,
        jitter: Callable[[], float] = _own_random.random,
    ) -> None:
        self._clock, self._notify, self._measure, self._jitter = clock, notify, measure, jitter
        self._lookups = dict(lookups or {})
        self._subjects = {subject.policy.feature: subject for subject in subjects}
        self._changed = Condition()
        self._stopping = False
        self._thread: Thread | None = None
        self._watches = {
            feature: watch_over(subject, automation, self._lookups, auto=auto, clock=clock, jitter=jitter)
            for feature, subject in self._subjects.items()
        }
        self._heartbeats: dict[tuple[str, str | None], list[Heartbeat]] = {}
        for watch in self._watches.values():
            self._resume(watch)
            for heartbeat in watch.heartbeats:
                for monitor in heartbeat.monitors or (None,):
                    self._heartbeats.setdefault((heartbeat.source, monitor), []).append(heartbeat)

    # -- asked by others -------------------------------------------------------------------------------------------

    def heard(self, source: str, monitor: str, at: datetime) -> None:
        """An alert came in; it matters if it is a heartbeat. From any thread, at once."""
        for key in ((source, monitor), (source, None)):
            for heartbeat in self._heartbeats.get(key, ()):
                with self._changed:
                    heartbeat.heard_at = max(at, heartbeat.heard_at or at)
                    self._changed.notify_all()

    def heard_delivery(self, kept: Kept) -> None:
        """The same for each alert of a delivery; its receipt counts, for it shows that the way works."""
        for alert in kept.alerts:
            self.heard(alert.source, alert.monitor, kept.received_at)

    def status(self, feature: str) -> Armed:
        """The verdict as it is now. Until each check was made once, that of the process before, if there was one."""
        watch = self._watches.get(feature)
        if watch is None:
            return Armed(False, ("it is not checked here",))
        with self._changed:
            if watch.is_complete:
                return armed(watch.checks(self._clock.now()), self._clock.now())
        before = watch.recorded
        return before.verdict if before and self._clock.now() - before.at <= RECORD_EVERY else NOT_CHECKED

    def checks(self, feature: str) -> tuple[Check, ...]:
        """Every check of the feature as it is now; empty for one that is not checked here."""
        watch, now = self._watches.get(feature), self._clock.now()
        with self._changed:
            return tuple(check.as_of(now) for check in watch.checks(now)) if watch else ()

    # -- the thread ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Checks from now on."""
        self._thread = Thread(target=self._run, name="arming", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still checks."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """Ends after the check that is under way, and writes down which heartbeats were heard. False when that took
        too long."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
        if self.is_alive:
            return False
        for feature, watch in self._watches.items():
            if watch.is_complete and watch.heard_since_recorded:
                self._record(feature, watch, self._clock.now())
            if (probe := self._subjects[feature].probe) is not None:
                probe.close()
        for lookup in self._lookups.values():
            if lookup.poller is not None:
                lookup.poller.close()
        return True

    def _run(self) -> None:
        while True:
            try:
                wait = self.step()
            except Exception as error:  # whatever it is: the next look may be well
                log.event("arming_failed", error=f"{type(error).__name__}: {error}")
                wait = LOOK_EVERY
            with self._changed:
                if not self._stopping:
                    self._changed.wait(wait)
                if self._stopping:
                    return

    def step(self) -> float:
        """Makes the checks that are due and judges every feature; the seconds until the next one is due."""
        wait = LOOK_EVERY
        for feature, watch in self._watches.items():
            for task in watch.tasks:
                if self._stopping:
                    return 0.0
                if task.due <= self._clock.monotonic():
                    self._make(watch, task)
                wait = min(wait, max(0.0, task.due - self._clock.monotonic()))
            self._judge(feature, watch)
        return wait

    def _make(self, watch: Watch, task: Task) -> None:
        """One check. What fails on the way is a verdict, too."""
        name, before = task.name, watch.made.get(task.name)
        pause = RETRY_AFTER
        try:
            check = task.make()
            task.unanswered = 0
        except StoreUnreachable as error:
            task.unanswered += 1
            pause = RETRY_UNANSWERED
            check = Check(name, task.when_unanswered, redact(error.message, 300), self._clock.now())
            if before is not None and before.state is CheckState.OK and task.unanswered < UNANSWERED:
                check = before
        except RollbackError as error:
            check = Check(name, CheckState.UNKNOWN, redact(error.message, 300), self._clock.now())
        except Exception as error:
            check = Check(name, CheckState.UNKNOWN, f"failed on this side: {type(error).__name__}", self._clock.now())
        if check.state is CheckState.OK and check is not before:
            check = replace(check, renew_by=self._clock.now() + 2 * task.counts_for)
        if check.state is CheckState.OK and not task.unanswered:
            pause = task.every
        spread = 0.9 + 0.2 * self._jitter()
        task.due = self._clock.monotonic() + min(pause, task.every).total_seconds() * spread
        with self._changed:
            watch.made[name] = check
        log.event("check_made", feature=watch.feature, check=name, state=check.state.value, why=check.why)

    # -- judging and telling ---------------------------------------------------------------------------------------

    def _judge(self, feature: str, watch: Watch) -> None:
        now = self._clock.now()
        with self._changed:
            checks = [check.as_of(now) for check in watch.checks(now)]
            is_complete = watch.is_complete
        verdict = armed(checks, now) if is_complete else self.status(feature)
        self._measure(feature, verdict.is_armed)
        if not is_complete:
            return
        if watch.verdict is None or watch.verdict.is_armed != verdict.is_armed:
            watch.since = now
        self._tell(watch, verdict, checks)
        watch.verdict = verdict
        signature = tuple((check.name, check.state, check.needed) for check in checks)
        if signature != watch.signature or watch.recorded_at is None or now - watch.recorded_at >= RECORD_EVERY:
            watch.signature = signature
            self._record(feature, watch, now)

    def _record(self, feature: str, watch: Watch, now: datetime) -> None:
        with self._changed:
            checks = [check.as_of(now) for check in watch.checks(now)]
        watch.recorded_at = now
        history = self._subjects[feature].session.history
        write_checked(history, self._clock, feature, armed(checks, now), watch.since or now, checks)

    def _tell(self, watch: Watch, verdict: Armed, checks: Sequence[Check]) -> None:
        """Once when it is not armed any more, once for each further reason, and once when it is armed again."""
        if not self._subjects[watch.feature].policy.rules:
            return  # no alert is meant to do anything
        name, since = self._subjects[watch.feature].session.reference.name, watch.since or self._clock.now()
        if verdict.is_armed:
            if watch.told_of:
                text = f"{name} is armed again: a critical alert can turn it off."
                self._say(watch, f"armed:{watch.feature}:{since:%Y%m%dT%H%M%SZ}", "tell", text)
            watch.told_of = frozenset()
            return
        against = {check.name: check for check in checks if check.counts_against}
        fresh = sorted(against.keys() - watch.told_of)
        if not fresh:
            return
        watch.told_of |= against.keys()
        is_broken = any(against[one].state in (CheckState.FAILED, CheckState.LATE) for one in fresh)
        lines = [f"{name} is NOT ARMED: a critical alert may not turn it off.", *verdict.why]
        key = f"not-armed:{watch.feature}:{since:%Y%m%dT%H%M%SZ}:{'+'.join(fresh)[:150]}"
        text = "\n".join([*(redact(line) for line in lines), f"Look closer: rollback doctor {watch.feature}"])
        self._say(watch, key, "call" if is_broken else "tell", text)

    def _say(self, watch: Watch, key: str, urgency: str, text: str) -> None:
        owner = self._subjects[watch.feature].policy.owner
        self._notify(Notice(key, watch.feature, None, urgency, text, owner.role if owner else "owner"))

    def _resume(self, watch: Watch) -> None:
        """What the process before has found, so that nobody is told twice, and nothing is written too soon."""
        with suppress(RollbackError):  # a record that cannot be read is the same as none
            watch.resume(read_checked(self._subjects[watch.feature].session.history, watch.feature))
