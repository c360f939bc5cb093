"""The HTTP server beneath the stand-ins: what clients may send, and that answers are quick."""

from __future__ import annotations

import http.client
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rollback.sandbox import FliptServer
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer
from tests.sandbox.calls import ask, boolean_flag, seeded
from tests.sandbox.waiting import wait_until


@pytest.fixture
def echo() -> Iterator[WireServer]:
    """A server that says what it was asked."""

    def handler(request: Request) -> Answer:
        told = {"method": request.method, "path": request.path, "query": request.query}
        return json_answer({**told, "body": request.body.decode()})

    server = WireServer(handler)
    yield server
    server.stop()


def raw(server: WireServer, sent: bytes) -> bytes:
    """All that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_bodies_may_come_in_chunks(echo: WireServer) -> None:
    sent = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    assert b'"body":"abcde"' in raw(echo, sent)


def test_requests_may_be_sent_one_after_the_other_without_waiting(echo: WireServer) -> None:
    answered = raw(echo, b"GET /one HTTP/1.1\r\n\r\nGET /two?x=%20y HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert b'"query":{"x":" y"}' in answered


def test_a_client_that_asks_first_is_told_to_go_on(echo: WireServer) -> None:
    answered = raw(echo, b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    assert answered.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"what\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99\r\n\r\nshort",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_nonsense_ends_the_connection_and_not_the_server(echo: WireServer, nonsense: bytes) -> None:
    assert raw(echo, nonsense) == b""
    assert b"200 OK" in raw(echo, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")


def test_a_head_request_gets_no_body(echo: WireServer) -> None:
    assert raw(echo, b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"\r\n\r\n")


def test_stopping_twice_is_fine_and_frees_the_port() -> None:
    with FliptServer("v1") as server:
        port = server.port
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            ask(server.url, "GET", "/health")
        server.stop()
    with FliptServer("v1", port=port) as again:
        assert again.port == port


def test_instant_answers_are_instant() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag())) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        taken = []
        for _ in range(200):
            started = time.perf_counter()
            connection.request("GET", "/api/v2/environments/default/namespaces/mhv/resources/flipt.core.Flag/sm")
            connection.getresponse().read()
            taken.append(time.perf_counter() - started)
        connection.close()
    assert statistics.median(taken) < 0.005


def test_concurrent_writes_are_each_applied_once() -> None:
    with FliptServer("v1", seed=seeded(boolean_flag())) as server:
        path = "/api/v1/namespaces/mhv/flags/sm/rollouts"
        barrier = threading.Barrier(8)

        def create(number: int) -> int:
            barrier.wait()
            document = {"rank": number % 4, "threshold": {"percentage": number, "value": False}}
            return ask(server.url, "POST", path, document).status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(create, range(8)))
        assert sorted(statuses) == [200] * 4 + [400] * 4
        ranks = [one["rank"] for one in ask(server.url, "GET", path).body["rules"]]
        assert ranks == [0, 1, 2, 3]


def test_readers_never_see_half_a_write() -> None:
    path = "/api/v1/namespaces/mhv/flags/sm/rollouts"
    kill = {"threshold": {"percentage": 100, "value": False}}
    with FliptServer("v1", seed=seeded(boolean_flag(rollouts=[kill, kill]))) as server:
        ids = [one["id"] for one in ask(server.url, "GET", path).body["rules"]]
        done = threading.Event()
        seen: list[bool] = []

        def read() -> None:
            while not done.is_set():
                seen.append(server.evaluate_boolean("mhv", "sm", "entity"))

        reading = threading.Thread(target=read)
        reading.start()
        for _ in range(50):
            ids.reverse()
            server.carry_out("PUT", f"{path}/order", {"rolloutIds": ids})
        done.set()
        reading.join()
        assert seen
        assert not any(seen)


def test_a_stream_ends_when_its_client_leaves() -> None:
    ended, pause = threading.Event(), threading.Event()
    asked: list[int] = []

    def lines() -> Iterator[bytes]:
        try:
            yield b"first\n"
            while not pause.wait(0.01):
                asked.append(1)
                yield b""
        finally:
            ended.set()

    server = WireServer(lambda _: Answer(200, lines=lines()))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        received = b""
        while b"first" not in received:
            received += sock.recv(65536)
        wait_until(lambda: len(asked) > 3)
        assert not ended.is_set()
    assert ended.wait(5)
    pause.set()
    server.stop()
