"""A desk with what is around it in memory: an inbox, a clock, and somebody who notes what is asked of him."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from rollback.adapters.inboxes.memory import MemoryInbox
from rollback.alert_ports import Delivery, Kept
from rollback.alerting.desk import NOT_YET, Desk, Item, Surroundings
from rollback.alerting.right_of_way import RightOfWay
from rollback.core.alert_rules import AlertRule
from rollback.core.alerts import Alert, Edge, ReadingKind
from rollback.core.automation_policy import AutomationPolicy
from rollback.core.model import Incident, Severity, State
from rollback.core.verdicts import Action, Verdict
from rollback.restraint import Restraints
from tests.fakes.clock import FakeClock

FEATURE = "secure-messaging"

CRITICAL = AlertRule(name="errors", source="datadog", monitors=("4711",), severity=Severity.CRITICAL)
HIGH = AlertRule(name="slow", source="datadog", monitors=("4712",), severity=Severity.HIGH)
LOW = AlertRule(name="typo", source="datadog", monitors=("4713",), severity=Severity.LOW)
WEAK = AlertRule.model_validate(
    {
        "name": "health-rule",
        "source": "appdynamics",
        "monitors": ["77"],
        "severity": "critical",
        "guard": {"within": "60s", "by": ["probes", "datadog"]},
    }
)

AUTOMATION = AutomationPolicy.model_validate(
    {
        "sources": {
            "datadog": {"kind": "datadog", "authentication": "secret_header", "secrets": ["DATADOG_SECRET"]},
            "appdynamics": {"kind": "appdynamics", "authentication": "secret_header", "secrets": ["APPD_SECRET"]},
        },
        "storm_brake": {"features": 3, "window": "10m"},
    }
)


@dataclass
class Noted:
    """A `Doing` that carries out nothing: the case becomes what the acts would make of it."""

    clock: FakeClock
    incident: Incident | None = None
    acts: list[Action] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    decisions: list[Verdict] = field(default_factory=list)
    notices: list[Verdict] = field(default_factory=list)
    probing: list[Callable[[], None]] = field(default_factory=list)
    way: RightOfWay = field(default_factory=RightOfWay)
    went_first: list[bool] = field(default_factory=list)
    fails: Exception | None = None
    out_of_reach: bool = False

    def case(self) -> Incident | None:
        return self.incident

    def act(self, verdict: Verdict, alert: Alert, kept: Kept) -> str:
        self.went_first.append(self.way.free()[1] > 0)
        if self.fails is not None:
            raise self.fails
        if self.out_of_reach:
            return f"{NOT_YET}the store does not answer"
        self.acts.append(verdict.action)
        severity = {Action.TURN_OFF: Severity.CRITICAL, Action.REDUCE: Severity.HIGH}.get(verdict.action, Severity.LOW)
        state = {Action.TURN_OFF: State.DISABLING, Action.REDUCE: State.REDUCED}.get(verdict.action, State.FIXING)
        now = self.clock.now()
        base = self.incident or Incident("case-1", FEATURE, severity, state, now, now)
        self.incident = replace(base, severity=severity, state=state, epoch=base.epoch + 1)
        return f"done for {alert.monitor} ({kept.number})"

    def attach(self, attached: Sequence[str], recovered: Sequence[str], verdicts: Sequence[Verdict]) -> None:
        assert len(verdicts) >= bool(attached)
        self.attached += attached
        self.recovered += recovered

    def record(self, decisions: Sequence[tuple[Item, Verdict]]) -> None:
        self.decisions += [verdict for _, verdict in decisions]

    def tell(self, item: Item, verdict: Verdict) -> None:
        assert item.kept.number > 0
        self.notices.append(verdict)

    def ask_probes(self, until: datetime, agreed: Callable[[], None]) -> None:
        assert until > self.clock.now()
        self.probing.append(agreed)

    @property
    def actions(self) -> list[Action]:
        """What was decided, in order."""
        return [verdict.action for verdict in self.decisions]


class Bench:
    """One desk whose thread is the test's own."""

    def __init__(self, *rules: AlertRule, auto: bool = True, inbox: MemoryInbox | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.inbox = inbox or MemoryInbox(now=self.clock.now)
        self.doing = Noted(self.clock)
        self.restraints = Restraints()
        self.ended: list[tuple[int, str]] = []
        self._numbers = count(1)
        around = Surroundings(
            self.inbox,
            self.clock,
            AUTOMATION,
            lambda: self.restraints,
            auto,
            lambda n, _desk, w: self.end(n, w),
            self.doing.way,
        )
        feature = options.pop("feature", FEATURE)
        self.desk = Desk(feature, rules or (CRITICAL, HIGH, LOW, WEAK), around, self.doing)

    def end(self, number: int, words: str) -> None:
        """A delivery is done here."""
        self.ended.append((number, words))

    def kept(self, *alerts: Alert) -> Kept:
        """A delivery of these alerts, in the inbox."""
        key = f"{self.desk.feature}-{next(self._numbers)}"
        delivery = Delivery(alerts[0].source, key, self.clock.now(), ReadingKind.ALERTS, alerts)
        kept = self.inbox.put([delivery])[0]
        assert kept is not None
        return kept

    def deliver(self, *alerts: Alert) -> list[Action]:
        """Each in a delivery of its own, decided in one go; the actions in order."""
        before = len(self.doing.decisions)
        self.desk.work([Item(self.kept(alert), alert) for alert in alerts])
        return self.doing.actions[before:]

    def later(self, seconds: float) -> list[Action]:
        """Lets time pass, and decides what is due then."""
        self.clock.sleep(seconds)
        before = len(self.doing.decisions)
        due = self.desk.due()
        if due:
            self.desk.work(due)
        return self.doing.actions[before:]

    def alert(self, edge: Edge = Edge.FIRED, *, cycle: str = "c1", rule: AlertRule = CRITICAL, ago: float = 5) -> Alert:
        """An alert that the rule is about."""
        at = self.clock.now() - timedelta(seconds=ago)
        return Alert(rule.source, str(rule.monitors[0]), cycle, edge, at, title="errors above tolerance")
