"""A database that is locked, read-only, full, gone or corrupt: said quickly, nothing half done, nothing thrown away."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollback.adapters.ledgers.chains import CHAIN_STARTED
from rollback.adapters.ledgers.heads import read_heads
from rollback.adapters.ledgers.reading import read_rows
from rollback.adapters.ledgers.set_aside import set_aside
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.ledgers.transaction import LedgerSetAside
from rollback.adapters.ledgers.verify import verify
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import Position
from rollback.ports import Head
from tests.ledgers.disks import fill, make_read_only, small_disk
from tests.ledgers.entries import NOON, an_entry
from tests.ledgers.stores import store

SM = "secure-messaging"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollback.db"


def filled(path: Path, count: int = 3) -> SqliteLedger:
    """A closed ledger with that many entries."""
    ledger = SqliteLedger(path, now=lambda: NOON)
    ledger.append([an_entry(number) for number in range(1, count + 1)])
    ledger.close()
    return ledger


def ids(path: Path) -> list[str]:
    return [row.entry_id for row in SqliteLedger(path).entries()]


def append_until_full(ledger: SqliteLedger) -> int:
    """The number of the last entry that fitted."""
    for number in range(2, 2000):
        try:
            ledger.append([an_entry(number, reason="x" * 2000)])
        except HistoryUnwritable as error:
            if "disk is full" not in error.message:
                raise
            return number - 1
    raise AssertionError("the disk never became full")


@contextmanager
def locked_by_another_process(path: Path, statement: str) -> Iterator[None]:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for part in sys.argv[2].split(';'): c.execute(part).fetchall()\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, os.fspath(path), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.kill()


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "PRAGMA locking_mode = EXCLUSIVE;BEGIN EXCLUSIVE"])
def test_a_lock_of_another_process_is_said_at_once(path: Path, statement: str) -> None:
    filled(path)
    with locked_by_another_process(path, statement):
        started = time.monotonic()
        with pytest.raises(HistoryUnwritable, match=r"rollback\.db is locked by another process") as caught:
            store(path, [an_entry(4)])
        assert time.monotonic() - started < 0.5  # 20 ms of waiting; the rest is for a busy machine
        assert "nothing is lost" in caught.value.next
    assert store(path, [an_entry(4)]) == 1
    assert verify(SqliteLedger(path).entries()).ok


def test_a_lock_that_is_released_in_time_is_waited_for(path: Path) -> None:
    filled(path)
    with locked_by_another_process(path, "BEGIN IMMEDIATE"), pytest.raises(HistoryUnwritable):
        store(path, [an_entry(4)], lock_timeout=0.0)
    assert store(path, [an_entry(4)], lock_timeout=5.0) == 1


def test_a_read_only_disk_is_said_and_what_it_holds_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "rollback.db"
        filled(path)
        make_read_only(disk)
        with pytest.raises(HistoryUnwritable, match=r"rollback\.db is read-only|cannot be opened"):
            store(path, [an_entry(4)])
        with pytest.raises(HistoryUnwritable, match=r"new\.db cannot be created: Read-only file system"):
            store(disk / "new.db", [an_entry(4)])
        assert ids(path) == ["e1", "e2", "e3"]


def test_a_full_disk_is_said_and_nothing_is_half_done(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "rollback.db"
        filled(path)
        fill(disk)
        with pytest.raises(HistoryUnwritable, match="disk is full"):
            store(path, [an_entry(number, reason="x" * 4000) for number in range(4, 100)])
        (disk / "filler").unlink()
        assert ids(path) == ["e1", "e2", "e3"]
        ledger = SqliteLedger(path)
        assert ledger.append([an_entry(4)]) == 1
        ledger.close()
        assert verify(ledger.entries()).ok


def test_a_disk_that_fills_up_while_the_ledger_is_open_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "rollback.db"
        ledger = SqliteLedger(path)
        ledger.append([an_entry(1)])
        fill(disk)
        stored = append_until_full(ledger)
        (disk / "filler").unlink()
        assert ledger.append([an_entry(5000)]) == 1
        assert ids(path) == [*(f"e{number}" for number in range(1, stored + 1)), "e5000"]
        assert verify(ledger.entries()).ok
        ledger.close()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryUnwritable, match="cannot be created: No such file or directory"):
        store(tmp_path / "missing" / "rollback.db", [an_entry(1)])


def test_a_head_record_that_cannot_be_written_is_a_warning(path: Path) -> None:
    (path.parent / "rollback.db.head").mkdir()
    ledger = SqliteLedger(path)
    assert ledger.append([an_entry(1)]) == 1
    assert any("cannot be written" in warning for warning in ledger.warnings)
    ledger.close()
    assert ids(path) == ["e1"]


def test_a_head_record_that_is_garbage_is_said_and_written_anew(path: Path) -> None:
    filled(path)
    (path.parent / "rollback.db.head").write_text('{"heads": [')
    ledger = SqliteLedger(path)
    ledger.append([an_entry(4)])
    ledger.close()
    assert any("cannot be read" in warning for warning in ledger.warnings)
    assert read_heads(os.fspath(path))[SM]["sequence"] == 4


@pytest.mark.parametrize("while_open", [False, True])
def test_after_a_deletion_a_new_chain_names_the_old_head(path: Path, while_open: bool) -> None:
    ledger = filled(path)
    if while_open:
        ledger.append([an_entry(4)])
    old = read_heads(os.fspath(path))[SM]
    for name in path.parent.glob("rollback.db*"):
        if not name.name.endswith(".head"):
            name.unlink()
    if not while_open:
        ledger = SqliteLedger(path)
    assert ledger.append([an_entry(10)]) == 1
    ledger.close()
    first, second = SqliteLedger(path).entries()
    assert (first.name, first.sequence, second.entry_id) == (CHAIN_STARTED, 1, "e10")
    assert first.entry.data == {
        "old_head": old["hash"],
        "old_sequence": old["sequence"],
        "old_file": "",
        "because": "missing",
        "chain": 2,
    }
    assert read_heads(os.fspath(path))[SM]["chain"] == 2
    assert ledger.append([an_entry(11)]) == 1  # and the old head is no mismatch in the new chain
    ledger.close()
    assert ids(path)[1:] == ["e10", "e11"]


def test_with_the_head_record_gone_too_a_head_from_elsewhere_tells_of_the_deletion(path: Path) -> None:
    filled(path)
    old = read_heads(os.fspath(path))
    for name in path.parent.glob("rollback.db*"):
        name.unlink()
    ledger = SqliteLedger(path, known_heads=old)
    ledger.append([an_entry(10)])
    ledger.close()
    assert next(iter(ledger.entries())).entry.data["old_head"] == old[SM]["hash"]


def test_a_first_ledger_starts_no_second_chain(path: Path) -> None:
    assert [row.name for row in filled(path, 1).entries()] == ["lower_exposure"]


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


@pytest.mark.parametrize("damage", ["not a database", "every page", "cut in half"])
def test_a_corrupt_database_is_set_aside_and_a_new_chain_names_it(path: Path, damage: str) -> None:
    filled(path, 40)
    old = read_heads(os.fspath(path))[SM]
    if damage == "not a database":
        overwrite(path, 0, b"\0" * 100)
    elif damage == "every page":
        for page in range(1, path.stat().st_size // 4096):
            overwrite(path, page * 4096, b"\xff" * 4096)
    else:
        os.truncate(path, 4096 * 2)
    corrupt = path.read_bytes()
    ledger = SqliteLedger(path, now=lambda: NOON)
    assert ledger.append([an_entry(50)]) == 1
    ledger.close()
    (aside,) = path.parent.glob("rollback.db.corrupt-*")
    assert aside.name == "rollback.db.corrupt-20261123T120000Z"
    assert aside.read_bytes() == corrupt
    first, second = ledger.entries()
    assert first.entry.data["old_head"] == old["hash"]
    assert first.entry.data["because"] == "corrupt"
    assert first.entry.data["old_file"] == aside.name
    assert second.entry_id == "e50"
    found = verify(ledger.entries(), [Head(SM, old["sequence"], old["hash"])])
    assert found.ok
    assert aside.name in found.chains[0].notes[0]
    assert any("has been set aside" in warning for warning in ledger.warnings)


def test_damage_that_shows_in_the_middle_of_a_transaction_undoes_it_and_says_so(path: Path) -> None:
    filled(path, 40)
    ledger = SqliteLedger(path, now=lambda: NOON)

    def write() -> None:
        with ledger.writing() as transaction:
            transaction.place(Position("j1", 1, 1))
            raise sqlite_error()

    with pytest.raises(LedgerSetAside, match="was corrupt"):
        write()
    assert len(list(path.parent.glob("rollback.db.corrupt-*"))) == 1
    assert ledger.append([an_entry(50)]) == 1
    ledger.close()


def sqlite_error() -> sqlite3.Error:
    """What SQLite raises for a malformed page: real, from a real file."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET rootpage = 99")
    connection.execute("PRAGMA writable_schema = RESET")
    try:
        connection.execute("SELECT * FROM t").fetchall()
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("SQLite did not mind")


