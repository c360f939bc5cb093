"""What is known of one feature's checks while they are renewed: which there are, when each is due, what it said."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from rollback.arming_checks import Lookup, check_monitors, check_write
from rollback.core.alert_rules import PROBES
from rollback.core.arming import (
    Armed,
    Check,
    CheckState,
    Harm,
    acting_rules,
    judge_baseline,
    judge_heartbeat,
    needs_probes,
    rules_check,
)
from rollback.disable import open_case

if TYPE_CHECKING:
    from rollback.arming_record import Recorded
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.core.feature_policy import FeaturePolicy
    from rollback.ports import Clock, HealthProbe
    from rollback.session import Session

FIRST_AFTER = 10.0
"""Seconds from the start to the first checks at the earliest: a process that dies at once has checked nothing."""

FIRST_SPREAD = 60.0
"""Seconds over which the first checks are spread."""

WRITE_GAP = timedelta(minutes=10)
"""Between two write checks at least, also over restarts."""

RETRY_UNANSWERED = timedelta(minutes=1)

ROUNDS = 10
"""Rounds of probes in one `baseline_check_every`: spread over it, so that one bad minute is no verdict."""

WINDOW = 24
"""How many `baseline_check_every` the harm rate looks back: a day, with the default of an hour."""


class Checked(Protocol):
    """A feature to check (`arming.Subject`)."""

    @property
    def session(self) -> Session: ...
    @property
    def policy(self) -> FeaturePolicy: ...
    @property
    def p0(self) -> float: ...
    @property
    def probe(self) -> HealthProbe | None: ...


@dataclass(slots=True)
class Task:
    """One check that is made again and again. `due` is monotonic; `counts_for` is how often it has to be renewed.

    `make` raises `StoreUnreachable` when there was no answer; `when_unanswered` is what it means if that goes on.
    """

    name: str
    every: timedelta
    counts_for: timedelta
    due: float
    make: Callable[[], Check]
    when_unanswered: CheckState = CheckState.UNKNOWN
    unanswered: int = 0


@dataclass(slots=True)
class Heartbeat:
    """A regular alert. `monitors` empty: any of the source. `heard_at` None: never heard."""

    name: str
    source: str
    monitors: tuple[str, ...]
    every: timedelta
    heard_at: datetime | None = None


@dataclass(slots=True)
class Watch:
    """One feature's checks. `fixed` never change while the process lives; `made` are the last results by name."""

    feature: str
    fixed: tuple[Check, ...]
    tasks: tuple[Task, ...]
    heartbeats: tuple[Heartbeat, ...]
    clock: Clock
    waiting_since: datetime
    shadow: str = ""
    baseline: Baseline | None = None
    made: dict[str, Check] = field(default_factory=dict)
    recorded: Recorded | None = None
    recorded_at: datetime | None = None
    signature: tuple[object, ...] = ()
    verdict: Armed | None = None
    since: datetime | None = None
    told_of: frozenset[str] = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether each check was made once."""
        return all(task.name in self.made for task in self.tasks)

    @property
    def heard_since_recorded(self) -> bool:
        """Whether a heartbeat was heard that the record does not know."""
        last = self.recorded_at
        return any(one.heard_at is not None and (last is None or one.heard_at > last) for one in self.heartbeats)

    def checks(self, now: datetime) -> list[Check]:
        """All checks, in the order in which they are told."""
        pending = [Check(task.name, CheckState.UNKNOWN, "not checked yet") for task in self.tasks]
        made = [self.made.get(check.name, check) for check in pending]
        beats = [judge_heartbeat(h.name, h.heard_at, self.waiting_since, h.every, now) for h in self.heartbeats]
        return [*self.fixed, *made, *beats]

    def resume(self, before: Recorded | None) -> None:
        """Takes up what the process before has found. A write check of another flag than today's is none."""
        if before is None:
            return
        self.recorded, self.recorded_at = before, before.at
        self.verdict, self.since = before.verdict, before.since
        self.told_of = frozenset(check.name for check in before.checks if check.counts_against)
        known = {check.name: check for check in before.checks}
        for heartbeat in self.heartbeats:
            heartbeat.heard_at = known[heartbeat.name].at if heartbeat.name in known else None
        if self.baseline is not None and "baseline" in known:
            self.baseline.resume(known["baseline"])
        write = known.get("write")
        is_same_flag = (
            write is not None and self.shadow and write.why.startswith((f"{self.shadow} ", f"{self.shadow}:"))
        )
        if write is None or write.at is None or not is_same_flag:
            return
        self.made["write"] = write
        left = (write.at + WRITE_GAP - self.clock.now()).total_seconds()
        for task in self.tasks:
            if task.name == "write":
                task.due = max(task.due, self.clock.monotonic() + left)


