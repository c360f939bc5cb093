"""Journal and ledger locked, read-only, gone, corrupt or full: off is off all the same, and a return refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import served, write_policies

Trouble = Callable[[Cli], AbstractContextManager[None]]
AS_USUAL = [
    "lower_exposure",
    "lower_exposure",
    "case_opened",
    "disable_commanded",
    "off_written",
    "off_proven",
    "gate_measured",
]


@contextmanager
def ledger_locked(cli: Cli) -> Iterator[None]:
    """Somebody has opened the database and holds its write lock."""
    other = sqlite3.connect(cli.ledger, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


@contextmanager
def ledger_is_a_folder(cli: Cli) -> Iterator[None]:
    """There is something at the ledger's path that no database can be written to, not even by root."""
    kept = cli.ledger.with_suffix(".kept")
    if cli.ledger.exists():
        cli.ledger.rename(kept)
    cli.ledger.mkdir()
    yield
    cli.ledger.rmdir()
    if kept.exists():
        kept.rename(cli.ledger)


@contextmanager
def journal_is_a_folder(cli: Cli) -> Iterator[None]:
    """The same for the journal: every append fails."""
    kept = cli.journal.with_suffix(".kept")
    if cli.journal.exists():
        cli.journal.rename(kept)
    cli.journal.mkdir()
    yield
    cli.journal.rmdir()
    if kept.exists():
        kept.rename(cli.journal)


@contextmanager
def both_are_folders(cli: Cli) -> Iterator[None]:
    """Nothing at all can be written down."""
    with ledger_is_a_folder(cli), journal_is_a_folder(cli):
        yield


