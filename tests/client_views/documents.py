"""The core's words as Flipt's documents, and random segments to put into them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from rollback.core.flag import Constraint, FlagConfig, FlagType, Operator, Rollout, Rule, Segment

FLAG_TYPES = {FlagType.BOOLEAN: "BOOLEAN_FLAG_TYPE", FlagType.VARIANT: "VARIANT_FLAG_TYPE"}
OPERATORS = {Operator.OR: "OR_SEGMENT_OPERATOR", Operator.AND: "AND_SEGMENT_OPERATOR"}
TEXT_OPERATORS = (
    "eq",
    "neq",
    "empty",
    "notempty",
    "prefix",
    "suffix",
    "contains",
    "notcontains",
    "isoneof",
    "isnotoneof",
)
ENTITY_OPERATORS = ("eq", "neq", "prefix", "suffix", "contains", "notcontains", "isoneof", "isnotoneof")
ORDER_OPERATORS = ("eq", "neq", "lt", "lte", "gt", "gte", "present", "notpresent")


# -- declarative, as the stand-in server is seeded -------------------------------------------------------------


def declarative_flag(config: FlagConfig) -> dict[str, Any]:
    """A flag as a declarative file has it."""
    return {
        "key": config.key,
        "name": config.key,
        "type": FLAG_TYPES[config.type],
        "enabled": config.enabled,
        "variants": [{"key": key, "default": key == config.default_variant} for key in config.variants],
        "rollouts": [_declarative_rollout(one) for one in config.rollouts],
        "rules": [
            {
                "segment": _keys(one),
                "distributions": [{"variant": share.variant, "rollout": share.rollout} for share in one.distributions],
            }
            for one in config.rules
        ],
    }


def declarative_segment(segment: Segment) -> dict[str, Any]:
    """A segment as a declarative file has it."""
    return {
        "key": segment.key,
        "name": segment.key,
        "match_type": "ALL_MATCH_TYPE" if segment.match_all else "ANY_MATCH_TYPE",
        "constraints": [
            {
                "type": f"{one.type.upper()}_COMPARISON_TYPE",
                "property": one.property,
                "operator": one.operator,
                "value": one.value,
            }
            for one in segment.constraints
        ],
    }


def declarative(configs: Sequence[FlagConfig], namespace: str = "mhv") -> dict[str, Any]:
    """A declarative document of these flags and their segments."""
    segments = {segment.key: segment for config in configs for segment in config.segments.values()}
    return {
        "namespace": namespace,
        "flags": [declarative_flag(one) for one in configs],
        "segments": [declarative_segment(one) for one in segments.values()],
    }


def _declarative_rollout(rollout: Rollout) -> dict[str, Any]:
    if rollout.percentage is not None:
        return {"threshold": {"percentage": rollout.percentage, "value": rollout.value}}
    return {"segment": {**_keys(rollout), "value": rollout.value}}


def _keys(user: Rollout | Rule) -> dict[str, Any]:
    return {"keys": list(user.segments), "operator": OPERATORS[user.operator]}


# -- the snapshot that SDKs read -------------------------------------------------------------------------------


def snapshot(configs: Sequence[FlagConfig], namespace: str = "mhv") -> dict[str, Any]:
    """Boolean flags as a server's snapshot has them (ranks as Flipt gives them: from 1)."""
    return {"namespace": {"key": namespace}, "flags": [_snapshot_flag(one) for one in configs]}


def _snapshot_flag(config: FlagConfig) -> dict[str, Any]:
    return {
        "key": config.key,
        "name": config.key,
        "description": "",
        "enabled": config.enabled,
        "type": FLAG_TYPES[config.type],
        "rules": [],
        "rollouts": [_snapshot_rollout(one, rank, config.segments) for rank, one in enumerate(config.rollouts, 1)],
    }


def _snapshot_rollout(rollout: Rollout, rank: int, segments: Mapping[str, Segment]) -> dict[str, Any]:
    if rollout.percentage is not None:
        threshold = {"percentage": rollout.percentage, "value": rollout.value}
        return {"type": "THRESHOLD_ROLLOUT_TYPE", "rank": rank, "threshold": threshold}
    return {
        "type": "SEGMENT_ROLLOUT_TYPE",
        "rank": rank,
        "segment": {
            "value": rollout.value,
            "segmentOperator": OPERATORS[rollout.operator],
            "segments": [_snapshot_segment(segments[key]) for key in rollout.segments],
        },
    }


def _snapshot_segment(segment: Segment) -> dict[str, Any]:
    return {
        "key": segment.key,
        "name": segment.key,
        "description": "",
        "matchType": "ALL_SEGMENT_MATCH_TYPE" if segment.match_all else "ANY_SEGMENT_MATCH_TYPE",
        "constraints": [
            {
                "type": f"{one.type.upper()}_CONSTRAINT_COMPARISON_TYPE",
                "property": one.property,
                "operator": one.operator,
                "value": one.value,
            }
            for one in segment.constraints
        ],
    }


# -- random segments -------------------------------------------------------------------------------------------

_texts = st.text(st.sampled_from('abZ 19-_.@é\t"\\'), max_size=6)
_lists = st.lists(_texts, max_size=4)
_numbers = st.one_of(
    st.integers(-12, 12).map(str),
    st.sampled_from(["5.0", "1e3", "+7", "2147483647", "2147483648", "-2147483648", "x", "", " 3"]),
)
_moments = st.sampled_from(
    [
        "2026-11-23T00:00:00Z",
        "2026-11-23T00:00:00.5Z",
        "2026-11-23T02:00:00+02:00",
        "2026-11-22",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "soon",
    ]
)


def _text_values(operator: str) -> st.SearchStrategy[str]:
    return _lists.map(lambda values: json.dumps(values, ensure_ascii=False)) if "oneof" in operator else _texts


def _number_values(operator: str) -> st.SearchStrategy[str]:
    return st.lists(st.integers(-5, 5), max_size=4).map(json.dumps) if "oneof" in operator else _numbers


def _constraints_of(kind: str, operators: Sequence[str], values: Any) -> st.SearchStrategy[Constraint]:
    properties = st.just("entity_id") if kind == "entity_id" else st.sampled_from(["p", "q"])
    return st.sampled_from(operators).flatmap(
        lambda operator: st.builds(Constraint, st.just(kind), properties, st.just(operator), values(operator))
    )


constraints: st.SearchStrategy[Constraint] = st.one_of(
    _constraints_of("string", TEXT_OPERATORS, _text_values),
    _constraints_of("entity_id", ENTITY_OPERATORS, _text_values),
    _constraints_of("number", (*ORDER_OPERATORS, "isoneof", "isnotoneof"), _number_values),
    _constraints_of("boolean", ("true", "false", "present", "notpresent"), lambda _: st.just("")),
    _constraints_of("datetime", ORDER_OPERATORS, lambda _: _moments),
)


def segments(key: str) -> st.SearchStrategy[Segment]:
    """A random segment with this key."""
    return st.builds(Segment, st.just(key), st.booleans(), st.lists(constraints, max_size=3).map(tuple))
