"""The history takes everything, holds up nothing, and says once what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollback.codec import entry_from_json
from rollback.core.history import Actor
from rollback.errors import ConfigurationError, HistoryUnwritable
from rollback.history import History, last_resort
from rollback.journal import Journal
from tests.ledgers.entries import a_transition, an_entry
from tests.ledgers.place import Place, broken, ids

SM = "secure-messaging"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
    place.without_database()
    assert history.entries().pending == ()  # nothing is kept in memory any longer


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


def test_the_last_resort_writes_the_line_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    last_resort('{"entry_id":"e1"}')
    captured = capsys.readouterr()
    assert '{"entry_id":"e1"}' in captured.err
    assert captured.out == ""


def test_the_last_resort_survives_a_closed_standard_error() -> None:
    code = "import os, sys; os.close(2); from rollback.history import last_resort; last_resort('x'); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"


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


def test_the_latest_image_comes_from_the_ledger_when_the_journal_has_none(place: Place) -> None:
    history = place.history()
    history.record(a_transition(1, "disabling", epoch=2))
    history.record(a_transition(2, "ramping", epoch=1))
    assert history.latest(SM).entry == a_transition(1, "disabling", epoch=2)
    assert history.feed().ok
    place.journal.unlink()
    assert history.latest(SM) == (a_transition(1, "disabling", epoch=2), False, "")
    assert history.latest("appointments") == (None, False, "")


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


def test_the_kill_path_loads_neither_a_database_nor_anything_from_elsewhere() -> None:
    code = (
        "import sys; before = set(sys.modules); import rollback.codec, rollback.journal, rollback.history;"
        "rollback.history.History('j', 'sqlite:///l.db', print);"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new), [n for n in ('sqlite3', 'ctypes', 'threading', 'hashlib', 'logging') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['rollback'] []\n", "")
