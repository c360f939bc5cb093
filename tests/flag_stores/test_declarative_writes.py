"""A declarative file is replaced whole or not at all, nobody's write is lost, and a crash leaves old or new."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.adapters.flag_stores.file_replacement import (
    BeingReplaced,
    ChangedMeanwhile,
    digest,
    exchange,
    remove_leftovers,
    replace_file,
)
from rollback.core import exposure
from rollback.errors import Conflict, StoreRefused, Unsettled
from tests.flag_stores.declarative_cases import KILL, ON, SECOND, V1, content, kill, read, restore, soon, store_on

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = V1.replace("enabled: false", "enabled: true")
FOREIGN_KILL = V1.replace(
    "  # veterans first\n",
    f"  - {{description: '{SECOND}', threshold: {{percentage: 100, value: false}}}}\n  # veterans first\n",
)


def plain_rename(new: str, target: str) -> bool:
    """What happens where two files cannot be exchanged."""
    os.rename(new, target)
    return False


class SomebodyWrites:
    """A swap before which somebody else replaces the file: with one content of `texts` at each turn."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def __call__(self, new: str, target: str) -> bool:
        if self.texts:
            other = Path(f"{target}.theirs")
            other.write_text(self.texts.pop(0), "utf-8")
            other.replace(target)
        return exchange(new, target)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("swap", [exchange, plain_rename])
def test_a_write_leaves_only_the_new_file(tmp_path: Path, swap: object) -> None:
    store = store_on(tmp_path, swap=swap)
    after = kill(store)
    assert exposure.exposure(after.config, ON).is_off
    assert files(tmp_path) == ["features.yml"]
    assert after.revision == digest(content(store))
    restore(store)
    assert content(store) == V1.encode()


def test_two_files_change_places_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("new")
    if exchange(str(tmp_path / "b"), str(tmp_path / "a")):
        assert (tmp_path / "b").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"


