"""Windows are closed, disjoint and aligned, whoever computes them and whenever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.metric_window import EPOCH, PATIENCE, Window, first_window, is_due, is_given_up, last_closed

NOW = datetime(2026, 11, 23, 3, 12, 27, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
times = st.integers(946_684_800_000_000, 4_102_444_800_000_000).map(
    lambda micros: EPOCH + timedelta(microseconds=micros)
)
lengths = st.integers(1, 3600).map(lambda seconds: timedelta(seconds=seconds))


@given(times, lengths)
def test_the_first_window_begins_at_the_next_multiple_and_never_before(since: datetime, length: timedelta) -> None:
    window = first_window(since, length)
    assert since <= window.begins < since + length
    assert (window.begins - EPOCH) % length == timedelta(0)
    assert window.length == length


@given(times, times, lengths)
def test_two_processes_mean_the_same_windows_or_disjoint_ones(
    one: datetime, other: datetime, length: timedelta
) -> None:
    first, second = first_window(one, length), first_window(other, length)
    assert first == second or first.ends <= second.begins or second.ends <= first.begins


@given(times, lengths, st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)))
def test_the_last_closed_window_is_due_and_the_next_one_is_not(
    now: datetime, length: timedelta, delay: timedelta
) -> None:
    window = last_closed(now, length, delay)
    assert is_due(window, now, delay)
    assert not is_due(window.after, now, delay)


def test_a_window_is_not_due_before_its_data_had_time_to_come_in() -> None:
    window = first_window(NOW, MINUTE)
    closed = window.ends + timedelta(seconds=30)
    assert not is_due(window, closed - timedelta(microseconds=1), timedelta(seconds=30))
    assert is_due(window, closed, timedelta(seconds=30))


def test_neighbours_leave_no_gap_and_no_overlap() -> None:
    window = first_window(NOW, MINUTE)
    assert window.after.begins == window.ends
    assert window.before.after == window
    assert window < window.after


def test_patience_ends_by_time_alone() -> None:
    window, delay = first_window(NOW, MINUTE), timedelta(seconds=30)
    end = window.ends + delay + PATIENCE * MINUTE
    assert not is_given_up(window, end - timedelta(microseconds=1), delay)
    assert is_given_up(window, end, delay)


def test_a_window_below_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match="a second long at least"):
        first_window(NOW, timedelta(milliseconds=500))


def test_windows_are_told_apart_by_their_bounds() -> None:
    assert Window(NOW, NOW + MINUTE) != Window(NOW, NOW + 2 * MINUTE)
