"""When a feature that stays off calls its owner, and with which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.model import NeedsHuman
from rollback.core.reminders import due, reminder_key, still_off_text

OFF = datetime(2026, 11, 23, 3, 12, 27, tzinfo=UTC)
HOUR = timedelta(hours=1)
AFTER = (HOUR, 4 * HOUR)


def at(hours: float) -> datetime:
    return OFF + hours * HOUR


def mark(hours: float, *reminded: float, after: tuple[timedelta, ...] = AFTER) -> float | None:
    found = due(OFF, [at(one) for one in reminded], after, HOUR, at(hours))
    return None if found is None else found / HOUR


@pytest.mark.parametrize(
    ("hours", "reminded", "wanted"),
    [
        (0, [], None),
        (0.99, [], None),
        (1, [], 1),
        (1.5, [], 1),
        (1.5, [1.0], None),
        (3.99, [1.1], None),
        (4, [1.1], 4),
        (4.99, [1.1, 4.0], None),
        (5, [1.1, 4.0], 5),
        (6.2, [1.1, 4.0, 5.01], 6),
        (6.2, [6.0, 1.1], None),
    ],
)
def test_the_owner_is_called_after_one_hour_then_four_then_each_hour(
    hours: float, reminded: list[float], wanted: float | None
) -> None:
    assert mark(hours, *reminded) == wanted


def test_after_downtime_only_the_latest_mark_is_told_and_only_once() -> None:
    assert mark(30.5) == 30
    assert mark(30.5, 30.5) is None
    assert mark(30.99, 30.5) is None
    assert mark(31, 30.5) == 31


def test_a_reminder_of_an_earlier_outage_counts_for_nothing() -> None:
    assert mark(1, -0.5, -30) == 1


def test_a_clock_that_was_put_back_does_not_silence_the_owner() -> None:
    assert mark(4.5, 200) == 4
    assert mark(4.5, 200, 4.5) is None


def test_a_clock_from_before_the_outage_tells_nothing() -> None:
    assert mark(-5) is None
    assert mark(-5, after=()) is None


def test_without_first_marks_it_is_told_every_so_often_from_the_beginning() -> None:
    assert mark(0.5, after=()) is None
    assert mark(1, after=()) == 1
    assert mark(3.2, 2, after=()) == 3


def test_first_marks_may_stand_in_any_order_and_nonsense_among_them_is_left_out() -> None:
    assert mark(1.2, after=(4 * HOUR, HOUR)) == 1
    assert mark(0.5, after=(timedelta(0), -HOUR, 4 * HOUR)) is None


@pytest.mark.parametrize("every", [timedelta(0), -HOUR])
def test_reminders_without_a_pause_are_refused(every: timedelta) -> None:
    with pytest.raises(ValueError, match="then_every must be above zero"):
        due(OFF, [], AFTER, every, OFF)


@given(
    after=st.lists(st.integers(1, 500), max_size=4),
    every=st.integers(1, 300),
    looks=st.lists(st.integers(0, 3000), max_size=40),
)
def test_whenever_somebody_looks_each_mark_is_told_at_most_once_and_the_newest_is_never_missed(
    after: list[int], every: int, looks: list[int]
) -> None:
    minute = timedelta(minutes=1)
    marks = sorted({*after, *range(max(after, default=0) + every, 4000, every)})
    reminded: list[datetime] = []
    told: list[timedelta] = []
    for look in sorted(looks):
        now = OFF + look * minute
        found = due(OFF, reminded, [one * minute for one in after], every * minute, now)
        if found is not None:
            assert found <= look * minute
            told.append(found)
            reminded.append(now)
        passed = [one for one in marks if one <= look]
        if passed:
            assert max(reminded) >= OFF + passed[-1] * minute
        assert due(OFF, reminded, [one * minute for one in after], every * minute, now) is None
    assert told == sorted(set(told))


def test_the_key_is_the_same_for_the_same_mark_of_the_same_outage_alone() -> None:
    key = reminder_key("sm-1", OFF, HOUR)
    assert key == "still-off:sm-1:20261123T031227Z:3600"
    others = {reminder_key("sm-2", OFF, HOUR), reminder_key("sm-1", at(9), HOUR), reminder_key("sm-1", OFF, 4 * HOUR)}
    assert key not in others
    assert len(others) == 3


def test_the_words_say_how_long_since_when_who_is_needed_and_what_is_next() -> None:
    needs = NeedsHuman("the gate is blind", "OCTO Health team", OFF, by=at(6))
    text = still_off_text("Secure Messaging", OFF, at(4.1), "sm-1", needs, ["look at the dashboard", "deploy the fix"])
    assert text.splitlines() == [
        "Secure Messaging is still off: for 4 h 6 min, since 2026-11-23 03:12 UTC (sm-1).",
        "It needs OCTO Health team: the gate is blind, by 2026-11-23 09:12 UTC.",
        "Next:",
        "1. look at the dashboard",
        "2. deploy the fix",
    ]


def test_what_is_not_known_is_left_out() -> None:
    needs = NeedsHuman("somebody has to decide", "", OFF)
    assert still_off_text("SM", OFF, at(26), "sm-1", needs).splitlines() == [
        "SM is still off: for 1 d 2 h, since 2026-11-23 03:12 UTC (sm-1).",
        "It needs somebody: somebody has to decide.",
    ]
    assert still_off_text("SM", OFF, OFF, "sm-1") == (
        "SM is still off: for less than a minute, since 2026-11-23 03:12 UTC (sm-1)."
    )


def test_of_many_steps_the_first_ones_are_told() -> None:
    lines = still_off_text("SM", OFF, at(1), "sm-1", next_steps=[f"step {number}" for number in range(14)]).splitlines()
    assert lines[-2:] == ["10. step 9", "and 4 more steps."]
