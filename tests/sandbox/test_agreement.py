"""The stand-in's evaluation agrees with the engine of Flipt's SDKs, but for the differences that are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.calls import ask, boolean_flag, seeded, threshold
from tests.sandbox.random_flags import NAMESPACE, Generator, Question

CHILD = Path(__file__).parent / "engine_child.py"
BATCH = 2500


def engine_answers(server: FliptServer, questions: list[Question], **options: str) -> list[Any]:
    """What the engine says about the flags that `server` serves."""
    told = {"url": server.url, "namespace": NAMESPACE, "questions": questions, **options}
    environment = {**os.environ, "RUST_LIB_BACKTRACE": "0"}
    ended = subprocess.run(
        [sys.executable, str(CHILD)],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    answers: list[Any] = json.loads(ended.stdout)
    return answers


def server_answers(server: FliptServer, questions: list[Question], **headers: str) -> list[Any]:
    """What the server itself says, in the form of `engine_child`."""
    answers: list[Any] = []
    for start in range(0, len(questions), BATCH):
        requests = [
            {"namespaceKey": NAMESPACE, "flagKey": flag_key, "entityId": entity_id, "context": context}
            for flag_key, entity_id, context in questions[start : start + BATCH]
        ]
        answered = ask(server.url, "POST", "/evaluate/v1/batch", {"requests": requests}, **headers)
        assert answered.status == 200
        answers += [answer_of(response) for response in answered.body["responses"]]
    return answers


def answer_of(response: dict[str, Any]) -> Any:
    if "booleanResponse" in response:
        return response["booleanResponse"]["enabled"]
    found = response["variantResponse"]
    return [found["match"], found["variantKey"], found["variantAttachment"]]


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_server_and_engine_agree_on_ten_thousand_random_questions(api: str) -> None:
    made = Generator(seed=20261123, several=api == "v2").flags(count=1000, entities=10)
    with FliptServer(api, seed=made.seed) as server:
        by_engine = engine_answers(server, made.questions)
        by_server = server_answers(server, made.questions)
    assert len(by_engine) == len(by_server) == 10_000
    assert {str(answer) for answer in by_engine} >= {"True", "False"}
    differing = [
        (question, one, other)
        for question, one, other in zip(made.questions, by_engine, by_server, strict=True)
        if one != other
    ]
    assert not differing, differing[:5]


KNOWN_DIFFERENCES = [
    ("NUMBER", "eq", "5", "5.0"),
    ("NUMBER", "lte", "5", "5.0"),
    ("NUMBER", "gte", "5", "5.0"),
    ("NUMBER", "isoneof", "[5]", "5.0"),
    ("BOOLEAN", "true", "", "TRUE"),
    ("DATETIME", "eq", "2026-01-01", "2026-01-01T00:00:00Z"),
    ("DATETIME", "eq", "2026-01-01T00:00:00Z", "2026-01-01"),
]


def test_the_known_differences_are_the_servers_true_against_the_engines_false() -> None:
    flags, segments, questions = [], [], []
    for number, (kind, operator, wanted, given) in enumerate(KNOWN_DIFFERENCES):
        constraint = {
            "type": f"{kind}_COMPARISON_TYPE",
            "property": "x",
            "operator": operator,
            "value": wanted,
        }
        segments.append({"key": f"s{number}", "constraints": [constraint]})
        rollout = {"segment": {"key": f"s{number}", "value": True}}
        flags.append(boolean_flag(f"f{number}", enabled=False, rollouts=[rollout]))
        questions.append((f"f{number}", "entity", {"x": given}))
    with FliptServer("v1", seed=seeded(*flags, segments=tuple(segments))) as server:
        assert server_answers(server, questions) == [True] * len(KNOWN_DIFFERENCES)
        assert engine_answers(server, questions) == [False] * len(KNOWN_DIFFERENCES)


def partial(first: int, second: int) -> dict[str, Any]:
    """A variant flag of which everybody matches the only rule, with these shares."""
    return {
        "key": "partial",
        "enabled": True,
        "variants": [{"key": "blue"}, {"key": "green"}],
        "rules": [
            {
                "segment": {"key": "all"},
                "distributions": [
                    {"variant": "blue", "rollout": first},
                    {"variant": "green", "rollout": second},
                ],
            }
        ],
    }


def test_partial_distributions_leave_some_without_a_variant_in_v1_only() -> None:
    seed = seeded(partial(30, 30), segments=({"key": "all"},))
    questions: list[Question] = [("partial", f"entity-{number}", {}) for number in range(200)]
    served, by_engine = {}, {}
    for api in ("v1", "v2"):
        with FliptServer(api, seed=seed) as server:
            served[api] = [answer[1] for answer in server_answers(server, questions)]
            by_engine[api] = [answer[1] for answer in engine_answers(server, questions)]
    assert 40 < served["v1"].count("") < 120
    assert served["v2"] == by_engine["v2"] == by_engine["v1"]
    assert "" not in by_engine["v1"]


def test_engine_goes_by_order_where_the_server_refuses_a_negative_rank() -> None:
    flag = boolean_flag(rollouts=[threshold(100, False, rank=-1), threshold(100, True, rank=1)])
    questions: list[Question] = [("sm", "entity", {})]
    with FliptServer("v1", seed=seeded(flag)) as server:
        asked = {"namespaceKey": NAMESPACE, "flagKey": "sm", "entityId": "entity", "context": {}}
        assert ask(server.url, "POST", "/evaluate/v1/boolean", asked).status == 500
        assert ask(server.url, "POST", "/evaluate/v1/batch", {"requests": [asked]}).status == 500
        assert engine_answers(server, questions) == [False]


def test_engine_reads_the_environment_that_it_is_told() -> None:
    staging = {"namespaces": {NAMESPACE: {"flags": [boolean_flag(enabled=False)]}}}
    seed = {"environments": {"default": seeded(boolean_flag()), "staging": staging}}
    questions: list[Question] = [("sm", "entity", {})]
    with FliptServer("v2", seed=seed) as server:
        assert engine_answers(server, questions) == [True]
        assert engine_answers(server, questions, environment="staging") == [False]
        assert server_answers(server, questions, x_flipt_environment="staging") == [False]
