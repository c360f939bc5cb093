"""The feature's own probes as the second signal for a sender that cannot prove who it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Lock, Thread
from typing import TYPE_CHECKING

from rollback import bootstrap, log
from rollback.core.evidence import Verdict
from rollback.core.model import Severity
from rollback.errors import RollbackError
from rollback.evidence_book import EvidenceBook, Stage

if TYPE_CHECKING:
    from rollback.session import Session

ROUND_EVERY = 1.0
"""Seconds between two rounds of probes."""


class ProbeGuard:
    """Asks the probes until they say that the feature is harmed, by the gate's own test for harm, or time is up.

    One thread asks for all who wait, however many alerts come in. Each inquiry begins its test anew: a long good past
    must not hide harm that begins now.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = Lock()
        self._waiting: dict[Callable[[], None], datetime] = {}
        self._is_asking = False

    def ask(self, until: datetime, agreed: Callable[[], None]) -> None:
        """Returns at once; `agreed` is called from another thread, at most once for all the times it was given."""
        with self._lock:
            self._waiting[agreed] = max(until, self._waiting.get(agreed, until))
            if not self._is_asking:
                Thread(target=self._run, name=f"guard-{self._session.feature}", daemon=True).start()
                self._is_asking = True  # only now: where no thread is left, the next alert tries again

    def _run(self) -> None:
        while (until := self._longest()) is not None:
            try:
                is_harmed = self._is_harmed(until)
            except Exception as error:  # whatever it is: the next alert's guard must be asked
                why = error.message if isinstance(error, RollbackError) else type(error).__name__
                log.event("guard_not_asked", feature=self._session.feature, error=why)
                self._taken()
                continue
            if is_harmed:
                for agreed in self._taken():
                    agreed()

    def _longest(self) -> datetime | None:
        """How long somebody waits; None when nobody does any more, and then this thread ends."""
        with self._lock:
            now = self._session.clock.now()
            self._waiting = {agreed: until for agreed, until in self._waiting.items() if until > now}
            self._is_asking = bool(self._waiting)
            return max(self._waiting.values(), default=None)

    def _taken(self) -> list[Callable[[], None]]:
        with self._lock:
            taken, self._waiting = list(self._waiting), {}
        return taken

    def _is_harmed(self, until: datetime) -> bool:
        clock = self._session.clock
        feature, policy = bootstrap.policies(self._session, Severity.CRITICAL)
        probe = bootstrap.probe(self._session, feature)
        book = EvidenceBook.for_gate(Stage(0, 1, 1, "", "guard"), policy.gate, lambda _name, _data: None)
        book.expect(probe.metrics)
        try:
            while clock.now() < until:
                book.observe(probe.measure())
                if book.judge(soaked=False, expired=False).verdict is Verdict.UNHEALTHY:
                    return True
                clock.sleep(ROUND_EVERY)
        finally:
            probe.close()
        return False
