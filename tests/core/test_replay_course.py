"""Figures of a course: minutes off, minutes of harm, false returns; and where two courses part."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollback.core import events as e
from rollback.core.replay_course import differences, event_word, false_returns, figures
from rollback.core.replay_recording import Counts, Mark, Sampled
from tests.core.replays import alert, at, disabled, probes, recording, sample

SECOND = timedelta(seconds=1)


def mark(seconds: float, what: str, exposure: int | None = None) -> Mark:
    return Mark(at(seconds), what, exposure=exposure)


def test_an_events_word_is_its_name_in_the_history() -> None:
    assert event_word(e.OffProven()) == "off_proven"


def test_minutes_off_and_minutes_of_harm_are_rate_times_exposure() -> None:
    kept = recording(alert(0), probes(0, 600, 1.0, every=10))
    marks = [mark(120, "off_written", 0), mark(360, "step_raised", 50), mark(480, "off_written", 0)]
    found = figures(kept, marks, is_open=100)
    assert found.off_minutes == pytest.approx((360 - 120 + 590 - 480) / 60)
    assert found.harm_minutes == pytest.approx(2 + 2 * 0.5)
    assert found.unknown_minutes == 0
    assert found.false_returns == 1


def test_the_worst_metric_counts() -> None:
    kept = recording(alert(0), probes(0, 60, 0.0, every=10), probes(0, 60, 1.0, every=10, name="threads"))
    assert figures(kept, [], is_open=100).harm_minutes == pytest.approx(50 / 60)


def test_a_window_counts_for_its_time_and_a_sample_for_a_minute_at_most() -> None:
    window = Sampled(at(120), at(0), {"errors": Counts(30, 60)})
    found = figures(recording(alert(0), window, sample(600, 1.0), disabled(900)), [], is_open=100)
    assert found.harm_minutes == pytest.approx(2 * 0.5 + 1)
    assert found.unknown_minutes == pytest.approx(15 - 3)


def test_what_is_not_known_is_not_told_as_zero() -> None:
    without_rate = figures(recording(alert(0), disabled(60)), [], is_open=100)
    assert (without_rate.harm_minutes, without_rate.off_minutes) == (None, 0)
    without_exposure = figures(recording(alert(0), probes(0, 60, 1.0)), [], is_open=None)
    assert (without_exposure.harm_minutes, without_exposure.off_minutes) == (None, None)
    assert without_exposure.unknown_minutes > 0


def test_a_return_is_false_when_what_it_opened_is_closed_before_the_case_is_resolved() -> None:
    down, up, half = mark(1, "off_written", 0), mark(2, "step_raised", 10), mark(3, "step_raised", 50)
    assert false_returns([down]) == 0
    assert false_returns([mark(0, "alert", 100), down, up, half, mark(4, "off_written", 0)]) == 1
    assert false_returns([mark(0, "alert", 100), down, up, mark(4, "monitoring_ended"), mark(5, "off_written", 0)]) == 0
    twice = [mark(0, "x", 100), down, up, mark(3, "off_written", 0), mark(4, "x", 10), mark(5, "off_written", 0)]
    assert false_returns(twice) == 2


def test_two_courses_part_where_a_step_is_another_later_missing_or_more() -> None:
    one = [mark(0, "off_written"), mark(1, "alert"), mark(2, "off_proven")]
    assert differences(one, one, SECOND) == []
    assert differences(one, [mark(0.5, "off_written"), mark(2.9, "off_proven")], SECOND) == []
    (late,) = differences(one, [mark(0, "off_written"), mark(5, "off_proven")], SECOND)
    assert "off_proven" in late
    (other,) = differences(one, [mark(0, "reduce_settled")], SECOND)
    assert "here it is reduce_settled" in other
    (missing,) = differences(one, one[:1], SECOND)
    assert "does not come about" in missing
    (more,) = differences(one[:1], one, SECOND)
    assert "did not come about" in more
