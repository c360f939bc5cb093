"""The sign of life: sent only while all is well, its address never shown, its failure told once an hour."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rollback.adapters.notifiers.sending import Post
from rollback.alert_ports import Notice
from rollback.clock import SystemClock
from rollback.errors import StoreUnreachable
from rollback.watchdog import FAILURES, WatchdogLoop
from tests.fakes.clock import NOON, FakeClock

SECRET = "ping-do-not-show-me-4711"


class Outside:
    """Somebody outside, in memory. `error` is raised instead of taking the sign of life."""

    def __init__(self) -> None:
        self.heard = 0
        self.error: Exception | None = None
        self.changed = threading.Event()

    def __call__(self) -> None:
        if self.error is not None:
            raise self.error
        self.heard += 1
        self.changed.set()


def watching(outside: Callable[[], object], why: Callable[[], str] = lambda: "") -> tuple[WatchdogLoop, list[Notice]]:
    told: list[Notice] = []
    return WatchdogLoop(timedelta(seconds=60), outside, why, FakeClock(), told.append), told


def test_a_sign_of_life_is_sent_while_all_is_well() -> None:
    outside, at = Outside(), list[datetime]()
    loop, told = watching(outside)
    loop.called = at.append
    assert loop.beat()
    assert (outside.heard, at, told) == (1, [NOON], [])


@pytest.mark.parametrize("ill", ["the dispatcher is dead", None])
def test_nothing_is_sent_when_the_server_is_ill_or_cannot_say(ill: str | None) -> None:
    outside = Outside()

    def why() -> str:
        if ill is None:
            raise RuntimeError("broken")
        return ill

    loop, told = watching(outside, why)
    assert not loop.beat()
    assert (outside.heard, told) == (0, [])


def test_it_speaks_again_as_soon_as_the_server_is_well() -> None:
    outside, ill = Outside(), ["the inbox cannot be written"]
    loop, _ = watching(outside, lambda: ill[0])
    assert not loop.beat()
    ill[0] = ""
    assert loop.beat()
    assert outside.heard == 1


@pytest.mark.parametrize("error", [StoreUnreachable("no answer"), ValueError(SECRET)])
def test_a_failure_is_told_after_a_few_and_once_an_hour(error: Exception) -> None:
    outside = Outside()
    loop, told = watching(outside)
    outside.error = error
    for _ in range(FAILURES - 1):
        loop.beat()
    assert told == []
    for _ in range(20):
        loop.beat()
    assert len(told) == 1
    loop.clock.sleep(3599)
    loop.beat()
    assert len(told) == 1
    loop.clock.sleep(1)
    loop.beat()
    assert len({notice.key for notice in told}) == 2
    assert all(SECRET not in notice.text for notice in told)


def test_one_that_arrives_ends_the_count() -> None:
    outside = Outside()
    loop, told = watching(outside)
    for _ in range(FAILURES):
        outside.error = StoreUnreachable("no answer")
        loop.beat()
        outside.error = None
        loop.beat()
    assert told == []


def test_the_thread_sends_at_once_and_stops() -> None:
    outside = Outside()
    loop, _ = watching(outside)
    loop.start()
    assert outside.changed.wait(10)
    assert loop.is_alive
    assert loop.stop(10)
    assert not loop.is_alive


def test_over_http_it_is_a_post_and_a_refusal_does_not_show_the_address(caplog: pytest.LogCaptureFixture) -> None:
    posted: list[tuple[str, object]] = []
    answers = [200, 404]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(answers[len(posted) - 1])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    caplog.set_level(0)
    try:
        post = Post("outside watchdog", f"http://127.0.0.1:{server.server_port}/{SECRET}", clock=SystemClock())
        loop, told = watching(lambda: post.send(b"{}"))
        assert loop.beat()
        answers.extend([404] * FAILURES)
        for _ in range(FAILURES):
            assert not loop.beat()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert posted[0] == (f"/{SECRET}", {})
    assert len(told) == 1
    assert SECRET not in told[0].text
    assert SECRET not in caplog.text
