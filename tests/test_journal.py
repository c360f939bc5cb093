"""The journal takes an intent whatever happens to the disk, and gives back what was written whole and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rollback.codec import entry_to_json
from rollback.errors import HistoryUnwritable
from rollback.journal import Journal
from rollback.journal_file import JournalFile, record_to_line
from tests.ledgers.disks import fill, small_disk
from tests.ledgers.entries import an_entry


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "rollback.journal")


def append_many(journal: Journal, numbers: range) -> None:
    for number in numbers:
        journal.append(an_entry(number))


def content(journal: Journal) -> bytes:
    return Path(journal.path).read_bytes()


def test_entries_come_back_in_order_and_reading_goes_on_where_it_ended(journal: Journal) -> None:
    journal.append(an_entry(1))
    first = journal.read()
    journal.append(an_entry(2))
    assert first.entries == (an_entry(1),)
    assert journal.read(first.end_offset).entries == (an_entry(2),)
    assert journal.read().entries == (an_entry(1), an_entry(2))
    assert journal.read().journal_id == first.journal_id != ""
    assert journal.read().damaged == ()


def test_a_journal_that_is_not_there_is_empty_and_reading_does_not_make_one(journal: Journal) -> None:
    assert journal.read().entries == ()
    assert journal.read().journal_id == ""
    assert journal.latest("secure-messaging") is None
    assert journal.size() == 0
    assert not os.path.exists(journal.path)


def test_nobody_else_can_read_the_journal(journal: Journal) -> None:
    journal.append(an_entry(1))
    assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o600


def test_creating_and_appending_leaves_nothing_else_behind(journal: Journal) -> None:
    journal.append(an_entry(1))
    assert os.listdir(os.path.dirname(journal.path)) == ["rollback.journal"]


def test_a_record_torn_at_any_byte_is_not_consumed_and_swallows_nothing_that_follows(journal: Journal) -> None:
    journal.append(an_entry(1))
    before = content(journal)
    journal.append(an_entry(2, reason="naïve"))
    record = content(journal)[len(before) :]
    for length in range(len(record)):
        torn = before + record[:length]
        read = JournalFile(torn).since()
        whole = length == len(record) - 1  # only the line feed is missing: readable once something follows
        assert read.entries == (an_entry(1),), length
        assert read.damaged == ()
        assert read.end_offset == len(before) + (length > 0)
        followed = JournalFile(torn + b"\n" + record_to_line(entry_to_json(an_entry(3))) + b"\n")
        after = followed.since(read.position)
        expected = (an_entry(2, reason="naïve"), an_entry(3)) if whole else (an_entry(3),)
        assert after.entries == expected, length
        assert len(after.damaged) == (0 if whole or length <= 1 else 1), length


def test_a_torn_last_line_is_damage_when_nobody_writes_any_more(journal: Journal) -> None:
    journal.append(an_entry(1))
    file = JournalFile(content(journal)[:-5])
    assert file.since().damaged == ()
    read = file.since(final=True)
    assert len(read.damaged) == 1
    assert file.since(read.position, final=True).damaged == ()


def test_a_change_of_any_byte_is_seen_and_never_becomes_another_entry(journal: Journal) -> None:
    written = (an_entry(1), an_entry(2))
    for entry in written:
        journal.append(entry)
    data = content(journal)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        read = JournalFile(changed).since(final=True)
        assert {entry.entry_id for entry in read.entries} <= {"e1", "e2"}
        assert all(entry in written for entry in read.entries), at
        line_feed = data[at : at + 1] == b"\n"
        assert line_feed or read.damaged, at


def test_a_part_that_was_written_is_followed_by_the_whole_record(tmp_path: Path) -> None:
    parts = [20]

    def write(fd: int, data: bytes) -> int:
        return os.write(fd, data[: parts.pop()] if parts and data.startswith(b"\n") else data)

    journal = Journal(tmp_path / "rollback.journal", write=write)
    journal.append(an_entry(1))
    assert parts == []
    assert journal.read().entries == (an_entry(1),)
    assert len(journal.read().damaged) == 1


def test_a_write_that_stays_short_is_an_error_and_the_next_writer_is_safe(tmp_path: Path) -> None:
    def write(fd: int, data: bytes) -> int:
        return os.write(fd, data[:20] if data.startswith(b"\n") else data)

    with pytest.raises(HistoryUnwritable, match="only a part"):
        Journal(tmp_path / "rollback.journal", write=write).append(an_entry(1))
    sound = Journal(tmp_path / "rollback.journal")
    sound.append(an_entry(2))
    assert sound.read().entries == (an_entry(2),)


def test_a_file_size_limit_ends_in_an_error_that_names_path_and_cause(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rollback.journal", reserve=0)
    journal.append(an_entry(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size() + 40, hard))
    try:
        with pytest.raises(HistoryUnwritable) as caught:
            journal.append(an_entry(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.path in caught.value.message
    assert "File too large" in caught.value.message
    assert "ROLLBACK_JOURNAL" in caught.value.next
    journal.append(an_entry(3))
    assert journal.read().entries == (an_entry(1), an_entry(3))


def test_a_sync_that_fails_is_an_error_because_nothing_was_promised(tmp_path: Path) -> None:
    def sync(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    Journal(tmp_path / "rollback.journal").append(an_entry(1))
    with pytest.raises(HistoryUnwritable, match="Input/output error"):
        Journal(tmp_path / "rollback.journal", sync=sync).append(an_entry(2))


def test_an_entry_costs_one_write_and_one_sync(tmp_path: Path) -> None:
    calls: list[str] = []

    def write(fd: int, data: bytes) -> int:
        calls.append("write")
        return os.write(fd, data)

    def sync(fd: int) -> None:
        calls.append("sync")
        os.fdatasync(fd)

    journal = Journal(tmp_path / "rollback.journal", write=write, sync=sync)
    journal.append(an_entry(1))
    calls.clear()
    journal.append(an_entry(2))
    assert calls == ["write", "sync"]


def test_a_pipe_a_folder_and_a_missing_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing/rollback.journal"):
        with pytest.raises(HistoryUnwritable, match=name):
            Journal(tmp_path / name).append(an_entry(1))
    for name in ("pipe", "folder"):
        with pytest.raises(HistoryUnwritable, match=name):
            Journal(tmp_path / name).read()
    with pytest.raises(HistoryUnwritable, match="not a regular file"):
        Journal("/dev/null").append(an_entry(1))


@pytest.mark.parametrize("replaced_by", ["nothing", "another journal"])
def test_what_was_written_to_a_file_that_is_gone_by_now_is_written_again(tmp_path: Path, replaced_by: str) -> None:
    path = tmp_path / "rollback.journal"
    Journal(path).append(an_entry(1))
    other = Journal(tmp_path / "other.journal")
    other.append(an_entry(2))
    times = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        times.append(fd)
        if len(times) == 1:
            os.unlink(path) if replaced_by == "nothing" else os.replace(other.path, path)

    journal = Journal(path, sync=sync)
    journal.append(an_entry(3))
    assert journal.read().entries == ((an_entry(3),) if replaced_by == "nothing" else (an_entry(2), an_entry(3)))


def test_a_journal_that_is_replaced_all_the_time_is_an_error_and_not_a_loop(tmp_path: Path) -> None:
    path = tmp_path / "rollback.journal"

    def sync(_fd: int) -> None:
        if os.path.exists(path):
            os.unlink(path)

    with pytest.raises(HistoryUnwritable, match="again and again"):
        Journal(path, sync=sync).append(an_entry(1))


def test_a_journal_that_another_process_makes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rollback.journal"

    def write(fd: int, data: bytes) -> int:
        if data.startswith(b'{"journal"'):  # ours is being prepared
            Journal(path).append(an_entry(1))
        return os.write(fd, data)

    Journal(path, write=write).append(an_entry(2))
    assert Journal(path).read().entries == (an_entry(1), an_entry(2))


def test_processes_that_create_the_journal_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from rollback.journal import Journal; from tests.ledgers.entries import an_entry;"
        "sys.stdin.read(); Journal(sys.argv[1]).append(an_entry(int(sys.argv[2])))"
    )
    path = tmp_path / "rollback.journal"
    command = [sys.executable, "-c", code, os.fspath(path)]
    started = [subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE) for n in range(6)]
    for process in started:  # all wait for their input to end
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in started] == [0] * 6
    read = Journal(path).read()
    assert sorted(entry.entry_id for entry in read.entries) == [f"e{n}" for n in range(6)]
    assert read.damaged == ()


def test_a_full_disk_takes_intents_as_long_as_the_reserve_lasts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        journal = Journal(disk / "rollback.journal", reserve=64 * 1024)
        journal.append(an_entry(1))
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            (disk / "probe").write_bytes(b"x" * 4096)
        for number in range(2, 100):
            journal.append(an_entry(number))
        assert len(journal.read().entries) == 99
        with pytest.raises(HistoryUnwritable, match="No space left on device"):
            append_many(journal, range(100, 1000))
        assert journal.size() >= 64 * 1024
        kept = journal.read().entries
        assert [entry.entry_id for entry in kept] == [f"e{n}" for n in range(1, len(kept) + 1)]


def test_the_reserve_does_not_change_the_size_and_is_filled_up_by_the_feeder_alone(tmp_path: Path) -> None:
    def reserved() -> int:
        state = os.stat(path)
        return state.st_blocks * 512 - state.st_size

    with small_disk(tmp_path / "disk", "4m") as disk:  # tmpfs counts its blocks at once
        path = disk / "rollback.journal"
        journal = Journal(path, reserve=64 * 1024)
        journal.append(an_entry(1))
        assert 60 * 1024 < reserved() <= 68 * 1024
        journal.append(an_entry(2, reason="x" * 50_000))
        assert reserved() < 16 * 1024
        size = journal.size()
        journal.top_up()
        assert 60 * 1024 < reserved() <= 68 * 1024
        assert journal.size() == size
        assert journal.read().damaged == ()


def test_a_file_system_without_room_for_the_reserve_gets_a_journal_all_the_same(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        journal = Journal(disk / "rollback.journal")
        journal.append(an_entry(1))
        assert journal.read().entries == (an_entry(1),)


def test_what_a_crash_left_while_creating_is_cleared_away_once_it_is_old(journal: Journal) -> None:
    journal.append(an_entry(1))
    old, young = f"{journal.path}.new-00", f"{journal.path}.new-01"
    for name in (old, young):
        Path(name).write_bytes(b"{}")
    os.utime(old, (0, 0))
    journal.top_up()
    assert not os.path.exists(old)
    assert os.path.exists(young)  # somebody may be about to link it


def test_an_empty_file_is_a_journal_too(journal: Journal) -> None:
    Path(journal.path).touch()
    journal.append(an_entry(1))
    first = journal.read()
    journal.append(an_entry(2))
    assert first.entries == (an_entry(1),)
    assert journal.read(first.end_offset).entries == (an_entry(2),)
    assert journal.read().journal_id == first.journal_id != ""


def test_a_journal_that_was_cut_back_is_read_from_its_beginning(journal: Journal) -> None:
    journal.append(an_entry(1))
    short = content(journal)
    journal.append(an_entry(2))
    position = journal.read().position
    Path(journal.path).write_bytes(short)
    for number in (3, 4):  # longer than before by now, so the size alone tells nothing
        journal.append(an_entry(number, reason="x" * 300))
    file = journal.file()
    assert file is not None
    read = file.since(position)
    assert read.restarted
    assert read.entries[0] == an_entry(1)
    assert [entry.entry_id for entry in read.entries] == ["e1", "e3", "e4"]
    assert [entry.entry_id for entry in journal.read(10**6).entries] == ["e1", "e3", "e4"]


def test_reading_stops_before_an_entry_of_a_newer_program(journal: Journal) -> None:
    journal.append(an_entry(1))
    end = journal.size()
    newer = record_to_line({**entry_to_json(an_entry(2)), "v": 2, "mood": "bad"})
    with open(journal.path, "ab") as stream:
        stream.write(b"\n" + newer + b"\n")
    journal.append(an_entry(3))
    read = journal.read()
    assert read.newer
    assert read.entries == (an_entry(1),)
    assert read.end_offset in (end, end + 1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A", "a/b", ""])
def test_a_header_with_an_odd_id_never_becomes_part_of_a_path(journal: Journal, name: str) -> None:
    Path(journal.path).write_bytes(record_to_line({"journal": name, "format": 1, "previous": ""}) + b"\n")
    journal.append(an_entry(1))
    assert journal.read().journal_id.startswith("headless-")
    assert journal.read().entries == (an_entry(1),)


def test_a_process_killed_while_appending_leaves_whole_records_only(tmp_path: Path) -> None:
    code = (
        "import sys; from rollback.journal import Journal; from tests.ledgers.entries import an_entry\n"
        "for number in range(100000):\n"
        "    Journal(sys.argv[1]).append(an_entry(number)); print(number, flush=True)"
    )
    path = tmp_path / "rollback.journal"
    process = subprocess.Popen([sys.executable, "-c", code, os.fspath(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    promised = [int(process.stdout.readline()) for _ in range(50)][-1]
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    promised = max([promised, *(int(line) for line in process.stdout.read().splitlines(keepends=True) if "\n" in line)])
    process.stdout.close()
    Journal(path).append(an_entry(100_000))
    ids = [entry.entry_id for entry in Journal(path).read().entries]
    assert ids[: promised + 1] == [f"e{number}" for number in range(promised + 1)]
    assert ids[-1] == "e100000"
