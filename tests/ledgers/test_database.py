"""The database: where it is, its schema, who may read it, and that reading leaves no trace."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from rollback.adapters.ledgers.canonical import entry_from_body
from rollback.adapters.ledgers.heads import read_heads
from rollback.adapters.ledgers.location import database_path
from rollback.adapters.ledgers.migrations import APPLICATION_ID, MIGRATIONS, migrate
from rollback.adapters.ledgers.reading import read_rows, read_transitions
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.ledgers.verify import verify
from rollback.errors import ConfigurationError, HistoryUnwritable
from tests.ledgers.entries import a_transition, an_entry
from tests.ledgers.stores import store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollback.db"


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.path.realpath(tmp_path)
    assert database_path("sqlite:///rollback.db") == f"{here}/rollback.db"
    assert database_path("sqlite:///data/rollback.db") == f"{here}/data/rollback.db"
    assert database_path("sqlite:////var/lib/rollback.db") == os.path.realpath("/var/lib/rollback.db")
    assert database_path("rollback.db") == f"{here}/rollback.db"
    assert database_path("/odd:name/rollback.db") == "/odd:name/rollback.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://history:geheim@db.example.gov/rollback",
        "mysql:rollback",
        "sqlite:rollback.db",
        "sqlite://rollback.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////var/lib/",
        "",
    ],
)
def test_other_urls_are_refused_without_repeating_their_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ROLLBACK_LEDGER") as caught:
        SqliteLedger(url)
    assert "geheim" not in caught.value.message
    if "sql:" in url or "postgresql" in url:
        assert "only sqlite is built in so far" in caught.value.message


def test_database_and_head_record_are_for_their_owner_alone(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.append([an_entry(1)])
    for name in path.parent.iterdir():  # the files beside an open database, too
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name
    ledger.close()


def test_every_commit_is_synced_and_foreign_keys_are_kept(path: Path) -> None:
    ledger = SqliteLedger(path)
    with ledger.writing() as transaction:
        transaction.append([an_entry(1)])
        connection = transaction._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    ledger.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}'",
        "DELETE FROM entries",
        "UPDATE chains SET chain = 2",
        "DELETE FROM chains",
        "INSERT INTO entries SELECT NULL, feature, sequence, hash, previous, 'x', at, kind, name, incident, epoch, body"
        " FROM entries",
    ],
)
def test_the_database_itself_refuses_to_change_history(path: Path, statement: str) -> None:
    ledger = SqliteLedger(path)
    ledger.append([an_entry(1)])
    ledger.close()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


def test_a_newer_database_is_refused_unchanged_with_advice(path: Path) -> None:
    store(path, [an_entry(1)])
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HistoryUnwritable, match="this program knows schemas up to") as caught:
        store(path, [an_entry(2)])
    assert "update this program" in caught.value.next
    with pytest.raises(HistoryUnwritable, match="this program knows schemas up to"):
        read_rows(os.fspath(path))
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE invoices (total)")
    connection.close()
    with pytest.raises(HistoryUnwritable, match="another program"):
        store(path, [an_entry(1)])
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]
    connection.close()


def test_steps_are_applied_once_and_in_order(path: Path) -> None:
    later = (*MIGRATIONS, ("ALTER TABLE chains ADD COLUMN note TEXT",), ("UPDATE positions SET tail = 0",))
    connection = sqlite3.connect(path, isolation_level=None)
    assert migrate(connection, "rollback.db", MIGRATIONS) is True
    assert migrate(connection, "rollback.db", later) is False
    assert migrate(connection, "rollback.db", later) is False
    assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("SELECT note FROM chains").fetchall() == []
    connection.close()


def test_reading_a_closed_database_creates_nothing(path: Path) -> None:
    store(path, [an_entry(1), a_transition(2, "disabled")])
    before = sorted(path.parent.iterdir()), path.read_bytes()
    assert len(read_rows(os.fspath(path))) == 2
    assert read_transitions(os.fspath(path), "secure-messaging") == [a_transition(2, "disabled")]
    assert (sorted(path.parent.iterdir()), path.read_bytes()) == before


def test_reading_a_database_that_is_not_there_makes_none(path: Path) -> None:
    assert read_rows(os.fspath(path)) == []
    assert read_transitions(os.fspath(path), "secure-messaging") == []
    assert list(path.parent.iterdir()) == []


def test_reading_beside_an_open_writer_sees_what_is_committed(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.append([an_entry(1)])
    with ledger.writing() as transaction:
        transaction.append([an_entry(2)])
        assert [row.entry_id for row in read_rows(os.fspath(path))] == ["e1"]
    assert [row.entry_id for row in read_rows(os.fspath(path))] == ["e1", "e2"]
    ledger.close()


def test_a_path_with_the_signs_of_a_url_is_just_a_path(tmp_path: Path) -> None:
    path = tmp_path / "50% of?history#1.db"
    ledger = SqliteLedger(path)
    ledger.append([an_entry(1)])
    ledger.close()
    assert path.exists()
    assert len(read_rows(os.fspath(path))) == 1


def test_only_the_last_transitions_are_looked_up(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.append([a_transition(number, "ramping") for number in range(8)])
    ledger.close()
    found = read_transitions(os.fspath(path), "secure-messaging", limit=3)
    assert [entry.entry_id for entry in found] == ["e5", "e6", "e7"]


def test_whatever_somebody_puts_into_a_column_can_be_read_and_does_not_verify(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.append([an_entry(1), an_entry(2), an_entry(3)])
    ledger.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entries_never_update")
        connection.execute("UPDATE entries SET body = X'ff00ff', epoch = 'many', incident = 5 WHERE sequence = 1")
        connection.execute("UPDATE entries SET name = CAST(X'c3' AS TEXT) WHERE sequence = 2")
    connection.close()
    rows = read_rows(os.fspath(path))
    assert [row.sequence for row in rows] == [1, 2, 3]
    (found,) = verify(rows).chains
    assert [problem.split(":")[0] for problem in found.problems] == ["entry 1", "entry 2"]


@pytest.mark.parametrize(
    "text",
    ["[]", '{"heads": []}', '{"heads": {"sm": 5}}', '{"heads": {"sm": {"sequence": "1", "hash": "ab"}}}', "{", "\x00"],
)
def test_what_is_not_a_head_record_is_not_taken_for_one(path: Path, text: str) -> None:
    (path.parent / "rollback.db.head").write_text(text)
    with pytest.raises(ValueError, match=r"\w"):
        read_heads(os.fspath(path))


def test_a_body_without_end_is_no_entry() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        entry_from_body("[" * 100_000)
