"""What is done about an alert: by the same code that a person's command runs, as the source that sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event, Thread
from typing import TYPE_CHECKING

from rollback import bootstrap, log
from rollback.alert_ports import Notice
from rollback.alerting.desk import NOT_YET, TOLD_IN_ONE, Item, told
from rollback.alerting.log_output import LogOutput
from rollback.commands import disabling
from rollback.commands.cases import Command
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core.history import Actor
from rollback.core.model import Severity
from rollback.core.triggers import cycle_reference
from rollback.core.verdicts import Action, Verdict
from rollback.errors import PolicyRefused, RollbackError, StoreError
from rollback.facts import record_fact
from rollback.redaction import redact

if TYPE_CHECKING:
    from rollback.alert_ports import Kept
    from rollback.core.alerts import Alert
    from rollback.core.model import Incident
    from rollback.disable import Kill
    from rollback.session import Session

TRY_FOR = 60.0
"""Seconds that a flag store is asked before the off stays pending; then it is tried again while the case is open."""


@dataclass(slots=True)
class Acting:
    """Acts for one feature. `session` is warm: its connection to the flag store is kept open by who looks at the flag.

    `authentication` says how a source proves itself, for the actor in the record. `notify` tells people and never
    blocks. `written` gets the seconds from receipt to an acknowledged off, `ended` how its proof ended. `probes` asks
    the feature's own probes until a time, and calls back when they agree that it is harmed.
    """

    session: Session
    authentication: Callable[[str], str]
    notify: Callable[[Notice], None]
    written: Callable[[float], None] = lambda _seconds: None
    ended: Callable[[str], None] = lambda _result: None
    probes: Callable[[datetime, Callable[[], None]], None] = lambda _until, _agreed: None

    _controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self._controller = Controller(self.session)

    @property
    def feature(self) -> str:
        """The feature's key."""
        return self.session.feature

    def case(self) -> Incident | None:
        """The open case as the record has it now."""
        return self._controller.reload()

    def act(self, verdict: Verdict, alert: Alert, kept: Kept) -> str:
        """Carries out what lowers exposure or opens a case; returns what came of it, in words. Never raises.

        An off returns once it is written (its proof goes on in a thread of its own), or has failed for now: then the
        case is open, and the off stays pending.
        """
        actor = Actor(f"alert-{alert.source}"[:64], authenticated=self.authentication(alert.source))
        reason = redact(f"{verdict.rule}: {alert.source} monitor {alert.monitor}: {alert.title}".rstrip(": "), 300)
        output = LogOutput(self.feature, lambda text: self._tell_trouble(kept, text))
        try:
            if verdict.action is Action.TURN_OFF:
                return self._turn_off(replace(self.session, actor=actor, warn=output.warn), reason, kept, output)
            command = Command(self.feature, reason, actor, False, output)
            if verdict.action is Action.OPEN_LOW:
                command.open("low", sensitive=False)
            else:
                self._reduce(command)
        except StoreError as error:
            return f"{NOT_YET}{error.message}"
        except RollbackError as error:
            return f"It did not come about: {error.message}"
        except Exception as error:
            return f"It did not come about: {type(error).__name__}"
        return ""

    def _turn_off(self, session: Session, reason: str, kept: Kept, output: LogOutput) -> str:
        ended: list[str] = []
        entered = Event()

        def written(kill: Kill) -> None:
            self.written((kill.at - kept.received_at).total_seconds())
            ended.append("")
            entered.set()

        def run() -> None:
            request = disabling.Request(self.feature, None, reason, no_wait=False, timeout=TRY_FOR, actor=None)
            try:
                code = disabling.turn_off(session, request, output, written)
                self.ended("proven" if code == 0 else "not_proven")
            except RollbackError as error:
                ended.append(f"NOT OFF as far as anybody knows: {error.message}")
                self.ended("failed")
            except Exception as error:
                ended.append(f"NOT OFF as far as anybody knows: {type(error).__name__}: {error}")
                self.ended("failed")
                log.event("off_failed", feature=self.feature, error=type(error).__name__)
            finally:
                entered.set()

        Thread(target=run, name=f"off-{self.feature}", daemon=True).start()
        entered.wait()
        return ended[0] if ended else ""

    def _tell_trouble(self, kept: Kept, text: str) -> None:
        """At the first trouble, not when trying ends: a person may be faster by hand."""
        lines = (
            f"{self.session.reference.name}: an alert turns it off, and the flag store does not take the off: {text}",
            f"By hand: rollback runbook {self.feature}. It is tried again by itself.",
        )
        told = "\n".join(redact(line) for line in lines)
        self.notify(Notice(f"{self.feature}:{kept.number}:trouble", self.feature, None, "call", told, "responder"))

    def _reduce(self, command: Command) -> None:
        incident = command.controller.incident
        if incident is None:
            command.open("high", sensitive=False)
        elif incident.severity is Severity.LOW:
            command.raise_to("high")
        else:
            command.reduce_again()

    def attach(self, attached: Sequence[str], recovered: Sequence[str], verdicts: Sequence[Verdict]) -> None:
        """The open case learns which cycles fire and which are over. Without a case there is nothing to learn."""
        severities: list[Severity] = [verdict.severity for verdict in verdicts if verdict.severity is not None]
        sources = sorted({str(verdict.evidence.get("source", "")) for verdict in verdicts})
        try:
            if attached and severities:
                highest = max(severities, key=lambda severity: severity.rank)
                self._controller.handle(e.AlertsAttached(tuple(attached), highest, ", ".join(sources)))
            if recovered:
                self._controller.handle(e.AlertsRecovered(tuple(recovered)))
        except PolicyRefused:  # it was closed in between
            log.event("alerts_not_attached", feature=self.feature, attached=len(attached), recovered=len(recovered))

    def record(self, decisions: Sequence[tuple[Item, Verdict]]) -> None:
        """Each decision with its rule, its evidence, and why not."""
        if not decisions:
            return
        shown = [told(item, verdict) for item, verdict in decisions[:TOLD_IN_ONE]]
        counts = Counter(verdict.action.value for _, verdict in decisions)
        data = {"decisions": shown, "counts": dict(counts)}
        case = self.case()
        if case is not None:
            self._controller.fact("alerts_decided", data=data)
        else:
            record_fact(self.session.history, self.session.clock, self.feature, "alerts_decided", data=data)

    def tell(self, item: Item, verdict: Verdict) -> None:
        """People hear of what was not acted on, and of what was, once for each cycle and kind of decision."""
        alert, case = item.alert, self.case()
        reference = cycle_reference(alert.source, alert.monitor, alert.cycle)
        name = self.session.reference.name
        lines = (f"{name}: {verdict.why}", f"Alert of {alert.source}, monitor {alert.monitor}: {alert.title}")
        self.notify(
            Notice(
                key=f"{self.feature}:{reference}:{verdict.action}",
                feature=self.feature,
                incident=case.incident_id if case else None,
                urgency=verdict.tell.value,
                text="\n".join(redact(line) for line in lines),
                role="responder",
            )
        )

    def ask_probes(self, until: datetime, agreed: Callable[[], None]) -> None:
        """Our own probes as the second signal."""
        self.probes(until, agreed)


def prepared(feature: str) -> Session:
    """A session for automation on this feature, its connection opened once. Raises `ConfigurationError`."""
    return bootstrap.open_session(feature, None, Actor("rollback", authenticated="process"), LogOutput(feature).warn)
