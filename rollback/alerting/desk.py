"""One feature's desk: its alerts in turn, one at a time, each decided on the case as it is at that moment.

A desk has a thread of its own, so that a flag store that does not answer for one feature holds up no other. What it
cannot decide yet (a guard that has not agreed, a hold) waits here and, durably, in the inbox: a restart begins anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Protocol

from rollback import log
from rollback.alerting.right_of_way import RightOfWay
from rollback.core import triggers
from rollback.core.alert_rules import PROBES, AlertRule
from rollback.core.alerts import Age, Alert, Edge
from rollback.core.triggers import cycle_reference
from rollback.core.verdicts import ACTING, Action, GuardState, Situation, Urgency, Verdict
from rollback.errors import RollbackError

if TYPE_CHECKING:
    from rollback.alert_ports import Cycle, Inbox, Kept
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.core.model import Incident
    from rollback.ports import Clock
    from rollback.restraint import Restraints

AT_ONCE = 500
"""Alerts that are decided in one go: a storm is worked off in few writes, and a critical one among them is not late."""

TRIES = 3
"""How often a delivery is begun before it is set aside as poison."""

NOT_YET = "Not yet: "
"""How the words of an act begin that the flag store did not take, and that no case remembers."""

AGAIN_AFTER = timedelta(seconds=15)

TOLD_IN_ONE = 50
"""Decisions or deliveries that one entry of the record holds in full; the others of that moment are counted in it."""

KEPT_WAITING = 10_000
"""Alerts that one desk keeps waiting for a guard or a hold; what is beyond stays in the inbox until a restart."""


@dataclass(frozen=True, slots=True)
class Item:
    """One alert of one delivery at this desk. `put_off` is True when a decision on it was put off before."""

    kept: Kept
    alert: Alert
    put_off: bool = False


class Doing(Protocol):
    """What a desk has done for it: the case, the acts, the record, the notices. See `alerting.acting`."""

    def case(self) -> Incident | None: ...
    def act(self, verdict: Verdict, alert: Alert, kept: Kept) -> str: ...
    def attach(self, attached: Sequence[str], recovered: Sequence[str], verdicts: Sequence[Verdict]) -> None: ...
    def record(self, decisions: Sequence[tuple[Item, Verdict]]) -> None: ...
    def tell(self, item: Item, verdict: Verdict) -> None: ...
    def ask_probes(self, until: datetime, agreed: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all desks share. `restraints` gives what holds automation back, as known now; `auto` whether it may act.

    Whoever turns a feature off takes the `way`.
    """

    inbox: Inbox
    clock: Clock
    automation: AutomationPolicy
    restraints: Callable[[], Restraints]
    auto: bool
    done: Callable[[int, str, str], None]
    way: RightOfWay = field(default_factory=RightOfWay)
    decided: Callable[[Action], None] = lambda _action: None


