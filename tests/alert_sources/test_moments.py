"""A time is read as it was meant, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.alert_sources.moments import EARLIEST, LATEST, java_moment, moment

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-01T10:00:00Z", TEN),
        ("2026-03-01t10:00:00z", TEN),
        ("2026-03-01 10:00:00Z", TEN),
        ("2026-03-01T11:30:00+01:30", TEN),
        ("2026-03-01T05:00:00-05:00", TEN),
        ("2026-03-01T10:00:00.1Z", TEN + timedelta(milliseconds=100)),
        ("2026-03-01T10:00:00.123456789Z", TEN + timedelta(microseconds=123456)),
        (" 2026-03-01T10:00:00Z ", TEN),
        (1772359200, TEN),
        (1772359200.5, TEN + timedelta(milliseconds=500)),
        (1772359200000, TEN),
        ("1772359200", TEN),
        ("1772359200.25", TEN + timedelta(milliseconds=250)),
        ("1772359200123", TEN + timedelta(milliseconds=123)),
    ],
)
def test_a_time_is_read_in_the_forms_that_senders_use(value: object, expected: datetime) -> None:
    assert moment(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "now",
        [],
        {},
        "2026-03-01T10:00:00",
        "2026-03-01",
        "2026-13-01T10:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T10:00:00+24:00",
        "2026-03-01T10:00:00+10:60",
        "2026-03-01T10:00:00 UTC",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1970-01-01T00:00:00Z",
        "2100-01-01T00:00:00Z",
        "٢٠٢٦-03-01T10:00:00Z",
        0,
        -1,
        1,
        1772359200000000,
        10**400,
        -(10**400),
        1e300,
        "0",
        "17723592000000",
        "1e9",
        "177235920\u0660",
    ],
)
def test_a_time_that_makes_no_sense_is_none(value: object) -> None:
    assert moment(value) is None


@given(
    st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None) - timedelta(days=2)), st.integers(-839, 839)
)
def test_any_zone_comes_to_the_same_moment(naive: datetime, minutes: int) -> None:
    at = naive.replace(tzinfo=UTC)
    written = at.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert moment(written) == at
    milliseconds = int(at.timestamp()) * 1000
    assert moment(milliseconds) == moment(milliseconds // 1000) == at.replace(microsecond=0)


@given(
    st.one_of(
        st.text(max_size=40), st.integers(), st.floats(), st.from_regex(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d(\.\d+)?.*")
    )
)
def test_nothing_raises_and_no_time_is_absurd(value: object) -> None:
    for found in (moment(value), java_moment(str(value))):
        assert found is None or EARLIEST <= found <= LATEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun Mar 01 10:00:00 UTC 2026", TEN),
        ("Sun Mar 01 10:00:00 GMT 2026", TEN),
        ("Sun Mar 01 05:00:00 EST 2026", TEN),
        ("Wed Jul 01 06:00:00 EDT 2026", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("Wed Jul 01 03:00:00 PDT 2026", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("Sun Mar 01 10:00:00 IST 2026", None),
        ("Sun Mar 01 10:00:00 2026", None),
        ("Sun Mar 32 10:00:00 UTC 2026", None),
        ("Sun Mar 01 10:00:00 UTC 0001", None),
        ("Son Mär 01 10:00:00 UTC 2026", None),
        ("2026-03-01T10:00:00Z", None),
    ],
)
def test_java_dates_are_read_only_in_zones_with_an_agreed_name(text: str, expected: datetime | None) -> None:
    assert java_moment(text) == expected
