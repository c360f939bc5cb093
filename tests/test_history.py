"""The history takes everything, holds up nothing, and says once what is wrong."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollback.codec import entry_from_json
from rollback.core.history import Actor
from rollback.errors import ConfigurationError, HistoryUnwritable
from rollback.history import History, last_resort
from rollback.journal import Journal
from tests.ledgers.disks import fill, make_read_only, small_disk
from tests.ledgers.entries import a_transition, an_entry

SM = "secure-messaging"


class Place:
    """A folder with a history, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.fallen: list[str] = []
        self.journal = folder / "rollback.journal"
        self.database = folder / "rollback.db"

    def history(self, journal: Journal | None = None, *, url: str = "", patience: float = 5.0) -> History:
        return History(
            self.journal,
            url or f"sqlite:///{self.database}",
            self.said.append,
            journal=journal,
            patience=patience,
            fallback=self.fallen.append,
        )

    def without_database(self) -> None:
        for path in self.folder.glob("rollback.db*"):
            if path.suffix != ".head":
                path.unlink()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def ids(history: History, feature: str | None = None) -> list[str]:
    return [entry.entry_id for entry in history.entries(feature).entries]


def broken(path: Path) -> Journal:
    def sync(fd: int) -> None:
        raise OSError(5, "Input/output error")

    return Journal(path, sync=sync)


def test_what_is_recorded_is_there_before_and_after_it_is_fed(place: Place) -> None:
    history = place.history()
    history.record(an_entry(1))
    history.record(an_entry(2, feature="appointments"))
    assert ids(history) == ["e1", "e2"]
    assert [entry.entry_id for entry in history.entries().pending] == ["e1", "e2"]
    assert not place.database.exists()
    report = history.feed()
    assert (report.new, report.ok, report.warnings, report.damaged) == (2, True, (), ())
    assert ids(history, SM) == ["e1"]
    assert history.entries().pending == ()
    assert [row.sequence for row in history.entries(SM).rows] == [1]
    assert history.feed().new == 0
    assert place.said == []
    assert history.verify().ok


def test_looking_creates_no_file(place: Place) -> None:
    history = place.history()
    assert history.latest(SM) == (None, False, "")
    assert history.entries() == ((), (), "")
    assert history.head_text(SM) == ""
    assert history.verify().ok
    assert list(place.folder.iterdir()) == []


def test_an_entry_that_the_journal_does_not_take_goes_elsewhere_and_into_the_ledger_later(place: Place) -> None:
    history = place.history(broken(place.journal))
    history.record(a_transition(1, "disabling"))
    history.record(a_transition(2, "disabled"))
    assert [entry_from_json(json.loads(line)).entry_id for line in place.fallen] == ["e1", "e2"]
    (sentence,) = place.said
    assert "Input/output error" in sentence
    assert "standard error and syslog" in sentence
    assert history.latest(SM).entry == a_transition(2, "disabled")
    assert ids(history) == ["e1", "e2"]
    assert history.feed().ok
    assert [row.entry_id for row in history.entries().rows] == ["e1", "e2"]
    assert history.feed().new == 0


def test_strict_recording_raises_before_anything_is_raised(place: Place) -> None:
    with pytest.raises(HistoryUnwritable, match="Input/output error") as caught:
        place.history(broken(place.journal)).record(an_entry(1), strict=True)
    assert caught.value.exit_code == 8
    assert place.fallen == []
    assert place.said == []
    with pytest.raises(ConfigurationError, match="only sqlite"):
        place.history(url="postgresql://x/y").record(an_entry(1), strict=True)


def test_a_wrong_ledger_url_stops_no_kill_and_is_said_once(place: Place) -> None:
    history = place.history(url="postgresql://user:geheim@db/history")
    history.record(a_transition(1, "disabling"))
    assert history.latest(SM).entry == a_transition(1, "disabling")
    for _ in range(3):
        report = history.feed()
        assert not report.ok
        assert "only sqlite is built in so far" in report.trouble
    assert len(place.said) == 1
    assert "geheim" not in place.said[0]
    assert history.latest("appointments").uncertain
    assert ids(history) == ["e1"]
    assert "only sqlite" in history.entries().trouble
    assert history.head_text(SM) == ""


