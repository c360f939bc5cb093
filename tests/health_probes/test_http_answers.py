"""What an answer of the feature means: harm, health, or nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rollback.adapters.health_probes.answers import MAX_BODY
from rollback.sandbox import SmApi
from rollback.sandbox.wire import Answer, Dropped, Request, json_answer
from tests.health_probes.stand_ins import CONTROL, FOLDERS, answering, endpoint, health, measured, probing, talking


@pytest.fixture
def api() -> Iterator[SmApi]:
    with SmApi() as running:
        yield running


def one(api: SmApi, **fields: Any) -> tuple[float | None, str]:
    """Harm and detail of one question to the messaging API, whose control target works."""
    found = measured(health(endpoint(api.url + FOLDERS, **fields), control=api.url + CONTROL))
    return found.harm, found.detail


def test_a_good_answer_is_no_harm_and_has_a_latency(api: SmApi) -> None:
    found = measured(health(endpoint(api.url + FOLDERS)))
    assert (found.metric, found.harm, found.detail) == ("folders", 0.0, "status 200")
    assert found.latency_seconds is not None
    assert 0 < found.latency_seconds < 2


def test_errors_are_harm_at_their_rate(api: SmApi) -> None:
    api.behave(error_rate=0.2, status=502, seed=7)
    with probing(health(endpoint(api.url + FOLDERS), control=api.url + CONTROL)) as probe:
        found = [probe.measure()[0] for _ in range(200)]
    harmed = [each for each in found if each.harm == 1.0]
    assert {each.detail for each in harmed} == {"status 502"}
    assert len(harmed) == api.outcomes["error"]
    assert 20 <= len(harmed) <= 60
    assert all(each.harm == 0.0 for each in found if each not in harmed)


@pytest.mark.parametrize(
    ("expected", "status", "harm"),
    [
        (["2xx"], 204, 0.0),
        (["2xx"], 404, 1.0),
        ([404], 404, 0.0),
        ([404], 200, 1.0),
        (["2xx", 403], 403, 0.0),
        (["5xx"], 503, 0.0),
    ],
)
def test_the_policy_says_which_status_is_good(expected: list[Any], status: int, harm: float) -> None:
    with answering(lambda _: Answer(status)) as url:
        found = measured(health(endpoint(url, expected_statuses=expected)))
    assert (found.harm, found.detail) == (harm, f"status {status}")


def test_a_redirect_to_a_login_page_is_no_health() -> None:
    asked: list[str] = []

    def handler(request: Request) -> Answer:
        asked.append(request.path)
        return Answer(302, b"", {"location": "/login"}) if request.path == "/folders" else json_answer({})

    with answering(handler) as url:
        found = measured(health(endpoint(f"{url}/folders")))
    assert (found.harm, found.detail) == (1.0, "status 302")
    assert asked == ["/folders"]


def test_an_assertion_that_fails_is_named_by_its_place_in_the_policy_alone(api: SmApi) -> None:
    assertions = [{"path": "data", "exists": True}, {"path": "data[0].type", "equals": "letters"}]
    assert one(api, assertions=assertions) == (1.0, "assertion 2 failed at data[0].type")
    assert one(api, assertions=[{"path": "", "equals": 1}]) == (1.0, "assertion 1 failed at the whole body")


def test_assertions_that_hold_are_no_harm(api: SmApi) -> None:
    assertions = [{"path": "errors", "exists": False}, {"path": "data[0].type", "in": ["folders", "letters"]}]
    assert one(api, assertions=assertions) == (0.0, "status 200")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Down for a moment</html>",
        b'{"data": NaN}',
        b"[" * 100_000,
        b'{"data": 1',
        b"\xff\xfe\xfa",
        b"9" * 5000,
    ],
    ids=["empty", "html", "nan", "deep", "cut", "no text", "endless number"],
)
def test_a_body_that_is_no_json_fails_the_assertions(body: bytes) -> None:
    with answering(lambda _: Answer(200, body)) as url:
        found = measured(health(endpoint(url, assertions=[{"path": "errors", "exists": False}])))
    assert (found.harm, found.detail) == (1.0, "the body is not JSON")


def test_a_value_that_is_not_a_number_holds_no_assertion() -> None:
    with answering(lambda _: Answer(200, b'{"backlog": NaN}')) as url:
        found = measured(health(endpoint(url, assertions=[{"path": "backlog", "not_equals": 7}])))
    assert found.harm == 1.0


def test_without_assertions_the_status_decides_whatever_the_body_is() -> None:
    with answering(lambda _: Answer(200, b"<html>")) as url:
        assert measured(health(endpoint(url))).harm == 0.0


def test_an_empty_answer_of_a_broken_application_is_harm(api: SmApi) -> None:
    api.behave(mode="empty")
    assert one(api, assertions=[{"path": "data", "exists": True}]) == (1.0, "the body is not JSON")


# -- an answer that says "disabled" (invariant 6) ------------------------------------------------------------------


@pytest.mark.parametrize("assertions", [[], [{"path": "error", "exists": False}], [{"path": "data", "exists": True}]])
def test_a_feature_that_says_it_is_disabled_is_unknown_whatever_is_asserted(api: SmApi, assertions: list[Any]) -> None:
    api.behave(mode="disabled")
    assert one(api, assertions=assertions) == (None, "says that the feature is disabled")


@pytest.mark.parametrize(
    ("status", "document", "harm"),
    [
        (200, {"status": "Under_Maintenance"}, None),
        (200, {"state": "feature-disabled"}, None),
        (403, {"code": "DISABLED"}, None),
        (503, {"error": "disabled"}, 1.0),  # a server error is one, whatever it is called
        (200, {"data": [{"status": "disabled"}]}, 0.0),  # about something else than the feature
        (200, {"status": "ok", "note": "the disabled entrance is open"}, 0.0),
        (200, {"error": {"disabled": True}}, 0.0),
        (200, ["disabled"], 0.0),
        (200, {"status": "disabled", "padding": "x" * 5000}, 0.0),  # a whole page, not a notice
    ],
)
def test_what_counts_as_saying_disabled(status: int, document: Any, harm: float | None) -> None:
    with answering(lambda _: json_answer(document, status)) as url:
        assert measured(health(endpoint(url))).harm == harm


def test_a_notice_that_is_no_json_is_judged_by_its_status() -> None:
    with answering(lambda _: Answer(200, b"disabled")) as url:
        assert measured(health(endpoint(url))).harm == 0.0


# -- time ----------------------------------------------------------------------------------------------------------


def test_an_answer_later_than_the_limit_is_harm(api: SmApi) -> None:
    api.behave(latency_ms=60)
    assert one(api, latency_limit="50ms") == (1.0, "slower than 0.05 s")
    assert one(api, latency_limit="2s") == (0.0, "status 200")


def test_a_late_error_is_told_as_the_error_it_is(api: SmApi) -> None:
    api.behave(latency_ms=60, mode="broken", status=500)
    assert one(api, latency_limit="50ms") == (1.0, "status 500")


def test_no_answer_in_time_is_harm_when_the_control_answers(api: SmApi) -> None:
    api.behave(mode="hang")
    found = measured(health(endpoint(api.url + FOLDERS, timeout="200ms"), control=api.url + CONTROL))
    assert (found.harm, found.detail, found.latency_seconds) == (1.0, "no answer within 0.2 s", None)


def drip(head: bytes, stopping: threading.Event, sock: socket.socket) -> None:
    """Sends `head`, then a byte every 10 ms: each wait is short, the whole is endless."""
    sock.sendall(head)
    while not stopping.wait(0.01):
        sock.sendall(b"x")


@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", "no complete answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\nx-slow: ", "no answer within 0.3 s"),
        (b"", "no answer within 0.3 s"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 100000\r\n\r\n", "status 503"),
    ],
    ids=["body", "header", "status line", "body of an error"],
)
def test_an_answer_that_drips_is_bounded_as_a_whole(head: bytes, detail: str) -> None:
    with talking(lambda sock, stopping: drip(head, stopping, sock)) as url:
        found = measured(health(endpoint(url, timeout="300ms")))
    assert (found.harm, found.detail) == (1.0, detail)


# -- size, and connections that break ------------------------------------------------------------------------------


def test_a_body_above_the_limit_is_harm_and_not_read_to_its_end() -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 500_000
            yield b"x" * 500_000

    with answering(lambda _: Answer(200, lines=chunks())) as url:
        found = measured(health(endpoint(url)))
    assert (found.harm, found.detail) == (1.0, "answer larger than 1 MB")
    assert sent < 50_000_000


def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = json.dumps({"ok": "x" * (MAX_BODY - 10)}).encode()
    assert len(body) == MAX_BODY
    with answering(lambda _: Answer(200, body)) as url:
        assert measured(health(endpoint(url, assertions=[{"path": "ok", "exists": True}]))).harm == 0.0
    with answering(lambda _: Answer(200, body + b" ")) as url:
        assert measured(health(endpoint(url))).harm == 1.0


@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_that_breaks_after_the_question_is_harm(reset: bool) -> None:
    def handler(_: Request) -> Answer:
        raise Dropped(reset=reset)

    with answering(handler) as url:
        found = measured(health(endpoint(url)))
    assert (found.harm, found.detail) == (1.0, "the connection broke before the answer was complete")


def test_an_answer_that_is_cut_short_is_harm() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
    with talking(lambda sock, _: sock.sendall(head)) as url:
        found = measured(health(endpoint(url)))
    assert (found.harm, found.detail) == (1.0, "the connection broke before the answer was complete")


def test_a_rare_break_is_not_hidden_by_asking_again() -> None:
    asked = 0

    def handler(_: Request) -> Answer:
        nonlocal asked
        asked += 1
        if asked % 5 == 0:
            raise Dropped(reset=True)
        return json_answer({})

    with answering(handler) as url, probing(health(endpoint(url))) as probe:
        harms = [probe.measure()[0].harm for _ in range(50)]
    assert harms.count(1.0) == 10
    assert asked == 50


def test_a_head_request_is_answered_without_a_body(api: SmApi) -> None:
    assert one(api, method="HEAD") == (0.0, "status 200")
    assert api.count("HEAD", FOLDERS) == 1
