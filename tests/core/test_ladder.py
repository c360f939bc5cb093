"""The ladder: every rung opens somebody new, none opens more than its share, and nobody flips back and forth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.core.exposure import exposure, kill, kill_percentage_for, with_kill_at
from rollback.core.flag import BUCKETS, FlagConfig, Polarity, Rollout
from rollback.core.ladder import FULL, Ladder, Rung, plan, reduced
from rollback.errors import PolicyRefused
from tests.core.flag_strategies import CONSTRAINED, boolean, boolean_flags, marker, polarities, variant

ON = Polarity()
POLICIES = Path(__file__).parents[2] / "policies"


def shipped(severity: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((POLICIES / f"{severity}.yaml").read_text())
    return read


def steps(severity: str) -> list[float]:
    return [step["percent"] for step in shipped(severity)["ladder"]]


def lower(count: int) -> FlagConfig:
    """A flag that lets in its `count` lowest buckets."""
    return boolean(Rollout(True, count), enabled=False)


def upper(count: int) -> FlagConfig:
    """A flag that lets in its `count` highest buckets."""
    return boolean(Rollout(False, BUCKETS - count), enabled=True)


def check_climb(config: FlagConfig, polarity: Polarity, percents: Sequence[float]) -> Ladder:
    """Climbs every rung on the flag itself, with the kill in front, and looks at who is open."""
    ladder = plan(config, polarity, percents)
    base = exposure(config, polarity).buckets
    killed = kill(config, polarity, marker())
    before: frozenset[int] = frozenset()
    for rung in ladder.rungs:
        now = exposure(with_kill_at(killed, marker().key, rung.held), polarity).buckets
        assert before <= now, "a bucket that was open is closed again"
        assert before < now or not base, "an empty step"
        assert len(now) == rung.open_buckets
        assert len(now) * 100 <= len(base) * rung.percent + 1e-6
        before = now
    assert before == base
    assert (ladder.rungs[-1].held, ladder.rungs[-1].percent) == (0, FULL)
    assert len(ladder.rungs) + len(ladder.skipped) == len(percents)
    return ladder


@pytest.mark.parametrize("severity", ["critical", "high"])
@pytest.mark.parametrize("shape", [lower, upper], ids=["lowest buckets", "highest buckets"])
def test_each_rung_of_the_shipped_ladders_opens_more_than_the_one_before_whatever_is_open_without_us(
    severity: str, shape: Any
) -> None:
    for base in range(BUCKETS + 1):
        ladder = check_climb(shape(base), ON, steps(severity))
        assert ladder.rungs[-1].open_buckets == base


percent_lists = st.lists(st.floats(0.01, 99.9), max_size=6).map(lambda found: [*sorted(found), 100.0])


@settings(max_examples=60)
@given(boolean_flags(constrained=2), polarities, percent_lists)
def test_no_ladder_closes_a_bucket_or_opens_more_than_it_says(
    config: FlagConfig, polarity: Polarity, percents: list[float]
) -> None:
    check_climb(config, polarity, percents)


def test_a_kill_holds_off_by_counting_and_not_by_subtracting() -> None:
    ladder = plan(lower(50), ON, [10, 50, 100])
    assert ladder == Ladder((Rung(0, 10, 45, 5), Rung(1, 50, 25, 25), Rung(2, 100.0, 0, 50)), ())
    assert plan(upper(50), ON, [10, 50, 100]).rungs[:2] == (Rung(0, 10, 95, 5), Rung(1, 50, 75, 25))


def test_a_step_that_opens_nobody_is_skipped_and_that_is_said() -> None:
    ladder = plan(lower(3), ON, [10, 50, 60, 100])
    assert [(rung.index, rung.open_buckets) for rung in ladder.rungs] == [(1, 1), (3, 3)]
    assert ladder.skipped == (
        "step 10 % is skipped: it opens no new bucket (3 are open without us)",
        "step 60 % is skipped: it opens no new bucket (3 are open without us)",
    )


def test_a_step_that_opens_everybody_is_the_last_one() -> None:
    ladder = plan(lower(50), ON, [50, 99.99999999999, 100])
    assert [rung.open_buckets for rung in ladder.rungs] == [25, 50]
    assert ladder.skipped == ("step 100 % is skipped: it opens as much as full exposure (50 buckets)",)


def test_without_steps_it_comes_back_in_one() -> None:
    assert plan(lower(50), ON, []) == Ladder((Rung(0, 100.0, 0, 50),), ())
    assert plan(lower(50), ON, [100]) == Ladder((Rung(0, 100.0, 0, 50),), ())


def test_a_flag_that_lets_in_nobody_without_us_has_one_rung_that_takes_ours_out() -> None:
    ladder = plan(boolean(enabled=False), ON, [10, 50, 100])
    assert ladder.rungs == (Rung(2, 100.0, 0, 0),)
    assert len(ladder.skipped) == 2


def test_a_variant_flag_comes_back_whole_or_not_at_all() -> None:
    ladder = plan(variant(default="blue"), ON, [10, 100])
    assert ladder.rungs == (Rung(1, 100.0, 0, 100),)
    assert ladder.skipped == ("step 10 % is skipped: a variant flag comes back whole or not at all",)


def test_no_step_is_planned_for_a_flag_whose_exposure_is_unknown() -> None:
    with pytest.raises(PolicyRefused, match="its rank -1 is negative"):
        plan(boolean(defects=("its rank -1 is negative",)), ON, [100])


def test_the_rungs_still_to_climb_are_those_above_what_is_open() -> None:
    ladder = plan(lower(100), ON, [10, 50, 100])
    assert [rung.percent for rung in ladder.above(0)] == [10, 50, 100]
    assert [rung.percent for rung in ladder.above(10)] == [50, 100]
    assert [rung.percent for rung in ladder.above(100)] == [100], "ours is still there to be taken out"


# -- reduce --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [lower, upper], ids=["lowest buckets", "highest buckets"])
def test_a_reduction_leaves_somebody_and_at_most_its_share_or_is_refused(shape: Any) -> None:
    share = shipped("high")["reduce_to"]
    for base in range(BUCKETS + 1):
        held = reduced(shape(base), ON, share)
        if base * share < 100:
            assert held is None
        else:
            assert held is not None
            left = exposure(with_kill_at(kill(shape(base), ON, marker()), marker().key, held), ON).buckets
            assert 0 < len(left) <= base * share / 100
            assert len(left) == base * share // 100


def test_every_shipped_step_of_high_is_above_what_is_left_after_reducing() -> None:
    share = shipped("high")["reduce_to"]
    for base in range(1, BUCKETS + 1):
        held = reduced(lower(base), ON, share)
        if held is not None:
            rungs = plan(lower(base), ON, steps("high")).rungs
            assert all(rung.held < held for rung in rungs)
            assert all(later.held < earlier.held for earlier, later in pairwise(rungs))


@pytest.mark.parametrize(
    "config",
    [
        boolean(enabled=False),
        boolean(defects=("its rank -1 is negative",)),
        variant(default="blue"),
        boolean(Rollout(True, segments=(CONSTRAINED[0],)), Rollout(False, 100.0), defects=("unknown kind",)),
    ],
)
def test_a_reduction_that_would_be_off_under_another_name_is_refused(config: FlagConfig) -> None:
    assert reduced(config, ON, 50) is None


def test_a_share_of_nothing_holds_off_everybody() -> None:
    assert kill_percentage_for(boolean(), ON, 0.5) == BUCKETS
    assert reduced(boolean(), ON, 0.5) is None