def test_an_entry_that_cannot_be_written_as_it_is_is_repaired_and_written(place: Place) -> None:
    history = place.history()
    odd = an_entry(1, reason="caf\udce9", actor=Actor("\udcff"), data={"rate": float("nan"), "kept": 1})
    history.record(odd)
    (entry,) = history.entries().pending
    assert (entry.reason, entry.data["rate"], entry.data["kept"]) == ("caf?", "nan", 1)
    assert place.fallen == []
    assert "repaired" in place.said[0]
    assert history.feed().ok


def test_a_warning_that_fails_itself_holds_up_nothing(place: Place) -> None:
    def warn(sentence: str) -> None:
        raise BrokenPipeError(sentence)

    def fallback(line: str) -> None:
        raise ValueError(line)

    history = History(place.journal, "sqlite:///x", warn, journal=broken(place.journal), fallback=fallback)
    history.record(an_entry(1))
    assert ids(history) == ["e1"]


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
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_the_last_resort_writes_the_line_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    last_resort('{"entry_id":"e1"}')
    captured = capsys.readouterr()
    assert '{"entry_id":"e1"}' in captured.err
    assert captured.out == ""


def test_the_last_resort_survives_a_closed_standard_error(tmp_path: Path) -> None:
    code = "import os, sys; os.close(2); from rollback.history import last_resort; last_resort('x'); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"


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


def test_a_journal_beyond_its_size_is_rotated_and_the_images_go_with_it(place: Place) -> None:
    history = place.history()
    history.record(a_transition(1, "disabled"))
    for number in range(2, 14):
        history.record(an_entry(number, feature="appointments", reason="x" * 100_000))
    assert history.feed().ok
    assert history.journal.size() < 10_000
    assert history.journal.leftovers() == ()
    place.without_database()
    assert history.latest(SM) == (a_transition(1, "disabled"), False, "")
    assert history.journal.read().heads[SM]["sequence"] == 1


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_journal_that_is_deleted_or_replaced_is_fed_from_its_beginning(place: Place, how: str) -> None:
    history = place.history()
    for number in range(5):
        history.record(an_entry(number))
    assert history.feed().new == 5
    place.journal.unlink()
    if how == "replaced":
        other = Journal(place.folder / "other")
        other.append(an_entry(3))
        other.append(an_entry(10))
        os.replace(other.path, place.journal)
    history.record(an_entry(11))
    assert history.feed().new == (2 if how == "replaced" else 1)
    assert place.said == []
    assert history.verify().ok


def test_a_damaged_record_is_reported_once_and_costs_no_other(place: Place) -> None:
    history = place.history()
    for number in (1, 2, 3):
        history.record(an_entry(number, reason=f"reason {number}"))
    place.journal.write_bytes(place.journal.read_bytes().replace(b"reason 2", b"reason X"))
    report = history.feed()
    assert report.ok
    assert (report.new, len(report.damaged)) == (2, 1)
    assert "checksum" in place.said[0]
    assert history.feed().damaged == ()
    assert len(place.said) == 1
    assert ids(history) == ["e1", "e3"]


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


def test_the_latest_image_comes_from_the_ledger_when_the_journal_has_none(place: Place) -> None:
    history = place.history()
    history.record(a_transition(1, "disabling", epoch=2))
    history.record(a_transition(2, "ramping", epoch=1))
    assert history.latest(SM).entry == a_transition(1, "disabling", epoch=2)
    assert history.feed().ok
    place.journal.unlink()
    assert history.latest(SM) == (a_transition(1, "disabling", epoch=2), False, "")
    assert history.latest("appointments") == (None, False, "")


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


def test_the_head_for_a_marker_is_the_ledgers_and_needs_no_database(place: Place) -> None:
    history = place.history()
    history.record(an_entry(1))
    assert history.head_text(SM) == ""
    assert history.feed().ok
    head = history.head_text(SM)
    assert head == history.entries(SM).rows[-1].hash[:12]
    place.without_database()
    assert history.head_text(SM) == head
    (chain,) = history.verify({SM: [head]}).chains
    assert not chain.ok


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


def test_the_kill_path_loads_neither_a_database_nor_anything_from_elsewhere() -> None:
    code = (
        "import sys; before = set(sys.modules); import rollback.codec, rollback.journal, rollback.history;"
        "rollback.history.History('j', 'sqlite:///l.db', print);"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new), [n for n in ('sqlite3', 'ctypes', 'threading', 'hashlib', 'logging') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['rollback'] []\n", "")
