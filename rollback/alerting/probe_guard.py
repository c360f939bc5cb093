"""The feature's own probes as the second signal for a sender that cannot prove who it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Thread
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
    """Asks the probes until they say that the feature is harmed, by the gate's own test for harm, or time is up."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ask(self, until: datetime, agreed: Callable[[], None]) -> None:
        """Returns at once; `agreed` is called from another thread, at most once."""
        Thread(target=self._ask, args=(until, agreed), name=f"guard-{self._session.feature}", daemon=True).start()

    def _ask(self, until: datetime, agreed: Callable[[], None]) -> None:
        try:
            if self._is_harmed(until):
                agreed()
        except RollbackError as error:
            log.event("guard_not_asked", feature=self._session.feature, error=error.message)

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
