"""The state database: ours alone, on the disk, and clear about what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.state_db import APPLICATION_ID, StateDatabase
from rollback.adapters.state_db_trouble import set_aside
from rollback.errors import HistoryUnwritable
from tests.inboxes.databases import damage, held_by_another_process, start
from tests.inboxes.deliveries import NOON
from tests.ledgers.disks import fill, make_read_only, small_disk
from tests.ledgers.entries import an_entry

NOTES = (("CREATE TABLE notes (text TEXT NOT NULL UNIQUE)",),)
Open = Callable[..., StateDatabase]
TURNS = 40
MAKER = f"""
import pathlib, sys
from rollback.adapters.state_db import StateDatabase
from rollback.errors import HistoryUnwritable
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
for turn in range({TURNS}):
    database = StateDatabase(folder / f"{{turn}}.db", "notes", {NOTES!r}, lock_timeout=60.0)
    (folder / f"{{turn}}-{{name}}").touch()
    while not all((folder / f"{{turn}}-{{other}}").exists() for other in "abc"):
        pass
    try:
        database.write(lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (name,)))
    except HistoryUnwritable as error:
        print(error)  # and go on, or the others would wait for ever
    database.close()
print("made")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollback.state.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the database, with a table of notes unless told otherwise; closes all at the end."""
    made: list[StateDatabase] = []

    def make(
        component: str = "notes", migrations: tuple[tuple[str, ...], ...] = NOTES, **options: object
    ) -> StateDatabase:
        place = options.pop("at", path)
        made.append(StateDatabase(place, component, migrations, now=lambda: NOON, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for database in made:
        database.close()
        database.close()


def note(database: StateDatabase, text: str, **options: bool) -> None:
    database.write(lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (text,)), **options)


def notes(database: StateDatabase) -> list[str]:
    rows = database.read(lambda connection: connection.execute("SELECT text FROM notes ORDER BY rowid").fetchall())
    return [text for (text,) in rows]


def pragma(database: StateDatabase, name: str, *, synced: bool = True) -> object:
    return database.write(lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0], synced=synced)


def test_the_file_is_ours_alone_and_nobody_else_can_read_it(opened: Open, path: Path) -> None:
    database = opened()
    note(database, "a")
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)
    assert pragma(database, "application_id") == APPLICATION_ID
    assert pragma(database, "journal_mode") == "wal"


def test_what_must_last_is_synced_and_the_rest_need_not_be(opened: Open) -> None:
    database = opened()
    full, normal = 2, 1
    assert pragma(database, "synchronous") == full
    assert pragma(database, "synchronous", synced=False) == normal
    assert pragma(database, "synchronous") == full


def test_a_transaction_that_fails_is_undone_and_the_next_one_works(opened: Open) -> None:
    database = opened()

    def half_done(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        raise KeyError("half")

    with pytest.raises(KeyError):
        database.write(half_done)
    note(database, "a")
    with pytest.raises(HistoryUnwritable, match=r"cannot be used: UNIQUE constraint failed: notes\.text"):
        note(database, "a")
    note(database, "b")
    assert notes(database) == ["a", "b"]
    assert database.warnings == []


def test_components_share_the_file_and_know_nothing_of_one_another(opened: Open) -> None:
    first, second = opened(), opened("marks", (("CREATE TABLE marks (at TEXT)",),))
    note(first, "a")
    second.write(lambda connection: connection.execute("INSERT INTO marks VALUES ('b')"))
    note(first, "c")
    assert notes(opened()) == ["a", "c"]
    assert first.read(lambda c: c.execute("SELECT name, version FROM components ORDER BY name").fetchall()) == [
        ("marks", 1),
        ("notes", 1),
    ]


def test_processes_that_make_the_same_database_at_once_do_not_lock_one_another_out(
    opened: Open, tmp_path: Path
) -> None:
    makers = [start(MAKER, tmp_path, name) for name in "abc"]
    assert [maker.communicate(timeout=120)[0] for maker in makers] == ["made\n"] * 3
    for turn in range(TURNS):
        assert sorted(notes(opened(at=tmp_path / f"{turn}.db"))) == ["a", "b", "c"]


def test_steps_that_are_new_are_done_once_and_nothing_is_lost(opened: Open) -> None:
    old = opened()
    note(old, "a")
    two_steps = (*NOTES, ("ALTER TABLE notes ADD COLUMN by TEXT DEFAULT 'nobody'",))
    new = opened("notes", two_steps)
    query = "SELECT text, by FROM notes"
    assert new.read(lambda connection: connection.execute(query).fetchall()) == [("a", "nobody")]
    assert notes(opened("notes", two_steps)) == ["a"]
    with pytest.raises(HistoryUnwritable, match="changed by another version") as caught:
        note(old, "written by the old program while the new one runs")
    assert caught.value.next
    assert notes(new) == ["a"]


def test_a_database_of_a_newer_program_is_refused_and_left_alone(opened: Open, path: Path) -> None:
    note(opened("notes", (*NOTES, ("CREATE TABLE more (x)",))), "a")
    with pytest.raises(
        HistoryUnwritable, match=r"newer version.*notes has schema 2, this version knows up to 1"
    ) as caught:
        notes(opened())
    assert "update" in caught.value.next
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(HistoryUnwritable, match=r"newer version"):
        notes(opened("notes", (*NOTES, ("CREATE TABLE more (x)",))))


def test_a_database_of_another_program_is_refused_and_left_alone(opened: Open, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    before = path.read_bytes()
    database = opened()
    with pytest.raises(HistoryUnwritable, match="a database of another program") as caught:
        note(database, "a")
    assert caught.value.next == "name another file"
    with pytest.raises(HistoryUnwritable, match="a database of another program"):
        notes(database)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_ledger_is_another_programs_database(opened: Open, path: Path) -> None:
    with closing(SqliteLedger(path)) as ledger:
        ledger.append([an_entry(1)])
    with pytest.raises(HistoryUnwritable, match="a database of another program"):
        note(opened(), "a")
    with closing(SqliteLedger(path)) as ledger:
        assert len(list(ledger.entries())) == 1


def test_a_lock_of_another_process_is_waited_for_and_then_said(opened: Open, path: Path) -> None:
    note(opened(), "a")
    with held_by_another_process(path):
        impatient = opened(lock_timeout=0.02)
        assert notes(impatient) == ["a"]  # readers wait for no writer
        with pytest.raises(HistoryUnwritable, match=r"rollback\.state\.db is locked by another process") as caught:
            note(impatient, "b")
        assert "nothing was kept" in caught.value.next
        started = time.monotonic()
        with pytest.raises(HistoryUnwritable, match="locked"):
            opened(lock_timeout=60.0).write(lambda connection: connection.execute("SELECT 1"), wait=0.0)
        assert time.monotonic() - started < 30.0
    note(impatient, "c")
    assert notes(impatient) == ["a", "c"]


def test_a_full_disk_is_said_and_nothing_is_half_done(opened: Open, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        database = opened(at=disk / "state.db")
        note(database, "a")
        fill(disk)

        def note_until_full() -> None:
            for number in range(500):
                note(database, f"{number}" + "x" * 4000)

        with pytest.raises(HistoryUnwritable, match="disk is full") as caught:
            note_until_full()
        assert "make room" in caught.value.next
        kept = notes(database)
        (disk / "filler").unlink()
        note(database, "b")
        assert notes(database) == [*kept, "b"]
        assert len(kept) < 500
        assert database.warnings == []
        database.close()


def test_a_read_only_disk_is_said(opened: Open, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        first = opened(at=disk / "state.db")
        note(first, "a")
        first.close()
        make_read_only(disk)
        with pytest.raises(HistoryUnwritable, match=r"state\.db is read-only|cannot be opened"):
            note(opened(at=disk / "state.db"), "b")
        with pytest.raises(HistoryUnwritable, match=r"new\.db cannot be created: Read-only file system") as caught:
            note(opened(at=disk / "new.db"), "b")
        assert "writable" in caught.value.next


def test_a_folder_that_is_not_there_is_said(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(HistoryUnwritable, match="cannot be created: No such file or directory"):
        note(opened(at=tmp_path / "missing" / "state.db"), "a")


@pytest.mark.parametrize("how", ["not a database", "every page", "cut in half"])
def test_a_corrupt_database_is_set_aside_whole_and_told_of_and_a_new_one_begins(
    opened: Open, path: Path, how: str
) -> None:
    first = opened()
    for number in range(60):
        note(first, f"{number}" + "x" * 200)
    first.close()
    corrupt = damage(path, how)
    told: list[str] = []
    database = opened(report=told.append)
    note(database, "new")
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.name == "rollback.state.db.corrupt-20261123T120000Z"
    assert aside.read_bytes() == corrupt
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert notes(database) == ["new"]
    assert told == database.warnings
    assert len(told) == 1
    assert os.fspath(aside) in told[0]
    assert "alerts that waited in it" in told[0]


def test_whoever_is_told_may_use_the_database(opened: Open, path: Path) -> None:
    path.write_bytes(b"garbage" * 2000)
    made: list[StateDatabase] = []
    made.append(opened(report=lambda sentence: note(made[0], sentence[:18])))
    note(made[0], "a")
    assert notes(made[0]) == ["a", "the state database"]


def test_two_corrupt_databases_in_one_second_are_both_kept(opened: Open, path: Path) -> None:
    for _ in range(2):
        path.write_bytes(b"garbage" * 2000)
        database = opened()
        note(database, "a")
        database.close()
    assert len(list(path.parent.glob("*.corrupt-*"))) == 2


def test_others_who_have_the_database_open_follow_to_the_new_one(opened: Open, path: Path) -> None:
    finder, other = opened(), opened()
    note(finder, "old")
    assert notes(other) == ["old"]
    state = path.stat()
    assert set_aside(os.fspath(path), (state.st_dev, state.st_ino), NOON)
    note(other, "a")
    note(finder, "b")
    assert notes(other) == notes(finder) == ["a", "b"]
    assert other.warnings == finder.warnings == []


def test_what_was_written_while_the_file_was_set_aside_is_written_again(opened: Open, path: Path) -> None:
    database = opened()
    note(database, "old")
    state = path.stat()
    calls = []

    def work(connection: sqlite3.Connection) -> None:
        calls.append(1)
        connection.execute("INSERT INTO notes VALUES ('a')")
        if len(calls) == 1:  # another process finds it corrupt just now
            set_aside(os.fspath(path), (state.st_dev, state.st_ino), NOON)

    database.write(work)
    assert len(calls) == 2
    assert notes(database) == ["a"]
    assert notes(opened()) == ["a"]


def test_a_file_that_goes_away_each_time_is_given_up(opened: Open, path: Path) -> None:
    database = opened()

    def work(_connection: sqlite3.Connection) -> None:
        for each in path.parent.iterdir():
            each.unlink()

    with pytest.raises(HistoryUnwritable, match="again and again"):
        database.write(work)
    note(database, "a")
    assert notes(database) == ["a"]


def test_a_database_that_another_process_has_replaced_already_is_not_set_aside(opened: Open, path: Path) -> None:
    note(opened(), "a")
    state = path.stat()
    assert set_aside(os.fspath(path), (state.st_dev, state.st_ino + 1), NOON) == ""
    assert set_aside(f"{path}.gone", (state.st_dev, state.st_ino), NOON) == ""
    assert notes(opened()) == ["a"]


def test_a_corrupt_database_that_cannot_be_moved_is_said_with_what_to_do(opened: Open, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "state.db"
        path.write_bytes(b"garbage" * 1000)
        state = path.stat()
        make_read_only(disk)
        with pytest.raises(HistoryUnwritable, match="is corrupt and cannot be set aside") as caught:
            set_aside(os.fspath(path), (state.st_dev, state.st_ino), NOON)
        assert "by hand" in caught.value.next
        with pytest.raises(HistoryUnwritable):
            note(opened(at=path), "a")


def test_after_closing_nothing_is_opened_again(opened: Open, path: Path) -> None:
    database = opened()
    note(database, "a")
    database.close()
    with pytest.raises(HistoryUnwritable, match="is closed"):
        notes(database)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert notes(opened()) == ["a"]
