"""What all stages of one return share: the case, the flag as it was tested, and everything that ends the watch.

Whatever is exposed is watched here (invariant 9): each round asks the probes, and before that looks for a signal, for
somebody's disable, for drift and for foreign edits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rollback import raising
from rollback.core import events as e
from rollback.core.deploys import code_words
from rollback.core.machine import Decision
from rollback.core.model import Incident, Severity, State
from rollback.errors import HistoryUnwritable, StoreError
from rollback.evidence_book import EvidenceBook, Stage
from rollback.raising import view
from rollback.return_end import Restart, Stop

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.policy import SeverityPolicy
    from rollback.output import Progress
    from rollback.ports import HealthProbe, Measurement
    from rollback.session import Session

LOOK_AT_FLAG_EVERY = 1.0
"""Seconds between two looks at the flag while observing: how soon a disable by somebody else is noticed."""

SIGN_EVERY = 60.0
"""Seconds between two signs of life in the record: another machine cannot see whether this process lives."""

SIGN_LASTS = 300.0
"""Seconds for which a sign of life holds, or three rounds where these are further apart."""

ALIVE = "watch_alive"
"""The fact that is a sign of life; `for` are the seconds for which it holds."""


@dataclass(slots=True)
class ReturnWatch:
    """One return as it goes on.

    `digest` is of everybody else's configuration of the flag that the evidence is about, `allowed` is how many buckets
    may be open now, and `epoch` the case's epoch when the return began: a newer one means that somebody disabled.
    """

    session: Session
    controller: Controller
    policy: SeverityPolicy
    probe: HealthProbe
    progress: Progress
    interrupted: Callable[[], bool]
    hand_over: Callable[[], bool]
    reason: str
    policy_digest: str = ""
    digest: str = ""
    allowed: int = 0
    epoch: int = 0
    _code: tuple[str, int] = ("", 0)
    _looked: float = field(default=float("-inf"))
    _signed: float | None = None

    @property
    def incident(self) -> Incident:
        """The case as last read or written here."""
        return self.controller.require()

    @property
    def basis(self) -> str:
        """What evidence is about besides its fix: the policy, the flag, and what was deployed beside the fix."""
        about = f"{(self.policy_digest or self.incident.policy_hash)[:12]}:{self.digest}"
        changes = self.incident.code_changes
        return f"{about}:{changes}" if changes else about

    def handle(self, event: e.Event, *, data: Mapping[str, Any] | None = None, strict: bool = False) -> Decision:
        """Like the controller's, on the case as it is now; raises `Overtaken` when somebody has disabled."""
        self.reload()
        return self.controller.handle(event, reason=self.reason, data=data, strict=strict)

    def reload(self) -> None:
        """Reads the case again; raises `Overtaken` when somebody has disabled."""
        incident = self.controller.reload()
        if incident is None or incident.epoch != self.epoch:
            raise raising.disabled_again(self.session)

    def observe(self) -> Sequence[Measurement]:
        """One round of probes; before it, whatever ends the watch: `Stop`, `Restart` or `Overtaken`."""
        if self.interrupted():
            if self.incident.state is State.MONITORING and self.hand_over():
                raise Stop(e.WatchHandedOver("serve"), 130)
            raise Stop(e.WatchStopped("interrupted"), 130)
        self._sign()
        if self.session.clock.monotonic() - self._looked >= LOOK_AT_FLAG_EVERY:
            self.look_at_flag()
            self._looked = self.session.clock.monotonic()
        return self.probe.measure()

    def _sign(self) -> None:
        """A sign of life from time to time; the beginning of the return is the first one."""
        now = self.session.clock.monotonic()
        if self._signed is None:
            self._signed = now
        if now - self._signed < SIGN_EVERY:
            return
        self._signed = now
        rounds = max(self.policy.gate.interval, self.policy.monitoring.interval).total_seconds()
        self.controller.fact(ALIVE, data={"for": max(SIGN_LASTS, 3 * rounds)})
        self.session.history.feed()

    def look_at_flag(self, *, must_answer: bool = False) -> None:
        """Notices a newer disable, drift, and any other foreign edit: that one starts the evidence again."""
        try:
            flag = view(self.session)
        except StoreError as error:
            if must_answer:
                raise
            self.progress.say(f"The flag store does not answer, so nothing is raised: {error.message}")
            return
        self.reload()
        incident = self.incident
        raising.check_not_overtaken(self.session, incident, flag)
        if incident.state is State.MONITORING:
            return
        if deployed := code_words(self._code, incident):
            raise Restart(deployed)
        if incident.severity is Severity.LOW:
            return
        if what := raising.let_in(incident, flag, self.allowed):
            if not flag.has_kill or incident.state is not State.RAMPING:
                raise Stop(e.DriftSeen(*raising.next_kill(incident), what), 4)
            raise Stop(e.WatchStopped(what), 4)
        if flag.digest != self.digest:
            raise Restart("somebody edited the flag")

    def begin_evidence(self) -> None:
        """From now on evidence is about the code and the fix of this moment; another one starts it again."""
        self._code = self.incident.code

    def book(self, stage: Stage, *, tell: bool = True) -> EvidenceBook:
        """The evidence of a stage, with what earlier runs kept of it; that is said unless `tell` is False."""

        def record(name: str, data: Mapping[str, Any]) -> None:
            self.controller.fact(name, data=data, strict=True)

        book = EvidenceBook.for_gate(stage, self.policy.gate, record)
        book.expect(self.probe.metrics)
        kept = book.resume(self.session.history.entries(self.session.feature).entries, self.incident.incident_id)
        if kept and tell:
            self.progress.say(f"{kept} samples (of all metrics) from an earlier run of this step are kept.")
        return book

    def keep(self, book: EvidenceBook) -> None:
        """Writes the rest of the evidence; what cannot be kept is said, and never stands in the way of a retreat."""
        try:
            book.flush(self.session.clock.now(), always=True)
        except HistoryUnwritable as error:
            self.progress.say(f"The last evidence could not be kept: {error.message}")
