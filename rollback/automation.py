"""The automatic trigger as one piece, shared by `serve` and `watch`: built from settings and policies, then started."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rollback import automation_bootstrap as adapters
from rollback import bootstrap, log
from rollback.alert_ports import Delivery, Notice
from rollback.alerting.acting import Acting, prepared
from rollback.alerting.desk import Desk, Surroundings
from rollback.alerting.dispatcher import Dispatcher
from rollback.alerting.parts import Parts
from rollback.alerting.probe_guard import ProbeGuard
from rollback.alerting.right_of_way import RightOfWay
from rollback.alerting.routing import Routes
from rollback.clock import SystemClock
from rollback.core.alert_rules import PROBES
from rollback.core.model import Severity
from rollback.core.probe_alarm import ProbeRule
from rollback.credentials import with_credentials
from rollback.errors import RollbackError
from rollback.polling import PollLoop
from rollback.probing import Prober, has_control
from rollback.redaction import redact
from rollback.restraint import Restraints, read_restraints
from rollback.serve_presence import announce, withdraw
from rollback.silence import arming_loop
from rollback.supervisor import Supervisor, keeper
from rollback.words import world_line

if TYPE_CHECKING:
    from rollback.alert_ports import Inbox, Kept
    from rollback.arming import ArmingLoop
    from rollback.core.alert_rules import Probing
    from rollback.core.alerts import Reading
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.core.policy import FeaturePolicy
    from rollback.core.verdicts import Action
    from rollback.history import History
    from rollback.kill_settings import KillSettings
    from rollback.notices import Outbox
    from rollback.policy_files import Policies
    from rollback.ports import Clock
    from rollback.session import Session

RESTRAINTS_EVERY = 1.0
"""Seconds: how soon a hold that somebody types elsewhere is known here."""


class Measures:
    """What is measured; by default nothing is. `serve` gives its own."""

    def decided(self, action: Action) -> None:
        """One decision on one alert."""

    def off_written(self, seconds: float) -> None:
        """An off was acknowledged so long after its alert came in."""

    def off_ended(self, result: str) -> None:
        """`proven`, `not_proven`, or `failed`."""

    def armed(self, feature: str, is_armed: bool) -> None:
        """Whether an alert could turn the feature off."""

    def stands(self, feature: str, state: str, exposure: int | None, *, needs_human: bool) -> None:
        """Where a feature stands; `exposure` None: not known."""


class KnownRestraints:
    """What holds automation back, read again and again by a thread of its own, so that no off waits for the record."""

    def __init__(
        self, history: History, features: tuple[str, ...], lifted: Callable[[str], None] = lambda _feature: None
    ) -> None:
        """`lifted` is told of each feature of which something is held back no more, or for another time."""
        self._history = history
        self._features = features
        self._lifted = lifted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restraints", daemon=True)
        self._known = Restraints()

    def __call__(self) -> Restraints:
        """As known now."""
        return self._known

    def start(self) -> None:
        """Reads once before anything is decided, and goes on."""
        self.read()
        self._thread.start()

    def read(self) -> None:
        """What cannot be read leaves what is known: a hold is not lost because a disk is slow."""
        before = self._known
        try:
            self._known = read_restraints(self._history, self._features)
        except Exception as error:  # a row that is no entry, too: this thread must not end
            why = error.message if isinstance(error, RollbackError) else type(error).__name__
            log.event("restraints_not_read", error=why)
        for feature in self._features:
            if before.differ(self._known, feature):
                self._lifted(feature)

    def stop(self) -> None:
        """Reads no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(RESTRAINTS_EVERY):
            self.read()
            self._history.feed()


