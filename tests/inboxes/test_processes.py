"""Several processes at one inbox, and processes that are killed in the middle."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rollback.adapters.inboxes.sqlite import SqliteInbox
from tests.inboxes.databases import ROOT, start
from tests.inboxes.deliveries import a_delivery

RESERVER = """
import sys
from rollback.adapters.inboxes.sqlite import SqliteInbox
from tests.inboxes.deliveries import minute
inbox = SqliteInbox(sys.argv[1], lock_timeout=60.0)
print("ready", flush=True)
sys.stdin.readline()
got = sum(inbox.reserve_off(f"{sys.argv[2]}-{n}", minute(0), minute(-60), 5) for n in range(20))
inbox.close()
print(got, flush=True)
"""


def storm(path: Path, name: str, way: str, threads: int = 8, each: int = 100_000) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.inboxes.storm", str(path), name, str(threads), str(each), way]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def acknowledged(lines: str) -> dict[str, str]:
    """Key and number of each whole line."""
    return dict(line.split() for line in lines.splitlines() if line.count(" ") == 1)


@pytest.mark.crash
@pytest.mark.parametrize("way", ["group", "direct"])
@pytest.mark.parametrize("after", [1, 150])
def test_a_killed_process_has_kept_all_that_it_acknowledged_and_nothing_twice(
    tmp_path: Path, way: str, after: int
) -> None:
    path = tmp_path / "state.db"
    with storm(path, "a", way) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(after))
        process.kill()
        said += process.stdout.read()
    assert process.returncode == -9
    told = acknowledged(said)
    assert len(told) >= after
    with closing(SqliteInbox(path)) as inbox:
        kept = inbox.pending(1_000_000)
        by_key = {each.key: str(each.number) for each in kept}
        assert len(by_key) == len(kept)
        assert {key: by_key.get(key) for key in told} == told
        assert inbox.database.warnings == []
        again = inbox.put([a_delivery(0, key=each.key) for each in kept])
        assert again == [None] * len(kept)
        assert len(inbox.pending(1_000_000)) == len(kept)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.crash
def test_processes_that_are_killed_again_and_again_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    told: dict[str, str] = {}
    for turn in range(5):
        with storm(path, f"t{turn}", "group") as process:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(1 + 30 * turn))
            process.kill()
            told |= acknowledged(said + process.stdout.read())
    with closing(SqliteInbox(path)) as inbox:
        kept = inbox.pending(1_000_000)
    assert len({each.key for each in kept}) == len(kept)
    assert {each.key: str(each.number) for each in kept}.items() >= told.items()


@pytest.mark.parametrize("way", ["group", "direct"])
def test_of_the_same_messages_to_two_processes_each_is_kept_once(tmp_path: Path, way: str) -> None:
    path = tmp_path / "state.db"
    both = [storm(path, "same", way, threads=4, each=50) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    answers = [acknowledged(lines) for lines in said]
    assert [len(each) for each in answers] == [200, 200]
    with closing(SqliteInbox(path)) as inbox:
        kept = {each.key: str(each.number) for each in inbox.pending(1000)}
        assert len(kept) == 200
        for key, number in kept.items():
            assert sorted(each[key] for each in answers) == sorted([number, "duplicate"])
        assert inbox.counts() == {"duplicate:datadog": 200}


def test_two_processes_share_the_places_for_turning_off(tmp_path: Path) -> None:
    both = [start(RESERVER, tmp_path / "state.db", name) for name in ("a", "b")]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    got = [int(process.communicate("go\n", timeout=60)[0]) for process in both]
    assert sum(got) == 5
    assert [process.returncode for process in both] == [0, 0]
