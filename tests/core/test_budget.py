"""Flapping ends with a person: how often a return may begin by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.budget import is_person, may_return
from rollback.core.history import Actor
from rollback.core.severity_policy import Returns
from tests.core.cases import NOW

RULE = Returns(budget=2, window=timedelta(days=1), cool_down=timedelta(minutes=30))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ROBOT = Actor("rollback")
PEOPLE = [Actor("alex", "os"), Actor("sam", "token")]
OTHERS = [ROBOT, Actor("alex"), Actor("deploy", "ci"), Actor("deploy", "oidc")]


def why_not(*begun: datetime, harm: datetime | None = None, rule: Returns = RULE, actor: Actor = ROBOT) -> str | None:
    return may_return(begun, harm, rule, actor, NOW)


def test_a_first_and_a_second_return_may_begin_and_a_third_may_not() -> None:
    assert why_not() is None
    assert why_not(NOW - HOUR) is None
    refused = why_not(NOW - HOUR, NOW - 5 * HOUR)
    assert refused is not None
    assert "2 returns were begun by themselves or failed within 1d, and the budget is 2" in refused
    assert f"again at {(NOW + 19 * HOUR).isoformat()}" in refused
    assert "by an authenticated person" in refused


def test_what_is_a_window_old_counts_no_more() -> None:
    assert why_not(NOW - HOUR, NOW - 24 * HOUR) is None
    assert why_not(NOW - HOUR, NOW - 24 * HOUR + MINUTE) is not None


def test_it_may_begin_again_when_so_many_have_left_the_window_that_one_is_free() -> None:
    begun = (NOW - HOUR, NOW - 2 * HOUR, NOW - 20 * HOUR)
    refused = why_not(*begun)
    assert refused is not None
    again = NOW + 22 * HOUR
    assert again.isoformat() in refused
    assert may_return(begun, None, RULE, ROBOT, again) is None
    assert may_return(begun, None, RULE, ROBOT, again - MINUTE) is not None


def test_after_harm_it_cools_down() -> None:
    assert why_not(harm=NOW - 30 * MINUTE) is None
    refused = why_not(harm=NOW - 29 * MINUTE)
    assert refused is not None
    assert f"cools down for 30m; again at {(NOW + MINUTE).isoformat()}" in refused


def test_a_clock_that_was_set_back_grants_nothing() -> None:
    assert why_not(NOW + HOUR, NOW + 2 * HOUR) is not None
    assert why_not(harm=NOW + HOUR) is not None


def test_a_budget_of_nothing_leaves_returns_to_people() -> None:
    none = Returns(budget=0)
    refused = why_not(rule=none)
    assert refused == "No return begins by itself here (budget 0); an authenticated person may begin one."
    assert why_not(rule=none, actor=PEOPLE[0]) is None


@pytest.mark.parametrize("actor", PEOPLE)
def test_an_authenticated_person_is_not_limited(actor: Actor) -> None:
    assert is_person(actor)
    assert why_not(NOW, NOW, NOW, harm=NOW, actor=actor) is None


@pytest.mark.parametrize("actor", OTHERS)
def test_automation_a_ci_job_and_whoever_is_merely_claimed_are_limited(actor: Actor) -> None:
    assert not is_person(actor)
    assert why_not(NOW, NOW, actor=actor) is not None
    assert why_not(harm=NOW, actor=actor) is not None


@given(st.lists(st.integers(-3000, 100).map(lambda minutes: NOW + minutes * MINUTE), max_size=8))
def test_the_order_of_what_was_begun_does_not_matter_and_no_more_than_the_budget_ever_begins(
    begun: list[datetime],
) -> None:
    shuffled = sorted(begun, key=lambda at: at.minute)
    assert may_return(begun, None, RULE, ROBOT, NOW) == may_return(shuffled, None, RULE, ROBOT, NOW)
    recent = [at for at in begun if at > NOW - RULE.window]
    assert (may_return(begun, None, RULE, ROBOT, NOW) is None) is (len(recent) < RULE.budget)
