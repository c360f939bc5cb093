"""Kills a feeding after each of its calls to the operating system and to SQLite, and looks at what is left.

Run as a program with a scenario and a folder. It forks a child for each point, the child kills itself with SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any

from rollback.adapters.ledgers.chains import CHAIN_STARTED
from rollback.adapters.ledgers.feeding import Fed, feed
from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.ledgers.verify import verify
from rollback.journal import Journal
from tests.ledgers.entries import a_transition, an_entry

SM = "secure-messaging"
CALLS = frozenset(("open", "write", "fdatasync", "fsync", "link", "replace", "rename", "unlink", "close"))
KEPT = an_entry(90)


def prepare(folder: Path, scenario: str) -> None:
    """A journal with entries that are partly fed; what else is up, the scenario says."""
    folder.mkdir()
    journal = Journal(folder / "j")
    for number in range(3):
        journal.append(an_entry(number))
    journal.append(a_transition(3, "disabled"))
    if scenario != "first":
        run(folder, rotate_at=10**6)
    for number in range(4, 7):
        journal.append(an_entry(number))
    journal.append(an_entry(7, feature="appointments"))
    if scenario == "leftover":  # a feeder died before: the replaced file has entries that are not fed
        journal.rotate()
        journal.append(an_entry(8))
    if scenario == "deleted":
        (folder / "l.db").unlink()
    if scenario == "corrupt":
        (folder / "l.db").write_bytes(b"garbage" * 2000)


def run(folder: Path, *, rotate_at: int) -> Fed:
    """One feeding; 500 bytes make the journal rotate."""
    ledger = SqliteLedger(folder / "l.db")
    try:
        return feed(Journal(folder / "j"), ledger, [KEPT] if rotate_at < 10**6 else [], rotate_at)
    finally:
        ledger.close()


def child(folder: Path, point: int) -> None:
    """Feeds, and dies after the call number `point`; the exit status is 0 when there were not so many."""
    left = point

    def profile(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event != "c_return" or not isinstance(called, BuiltinFunctionType):
            return
        of_system = called.__module__ == "posix" and called.__name__ in CALLS
        if of_system or isinstance(called.__self__, sqlite3.Connection):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    run(folder, rotate_at=500)
    os._exit(0)


def check(folder: Path, scenario: str, point: int) -> None:
    """The image is right before anything is repaired; after the next feeding each entry is there exactly once."""
    journal = Journal(folder / "j")
    where = f"{scenario}, killed after call {point}"
    latest = journal.latest(SM)
    assert latest == a_transition(3, "disabled"), where
    journal.append(a_transition(9, "verifying"))
    assert journal.latest(SM) == a_transition(9, "verifying"), where
    fed = run(folder, rotate_at=500)
    assert fed.damaged == [], where
    rows = list(SqliteLedger(folder / "l.db").entries())
    ids = [row.entry_id for row in rows if row.name != CHAIN_STARTED]
    assert sorted(ids) == sorted([*(f"e{n}" for n in range(10) if n != 8 or scenario == "leftover"), KEPT.entry_id]), (
        where
    )
    if scenario != "deleted":
        found = verify(rows)
        assert found.ok, (where, found)
    started = [row.name for row in rows].count(CHAIN_STARTED)
    assert started == (1 if scenario in ("deleted", "corrupt") else 0), where
    assert journal.leftovers() == (), where
    assert journal.latest(SM) == a_transition(9, "verifying"), where
    assert run(folder, rotate_at=10**6).new == 0, where


def main(scenario: str, place: str, stride: int) -> int:
    """The number of points at which a feeding was killed."""
    point = 0
    while True:
        point += stride
        folder = Path(place) / f"{scenario}-{point}"
        prepare(folder, scenario)
        pid = os.fork()
        if pid == 0:
            try:
                child(folder, point)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        check(folder, scenario, point)
        shutil.rmtree(folder)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0, f"the feeding failed: {status}"
            return point // stride - 1


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
