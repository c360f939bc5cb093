"""Markers: our rollouts are known on any machine, and nobody else's ever are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.marker import Marker, parse, strip

words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=12)
keys = st.builds(
    "{}-{}-{}".format,
    st.sampled_from(["kill", "cohort"]),
    st.integers(0, 10**15 - 1),
    st.text("abcdef0123456789", min_size=1, max_size=8),
)
incidents = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.,_-]{0,30}", fullmatch=True)
markers = st.builds(
    Marker, incidents, keys, *(words | st.just("") for _ in range(2)), head=words | st.just(""), was=words | st.just("")
)


@given(markers)
def test_another_machine_reads_what_was_written(written: Marker) -> None:
    assert parse(str(written)) == written


@given(markers, st.sampled_from(["", "Pilot since spring.\n", "by head was at "]), st.sampled_from(["", "\nmore"]))
def test_a_marker_is_found_in_a_description_that_people_wrote_around_it(
    written: Marker, before: str, after: str
) -> None:
    assert parse(f"{before}{written}{after}") == written


def test_role_and_epoch_are_read_from_the_key() -> None:
    assert (Marker("sm-1", "kill-12-ab").role, Marker("sm-1", "kill-12-ab").epoch) == ("kill", 12)
    assert (Marker("sm-1", "cohort-3-ab").role, Marker("sm-1", "cohort-3-ab").epoch) == ("cohort", 3)


def test_the_text_names_who_when_head_and_what_was_there() -> None:
    full = Marker("sm-1", "kill-1-ab", "alex", "2026-11-23T08:00:00Z", "0123abcd", "enabled=true,default=on")
    assert str(full) == (
        "rollback:sm-1:kill-1-ab by alex at 2026-11-23T08:00:00Z head 0123abcd was enabled=true,default=on"
    )
    assert str(Marker("sm-1", "kill-1-ab", at="2026-11-23T08:00:00Z")) == (
        "rollback:sm-1:kill-1-ab at 2026-11-23T08:00:00Z"
    )


def test_an_incident_of_a_flag_with_a_comma_in_its_key_is_recognised() -> None:
    assert parse("rollback:sm,v2-20261123T080000Z-ab12:kill-1-ab by alex") is not None


def test_a_name_with_blanks_cannot_cut_the_marker_short() -> None:
    written = Marker("sm-1", "kill-1-ab", "DOMAIN alex\tmiller", "2026-11-23T08:00:00Z", was="enabled=true")
    read = parse(str(written))
    assert read is not None
    assert (read.actor, read.at, read.was) == ("DOMAIN-alex-miller", "2026-11-23T08:00:00Z", "enabled=true")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "50 % for the pilot",
        "rollback plan: ask the team",
        "rollback:sm-1",
        "rollback:sm-1:kill-1",
        "rollback:sm-1:pause-1-ab",
        "rollback:sm-1:kill-x-ab",
        "rollback::kill-1-ab",
        f"rollback:sm-1:kill-{'9' * 5000}-ab",
    ],
)
def test_what_somebody_else_wrote_is_never_taken_for_ours(text: str) -> None:
    assert parse(text) is None
    assert strip(text) == text


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-23T08:00:00Z", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00:00+02:00", datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-11-23T08:00:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_without_offset_or_sense_is_no_time(at: str, expected: datetime | None) -> None:
    assert Marker("sm-1", "kill-1-ab", at=at).written_at == expected


@given(markers, st.text(max_size=30))
def test_a_description_is_as_it_would_be_had_we_never_written(written: Marker, description: str) -> None:
    appended = f"{description}\n{written}" if description else str(written)
    assert strip(appended) == description


def test_every_line_of_ours_is_taken_out_and_lines_that_others_added_since_stay() -> None:
    lines = ["Pilot.", str(Marker("sm-1", "kill-1-ab")), "Ask us.", str(Marker("sm-1", "kill-2-cd", "alex")), "Bye."]
    assert strip("\n".join(lines)) == "Pilot.\nAsk us.\nBye."
