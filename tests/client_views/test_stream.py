"""A stream proves off only by a snapshot that shows it; everything else is a reason why not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.client_views.stream import StreamClientView, StreamSighting
from rollback.adapters.flag_stores.flipt_json import flag_from_snapshot
from rollback.adapters.flipt_http import TokenSource
from rollback.core.exposure import exposure
from rollback.core.flag import Constraint, FlagConfig, FlagRef, FlagType, Polarity, Rollout, Segment
from rollback.sandbox import Fault, FliptServer
from tests.client_views.answer_server import AnswerServer, Asked, Reply, json_reply
from tests.client_views.documents import declarative, declarative_flag, snapshot

REF = FlagRef("default", "mhv", "sm")
VETERANS = Segment("veterans", False, (Constraint("string", "role", "eq", "veteran"),))
ON = FlagConfig("sm", FlagType.BOOLEAN, True, (Rollout(True, segments=("veterans",)),), segments={"veterans": VETERANS})
OFF = replace(ON, rollouts=(Rollout(False, percentage=100), *ON.rollouts))
NOW = datetime(2026, 11, 23, 8, 12, 27, tzinfo=UTC)


def is_off(config: FlagConfig) -> bool:
    return exposure(config, Polarity()).is_off


def watch(url: str, seconds: float = 5.0, ref: FlagRef = REF, token: TokenSource | None = None) -> StreamSighting:
    view = StreamClientView(url, flag_from_snapshot, token=token, now=lambda: NOW)
    return view.wait_until_off(ref, is_off, deadline=time.monotonic() + seconds)


def line(config: FlagConfig) -> bytes:
    return json.dumps({"result": snapshot([config])}).encode() + b"\n"


def pieces(*parts: bytes) -> Callable[[Asked], Reply]:
    return lambda _: Reply(200, iter(parts))


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(pieces()) as found:
        yield found


def test_a_flag_that_is_off_already_is_seen_at_once() -> None:
    with FliptServer("v2", seed=declarative([OFF]), token="t") as flipt:
        assert watch(flipt.url, token=TokenSource.value("t")) == StreamSighting(NOW)


def test_a_flag_that_turns_off_while_watching_is_seen() -> None:
    with FliptServer("v2", seed=declarative([ON])) as flipt:
        seen: list[StreamSighting] = []
        watching = threading.Thread(target=lambda: seen.append(watch(flipt.url, 20)))
        watching.start()
        while not flipt.count("GET", "/stream"):
            watching.join(0.01)
        fields = declarative_flag(OFF)
        flipt.edit_flag("mhv", fields.pop("key"), **fields)
        watching.join(20)
        assert seen == [StreamSighting(NOW)]


def test_a_flag_that_stays_on_is_not_seen_off_and_the_wait_ends_at_the_deadline() -> None:
    with FliptServer("v2", seed=declarative([ON])) as flipt:
        before = time.monotonic()
        seen = watch(flipt.url, 0.4)
        assert seen.seen_at is None
        assert "still shows the flag on" in seen.why_not
        assert time.monotonic() - before < 5.0


def test_v1_has_no_streams_and_that_is_said() -> None:
    with FliptServer("v1", seed=declarative([OFF])) as flipt:
        seen = watch(flipt.url)
        assert seen.seen_at is None
        assert "no streams" in seen.why_not


@pytest.mark.parametrize(
    "ref", [FlagRef("nope", "mhv", "sm"), FlagRef("default", "mhv", "nope"), FlagRef("default", "nope", "sm")]
)
def test_an_environment_namespace_or_flag_that_is_not_there_is_never_off(ref: FlagRef) -> None:
    with FliptServer("v2", seed=declarative([OFF])) as flipt:
        seen = watch(flipt.url, 0.4, ref)
        assert seen.seen_at is None
        assert seen.why_not


def test_a_wrong_token_is_said_and_not_shown() -> None:
    with FliptServer("v2", seed=declarative([OFF]), token="right") as flipt:
        seen = watch(flipt.url, token=TokenSource.value("wrong-token"))
        assert "401" in seen.why_not
        assert "wrong-token" not in seen.why_not


def test_a_token_that_has_rotated_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old-token")
    token = TokenSource.file(file)
    token.authorization(seconds=1)
    file.write_text("new-token")
    with FliptServer("v2", seed=declarative([OFF]), token="new-token") as flipt:
        assert watch(flipt.url, token=token) == StreamSighting(NOW)


def test_a_line_in_pieces_is_read_when_it_is_whole(server: AnswerServer) -> None:
    text = line(ON) + line(OFF)
    server.answer = pieces(*(text[at : at + 7] for at in range(0, len(text), 7)))
    assert watch(server.url) == StreamSighting(NOW)
    assert server.asked[0].path == "/client/v2/environments/default/namespaces/mhv/stream"
    assert server.asked[0].headers["x-flipt-environment"] == "default"


def test_a_line_that_is_cut_off_says_nothing(server: AnswerServer) -> None:
    server.answer = pieces(line(ON), line(OFF)[:-20])
    seen = watch(server.url)
    assert seen.seen_at is None
    assert "ended" in seen.why_not


def test_a_stream_that_breaks_is_opened_once_more(server: AnswerServer) -> None:
    answers = [line(ON), line(OFF)]
    server.answer = lambda _: Reply(200, iter([answers[len(server.asked) - 1]]))
    assert watch(server.url) == StreamSighting(NOW)
    assert len(server.asked) == 2


def test_a_stream_that_breaks_again_and_again_is_given_up(server: AnswerServer) -> None:
    server.answer = pieces(line(ON))
    assert "ended" in watch(server.url).why_not
    assert len(server.asked) == 2


def test_a_connection_that_is_reset_is_made_once_more() -> None:
    with FliptServer("v2", seed=declarative([OFF]), faults=[Fault.reset("GET", "/stream")]) as flipt:
        assert watch(flipt.url) == StreamSighting(NOW)


@pytest.mark.parametrize(
    "junk", [b"<html>\n", b"[]\n", b'{"error": {"code": 5}}\n', b'{"result": null}\n', b'{"result": {"flags": 1}}\n']
)
def test_a_line_that_is_no_snapshot_is_never_off(server: AnswerServer, junk: bytes) -> None:
    server.answer = pieces(junk)
    assert watch(server.url).seen_at is None
    server.answer = pieces(junk, line(OFF))
    assert watch(server.url) == StreamSighting(NOW)


def test_a_server_that_never_answers_ends_at_the_deadline(server: AnswerServer) -> None:
    server.answer = lambda _: Reply(hang=True)
    before = time.monotonic()
    assert "nothing yet" in watch(server.url, 0.3).why_not
    assert time.monotonic() - before < 5.0


def test_a_stream_that_only_drips_ends_at_the_deadline(server: AnswerServer) -> None:
    stop = threading.Event()

    def drip() -> Iterator[bytes]:
        while not stop.wait(0.02):
            yield b"\n"

    server.answer = lambda _: Reply(200, drip())
    before = time.monotonic()
    assert watch(server.url, 0.4).seen_at is None
    stop.set()
    assert time.monotonic() - before < 5.0


def test_no_connection_is_said() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{found.getsockname()[1]}"
    assert "broke" in watch(url).why_not


@pytest.mark.parametrize("status", [500, 403, 302])
def test_a_refusal_is_said_with_its_status(server: AnswerServer, status: int) -> None:
    server.answer = lambda _: json_reply({"code": 7, "message": "not yours"}, status)
    assert str(status) in watch(server.url).why_not


def test_a_refusal_that_is_no_flipts_is_said(server: AnswerServer) -> None:
    server.answer = lambda _: Reply(502, b"<html>bad gateway</html>")
    assert "502" in watch(server.url).why_not


def test_a_predicate_that_raises_is_a_reason_and_no_exception(server: AnswerServer) -> None:
    server.answer = pieces(line(OFF))

    def broken(_: Any) -> bool:
        raise LookupError("no idea")

    view = StreamClientView(server.url, flag_from_snapshot)
    assert "no idea" in view.wait_until_off(REF, broken, deadline=time.monotonic() + 5).why_not
