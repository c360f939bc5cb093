"""The newest image of a case is known from the journal, across epochs, rotations and crashes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.codec import entry_to_json
from rollback.core.history import Entry, EntryKind
from rollback.errors import HistoryUnwritable
from rollback.journal import Journal
from rollback.journal_file import newest_transition, record_to_line
from tests.ledgers.entries import a_transition, an_entry


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "rollback.journal")


def test_the_newest_image_is_the_last_of_the_highest_epoch_of_its_case() -> None:
    first, second = a_transition(1, "disabling", epoch=1), a_transition(2, "disabling", epoch=2)
    late = a_transition(3, "ramping", epoch=1)
    assert newest_transition([first, late]) == late
    assert newest_transition([first, second, late]) == second
    assert newest_transition([late, second, first]) == second
    other = a_transition(4, "triggered", incident="INC-2", epoch=1)
    assert newest_transition([first, second, late, other]) == other
    assert newest_transition([]) is None


def test_latest_takes_transitions_of_this_feature_only(journal: Journal) -> None:
    decoy = {"kind": "transition", "text": '"kind":"transition"', "feature": "secure-messaging"}
    journal.append(a_transition(1, "disabled"))
    journal.append(a_transition(2, "reduced", feature="appointments"))
    journal.append(an_entry(3, data=decoy))
    journal.append(an_entry(4, kind=EntryKind.FACT, feature="appointments", data=decoy))
    assert journal.latest("secure-messaging") == a_transition(1, "disabled")
    assert journal.latest("appointments") == a_transition(2, "reduced", feature="appointments")
    assert journal.latest("secure") is None


def test_an_image_that_was_not_written_whole_does_not_count(journal: Journal) -> None:
    journal.append(a_transition(1, "disabled"))
    journal.append(a_transition(2, "ramping"))
    data = Path(journal.path).read_bytes()
    for cut in (1, 2, 30):
        Path(journal.path).write_bytes(data[:-cut])
        assert journal.latest("secure-messaging") == a_transition(1, "disabled")
    Path(journal.path).write_bytes(data.replace(b'"state":"ramping"', b'"state":"normal!"'))
    assert journal.latest("secure-messaging") == a_transition(1, "disabled")


def retire(journal: Journal) -> None:
    (old,) = journal.leftovers()
    journal.retire(old, {"secure-messaging": {"sequence": 7, "hash": "ab" * 32}})


def test_the_newest_image_is_known_at_every_moment_of_a_rotation(journal: Journal) -> None:
    def latest() -> Entry | None:
        return journal.latest("secure-messaging")

    journal.append(a_transition(1, "disabling"))
    journal.append(a_transition(2, "disabled"))
    journal.append(a_transition(3, "reduced", feature="appointments"))
    before = journal.read()
    journal.rotate()
    assert journal.read().entries == ()
    assert journal.read().journal_id != before.journal_id
    assert latest() == a_transition(2, "disabled")
    journal.append(a_transition(4, "verifying"))
    assert latest() == a_transition(4, "verifying")
    retire(journal)
    assert latest() == a_transition(4, "verifying")
    assert journal.latest("appointments") == a_transition(3, "reduced", feature="appointments")
    assert journal.leftovers() == ()
    read = journal.read()
    assert read.entries == (a_transition(4, "verifying"),)
    assert read.damaged == ()
    assert read.checkpoint["secure-messaging"] == a_transition(2, "disabled")
    assert read.heads["secure-messaging"]["hash"] == "ab" * 32
    journal.rotate()
    retire(journal)
    assert journal.latest("appointments") == a_transition(3, "reduced", feature="appointments")


cases = st.sampled_from(["INC-1", 'INC "2"', None])


@given(st.lists(st.tuples(cases, st.integers(0, 12), st.booleans()), min_size=1, max_size=8))
def test_what_is_found_quickly_is_what_the_rule_says(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str | None, int, bool]]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("images") / "rollback.journal", sync=lambda _fd: None)
    images: list[Entry] = []
    for number, (incident, epoch, is_image) in enumerate(written):
        entry = an_entry(number, incident=incident, epoch=epoch)
        if is_image:
            entry = a_transition(number, "ramping", incident=incident, epoch=epoch)
            images.append(entry)
        journal.append(entry)
        assert journal.latest("secure-messaging") == newest_transition(images)
    journal.rotate()
    assert journal.latest("secure-messaging") == newest_transition(images)


def test_an_older_epoch_stays_history_across_a_rotation(journal: Journal) -> None:
    journal.append(a_transition(1, "disabling", epoch=2))
    journal.rotate()
    retire(journal)
    journal.append(a_transition(2, "ramping", epoch=1))
    assert journal.latest("secure-messaging") == a_transition(1, "disabling", epoch=2)


def test_a_rotation_that_stopped_before_the_replacement_leaves_the_journal_as_it_was(journal: Journal) -> None:
    journal.append(a_transition(1, "disabled"))
    os.link(journal.path, f"{journal.path}.old-{journal.read().journal_id}")
    (old,) = journal.leftovers()
    assert not journal.is_replaced(old)
    journal.retire(old, {})
    assert journal.leftovers() == ()
    assert journal.read().entries == (a_transition(1, "disabled"),)


def test_a_rotated_journal_keeps_the_permissions_that_somebody_gave_it(journal: Journal) -> None:
    journal.append(an_entry(1))
    os.chmod(journal.path, 0o660)
    journal.rotate()
    assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o660


def test_a_rotation_that_fails_leaves_the_journal_and_no_litter(journal: Journal) -> None:
    journal.rotate()
    assert not os.path.exists(journal.path)  # there was nothing to rotate
    journal.append(a_transition(1, "disabled"))
    blocked = f"{journal.path}.old-{journal.read().journal_id}"
    os.mkdir(blocked)
    with pytest.raises(FileExistsError):
        journal.rotate()
    assert journal.read().entries == (a_transition(1, "disabled"),)
    assert sorted(os.listdir(os.path.dirname(journal.path))) == [
        os.path.basename(name) for name in (journal.path, blocked)
    ]


def test_an_old_file_that_is_gone_cannot_be_retired_and_does_not_hide_what_came_after(journal: Journal) -> None:
    journal.append(a_transition(1, "disabled"))
    journal.rotate()
    (old,) = journal.leftovers()
    os.unlink(old)
    with pytest.raises(HistoryUnwritable, match="cannot be retired"):
        journal.retire(old, {})
    journal.append(a_transition(2, "verifying"))
    assert journal.latest("secure-messaging") == a_transition(2, "verifying")


def test_images_are_found_while_the_old_file_is_gone_and_no_checkpoint_was_written(journal: Journal) -> None:
    journal.append(a_transition(1, "disabled"))
    journal.rotate()
    os.unlink(journal.leftovers()[0])
    journal.append(a_transition(2, "verifying"))
    assert journal.latest("secure-messaging") == a_transition(2, "verifying")
    assert journal.latest("appointments") is None


def test_a_checkpoint_counts_only_whole_and_only_as_far_as_it_is_understood(journal: Journal) -> None:
    image = entry_to_json(a_transition(1, "disabled"))
    newer = {"secure-messaging": image, "appointments": {**image, "v": 2}}
    damaged = record_to_line({"checkpoint": {}, "heads": {}}).replace(b"heads", b"bread")
    journal.append(an_entry(1))
    with open(journal.path, "ab") as stream:
        stream.write(damaged + b"\n" + record_to_line({"checkpoint": newer, "heads": {}}) + b"\n")
    assert journal.latest("secure-messaging") == a_transition(1, "disabled")
    assert journal.latest("appointments") is None
