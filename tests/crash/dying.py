"""A process that dies at a chosen call of a port, in this very process: everything it had in memory is dropped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollback.core.history import Entry
from rollback.history import FeedReport, History
from rollback.journal import Journal
from tests.fakes.world import World


class Crash(BaseException):
    """The process ends here; nothing of the program may catch it."""


class Tripwire:
    """Told of each moment, in order; at the one with the number `at` the process dies. None: it lives."""

    def __init__(self, at: int | None = None) -> None:
        self.moments: list[str] = []
        self.at = at

    def __call__(self, moment: str) -> None:
        """A moment has come."""
        if self.is_next(moment):
            raise Crash(moment)

    def is_next(self, moment: str) -> bool:
        """Counts the moment; True when the process dies there, and the caller has something to leave behind."""
        self.moments.append(moment)
        return len(self.moments) - 1 == self.at


class DyingJournal(Journal):
    """Dies before a record is written, when half of it is, and when all of it is."""

    def __init__(self, path: Path, tripwire: Tripwire) -> None:
        super().__init__(path, write=self._half, sync=lambda _fd: None)
        self._tripwire = tripwire
        self._name = ""

    def append(self, entry: Entry) -> None:
        """See `Journal.append`."""
        self._name = f"journal {entry.kind} {entry.name}"
        self._tripwire(f"before {self._name}")
        super().append(entry)
        self._tripwire(f"after {self._name}")

    def _half(self, fd: int, data: bytes) -> int:
        if self._name and self._tripwire.is_next(f"amid {self._name}"):
            os.write(fd, data[: len(data) // 2])
            raise Crash(f"amid {self._name}")
        return os.write(fd, data)


class DyingHistory(History):
    """Dies before and after the ledger is fed (`tests/ledgers` kills it amid that)."""

    def __init__(self, world: World, tripwire: Tripwire) -> None:
        journal = DyingJournal(world.folder / "rollback.journal", tripwire)
        database = f"sqlite:///{world.folder / 'rollback.db'}"
        super().__init__(journal.path, database, world.said.append, journal=journal, patience=5.0, fallback=_dropped)
        self._tripwire = tripwire

    def feed(self) -> FeedReport:
        """See `History.feed`."""
        self._tripwire("before feed")
        report = super().feed()
        self._tripwire("after feed")
        return report


def wire(world: World, tripwire: Tripwire | None) -> None:
    """Connects the tripwire with every port of the world; None takes it off again."""
    told: Callable[[str], Any] = tripwire or (lambda _moment: None)
    world.store.on_call = lambda what: told(f"store {what}")
    world.probe.on_round = lambda _number: told("probe")
    for reader in world.readers:
        reader.on_call = told


def _dropped(line: str) -> None:
    raise AssertionError(f"no entry may miss the journal here: {line}")
