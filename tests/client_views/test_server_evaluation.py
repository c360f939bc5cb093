"""The server's own evaluation: what is not an answer to exactly what was asked is an error, never an off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollback.adapters.client_views.server_evaluation import BATCH, ServerEvaluationClientView
from rollback.adapters.flipt_http import FliptHttp
from rollback.core.contexts import samples_for
from rollback.core.flag import Constraint, FlagConfig, FlagRef, FlagType, Polarity, Rollout, Segment
from rollback.ports import Sighting
from rollback.sandbox import Fault, FliptServer
from tests.client_views.answer_server import AnswerServer, Asked, Reply, json_reply
from tests.client_views.documents import declarative

VETERANS = Segment("veterans", False, (Constraint("string", "role", "eq", "veteran"),))
STAFF = Segment("staff", False, (Constraint("string", "role", "eq", "staff"),))
OFF = FlagConfig(
    "sm",
    FlagType.BOOLEAN,
    True,
    (Rollout(False, percentage=100), Rollout(True, segments=("veterans", "staff"))),
    segments={"veterans": VETERANS, "staff": STAFF},
)
SAMPLES = samples_for(OFF).samples
Answers = Callable[[dict[str, Any]], dict[str, Any]]


def off(asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request of a batch."""
    return {
        "type": "BOOLEAN_EVALUATION_RESPONSE_TYPE",
        "booleanResponse": {"enabled": False, "flagKey": asked["flagKey"], "reason": "MATCH_EVALUATION_REASON"},
    }


def batch(answer: Answers) -> Callable[[Asked], Reply]:
    return lambda asked: json_reply({"responses": [answer(one) for one in asked.body["requests"]]})


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(batch(off)) as found:
        yield found


def look(url: str, environment: str = "default", seconds: float = 5.0) -> Sighting:
    view = ServerEvaluationClientView(FliptHttp(url))
    try:
        ref = FlagRef(environment, "mhv", "sm")
        return view.evaluate(ref, Polarity(), SAMPLES, deadline=time.monotonic() + seconds)
    finally:
        view.close()


def test_all_samples_are_asked_for_in_batches_with_their_contexts(server: AnswerServer) -> None:
    assert look(server.url).complete(len(SAMPLES))
    assert [asked.path for asked in server.asked] == ["/evaluate/v1/batch"] * 2
    sizes = [len(asked.body["requests"]) for asked in server.asked]
    assert sizes == [BATCH, len(SAMPLES) - BATCH]
    sent = [one for asked in server.asked for one in asked.body["requests"]]
    assert [(one["entityId"], one["context"]) for one in sent] == [(one.entity_id, one.context) for one in SAMPLES]
    assert {(one["namespaceKey"], one["flagKey"]) for one in sent} == {("mhv", "sm")}
    assert not any("environmentKey" in one for one in sent)
    assert {asked.headers["x-flipt-environment"] for asked in server.asked} == {"default"}


def test_another_environment_is_named_in_the_header_and_in_every_request(server: AnswerServer) -> None:
    assert look(server.url, "staging").complete(len(SAMPLES))
    for asked in server.asked:
        assert asked.headers["x-flipt-environment"] == "staging"
        assert {one["environmentKey"] for one in asked.body["requests"]} == {"staging"}