@dataclass(slots=True)
class Automation:
    """All that decides, acts and watches. `start` resumes what was left; `stop` retreats, or hands over."""

    settings: KillSettings
    policies: Policies
    clock: Clock
    history: History
    inbox: Inbox
    outbox: Outbox
    dispatcher: Dispatcher
    supervisor: Supervisor
    arming: ArmingLoop
    restraints: KnownRestraints
    polls: list[PollLoop]
    probers: list[Prober]
    sessions: Mapping[str, Session]

    @property
    def worlds(self) -> tuple[str, ...]:
        """Where it acts, a line for each feature (invariant 4)."""
        return tuple(f"{feature}: {world_line(session.world)}" for feature, session in self.sessions.items())

    def start(self) -> None:
        """Everything that has a thread."""
        self.start_deciding()
        self.start_watching()

    def start_deciding(self) -> None:
        """The desks, after what holds automation back is known; what an earlier process left is taken up."""
        self.restraints.start()
        self.dispatcher.start()

    def start_watching(self) -> None:
        """The keepers of the features, and the polls."""
        try:
            announce(self.settings.journal)
        except OSError as error:
            log.event("presence_not_announced", error=error.strerror or str(error))
        self.supervisor.start()
        self.arming.start()
        for prober in self.probers:
            prober.start()
        firing = self.inbox.firing()
        for poll in self.polls:
            poll.poller.remember(firing)
            poll.start()

    @property
    def workers(self) -> dict[str, bool]:
        """Each thread that must live, and whether it does."""
        desks = {f"desk-{feature}": desk.is_alive for feature, desk in self.dispatcher.desks.items()}
        polls = {f"poll-{poll.poller.source}": poll.is_alive for poll in self.polls}
        probes = {f"probes-{prober.feature}": prober.is_alive for prober in self.probers}
        return {**desks, **polls, **probes, **self.supervisor.workers, "arming": self.arming.is_alive}

    def stop(self, seconds: float) -> bool:
        """Ends in the order in which work comes in. False when something did not end in time."""
        until = time.monotonic() + seconds

        def left() -> float:
            return max(0.1, until - time.monotonic())

        well = self.stop_deciding(left())
        well = self.stop_watching(left()) and well
        self.outbox.close(self.clock.monotonic() + min(5.0, left()))
        self.inbox.close()
        return well

    def settled(self, seconds: float) -> bool:
        """Waits until nothing that was taken in is under way. False when that took too long."""
        until = time.monotonic() + seconds
        never = threading.Event()
        while self.dispatcher.parts.waiting and time.monotonic() < until:
            never.wait(0.05)
        return not self.dispatcher.parts.waiting

    def stop_deciding(self, seconds: float) -> bool:
        """No more polls, then the desks end after what they are doing. False when that took too long."""
        for poll in self.polls:
            poll.ask_to_stop()
        for prober in self.probers:
            prober.stop()
        well = self.dispatcher.stop(seconds)
        late = [poll for poll in self.polls if not poll.stop(1.0)]
        return well and not late

    def stop_watching(self, seconds: float) -> bool:
        """What is watched here retreats, or is handed over. False when that took too long."""
        well = self.arming.stop(seconds)
        well = self.supervisor.stop(seconds) and well
        withdraw(self.settings.journal)
        self.restraints.stop()
        self.history.feed()
        for session in self.sessions.values():
            session.store.close()
        return well


