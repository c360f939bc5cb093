"""What a severity's file may ask of a return, what it may never ask of an off, and how alpha is shared."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollback.core.approvals import ApprovalRule
from rollback.core.calendar import Freeze
from rollback.core.evidence import step_alpha
from rollback.core.flag import Polarity
from rollback.core.ladder import COHORT, Rung, needs_a_go, plan
from rollback.core.ladder_policy import shares_of
from rollback.core.policy import SeverityPolicy, plain
from rollback.core.return_policy import LOWERING
from tests.core.test_ladder import lower
from tests.core.test_policy import critical

STEP = {"minimum_soak": "15m", "deadline": "2h"}
LAST = {"percent": 100, **STEP}
ON = Polarity()


def policy(**changes: Any) -> SeverityPolicy:
    return SeverityPolicy.model_validate(critical(**changes))


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        policy(**changes)
    return str(caught.value)


# -- nothing here is about an off ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted(LOWERING))
@pytest.mark.parametrize(
    "part",
    [
        {"approvals": {}},
        {"freeze": {"weekdays": ["sat"], "time_zone": "UTC"}},
        {"switches": [{"name": "window", "by": "ops"}]},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_file_that_tries_to_make_an_off_wait_is_refused(part: dict[str, Any], word: str) -> None:
    name, value = next(iter(part.items()))
    spoiled = [{**value[0], word: True}] if isinstance(value, list) else {**value, word: True}
    assert "turning off and reducing are never held back" in refusal(**{name: spoiled})
    assert name in plain(policy(**part)), "and without it the file is a good one"


def test_a_part_that_is_no_mapping_is_refused_as_such() -> None:
    assert "approvals" in refusal(approvals=["approver"])


@pytest.mark.parametrize(
    "part",
    [
        {"approvals": {}},
        {"freeze": {"weekdays": ["sat"], "time_zone": "UTC"}},
        {"compare": {"metric": "sends", "with": "on", "without": "off"}},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_low_case_raises_nothing_so_nothing_can_be_held_back(part: dict[str, Any]) -> None:
    low = {"severity": "low", "mitigation": "leave", "ladder": []}
    assert "nothing is raised when severity is low" in refusal(**low, **part)
    assert policy(**low, switches=[{"name": "window", "by": "ops"}]).switches


# -- approvals, freeze, switches, comparison -------------------------------------------------------------------------


def test_approvals_are_off_unless_the_file_asks_for_them() -> None:
    assert policy().approvals is None
    assert policy(approvals={}).approvals is not None


def test_approvals_become_the_rule_that_the_core_counts_by() -> None:
    said = {
        "required": 2,
        "roles": ["approver", "owner"],
        "four_eyes": False,
        "valid_for": "2h",
        "escalate_after": "10m",
        "escalate_to": ["owner"],
        "roles_of": {"sam": ["owner"]},
    }
    found = policy(approvals=said).approvals
    assert found is not None
    assert found.as_rule() == ApprovalRule(
        2, ("approver", "owner"), False, timedelta(hours=2), timedelta(minutes=10), ("owner",), {"sam": ("owner",)}
    )


def test_a_freeze_is_read_as_it_is_written() -> None:
    said = {"days": ["2026-11-26"], "weekdays": ["sat", "sun"], "hours": "17:00-09:00 America/New_York"}
    freeze = policy(freeze=said).freeze
    assert freeze is not None
    assert freeze.zone == "America/New_York"
    assert freeze.as_freeze() == Freeze(frozenset({date(2026, 11, 26)}), frozenset({5, 6}), (time(17), time(9)))
    alone = policy(freeze={"days": ["2026-11-26"], "time_zone": "America/Chicago"}).freeze
    assert alone is not None
    assert (alone.zone, alone.as_freeze().hours) == ("America/Chicago", None)


@pytest.mark.parametrize(
    ("freeze", "why"),
    [
        ({}, "name days, weekdays or hours"),
        ({"time_zone": "UTC"}, "name days, weekdays or hours"),
        ({"weekdays": ["sat"]}, "say the time zone"),
        ({"hours": "09:00-17:00"}, "say the time zone"),
        ({"hours": "09:00-17:00 UTC", "time_zone": "America/Chicago"}, "two time zones"),
        ({"hours": "nine to five UTC"}, "hours are two times of a day"),
        ({"hours": "09:00-25:00 UTC"}, "hours are two times of a day"),
        ({"hours": "09:00-09:00 UTC"}, "hours are two times of a day"),
        ({"hours": "9:00-17:00 UTC"}, "hours are two times of a day"),
        ({"weekdays": ["caturday"], "time_zone": "UTC"}, "weekdays"),
        ({"days": ["tomorrow"], "time_zone": "UTC"}, "days"),
        ({"weekdays": ["sat"], "time_zone": "../../etc/passwd"}, "time_zone"),
    ],
)
def test_a_freeze_that_nobody_can_read_is_refused(freeze: dict[str, Any], why: str) -> None:
    assert why in refusal(freeze=freeze)


def test_one_zone_in_two_places_is_one_zone() -> None:
    freeze = policy(freeze={"hours": "09:00-17:00 UTC", "time_zone": "UTC"}).freeze
    assert freeze is not None
    assert freeze.zone == "UTC"


def test_a_switch_whose_answer_would_always_do_is_refused() -> None:
    switch: dict[str, Any] = {"name": "window", "by": "ops", "read_back": {"url": "https://status.example.gov"}}
    assert "give assertions that hold when it is lifted" in refusal(switches=[switch])
    said = {**switch, "read_back": {**switch["read_back"], "assertions": [{"path": "up", "equals": False}]}}
    [read] = policy(switches=[said]).switches
    assert read.read_back is not None
    assert read.read_back.unknown_because is None
    assert "two switches have one name" in refusal(switches=[{"name": "a", "by": "x"}, {"name": "a", "by": "y"}])


def test_a_comparison_needs_two_arms() -> None:
    assert "the same stratum" in refusal(compare={"metric": "sends", "with": "on", "without": "on"})
    found = policy(compare={"metric": "sends", "with": "on", "without": "off"}).compare
    assert found is not None
    assert (found.having, found.lacking, found.alpha) == ("on", "off", 0.01)
    assert plain(found) == {"metric": "sends", "with": "on", "without": "off", "alpha": 0.01}


# -- steps -----------------------------------------------------------------------------------------------------------


def test_a_step_of_days_may_say_how_long_it_holds() -> None:
    step = policy(ladder=[{"percent": 10, "hold_for": "2d", "deadline": "4d"}, LAST]).ladder[0]
    assert step.minimum_soak == timedelta(days=2)
    assert policy(ladder=[plain(step), LAST]).ladder[0].minimum_soak == timedelta(days=2), "read back as it was shown"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"percent": 10, "deadline": "2h"}, "give minimum_soak, or hold_for"),
        ({"percent": 10, "hold_for": "2h", "deadline": "2h"}, "it can never pass"),
        ({"percent": 10, "hold_for": "1h", "minimum_soak": "2h", "deadline": "9h"}, "one time in two words"),
        ({"percent": 10, **STEP, "minimum_users": 50}, "minimum_users needs users_metric"),
        ({"percent": 10, **STEP, "users_metric": "sends"}, "minimum_users needs users_metric"),
        ({"percent": 10, **STEP, "minimum_users": 0, "users_metric": "sends"}, "minimum_users"),
        ({"percent": 10, **STEP, "judgement": "machine"}, "judgement"),
        ({"percent": 10, **STEP, "alpha_share": 0}, "alpha_share"),
        ("10 %", "ladder"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(step: Any, why: str) -> None:
    assert why in refusal(ladder=[step, LAST])


def test_a_cohort_has_a_step_of_its_own_that_is_let_in() -> None:
    cohort = {"minimum_soak": "30m", "deadline": "3h", "alpha_share": 0.1}
    assert policy(use_cohort=True, cohort=cohort).cohort is not None
    assert "cohort needs use_cohort" in refusal(cohort=cohort)
    assert "it can never pass" in refusal(use_cohort=True, cohort=cohort | {"minimum_soak": "3h"})


# -- shares of alpha -------------------------------------------------------------------------------------------------


def steps(*shares: float | None) -> list[dict[str, Any]]:
    """Steps with these shares, the last one at 100 %."""
    return [
        {"percent": 100 * (place + 1) / len(shares), **STEP, **({} if share is None else {"alpha_share": share})}
        for place, share in enumerate(shares)
    ]


def test_steps_share_alpha_equally_unless_they_say_otherwise() -> None:
    assert policy(ladder=steps(None, None)).shares(cohort=False) == (0.5, 0.5)
    assert policy(ladder=steps(0.5, None, None)).shares(cohort=False) == (0.5, 0.25, 0.25)
    assert policy(ladder=steps(0.2, 0.3)).shares(cohort=False) == (0.2, 0.3), "less than all is a stricter gate"


def test_a_cohort_takes_its_share_only_where_there_is_one() -> None:
    silent = policy(use_cohort=True, ladder=steps(None, None, None))
    assert silent.shares(cohort=True) == (0.25, 0.25, 0.25, 0.25)
    assert silent.shares(cohort=False) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    said = policy(use_cohort=True, cohort={**STEP, "alpha_share": 0.4}, ladder=steps(None, None))
    assert said.shares(cohort=True) == pytest.approx((0.4, 0.3, 0.3))
    assert policy(ladder=steps(None)).shares(cohort=True) == (1.0,), "a policy that lets none in"


def test_shares_above_one_or_that_leave_nothing_are_refused() -> None:
    assert "the shares of alpha add up to 1.2" in refusal(ladder=steps(0.6, 0.6))
    assert "leave nothing for the steps that say none" in refusal(ladder=steps(1, None))
    cohort = {**STEP, "alpha_share": 0.5}
    assert "add up to 1.1" in refusal(use_cohort=True, cohort=cohort, ladder=steps(0.3, 0.3))
    ten_tenths = policy(ladder=steps(*[0.1] * 10)).shares(cohort=False)
    assert ten_tenths == (0.1,) * 10, "they are one, whatever the computer makes of their sum"


@given(st.lists(st.none() | st.floats(0.01, 0.3), min_size=1, max_size=3))
def test_all_stages_together_spend_one_at_most(said: list[float | None]) -> None:
    shares = shares_of(said)
    assert sum(shares) <= 1 + 1e-9
    assert all(share > 0 for share in shares)


@given(st.integers(0, 100), st.lists(st.floats(0.5, 99), max_size=5, unique=True).map(sorted))
def test_the_rungs_that_are_there_spend_together_what_all_steps_may(base: int, percents: list[float]) -> None:
    ladder = plan(lower(base), ON, [*percents, 100.0])
    assert sum(rung.share for rung in ladder.rungs) == pytest.approx(1)
    spent = sum(step_alpha(0.01 * rung.share, 1, attempt) for rung in ladder.rungs for attempt in range(1, 200))
    assert spent <= 0.01


def test_a_skipped_step_leaves_its_share_to_the_next_one() -> None:
    rungs = plan(lower(3), ON, [10, 50, 60, 100], (0.1, 0.2, 0.3, 0.4)).rungs
    assert [rung.share for rung in rungs] == pytest.approx([0.3, 0.7])
    whole = plan(lower(50), ON, [50, 99.99999999999, 100], (0.5, 0.3, 0.2)).rungs
    assert [rung.share for rung in whole] == pytest.approx([0.5, 0.5]), "one as good as full gives its share away"
    assert plan(lower(50), ON, []).rungs[0].share == 1


# -- a person's go ---------------------------------------------------------------------------------------------------


def rung(index: int) -> Rung:
    return Rung(index, 0.0, 0, 0)


@pytest.mark.parametrize(
    ("below", "above", "needed"),
    [
        (None, 0, False),
        (COHORT, 0, False),
        (0, 1, True),
        (1, 2, False),
        (None, 2, True),
        (COHORT, 1, True),
        (0, 3, True),
        (2, 3, False),
    ],
)
def test_a_go_belongs_to_the_step_that_is_left_and_to_those_that_are_skipped(
    below: int | None, above: int, needed: bool
) -> None:
    human = [True, False, False, False]
    assert needs_a_go(human, None if below is None else rung(below), rung(above)) is needed
