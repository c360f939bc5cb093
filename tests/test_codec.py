"""Entries survive being written, and nothing else gets in."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.codec import SAFE_INTEGER, entry_from_json, entry_to_json, repaired, time_from_text
from rollback.core.history import Actor, Entry, EntryKind
from tests.ledgers.entries import NOON, an_entry, entries


@given(entries)
def test_an_entry_survives_json_text_without_loss(entry: Entry) -> None:
    assert entry_from_json(json.loads(json.dumps(entry_to_json(entry)))) == entry


def test_times_are_utc_with_microseconds_and_z() -> None:
    at = datetime(2026, 11, 23, 7, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert entry_to_json(an_entry(1, at=at))["at"] == "2026-11-23T12:30:00.000000Z"
    assert time_from_text("2026-11-23T12:30:00.000000Z") == at
    assert time_from_text("2026-11-23T12:30:00.000000Z").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:30:00Z",
        "2026-11-23T12:30:00.000000+00:00",
        "2026-11-23T12:30:00.000000",
        "2026-11-23 12:30:00.000000Z",
        "2026-13-23T12:30:00.000000Z",
        "",
        None,
        1700000000,
    ],
)
def test_a_time_in_another_form_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"^at: "):
        time_from_text(text)


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^at: .*offset"):
        entry_to_json(an_entry(1, at=NOON.replace(tzinfo=None)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entry_id", ""),
        ("entry_id", 7),
        ("feature", ""),
        ("feature", None),
        ("kind", "rumour"),
        ("kind", ["intent"]),
        ("name", ""),
        ("actor", "somebody"),
        ("actor", {"name": "somebody"}),
        ("actor", {"name": "somebody", "authenticated": "", "role": "owner"}),
        ("reason", None),
        ("reason", "half a character: \ud800"),
        ("incident", 5),
        ("epoch", -1),
        ("epoch", True),
        ("epoch", "1"),
        ("epoch", 1.0),
        ("epoch", SAFE_INTEGER + 1),
        ("key", 5),
        ("before", []),
        ("after", "text"),
        ("data", None),
        ("data", {"n": float("nan")}),
        ("data", {"n": [float("inf")]}),
        ("data", {"n": SAFE_INTEGER + 1}),
        ("data", {"half \udc00": 1}),
    ],
)
def test_malformed_input_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{field}"):
        entry_from_json({**entry_to_json(an_entry(1)), field: value})


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_an_unknown_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=r"^v: "):
        entry_from_json({**entry_to_json(an_entry(1)), "v": version})


def test_a_missing_and_an_unknown_field_are_refused_by_name() -> None:
    value = entry_to_json(an_entry(1))
    del value["reason"]
    with pytest.raises(ValueError, match=r"^mood: unknown; reason: missing$"):
        entry_from_json({**value, "mood": "bad"})


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_what_is_not_an_object_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="object"):
        entry_from_json(value)


def test_nesting_without_end_is_refused_instead_of_crashing() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(ValueError, match=r"^data.*nested"):
        entry_to_json(an_entry(1, data={"deep": nested}))


def test_the_image_that_is_written_is_a_copy() -> None:
    image = {"states": ["off"]}
    written = entry_to_json(an_entry(1, after=image))
    image["states"].append("on")
    assert written["after"] == {"states": ["off"]}


any_text = st.text(max_size=10)
anything = st.recursive(
    st.none() | any_text | st.floats() | st.integers() | st.binary(max_size=3) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.builds(
        Entry,
        entry_id=any_text,
        at=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
        feature=any_text,
        kind=st.sampled_from(EntryKind),
        name=any_text,
        actor=st.builds(Actor, any_text),
        reason=any_text,
        epoch=st.integers(),
        key=st.none() | any_text,
        before=st.none() | st.dictionaries(any_text, anything, max_size=3),
        data=st.dictionaries(any_text, anything, max_size=3),
    )
)
def test_whatever_an_entry_holds_it_can_be_repaired_into_one_that_is_written(entry: Entry) -> None:
    mended = repaired(entry)
    assert entry_from_json(entry_to_json(mended)) == mended


def test_repairing_changes_only_what_cannot_be_written() -> None:
    sound = an_entry(1, data={"buckets": [1, 2.5, None, True, "ü"]}, before={"enabled": True})
    assert repaired(sound) == sound
    odd = replace(sound, reason="caf\udce9", data={"rate": float("nan"), "kept": 1})
    assert repaired(odd).reason == "caf?"
    assert repaired(odd).data == {"rate": "nan", "kept": 1}
    assert repaired(odd).before == sound.before
