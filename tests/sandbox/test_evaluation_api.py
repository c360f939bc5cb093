"""Evaluation over HTTP: batches, OFREP, environments, snapshots for clients of different age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from rollback.sandbox.evaluation import percent_bucket
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded, threshold

VARIANT = {
    "key": "vf",
    "enabled": True,
    "variants": [{"key": "blue", "attachment": {"a": 1}, "default": True}],
    "rules": [{"segment": {"key": "veterans"}, "distributions": [{"variant": "blue", "rollout": 100}]}],
}
ENTITY_ID = {
    "key": "me",
    "constraints": [{"type": "ENTITY_ID_COMPARISON_TYPE", "property": "entityId", "operator": "eq", "value": "me"}],
}


@pytest.fixture(params=["v1", "v2"])
def flipt(request: pytest.FixtureRequest) -> Iterator[FliptServer]:
    """A server of each version with a boolean and a variant flag."""
    rollouts = [threshold(100, False, "kill"), {"segment": {"key": "veterans", "value": True}}]
    seed = seeded(boolean_flag(rollouts=rollouts), VARIANT, segments=(VETERANS,))
    with FliptServer(request.param, seed=seed) as server:
        yield server


def question(flag_key: str = "sm", **fields: Any) -> dict[str, Any]:
    """An evaluation request."""
    return {"namespaceKey": "mhv", "flagKey": flag_key, "entityId": "e", "context": {}, **fields}


def test_a_batch_answers_each_question_in_its_own_form(flipt: FliptServer) -> None:
    asked = [
        question(requestId="mine"),
        question("vf", context={"role": "veteran"}),
        question("nope"),
        question(namespaceKey="nowhere"),
    ]
    body = ask(flipt.url, "POST", "/evaluate/v1/batch", {"requestId": "whole", "requests": asked}).body
    boolean, variant, missing, nowhere = body["responses"]
    assert body["requestId"] == "whole"
    assert boolean["type"] == "BOOLEAN_EVALUATION_RESPONSE_TYPE"
    assert (boolean["booleanResponse"]["enabled"], boolean["booleanResponse"]["requestId"]) == (False, "mine")
    assert variant["type"] == "VARIANT_EVALUATION_RESPONSE_TYPE"
    assert (variant["variantResponse"]["variantKey"], variant["variantResponse"]["match"]) == ("blue", True)
    for entry, namespace, key in ((missing, "mhv", "nope"), (nowhere, "nowhere", "sm")):
        assert entry["type"] == "ERROR_EVALUATION_RESPONSE_TYPE"
        assert entry["errorResponse"] == {
            "flagKey": key,
            "namespaceKey": namespace,
            "reason": "NOT_FOUND_ERROR_EVALUATION_REASON",
        }


def test_the_wrong_kind_of_flag_and_of_context_are_refused(flipt: FliptServer) -> None:
    wrong = ask(flipt.url, "POST", "/evaluate/v1/boolean", question("vf"))
    assert (wrong.status, wrong.body["message"]) == (400, "flag type VARIANT_FLAG_TYPE invalid")
    assert ask(flipt.url, "POST", "/evaluate/v1/variant", question("sm")).status == 400
    assert ask(flipt.url, "POST", "/evaluate/v1/boolean", question(context={"age": 5})).status == 400
    assert ask(flipt.url, "POST", "/evaluate/v1/boolean", [1]).status == 400


def test_ofrep_answers_and_fails_in_its_own_form(flipt: FliptServer) -> None:
    path = "/ofrep/v1/evaluate/flags"
    context = {"context": {"targetingKey": "e", "role": "veteran"}}
    variant = ask(flipt.url, "POST", f"{path}/vf", context, x_flipt_namespace="mhv").body
    assert variant == {
        "key": "vf",
        "reason": "TARGETING_MATCH",
        "variant": "blue",
        "value": "blue",
        "metadata": {"attachment": '{"a":1}', "segments": "veterans"},
    }
    missing = ask(flipt.url, "POST", f"{path}/nope", context, x_flipt_namespace="mhv")
    assert missing.status == 404
    assert missing.body == {
        "key": "nope",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "flag was not found nope",
    }
    wrong = ask(flipt.url, "POST", f"{path}/vf", {"context": {"n": 5}}, x_flipt_namespace="mhv")
    assert (wrong.status, wrong.body["errorCode"]) == (400, "INVALID_CONTEXT")
    anybody = ask(flipt.url, "POST", f"{path}/vf", {}, x_flipt_namespace="mhv").body
    assert (anybody["reason"], anybody["value"]) == ("DEFAULT", "blue")
    boolean = ask(flipt.url, "POST", f"{path}/sm", context, x_flipt_namespace="mhv").body
    assert (boolean["value"], boolean["variant"]) == (False, "false")


def test_a_snapshot_has_an_etag_that_follows_the_content(flipt: FliptServer) -> None:
    path = "/internal/v1/evaluation/snapshot/namespace/mhv"
    etag = ask(flipt.url, "GET", path).headers["etag"]
    unchanged = ask(flipt.url, "GET", path, if_none_match=etag)
    assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, "", etag)
    flipt.edit_flag("mhv", "sm", type="BOOLEAN_FLAG_TYPE", enabled=True, rollouts=[threshold(100, False)])
    assert ask(flipt.url, "GET", path, if_none_match=etag).status == 200


def test_v1_hides_default_variants_and_entity_ids_from_clients_that_do_not_name_a_version() -> None:
    rollout = {"segment": {"key": "me", "value": True}}
    seed = seeded(boolean_flag(rollouts=[rollout]), VARIANT, segments=(VETERANS, ENTITY_ID))
    path = "/internal/v1/evaluation/snapshot/namespace/mhv"
    with FliptServer("v1", seed=seed) as server:
        old = ask(server.url, "GET", path).body["flags"]
        new = ask(server.url, "GET", path, x_flipt_accept_server_version="1.47.0").body["flags"]
        middle = ask(server.url, "GET", path, x_flipt_accept_server_version="v1.38").body["flags"]
    assert ["defaultVariant" in flags[1] for flags in (old, middle, new)] == [False, False, True]
    kinds = [
        flags[0]["rollouts"][0]["segment"]["segments"][0]["constraints"][0]["type"] for flags in (old, middle, new)
    ]
    assert kinds == [
        "UNKNOWN_CONSTRAINT_COMPARISON_TYPE",
        "ENTITY_ID_CONSTRAINT_COMPARISON_TYPE",
        "ENTITY_ID_CONSTRAINT_COMPARISON_TYPE",
    ]


def test_v1_writes_a_rule_once_per_segment() -> None:
    rule = {
        "segment": {"keys": ["veterans", "me"], "operator": "AND_SEGMENT_OPERATOR"},
        "distributions": [{"variant": "blue", "rollout": 100}],
    }
    seed = seeded({**VARIANT, "rules": [rule]}, segments=(VETERANS, ENTITY_ID))
    with FliptServer("v1", seed=seed) as server:
        flags = ask(server.url, "GET", "/internal/v1/evaluation/snapshot/namespace/mhv").body["flags"]
    assert [len(one["segments"]) for one in flags[0]["rules"]] == [2, 2]
    assert [len(one["distributions"]) for one in flags[0]["rules"]] == [2, 2]


@pytest.mark.parametrize(
    ("body_names", "header", "enabled"),
    [
        ("", "", True),
        ("staging", "", False),
        ("", "staging", False),
        ("default", "staging", True),
        ("nope", "", True),
    ],
)
def test_v2_takes_the_environment_from_the_body_then_the_header(body_names: str, header: str, enabled: bool) -> None:
    staging = {"namespaces": {"mhv": {"flags": [boolean_flag(enabled=False)]}}}
    seed = {"environments": {"default": seeded(boolean_flag()), "staging": staging}}
    with FliptServer("v2", seed=seed) as server:
        headers = {"x_flipt_environment": header} if header else {}
        asked = question(environmentKey=body_names)
        single = ask(server.url, "POST", "/evaluate/v1/boolean", asked, **headers)
        batch = ask(server.url, "POST", "/evaluate/v1/batch", {"requests": [asked]}, **headers)
        assert single.body["enabled"] is enabled
        assert batch.body["responses"][0]["booleanResponse"]["enabled"] is enabled
        unknown = ask(server.url, "POST", "/evaluate/v1/batch", {"requests": [question()]}, x_flipt_environment="no")
        assert unknown.status == 404


def test_v2_gives_the_default_environments_snapshot_for_one_that_is_not_there() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag())) as server:
        wanted = ask(server.url, "GET", "/client/v2/environments/default/namespaces/mhv/snapshot").body
        assert ask(server.url, "GET", "/client/v2/environments/nope/namespaces/mhv/snapshot").body == wanted


@pytest.mark.parametrize(
    ("percentage", "buckets"), [(0, 0), (0.4, 1), (1, 1), (1.5, 2), (50, 50), (99.01, 100), (100, 100)]
)
def test_a_threshold_counts_whole_buckets(percentage: float, buckets: int) -> None:
    by_bucket: dict[int, str] = {}
    number = 0
    while len(by_bucket) < 100:
        by_bucket.setdefault(percent_bucket(f"e{number}", "sm"), f"e{number}")
        number += 1
    flag = boolean_flag(enabled=False, rollouts=[threshold(percentage, True)])
    with FliptServer("v1", seed=seeded(flag)) as server:
        held = [bucket for bucket, entity in by_bucket.items() if server.evaluate_boolean("mhv", "sm", entity)]
    assert sorted(held) == list(range(buckets))


def test_v2_leaves_out_a_segment_that_it_cannot_read_and_v1_never_matches_it() -> None:
    broken = {
        "key": "broken",
        "constraints": [{"type": "NUMBER_COMPARISON_TYPE", "property": "n", "operator": "eq", "value": "five"}],
    }
    both = {"segment": {"keys": ["veterans", "broken"], "operator": "AND_SEGMENT_OPERATOR", "value": True}}
    seed = seeded(boolean_flag(enabled=False, rollouts=[both]), segments=(VETERANS, broken))
    answers = {}
    for api in ("v1", "v2"):
        with FliptServer(api, seed=seed) as server:
            answers[api] = server.evaluate_boolean("mhv", "sm", "e", {"role": "veteran"})
    assert answers == {"v1": False, "v2": True}
