"""A process that tells notices and is killed: `python -m tests.notifiers.dying MODE DATABASE URL`.

`sending`: two notices, one second apart; says `kept` when both are in the store. `sent`: one notice; says `sent` when
the other side has taken it and that is about to be remembered, and stays there. Both then wait to be killed.
"""

from __future__ import annotations

import sys
import threading
from datetime import datetime, timedelta

from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.clock import SystemClock
from rollback.notice_ports import Ending, Route
from rollback.notices import Outbox
from tests.notifiers.stand_ins import a_notice

LEASE = timedelta(seconds=0.5)


class StopsBeforeRemembering(SqliteOutboxStore):
    """Never gets to writing down that a notice was told."""

    def end(self, key: str, channel: str, at: datetime, ending: Ending) -> None:  # noqa: ARG002
        """Says so and stays."""
        print("sent", flush=True)
        threading.Event().wait()


def main(mode: str, database: str, url: str) -> None:
    """Runs until it is killed."""
    clock = SystemClock()
    make = StopsBeforeRemembering if mode == "sent" else SqliteOutboxStore
    channel = WebhookChannel("webhook", url, clock=clock, seconds=15.0)
    routes = [Route(channel, every_seconds=0.0)]
    outbox = Outbox(routes, make(database, lease=LEASE), clock=clock, look_again=0.05)
    for number in range(1 if mode == "sent" else 2):
        outbox.tell(a_notice(f"k{number}", text=f"n{number}"))
    if mode == "sending" and outbox.kept(["k0", "k1"], clock.monotonic() + 20):
        print("kept", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