def corrupt(path: Path) -> None:
    """The middle of the file becomes something else."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff" * min(64, len(data) - middle)
    path.write_bytes(bytes(data))


def warned(done: Result) -> None:
    """It said on standard error that something is wrong with the record."""
    assert "warning:" in done.err, done.all
    assert "journal" in done.err or "ledger" in done.err


def nothing_twice(cli: Cli) -> list[str]:
    """The names of all entries, in order, after checking that the ledger verifies and has none of them twice."""
    cli.run("verify").expect(0)
    rows = cli.history()
    assert Counter(row["entry_id"] for row in rows).most_common(1)[0][1] == 1
    assert all(row["sequence"] for row in rows), "everything is in the ledger"
    return [row["name"] for row in rows]


@pytest.mark.parametrize("trouble", [ledger_locked, ledger_is_a_folder], ids=["locked", "unwritable"])
def test_with_a_ledger_that_takes_nothing_off_is_off_and_nothing_is_lost(
    make_world: MakeWorld, trouble: Trouble
) -> None:
    world = make_world("v2")
    with trouble(world.cli):
        done = world.cli.run("disable", "sm").expect(0)
        warned(done)
        assert served(world.flipt.url) == 0
    world.cli.run("note", "sm", "the ledger is back").expect(0)
    assert nothing_twice(world.cli) == [*AS_USUAL, "note_added"], "all of it is there"


def test_with_the_journals_disk_not_mounted_off_is_off_and_the_ledger_has_it(make_world: MakeWorld) -> None:
    world = make_world("v1")
    folder = world.folder / "another-disk"
    cli = world.machine("first", ROLLBACK_JOURNAL=str(folder / "rollback.journal"))
    warned(cli.run("disable", "sm").expect(0))
    assert served(world.flipt.url) == 0
    folder.mkdir()
    cli.run("note", "sm", "the journal is back").expect(0)
    assert nothing_twice(cli) == [*AS_USUAL, "note_added"]


def test_with_a_journal_that_cannot_be_read_off_is_off_and_the_ledger_has_it(make_world: MakeWorld) -> None:
    world = make_world("v1")
    with journal_is_a_folder(world.cli):
        warned(world.cli.run("disable", "sm").expect(0))
        assert served(world.flipt.url) == 0
    world.cli.run("note", "sm", "the journal is back").expect(0)
    assert {"off_written", "off_proven", "note_added"} <= set(nothing_twice(world.cli))


def test_when_nothing_can_be_written_off_is_off_and_stderr_has_the_entries(make_world: MakeWorld) -> None:
    world = make_world("v2")
    with both_are_folders(world.cli):
        done = world.cli.run("disable", "sm", "--json").expect(0)
        assert done.json["off_proven"] is True
        assert "lower_exposure" in done.err, "the intent itself, as the last resort"
        assert served(world.flipt.url) == 0
    status = world.cli.status()
    assert status["exposure"] == 0
    assert status["differs"], "the flag tells of a case that is not in this history"
    world.cli.run("adopt", "sm").expect(0)
    assert nothing_twice(world.cli)[0] == "adopted"


def test_a_journal_deleted_in_the_middle_of_a_case_stops_nothing_and_the_ledger_knows_the_case(
    make_world: MakeWorld,
) -> None:
    world = make_world("v2")
    first = world.cli.run("disable", "sm", "--json").expect(0).json
    world.cli.journal.unlink()
    second = world.cli.run("disable", "sm", "--json").expect(0).json
    assert second["incident"] == first["incident"], "the case is still known"
    assert nothing_twice(world.cli).count("off_proven") == 2


def test_a_ledger_deleted_in_the_middle_of_a_case_stops_nothing_is_fed_again_and_is_never_called_whole(
    make_world: MakeWorld,
) -> None:
    world = make_world("v2")
    first = world.cli.run("disable", "sm", "--json").expect(0).json
    before = world.cli.history()
    world.cli.ledger.unlink()
    second = world.cli.run("disable", "sm", "--json").expect(0).json
    assert second["incident"] == first["incident"], "the case is still known"
    after = world.cli.history()
    assert {row["entry_id"] for row in before} < {row["entry_id"] for row in after}, "the journal still had them"
    told = world.cli.run("verify", "--json").expect(7).json
    assert "its database was gone" in told["chains"][0]["problems"][0], "and nobody can delete it unnoticed"


def test_a_corrupt_journal_does_not_stop_off(make_world: MakeWorld) -> None:
    world = make_world("v1")
    world.cli.run("disable", "sm").expect(0)
    corrupt(world.cli.journal)
    world.cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url) == 0
    assert nothing_twice(world.cli).count("off_proven") == 2


def test_a_corrupt_ledger_is_set_aside_never_deleted_and_the_record_goes_on(make_world: MakeWorld) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    broken = b"this is no database at all" * 400
    world.cli.ledger.write_bytes(broken)
    done = world.cli.run("disable", "sm").expect(0)
    warned(done)
    assert served(world.flipt.url) == 0
    assert "off_proven" in nothing_twice(world.cli)
    aside = [path for path in world.cli.folder.iterdir() if path.is_file() and path.read_bytes() == broken]
    assert aside, "what was corrupt is kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to what is read-only")
def test_read_only_files_do_not_stop_off(make_world: MakeWorld) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    world.cli.journal.chmod(0o400)
    world.cli.ledger.chmod(0o400)
    warned(world.cli.run("disable", "sm").expect(0))


@pytest.mark.slow
def test_on_a_full_disk_off_is_off_and_what_was_reserved_keeps_it(make_world: MakeWorld) -> None:
    world = make_world("v2")
    with small_disk(world.folder / "disk", kilobytes=1024) as disk:
        cli = Cli(disk / "first", world.flipt.url, world.cli.policies, world.cli.settings)
        cli.run("disable", "sm").expect(0)
        filler = disk / "filler"
        fill(filler)
        done = cli.run("disable", "sm").expect(0)
        assert served(world.flipt.url) == 0
        filler.unlink()
        cli.run("note", "sm", "there is room again").expect(0)
        names = nothing_twice(cli)
        assert names.count("off_written") == 2, f"the reserve took it: {done.err}"


@pytest.mark.slow
def test_on_a_disk_that_was_full_from_the_beginning_off_is_off(make_world: MakeWorld) -> None:
    world = make_world("v1")
    with small_disk(world.folder / "disk", kilobytes=256) as disk:
        cli = Cli(disk / "first", world.flipt.url, world.cli.policies, world.cli.settings)
        fill(disk / "filler")
        done = cli.run("disable", "sm").expect(0)
        warned(done)
        assert served(world.flipt.url) == 0


@pytest.mark.slow
def test_on_a_disk_that_became_read_only_off_is_off_and_afterwards_the_record_goes_on(make_world: MakeWorld) -> None:
    """What an operating system does with a disk that has errors."""
    world = make_world("v2")
    with small_disk(world.folder / "disk", kilobytes=1024) as disk:
        cli = Cli(disk / "first", world.flipt.url, world.cli.policies, world.cli.settings)
        first = cli.run("disable", "sm", "--json").expect(0).json
        remount(disk, "ro")
        done = cli.run("disable", "sm").expect(0)
        warned(done)
        assert "lower_exposure" in done.err, "the intent itself, as the last resort"
        assert first["incident"] in done.out, "the case is still known"
        assert len(world.flag["rollouts"]) == 4, "two kills, and the two of the team"
        refused = cli.run("enable", "sm", "--reason", "x", "--fix", "c0ffee1", "--json").expect(8)
        assert refused.json["error"]["code"] == "history_unwritable"
        assert served(world.flipt.url) == 0
        remount(disk, "rw")
        cli.run("note", "sm", "it can be written again").expect(0)
        assert nothing_twice(cli)[-1] == "note_added"


def remount(folder: Path, mode: str) -> None:
    """Makes the disk read-only (`ro`) or writable (`rw`)."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, *, kilobytes: int) -> Iterator[Path]:
    """A disk of this size. Skips where mounting is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the program mount")
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes until not one byte more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


# -- the way back refuses ------------------------------------------------------------------------------------------


CI = ("ci", "sm", "--fix", "abc1234", "--unwatched", "x")


@pytest.mark.parametrize("words", [("enable", "sm", "--reason", "x"), CI], ids=" ".join)
def test_a_return_refuses_with_exit_8_and_raises_nothing(make_world: MakeWorld, words: tuple[str, ...]) -> None:
    world = make_world("v2")
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("fix", "sm", "abc1234").expect(0)
    world.mend()
    before = world.flag
    with journal_is_a_folder(world.cli):
        done = world.cli.run(*words, "--json").expect(8)
        assert done.json["error"]["code"] == "history_unwritable"
        assert done.json["error"]["next"]
    assert world.flag == before
    world.cli.run(*words).expect(0)
    assert served(world.flipt.url) > 0


@pytest.mark.slow
def test_a_journal_that_breaks_in_the_middle_of_a_return_ends_it_in_off(make_world: MakeWorld) -> None:
    world = make_world("v2")
    write_policies(world.cli.policies, soak="2s")
    world.cli.run("disable", "sm").expect(0)
    world.mend()
    running = world.cli.start("enable", "sm", "--reason", "x")
    running.said("step 10 %")
    with journal_is_a_folder(world.cli):
        done = running.result()
        assert served(world.flipt.url) == 0, f"what cannot be recorded goes down: {done.all}"
        assert "was disabled again" not in done.all
        done.expect(8)
