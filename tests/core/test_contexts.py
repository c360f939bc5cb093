"""Samples: every bucket, every segment that the flag names, and nothing skipped in silence."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.constraints import is_member
from rollback.core.contexts import MAX_CONTEXTS, bucket, entity_for, samples_for
from rollback.core.flag import (
    BUCKETS,
    Constraint,
    Distribution,
    FlagConfig,
    FlagType,
    Operator,
    Rollout,
    Rule,
    Segment,
)
from tests.client_views.documents import segments

VETERANS = Segment("veterans", False, (Constraint("string", "role", "eq", "veteran"),))
STAFF = Segment("staff", True, (Constraint("string", "mail", "suffix", "@va.gov"),))


def boolean(*rollouts: Rollout, known: tuple[Segment, ...] = (VETERANS, STAFF)) -> FlagConfig:
    return FlagConfig("sm", FlagType.BOOLEAN, True, rollouts, segments={one.key: one for one in known})


def everyone_of(config: FlagConfig, segment: str | None) -> list[int]:
    return [sample.bucket for sample in samples_for(config).samples if sample.segment == segment]


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_the_bucket_is_crc32_of_the_id_and_the_flag_key(entity_id: str, flag_key: str) -> None:
    assert bucket(entity_id, flag_key) == crc32(f"{entity_id}{flag_key}".encode()) % 100


@given(st.text(min_size=1, max_size=30))
def test_every_flag_key_has_an_entity_in_every_bucket(flag_key: str) -> None:
    ids = [entity_for(at, flag_key) for at in range(BUCKETS)]
    assert [bucket(one, flag_key) for one in ids] == list(range(BUCKETS))
    assert all(one.startswith("rollback-proof-") for one in ids)


@pytest.mark.parametrize("at", [-1, 100])
def test_a_bucket_that_does_not_exist_has_no_entity(at: int) -> None:
    with pytest.raises(KeyError):
        entity_for(at, "sm")


def test_a_flag_without_segments_is_asked_for_in_all_buckets_without_context() -> None:
    found = samples_for(boolean(Rollout(True, percentage=50)))
    assert [sample.bucket for sample in found.samples] == list(range(BUCKETS))
    assert all(sample.context == {} and sample.segment is None for sample in found.samples)
    assert found.unsampled == ()


def test_every_segment_is_asked_for_in_all_buckets() -> None:
    config = boolean(Rollout(True, segments=("veterans",)), Rollout(True, segments=("staff", "veterans")))
    found = samples_for(config)
    assert len(found.samples) == 3 * BUCKETS
    assert everyone_of(config, "veterans") == everyone_of(config, "staff") == list(range(BUCKETS))
    assert {sample.context["role"] for sample in found.samples if sample.segment == "veterans"} == {"veteran"}


def test_segments_of_a_variant_flags_rules_are_asked_for_as_well() -> None:
    rule = Rule(("veterans",), (Distribution("on", 100),))
    config = FlagConfig("vf", FlagType.VARIANT, True, rules=(rule,), segments={"veterans": VETERANS})
    assert everyone_of(config, "veterans") == list(range(BUCKETS))


def test_segments_joined_with_and_are_also_asked_for_together() -> None:
    config = boolean(Rollout(True, segments=("veterans", "staff"), operator=Operator.AND))
    both = [one for one in samples_for(config).samples if one.segment == "veterans+staff"]
    assert len(both) == BUCKETS
    assert all(is_member(VETERANS, one.context, one.entity_id) for one in both)
    assert all(is_member(STAFF, one.context, one.entity_id) for one in both)


def test_segments_that_exclude_one_another_are_listed_and_not_asked_for() -> None:
    others = Segment("others", True, (Constraint("string", "role", "eq", "other"),))
    config = boolean(Rollout(True, segments=("veterans", "others"), operator=Operator.AND), known=(VETERANS, others))
    found = samples_for(config)
    assert [name for name, _ in found.unsampled] == ["veterans+others"]
    assert not everyone_of(config, "veterans+others")
    assert everyone_of(config, "others") == list(range(BUCKETS))


def test_a_segment_that_nobody_knows_is_listed_and_not_skipped() -> None:
    found = samples_for(boolean(Rollout(True, segments=("ghosts",))))
    assert found.unsampled == (("ghosts", "not in the snapshot"),)
    assert len(found.samples) == BUCKETS


def test_listed_entity_ids_are_asked_for_by_themselves() -> None:
    testers = Segment("testers", False, (Constraint("entity_id", "", "isoneof", '["u1", "u2"]'),))
    found = samples_for(boolean(Rollout(True, segments=("testers",)), known=(testers,)))
    members = [one for one in found.samples if one.segment == "testers"]
    assert [(one.entity_id, one.bucket) for one in members] == [("u1", bucket("u1", "sm")), ("u2", bucket("u2", "sm"))]


def test_an_entity_id_with_a_prefix_is_found_for_every_bucket() -> None:
    testers = Segment("testers", False, (Constraint("entity_id", "", "prefix", "tester:"),))
    config = boolean(Rollout(True, segments=("testers",)), known=(testers,))
    assert everyone_of(config, "testers") == list(range(BUCKETS))
    assert all(one.entity_id.startswith("tester:") for one in samples_for(config).samples if one.segment)


def test_an_entity_id_that_must_not_contain_a_digit_is_still_found_for_every_bucket() -> None:
    others = Segment(
        "others", True, (Constraint("entity_id", "", "notcontains", "1"), Constraint("entity_id", "", "neq", "x"))
    )
    config = boolean(Rollout(True, segments=("others",)), known=(others,))
    assert everyone_of(config, "others") == list(range(BUCKETS))
    assert samples_for(config).unsampled == ()


def test_buckets_in_which_no_member_is_found_are_listed() -> None:
    barred = tuple(Constraint("entity_id", "", "notcontains", digit) for digit in "123456789")
    config = boolean(Rollout(True, segments=("few",)), known=(Segment("few", True, barred),))
    assert len(everyone_of(config, "few")) == 1
    assert samples_for(config).unsampled == (("few", "a member was found in 1 of 100 buckets only"),)


def test_a_reason_never_quotes_a_constraints_value() -> None:
    secret = Segment(
        "named", True, (Constraint("entity_id", "", "eq", "someone@va.gov"), Constraint("entity_id", "", "eq", "x"))
    )
    (left_out,) = samples_for(boolean(Rollout(True, segments=("named",)), known=(secret,))).unsampled
    assert "someone" not in left_out[1]


def test_the_number_of_samples_is_bounded_and_what_is_left_out_is_named() -> None:
    many = tuple(Segment(f"s{n}", False, VETERANS.constraints) for n in range(MAX_CONTEXTS + 2))
    found = samples_for(boolean(*(Rollout(True, segments=(one.key,)) for one in many), known=many))
    assert len(found.samples) == BUCKETS * (1 + MAX_CONTEXTS)
    assert [name for name, _ in found.unsampled] == [f"s{MAX_CONTEXTS}", f"s{MAX_CONTEXTS + 1}"]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True).flatmap(
        lambda numbers: st.tuples(*(segments(f"s{number}") for number in numbers))
    ),
    st.sampled_from(Operator),
)
def test_every_sample_is_a_member_and_every_segment_is_sampled_or_named(
    known: tuple[Segment, ...], operator: Operator
) -> None:
    keys = tuple(one.key for one in known)
    config = boolean(Rollout(True, segments=keys, operator=operator), known=known)
    found = samples_for(config)
    by_key = {one.key: one for one in known}
    for sample in found.samples:
        assert bucket(sample.entity_id, "sm") == sample.bucket
        members = sample.segment.split("+") if sample.segment else []
        assert all(is_member(by_key[key], sample.context, sample.entity_id) for key in members)
    expected = {*keys, *(["+".join(keys)] if operator is Operator.AND and len(keys) > 1 else [])}
    covered = {one.segment for one in found.samples if one.segment} | {name for name, _ in found.unsampled}
    assert covered == expected


def test_the_same_flag_gives_the_same_samples() -> None:
    config = boolean(Rollout(True, segments=("veterans",)))
    assert samples_for(config) == samples_for(config)
