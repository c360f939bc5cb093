"""Disks that hang, are full or read-only, and ledgers that are locked, corrupt or gone: no kill waits for them."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollback.errors import HistoryUnwritable
from rollback.journal import Journal
from tests.ledgers.disks import fill, make_read_only, small_disk
from tests.ledgers.entries import a_transition, an_entry
from tests.ledgers.place import Place, ids

SM = "secure-messaging"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def hanging(place: Place) -> Iterator[tuple[Journal, threading.Event]]:
    released = threading.Event()

    def sync(fd: int) -> None:
        released.wait(30)
        os.fdatasync(fd)

    Journal(place.journal).append(a_transition(0, "verifying"))
    yield Journal(place.journal, sync=sync), released
    released.set()


def test_a_disk_that_hangs_holds_up_a_kill_only_as_long_as_the_patience(
    place: Place, hanging: tuple[Journal, threading.Event]
) -> None:
    journal, released = hanging
    history = place.history(journal, patience=0.05)
    started = time.monotonic()
    for number in (1, 2, 3):
        history.record(a_transition(number, "disabling"))
    assert time.monotonic() - started < 2  # only the first of them waits at all
    assert len(place.fallen) == 3
    assert "did not answer within 0.05 s" in place.said[0]
    assert history.latest(SM).entry == a_transition(3, "disabling")
    assert history.latest(SM).uncertain
    with pytest.raises(HistoryUnwritable, match="does not answer"):
        history.record(an_entry(4), strict=True)
    assert "does not answer" in history.feed().trouble
    released.set()
    assert until(lambda: history.feed().ok)
    assert sorted(ids(history)) == ["e0", "e1", "e2", "e3"]


def until(condition: Callable[[], bool]) -> bool:
    """Waits for the other thread, at most ten seconds."""
    nobody = threading.Event()
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            return False
        nobody.wait(0.005)
    return True


def test_a_full_disk_costs_no_kill_and_no_entry(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        place = Place(disk)
        history = place.history(Journal(place.journal, reserve=0))
        history.record(an_entry(1))
        assert history.feed().ok
        fill(disk)
        for number in range(2, 60):
            history.record(an_entry(number))
        report = history.feed()
        assert not report.ok
        assert "disk is full" in report.trouble
        assert place.fallen != []
        (disk / "filler").unlink()
        report = history.feed()
        assert report.ok
        assert sorted(ids(history)) == sorted(f"e{number}" for number in range(1, 60))
        assert history.verify().ok


def test_on_a_read_only_disk_the_history_is_read_and_nothing_stops(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        place = Place(disk)
        place.history().record(a_transition(1, "disabled"))
        assert place.history().feed().ok
        make_read_only(disk)
        history = place.history()
        history.record(an_entry(2))
        assert "Read-only file system" in place.said[0]
        assert not history.feed().ok
        assert history.latest(SM) == (a_transition(1, "disabled"), False, "")
        assert ids(history) == ["e1", "e2"]


def test_a_locked_ledger_is_said_once_and_fed_when_it_is_free(place: Place) -> None:
    history = place.history()
    history.record(an_entry(1))
    assert history.feed().ok
    history.record(an_entry(2))
    holder = sqlite3.connect(place.database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        assert "is locked by another process" in history.feed().trouble
    assert len(place.said) == 1
    assert ids(history) == ["e1", "e2"]
    holder.execute("ROLLBACK")
    holder.close()
    assert history.feed().new == 1
    place.said.clear()
    history.record(an_entry(3))
    holder = sqlite3.connect(place.database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    history.feed()
    assert len(place.said) == 1  # it has worked in between, so it is news again
    holder.close()


def test_a_corrupt_ledger_is_replaced_and_everything_that_the_journal_has_is_in_the_new_one(place: Place) -> None:
    history = place.history()
    history.record(an_entry(1))
    assert history.feed().ok
    head = history.head_text(SM)
    place.database.write_bytes(b"garbage" * 1000)
    history.record(an_entry(2))
    report = history.feed()
    assert report.ok
    assert any("corrupt" in sentence for sentence in place.said)
    assert ids(history)[1:] == ["e1", "e2"]
    assert history.verify({SM: [head]}).ok
    assert len(list(place.folder.glob("rollback.db.corrupt-*"))) == 1


def test_a_deleted_ledger_does_not_verify_even_with_its_head_record_gone(place: Place) -> None:
    history = place.history()
    history.record(a_transition(1, "disabled"))
    for number in range(2, 14):
        history.record(an_entry(number, reason="x" * 100_000))
    assert history.feed().ok  # rotated, so the journal knows the heads
    for path in place.folder.glob("rollback.db*"):
        path.unlink()
    assert not history.verify().ok
    assert history.feed().ok
    assert not history.verify().ok
    assert any("starts anew" in sentence for sentence in place.said)


@pytest.mark.parametrize("trouble", ["locked", "corrupt", "gone", "a folder"])
def test_without_journal_and_with_a_ledger_in_trouble_it_says_that_it_does_not_know(place: Place, trouble: str) -> None:
    history = place.history()
    history.record(a_transition(1, "disabled"))
    assert history.feed().ok
    place.journal.unlink()
    holder = sqlite3.connect(place.database, isolation_level=None)
    if trouble == "locked":
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
    else:
        place.database.unlink()
    if trouble == "corrupt":
        place.database.write_bytes(b"garbage" * 1000)
    elif trouble == "a folder":
        place.database.mkdir()
    started = time.monotonic()
    latest = history.latest(SM)
    assert time.monotonic() - started < 0.5  # no lock is waited for; the rest is for a busy machine
    assert latest.entry is None
    assert latest.uncertain
    assert str(place.database) in latest.why
    holder.close()


def test_an_unreadable_journal_makes_the_ledgers_answer_uncertain(place: Place) -> None:
    history = place.history()
    history.record(a_transition(1, "disabled"))
    assert history.feed().ok
    place.journal.unlink()
    place.journal.mkdir()
    latest = history.latest(SM)
    assert latest.entry == a_transition(1, "disabled")
    assert latest.uncertain
    assert "cannot be read" in latest.why
    assert "cannot be read" in history.entries().trouble


def test_entries_of_a_changed_ledger_are_shown_as_far_as_they_are_entries(place: Place) -> None:
    history = place.history()
    for number in (1, 2):
        history.record(an_entry(number))
    assert history.feed().ok
    with sqlite3.connect(place.database) as connection:
        connection.execute("DROP TRIGGER entries_never_update")
        connection.execute("UPDATE entries SET body = 'nothing' WHERE sequence = 1")
    connection.close()
    assert ids(history) == ["e2"]
    assert not history.verify().ok


def test_an_error_that_nobody_thought_of_stops_no_kill(place: Place) -> None:
    def sync(_fd: int) -> None:
        raise LookupError("surprise")

    history = place.history(Journal(place.journal, sync=sync))
    history.record(an_entry(1))
    assert len(place.fallen) == 1
    assert "surprise" in place.said[0]
    with pytest.raises(HistoryUnwritable, match="surprise"):
        history.record(an_entry(2), strict=True)
    assert ids(history) == ["e1"]