def test_two_corrupt_databases_in_one_second_are_both_kept(path: Path) -> None:
    for _ in range(2):
        filled(path)
        for name in path.parent.glob("rollback.db-*"):
            name.unlink()
        path.write_bytes(b"garbage" * 1000)
        store(path, [an_entry(9)], now=lambda: NOON)
    assert len(list(path.parent.glob("rollback.db.corrupt-*"))) == 2


def test_a_database_that_another_process_has_replaced_already_is_not_set_aside(path: Path) -> None:
    filled(path)
    state = path.stat()
    assert set_aside(os.fspath(path), (state.st_dev, state.st_ino + 1), NOON) == ""
    assert ids(path) == ["e1", "e2", "e3"]
    assert set_aside(f"{path}.gone", (state.st_dev, state.st_ino), NOON) == ""
    assert set_aside(os.fspath(path), (state.st_dev, state.st_ino), NOON).endswith(".corrupt-20261123T120000Z")
    assert ids(path) == []


def test_a_corrupt_database_that_cannot_be_moved_is_said_with_what_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "rollback.db"
        path.write_bytes(b"garbage" * 1000)
        state = path.stat()
        make_read_only(disk)
        with pytest.raises(HistoryUnwritable, match="is corrupt and cannot be set aside") as caught:
            set_aside(os.fspath(path), (state.st_dev, state.st_ino), NOON)
        assert "by hand" in caught.value.next


