"""What senders, and others, do on a connection: slow, huge, lying, half closed, many at once. Over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from rollback.alerting.right_of_way import RightOfWay
from rollback.server.limits import Limits
from rollback.server.receiver import CROWD
from tests.fakes.clock import FakeClock
from tests.server.stand_ins import (
    PAGERDUTY_SECRET,
    SECRET,
    World,
    datadog,
    delivery,
    document_of,
    request,
    rest_of,
    serving,
    signed,
    status_of,
)

SLOW = Limits(head_within=0.6, read_within=0.4, body_within=1.0)
SECRETS = {"X-Rollback-Secret": SECRET}
CHUNKED = {**SECRETS, "Transfer-Encoding": "chunked"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path, limits=SLOW) as running:
        yield running


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def refused(world: World, why: str, source: str = "datadog") -> float:
    return world.metric(f'rollback_receiver_refused_total{{source="{source}",why="{why}"}}')


def test_a_body_in_chunks_is_one_delivery(world: World) -> None:
    body = datadog()
    sent = request("POST", "/alerts/datadog", b"", {**CHUNKED, "Connection": "close"})
    sent += b"".join(chunk(body[at : at + 7]) for at in range(0, len(body), 7)) + chunk(b"")
    assert status_of(world.talk(sent)) == 202
    assert world.kept()[0].alerts[0].monitor == "4711"


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 1536 * 1024, 64 * 1024 * 1024])
def test_a_huge_body_in_chunks_is_cut_off_and_kept_nowhere(world: World, size: int) -> None:
    piece = chunk(b" " * 65536)
    with world.connected() as line:
        line.sendall(request("POST", "/alerts/datadog", b"", CHUNKED))
        sent = 0
        try:
            while sent < size:
                line.sendall(piece)
                sent += 65536
            line.sendall(chunk(b""))
        except OSError:
            assert size > 4 * 1024 * 1024  # the server had closed; a moderate excess gets its answer
        answer = rest_of(line)
    if size < 4 * 1024 * 1024:
        assert (status_of(answer), document_of(answer)) == (413, {"status": "refused", "why": "too_large"})
    assert refused(world, "too_large") == 1
    assert world.kept() == []
    assert status_of(world.talk(delivery())) == 202


def test_a_body_that_says_it_is_too_large_is_not_waited_for(world: World) -> None:
    began = time.monotonic()
    answer = world.talk(request("POST", "/alerts/datadog", datadog(), {**SECRETS, "Content-Length": "9999999"}))
    assert status_of(answer) == 413
    assert time.monotonic() - began < 5
    assert world.kept() == []


def test_the_largest_body_that_is_allowed_comes_in(world: World) -> None:
    body = datadog(fill="x" * (1024 * 1024 - len(datadog(fill=""))))
    assert len(body) == 1024 * 1024
    assert status_of(world.talk(delivery(body))) == 202


def test_a_slow_body_is_sent_away_to_come_again_and_holds_nothing(slow: World) -> None:
    with slow.connected() as line:
        line.sendall(request("POST", "/alerts/datadog", datadog()[:50], {**SECRETS, "Content-Length": "400"}))
        answer = rest_of(line)  # nothing more is sent
    assert (status_of(answer), document_of(answer)) == (503, {"status": "refused", "why": "too_slow"})
    assert refused(slow, "too_slow") == 1
    assert slow.kept() == []
    assert status_of(slow.talk(delivery())) == 202


def test_a_body_that_drips_is_cut_off_all_the_same(slow: World) -> None:
    began = time.monotonic()
    with slow.connected() as line:
        line.sendall(request("POST", "/alerts/datadog", b"", {**SECRETS, "Content-Length": "100000"}))
        stopped = threading.Event()

        def drip() -> None:
            while not stopped.wait(0.05):
                try:
                    line.sendall(b"{")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        answer = rest_of(line)
        stopped.set()
        dripping.join()
    assert status_of(answer) == 503
    assert time.monotonic() - began < 5
    assert slow.kept() == []


def test_who_has_no_secret_cannot_hold_a_turn_with_a_slow_body(slow: World) -> None:
    with slow.connected() as line:
        began = time.monotonic()
        line.sendall(request("POST", "/alerts/datadog", b"{", {"Content-Length": "400", "X-Rollback-Secret": "z" * 30}))
        answer = line.recv(65536)
        assert status_of(answer) == 401
        assert time.monotonic() - began < SLOW.read_within


@pytest.mark.parametrize(
    "begun",
    [b"", b"POST /alerts/datadog HTTP/1.1\r\nHost: x\r\n", b"POST /alerts/data"],
    ids=["nothing", "half", "line"],
)
def test_a_head_that_does_not_end_is_not_waited_for(slow: World, begun: bytes) -> None:
    began = time.monotonic()
    assert slow.talk(begun) == b""
    assert time.monotonic() - began < 5
    assert slow.kept() == []


def test_a_connection_that_was_used_is_no_place_to_drip_on(slow: World) -> None:
    with slow.connected() as line:
        line.sendall(delivery(close=False))
        assert status_of(line.recv(65536)) == 202
        line.sendall(b"POST /al")
        assert rest_of(line) == b""
    assert len(slow.kept()) == 1


def test_a_request_that_others_of_the_server_wait_for_is_cut_off_too(slow: World) -> None:
    began = time.monotonic()
    slow.talk(request("POST", "/api/v1/features/sm/disable", b"{", {"Content-Length": "400"}))
    assert time.monotonic() - began < 5


def test_a_body_for_the_rest_of_the_server_cannot_fill_the_memory(world: World) -> None:
    head = {"Content-Length": str(2**33), "Content-Type": "application/json"}
    answer = world.talk(request("POST", "/api/v1/features/sm/disable", b"{", head))
    assert status_of(answer) == 413
    with world.connected() as line:
        chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
        line.sendall(request("POST", "/api/v1/features/sm/disable", b"", chunked))
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                line.sendall(chunk(b" " * 65536))
                sent += 65536
        except OSError:
            pass
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize("name", ["many", "one"])
def test_a_head_without_end_fills_no_memory(world: World, name: str) -> None:
    piece = b"X-Fill: " + b"y" * 1000 + b"\r\n" if name == "many" else b"y" * 1000
    with world.connected() as line:
        line.sendall(b"POST /alerts/datadog HTTP/1.1\r\nHost: x\r\n" + (b"" if name == "many" else b"X-Fill: "))
        sent = 0
        try:
            while sent < 50_000_000:
                line.sendall(piece * 100)
                sent += 100_000
        except OSError:
            pass
        assert sent < 20_000_000
    assert world.kept() == []
    assert status_of(world.talk(delivery())) == 202


def test_a_body_shorter_than_it_says_is_no_delivery(world: World) -> None:
    answer = world.talk(delivery(Content_Length=str(len(datadog()) + 10)), half_close=True)
    assert status_of(answer) == 0
    assert world.kept() == []
    assert refused(world, "broken_off") == 1


def test_a_body_longer_than_it_says_is_cut_where_it_says(world: World) -> None:
    body = datadog()
    headers = {**signed(body, PAGERDUTY_SECRET), "Content-Length": str(len(body) - 1), "Connection": "close"}
    assert status_of(world.talk(request("POST", "/alerts/pagerduty", body, headers))) == 401
    assert world.kept() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "10", "Transfer-Encoding": "chunked"},
        {"Content-Length": "+10"},
        {"Content-Length": "-1"},
        {"Content-Length": "0x10"},
        {"Content-Length": "10, 11"},
        {"Transfer-Encoding": "chunked, gzip"},
    ],
    ids=str,
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(world: World, headers: dict[str, str]) -> None:
    smuggled = b"0\r\n\r\n" + delivery()
    answer = world.talk(request("POST", "/alerts/datadog", smuggled, {**SECRETS, **headers}), half_close=True)
    assert status_of(answer) in (0, 400, 415)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert world.kept() == []


def test_who_closes_its_half_after_a_whole_request_gets_the_answer(world: World) -> None:
    answer = world.talk(delivery(close=False), half_close=True)
    assert status_of(answer) == 202
    assert len(world.kept()) == 1


def test_who_goes_away_without_waiting_has_delivered(world: World) -> None:
    with world.connected() as line:
        line.sendall(delivery(close=False))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\x05\0\0\0")
        world.dispatcher.wait_for(1)
    assert len(world.kept()) == 1


def test_who_asks_before_sending_a_body_is_told_to_go_on(world: World) -> None:
    body = datadog()
    with world.connected() as line:
        head = {**SECRETS, "Expect": "100-continue", "Content-Length": str(len(body)), "Connection": "close"}
        line.sendall(request("POST", "/alerts/datadog", b"", head))
        assert line.recv(1024).startswith(b"HTTP/1.1 100 ")
        line.sendall(body)
        assert status_of(rest_of(line)) == 202


def test_who_asks_before_sending_too_much_is_not_told_to_go_on(world: World) -> None:
    head = {**SECRETS, "Expect": "100-continue", "Content-Length": "5000000"}
    answer = world.talk(request("POST", "/alerts/datadog", b"", head))
    assert status_of(answer) == 413


def test_requests_in_a_row_without_waiting_are_answered_in_order(world: World) -> None:
    sent = b"".join(delivery(datadog(f"cycle-{number}"), close=False) for number in range(20))
    forged = request("POST", "/alerts/datadog", datadog("forged"), {"X-Rollback-Secret": "z" * 30})
    answer = world.talk(sent + forged + delivery(datadog("last")))
    statuses = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [202] * 20 + [401, 202]
    cycles = [kept.alerts[0].cycle for kept in world.kept()]
    assert cycles == [f"cycle-{number}" for number in range(20)] + ["last"]


def test_a_hundred_senders_at_once_lose_and_double_nothing(world: World) -> None:
    gate = threading.Barrier(100)

    def send(number: int) -> list[int]:
        gate.wait(30)
        bodies = (datadog(f"cycle-{number}"), datadog(f"cycle-{number}"), datadog("the same of all"))
        return [status_of(world.talk(delivery(body))) for body in bodies]

    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(send, range(100)))
    assert statuses == [[202, 202, 202]] * 100
    cycles = sorted(kept.alerts[0].cycle for kept in world.kept())
    assert cycles == sorted([f"cycle-{number}" for number in range(100)] + ["the same of all"])
    assert sorted(kept.number for kept in world.dispatcher.accepted) == [kept.number for kept in world.kept()]
    assert world.inbox.counts()["duplicate:datadog"] == 199


def test_one_source_that_holds_all_its_turns_leaves_room_for_the_others(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(max_turns=5, max_turns_per_source=3)) as world, ExitStack() as held:

        def hold(source: str, headers: dict[str, str]) -> socket.socket:
            line = held.enter_context(world.connected())
            line.sendall(request("POST", f"/alerts/{source}", b"{", {**headers, "Content-Length": "400"}))
            return line

        signature = signed(b"anything", PAGERDUTY_SECRET)  # nobody can know that it is wrong before the body is there
        held_open = [hold("pagerduty", signature) for _ in range(3)]
        wait_until_refused(world, "pagerduty", request("POST", "/alerts/pagerduty", b"{}", signature, close=True))
        assert status_of(world.talk(delivery())) == 202
        held_open += [hold("generic", {"X-Our-Secret": SECRET}) for _ in range(2)]
        wait_until_refused(world, "datadog", delivery(datadog("no turn left")))
        for line in held_open:
            line.close()
        wait_until_taken(world, delivery(datadog("a turn again")))
        cycles = [kept.alerts[0].cycle for kept in world.kept()]
    assert cycles[0] == "cycle-1"
    assert cycles[-1] == "a turn again"


def test_in_a_storm_answers_wait_for_an_off_and_nothing_waits_to_be_kept(tmp_path: Path) -> None:
    """The clock stands still, so that only the end of the off, or our patience, lets them go on."""
    way = RightOfWay(FakeClock().monotonic)
    with serving(tmp_path, way=way) as world, ThreadPoolExecutor(CROWD + 2) as pool:
        with way.taken():
            storm = [pool.submit(world.talk, delivery(datadog(f"cycle-{number}"))) for number in range(CROWD + 2)]
            assert len(world.dispatcher.wait_for(CROWD + 2)) == CROWD + 2
        assert {status_of(answer.result()) for answer in storm} == {202}
        with way.taken():
            alone = pool.submit(world.talk, delivery(datadog("alone")))
            assert status_of(alone.result()) == 202, "a few are in nobody's way"


def wait_until_refused(world: World, source: str, sent: bytes) -> None:
    """Sends until it is refused for want of a turn: those who hold them may not have been read yet."""
    before = refused(world, "overloaded", source)
    until = time.monotonic() + 10
    while True:
        answer = world.talk(sent)
        if status_of(answer) == 503:
            break
        assert time.monotonic() < until
    assert document_of(answer)["why"] == "overloaded"
    assert refused(world, "overloaded", source) == before + 1


def wait_until_taken(world: World, sent: bytes) -> None:
    until = time.monotonic() + 10
    while status_of(world.talk(sent)) != 202:
        assert time.monotonic() < until


@pytest.mark.slow
def test_a_storm_over_connections_that_are_kept_loses_and_doubles_nothing(world: World) -> None:
    senders, each = 50, 100

    def send(number: int) -> float:
        longest = 0.0
        with world.connected() as line:
            for count in range(each):
                began = time.monotonic()
                line.sendall(delivery(datadog(f"cycle-{number}-{count // 2}"), close=False))
                answer = b""
                while not answer.endswith(b"}"):
                    answer += line.recv(65536)
                assert status_of(answer) == 202
                longest = max(longest, time.monotonic() - began)
        return longest

    with ThreadPoolExecutor(senders) as pool:
        longest = max(pool.map(send, range(senders)))
    assert longest < 5  # PagerDuty would send it again
    wanted = {f"cycle-{number}-{count}" for number in range(senders) for count in range(each // 2)}
    cycles = [kept.alerts[0].cycle for kept in world.kept()]
    assert set(cycles) == wanted
    assert len(cycles) == len(wanted) == len(world.dispatcher.accepted)
    assert world.inbox.counts()["duplicate:datadog"] == len(wanted)
