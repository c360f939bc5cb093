"""Off is proven only when every part says so (invariant 2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.exposure import Exposure, exposure
from rollback.core.flag import FlagConfig, FlagType, Polarity, Rollout
from rollback.core.proof import (
    EFFECT,
    ENGINE,
    NO_EFFECT_CHECK,
    ON_EACH_REPLICA,
    POLLING,
    REASONING,
    SERVER,
    STREAM,
    OffProof,
    ProofPart,
    Status,
    effect_part,
    failed_part,
    part_from_sighting,
    polling_part,
    reasoning_part,
    stream_part,
)
from rollback.ports import Sample, Sighting

NOW = datetime(2026, 11, 23, 8, 12, 27, tzinfo=UTC)
SAMPLES = tuple(Sample(f"u{n}", n) for n in range(3))
PROVEN = [ProofPart(name, Status.PROVEN, "") for name in ON_EACH_REPLICA]


def with_part(part: ProofPart) -> OffProof:
    return OffProof((*PROVEN, part))


def test_off_is_proven_when_reasoning_engine_and_server_say_so() -> None:
    assert OffProof(tuple(PROVEN)).proven


@pytest.mark.parametrize("missing", ON_EACH_REPLICA)
def test_off_is_not_proven_while_one_of_the_three_is_missing(missing: str) -> None:
    assert not OffProof(tuple(part for part in PROVEN if part.name != missing)).proven


@pytest.mark.parametrize("missing", ON_EACH_REPLICA)
def test_off_is_not_proven_while_a_second_replica_lacks_one_of_the_three(missing: str) -> None:
    second = [part for part in PROVEN if part.name != missing]
    assert not OffProof((*PROVEN, *second)).proven
    assert OffProof((*PROVEN, *PROVEN)).proven


def test_nothing_looked_at_proves_nothing() -> None:
    assert not OffProof(()).proven


@pytest.mark.parametrize("name", [*ON_EACH_REPLICA, STREAM, POLLING, EFFECT])
@pytest.mark.parametrize("status", [Status.OPEN, Status.UNKNOWN, Status.WAITING])
def test_one_part_that_is_open_unknown_or_waiting_stands_against_the_proof(name: str, status: Status) -> None:
    proof = with_part(ProofPart(name, status, "x"))
    assert not proof.proven
    assert [part.name for part in proof.lacking] == [name]


@pytest.mark.parametrize("name", [*ON_EACH_REPLICA, STREAM, EFFECT])
def test_only_polling_may_be_assumed(name: str) -> None:
    assert not ProofPart(name, Status.ASSUMED, "x").holds
    assert with_part(ProofPart(POLLING, Status.ASSUMED, "x")).proven


@pytest.mark.parametrize("name", [*ON_EACH_REPLICA, STREAM, POLLING])
def test_only_the_effect_check_may_be_left_out(name: str) -> None:
    assert not ProofPart(name, Status.NOT_CONFIGURED, "x").holds
    assert with_part(NO_EFFECT_CHECK).proven


@given(
    st.lists(
        st.builds(
            ProofPart,
            st.sampled_from([*ON_EACH_REPLICA, POLLING, EFFECT, STREAM]),
            st.sampled_from(Status),
            st.just(""),
        )
    )
)
def test_a_proof_never_holds_against_a_part_of_its_own(parts: list[ProofPart]) -> None:
    proof = OffProof(tuple(parts))
    if proof.proven:
        assert not proof.lacking
        assert all(part.status not in (Status.OPEN, Status.UNKNOWN, Status.WAITING) for part in parts)
        assert all(any(part.name == name for part in parts) for name in ON_EACH_REPLICA)


def test_it_waits_only_for_time_when_nothing_but_the_polling_interval_is_missing() -> None:
    waiting = ProofPart(POLLING, Status.WAITING, "x")
    assert with_part(waiting).waits_only_for_time
    assert not OffProof((*PROVEN, waiting, ProofPart(STREAM, Status.UNKNOWN, "x"))).waits_only_for_time
    assert not OffProof((*PROVEN[1:], waiting)).waits_only_for_time
    assert not OffProof(tuple(PROVEN)).waits_only_for_time


# -- the parts -------------------------------------------------------------------------------------------------


def test_a_sighting_in_which_all_answered_and_none_is_served_is_proof() -> None:
    part = part_from_sighting(ENGINE, "r1", Sighting(3), 3, [("ghosts", "not in the snapshot")], NOW)
    assert part.status is Status.PROVEN
    assert part.unsampled == (("ghosts", "not in the snapshot"),)
    assert "r1" in part.detail


def test_one_served_sample_is_open_also_when_other_evaluations_failed() -> None:
    seen = Sighting(2, served=(SAMPLES[1],), errors=("one failed",))
    part = part_from_sighting(SERVER, "r1", seen, 3, [], NOW)
    assert part.status is Status.OPEN
    assert "1 of 3 samples" in part.detail


@pytest.mark.parametrize(
    ("sighting", "asked"),
    [
        (Sighting(2), 3),
        (Sighting(3, errors=("x",)), 3),
        (Sighting(0, errors=("no connection",)), 3),
        (Sighting(0), 0),
        (Sighting(4), 3),
        (None, 3),
    ],
)
def test_a_failed_evaluation_is_unknown_and_never_off(sighting: Sighting | None, asked: int) -> None:
    assert part_from_sighting(ENGINE, "r1", sighting, asked, [], NOW).status is Status.UNKNOWN


def test_the_reason_of_a_failed_evaluation_is_told() -> None:
    part = part_from_sighting(ENGINE, "r1", Sighting(0, errors=("401 Unauthorized",)), 3, [], NOW)
    assert "401 Unauthorized" in part.detail


def test_reasoning_follows_the_exposure() -> None:
    on = FlagConfig("sm", FlagType.BOOLEAN, True)
    off = FlagConfig("sm", FlagType.BOOLEAN, True, (Rollout(False, percentage=100),))
    broken = FlagConfig("sm", FlagType.BOOLEAN, False, defects=("ranks out of order",))
    statuses = [reasoning_part("r1", exposure(one, Polarity()), NOW).status for one in (on, off, broken)]
    assert statuses == [Status.OPEN, Status.PROVEN, Status.UNKNOWN]


def test_an_exposure_that_is_unknown_is_never_off_even_without_open_buckets() -> None:
    assert reasoning_part("r1", Exposure((None,) * 100, unknown="defect"), NOW).status is Status.UNKNOWN


def test_polling_waits_until_the_interval_has_passed_since_the_last_replica_turned() -> None:
    assert polling_part(1000.0, None, 120.0, NOW).status is Status.WAITING
    early = polling_part(1119.9, 1000.0, 120.0, NOW)
    assert early.status is Status.WAITING
    assert early.at is not None
    assert abs(early.at - NOW - timedelta(seconds=0.1)) < timedelta(milliseconds=1)
    assert "1 s" in early.detail
    late = polling_part(1120.0, 1000.0, 120.0, NOW)
    assert late.status is Status.ASSUMED
    assert "assumed" in late.detail


def test_a_stream_that_has_not_seen_it_is_unknown_and_says_why() -> None:
    assert stream_part("r1", NOW, "", NOW) == ProofPart(
        STREAM, Status.PROVEN, "r1: a streaming client has seen it", NOW, "r1"
    )
    assert "no streams" in stream_part("r1", None, "this Flipt has no streams", NOW).detail
    assert stream_part("r1", None, "x", NOW).status is Status.UNKNOWN


def test_the_basis_names_every_part_and_what_is_not_covered() -> None:
    parts = (
        failed_part(REASONING, "no connection", NOW, "r1"),
        part_from_sighting(ENGINE, "r1", Sighting(3), 3, [("ghosts", "why")], NOW),
        effect_part(Status.OPEN, "still on", NOW),
    )
    basis = json.loads(json.dumps(OffProof(parts, not_covered=("mobile",)).to_json()))
    assert basis["proven"] is False
    assert basis["not_covered"] == ["mobile"]
    assert [(one["name"], one["status"]) for one in basis["parts"]] == [
        ("reasoning", "unknown"),
        ("engine", "proven"),
        ("effect", "open"),
    ]
    assert basis["parts"][1]["unsampled"] == [{"segment": "ghosts", "why": "why"}]
    assert basis["parts"][0]["replica"] == "r1"
    assert basis["parts"][0]["at"] == NOW.isoformat()
