"""What the management APIs refuse, with the status and the message of the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded

NAMESPACES = "/api/v1/namespaces"
FLAGS = f"{NAMESPACES}/mhv/flags"
SEGMENTS = f"{NAMESPACES}/mhv/segments"
RULES = f"{FLAGS}/vf/rules"
SHARES = f"{RULES}/r1/distributions"
NONE = "00000000"

VARIANT = {
    "key": "vf",
    "name": "VF",
    "enabled": True,
    "variants": [{"key": "blue", "id": "v1"}, {"key": "green", "id": "v2"}],
    "rules": [
        {
            "id": "r1",
            "segment": {"key": "veterans"},
            "distributions": [{"id": "d1", "variant": "blue", "rollout": 50}],
        }
    ],
}
CONSTRAINT = {"type": "STRING_COMPARISON_TYPE", "property": "p", "operator": "eq", "value": "x"}


def seed() -> dict[str, Any]:
    """A boolean and a variant flag."""
    return seeded(boolean_flag(), VARIANT, segments=(VETERANS,))


@pytest.fixture(scope="module")
def v1() -> Iterator[FliptServer]:
    """A v1 server that no test here changes."""
    with FliptServer("v1", seed=seed()) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "document", "status", "message"),
    [
        ("GET", f"{NAMESPACES}/nope", None, 404, 'namespace "nope" not found'),
        ("PUT", f"{NAMESPACES}/nope", {"name": "x"}, 404, 'namespace "nope" not found'),
        ("DELETE", f"{NAMESPACES}/nope", None, 404, 'namespace "nope" not found'),
        ("POST", NAMESPACES, {"key": "mhv", "name": "x"}, 400, 'namespace "mhv" is not unique'),
        ("POST", NAMESPACES, {"key": "", "name": "x"}, 400, "invalid field key: must not be empty"),
        ("POST", FLAGS, {"key": "new"}, 400, "invalid field name: must not be empty"),
        ("POST", FLAGS, ["no object"], 400, "invalid values for key(s) in json body"),
        ("POST", FLAGS, {"key": 5, "name": "x"}, 400, "invalid values for key(s) in json body"),
        (
            "POST",
            f"{NAMESPACES}/nope/flags",
            {"key": "new", "name": "x"},
            404,
            'namespace "nope" not found',
        ),
        (
            "POST",
            f"{FLAGS}/vf/variants",
            {"key": "blue"},
            400,
            'variant "blue" is not unique for flag "mhv/vf"',
        ),
        (
            "PUT",
            f"{FLAGS}/vf/variants/v2",
            {"key": "blue"},
            400,
            'variant "blue" is not unique for flag "mhv/vf"',
        ),
        ("PUT", f"{FLAGS}/vf/variants/{NONE}", {"key": "red"}, 404, 'variant "red" not found'),
        (
            "POST",
            f"{FLAGS}/vf/variants",
            {"key": "red", "attachment": "{"},
            400,
            "invalid field attachment: must be a json string",
        ),
        (
            "POST",
            f"{FLAGS}/sm/rollouts",
            {"rank": 5, "segment": {"segmentKey": "a", "segmentKeys": ["b"]}},
            400,
            "invalid field segmentKey or segmentKeys: only one can be present",
        ),
        (
            "POST",
            f"{FLAGS}/sm/rollouts",
            {"rank": 5, "segment": {"value": True}},
            400,
            "invalid field segmentKey or segmentKeys: must not be empty",
        ),
        ("POST", f"{FLAGS}/sm/rollouts", {"rank": 5}, 400, "rollout rule is missing"),
        ("POST", f"{FLAGS}/sm/rollouts", {"rank": 1.5}, 400, "invalid values for key(s) in json body"),
        ("GET", f"{FLAGS}/sm/rollouts/{NONE}", None, 404, f'rollout "mhv/{NONE}" not found'),
        ("GET", f"{RULES}/{NONE}", None, 404, f'rule "mhv/{NONE}" not found'),
        ("POST", RULES, {"segmentKey": "veterans"}, 400, "invalid field rank: must be greater than 0"),
        (
            "POST",
            RULES,
            {"segmentKey": "nobody", "rank": 1},
            404,
            'flag "mhv/vf" or segment "mhv/nobody" not found',
        ),
        ("PUT", f"{RULES}/{NONE}", {"segmentKey": "veterans"}, 404, f'rule "mhv/{NONE}" not found'),
        (
            "PUT",
            f"{RULES}/order",
            {"ruleIds": ["r1"]},
            400,
            "invalid field ruleIds: must contain atleast 2 elements",
        ),
        (
            "POST",
            SHARES,
            {"variantId": "v1", "rollout": -1},
            400,
            "invalid field rollout: must be greater than or equal to '0'",
        ),
        (
            "POST",
            SHARES,
            {"variantId": "v1", "rollout": 101},
            400,
            "invalid field rollout: must be less than or equal to '100'",
        ),
        (
            "POST",
            SHARES,
            {"variantId": "v9", "rollout": 1},
            404,
            'variant "v9", rule "r1", flag "vf" in namespace "mhv" not found',
        ),
        (
            "POST",
            SHARES.replace("r1", NONE),
            {"variantId": "v1", "rollout": 1},
            404,
            f'variant "v1", rule "{NONE}", flag "vf" in namespace "mhv" not found',
        ),
        (
            "PUT",
            f"{SHARES}/{NONE}",
            {"variantId": "v1", "rollout": 1},
            404,
            f'distribution "{NONE}" not found',
        ),
        ("DELETE", f"{SHARES}/d1", None, 400, "invalid field variantId: must not be empty"),
        ("GET", f"{SEGMENTS}/nope", None, 404, 'segment "mhv/nope" not found'),
        ("PUT", f"{SEGMENTS}/nope", {"name": "x"}, 404, 'segment "mhv/nope" not found'),
        (
            "POST",
            SEGMENTS,
            {"key": "veterans", "name": "x"},
            400,
            'segment "mhv/veterans" is not unique',
        ),
        ("POST", f"{SEGMENTS}/nope/constraints", CONSTRAINT, 404, 'segment "mhv/nope" not found'),
        (
            "PUT",
            f"{SEGMENTS}/veterans/constraints/{NONE}",
            CONSTRAINT,
            404,
            f'constraint "{NONE}" not found',
        ),
        (
            "POST",
            f"{SEGMENTS}/veterans/constraints",
            {**CONSTRAINT, "type": "ENTITY_ID_COMPARISON_TYPE"},
            400,
            'property is p instead of "entityId"',
        ),
        (
            "POST",
            f"{SEGMENTS}/veterans/constraints",
            {**CONSTRAINT, "type": "ODD"},
            400,
            'invalid constraint type: "UNKNOWN_COMPARISON_TYPE"',
        ),
        (
            "POST",
            f"{SEGMENTS}/veterans/constraints",
            {**CONSTRAINT, "operator": "isoneof", "value": str(list(range(101)))},
            400,
            'invalid value provided for property "p" of type string',
        ),
        (
            "POST",
            f"{SEGMENTS}/veterans/constraints",
            {
                **CONSTRAINT,
                "type": "NUMBER_COMPARISON_TYPE",
                "operator": "isoneof",
                "value": str(list(range(101))),
            },
            400,
            'too many values provided for property "p" of type number (maximum 100)',
        ),
    ],
)
def test_v1_refuses_and_says_why(
    v1: FliptServer, method: str, path: str, document: Any, status: int, message: str
) -> None:
    before = v1.state().version
    answered = ask(v1.url, method, path, document)
    assert (answered.status, answered.body["message"]) == (status, message)
    assert v1.state().version == before


MHV = "/api/v2/environments/default/namespaces/mhv/resources"


@pytest.fixture(scope="module")
def v2() -> Iterator[FliptServer]:
    """A v2 server that no test here changes."""
    with FliptServer("v2", seed=seed()) as server:
        yield server


def flag_put(**fields: Any) -> dict[str, Any]:
    """A put of the variant flag with other fields."""
    payload = {"@type": "flipt.core.Flag", "key": "vf", "name": "VF", "variants": [{"key": "blue"}], **fields}
    return {"key": "vf", "payload": payload}


def segment_put(**fields: Any) -> dict[str, Any]:
    """A put of the segment with other fields."""
    payload = {"@type": "flipt.core.Segment", "key": "veterans", "name": "Veterans", **fields}
    return {"key": "veterans", "payload": payload}


def rule(**fields: Any) -> list[dict[str, Any]]:
    """One rule with one distribution."""
    return [{"segments": ["veterans"], "distributions": [{"variant": "blue", "rollout": 50, **fields}]}]


@pytest.mark.parametrize(
    ("document", "status", "part"),
    [
        (flag_put(rules=rule(variant="red")), 400, 'references unknown variant "red"'),
        (flag_put(rules=rule(rollout=101)), 500, "invalid value 101 (out of bound <=100)"),
        (flag_put(variants=[{"key": ""}]), 500, "flags.variants.key"),
        (segment_put(name=""), 500, "segments.name"),
        (segment_put(constraints=[{**CONSTRAINT, "operator": "lt"}]), 500, 'invalid operator "lt"'),
        (segment_put(constraints=[{**CONSTRAINT, "property": ""}]), 500, ".property"),
        ({"key": "", "payload": {}}, 400, "key must not be empty"),
        ({"key": "vf"}, 404, "resource type"),
    ],
)
def test_v2_refuses_and_says_why(v2: FliptServer, document: Any, status: int, part: str) -> None:
    before = v2.state().version
    answered = ask(v2.url, "PUT", MHV, document)
    assert answered.status == status
    assert part in answered.body["message"]
    assert v2.state().version == before


@pytest.mark.parametrize("kind", ["flipt.core.Flag", "flipt.core.Segment"])
def test_v2_refuses_keys_that_no_file_could_hold(v2: FliptServer, kind: str) -> None:
    document = {"key": "a b", "payload": {"@type": kind, "key": "a b", "name": "x"}}
    answered = ask(v2.url, "POST", MHV, document)
    assert (answered.status, answered.body["code"]) == (500, 13)


def test_v2_names_the_rule_that_uses_a_segment(v2: FliptServer) -> None:
    answered = ask(v2.url, "DELETE", f"{MHV}/flipt.core.Segment/veterans")
    assert (answered.status, answered.body["message"].split(": ")[-1]) == (
        400,
        'segment "veterans" is in use by flag "vf" rule 1',
    )


def test_v2_creates_nothing_where_there_is_something(v2: FliptServer) -> None:
    assert ask(v2.url, "POST", MHV, segment_put()).status == 409
    environments = "/api/v2/environments/default/namespaces"
    assert ask(v2.url, "GET", f"{environments}/nope").status == 404
