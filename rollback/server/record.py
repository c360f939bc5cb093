"""What belongs to no feature and is in the history all the same: tokens issued and revoked, calls refused by role."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback import bootstrap, log
from rollback.facts import record_fact

if TYPE_CHECKING:
    from rollback.core.history import Actor
    from rollback.ports import Clock

CHAIN = "@server"
"""The pseudo feature of these entries. No feature is called so: `@` is in no feature's name."""

REFUSALS_EVERY = timedelta(minutes=1)
"""How often the same refusal of the same caller is written down: who is refused in a loop must not fill the journal."""


class ServerRecord:
    """Facts on the chain `@server`. Never raises; a journal that is in trouble is told to `warn`, in one sentence."""

    def __init__(self, clock: Clock, warn: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._warn = warn or _log
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[datetime, int]] = {}

    def fact(self, name: str, actor: Actor, data: Mapping[str, Any] | None = None) -> None:
        """Writes one fact down, and feeds it to the ledger. `data` holds no secrets."""
        _, history = bootstrap.open_history(self._warn)
        record_fact(history, self._clock, CHAIN, name, actor=actor, data=data)
        history.feed()

    def refused(self, actor: Actor, role: str, permission: str, feature: str | None) -> None:
        """A call that its role does not allow; the same one at most once a minute, with how many were left out."""
        now = self._clock.now()
        with self._lock:
            at, left_out = self._told.get((actor.name, permission), (None, 0))
            if at is not None and now - at < REFUSALS_EVERY:
                self._told[actor.name, permission] = (at, left_out + 1)
                return
            self._told[actor.name, permission] = (now, 0)
        data: dict[str, Any] = {"permission": permission, "role": role}
        if feature:
            data["feature"] = feature[:80]
        if left_out:
            data["left_out"] = left_out
        self.fact("call_refused", actor, data)


def _log(sentence: str) -> None:
    log.event("record_trouble", why=sentence)