def test_a_file_that_is_gone_has_changed(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    with pytest.raises(FileNotFoundError):
        exchange(str(tmp_path / "new"), str(tmp_path / "gone"))
    with pytest.raises(ChangedMeanwhile):
        replace_file(str(tmp_path / "gone"), b"ours", expected=digest(b""))
    assert files(tmp_path) == ["new"]


def test_what_came_out_is_kept_when_it_cannot_be_looked_at(tmp_path: Path) -> None:
    def vanishing(new: str, target: str) -> bool:
        os.rename(new, target)
        return True

    path = tmp_path / "f"
    path.write_text("base")
    with pytest.raises(Unsettled):
        replace_file(str(path), b"ours", expected=digest(b"base"), swap=vanishing)


def test_the_files_mode_and_owner_stay(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    path = Path(store.path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    kill(store)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are read the Linux way")
def test_the_files_attributes_stay(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    try:
        os.setxattr(store.path, "user.owner", b"team")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    kill(store)
    assert os.getxattr(store.path, "user.owner") == b"team"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = store_on(tmp_path / "real")
    link = tmp_path / "features.yml"
    link.symlink_to("real/features.yml")
    kill(DeclarativeFileFlagStore(link))
    assert link.is_symlink()
    assert str(KILL).encode() in content(real)
    assert files(tmp_path / "real") == ["features.yml"]


def test_an_edit_elsewhere_in_the_last_moment_is_kept_and_the_kill_goes_through(tmp_path: Path) -> None:
    store = store_on(tmp_path, swap=SomebodyWrites(ELSEWHERE))
    assert exposure.exposure(kill(store).config, ON).is_off
    restore(store)
    assert content(store).decode() == ELSEWHERE


def test_a_kill_that_lands_in_the_last_moment_is_never_undone_by_ours(tmp_path: Path) -> None:
    store = store_on(tmp_path, swap=SomebodyWrites(FOREIGN_KILL))
    base = read(store)
    with pytest.raises(Conflict):
        store.write(base, exposure.with_cohort(base.config, ON, ("veterans",), KILL), deadline=soon())
    assert content(store).decode() == FOREIGN_KILL
    assert files(tmp_path) == ["features.yml"]


def test_a_third_write_while_ours_is_taken_back_stays(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("base")
    with pytest.raises(ChangedMeanwhile):
        replace_file(str(path), b"ours", expected=digest(b"base"), swap=SomebodyWrites("second", "third"))
    assert path.read_text() == "third"
    assert files(tmp_path) == ["f"]


def test_a_change_that_somebody_took_along_before_it_was_taken_back_counts(tmp_path: Path) -> None:
    def taken_along(new: str, target: str) -> bool:
        ours = Path(new).read_text("utf-8").replace("percentage: 50", "percentage: 60")
        return SomebodyWrites(ours)(new, target)

    store = store_on(tmp_path, swap=taken_along)
    after = kill(store)
    assert exposure.ours(after.config) == (KILL,)
    assert [one.percentage for one in after.config.rollouts] == [100.0, None, 60.0]


def test_a_process_that_is_stuck_in_the_middle_of_a_write_holds_up_no_kill(tmp_path: Path) -> None:
    stuck = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(stuck, fcntl.LOCK_EX)
        assert exposure.exposure(kill(store_on(tmp_path)).config, ON).is_off
    finally:
        os.close(stuck)
    assert files(tmp_path) == ["features.yml"]


def test_a_write_under_way_is_heeded_when_one_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("base")
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(BeingReplaced):
        replace_file(str(path), b"ours", expected=digest(b"base"), heed_others=True)
    assert (path.read_text(), files(tmp_path)) == ("base", ["f"])
    os.close(other)
    replace_file(str(path), b"ours", expected=digest(b"base"), heed_others=True)
    assert path.read_text() == "ours"


def test_writers_without_end_leave_it_open_who_won_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("base")
    endless = SomebodyWrites(*(f"theirs {number}" for number in range(100)))
    with pytest.raises(Unsettled):
        replace_file(str(path), b"ours", expected=digest(b"base"), swap=endless)
    assert len(files(tmp_path)) == 2


def test_a_write_that_is_overwritten_at_once_is_a_conflict(tmp_path: Path) -> None:
    def overwritten(new: str, target: str) -> bool:
        exchanged = exchange(new, target)
        Path(target).write_text(V1, "utf-8")
        return exchanged

    with pytest.raises(Conflict):
        kill(store_on(tmp_path, swap=overwritten))


def test_a_later_edit_beside_ours_is_no_conflict(tmp_path: Path) -> None:
    def edited(new: str, target: str) -> bool:
        exchanged = exchange(new, target)
        Path(target).write_text(Path(target).read_text("utf-8") + "# theirs\n", "utf-8")
        return exchanged

    store = store_on(tmp_path, swap=edited)
    assert exposure.exposure(kill(store).config, ON).is_off
    assert content(store).endswith(b"# theirs\n")


def test_a_file_that_cannot_be_read_back_leaves_the_write_unsettled(tmp_path: Path) -> None:
    def broken(new: str, target: str) -> bool:
        exchanged = exchange(new, target)
        Path(target).write_text("flags: [", "utf-8")
        return exchanged

    with pytest.raises(Unsettled, match="was written"):
        kill(store_on(tmp_path, swap=broken))


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EBUSY, "Mount its folder"), (errno.ENOSPC, "Free some space"), (errno.EROFS, "Allow")]
)
def test_a_replacement_that_the_system_refuses_changes_nothing(tmp_path: Path, number: int, hint: str) -> None:
    def refused(_: str, target: str) -> bool:
        raise OSError(number, os.strerror(number), target)

    store = store_on(tmp_path, swap=refused)
    with pytest.raises(StoreRefused, match="was not changed") as refusal:
        kill(store)
    assert hint in refusal.value.next
    assert content(store) == V1.encode()
    assert files(tmp_path) == ["features.yml"]


def test_a_folder_that_cannot_be_written_is_refused_and_the_file_stays(nobody: Path) -> None:
    store = store_on(nobody)
    base = read(store)
    nobody.chmod(0o555)
    with without_privileges(), pytest.raises(StoreRefused, match="Permission denied"):
        store.write(base, exposure.kill(base.config, ON, KILL), deadline=soon())
    assert content(store) == V1.encode()


def test_a_file_that_cannot_be_read_is_refused(nobody: Path) -> None:
    store = store_on(nobody)
    Path(store.path).chmod(0)
    with without_privileges(), pytest.raises(StoreRefused, match="cannot be read"):
        read(store)


def test_a_file_too_large_for_the_disk_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    result = run_script(
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: kill(DeclarativeFileFlagStore(sys.argv[1]))\n"
        "except StoreRefused as error: print(error)",
        store.path,
    )
    assert "no room" in result.stdout
    assert content(store) == V1.encode()
    assert files(tmp_path) == ["features.yml"]


@pytest.mark.crash
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_at_the_replacement_leaves_the_old_or_the_new_file(tmp_path: Path, moment: str) -> None:
    store = store_on(tmp_path)
    result = run_script(
        "def swap(new, target):\n"
        "    if sys.argv[2] == 'before': os.kill(os.getpid(), 9)\n"
        "    exchange(new, target)\n"
        "    os.kill(os.getpid(), 9)\n"
        "kill(DeclarativeFileFlagStore(sys.argv[1], swap=swap))",
        store.path,
        moment,
    )
    assert result.returncode == -signal.SIGKILL
    assert exposure.ours(read(store).config) == ((KILL,) if moment == "after" else ())
    assert len(files(tmp_path)) == 2, "what the dead process left is ignored"
    kill(store, marker=SECOND)
    restore(store)
    assert content(store) == V1.encode()
    remove_leftovers(store.path, older_than=900)
    assert len(files(tmp_path)) == 2, "a young one may belong to a living write"
    remove_leftovers(store.path, older_than=0)
    assert files(tmp_path) == ["features.yml"]


def test_only_what_a_write_left_is_removed(tmp_path: Path) -> None:
    ours, theirs = ".features.yml.rollback-0123456789abcdef.tmp", [".features.yml.rollback-x.tmp", "features.yml.bak"]
    for name in (ours, *theirs, "features.yml"):
        (tmp_path / name).write_text("")
    remove_leftovers(str(tmp_path / "features.yml"), older_than=0)
    assert files(tmp_path) == sorted(["features.yml", *theirs])


@pytest.mark.crash
@pytest.mark.slow
def test_a_writer_killed_at_any_time_leaves_a_whole_file(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    code = PROLOGUE + (
        "store = DeclarativeFileFlagStore(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    kill(store); print('.', end='', flush=True); restore(store)"
    )
    for number in range(8):
        with subprocess.Popen([sys.executable, "-c", code, store.path], stdout=subprocess.PIPE, cwd=ROOT) as writer:
            assert writer.stdout is not None
            writer.stdout.read(len("ready\n") + 1 + number)
            writer.kill()
        assert exposure.ours(read(store).config) in {(), (KILL,)}
        restore(store)
        assert content(store) == V1.encode()


PROLOGUE = """\
import os, sys
from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.adapters.flag_stores.file_replacement import exchange
from rollback.errors import StoreRefused
from tests.flag_stores.declarative_cases import kill, restore
"""


def run_script(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own, with the store and the kill at hand."""
    command = [sys.executable, "-c", PROLOGUE + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As an ordinary account, since root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that an ordinary account may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)
