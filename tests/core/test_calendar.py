"""A freeze holds raises back at the times that it names, ends when it says, and knows whose midnight it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.calendar import Freeze, ends, frozen

NEW_YORK = ZoneInfo("America/New_York")
THANKSGIVING = date(2026, 11, 26)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("freeze", "moment", "why"),
    [
        (Freeze(days=frozenset({THANKSGIVING})), "2026-11-26 00:00", "2026-11-26 is a day without releases"),
        (Freeze(days=frozenset({THANKSGIVING})), "2026-11-26 23:59:59", "2026-11-26 is a day without releases"),
        (Freeze(days=frozenset({THANKSGIVING})), "2026-11-27 00:00", ""),
        (Freeze(weekdays=frozenset({5, 6})), "2026-11-28 12:00", "Saturday is a day without releases"),
        (Freeze(weekdays=frozenset({5, 6})), "2026-11-30 12:00", ""),
        (Freeze(hours=(time(9), time(17))), "2026-11-30 09:00", "from 09:00 to 17:00 there are no releases"),
        (Freeze(hours=(time(9), time(17))), "2026-11-30 17:00", ""),
        (Freeze(hours=(time(9), time(17))), "2026-11-30 08:59:59", ""),
        (Freeze(hours=(time(17), time(9))), "2026-11-30 16:59", ""),
        (Freeze(hours=(time(17), time(9))), "2026-11-30 17:00", "from 17:00 to 09:00 there are no releases"),
        (Freeze(hours=(time(17), time(9))), "2026-11-30 03:00", "from 17:00 to 09:00 there are no releases"),
        (Freeze(hours=(time(17), time(9))), "2026-11-30 09:00", ""),
        (Freeze(), "2026-11-26 12:00", ""),
    ],
)
def test_each_of_days_weekdays_and_hours_freezes_by_itself(freeze: Freeze, moment: str, why: str) -> None:
    assert frozen(freeze, at(moment)) == why


@pytest.mark.parametrize(
    ("freeze", "moment", "end"),
    [
        (Freeze(days=frozenset({THANKSGIVING})), "2026-11-26 12:00", "2026-11-27 00:00"),
        (Freeze(days=frozenset({THANKSGIVING, date(2026, 11, 27)})), "2026-11-26 12:00", "2026-11-28 00:00"),
        (Freeze(weekdays=frozenset({5, 6})), "2026-11-28 12:00", "2026-11-30 00:00"),
        (Freeze(hours=(time(9), time(17))), "2026-11-30 10:00", "2026-11-30 17:00"),
        (Freeze(hours=(time(17), time(9))), "2026-11-30 18:00", "2026-12-01 09:00"),
        (Freeze(hours=(time(17), time(9)), weekdays=frozenset({5, 6})), "2026-11-27 18:00", "2026-11-30 09:00"),
        (Freeze(), "2026-11-26 12:00", "2026-11-26 12:00"),
    ],
)
def test_the_end_of_a_freeze_is_the_first_moment_at_which_nothing_stands_in_the_way(
    freeze: Freeze, moment: str, end: str
) -> None:
    assert ends(freeze, at(moment)) == at(end)


def test_a_freeze_that_never_ends_has_no_end() -> None:
    assert ends(Freeze(weekdays=frozenset(range(7))), at("2026-11-26 12:00")) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="knows its zone"):
        frozen(Freeze(), datetime(2026, 11, 26))  # noqa: DTZ001 - that is the point


def test_an_hour_of_the_wall_is_frozen_also_when_the_clocks_change() -> None:
    freeze = Freeze(hours=(time(1), time(3)))
    before = datetime(2026, 3, 8, 6, 30, tzinfo=UTC).astimezone(NEW_YORK)  # 01:30; at 02:00 it becomes 03:00
    assert frozen(freeze, before)
    end = ends(freeze, before)
    assert end is not None
    assert end.astimezone(UTC) == datetime(2026, 3, 8, 7, 0, tzinfo=UTC)


times = st.times(timezones=st.just(None))
freezes = st.builds(
    Freeze,
    st.frozensets(st.dates(date(2026, 1, 1), date(2026, 1, 20)), max_size=5),
    st.frozensets(st.integers(0, 6), max_size=6),
    st.none() | st.tuples(times, times).filter(lambda pair: pair[0] != pair[1]),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 20), timezones=st.just(UTC))  # noqa: DTZ001 - made aware


@given(freezes, moments)
def test_until_its_end_it_is_frozen_and_at_its_end_it_is_not(freeze: Freeze, moment: datetime) -> None:
    end = ends(freeze, moment)
    assert end is not None, "one weekday is always free, and hours leave some of it"
    assert not frozen(freeze, end)
    assert end >= moment
    for part in (0.0, 0.25, 0.5, 0.75):
        between = moment + (end - moment) * part
        assert between == end or frozen(freeze, between), "it ended before its end"
    assert end == moment or frozen(freeze, end - timedelta(microseconds=1))
