"""kill -9 between telling, sending and remembering, then the next process: nothing is lost, a repeat is called one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.clock import SystemClock
from rollback.notice_ports import Route
from rollback.notices import Outbox
from rollback.sandbox.wire import Answer
from tests.notifiers.dying import LEASE
from tests.notifiers.stand_ins import HANG, People, a_notice, people

pytestmark = pytest.mark.crash

TAKEN = Answer(204)


@contextlib.contextmanager
def dying(mode: str, database: Path, url: str, says: str) -> Iterator[None]:
    """The process, once it has said that word; killed afterwards."""
    command = [sys.executable, "-m", "tests.notifiers.dying", mode, str(database), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == says
            yield
        finally:
            process.kill()


def next_process(database: Path, server: People, requests: int, *, also: tuple[str, ...] = ()) -> None:
    """Starts again on the same database, tells `also`, and ends in order once so many requests have arrived."""
    clock = SystemClock()
    channel = WebhookChannel("webhook", server.url, clock=clock, seconds=10.0)
    store = SqliteOutboxStore(database, lease=LEASE)
    outbox = Outbox([Route(channel, every_seconds=0.0)], store, clock=clock, look_again=0.05)
    for key in also:
        outbox.tell(a_notice(key, text="handed in again"))
    server.wait(requests)
    assert outbox.close(clock.monotonic() + 20) == 0
    looking = SqliteOutboxStore(database, lease=LEASE)
    assert looking.waiting("webhook", 10) == []
    looking.close()


def headlines(server: People) -> list[str]:
    return [document["data"]["headline"] for document in server.documents]


def test_killed_before_a_notice_was_sent_it_is_delivered_once_and_not_called_a_repeat(tmp_path: Path) -> None:
    database = tmp_path / "o.db"
    with people(HANG) as hanging, dying("sending", database, hanging.url, says="kept"):
        hanging.wait()  # the first one is under way, the second one waits behind it
        assert headlines(hanging) == ["n0"]
    with people(TAKEN) as server:
        next_process(database, server, 2)
        told = headlines(server)
    assert sorted(told) == ["[Repeated, perhaps] n0", "n1"]


def test_killed_between_sending_and_remembering_it_is_delivered_twice_at_most_and_called_a_repeat(
    tmp_path: Path,
) -> None:
    database = tmp_path / "o.db"
    with people(TAKEN) as server:
        with dying("sent", database, server.url, says="sent"):
            server.wait()
            assert headlines(server) == ["n0"]
        next_process(database, server, 1)
        assert headlines(server) == ["n0", "[Repeated, perhaps] n0"]
        ids = [request.headers["webhook-id"] for request in server.requests]
        next_process(database, server, 0, also=("k0",))
        assert len(server.requests) == 2
    assert ids[0] == ids[1]


def test_handed_in_again_after_the_kill_a_notice_is_still_one(tmp_path: Path) -> None:
    database = tmp_path / "o.db"
    with people(HANG) as hanging, dying("sending", database, hanging.url, says="kept"):
        hanging.wait()
    with people(TAKEN) as server:
        next_process(database, server, 2, also=("k0", "k1"))
        assert sorted(headlines(server)) == ["[Repeated, perhaps] n0", "n1"]


def test_killed_again_and_again_in_the_middle_no_notice_is_lost(tmp_path: Path) -> None:
    database = tmp_path / "o.db"
    for _ in range(3):
        with people(HANG) as hanging, dying("sending", database, hanging.url, says="kept"):
            hanging.wait()
    with people(TAKEN) as server:
        next_process(database, server, 2)
        assert sorted(one.removeprefix("[Repeated, perhaps] ") for one in headlines(server)) == ["n0", "n1"]
