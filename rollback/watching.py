"""`rollback watch`: the automatic trigger without a receiver."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from rollback import log
from rollback.automation import build
from rollback.errors import ConfigurationError

STOP_WITHIN = 60.0
"""Seconds for a retreat and for what is under way."""

_LOOK_EVERY = 0.2


def run(interrupted: Callable[[], bool], say: Callable[[str], None], *, once: bool, hand_over: bool) -> int:
    """Asks until it is interrupted, or `once`. Raises `ConfigurationError` when there is nothing to ask."""
    log.configure()
    automation = build()
    if not automation.polls:
        automation.stop(1.0)
        raise ConfigurationError(
            "No system can be asked for alerts.",
            next="Name one under `polls` in automation.yaml, and set its address and the variables it names.",
        )
    automation.supervisor.hand_over = hand_over
    for world in automation.worlds:
        say(world)
    automation.start_deciding()
    if not once:
        automation.start_watching()
    say(f"Watching: {', '.join(poll.poller.source for poll in automation.polls)}.")
    if once:
        for poll in automation.polls:
            poll.poll()
    else:
        never = Event()
        while not interrupted():
            never.wait(_LOOK_EVERY)
    is_well = automation.settled(STOP_WITHIN) if once else True
    return 0 if automation.stop(STOP_WITHIN) and is_well else 1
