"""Hard time limits, errors in the port's words, and a secret that never shows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rollback.adapters.flipt_http import AnswerLost, BadRequest, FliptHttp, PathUnknown
from rollback.errors import (
    ConfigurationError,
    Conflict,
    FlagMissing,
    RollbackError,
    StoreRefused,
    StoreUnreachable,
)
from tests.flag_stores.one_call import SECRET, asked, soon
from tests.flag_stores.raw_server import Behaviour, RawServer, Visit


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, kept so by being bound."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


# -- what was certainly not sent -------------------------------------------------------------------


@pytest.mark.parametrize("write", [False, True])
def test_a_refused_connection_is_unreachable_and_certainly_nothing_was_sent(closed_port: int, write: bool) -> None:
    http = FliptHttp(f"http://127.0.0.1:{closed_port}")
    with pytest.raises(StoreUnreachable, match="no connection"):
        http.request("PUT", "/x", deadline=soon(), expects_write=write)
    http.close()


@pytest.mark.parametrize("write", [False, True])
def test_a_name_that_does_not_exist_is_unreachable(write: bool) -> None:
    http = FliptHttp("http://no-such-host.invalid")
    with pytest.raises(StoreUnreachable):
        http.request("PUT", "/x", deadline=soon(), expects_write=write)
    http.close()


def test_with_no_time_left_nothing_is_sent() -> None:
    with RawServer(lambda visit: visit.answer(200, {})) as server:
        http = FliptHttp(server.url)
        with pytest.raises(StoreUnreachable, match="No time was left"):
            http.request("PUT", "/x", deadline=time.monotonic() - 1, expects_write=True)
        http.close()
    assert server.visits == []


def test_a_server_that_does_not_speak_tls_is_unreachable_even_for_a_write() -> None:
    with RawServer(lambda visit: visit.answer(200, {})) as server:
        http = FliptHttp(server.url.replace("http:", "https:"))
        with pytest.raises(StoreUnreachable):
            http.request("PUT", "/x", deadline=soon(1.0), expects_write=True)
        http.close()


# -- what may have been sent -----------------------------------------------------------------------


def cut(visit: Visit) -> None:
    visit.connection.close()


def half(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


def html(visit: Visit) -> None:
    visit.answer(200, b"<html><h1>Sign in</h1></html>", content_type="text/html")


@pytest.mark.parametrize("behaviour", [cut, half, lambda visit: visit.send(b"\x00\x01 garbage\r\n\r\n")])
def test_an_answer_that_breaks_is_lost_for_a_write_and_unreachable_for_a_read(behaviour: Behaviour) -> None:
    assert isinstance(asked(behaviour, write=True)[0], AnswerLost)
    assert isinstance(asked(behaviour)[0], StoreUnreachable)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 408, 499])
def test_a_proxys_error_leaves_open_whether_a_write_arrived(status: int) -> None:
    def behaviour(visit: Visit) -> None:
        visit.answer(status, b"bad gateway", content_type="text/plain", retry_after="7")

    lost, _ = asked(behaviour, write=True)
    assert isinstance(lost, AnswerLost)
    assert lost.refusal is None
    unreachable, _ = asked(behaviour)
    assert isinstance(unreachable, StoreUnreachable)
    assert unreachable.retry_after == 7.0


@pytest.mark.parametrize("write", [False, True])
def test_being_turned_away_for_too_many_requests_means_that_nothing_was_done(write: bool) -> None:
    error, _ = asked(lambda visit: visit.answer(429, b"", retry_after="2"), write=write)
    assert isinstance(error, StoreUnreachable)
    assert error.retry_after == 2.0


def test_a_retry_time_given_as_a_date_is_measured_by_the_servers_own_clock() -> None:
    def behaviour(visit: Visit) -> None:
        visit.answer(503, b"", retry_after="Mon, 23 Nov 2026 10:00:30 GMT", date="Mon, 23 Nov 2026 10:00:00 GMT")

    error, _ = asked(behaviour)
    assert error.retry_after == 30.0


def test_a_login_page_is_refused_in_clear_words_for_a_read_and_leaves_a_write_open() -> None:
    error, _ = asked(html)
    assert isinstance(error, StoreRefused)
    assert "not Flipt's JSON (text/html)" in error.message
    assert "login page" in error.next
    lost, _ = asked(html, write=True)
    assert isinstance(lost, AnswerLost)
    assert lost.refusal is not None, "if reading back shows that nothing was done, the page was a refusal"


def test_json_that_breaks_off_is_no_refusal_of_a_write() -> None:
    lost, _ = asked(lambda visit: visit.answer(200, b'{"resource": {'), write=True)
    assert isinstance(lost, AnswerLost)
    assert lost.refusal is None


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused_and_never_a_traceback(body: bytes) -> None:
    assert isinstance(asked(lambda visit: visit.answer(200, body))[0], StoreRefused)


# -- time ------------------------------------------------------------------------------------------


def drip_the_body(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
    visit.drip(b" " * 1000, every=0.02)


def drip_the_head(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 200, every=0.02)


@pytest.mark.parametrize("behaviour", [drip_the_body, drip_the_head, Visit.hang])
@pytest.mark.parametrize("write", [False, True])
def test_a_dripping_or_hanging_answer_cannot_exceed_the_deadline(behaviour: Behaviour, write: bool) -> None:
    before = time.monotonic()
    error, _ = asked(behaviour, write=write, limit=0.3)
    assert time.monotonic() - before < 5.0  # margin for a busy machine; the answer would take 10 s or more
    assert isinstance(error, AnswerLost if write else StoreUnreachable)


def test_one_call_takes_no_longer_than_its_own_timeout() -> None:
    before = time.monotonic()
    error, _ = asked(Visit.hang, limit=30.0, timeout=0.2)
    assert time.monotonic() - before < 5.0
    assert isinstance(error, StoreUnreachable)


def test_after_a_call_was_given_up_the_next_one_works() -> None:
    def behaviour(visit: Visit) -> None:
        if len(server.visits) == 1:
            visit.hang()
        else:
            visit.answer(200, {"fine": True})

    with RawServer(behaviour) as server:
        http = FliptHttp(server.url, timeout=0.2)
        with pytest.raises(StoreUnreachable):
            http.request("GET", "/x", deadline=soon())
        assert http.request("GET", "/x", deadline=soon()).body == {"fine": True}
        http.close()


def test_requests_share_one_connection() -> None:
    from rollback.sandbox import FliptServer

    with FliptServer() as flipt:
        http = FliptHttp(flipt.url)
        http.request("GET", "/health", deadline=soon())
        first = {thread.ident for thread in threading.enumerate()}
        for _ in range(5):
            assert http.request("GET", "/health", deadline=soon()).body == {"status": "SERVING"}
        # The stand-in has a thread per connection.
        assert {thread.ident for thread in threading.enumerate()} - first == set()
        http.close()


# -- what the server says no to --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"code": 3, "message": "rank number: 0 already exists"}, BadRequest, "already exists"),
        (401, {"code": 16, "message": "request was not authenticated"}, StoreRefused, "not authenticated"),
        (403, {"code": 7, "message": "permission denied"}, StoreRefused, "permission denied"),
        (404, {"code": 5, "message": 'flag "a/b" not found'}, FlagMissing, 'flag "a/b" not found'),
        (404, b"404 page not found", PathUnknown, "page not found"),
        (404, {"error": "no such host"}, PathUnknown, "no such host"),
        (404, {"code": 5, "message": "Not Found", "details": []}, PathUnknown, "Not Found"),
        (409, {"code": 10, "message": "head has changed"}, Conflict, "head has changed"),
        (413, b"too large", StoreRefused, "too large"),
        (501, {"code": 12, "message": "not implemented"}, StoreRefused, "not implemented"),
        (302, b"", StoreRefused, "redirects are not followed"),
    ],
)
@pytest.mark.parametrize("write", [False, True])
def test_each_refusal_has_its_own_error_with_the_servers_words(
    status: int, body: Any, kind: type[RollbackError], words: str, write: bool
) -> None:
    error, server = asked(lambda visit: visit.answer(status, body), write=write)
    assert type(error) is kind
    assert words in error.message
    assert len(server.visits) == 1


def test_read_only_storage_is_permanent_and_says_where_the_flag_lives() -> None:
    body = {"code": 13, "message": "modification is not allowed in read-only mode", "details": []}
    error, _ = asked(lambda visit: visit.answer(500, body), write=True)
    assert isinstance(error, StoreRefused)
    assert "ROLLBACK_FLIPT_URL=file:" in error.next


def test_another_internal_error_on_a_write_is_a_refusal_to_be_read_back_first() -> None:
    error, _ = asked(lambda visit: visit.answer(500, {"code": 13, "message": "invalid rule"}), write=True)
    assert isinstance(error, AnswerLost)
    assert error.refusal is not None
    assert "invalid rule" in error.refusal.message


def test_a_redirect_says_where_to_without_the_query_and_is_not_followed() -> None:
    error, server = asked(lambda visit: visit.answer(302, b"", location="https://sso.example.gov/login?state=abc"))
    assert "https://sso.example.gov/login;" in error.message
    assert "abc" not in error.message
    assert len(server.visits) == 1


def test_a_servers_words_are_cut_and_cannot_move_the_cursor() -> None:
    error, _ = asked(lambda visit: visit.answer(400, b"\x1b[2Jline\nbreak" + b"x" * 10_000, content_type="text/html"))
    assert "\x1b" not in error.message
    assert "\n" not in error.message
    assert len(error.message) < 350


# -- the address -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["flipt.example.gov", "ftp://flipt", "http://", "http://a:b", "http://x/?a=b", "file:x"]
)
def test_what_is_no_address_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        FliptHttp(url)


def test_a_secret_inside_the_address_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        FliptHttp(f"https://user:{SECRET}@flipt.example.gov")
    assert SECRET not in caught.value.message


def test_the_address_may_have_a_path_of_a_proxy() -> None:
    with RawServer(lambda visit: visit.answer(200, {})) as server:
        http = FliptHttp(f"{server.url}/team/flipt/")
        http.request("GET", "/api/v1/namespaces/a%2Fb", deadline=soon())
        http.close()
    assert [visit.path for visit in server.visits] == ["/team/flipt/api/v1/namespaces/a%2Fb"]


def test_a_proxy_in_the_environment_that_cannot_be_used_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="proxy"):
        FliptHttp("http://127.0.0.1:9").request("GET", "/x", deadline=soon())
