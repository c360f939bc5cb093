"""Recordings from files: all three forms mean the same, every bad row is told with its line, nothing is guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.ledgers.export import plain_rows, to_json
from rollback.commands.replaying import side_by_side
from rollback.core import events as e
from rollback.core.alerts import Edge
from rollback.core.replay_course import differences
from rollback.core.replay_ledger import recording_of
from rollback.core.replay_recording import (
    AlertHeard,
    Disabled,
    Enabled,
    FlagSeen,
    HeldBack,
    Mark,
    Opened,
    Recording,
    Sampled,
    SwitchSeen,
    Told,
)
from rollback.core.replay_rows import COLUMNS, KINDS, RowError, recording_of_rows
from rollback.errors import ConfigurationError
from rollback.replay_files import MAX_BYTES, TOLD, read_recording
from tests.fakes.commands import person
from tests.fakes.world import World

FEATURE = "secure-messaging"
T = "2026-11-23T09:00:00Z"
HEAD = "at,kind,name,value,total,from,source,monitor,cycle,priority,tags,occurred_at,authenticated,until,text"


def row(kind: str, **fields: Any) -> dict[str, Any]:
    return {"at": T, "kind": kind, **{name.rstrip("_"): value for name, value in fields.items()}}


def item_of(kind: str, **fields: Any) -> Any:
    recording = recording_of_rows([(2, row(kind, **fields))], FEATURE)
    (item,) = recording.items
    return item


def wrong(kind: str, **fields: Any) -> str:
    with pytest.raises(RowError) as caught:
        item_of(kind, **fields)
    ((line, what),) = caught.value.wrong
    assert line == 2
    return what


def read(tmp_path: Path, text: str, name: str = "incident.csv") -> Recording:
    file = tmp_path / name
    file.write_text(text)
    return read_recording(file, FEATURE)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    return f"{caught.value.message} | {caught.value.next}"


# -- rows ---------------------------------------------------------------------------------------------------------


def test_each_kind_of_row_is_read_as_what_it_says() -> None:
    alert = item_of("alert", name="fired", source="datadog", monitor="4711", cycle="c1", priority="p1", tags="b a b")
    assert (alert.alert.edge, alert.alert.tags, alert.alert.priority) == (Edge.FIRED, ("a", "b"), "P1")
    assert item_of("probe", name="folders", value="0.25").metrics["folders"].harm == 0.25
    assert (
        item_of("metric", name="errors", value="3", total="60", from_="2026-11-23T08:59:00Z").metrics["errors"].bad == 3
    )
    assert item_of("disable", name="alex", authenticated="os", text="broken") == Disabled(
        item_of("note", text="x").at, item_of("disable", name="alex", authenticated="os").by, "broken"
    )
    forced = item_of("enable", until="2026-11-23T10:00:00Z")
    assert isinstance(forced, Enabled)
    assert forced.forced_until == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert isinstance(item_of("open", name="low"), Opened)
    assert item_of("fix", name="600df1x").event == e.FixDeployed("600df1x")
    assert item_of("deploy", name="web 1.2").what == "web 1.2"
    assert item_of("note", text="called them").event == e.NoteAdded("called them")
    assert item_of("flag", name="exposure", value="40") == FlagSeen(alert.at, exposure=40)
    assert item_of("flag", name="audience", value=40) == FlagSeen(alert.at, audience=40)
    assert item_of("flag", name="edited") == FlagSeen(alert.at, edited=True)
    assert isinstance(item_of("hold", until="2026-11-23T10:00:00Z", text="by alex"), HeldBack)
    assert item_of("gate", name="green").event == e.GateMeasured(True)
    assert item_of("switch", name="window", value="up") == SwitchSeen(alert.at, "window", True)
    for kind in ("keep_off", "release", "accept_blind", "stop", "approve", "go"):
        assert isinstance(item_of(kind), Told), kind


def test_a_sample_that_is_missing_is_missing_and_neither_good_nor_bad() -> None:
    for counts in (
        item_of("probe", name="folders").metrics["folders"],
        item_of("metric", name="errors", from_="2026-11-23T08:59:00Z").metrics["errors"],
        item_of("metric", name="errors", value=0, total=0, from_="2026-11-23T08:59:00Z").metrics["errors"],
    ):
        assert (counts.total, counts.missing, counts.rate) == (0, 1, None)


def test_an_alert_without_its_own_time_is_not_given_one_where_the_column_is_there() -> None:
    known = {"name": "fired", "source": "s", "monitor": "m", "cycle": "c"}
    assert item_of("alert", **known).alert.occurred_at == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert item_of("alert", **known, occurred_at="").alert.occurred_at is None
    said = item_of("alert", **known, occurred_at="2026-11-23T03:58:00-05:00").alert.occurred_at
    assert said == datetime(2026, 11, 23, 8, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("explosion", {}, "'explosion' is not known; known: alert, probe"),
        ("alert", {"name": "fired", "source": "s", "monitor": "m"}, "cycle is missing"),
        ("alert", {"name": "sideways"}, "name is one of fired, repeated, recovered, unclear"),
        ("alert", {"name": "fired", "source": "s", "monitor": "m", "cycle": "c", "tags": [1]}, "tags are words"),
        ("probe", {"name": "folders", "value": "1.5"}, "from 0 (good) to 1 (harm)"),
        ("probe", {"name": "folders", "value": "nan"}, "value must be a number"),
        ("probe", {"name": "folders", "value": 10**400}, "value must be a number"),
        ("probe", {"name": "folders", "value": True}, "value must be a number"),
        ("probe", {"value": "0"}, "name is missing"),
        ("metric", {"name": "m", "value": 3, "total": 2, "from_": "2026-11-23T08:00:00Z"}, "3 is more than 2"),
        ("metric", {"name": "m", "value": 1.5, "total": 2, "from_": "2026-11-23T08:00:00Z"}, "whole number"),
        ("metric", {"name": "m", "value": 1, "total": 2}, "from is missing"),
        ("metric", {"name": "m", "value": 1, "total": 2, "from_": T}, "from must be before at"),
        ("flag", {"name": "exposure", "value": "101"}, "from 0 to 100"),
        ("flag", {"name": "colour"}, "exposure, audience, edited"),
        ("disable", {"authenticated": "magic"}, "authenticated is one of os, token, oidc, ci"),
        ("open", {"name": "critical"}, "high, low"),
        ("enable", {"until": "tomorrow"}, "until must be RFC 3339"),
        ("fix", {}, "name is missing"),
        ("fix", {"name": "x" * 300}, "longer than 200"),
        ("note", {"text": {"a": 1}}, "text must be text"),
    ],
)
def test_a_bad_row_is_told_in_one_sentence(kind: str, fields: dict[str, Any], says: str) -> None:
    assert says in wrong(kind, **fields)


@pytest.mark.parametrize(
    "when", ["2026-11-23T09:00:00", "2026-11-23", "23.11.2026 09:00", "1700000000", "2026-13-23T09:00:00Z", "", None, 7]
)
def test_a_time_without_offset_or_sense_is_refused(when: Any) -> None:
    with pytest.raises(RowError) as caught:
        recording_of_rows([(7, {"at": when, "kind": "note", "text": "x"})], FEATURE)
    assert caught.value.wrong[0][0] == 7
    assert "at " in caught.value.wrong[0][1]


def test_rows_in_any_order_are_one_incident_and_that_is_said() -> None:
    rows = [row("note", text=str(n)) | {"at": f"2026-11-23T09:{n:02d}:00Z"} for n in range(10)]
    ordered = recording_of_rows(list(enumerate(rows, 2)), FEATURE)
    shuffled = recording_of_rows(list(enumerate([*rows[5:], *rows[:5]], 2)), FEATURE)
    assert shuffled.items == ordered.items
    assert any("put in order" in note for note in shuffled.notes)
    assert not any("put in order" in note for note in ordered.notes)


def test_samples_of_one_moment_are_one_reading() -> None:
    rows = [row("probe", name=name, value=0) for name in ("folders", "threads")]
    (reading,) = recording_of_rows(list(enumerate(rows)), FEATURE).items
    assert isinstance(reading, Sampled)
    assert set(reading.metrics) == {"folders", "threads"}


def test_without_a_word_on_the_exposure_harm_is_not_told() -> None:
    silent = recording_of_rows([(2, row("note", text="x"))], FEATURE)
    assert silent.audience is None
    assert any("does not say how many" in note for note in silent.notes)
    assert recording_of_rows([(2, row("flag", name="exposure", value=40))], FEATURE).audience == 40
    late = [(2, row("disable")), (3, row("flag", name="exposure", value=0))]
    assert recording_of_rows(late, FEATURE).audience is None, "what is open after an off says nothing about before"


@given(st.dictionaries(st.sampled_from(COLUMNS), st.one_of(st.none(), st.text(), st.floats(), st.lists(st.text()))))
def test_whatever_a_row_holds_it_is_read_or_told(fields: dict[str, Any]) -> None:
    told: list[tuple[int, str]] = []
    read_items = 0
    try:
        read_items = len(recording_of_rows([(2, fields)], FEATURE).items)
    except RowError as error:
        told = error.wrong
    assert (read_items, [line for line, _ in told]) in ((1, []), (0, [2]))
    assert all(what for _, what in told)


# -- files --------------------------------------------------------------------------------------------------------

CSV = f"""# An outage.
{HEAD}
{T},alert,fired,,,,datadog,4711,c1,P1,env:eks-prod,{T},,,
2026-11-23T09:00:10Z,probe,folders,1,,,,,,,,,,,

