"""Several processes at once, and processes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollback.adapters.ledgers.feeding import feed
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.ledgers.verify import verify
from rollback.journal import Journal
from tests.ledgers.entries import a_transition

ROOT = Path(__file__).parents[2]
APPENDER = """
import sys
from rollback.history import History
from tests.ledgers.entries import a_transition
history = History(sys.argv[1], sys.argv[2], print)
first = int(sys.argv[3])
for number in range(first, first + 200):
    history.record(a_transition(number, "ramping", feature=f"feature-{number % 3}", data={"n": number}), strict=True)
"""
FEEDER = """
import sys
from rollback.adapters.ledgers.feeding import feed
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.errors import HistoryUnwritable
from rollback.journal import Journal
for line in sys.stdin:
    ledger = SqliteLedger(sys.argv[2], lock_timeout=0.5)
    try:
        fed = feed(Journal(sys.argv[1]), ledger, rotate_at=int(sys.argv[3]))
    except HistoryUnwritable:
        print("locked", flush=True)
    else:
        print(fed.new, len(fed.damaged), flush=True)
    ledger.close()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("rotate_at", [1024 * 1024, 4096])
@pytest.mark.parametrize("feeders", [1, 2])
def test_of_400_entries_by_two_processes_with_feeders_at_work_each_is_kept_once(
    tmp_path: Path, rotate_at: int, feeders: int
) -> None:
    path, url = tmp_path / "rollback.journal", f"sqlite:///{tmp_path}/rollback.db"
    appending = [start(APPENDER, path, url, first) for first in (0, 200)]
    feeding = [start(FEEDER, path, url, rotate_at) for _ in range(feeders)]
    rounds = new = 0
    while any(process.poll() is None for process in appending):
        for process in feeding:
            assert process.stdin is not None
            process.stdin.write("feed\n")
            process.stdin.flush()
        for process in feeding:
            assert process.stdout is not None
            answer = process.stdout.readline().split()
            assert answer == ["locked"] or answer[1] == "0"
            new += int(answer[0]) if answer != ["locked"] else 0
        rounds += 1
    for process in (*appending, *feeding):
        process.communicate()
        assert process.returncode == 0
    ledger = SqliteLedger(url)
    new += feed(Journal(path), ledger, rotate_at=rotate_at).new
    ledger.close()
    assert new == 400
    rows = list(ledger.entries())
    assert sorted(row.entry_id for row in rows) == sorted(f"e{number}" for number in range(400))
    assert verify(rows).ok
    for feature in range(3):
        order = [row.entry.data["n"] for row in rows if row.feature == f"feature-{feature}"]
        for half in (range(200), range(200, 400)):
            mine = [number for number in order if number in half]
            assert mine == sorted(mine)
        newest = Journal(path).latest(f"feature-{feature}")
        ends = [max(number for number in half if number % 3 == feature) for half in (range(200), range(200, 400))]
        assert newest in [a_transition(n, "ramping", feature=f"feature-{feature}", data={"n": n}) for n in ends]
    assert rounds > 1


@pytest.mark.crash
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scenario", ["first", "usual", "leftover", "deleted", "corrupt"])
def test_a_feeding_that_is_killed_anywhere_loses_nothing_and_keeps_nothing_twice(
    tmp_path: Path, scenario: str, stride: int
) -> None:
    command = [sys.executable, "-m", "tests.ledgers.crashes", scenario, os.fspath(tmp_path), str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * stride > 55  # so many calls there are to die after
