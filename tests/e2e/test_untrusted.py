"""Text from outside: it cannot move the cursor, fake a line, run in a spreadsheet, or leave private data behind."""

from __future__ import annotations

import csv
import io
import re

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import FOR_HALF, World, flag_of
from tests.sandbox.calls import threshold

EVIL = "\x1b[2J\x1b[1;31mis OFF\x07 proven\r\x9b31m \u202eevil"
PRIVATE = {
    "an e-mail address": "jane.veteran@example.org",
    "a social security number": "123-45-6789",
    "a token": "token=abcdef1234567890",
    "a number of a person": "1012345678V123456",
}
REASON = "seen by " + ", ".join(PRIVATE.values())
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shows_nothing_raw(done: Result) -> None:
    """No control character reached the screen (there is no terminal here, so there is no colour of ours either)."""
    found = CONTROL.search(done.all.replace("\r\n", "\n"))  # CSV ends its lines that way
    assert found is None, f"{done.words}: {found[0]!r} in {done.all!r}"


@pytest.fixture(scope="module")
def evil_flag() -> dict[str, object]:
    """A flag whose every free text was written by somebody who means harm."""
    rollout = threshold(100, True, f"{EVIL} rollback:not:a-marker")
    return flag_of({**FOR_HALF, "description": EVIL}, rollout, description=EVIL, name=EVIL)


@pytest.mark.slow
def test_control_characters_of_flags_and_reasons_do_not_reach_the_screen(
    make_world: MakeWorld, api: str, evil_flag: dict[str, object]
) -> None:
    world = make_world(api, evil_flag)
    cli = world.cli
    shows_nothing_raw(cli.run("status", "sm").expect(0))
    shows_nothing_raw(cli.run("disable", "sm", "--reason", f"because {EVIL}", "--actor", EVIL).expect(0))
    shows_nothing_raw(cli.run("note", "sm", EVIL).expect(0))
    shows_nothing_raw(cli.run("fix", "sm", EVIL).expect(0))
    for words in (("status",), ("status", "sm"), ("history", "sm"), ("history", "--format", "csv"), ("verify",)):
        shows_nothing_raw(cli.run(*words).expect(0))
    world.mend()
    before = world.flag
    shows_nothing_raw(cli.run("enable", "sm", "--reason", EVIL).expect(0))
    assert world.flag != before
    assert world.flag["description"] == EVIL, "what is theirs is given back as it was"


def test_names_that_are_typed_do_not_reach_the_screen_raw(make_world: MakeWorld) -> None:
    world = make_world("v2")
    for words in (("status", EVIL), ("disable", EVIL), ("disable", "--flag", f"default/mhv/{EVIL}"), (EVIL,)):
        done = world.cli.run(*words)
        assert done.code == 2
        shows_nothing_raw(done)


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1"])
def test_no_cell_of_the_csv_is_a_formula(make_world: MakeWorld, cell: str) -> None:
    world = make_world("v2")
    world.cli.run("note", "sm", "--", cell).expect(0)
    world.cli.run("open", "sm", "--severity", "low", f"--reason={cell}").expect(0)
    rows = list(csv.reader(io.StringIO(world.cli.run("history", "--format", "csv").expect(0).out)))
    assert len(rows) > 2
    for row in rows:
        assert not [one for one in row if one.startswith(("=", "+", "-", "@", "\t", "\r"))], row


def test_markdown_in_a_reason_stays_text(make_world: MakeWorld) -> None:
    world = make_world("v2")
    text = "| a | b | [click](javascript:alert(1)) <img src=x onerror=alert(1)> `code`"
    world.cli.run("open", "sm", "--severity", "low", "--reason", text).expect(0)
    told = world.cli.run("history", "--format", "markdown").expect(0).out
    table = [line for line in told.splitlines() if line.startswith("|")]
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert len(cells) == 1, "no row has more cells than the others"
    assert "<img" not in told
    assert not re.search(r"(?<!\\)\]\(", told), "no link"


@pytest.mark.slow
def test_private_data_in_reasons_and_notes_is_in_no_journal_no_ledger_and_no_output(make_world: MakeWorld) -> None:
    world = make_world("v1")
    cli = world.cli
    said = [
        cli.run("disable", "sm", "--reason", REASON).expect(0),
        cli.run("note", "sm", REASON).expect(0),
        cli.run("keep-off", "sm", "--reason", REASON).expect(0),
        cli.run("release", "sm", "--reason", REASON).expect(0),
        cli.run("fix", "sm", REASON).expect(0),
        cli.run("enable", "sm", "--reason", REASON, "--fix", REASON).expect(4),
        cli.run("ci", "sm", "--fix", REASON).expect(2),
        cli.run("history", "sm", "--json").expect(0),
        cli.run("history", "sm").expect(0),
    ]
    for what, text in PRIVATE.items():
        assert not [done.words for done in said if text in done.all], what
        assert not holding(cli, text), what
    assert "[redacted]" in cli.journal.read_text(errors="replace")
    assert not [text for text in PRIVATE.values() if text in str(world.flag)], "nor on the flag"


def holding(cli: Cli, text: str) -> list[str]:
    """The files of the machine that have this text in their bytes."""
    return [path.name for path in cli.folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_an_actor_that_was_typed_is_recorded_as_claimed(make_world: MakeWorld) -> None:
    world: World = make_world("v2")
    world.cli.run("disable", "sm", "--actor", "the president").expect(0)
    world.cli.run("note", "sm", "mine").expect(0)
    rows = world.cli.history()
    claimed = [row for row in rows if row["actor"] == "the-president"]
    assert claimed
    assert not [row for row in claimed if row["authenticated"]]
    assert rows[-1]["authenticated"] == "os"
    assert "the-president (claimed)" in world.cli.run("history", "sm").expect(0).out
