"""The sign of life for somebody outside, who tells when it stays away: the one fault that this process cannot tell.

An empty JSON object is posted to the configured address every so often, only while the server is well. Services such as
healthchecks.io take GET, HEAD and POST alike (healthchecks.io/docs/http_api); after their grace time without one they
raise the alarm. While the server is not well nothing is sent, so that silence means the same whether it is dead, hangs
or knows that it is ill; the service's way of reporting a failure (`/fail`) is not used: not every service has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

from rollback import log
from rollback.alert_ports import Notice
from rollback.errors import RollbackError
from rollback.redaction import redact

if TYPE_CHECKING:
    from rollback.ports import Clock

TOLD_EVERY = 3600.0
"""Seconds: people are told at most once an hour that signs of life do not arrive."""

FAILURES = 3
"""Signs of life in a row that do not arrive before people are told: the service has a grace time, too."""


@dataclass(slots=True)
class WatchdogLoop:
    """Sends a sign of life every `every`, from one thread.

    `send` posts it and raises errors of `rollback.errors`; it alone knows the address, which is a secret. `why_not`
    says in one sentence why the server is not well; empty: it is. `called` hears of each that arrived.
    """

    every: timedelta
    send: Callable[[], object]
    why_not: Callable[[], str]
    clock: Clock
    notify: Callable[[Notice], None]
    called: Callable[[datetime], None] = lambda _at: None
    _stop: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _failed: int = 0
    _told: float = float("-inf")
    _why: str = ""

    def start(self) -> None:
        """Sends from now on, the first at once."""
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still sends."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """Ends after what is under way. False when that took too long."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.is_alive

    def _run(self) -> None:
        while True:
            began = self.clock.monotonic()
            self.beat()
            if self._stop.wait(max(0.0, self.every.total_seconds() - (self.clock.monotonic() - began))):
                return

    def beat(self) -> bool:
        """One sign of life, if the server is well; whether it arrived. Never raises."""
        why = self._ill()
        if why != self._why:
            self._why = why
            log.event("watchdog_silent" if why else "watchdog_speaks", why=why)
        if why:
            return False
        try:
            self.send()
        except RollbackError as error:
            self._missed(error.message)
            return False
        except Exception as error:
            self._missed(f"it failed on this side ({type(error).__name__})")
            return False
        self._failed = 0
        self.called(self.clock.now())
        return True

    def _ill(self) -> str:
        try:
            return self.why_not()
        except Exception as error:  # who cannot say that all is well must not be taken for well
            return f"the server's state is not known ({type(error).__name__})"

    def _missed(self, why: str) -> None:
        """`why` is in the words of `send`, which never holds the address."""
        self._failed += 1
        log.event("watchdog_not_reached", why=redact(why), in_a_row=self._failed)
        if self._failed < FAILURES or self.clock.monotonic() - self._told < TOLD_EVERY:
            return
        self._told = self.clock.monotonic()
        text = f"Signs of life do not reach the outside watchdog: it will raise an alarm, or is down.\n{redact(why)}"
        self.notify(Notice(f"watchdog:{self.clock.now():%Y-%m-%dT%H}", None, None, "tell", text, "responder"))