def watch_over(
    subject: Checked,
    automation: AutomationPolicy,
    lookups: Mapping[str, Lookup],
    *,
    auto: bool,
    clock: Clock,
    jitter: Callable[[], float],
) -> Watch:
    """The checks of one feature, as its policy and `automation.yaml` ask for them."""
    policy, session, arming = subject.policy, subject.session, automation.arming
    fixed = [_automation(auto), rules_check(policy)]
    heartbeats = _heartbeats(policy, automation)

    def task(name: str, every: timedelta, make: Callable[[], Check], counts_for: timedelta | None = None) -> Task:
        return Task(name, every, counts_for or every, clock.monotonic() + FIRST_AFTER + FIRST_SPREAD * jitter(), make)

    needs_write = bool(acting_rules(policy))
    tasks = [task("write", arming.write_check_every, lambda: check_write(session, policy, needed=needs_write))]
    tasks[0].when_unanswered = CheckState.FAILED
    for source, monitors in _monitors(policy).items():
        tasks.append(
            task(
                f"monitors:{source}",
                arming.monitor_check_every,
                _looking_up(source, monitors, lookups.get(source, Lookup()), clock, heartbeats),
            )
        )
    baseline: Baseline | None = None
    if subject.probe is None or not subject.probe.metrics:
        why = "no endpoint is configured, so nothing shows that the feature could come back"
        fixed.append(Check("baseline", CheckState.NOT_CONFIGURED, why, needed=needs_probes(policy)))
    else:
        every = arming.baseline_check_every
        baseline = Baseline(session, subject.probe, subject.p0)
        tasks.append(task("baseline", every / ROUNDS, baseline.round, every))
    shadow = f"{policy.flag_ref.environment}/{policy.flag_ref.namespace}/{policy.shadow_flag}"
    return Watch(
        policy.feature,
        tuple(fixed),
        tuple(tasks),
        heartbeats,
        clock,
        clock.now(),
        shadow if policy.shadow_flag else "",
        baseline,
    )


def _automation(auto: bool) -> Check:
    if auto:
        return Check("automation", CheckState.OK, "on")
    return Check("automation", CheckState.FAILED, "ROLLBACK_AUTO is off: alerts are recorded and told, and do nothing")


def _monitors(policy: FeaturePolicy) -> dict[str, tuple[str, ...]]:
    """By source, the monitors that its rules name and that are known here; our own probes are no source to look up."""
    found: dict[str, dict[str, None]] = {}
    for rule in policy.rules:
        if rule.source != PROBES and not rule.inactive_because:
            found.setdefault(rule.source, {}).update(dict.fromkeys(rule.known_monitors))
    return {source: tuple(monitors) for source, monitors in found.items()}


def _looking_up(
    source: str, monitors: tuple[str, ...], lookup: Lookup, clock: Clock, heartbeats: tuple[Heartbeat, ...]
) -> Callable[[], Check]:
    has_heartbeat = any(heartbeat.source == source for heartbeat in heartbeats)
    return lambda: check_monitors(source, monitors, lookup, clock.now(), has_heartbeat=has_heartbeat)


def _heartbeats(policy: FeaturePolicy, automation: AutomationPolicy) -> tuple[Heartbeat, ...]:
    """Those of the sources that the feature's rules name, and those among its rules."""
    found = []
    for source in dict.fromkeys(rule.source for rule in policy.rules):
        configured = automation.sources.get(source)
        if configured is not None and configured.heartbeat is not None:
            beat = configured.heartbeat
            found.append(Heartbeat(f"heartbeat:{source}", source, (beat.monitor,), beat.every))
    for rule in policy.rules:
        if rule.heartbeat_every is not None and not rule.inactive_because:
            found.append(Heartbeat(f"heartbeat:{rule.name}", rule.source, rule.known_monitors, rule.heartbeat_every))
    return tuple(found)


class Baseline:
    """How often the probes of the healthy feature fail: a few rounds in each period, judged over the last day."""

    def __init__(self, session: Session, probe: HealthProbe, p0: float) -> None:
        self._session, self._probe, self._p0 = session, probe, p0
        self._rounds: deque[dict[str, float | None]] = deque(maxlen=ROUNDS * WINDOW)
        self._failed_before = ""

    def resume(self, before: Check) -> None:
        """Its samples are gone with the process before; what had failed has to look well for as long as a period."""
        self._failed_before = before.why if before.state is CheckState.FAILED else ""

    def round(self) -> Check:
        """One round, and the verdict over the window. While a case is open nothing is usual, so nothing is measured."""
        now = self._session.clock.now()
        if open_case(self._session).incident_id is not None:
            why = "a case is open, so the probes do not show what is usual"
            return Check("baseline", CheckState.UNKNOWN, why, now, needed=False)
        self._rounds.append({one.metric: one.harm for one in self._probe.measure()})
        state, why = judge_baseline(self._seen(), self._p0)
        if self._failed_before and len(self._rounds) < ROUNDS:
            return Check("baseline", CheckState.FAILED, self._failed_before, now)
        return Check("baseline", state, why, now)

    def _seen(self) -> dict[str, Harm]:
        """By metric, over the window; nothing for one that gave no data in the last rounds: it is silent now."""
        latest = list(self._rounds)[-ROUNDS:]
        seen = {}
        for metric in self._probe.metrics:
            harms = [harm for one in self._rounds if (harm := one.get(metric)) is not None]
            is_silent = all(one.get(metric) is None for one in latest)
            seen[metric] = Harm() if is_silent else Harm(sum(harms), len(harms))
        return seen
