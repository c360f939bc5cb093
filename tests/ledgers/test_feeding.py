"""Feeding a journal that is being replaced, half written, damaged or of a newer program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollback.adapters.ledgers.feeding import feed
from rollback.adapters.ledgers.memory import MemoryLedger, MemoryTransaction
from rollback.adapters.ledgers.transaction import LedgerSetAside
from rollback.codec import entry_to_json
from rollback.journal import Journal
from rollback.journal_file import record_to_line
from tests.ledgers.entries import a_transition, an_entry


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "rollback.journal")


def ids(ledger: MemoryLedger) -> list[str]:
    return [row.entry_id for row in ledger.entries()]


def add(journal: Journal, data: bytes) -> None:
    with open(journal.path, "ab") as stream:
        stream.write(data)


def test_a_record_that_is_still_being_written_is_fed_when_it_is_whole(journal: Journal) -> None:
    ledger = MemoryLedger()
    record = b"\n" + record_to_line(entry_to_json(an_entry(2))) + b"\n"
    journal.append(an_entry(1))
    add(journal, record[:40])
    # A crash right before the replacement leaves this second name; the file itself is still in use.
    os.link(journal.path, f"{journal.path}.old-{journal.read().journal_id}")
    fed = feed(journal, ledger)
    assert (fed.new, fed.damaged, fed.warnings) == (1, [], [])
    assert journal.leftovers() == ()
    add(journal, record[40:])
    fed = feed(journal, ledger)
    assert (fed.new, fed.damaged) == (1, [])
    assert ids(ledger) == ["e1", "e2"]


def test_what_an_old_file_got_after_it_was_replaced_is_fed_before_it_goes(journal: Journal) -> None:
    ledger = MemoryLedger()
    journal.append(an_entry(1))
    feed(journal, ledger)
    journal.rotate()
    (old,) = journal.leftovers()
    with open(old, "ab") as stream:
        stream.write(b"\n" + record_to_line(entry_to_json(a_transition(2, "disabled"))) + b"\n")
        stream.write(b"\n" + record_to_line(entry_to_json(an_entry(3)))[:30])  # its writer appends it to the new one
    journal.append(an_entry(3))
    fed = feed(journal, ledger)
    assert ids(ledger) == ["e1", "e2", "e3"]
    assert len(fed.damaged) == 1
    assert journal.leftovers() == ()
    assert journal.latest("secure-messaging") == a_transition(2, "disabled")
    assert feed(journal, ledger).damaged == []


def test_nothing_of_a_newer_program_is_lost_or_passed_over(journal: Journal) -> None:
    ledger = MemoryLedger()
    journal.append(an_entry(1))
    add(journal, b"\n" + record_to_line({**entry_to_json(an_entry(2)), "v": 2}) + b"\n")
    journal.append(an_entry(3))
    for new in (1, 0):
        fed = feed(journal, ledger, rotate_at=10)
        assert fed.new == new
        assert "newer program" in fed.warnings[0]
    journal.rotate()
    feed(journal, ledger, rotate_at=10)
    (old,) = journal.leftovers()
    assert b'"v":2' in Path(old).read_bytes()


def test_an_old_file_that_cannot_be_read_holds_up_nothing_else(journal: Journal) -> None:
    ledger = MemoryLedger()
    journal.append(an_entry(1))
    os.mkdir(f"{journal.path}.old-00")
    fed = feed(journal, ledger)
    assert ids(ledger) == ["e1"]
    assert any("cannot be read" in warning for warning in fed.warnings)


def test_where_the_file_system_has_no_hard_links_the_journal_grows_and_says_so(tmp_path: Path) -> None:
    class WithoutLinks(Journal):
        def rotate(self) -> None:
            raise PermissionError(1, "Operation not permitted")

    ledger, journal = MemoryLedger(), WithoutLinks(tmp_path / "rollback.journal")
    journal.append(an_entry(1))
    fed = feed(journal, ledger, rotate_at=10)
    assert fed.new == 1
    assert "cannot be rotated: Operation not permitted" in fed.warnings[0]


def test_a_journal_that_was_put_back_from_a_copy_is_read_from_its_beginning(journal: Journal) -> None:
    ledger = MemoryLedger()
    journal.append(an_entry(1))
    copy = Path(journal.path).read_bytes()
    for number in range(2, 6):
        journal.append(an_entry(number))
    feed(journal, ledger)
    Path(journal.path).write_bytes(copy)
    journal.append(an_entry(6))
    fed = feed(journal, ledger)
    assert fed.new == 1
    assert "not as it was left" in fed.warnings[0]
    assert ids(ledger) == [f"e{number}" for number in range(1, 7)]


class SetAsideOnce(MemoryLedger):
    """Finds itself corrupt in the first transaction."""

    was_corrupt = False

    @contextmanager
    def writing(self) -> Iterator[MemoryTransaction]:
        with super().writing() as transaction:
            yield transaction
            if not self.was_corrupt:
                self.was_corrupt = True
                raise LedgerSetAside("the ledger was corrupt and has been set aside")


def test_a_ledger_that_is_set_aside_in_the_middle_is_fed_again_from_the_beginning(journal: Journal) -> None:
    ledger = SetAsideOnce()
    journal.append(an_entry(1))
    fed = feed(journal, ledger)
    assert fed.new == 1
    assert fed.warnings == ["the ledger was corrupt and has been set aside"]
    assert ids(ledger) == ["e1"]
