"""The application's own read-back: proven only by what it says itself, and nothing of its answer is repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollback.adapters.client_views.effect_check import MAX_BODY, EffectCheck, ReadBack
from rollback.core.json_assertions import JsonAssertion, Operator
from rollback.core.policy import EffectCheck as ReadBackPolicy
from rollback.core.proof import EFFECT, ProofPart, Status
from tests.client_views.answer_server import AnswerServer, Reply, json_reply

NOW = datetime(2026, 11, 23, 8, 12, 27, tzinfo=UTC)
PATH = "/v0/feature_toggles?features=sm_release"
OFF_WHEN = {"path": "data.features[name=sm_release].value", "equals": False}


def toggles(value: Any, name: str = "sm_release") -> dict[str, Any]:
    """What vets-api answers to `/v0/feature_toggles`."""
    return {"data": {"type": "feature_toggles", "features": [{"name": name, "value": value}]}}


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(lambda _: json_reply(toggles(False))) as found:
        yield found


@dataclass(frozen=True)
class Condition:
    """One assertion, as a policy has it."""

    path: str
    equals: Any

    def as_json_assertion(self) -> JsonAssertion:
        return JsonAssertion(self.path, Operator.EQUALS, self.equals)


@dataclass(frozen=True)
class Target:
    """A read-back as a policy has it, also with addresses that a policy would refuse."""

    url: str | None
    assertions: tuple[Condition, ...] = (Condition("data.features[name=sm_release].value", False),)
    method: str = "GET"
    timeout: timedelta = timedelta(seconds=20)
    unknown_because: str | None = None

    def sent_headers(self) -> dict[str, str]:
        return {"x-test": "1"}

    def expects(self, status: int) -> bool:
        return status == 200


def ask(target: ReadBack, seconds: float = 20.0) -> ProofPart:
    return EffectCheck(target, now=lambda: NOW).look(time.monotonic() + seconds)


def look(url: str, seconds: float = 20.0, path: str = PATH) -> ProofPart:
    return ask(Target(url + path), seconds)


def test_what_a_policy_says_is_what_is_asked(server: AnswerServer) -> None:
    policy = ReadBackPolicy.model_validate({"url": server.url + PATH, "assertions": [OFF_WHEN]})
    assert ask(policy).status is Status.PROVEN
    server.answer = lambda _: json_reply(toggles(True))
    assert ask(policy).status is Status.OPEN


def test_a_read_back_whose_address_is_not_known_is_unknown_and_says_why() -> None:
    policy = ReadBackPolicy.model_validate({"url": None, "assertions": [OFF_WHEN]})
    part = ask(policy)
    assert part.status is Status.UNKNOWN
    assert "variable" in part.detail
    assert ask(Target(None)).status is Status.UNKNOWN


def test_a_look_is_bounded_by_the_policys_timeout(server: AnswerServer) -> None:
    server.answer = lambda _: Reply(hang=True)
    part = ask(Target(server.url + PATH, timeout=timedelta(seconds=0.3)))
    assert part.status is Status.UNKNOWN
    assert "0.3 s" in part.detail


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
    server.answer = lambda _: json_reply(toggles("someone@va.gov"))
    part = look(server.url.replace("http://", "http://user:password@"), path="/toggles?cookie_id=secret")
    assert part.status is Status.OPEN
    for private in ("someone", "secret", "password", "user:"):
        assert private not in part.detail


def test_a_check_without_assertions_is_refused() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        EffectCheck(Target("http://127.0.0.1:1", ()))