def test_what_lies_beside_a_corrupt_database_goes_with_it(path: Path) -> None:
    filled(path)
    with locked_by_another_process(path, "SELECT count(*) FROM entries"):  # open, not locked
        overwrite(path, 0, b"\0" * 100)
        os.truncate(path.parent / "rollback.db-wal", 0)
        (path.parent / "rollback.db-wal").write_bytes(b"the last words")
        ledger = SqliteLedger(path, now=lambda: NOON)
        ledger.append([an_entry(9)])
        ledger.close()
        assert (path.parent / "rollback.db.corrupt-20261123T120000Z-wal").read_bytes() == b"the last words"
    assert ids(path)[-1] == "e9"


def test_random_damage_is_said_or_set_aside_or_seen_by_verify_and_never_just_lost(path: Path) -> None:
    entries = [an_entry(number, reason="r" * 200) for number in range(1, 60)]
    store(path, entries)
    whole = path.read_bytes()
    outcomes = []
    for offset in range(0, len(whole), 1511):
        for name in path.parent.glob("rollback.db*"):
            name.unlink()
        path.write_bytes(whole[:offset] + b"\xa5" * 64 + whole[offset + 64 :])
        outcomes.append(fed_again(path, [*entries, an_entry(100)]))
    assert "lost" not in outcomes
    assert {"said", "set aside", "whole"} <= set(outcomes)


def fed_again(path: Path, entries: list[Entry]) -> str:
    """What becomes of a damaged ledger when everything that the journal has is fed to it again."""
    try:
        store(path, entries)
        rows = read_rows(os.fspath(path))
    except HistoryUnwritable:
        return "said"  # and the journal still has the entries
    if list(path.parent.glob("rollback.db.corrupt-*")):
        return "set aside" if {row.entry_id for row in rows} == {entry.entry_id for entry in entries} else "lost"
    if not verify(rows).ok:
        return "seen"
    return "whole" if {row.entry_id for row in rows} == {entry.entry_id for entry in entries} else "lost"


def test_an_end_that_was_cut_off_is_written_down_before_the_head_record_is_replaced(path: Path) -> None:
    filled(path, 5)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entries_never_delete")
        connection.execute("DELETE FROM entries WHERE sequence > 3")
    connection.close()
    ledger = SqliteLedger(path, now=lambda: NOON)
    ledger.append([an_entry(6)])
    ledger.append([an_entry(7)])
    ledger.close()
    assert ids(path) == ["e1", "e2", "e3", f"mismatch-{SM}-5-{ledger_hash(ledger)}", "e6", "e7"]
    (found,) = verify(ledger.entries()).chains
    assert "entry 5 was not the one of the head record" in found.problems[0]
    assert any("cut off or written anew" in warning for warning in ledger.warnings)


def ledger_hash(ledger: SqliteLedger) -> str:
    return str(list(ledger.entries())[3].entry.data["recorded"])[:12]
