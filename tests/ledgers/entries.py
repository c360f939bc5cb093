"""Entries for tests: plain ones by number, and any that the codec must be able to keep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from rollback.codec import SAFE_INTEGER
from rollback.core.history import Actor, Entry, EntryKind

NOON = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)


def an_entry(number: int, feature: str = "secure-messaging", **fields: Any) -> Entry:
    """The entry `e<number>`, that many seconds after noon, an intent unless `fields` say otherwise."""
    given: dict[str, Any] = {
        "entry_id": f"e{number}",
        "at": NOON + timedelta(seconds=number),
        "feature": feature,
        "kind": EntryKind.INTENT,
        "name": "lower_exposure",
        "actor": Actor("responder", "token"),
        "reason": "error rate above tolerance",
        "incident": "INC-1",
        "epoch": 1,
        "key": f"kill-1-k{number}",
    }
    return Entry(**{**given, **fields})


def a_transition(number: int, state: str, feature: str = "secure-messaging", **fields: Any) -> Entry:
    """A change of state whose image says `state`."""
    return an_entry(number, feature, kind=EntryKind.TRANSITION, name="moved", after={"state": state}, **fields)


# Half characters cannot be written as UTF-8; everything else must survive.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-SAFE_INTEGER, SAFE_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=3)
times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis wants the bounds without a zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45))]),
)
entries = st.builds(
    Entry,
    entry_id=texts.filter(bool),
    at=times,
    feature=texts.filter(bool),
    kind=st.sampled_from(EntryKind),
    name=texts.filter(bool),
    actor=st.builds(Actor, texts, texts),
    reason=texts,
    incident=st.none() | texts,
    epoch=st.integers(0, SAFE_INTEGER),
    key=st.none() | texts,
    before=st.none() | objects,
    after=st.none() | objects,
    data=objects,
)