2026-11-23T09:05:00Z,disable,alex,,,,,,,,,,os,,"broken, badly"
"""


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    lines = [
        row("alert", name="fired", source="datadog", monitor="4711", cycle="c1", priority="P1")
        | {"tags": ["env:eks-prod"], "occurred_at": T},
        row("probe", name="folders", value=1) | {"at": "2026-11-23T09:00:10Z"},
        row("disable", name="alex", authenticated="os", text="broken, badly") | {"at": "2026-11-23T09:05:00Z"},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    assert read(tmp_path, CSV) == read(tmp_path, text, "incident.jsonl")


def test_every_bad_line_is_told_with_its_number_and_nothing_is_read(tmp_path: Path) -> None:
    text = f"{HEAD}\n{T},explosion\n{T},note,,,,,,,,,,,,,fine\nnever,note\n"
    said = refused(tmp_path, text)
    assert "incident.csv:2: the kind 'explosion'" in said
    assert "incident.csv:4: at must be RFC 3339" in said
    assert "docs/replay.md" in said
    many = "\n".join([HEAD, *(f"{T},explosion" for _ in range(TOLD + 5))])
    assert "and 5 more" in refused(tmp_path, many)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("at,kind,colour\n", "there is no column 'colour' | known: at, kind, name"),
        ("at,name\n", "the column kind is missing"),
        ("at,kind,at\n", "the column at is there twice"),
        (f"{HEAD}\n{T},note{',' * 20}x\n", "cells, and the header 15"),
        (f'{HEAD}\n{T},note,"open\n', "this is not CSV"),
        ("{not json}\n", ":1: this is not JSON"),
        ('{"at": 1}\n[1]\n', ":2: a line is one object"),
        ('{"at": "2026-11-23T09:00:00Z", "kind": "note", "colour": 1}\n', "there is no column 'colour'"),
        ("[{]", "this is not JSON"),
        ("[1]", "entry 1: it is no object"),
        ('[{"feature": "x"}]', "entry 1: 'entry_id'"),
        ('{"entries": 1}', "no list of entries"),
        ('{"entries": []}', "nothing in it is about"),
        ("[]", "nothing in it is about secure-messaging"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


def test_a_file_that_cannot_be_read_or_is_too_large_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_recording(tmp_path / "nothing.csv", FEATURE)
    (tmp_path / "latin.csv").write_bytes(b"at,kind\n\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_recording(tmp_path / "latin.csv", FEATURE)
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_recording(tmp_path / "large.csv", FEATURE)


def test_secrets_in_a_note_are_not_kept(tmp_path: Path) -> None:
    secret = "Bearer abcdef0123456789abcdef0123456789"
    recording = read(tmp_path, f"{HEAD}\n{T},note,,,,,,,,,,,,,Authorization: {secret}\n")
    assert "abcdef0123456789" not in repr(recording)


def test_the_programs_own_export_is_read_as_its_entries_are(tmp_path: Path) -> None:
    world = World(tmp_path)
    person(world).disable()
    person(world).enable(fix="600df1x")
    view = world.history().entries(FEATURE)
    exported = read(tmp_path, to_json(plain_rows([*view.rows, *view.pending])), "history.json")
    direct = recording_of(view.entries, FEATURE)
    assert exported == direct
    assert differences(exported.done, direct.done, timedelta(0)) == []


def test_an_entry_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    person(world).disable()
    rows = plain_rows(world.history().entries(FEATURE).rows)
    bad = [{**one, "name": "evidence", "kind": "fact"} for one in rows[:1]]
    assert "(evidence)" in refused(tmp_path, to_json(bad))


# -- side by side -------------------------------------------------------------------------------------------------


def test_the_same_thing_at_the_same_time_is_one_row_and_others_stand_alone() -> None:
    at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    done = [Mark(at, "off_written"), Mark(at + timedelta(minutes=5), "step_raised")]
    would = [Mark(at + timedelta(seconds=1), "off_written"), Mark(at + timedelta(minutes=9), "step_raised")]
    rows = side_by_side(done, [would, would])
    assert [[cell is not None for cell in cells] for _, cells in rows] == [
        [True, True, True],
        [True, False, False],
        [False, True, True],
    ]
    assert [when for when, _ in rows] == sorted(when for when, _ in rows)
    assert isinstance(rows[0][1][0], Mark)


def test_heard_alerts_are_part_of_what_was_done(tmp_path: Path) -> None:
    recording = read(tmp_path, CSV)
    assert [mark.what for mark in recording.done] == ["alert", "disable_commanded"]
    assert recording.first_alert == next(item.at for item in recording.items if isinstance(item, AlertHeard))


def test_the_documentation_has_every_kind_and_every_column() -> None:
    text = (Path(__file__).parent.parent / "docs" / "replay.md").read_text("utf-8")
    table = text[text.index("### The columns") :]
    for kind in KINDS:
        assert f"`{kind}`" in table, kind
    for column in COLUMNS:
        assert f"`{column}`" in table or column in ("name", "value"), column


def test_the_example_of_the_documentation_is_a_recording(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "replay.md").read_text("utf-8")
    example = [line.strip() for line in text.splitlines() if line.startswith(("    at,kind", "    2026-"))]
    recording = read(tmp_path, "\n".join(example))
    assert len(recording.items) == len(example) - 1
    assert recording.audience == 100
