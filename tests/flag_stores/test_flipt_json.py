"""Flipt's JSON is read as real servers wrote it, and what is not understood is never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.flag_stores.flipt_json import (
    flag_from_snapshot,
    flag_from_v1,
    flag_from_v2,
    rollout_from,
    rollout_to_v1,
    rollout_to_v2,
    segment_from,
)
from rollback.core.exposure import exposure
from rollback.core.flag import Constraint, Distribution, FlagConfig, FlagType, Operator, Polarity, Rollout, Segment
from rollback.errors import FlagMissing, StoreRefused

TRANSCRIPTS = Path(__file__).parent.parent / "flipt_transcripts"
VETERANS = Segment("veterans", match_all=False, constraints=(Constraint("string", "role", "eq", "veteran"),))


def answers(pattern: str) -> list[Any]:
    """Every successful answer of a real server to a GET of such a path, as parameters."""
    return list(_answers(pattern))


def _answers(pattern: str) -> Iterator[Any]:
    for path in sorted(TRANSCRIPTS.glob("v*/*.json")):
        for number, step in enumerate(json.loads(path.read_text(encoding="utf-8")).get("steps", [])):
            request, response = step["request"], step["response"]
            is_meant = request["method"] == "GET" and response["status"] == 200
            if is_meant and re.search(pattern, request["path"]):
                yield pytest.param(response["body"], id=f"{path.parent.name}-{path.stem}-{number}")


def told(rollout: dict[str, Any]) -> tuple[Any, ...]:
    """What a rollout says, straight from the JSON."""
    if "threshold" in rollout:
        return ("threshold", rollout["threshold"]["percentage"], rollout["threshold"]["value"])
    segment = rollout["segment"]
    named = segment.get("segments") or [segment["segmentKey"]]
    keys = [one["key"] if isinstance(one, dict) else one for one in named]
    return ("segment", keys, segment["value"], segment["segmentOperator"][:2].lower())


def said(rollout: Rollout) -> tuple[Any, ...]:
    """The same of what was read."""
    if rollout.percentage is not None:
        return ("threshold", rollout.percentage, rollout.value)
    return ("segment", list(rollout.segments), rollout.value, rollout.operator.value[:2])


@pytest.mark.parametrize("body", answers(r"/rollouts$"))
def test_v1_rollouts_of_real_servers_are_read_in_order_with_their_descriptions(body: dict[str, Any]) -> None:
    flag = {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "enabled": True}
    config = flag_from_v1(flag, list(reversed(body["rules"])))
    assert [said(one) for one in config.rollouts] == [told(one) for one in body["rules"]]
    assert [one.description for one in config.rollouts] == [one["description"] for one in body["rules"]]
    assert config.defects == ()
    assert [one.wire for one in config.rollouts] == body["rules"]


@pytest.mark.parametrize("body", answers(r"/api/v1/.*/flags/\w+$"))
def test_v1_flags_of_real_servers_are_read(body: dict[str, Any]) -> None:
    config = flag_from_v1(body, [])
    assert (config.key, config.enabled, config.description) == (body["key"], body["enabled"], body["description"])
    assert config.type.value.upper() + "_FLAG_TYPE" == body["type"]
    assert list(config.variants) == [one["key"] for one in body["variants"]]
    assert config.default_variant == body.get("defaultVariant", {}).get("key")
    assert config.wire is body


@pytest.mark.parametrize("body", answers(r"/resources/flipt\.core\.Flag/\w+$"))
def test_v2_flags_of_real_servers_are_read(body: dict[str, Any]) -> None:
    payload = body["resource"]["payload"]
    config = flag_from_v2(body["resource"])
    assert (config.key, config.enabled, config.defects) == (payload["key"], payload["enabled"], ())
    assert [said(one) for one in config.rollouts] == [told(one) for one in payload["rollouts"]]
    assert config.default_variant == payload.get("defaultVariant")
    for rule, wire in zip(config.rules, payload["rules"], strict=True):
        assert list(rule.segments) == wire["segments"]
        assert [(one.variant, one.rollout) for one in rule.distributions] == [
            (one["variant"], one["rollout"]) for one in wire["distributions"]
        ]
    assert config.wire == payload


@pytest.mark.parametrize("body", answers(r"/snapshot(/namespace/\w+)?$"))
def test_snapshots_of_real_servers_are_read_with_their_segments(body: dict[str, Any]) -> None:
    for flag in body["flags"]:
        config = flag_from_snapshot(body, flag["key"])
        assert [said(one) for one in config.rollouts] == [told(one) for one in flag["rollouts"]]
        named = [one.segments for one in config.rollouts] + [one.segments for one in config.rules]
        assert config.segments == ({"veterans": VETERANS} if any(named) else {})
        ranks = [one["rank"] for one in flag["rollouts"]]
        assert bool(config.defects) == bool(ranks and ranks[0] < 0)
        if config.type is FlagType.VARIANT:
            assert config.rules[0].distributions == (Distribution("on", 100.0),)
            assert config.default_variant == flag.get("defaultVariant", {}).get("key")
    with pytest.raises(FlagMissing):
        flag_from_snapshot(body, "no-such-flag")


@pytest.mark.parametrize("body", answers(r"/resources/flipt\.core\.Segment$"))
def test_v2_segments_of_real_servers_are_read(body: dict[str, Any]) -> None:
    assert [segment_from(one["payload"]) for one in body["resources"]] == [VETERANS]


@pytest.mark.parametrize("body", answers(r"/resources/flipt\.core\.Flag/\w+$"))
def test_an_unchanged_rollout_is_sent_back_as_it_came(body: dict[str, Any]) -> None:
    rollouts = flag_from_v2(body["resource"]).rollouts
    assert [rollout_to_v2(one) for one in rollouts] == body["resource"]["payload"]["rollouts"]


def test_the_snapshot_of_a_namespace_that_does_not_exist_is_a_missing_flag_not_an_off_one() -> None:
    with pytest.raises(FlagMissing):
        flag_from_snapshot({"namespace": {"key": "nope"}, "flags": []}, "sm")


def test_fields_that_are_left_out_are_false_zero_or_empty() -> None:
    payload = {
        "key": "sm",
        "type": "BOOLEAN_FLAG_TYPE",
        "rollouts": [
            {"threshold": {"percentage": 100}},
            {"threshold": {"value": True}},
            {"segment": {"segments": ["a"]}},
        ],
    }
    config = flag_from_v2({"payload": payload})
    assert config.rollouts == (
        Rollout(value=False, percentage=100.0),
        Rollout(value=True, percentage=0.0),
        Rollout(value=False, segments=("a",)),
    )
    assert not config.enabled
    assert config.defects == ()


def test_a_flag_without_a_type_is_a_variant_flag() -> None:
    assert flag_from_v2({"payload": {"key": "old"}}).type is FlagType.VARIANT


def test_a_segment_without_a_match_type_must_match_all() -> None:
    assert segment_from({"key": "s"}).match_all
    assert not segment_from({"key": "s", "matchType": "ANY_SEGMENT_MATCH_TYPE"}).match_all
    assert segment_from({"key": "s", "matchType": "ALL_MATCH_TYPE"}).match_all


@pytest.mark.parametrize(
    ("spelled", "kind"),
    [
        ("ENTITY_ID_COMPARISON_TYPE", "entity_id"),
        ("ENTITY_ID_CONSTRAINT_COMPARISON_TYPE", "entity_id"),
        ("DATETIME_CONSTRAINT_COMPARISON_TYPE", "datetime"),
        ("NUMBER_COMPARISON_TYPE", "number"),
        ("BOOLEAN_COMPARISON_TYPE", "boolean"),
    ],
)
def test_both_spellings_of_a_constraints_type_are_one(spelled: str, kind: str) -> None:
    segment = segment_from({"key": "s", "constraints": [{"type": spelled, "operator": "eq", "value": "1"}]})
    assert segment.constraints[0].type == kind


def test_v1_names_several_segments_in_another_field_and_joins_them_with_and() -> None:
    entry = {"segment": {"segmentKeys": ["a", "b"], "segmentOperator": "AND_SEGMENT_OPERATOR", "value": True}}
    assert rollout_from(entry) == Rollout(value=True, segments=("a", "b"), operator=Operator.AND)


def test_v1_rules_name_variants_by_id_and_are_read_by_key() -> None:
    flag = {"key": "vf", "type": "VARIANT_FLAG_TYPE", "enabled": True, "variants": [{"id": "1", "key": "on"}]}
    rules = [
        {"rank": 2, "segmentKey": "b", "distributions": []},
        {"rank": 1, "segmentKey": "a", "distributions": [{"variantId": "1", "rollout": 70.5}]},
    ]
    config = flag_from_v1(flag, rules)
    assert [rule.segments for rule in config.rules] == [("a",), ("b",)]
    assert config.rules[0].distributions == (Distribution("on", 70.5),)


def ranked(*ranks: int) -> FlagConfig:
    entries = [{"id": str(n), "rank": rank, "threshold": {"percentage": 100}} for n, rank in enumerate(ranks)]
    return flag_from_v1({"key": "sm", "type": "BOOLEAN_FLAG_TYPE"}, entries)


@pytest.mark.parametrize("ranks", [(-1, 1), (1, 1), (2, 1, 2)])
def test_bad_ranks_make_the_exposure_unknown_even_behind_a_full_kill(ranks: tuple[int, ...]) -> None:
    config = ranked(*ranks)
    assert config.defects
    found = exposure(config, Polarity())
    assert found.percent is None
    assert not found.is_off


def test_ranks_need_not_begin_at_one() -> None:
    assert ranked(7, 0, 3).defects == ()


@pytest.mark.parametrize("ranks", [[-1, 1], [1, 3, 2]])
def test_a_snapshot_whose_ranks_go_down_fails_for_everybody(ranks: list[int]) -> None:
    rollouts = [{"rank": rank, "threshold": {"percentage": 100}} for rank in ranks]
    flag = {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "rollouts": rollouts}
    assert not exposure(flag_from_snapshot({"flags": [flag]}, "sm"), Polarity()).is_off


@pytest.mark.parametrize(
    "rollout",
    [
        {"type": "LOTTERY_ROLLOUT_TYPE", "lottery": {}},
        {},
        {"segment": {"segments": ["a"], "segmentOperator": "XOR_SEGMENT_OPERATOR"}},
    ],
)
def test_a_rollout_of_an_unknown_kind_makes_the_exposure_unknown_and_is_sent_back_untouched(
    rollout: dict[str, Any],
) -> None:
    kill = {"threshold": {"percentage": 100}}
    config = flag_from_v2({"payload": {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "rollouts": [kill, rollout]}})
    assert exposure(config, Polarity()).unknown
    assert rollout_to_v2(config.rollouts[1]) == rollout


def test_a_flag_of_an_unknown_type_is_never_off() -> None:
    config = flag_from_v2({"payload": {"key": "sm", "type": "QUANTUM_FLAG_TYPE"}})
    assert not exposure(config, Polarity()).is_off


def test_a_changed_rollout_keeps_the_fields_that_this_program_does_not_know() -> None:
    wire = {
        "type": "THRESHOLD_ROLLOUT_TYPE",
        "description": "old",
        "owner": "us",
        "threshold": {"percentage": 100, "value": False, "salt": "x"},
    }
    changed = Rollout(value=False, percentage=40.0, description="new", wire=wire)
    assert rollout_to_v2(changed) == {
        "type": "THRESHOLD_ROLLOUT_TYPE",
        "description": "new",
        "owner": "us",
        "threshold": {"percentage": 40, "value": False, "salt": "x"},
    }
    assert wire["description"] == "old"


def test_new_rollouts_are_written_in_each_apis_own_words() -> None:
    kill = Rollout(value=False, percentage=100.0, description="k")
    cohort = Rollout(value=True, segments=("a", "b"), operator=Operator.AND, description="c")
    assert rollout_to_v1(kill) == {"description": "k", "threshold": {"percentage": 100, "value": False}}
    assert rollout_to_v2(kill) == {"type": "THRESHOLD_ROLLOUT_TYPE", **rollout_to_v1(kill)}
    assert rollout_to_v1(cohort)["segment"] == {
        "segmentKeys": ["a", "b"],
        "value": True,
        "segmentOperator": "AND_SEGMENT_OPERATOR",
    }
    assert rollout_to_v2(cohort)["segment"] == {
        "segments": ["a", "b"],
        "value": True,
        "segmentOperator": "AND_SEGMENT_OPERATOR",
    }


def test_whole_percentages_are_written_without_a_fraction_and_others_as_they_are() -> None:
    assert json.dumps(rollout_to_v1(Rollout(value=False, percentage=75.0))["threshold"]["percentage"]) == "75"
    assert rollout_to_v1(Rollout(value=False, percentage=0.4))["threshold"]["percentage"] == 0.4


@pytest.mark.parametrize(
    "payload",
    [
        {"rollouts": "none"},
        {"rollouts": ["none"]},
        {"rollouts": [{"threshold": []}]},
        {"rollouts": [{"threshold": {"percentage": "half"}}]},
        {"rollouts": [{"segment": {"segments": "a"}}]},
    ],
)
def test_what_is_no_flag_is_refused_and_never_a_traceback(payload: dict[str, Any]) -> None:
    with pytest.raises(StoreRefused):
        flag_from_v2({"payload": {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", **payload}})


def test_a_percentage_that_is_no_number_at_all_is_sent_back_as_it_came() -> None:
    config = flag_from_v2(
        {"payload": {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "rollouts": [{"threshold": {"percentage": "NaN"}}]}}
    )
    assert rollout_to_v2(config.rollouts[0]) == {"threshold": {"percentage": "NaN"}}
