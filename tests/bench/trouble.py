"""`rollback disable` with journal and ledger locked, read-only, on a full disk or deleted, against a sound one."""

from __future__ import annotations

import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import disable_command, settings, stand_in, timed

TROUBLE_LIMIT = 1.1

Trouble = Callable[[Path], Iterator[Path]]


def compare_trouble(rounds: int) -> dict[str, float]:
    """For each trouble the median ratio of neighbouring runs, with it and without."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, stand_in(Path(name), 0.0) as url:
        folder = Path(name)
        for what, trouble in TROUBLES.items():
            ratios = []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory(dir=folder) as sound, tempfile.TemporaryDirectory(dir=folder) as hurt:
                    without = _second_run(url, Path(sound), contextmanager(_none))
                    ratios.append(_second_run(url, Path(hurt), contextmanager(trouble)) / without)
            found[what] = statistics.median(ratios)
    return found


def _second_run(url: str, folder: Path, trouble: Callable[[Path], object]) -> float:
    """The time of a disable in `folder` that has a history already, under `trouble`."""
    timed(disable_command(), settings(url, folder), folder)
    with trouble(folder) as place:  # type: ignore[attr-defined]
        return timed(disable_command(), settings(url, place), folder).whole


def _none(folder: Path) -> Iterator[Path]:
    yield folder


def _locked(folder: Path) -> Iterator[Path]:
    """Another process holds the ledger exclusively."""
    connection = sqlite3.connect(folder / "rollback.db", isolation_level=None)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield folder
    finally:
        connection.rollback()
        connection.close()


def _read_only(folder: Path) -> Iterator[Path]:
    """The file system with both is mounted read-only."""
    with _mounted(folder, "1m") as place:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place


def _full(folder: Path) -> Iterator[Path]:
    """Not one block is left on the disk with both."""
    with _mounted(folder, "1m") as place:
        with (place / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        yield place


def _deleted(folder: Path) -> Iterator[Path]:
    """Both were removed."""
    for path in folder.glob("rollback.*"):
        path.unlink()
    yield folder


@contextmanager
def _mounted(folder: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, with what `folder` holds."""
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        for path in folder.glob("rollback.*"):
            (place / path.name).write_bytes(path.read_bytes())
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


TROUBLES: dict[str, Trouble] = {
    "ledger locked by another process": _locked,
    "journal and ledger read-only": _read_only,
    "journal and ledger on a full disk": _full,
    "journal and ledger deleted": _deleted,
}
