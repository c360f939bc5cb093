"""The application's own read-back: proven only by what it says itself, and nothing of its answer is repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from rollback.adapters.client_views.effect_check import MAX_BODY, EffectCheck
from rollback.core.json_assertions import JsonAssertion, Operator
from rollback.core.proof import EFFECT, ProofPart, Status
from tests.client_views.answer_server import AnswerServer, Reply, json_reply

NOW = datetime(2026, 11, 23, 8, 12, 27, tzinfo=UTC)
OFF_WHEN = [JsonAssertion("data.features[name=sm_release].value", Operator.EQUALS, False)]


def toggles(value: Any, name: str = "sm_release") -> dict[str, Any]:
    """What vets-api answers to `/v0/feature_toggles`."""
    return {"data": {"type": "feature_toggles", "features": [{"name": name, "value": value}]}}


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(lambda _: json_reply(toggles(False))) as found:
        yield found


def look(url: str, seconds: float = 5.0, path: str = "/v0/feature_toggles?features=sm_release") -> ProofPart:
    check = EffectCheck(url + path, OFF_WHEN, headers={"x-test": "1"}, now=lambda: NOW)
    return check.look(time.monotonic() + seconds)


def test_an_application_that_says_off_proves_it(server: AnswerServer) -> None:
    part = look(server.url)
    assert (part.name, part.status, part.at) == (EFFECT, Status.PROVEN, NOW)
    assert server.asked[0].path == "/v0/feature_toggles?features=sm_release"
    assert server.asked[0].headers["x-test"] == "1"


def test_an_application_that_says_on_is_open(server: AnswerServer) -> None:
    server.answer = lambda _: json_reply(toggles(True))
    part = look(server.url)
    assert part.status is Status.OPEN
    assert "found true" in part.detail


@pytest.mark.parametrize(
    "reply",
    [
        json_reply(toggles(False, "other")),
        json_reply({}),
        json_reply([]),
        json_reply(toggles(False), 500),
        json_reply(toggles(False), 302),
        json_reply(toggles(False), 201),
        Reply(200, b"<html>signed out</html>"),
        Reply(200, b""),
        Reply(200, b'{"a":' * 5000),
        Reply(200, b" " * (MAX_BODY + 1)),
    ],
)
def test_anything_else_is_unknown_and_never_off(server: AnswerServer, reply: Reply) -> None:
    server.answer = lambda _: reply
    assert look(server.url).status is Status.UNKNOWN


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "ftp://127.0.0.1", "http://[", "not a url", "http://127.0.0.1:99999", "https://127.0.0.1:1"],
)
def test_an_address_that_does_not_answer_is_unknown(url: str) -> None:
    assert look(url).status is Status.UNKNOWN


def test_an_application_that_hangs_is_unknown_at_the_deadline(server: AnswerServer) -> None:
    server.answer = lambda _: Reply(hang=True)
    before = time.monotonic()
    assert look(server.url, 0.3).status is Status.UNKNOWN
    assert time.monotonic() - before < 5.0


def test_a_deadline_that_has_passed_is_unknown(server: AnswerServer) -> None:
    assert look(server.url, -1).status is Status.UNKNOWN


def test_the_detail_shows_neither_content_nor_query_nor_user(server: AnswerServer) -> None:
    server.answer = lambda _: json_reply(toggles("jane@va.gov"))
    part = look(server.url.replace("http://", "http://user:password@"), path="/toggles?cookie_id=secret")
    assert part.status is Status.OPEN
    for private in ("jane", "secret", "password", "user:"):
        assert private not in part.detail


def test_a_check_without_assertions_is_refused() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        EffectCheck("http://127.0.0.1:1", [])
