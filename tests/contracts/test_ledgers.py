"""What every ledger promises, the real one and the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.adapters.ledgers.canonical import GENESIS
from rollback.adapters.ledgers.memory import MemoryLedger
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.ledgers.verify import verify
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import Position
from tests.ledgers.entries import an_entry, entries

Ledgers = Callable[[], Any]


@pytest.fixture(params=["memory", "sqlite"])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledgers]:
    """Makes an empty ledger at each call."""
    opened: list[Any] = []

    def make() -> Any:
        number = len(opened)
        opened.append(
            MemoryLedger() if request.param == "memory" else SqliteLedger(f"sqlite:///{tmp_path}/{number}.db")
        )
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def ids(ledger: Any, feature: str | None = None) -> list[str]:
    return [row.entry_id for row in ledger.entries(feature)]


def test_an_empty_ledger_has_no_entries_and_no_head(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    assert list(ledger.entries()) == []
    assert list(ledger.entries("secure-messaging")) == []
    assert ledger.head("secure-messaging") is None


def test_entries_come_back_whole_and_in_the_order_in_which_they_came(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    given_entries = [an_entry(2), an_entry(1, feature="appointments"), an_entry(3)]
    assert ledger.append(given_entries) == 3
    assert [row.entry for row in ledger.entries()] == given_entries
    assert ids(ledger, "secure-messaging") == ["e2", "e3"]
    assert ids(ledger, "appointments") == ["e1"]


def test_each_entry_is_kept_once_as_it_was_first_written(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    assert ledger.append([an_entry(1), an_entry(1)]) == 1
    assert ledger.append([an_entry(1, reason="another text"), an_entry(2)]) == 1
    assert [row.entry for row in ledger.entries()] == [an_entry(1), an_entry(2)]
    assert ledger.append([]) == 0


def test_each_feature_has_a_chain_of_its_own(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    ledger.append([an_entry(1), an_entry(2, feature="appointments"), an_entry(3)])
    ledger.append([an_entry(4)])
    for feature, length in (("secure-messaging", 3), ("appointments", 1)):
        rows = list(ledger.entries(feature))
        assert [row.sequence for row in rows] == list(range(1, length + 1))
        assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
        head = ledger.head(feature)
        assert (head.feature, head.sequence, head.hash) == (feature, length, rows[-1].hash)
    assert verify(ledger.entries()).ok


def test_an_append_that_fails_in_the_middle_leaves_nothing(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    ledger.append([an_entry(1)])

    def broken() -> Iterator[Entry]:
        yield an_entry(2)
        raise RuntimeError("the journal's disk is gone")

    with pytest.raises(RuntimeError, match="disk is gone"):
        ledger.append(broken())
    with pytest.raises(ValueError, match="data"):
        ledger.append([an_entry(3), an_entry(4, data={"rate": float("nan")})])
    assert ids(ledger) == ["e1"]
    assert ledger.append([an_entry(2)]) == 1


def test_position_and_entries_are_one_transaction(new_ledger: Ledgers) -> None:
    ledger = new_ledger()
    with ledger.writing() as transaction:
        assert transaction.position("j1") is None
        assert transaction.append([an_entry(1)]) == 1
        transaction.place(Position("j1", 100, 7))
        assert transaction.heads()["secure-messaging"]["sequence"] == 1

    def half_done() -> None:
        with ledger.writing() as transaction:
            transaction.append([an_entry(2)])
            transaction.place(Position("j1", 200, 8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    with ledger.writing() as transaction:
        assert transaction.position("j1") == Position("j1", 100, 7)
        assert transaction.position("j2") is None
        transaction.place(Position("j1", 300, 9))
        assert transaction.position("j1") == Position("j1", 300, 9)
    assert ids(ledger) == ["e1"]


def test_a_second_writer_is_refused_and_not_kept_waiting(tmp_path: Path) -> None:
    first, second = (SqliteLedger(tmp_path / "one.db") for _ in range(2))
    memory = MemoryLedger()
    for holder, other in ((first, second), (memory, memory)):
        with holder.writing() as transaction:
            transaction.append([an_entry(1)])
            with pytest.raises(HistoryUnwritable, match="locked"):
                other.append([an_entry(2)])
        with holder.writing(), pytest.raises(HistoryUnwritable, match="locked"):  # from its very beginning
            other.append([an_entry(2)])
        assert other.append([an_entry(2)]) == 1
    first.close()
    second.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(entries, max_size=6))
def test_whatever_the_codec_takes_the_ledger_keeps_and_verifies(new_ledger: Ledgers, written: list[Entry]) -> None:
    ledger = new_ledger()
    unique = {entry.entry_id: entry for entry in reversed(written)}
    assert ledger.append(written) == len(unique)
    stored = {row.entry_id: row.entry for row in ledger.entries()}
    assert stored == unique
    assert verify(ledger.entries()).ok
