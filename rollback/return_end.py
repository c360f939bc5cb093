"""How a return, or one stage of it, ends."""

from __future__ import annotations

from dataclasses import dataclass

from rollback.core import events as e
from rollback.core.model import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the return ended."""

    exit_code: int
    state: State
    message: str
    next: str = ""


class Stop(Exception):
    """Observation ended for a reason that is an event of its own."""

    def __init__(
        self, event: e.HarmSeen | e.EvidenceEnded | e.WatchStopped | e.DriftSeen | e.WatchHandedOver, exit_code: int
    ) -> None:
        super().__init__(event)
        self.event = event
        self.exit_code = exit_code


class Restart(Exception):
    """What is being observed has changed (flag edited, another fix deployed): its evidence starts again."""
