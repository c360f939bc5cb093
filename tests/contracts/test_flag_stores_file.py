"""What the file store promises beside the common contract: several processes on one file, and no trace afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.core import exposure
from rollback.core.flag import FlagRef, Polarity
from rollback.core.marker import Marker
from tests.contracts.file_benches import as_json, as_v2_yaml, as_yaml, file_bench
from tests.contracts.flag_store_benches import BOOLEAN, SEED, VARIANT

ON = Polarity()
ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"v1": as_yaml, "v2": as_v2_yaml, "json": as_json}

WRITER = """\
import sys, time
from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.core import exposure
from rollback.core.flag import FlagRef, Polarity
from rollback.core.marker import Marker
from rollback.errors import Conflict

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store, ref, deadline = DeclarativeFileFlagStore(path), FlagRef("default", "mhv", "sm"), time.monotonic() + 50
for number in range(count):
    marker = Marker("i-1", f"kill-{number}-{name}")
    while True:
        base = store.read(ref, deadline=deadline)
        try:
            store.write(base, exposure.kill(base.config, Polarity(), marker), deadline=deadline)
        except Conflict:
            continue
        break
"""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ref", [BOOLEAN, VARIANT], ids=str)
def test_there_and_back_leaves_the_same_bytes(tmp_path: Path, shape: str, ref: FlagRef) -> None:
    with file_bench(tmp_path, "features.yml", SEED, SHAPES[shape]) as bench:
        before = bench.path.read_bytes()
        base = bench.store.read(ref, deadline=bench.deadline())
        off = bench.store.write(
            base, exposure.kill(base.config, ON, Marker("i-1", "kill-1-a")), deadline=bench.deadline()
        )
        assert bench.path.read_bytes() != before
        bench.store.write(off, exposure.without(off.config), deadline=bench.deadline())
        assert bench.path.read_bytes() == before


@pytest.mark.parametrize("shape", SHAPES)
def test_a_kill_adds_lines_and_changes_none(tmp_path: Path, shape: str) -> None:
    with file_bench(tmp_path, "features.yml", SEED, SHAPES[shape]) as bench:
        before = bench.path.read_text("utf-8").splitlines()
        base = bench.store.read(BOOLEAN, deadline=bench.deadline())
        bench.store.write(base, exposure.kill(base.config, ON, Marker("i-1", "kill-1-a")), deadline=bench.deadline())
        after = bench.path.read_text("utf-8").splitlines()
        added = len(after) - len(before)
        start = next(number for number, line in enumerate(after) if "rollback:i-1:kill-1-a" in line)
        assert added in {1, 2}
        assert after[:start] + after[start + added :] == before


@pytest.mark.slow
def test_of_kills_by_several_processes_at_once_none_is_lost(tmp_path: Path) -> None:
    """What one process has been told is written must be there in the end, whatever the others write meanwhile."""
    writers, count = ("aaa", "bbb", "ccc"), 12
    with file_bench(tmp_path, "features.yml", SEED, as_yaml) as bench:
        commands = [[sys.executable, "-c", WRITER, str(bench.path), name, str(count)] for name in writers]
        processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for command in commands]
        outcomes = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
        assert outcomes == [("", 0)] * len(writers)
        config = bench.store.read(BOOLEAN, deadline=bench.deadline()).config
        found = {mark.key for mark in exposure.ours(config)}
        assert found == {f"kill-{number}-{name}" for name in writers for number in range(count)}
        assert [path.name for path in tmp_path.iterdir()] == ["features.yml"]


def test_the_first_line_of_every_output_has_the_whole_path(tmp_path: Path) -> None:
    assert DeclarativeFileFlagStore(tmp_path / "x" / ".." / "features.yml").where == f"file {tmp_path}/features.yml"