ERROR = {
    "type": "ERROR_EVALUATION_RESPONSE_TYPE",
    "errorResponse": {"flagKey": "sm", "namespaceKey": "mhv", "reason": "UNKNOWN_ERROR_EVALUATION_REASON"},
}
OTHER_FLAG = {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": {"enabled": False, "flagKey": "other"}}
NO_VALUE = {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": {"flagKey": "sm"}}
NOT_A_BOOLEAN = {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": {"enabled": "false", "flagKey": "sm"}}
NEW_KIND = {"type": "GRADUAL_EVALUATION_RESPONSE_TYPE", "gradualResponse": {"flagKey": "sm"}}


NO_MATCH = {"type": "VARIANT_EVALUATION_RESPONSE_TYPE", "variantResponse": {"flagKey": "sm", "variantKey": ""}}


@pytest.mark.parametrize("odd", [ERROR, NO_MATCH, OTHER_FLAG, NO_VALUE, NOT_A_BOOLEAN, NEW_KIND, {}, {"type": 1}])
def test_one_odd_answer_in_a_batch_is_an_error_and_the_others_count(server: AnswerServer, odd: dict[str, Any]) -> None:
    first = SAMPLES[0].entity_id
    server.answer = batch(lambda asked: odd if (asked["entityId"], asked["context"]) == (first, {}) else off(asked))
    seen = look(server.url)
    assert seen.evaluated == len(SAMPLES) - 1
    assert seen.errors
    assert not seen.complete(len(SAMPLES))


@pytest.mark.parametrize(
    "document", [{}, {"responses": []}, {"responses": "x"}, {"responses": [off({"flagKey": "sm"})] * (BATCH + 1)}]
)
def test_a_batch_of_the_wrong_length_is_an_error(server: AnswerServer, document: dict[str, Any]) -> None:
    server.answer = lambda _: json_reply(document)
    seen = look(server.url)
    assert seen.evaluated == 0
    assert "wrong number" in seen.errors[0]


@pytest.mark.parametrize("reply", [Reply(200, b"<html>"), Reply(200, b"[]"), Reply(500, b"{}"), Reply(302, b"")])
def test_an_answer_that_is_no_batch_is_an_error(server: AnswerServer, reply: Reply) -> None:
    server.answer = lambda _: reply
    seen = look(server.url)
    assert seen.evaluated == 0
    assert seen.errors


def test_what_was_answered_before_the_server_failed_still_counts_as_served(server: AnswerServer) -> None:
    on = {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": {"enabled": True, "flagKey": "sm"}}
    first = batch(lambda _: on)
    server.answer = lambda asked: first(asked) if len(server.asked) == 1 else Reply(503, b"{}")
    seen = look(server.url)
    assert len(seen.served) == BATCH
    assert not seen.complete(len(SAMPLES))


def test_a_server_that_hangs_costs_no_more_than_the_deadline(server: AnswerServer) -> None:
    server.answer = lambda _: Reply(hang=True)
    before = time.monotonic()
    assert look(server.url, seconds=0.3).errors
    assert time.monotonic() - before < 5.0


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_ranks_out_of_order_are_an_error_and_never_off(api: str) -> None:
    document = declarative([OFF])
    document["flags"][0]["rollouts"][0]["rank"] = -1
    with FliptServer(api, seed=document) as flipt:
        seen = look(flipt.url)
    assert seen.evaluated == 0
    assert seen.errors


@pytest.mark.parametrize("kind", [FlagType.BOOLEAN, FlagType.VARIANT])
def test_a_server_without_the_batch_path_is_asked_one_by_one(kind: FlagType) -> None:
    config = FlagConfig("sm", kind, False, OFF.rollouts if kind is FlagType.BOOLEAN else (), segments=OFF.segments)
    no_batch = Fault.status("POST", "/batch", status=404, body="404 page not found\n", times=None)
    with FliptServer("v1", seed=declarative([config]), faults=[no_batch]) as flipt:
        seen = look(flipt.url)
        assert seen.complete(len(SAMPLES)), seen.errors
        assert seen.served == ()
        assert flipt.count("POST", f"/evaluate/v1/{kind.value}") == len(SAMPLES)


def test_a_server_that_takes_neither_kind_of_question_is_an_error(server: AnswerServer) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/batch"):
            return Reply(404, b"404 page not found")
        return json_reply({"code": 3, "message": "flag type invalid"}, 400)

    server.answer = answer
    seen = look(server.url)
    assert seen.evaluated == 0
    assert "flag type invalid" in seen.errors[0]


def test_a_missing_flag_is_not_taken_for_a_missing_batch_path() -> None:
    with FliptServer("v2", seed=declarative([OFF])) as flipt:
        seen = look(flipt.url, "nope")
        assert seen.errors
        assert flipt.count("POST") == 1