def build(measures: Measures | None = None, report: Callable[[str], None] | None = None) -> Automation:
    """From the environment and the policies. Raises `ConfigurationError` and `HistoryUnwritable`."""
    from rollback.policy_files import load_policies

    measures = measures or Measures()
    environ, clock = with_credentials(bootstrap.environment()), SystemClock()
    settings, history = bootstrap.open_history(lambda text: log.event("warned", text=text))
    policies = load_policies(settings.policies, environ)
    policy = policies.automation
    inbox = adapters.inbox(settings, report or (lambda text: log.event("inbox_set_aside", text=text)))
    outbox = adapters.outbox(settings, policy, environ, clock)
    sessions = _sessions(policies, outbox.tell)
    rules = {feature: policies.features[feature].policy.rules for feature in sessions}
    desks: dict[str, Desk] = {}
    restraints = KnownRestraints(history, tuple(sessions), lambda feature: desks[feature].reconsider())
    way = RightOfWay()
    parts = Parts(inbox, clock, way)
    around = Surroundings(inbox, clock, policy, restraints, settings.auto, parts.done, way, measures.decided)
    for feature, session in sessions.items():
        desks[feature] = Desk(feature, rules[feature], around, _acting(session, policy, outbox.tell, measures))
    arming = arming_loop(settings, policies, sessions, inbox, clock, outbox.tell, measures.armed)
    dispatcher = Dispatcher(inbox, clock, history, Routes(rules), desks, parts, outbox.tell, way, arming.heard_delivery)
    return Automation(
        settings=settings,
        policies=policies,
        clock=clock,
        history=history,
        inbox=inbox,
        outbox=outbox,
        dispatcher=dispatcher,
        supervisor=Supervisor({f: keeper(session, outbox.tell, measures) for f, session in sessions.items()}),
        arming=arming,
        restraints=restraints,
        polls=[
            PollLoop(poller, policy.polls[name].interval, inbox, clock, dispatcher.accept, outbox.tell)
            for name, poller in adapters.pollers(policy, environ, clock).items()
        ],
        probers=_probers(policies, sessions, inbox, dispatcher.accept),
        sessions=sessions,
    )


def _sessions(policies: Policies, notify: Callable[[Notice], None]) -> dict[str, Session]:
    """A session for each feature; for one that cannot be served a person is called, and it hides no other."""

    def not_served(feature: str, why: str) -> None:
        log.event("feature_not_served", feature=feature, error=why)
        text = (
            f"{feature} is NOT served: its alerts turn nothing off until this is mended and serve started again: {why}"
        )
        notify(Notice(f"not-served:{feature}:{SystemClock().now():%Y-%m-%dT%H}", feature, None, "call", redact(text)))

    sessions = {}
    for feature in policies.features:
        try:
            sessions[feature] = prepared(feature)
        except RollbackError as error:
            not_served(feature, error.message)
    for broken in policies.broken_features:
        not_served(broken.file.stem, broken.error.message)
    return sessions


def _probers(
    policies: Policies, sessions: Mapping[str, Session], inbox: Inbox, accept: Callable[[Kept], None]
) -> list[Prober]:
    """The continuous probes of the features that want them; one that cannot be probed is said, and hides no other."""
    found = []
    for feature, session in sessions.items():
        policy = policies.features[feature].policy
        if policy.probing is None or not policy.probing.enabled:
            continue
        try:
            found.append(_prober(session, policy, policy.probing, inbox, accept))
        except RollbackError as error:
            log.event("feature_not_probed", feature=feature, error=error.message)
    return found


def _prober(
    session: Session, policy: FeaturePolicy, probing: Probing, inbox: Inbox, accept: Callable[[Kept], None]
) -> Prober:
    _, severity = bootstrap.policies(session, Severity.CRITICAL)
    probe = bootstrap.probe(session, policy)

    def deliver(reading: Reading) -> None:
        now = session.clock.now()
        for kept in inbox.put([Delivery(PROBES, reading.key, now, reading.kind, reading.alerts, reading.why)]):
            if kept is not None:
                accept(kept)

    return Prober(
        policy.feature,
        probe,
        ProbeRule(severity.gate.p0, probing.interval, probing.false_alarms_per_year),
        session.clock,
        deliver,
        has_control=has_control(policy.health, probe.unknown),
        open_cycles=[
            cycle.cycle for cycle in inbox.firing() if cycle.source == PROBES and cycle.monitor == policy.feature
        ],
    )


def _acting(session: Session, policy: AutomationPolicy, notify: Callable[[Notice], None], measures: Measures) -> Acting:
    def authentication(source: str) -> str:
        known = policy.sources.get(source)
        return known.authentication.value if known else ("probes" if source == "probes" else "poll")

    guard = ProbeGuard(session)

    def probes(until: datetime, agreed: Callable[[], None]) -> None:
        guard.ask(until, agreed)

    return Acting(session, authentication, notify, measures.off_written, measures.off_ended, probes)
