"""Armed or not: what counts against it, what is only said, and that no data is never health."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.arming import (
    NOT_CHECKED,
    Check,
    CheckState,
    Harm,
    acting_rules,
    armed,
    judge_baseline,
    judge_heartbeat,
    needs_probes,
    rules_check,
)
from rollback.core.feature_policy import FeaturePolicy
from tests.fakes.clock import NOON

HOUR = timedelta(hours=1)
OK = Check("write", CheckState.OK, "written", NOON, NOON + HOUR)


def policy(*rules: dict[str, Any], **fields: Any) -> FeaturePolicy:
    given = {"feature": "sm", "name": "SM", "production": True, "flag": {"namespace": "mhv", "key": "sm"}}
    return FeaturePolicy.model_validate({**given, "alerts": [{"name": "r", **rule} for rule in rules], **fields})


def rule(**fields: Any) -> dict[str, Any]:
    return {"source": "datadog", "monitors": ["1"], "severity": "critical", **fields}


def test_without_any_check_nothing_is_armed() -> None:
    assert armed([], NOON) is NOT_CHECKED
    assert not NOT_CHECKED.is_armed


def test_a_check_that_was_not_renewed_in_time_is_late_and_counts() -> None:
    assert armed([OK], NOON + HOUR).is_armed
    late = armed([OK], NOON + HOUR + timedelta(seconds=1))
    assert not late.is_armed
    assert late.why == ("write: late: not renewed since 2026-11-23 12:00 UTC",)


@pytest.mark.parametrize("state", [CheckState.FAILED, CheckState.LATE, CheckState.UNKNOWN, CheckState.NOT_CONFIGURED])
def test_one_check_that_is_not_ok_keeps_it_from_being_armed(state: CheckState) -> None:
    verdict = armed([OK, Check("baseline", state, "because")], NOON)
    assert not verdict.is_armed
    assert verdict.why == (f"baseline: {state.value.replace('_', ' ')}: because",)


@pytest.mark.parametrize("state", [CheckState.UNKNOWN, CheckState.NOT_CONFIGURED])
def test_what_nobody_needs_is_said_and_does_not_count(state: CheckState) -> None:
    verdict = armed([OK, Check("baseline", state, "because", needed=False)], NOON)
    assert verdict.is_armed
    assert verdict.why == ()
    assert len(verdict.remarks) == 1


@pytest.mark.parametrize("state", [CheckState.FAILED, CheckState.LATE])
def test_what_failed_counts_even_where_it_is_not_needed(state: CheckState) -> None:
    assert not armed([OK, Check("write", state, needed=False)], NOON).is_armed


@given(
    st.lists(
        st.builds(
            Check,
            name=st.text(max_size=5),
            state=st.sampled_from(CheckState),
            needed=st.booleans(),
            renew_by=st.none() | st.timedeltas(-HOUR, HOUR).map(lambda shift: NOON + shift),
        )
    )
)
def test_it_is_armed_exactly_when_there_is_no_reason_against_it(checks: list[Check]) -> None:
    verdict = armed(checks, NOON)
    assert verdict.is_armed == (not verdict.why)
    assert not (verdict.is_armed and not checks)
    worse = armed([*checks, Check("x", CheckState.FAILED)], NOON)
    assert not worse.is_armed


# -- what the policy asks for ------------------------------------------------------------------------------------------


def test_a_feature_without_rules_is_not_armed() -> None:
    assert rules_check(policy()).counts_against


def test_rules_that_only_open_a_case_turn_nothing_off() -> None:
    mild = policy(rule(severity="low"))
    assert acting_rules(mild) == ()
    assert rules_check(mild).counts_against


def test_a_reduction_alone_is_no_off() -> None:
    assert rules_check(policy(rule(severity="high"))).counts_against


def test_a_rule_whose_monitor_is_not_set_here_has_failed_not_merely_been_left_out() -> None:
    lost = rules_check(policy(rule(monitors=[None])))
    assert lost.state is CheckState.FAILED
    assert "none of its monitors' ids is set here" in lost.why


def test_one_critical_rule_is_enough_and_the_lost_ones_are_named() -> None:
    check = rules_check(policy(rule(), rule(name="lost", monitors=[None])))
    assert check.state is CheckState.OK
    assert "lost: none of its monitors" in check.why


def test_a_heartbeat_turns_nothing_off() -> None:
    assert acting_rules(policy(rule(severity=None, heartbeat_every="25h"))) == ()


def test_probes_are_needed_where_a_guard_or_the_watch_asks_them() -> None:
    guarded = rule(guard={"within": "2m", "by": ["probes"]})
    assert needs_probes(policy(guarded))
    assert not needs_probes(policy(rule(guard={"within": "2m", "by": ["pagerduty"]})))
    assert needs_probes(policy(rule(), probing={"enabled": True, "severity": "low"}))
    assert not needs_probes(policy(rule(), probing={"enabled": False, "severity": "low"}))


# -- what was seen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harms", "state"),
    [
        ({}, CheckState.UNKNOWN),
        ({"a": Harm()}, CheckState.UNKNOWN),
        ({"a": Harm(0, 100), "b": Harm()}, CheckState.UNKNOWN),
        ({"a": Harm(0, 1)}, CheckState.OK),
        ({"a": Harm(2, 10)}, CheckState.OK),
        ({"a": Harm(3, 10)}, CheckState.FAILED),
        ({"a": Harm(9, 1000)}, CheckState.OK),
        ({"a": Harm(10, 1000)}, CheckState.FAILED),
        ({"a": Harm(0, 1000), "b": Harm(20, 1000)}, CheckState.FAILED),
        ({"a": Harm(30, 30), "b": Harm()}, CheckState.UNKNOWN),
    ],
)
def test_the_baseline_is_under_half_of_p0_for_each_metric(harms: dict[str, Harm], state: CheckState) -> None:
    assert judge_baseline(harms, 0.02)[0] is state


def test_the_baseline_says_which_metric_is_too_bad() -> None:
    _, why = judge_baseline({"folders": Harm(0, 50), "threads": Harm(5, 50)}, 0.02)
    assert "threads 10.0% of 50" in why
    assert "folders" not in why


def test_a_heartbeat_is_late_the_moment_its_time_is_over() -> None:
    beat = judge_heartbeat("heartbeat:dd", NOON, NOON, HOUR, NOON + HOUR)
    assert beat.state is CheckState.OK
    assert beat.as_of(NOON + HOUR + timedelta(seconds=1)).state is CheckState.LATE
    assert judge_heartbeat("heartbeat:dd", NOON, NOON, HOUR, NOON + 2 * HOUR).state is CheckState.LATE


def test_a_heartbeat_that_never_came_is_not_known_and_then_late() -> None:
    early = judge_heartbeat("heartbeat:dd", None, NOON, HOUR, NOON)
    assert early.state is CheckState.UNKNOWN
    assert early.counts_against
    assert judge_heartbeat("heartbeat:dd", None, NOON, HOUR, NOON + 2 * HOUR).state is CheckState.LATE


def test_a_check_that_needs_no_renewal_stays_well() -> None:
    assert replace(OK, renew_by=None).as_of(NOON + 1000 * HOUR).state is CheckState.OK
