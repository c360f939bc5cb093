"""Whatever is done to a chain, it shows: by itself, or against a hash that is kept elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.ledgers.canonical import GENESIS, LedgerRow, canonical, chain_hash, chained
from rollback.adapters.ledgers.chains import chain_started, head_mismatch
from rollback.adapters.ledgers.heads import HeadRecord
from rollback.adapters.ledgers.memory import MemoryLedger
from rollback.adapters.ledgers.verify import ChainFindings, verify
from rollback.core.history import Entry
from rollback.ports import Head
from tests.ledgers.entries import an_entry, entries

SM = "secure-messaging"
OLD = HeadRecord(sequence=57, hash="ab" * 32, chain=1)


def chain(*written: Entry) -> list[LedgerRow]:
    ledger = MemoryLedger()
    ledger.append(written)
    return list(ledger.entries())


def findings(rows: list[LedgerRow], heads: tuple[Head, ...] = (), anchors: tuple[str, ...] = ()) -> ChainFindings:
    (found,) = verify(rows, heads, {SM: anchors}).chains
    return found


def head_of(rows: list[LedgerRow]) -> Head:
    return Head(SM, rows[-1].sequence, rows[-1].hash)


FIVE = chain(*(an_entry(number) for number in range(1, 6)))


def test_the_hash_is_what_any_program_gets_from_canonical_json() -> None:
    row = chain(an_entry(1, data={"rate": 1e16, "é": [1.5, None, True]}), an_entry(2))[1]
    whole = {"sequence": 2, "previous": row.previous, "entry": json.loads(row.body)}
    assert row.hash == sha256(rfc8785.dumps(whole)).hexdigest()
    assert canonical(json.loads(row.body)) == row.body


@given(entries)
def test_an_entry_survives_its_canonical_form_without_loss(entry: Entry) -> None:
    row = chained(entry, 1, GENESIS)
    assert row.entry == entry
    assert verify([row]).ok


def test_a_whole_chain_has_no_problems_and_is_anchored_to_what_confirms_it() -> None:
    assert findings(FIVE) == ChainFindings(SM, 5, (), (), 0)
    assert findings(FIVE, (head_of(FIVE),)).anchored_to == 5
    assert findings(FIVE, (head_of(FIVE[:3]),)).anchored_to == 3
    assert findings(FIVE, anchors=(FIVE[1].hash[:12], FIVE[3].hash[:20], FIVE[0].hash)).anchored_to == 4
    assert findings(FIVE, anchors=(FIVE[1].hash[:12].upper(),)).anchored_to == 2
    assert verify([]).chains == ()
    assert verify([]).ok


COLUMNS = ("feature", "sequence", "hash", "previous", "entry_id", "at", "kind", "name", "incident", "epoch", "body")


@given(st.integers(0, 4), st.sampled_from(COLUMNS), st.data())
def test_any_change_of_any_column_is_detected(place: int, column: str, data: st.DataObject) -> None:
    row = FIVE[place]
    value = getattr(row, column)
    if isinstance(value, int):
        changed: Any = data.draw(st.integers(-5, 50).filter(lambda number: number != value))
    else:
        at = data.draw(st.integers(0, len(value) - 1))
        letter = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda other: other != value[at]))
        changed = value[:at] + letter + value[at + 1 :]
    rows = [*FIVE]
    rows[place] = replace(row, **{column: changed})
    assert not verify(rows, [head_of(FIVE)]).ok


@given(st.sets(st.integers(0, 4), min_size=1, max_size=4))
def test_any_gap_is_detected_the_missing_end_against_the_head(gone: set[int]) -> None:
    rows = [row for number, row in enumerate(FIVE) if number not in gone]
    only_the_end = gone == set(range(min(gone), 5))
    assert findings(rows).ok == only_the_end
    assert not findings(rows, (head_of(FIVE),)).ok


@given(st.permutations(FIVE).filter(lambda rows: list(rows) != FIVE))
def test_any_reordering_is_detected(rows: list[LedgerRow]) -> None:
    assert not findings(rows).ok


@given(st.integers(0, 4), st.integers(0, 5))
def test_a_row_that_is_there_twice_is_detected(which: int, where: int) -> None:
    assert not findings([*FIVE[:where], FIVE[which], *FIVE[where:]]).ok


def test_a_row_moved_to_another_feature_is_detected() -> None:
    rows = chain(an_entry(1), an_entry(2, feature="appointments"))
    assert not verify([rows[0], replace(rows[1], feature=SM)]).ok


def test_a_chain_written_anew_is_whole_by_itself_and_shows_against_head_and_anchor() -> None:
    forged = chain(*(an_entry(number, reason="nothing happened") for number in range(1, 6)))
    assert findings(forged).ok
    assert findings(forged, (head_of(FIVE),)).problems == ("written anew: entry 5 is not the one of the head record",)
    (problem,) = findings(forged, anchors=(FIVE[2].hash[:12],)).problems
    assert "cut off or written anew" in problem
    assert FIVE[2].hash[:12] in problem


def test_a_new_hash_for_a_changed_entry_breaks_the_link_of_the_next() -> None:
    body = canonical({**json.loads(FIVE[1].body), "reason": "nothing happened"})
    changed = replace(FIVE[1], body=body, hash=chain_hash(2, FIVE[1].previous, body))
    found = findings([FIVE[0], changed, *FIVE[2:]])
    assert found.problems == ("entry 3 does not follow the one before it: its link was changed",)


def test_cutting_off_all_entries_shows_against_what_is_kept_elsewhere() -> None:
    (found,) = verify([], [head_of(FIVE)]).chains
    assert found.problems == ("cut off: the head record has 5 entries, here are 0",)
    (found,) = verify([], [], {SM: [FIVE[0].hash[:12]], "quiet": []}).chains
    assert not found.ok


@pytest.mark.parametrize("anchor", ["", "abc", "0" * 11, "0" * 65, "x" * 12, "${jndi}" * 40])
def test_what_is_no_hash_is_no_anchor(anchor: str) -> None:
    found = findings(FIVE, anchors=(anchor,))
    assert found.ok
    assert found.anchored_to == 0
    assert "is not a hash" in found.notes[0]


def test_other_features_are_judged_apart() -> None:
    rows = [*FIVE, *chain(an_entry(6, feature="appointments"), an_entry(7, feature="appointments"))[1:]]
    by_feature = {found.feature: found.ok for found in verify(rows).chains}
    assert by_feature == {SM: True, "appointments": False}
    assert not verify(rows).ok


def started(because: str) -> list[LedgerRow]:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return chain(chain_started(SM, OLD, old_file="rollback.db.corrupt-x", because=because, at=at), an_entry(1))


def test_a_chain_after_a_corrupt_database_is_whole_and_names_the_old_one() -> None:
    found = findings(started("corrupt"), (Head(SM, 57, OLD["hash"]),), (OLD["hash"][:12],))
    assert found.ok
    assert "entry 57, abababababab" in found.notes[0]
    assert "rollback.db.corrupt-x" in found.notes[0]
    assert found.anchored_to == 0
    assert not findings(started("corrupt"), anchors=("cd" * 6,)).ok


def test_a_chain_after_a_database_that_was_taken_away_is_not_whole() -> None:
    (problem,) = findings(started("missing")).problems
    assert "its database was gone" in problem


def test_that_the_end_was_cut_off_earlier_stays_visible_in_the_chain() -> None:
    rows = chain(an_entry(1), head_mismatch(SM, OLD, None, at=datetime(2026, 11, 23, tzinfo=UTC)), an_entry(2))
    (problem,) = findings(rows, (head_of(rows),)).problems
    assert problem.startswith("entry 2: when it was written, entry 57 was not the one of the head record")