@dataclass(slots=True)
class Desk:
    """The desk of one feature. `rules` are all rules of the feature."""

    feature: str
    rules: Sequence[AlertRule]
    around: Surroundings
    doing: Doing
    _queue: list[Item] = field(default_factory=list)
    _later: list[tuple[datetime, int, Item]] = field(default_factory=list)
    _seen: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    _probed: set[int] = field(default_factory=set)
    _changed: Condition = field(default_factory=Condition)
    _stopping: bool = False
    _count: int = 0
    _stuck: int = 0
    _thread: Thread | None = None

    def start(self) -> None:
        """Works from now on."""
        self._thread = Thread(target=self._run, name=f"desk-{self.feature}", daemon=True)
        self._thread.start()

    def take(self, items: Sequence[Item]) -> None:
        """Returns at once."""
        with self._changed:
            self._queue.extend(items)
            self._changed.notify_all()

    def reconsider(self) -> None:
        """What waits is decided again at once: what it waited for may be over. Returns at once."""
        self._wake(lambda _item: True)

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread is not None and self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Ends after what it is doing; what waits stays in the inbox."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def stop(self, seconds: float) -> bool:
        """Waits for its end. False when that took too long."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.is_alive

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (items := self._next()) is not None:
            self.attempt(items)

    def _next(self) -> list[Item] | None:
        """What is to be decided now; None at the end."""
        with self._changed:
            while True:
                if self._stopping:
                    return None
                if due := self.due():
                    return due
                now = self.around.clock.now()
                self._changed.wait((self._later[0][0] - now).total_seconds() if self._later else None)

    def due(self) -> list[Item]:
        """Takes what is to be decided now: what waited for this moment, then what came in."""
        with self._changed:
            now = self.around.clock.now()
            due = []
            while self._later and self._later[0][0] <= now:
                due.append(heapq.heappop(self._later)[2])
            taken, self._queue = self._queue[:AT_ONCE], self._queue[AT_ONCE:]
            return [*due, *taken]

    def attempt(self, items: Sequence[Item]) -> None:
        """`work`, whatever happens: the other alerts of this feature still count."""
        try:
            self.work(items)
        except Exception as error:
            self._failed(items, error)

    def items_of(self, kept: Kept) -> list[Item]:
        """The alerts of a delivery that this feature has a rule for."""
        return [Item(kept, alert) for alert in kept.alerts if triggers.ranked(alert, self.rules)]

    def _failed(self, items: Sequence[Item], error: Exception) -> None:
        """Again in a moment, a few times; then it is poison, set aside and told."""
        why = error.message if isinstance(error, RollbackError) else f"{type(error).__name__}: {error}"
        log.event("alerts_not_decided", feature=self.feature, error=why, alerts=len(items))
        again = self.around.clock.now() + timedelta(seconds=1)
        for number in {item.kept.number for item in items}:
            mine = [item for item in items if item.kept.number == number]
            try:
                is_poison = self.around.inbox.begin(number) >= TRIES
                if is_poison:
                    self.around.inbox.set_aside(number, why[:300], self.around.clock.now())
                self._stuck = 0
            except RollbackError as trouble:  # the inbox itself is in trouble: it stays there, and here
                is_poison = False
                self._tell_stuck(mine[0], trouble.message)
            if is_poison:
                for _ in mine:
                    self.around.done(number, self.feature, f"set aside: {why}")
                verdict = Verdict(Action.TELL, "", f"An alert could not be processed: {why}"[:300], Urgency.CALL)
                self.doing.tell(mine[0], verdict)
            else:
                self._put_off(mine, again)

    def _tell_stuck(self, item: Item, why: str) -> None:
        """Alerts that nobody can decide on for want of the inbox: soon a person has to."""
        self._stuck += 1
        if self._stuck == TRIES:
            said = f"An alert is kept and cannot be decided on: {why}. By hand: rollback disable {self.feature}"
            self.doing.tell(item, Verdict(Action.TELL, "", said[:300], Urgency.CALL))

    def _put_off(self, items: Sequence[Item], until: datetime) -> None:
        with self._changed:
            for item in items:
                if len(self._later) < KEPT_WAITING:
                    self._count += 1
                    heapq.heappush(self._later, (until, self._count, item))

    # -- deciding -----------------------------------------------------------------------------------------------

    def work(self, items: Sequence[Item]) -> None:
        """Decides all of them in their order, acts at once, and writes down what came of each."""
        inbox = self.around.inbox
        cycles = inbox.see([item.alert for item in items])
        case = self.doing.case()
        known: dict[tuple[str, str, str], int] = {}
        decisions: list[tuple[Item, Verdict]] = []
        for item, cycle in zip(items, cycles, strict=True):
            key = (cycle.source, cycle.monitor, cycle.cycle)
            is_new = max(cycle.decided_rank(self.feature), known.get(key, -1)) < self._rank(item.alert)
            verdict = triggers.decide_rules(item.alert, self.rules, self._situation(item, cycle, is_new, case))
            if verdict.action in ACTING:
                with self.around.way.taken():
                    verdict = self._acted(item, verdict)
                case = self.doing.case()
            if verdict.decides and verdict.severity is not None:
                known[key] = max(verdict.severity.rank, known.get(key, -1))
            self._remember(item, cycle)
            decisions.append((item, verdict))
        self._write_down(decisions, cycles)

    def _rank(self, alert: Alert) -> int:
        """How severe the deciding rule is: a cycle that has become worse counts as new. Without a rule: as low."""
        rule = self._deciding(alert)
        return rule.severity.rank if rule is not None and rule.severity is not None else 0

    def _deciding(self, alert: Alert) -> AlertRule | None:
        """The rule that decides; None when no rule of the feature is about this alert."""
        return next(iter(triggers.ranked(alert, self.rules)), None)

    def _age(self, item: Item) -> Age:
        limits = self.around.automation.limits(item.alert.source)
        return triggers.age(item.alert, item.kept.received_at, limits.maximum_age, limits.clock_skew)

    def _situation(self, item: Item, cycle: Cycle, is_new: bool, case: Incident | None) -> Situation:
        restraints = self.around.restraints()
        return Situation(
            now=self.around.clock.now(),
            age=self._age(item),
            is_new_cycle=is_new,
            is_firing=cycle.is_firing,
            incident=case,
            hold=restraints.holds.get(self.feature),
            muted_until=restraints.mutes.get(item.alert.source),
            auto=self.around.auto,
            guard=self._guard(item),
            put_off=item.put_off,
        )

    def _acted(self, item: Item, verdict: Verdict) -> Verdict:
        """The verdict with what came of it; turning off takes a place of the storm brake first (invariant 15)."""
        now = self.around.clock.now()
        brake = self.around.automation.storm_brake
        if verdict.action is Action.TURN_OFF and not self.around.inbox.reserve_off(
            self.feature, now, now - brake.window, brake.features
        ):
            why = (
                f"{brake.features} features were turned off by themselves within {brake.window}: a shared cause? "
                f"This one stays as it is until a person decides: rollback disable {self.feature}"
            )
            return replace(verdict, action=Action.TELL, why=why, tell=Urgency.CALL, attaches=self._joins(verdict))
        came = self.doing.act(verdict, item.alert, item.kept)
        done = replace(verdict, why=f"{verdict.why} {came}".strip())
        if came.startswith(NOT_YET):  # nothing was done, so nothing is decided: it is decided again soon
            return replace(done, decides=False, attaches=False, again_at=now + AGAIN_AFTER)
        return done

    def _joins(self, verdict: Verdict) -> bool:
        """An open case hears of a braked alert all the same: no step up while it fires."""
        return verdict.attaches and self.doing.case() is not None

    # -- guards -------------------------------------------------------------------------------------------------

    def _guard(self, item: Item) -> GuardState | None:
        """How far the second signal of the deciding rule is; None when that rule needs none."""
        rule = self._deciding(item.alert)
        if rule is None or rule.guard is None:
            return None
        guard = rule.guard
        ends_at = item.kept.received_at + guard.within
        agreed = ""
        for source in guard.by:
            at, monitor = self._seen.get(source, (None, ""))
            is_near = at is not None and abs(at - item.kept.received_at) <= guard.within
            if is_near and source != item.alert.source and not agreed:
                agreed = f"{source} ({monitor})" if monitor else source
        return GuardState(ends_at, agreed)

    def _remember(self, item: Item, cycle: Cycle) -> None:
        """A firing, fresh alert of one source may be the second signal for another's."""
        rule = self._deciding(item.alert)
        if rule is None or rule.is_heartbeat:  # that a source lives says nothing about the feature
            return
        if item.alert.edge in (Edge.FIRED, Edge.REPEATED) and cycle.is_firing and self._age(item) is Age.FRESH:
            self._seen[item.alert.source] = (item.kept.received_at, item.alert.monitor)
            self._wake(lambda one: self._waits_for(one, item.alert.source))
        elif not cycle.is_firing and self._seen.get(item.alert.source, (None, ""))[1] == item.alert.monitor:
            self._seen.pop(item.alert.source, None)

    def _wake(self, is_due: Callable[[Item], bool]) -> None:
        """What waits, and is due now, is decided again at once, in its order."""
        with self._changed:
            waiting = sorted(entry for entry in self._later if is_due(entry[2]))
            if waiting:
                woken = {count for _, count, _ in waiting}
                self._later = [entry for entry in self._later if entry[1] not in woken]
                heapq.heapify(self._later)
                self._queue[:0] = [item for _, _, item in waiting]
                self._changed.notify_all()

    def _waits_for(self, item: Item, source: str) -> bool:
        """Whether this source may be its second signal."""
        rule = self._deciding(item.alert)
        return bool(rule and rule.guard and source in rule.guard.by and item.alert.source != source)

    def _ask_probes(self, item: Item, until: datetime) -> None:
        """Our own probes may be the second signal; asked once for each alert."""
        if not self._waits_for(item, PROBES) or item.kept.number in self._probed:
            return
        self._probed.add(item.kept.number)
        self.doing.ask_probes(until, self._probes_agree)

    def _probes_agree(self) -> None:
        """Our own probes find harm, now: the second signal for each alert that came in about this time."""
        self._seen[PROBES] = (self.around.clock.now(), "")
        self._wake(lambda one: self._waits_for(one, PROBES))

    # -- writing down -------------------------------------------------------------------------------------------

    def _write_down(self, decisions: Sequence[tuple[Item, Verdict]], cycles: Sequence[Cycle]) -> None:
        """Case, record, inbox, people, in this order: a crash in between makes a decision again, and loses none."""
        attached = [_reference(item.alert) for item, verdict in decisions if verdict.attaches]
        recovered = [_reference(item.alert) for item, verdict in decisions if verdict.action is Action.RECOVER]
        if attached or recovered:
            kept = [verdict for _, verdict in decisions if verdict.attaches]
            self.doing.attach(list(dict.fromkeys(attached)), list(dict.fromkeys(recovered)), kept)
        self.doing.record(decisions)
        final = [
            (cycle, verdict.severity.rank)
            for (_, verdict), cycle in zip(decisions, cycles, strict=True)
            if verdict.decides and verdict.severity is not None
        ]
        if final:
            self.around.inbox.decided(self.feature, final)
        for item, verdict in decisions:
            self.around.decided(verdict.action)
            if verdict.tell is not Urgency.RECORD:
                self.doing.tell(item, verdict)
            if verdict.again_at is None:
                self.around.done(item.kept.number, self.feature, f"{verdict.action}: {verdict.why}")
            else:
                self._put_off([replace(item, put_off=True)], verdict.again_at)
                self._ask_probes(item, verdict.again_at)


def _reference(alert: Alert) -> str:
    return cycle_reference(alert.source, alert.monitor, alert.cycle)


def told(item: Item, verdict: Verdict) -> Mapping[str, Any]:
    """One decision as JSON values, for the record: the rule, the evidence, and why not."""
    return {
        "delivery": item.kept.number,
        "action": verdict.action.value,
        "rule": verdict.rule,
        "why": verdict.why,
        "again_at": verdict.again_at.isoformat() if verdict.again_at else None,
        "evidence": dict(verdict.evidence),
    }
