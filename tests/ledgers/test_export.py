"""The history leaves as JSON, CSV and Markdown, and nothing that somebody wrote takes the table over."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.ledgers.export import COLUMNS, plain_rows, to_csv, to_json, to_markdown
from rollback.adapters.ledgers.memory import MemoryLedger
from rollback.core.history import Actor
from tests.ledgers.entries import an_entry, entries, texts


def a_history() -> list[object]:
    ledger = MemoryLedger()
    ledger.append([an_entry(1, before={"enabled": True}, data={"rate": 0.5})])
    return [*ledger.entries(), an_entry(2, actor=Actor("somebody"))]


def test_rows_have_place_and_hash_and_entries_that_are_not_in_the_ledger_have_none() -> None:
    ledger = MemoryLedger()
    ledger.append([an_entry(1)])
    (row,) = ledger.entries()
    first, second = plain_rows([row, an_entry(2, actor=Actor("somebody"))])
    assert tuple(first) == COLUMNS
    assert (first["sequence"], first["hash"], first["previous"]) == (1, row.hash, "0" * 64)
    assert (first["actor"], first["authenticated"]) == ("responder", "token")
    assert (second["sequence"], second["hash"], second["previous"]) == (None, "", "")
    assert (second["actor"], second["authenticated"]) == ("somebody", "")
    assert second["at"] == "2026-11-23T12:00:02.250000Z"


@given(st.lists(entries, max_size=3))
def test_json_gives_everything_back(written: list[object]) -> None:
    rows = plain_rows(written)  # type: ignore[arg-type]
    assert json.loads(to_json(rows)) == rows


@given(st.lists(entries, max_size=3))
def test_csv_has_the_same_rows_and_columns_whatever_is_written(written: list[object]) -> None:
    rows = plain_rows(written)  # type: ignore[arg-type]
    header, *lines = csv.reader(io.StringIO(to_csv(rows), newline=""))
    assert tuple(header) == COLUMNS
    assert [len(line) for line in lines] == [len(COLUMNS)] * len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line[COLUMNS.index("reason")].removeprefix("'") == row["reason"].removeprefix("'")
        assert not any(re.match(r"\s*[=+\-@]", cell) for cell in line)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1+1", "\uff1dcmd", "\n=2"])
def test_a_formula_in_csv_is_text(text: str) -> None:
    _, line = csv.reader(io.StringIO(to_csv(plain_rows([an_entry(1, reason=text)])), newline=""))
    assert line[COLUMNS.index("reason")] == f"'{text}"


def test_numbers_in_csv_stay_numbers_and_objects_are_json() -> None:
    _, line, _ = csv.reader(io.StringIO(to_csv(plain_rows(a_history())), newline=""))  # type: ignore[arg-type]
    named = dict(zip(COLUMNS, line, strict=True))
    assert (named["sequence"], named["epoch"]) == ("1", "1")
    assert json.loads(named["before"]) == {"enabled": True}
    assert named["after"] == ""


@given(texts, texts)
def test_a_markdown_table_keeps_its_shape_whatever_is_written(reason: str, name: str) -> None:
    entry = an_entry(1, reason=f"{reason}|{name}\n| a | b |", name=f"{name}x", actor=Actor(reason))
    lines = to_markdown(plain_rows([entry])).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert all(line.startswith("|") and line.endswith("|") for line in lines)


def test_markdown_shows_text_and_makes_nothing_of_it() -> None:
    evil = (
        "<script>x</script> [click](javascript:x) https://evil.example www.evil.example @everyone #12 `code` **b** \\|"
    )
    line = to_markdown(plain_rows([an_entry(1, reason=evil)])).splitlines()[2]
    shown = re.sub(r"\\[*_\[\]~!]|&#\d+;", "?", line)  # escaped signs are text
    for piece in ("<", ">", "[", "]", "://", "www.", "@e", "#1", "`", "*", "\\"):
        assert piece not in shown, piece
    assert "script" in line
    assert to_markdown(plain_rows([an_entry(1)])).splitlines()[2] == (
        "|  | 2026-11-23T12:00:01.250000Z | secure-messaging | INC-1 | intent | lower\\_exposure | responder"
        " | error rate above tolerance |  |"
    )
