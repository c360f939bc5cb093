"""`--dry-run` of every command that changes something writes nothing: no flag, no journal, no ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cli
from tests.e2e.worlds import World, world_in

WITHOUT_A_CASE = [
    ("disable", "sm"),
    ("open", "sm", "--severity", "low", "--reason", "typo"),
    ("open", "sm", "--severity", "high", "--reason", "some sends fail"),
    ("note", "sm", "looked at it"),
    ("enable", "sm", "--reason", "fixed"),
]
WHILE_OFF = [
    ("disable", "sm"),
    ("enable", "sm", "--reason", "fixed"),
    ("enable", "sm", "--reason", "fixed", "--fix", "abc123", "--force", "--accept-blind"),
    ("ci", "sm", "--fix", "abc1234"),
    ("undo", "sm", "--reason", "wrong feature"),
    ("false-alarm", "sm", "--reason", "monitor is wrong"),
    ("fix", "sm", "abc123"),
    ("note", "sm", "looked at it"),
    ("keep-off", "sm", "--reason", "audit"),
    ("release", "sm", "--reason", "audit done"),
]
WHILE_LOW = [
    ("close", "sm", "--reason", "fixed"),
    ("raise", "sm", "--severity", "high", "--reason", "it spreads"),
]


def written(cli: Cli) -> dict[str, bytes]:
    """The bytes of journal and ledger, and of whatever lies beside them; what was found out of the store is a hint."""
    return {path.name: path.read_bytes() for path in sorted(cli.folder.iterdir()) if path.suffix != ".api"}


def check_writes_nothing(world: World, cli: Cli, words: tuple[str, ...]) -> None:
    """The command succeeds, says so in one document, and leaves everything as it was."""
    flag, record, writes = world.flag, written(cli), world.writes
    done = cli.run(*words, "--dry-run", "--json").expect(0)
    assert done.json["exit"] == 0
    assert world.writes == writes, "no write was sent"
    assert world.flag == flag
    assert written(cli) == record


@pytest.fixture(scope="module")
def normal(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which nothing has happened."""
    with world_in(tmp_path_factory.mktemp("normal"), api) as world:
        yield world


@pytest.fixture(scope="module")
def off(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world after a disable."""
    with world_in(tmp_path_factory.mktemp("off"), api) as world:
        world.cli.run("disable", "sm").expect(0)
        yield world


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with an open low case."""
    with world_in(tmp_path_factory.mktemp("low"), "v2") as world:
        world.cli.run("open", "sm", "--severity", "low", "--reason", "typo").expect(0)
        yield world


@pytest.mark.parametrize("words", WITHOUT_A_CASE, ids=" ".join)
def test_dry_run_without_a_case_writes_nothing(normal: World, words: tuple[str, ...]) -> None:
    check_writes_nothing(normal, normal.cli, words)
    assert list(written(normal.cli)) == [], "not even an empty journal"


@pytest.mark.parametrize("words", WHILE_OFF, ids=" ".join)
def test_dry_run_while_off_writes_nothing(off: World, words: tuple[str, ...]) -> None:
    check_writes_nothing(off, off.cli, words)


@pytest.mark.parametrize("words", WHILE_LOW, ids=" ".join)
def test_dry_run_in_a_low_case_writes_nothing(low: World, words: tuple[str, ...]) -> None:
    check_writes_nothing(low, low.cli, words)


def test_dry_run_of_adopt_writes_nothing(off: World) -> None:
    check_writes_nothing(off, off.machine("another"), ("adopt", "sm"))


def test_dry_run_of_disable_says_what_would_become_of_the_flag(normal: World) -> None:
    told = normal.cli.run("disable", "sm", "--dry-run", "--json").expect(0).json
    assert (told["exposure"], told["exposure_after"]) == (100, 0)


def test_dry_run_of_enable_says_the_steps(off: World) -> None:
    told = off.cli.run("enable", "sm", "--reason", "fixed", "--dry-run", "--json").expect(0).json
    assert [(step["percent"], step["open"]) for step in told["ladder"]] == [(10, 10), (50, 50), (100, 100)]


def test_a_dry_run_leaves_what_a_crash_left_to_the_next_real_command(tmp_path: Path) -> None:
    """Settling is a change, too."""
    with world_in(tmp_path, "v2") as world:
        world.cli.run("disable", "sm", "--no-wait", "--json")
        state = world.cli.status()["state"]
        for words in (("fix", "sm", "abc"), ("enable", "sm", "--reason", "x")):
            check_writes_nothing(world, world.cli, words)
        assert world.cli.status()["state"] == state
