"""A feature in one word: off is claimed only when it is proven, and what cannot be read is unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.evidence import Evidence, log_bound
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.model import State
from rollback.server.page import cards
from rollback.server.page.cards import Glance, glance

NOW = datetime(2026, 11, 23, 8, 12, 27, tzinfo=UTC)
ENTRY = Entry("e-1", NOW, "sm", EntryKind.FACT, "note_added", Actor("ann", "token"), incident="sm-1")


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ({"exposure": 0, "off_proven": True}, Glance("off", "OFF proven")),
        ({"exposure": 0, "off_proven": False}, Glance("unproven", "OFF NOT PROVEN")),
        ({"exposure": 0}, Glance("unproven", "OFF NOT PROVEN")),
        ({"exposure": 0, "off_proven": "yes"}, Glance("unproven", "OFF NOT PROVEN")),
        ({"exposure": None, "off_proven": True}, Glance("unknown", "UNKNOWN")),
        ({"off_proven": True}, Glance("unknown", "UNKNOWN")),
        ({"exposure": "0", "off_proven": True}, Glance("unknown", "UNKNOWN")),
        ({"exposure": 100}, Glance("on", "ON")),
        ({"exposure": 50, "state": "normal"}, Glance("on", "ON")),
        ({"exposure": 10, "state": "reduced"}, Glance("reduced", "REDUCED 10 %")),
        ({"exposure": 50, "state": "ramping"}, Glance("reduced", "REDUCED 50 %")),
        ({"exposure": 5, "ours_on_flag": [{"key": "kill-1"}]}, Glance("reduced", "REDUCED 5 %")),
        ({"exposure": 100, "state": "disabled", "ours_on_flag": [{"key": "kill-1"}]}, Glance("on", "ON")),
    ],
    ids=str,
)
def test_the_word_for_a_feature(told: dict[str, Any], seen: Glance) -> None:
    assert glance(told) == seen


told = st.fixed_dictionaries(
    {},
    optional={
        "exposure": st.one_of(st.none(), st.integers(0, 100), st.floats(), st.text(max_size=3)),
        "off_proven": st.one_of(st.booleans(), st.none(), st.text(max_size=3)),
        "state": st.sampled_from([*(state.value for state in State), None]),
        "ours_on_flag": st.lists(st.just({"key": "kill-1"}), max_size=2),
    },
)


@given(told)
def test_no_document_is_off_unless_nobody_is_served_and_that_is_proven(document: dict[str, Any]) -> None:
    seen = glance(document)
    if seen.kind == "off":
        assert document["exposure"] == 0
        assert document["off_proven"] is True
    if "off" in seen.word.lower():
        assert document["exposure"] == 0
    if not isinstance(document.get("exposure"), int):
        assert seen == cards.UNKNOWN


def test_a_card_without_anything_is_unknown_and_complete() -> None:
    card = cards.not_read_yet("sm")
    assert (card["kind"], card["name"], card["world"]) == ("unknown", "sm", "")
    assert set(card) == set(cards.card({"feature": "other", "exposure": 0, "off_proven": True}))


def test_what_is_lacking_is_named_and_what_holds_is_not() -> None:
    parts = [
        {"name": "reasoning", "status": "proven", "detail": "nobody can be served", "at": NOW.isoformat()},
        {"name": "engine", "status": "unknown", "detail": "it\u202e died\x1b[31m", "at": None},
        {"name": "polling", "status": "assumed", "detail": "by time"},
    ]
    card = cards.card({"feature": "sm", "exposure": 0, "off_basis": {"proven": False, "parts": parts}})
    assert card["lacking"] == ["engine: it? died?[31m"]
    assert len(card["basis"]) == 3
    nothing_seen = cards.card({"feature": "sm", "exposure": 0, "off_basis": {"proven": False, "parts": []}})
    assert nothing_seen["lacking"] == ["not every replica could be looked at"]


def test_two_looks_at_the_same_world_make_the_same_card() -> None:
    """Else each look would be news to every viewer."""

    def seen(at: datetime) -> dict[str, Any]:
        part = {"name": "reasoning", "status": "proven", "detail": "nobody", "at": at.isoformat()}
        return cards.card({"feature": "sm", "exposure": 0, "off_proven": True, "off_basis": {"parts": [part]}})

    assert seen(NOW) == seen(NOW + timedelta(seconds=1))


@pytest.mark.parametrize(("total", "bad"), [(0, 0), (10, 0), (500, 0), (500, 400), (100_000, 0)])
def test_evidence_is_shown_against_its_bound_with_what_is_missing(total: int, bad: int) -> None:
    known = Evidence.from_counts(0.02, bad, total)
    counts = {"total": total, "bad": bad, "missing": 3, "log_e": known.log_e}
    told = {"stage": 1, "fix": "", "p0": 0.02, "log_bound": log_bound(0.01), "metrics": {"folders": counts}}
    shown = cards.evidence(told)
    assert shown is not None
    [metric] = shown["metrics"]
    assert 0 <= metric["share"] <= 1
    assert metric["clean_samples_missing"] == known.clean_samples_missing(0.01)
    assert (metric["share"] == 1) == (metric["clean_samples_missing"] == 0)
    assert metric["bound"] == "100"
    assert metric["without_data"] == 3
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("told", [None, {}, {"metrics": {}}, "nonsense"])
def test_without_evidence_there_is_no_bar(told: Any) -> None:
    assert cards.evidence(told) is None


def test_the_timeline_is_of_this_case_newest_first_and_without_what_repeats() -> None:
    entries = [
        replace(ENTRY, entry_id="a", name="case_opened", kind=EntryKind.TRANSITION, after={"state": "triggered"}),
        replace(ENTRY, entry_id="b", name="lower_exposure", kind=EntryKind.INTENT, reason="errors"),
        replace(ENTRY, entry_id="c", incident="sm-0"),
        replace(ENTRY, entry_id="d", name="evidence"),
        replace(ENTRY, entry_id="e", actor=Actor("bob"), data={"text": "paged\u2028the vendor"}),
    ]
    rows = cards.timeline(entries, "sm-1")
    assert [row["what"] for row in rows] == ["note added", "lower exposure (meant)", "case opened"]
    assert rows[0]["claimed"] is True
    assert rows[0]["why"] == "text: paged?the vendor"
    assert rows[2] == {
        "at": "2026-11-23T08:12:27Z",
        "what": "case opened",
        "state": "triggered",
        "who": "ann",
        "claimed": False,
        "why": "",
    }


def test_a_long_case_shows_its_newest_rows() -> None:
    entries = [replace(ENTRY, entry_id=str(number), reason=str(number)) for number in range(500)]
    rows = cards.timeline(entries, "sm-1")
    assert len(rows) == cards.TIMELINE_ROWS
    assert rows[0]["why"] == "499"


def test_decisions_say_which_rule_decided_and_why() -> None:
    one = {"delivery": 7, "action": "turn_off", "rule": "errors", "why": "It is critical.", "evidence": {}}
    entry = replace(ENTRY, name="alerts_decided", data={"decisions": [one, {**one, "delivery": 8}]})
    found = cards.decisions([ENTRY, entry])
    assert [row["delivery"] for row in found] == [8, 7]
    assert (found[0]["action"], found[0]["rule"], found[0]["why"]) == ("turn off", "errors", "It is critical.")
    assert cards.decisions([replace(ENTRY, name="alerts_decided", data={"decisions": "damaged"})]) == []
