"""The world of one feature: its flag in memory, its history on disk, a clock, probes, and any number of processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rollback.adapters.client_views.memory import MemoryClientView
from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.controller import Controller
from rollback.core import exposure as exposures
from rollback.core.exposure import Exposure
from rollback.core.flag import Constraint, FlagConfig, FlagRef, FlagType, Polarity, Rollout, Segment
from rollback.core.history import Actor, Entry
from rollback.core.model import Incident, State, Watcher
from rollback.flag_reference import FlagReference
from rollback.history import History
from rollback.identity import this_process
from rollback.journal import Journal
from rollback.kill_settings import KillSettings
from rollback.prover import Prover, Replica
from rollback.session import Session
from tests.fakes.clock import FakeClock
from tests.fakes.flag_store import Edit, MemoryFlagStore, MemorySnapshotReader

FEATURE = "secure-messaging"
SM = FlagRef("default", "mhv", FEATURE)
ALICE = Actor("alice", "os")
BOB = Actor("bob", "os")
VETERANS = Segment("veterans", match_all=False, constraints=(Constraint("string", "role", "eq", "veteran"),))

ALL = FlagConfig(SM.flag_key, FlagType.BOOLEAN, enabled=True, description="the team's own words")
"""On for everybody."""

HALF = replace(ALL, enabled=False, rollouts=(Rollout(value=True, percentage=50.0, description="half of them"),))
"""On for buckets 0 to 49."""

SHIPPED = replace(
    ALL,
    rollouts=(
        Rollout(value=True, segments=("veterans",), description="veterans have it"),
        Rollout(value=True, percentage=50.0),
        Rollout(value=False, percentage=100.0, description="the others wait"),
    ),
)
"""On for veterans, and for half of everybody else: 100 buckets may be open."""


class World:
    """What all processes share. `flag` is the flag at the beginning; the keyword arguments are the reference's."""

    def __init__(
        self,
        folder: Path,
        flag: FlagConfig = SHIPPED,
        *,
        revisions: bool = True,
        lags: Sequence[float] = (0.0,),
        **reference: Any,
    ) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.store = MemoryFlagStore(self.clock, {SM: flag}, {"veterans": VETERANS}, revisions=revisions)
        self.readers = [
            MemorySnapshotReader(self.store, self.clock, replica=f"replica-{number}", lag=lag)
            for number, lag in enumerate(lags, 1)
        ]
        given = {"polarity": Polarity(), "prove_within_seconds": 10.0, "production": False, **reference}
        self.reference = FlagReference(FEATURE, "Secure Messaging", SM, **given)
        self.probe = MemoryHealthProbe({"folders": 0.0}, clock=self.clock)
        self.said: list[str] = []
        self.fallen: list[str] = []
        self.views: list[MemoryClientView] = []

    # -- processes ------------------------------------------------------------------------------------------------

    def history(self, journal: Journal | None = None) -> History:
        """The history as a new process opens it. What it does not sync a power cut would lose, but no crash."""
        own = journal or Journal(self.folder / "rollback.journal", sync=_no_sync)
        database = f"sqlite:///{self.folder / 'rollback.db'}"
        return History(own.path, database, self.said.append, journal=own, patience=5.0, fallback=self.fallen.append)

    def session(self, actor: Actor = ALICE, history: History | None = None) -> Session:
        """A process of its own on the same flag and files."""
        settings = KillSettings(policies=str(self.folder / "policies"), flipt_url="http://127.0.0.1:1")
        own = history or self.history()
        return Session(settings, self.reference, self.store, own, self.clock, actor, self.said.append)

    def prover(self) -> Prover:
        """Looks at every replica, by reasoning, engine and server."""
        reference = self.reference
        return Prover(
            reference.ref,
            reference.polarity,
            [Replica(reader.replica, reader, self._views(reader)) for reader in self.readers],
            self.clock,
            poll_seconds=reference.poll_interval_seconds,
        )

    def _views(self, reader: MemorySnapshotReader) -> tuple[MemoryClientView, ...]:
        views = tuple(MemoryClientView(reader.seen, name=name, replica=reader.replica) for name in ("engine", "server"))
        self.views.extend(views)
        return views

    # -- looking ----------------------------------------------------------------------------------------------------

    @property
    def flag(self) -> FlagConfig:
        """The flag as it is."""
        return self.store.config(SM)

    @property
    def exposure(self) -> Exposure:
        """Who is served now."""
        return exposures.exposure(self.flag, self.reference.polarity)

    @property
    def open_buckets(self) -> int:
        """How many buckets are open; fails when nobody can say."""
        percent = self.exposure.percent
        assert percent is not None
        return percent

    @property
    def kills(self) -> list[str]:
        """The keys of our kills on the flag, the first one first."""
        return [mark.key for mark in exposures.ours(self.flag) if mark.role == "kill"]

    @property
    def incident(self) -> Incident | None:
        """The open case as a new process reads it."""
        return Controller(self.session()).incident

    @property
    def last(self) -> Incident:
        """The case as it was last written, open or not."""
        found = Controller(self.session())._incident
        assert found is not None
        return found

    def state(self) -> State:
        """The state of the case as it was last written; `normal` when there never was one."""
        found = Controller(self.session())._incident
        return found.state if found else State.NORMAL

    def entries(self, name: str = "") -> list[Entry]:
        """The history, or its entries of this name."""
        return [entry for entry in self.history().entries(FEATURE).entries if name in ("", entry.name)]

    @property
    def names(self) -> list[str]:
        """What happened, in order, as `kind name`."""
        return [f"{entry.kind} {entry.name}" for entry in self.entries()]

    # -- what others do ---------------------------------------------------------------------------------------------

    def edit(self, change: Edit) -> None:
        """Somebody edits the flag by hand."""
        self.store.edit(SM, change)

    def put_in_front(self, rollout: Rollout) -> None:
        """Somebody puts a rollout in front of everything."""
        self.edit(lambda config: replace(config, rollouts=(rollout, *config.rollouts)))

    def remove_ours(self) -> None:
        """Somebody takes our rollouts out by hand."""
        self.edit(exposures.without)

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Once, when so many seconds have passed from now on."""
        due, earlier, done = self.clock.elapsed + seconds, self.clock.on_sleep, [False]

        def on_sleep(elapsed: float) -> None:
            if earlier is not None:
                earlier(elapsed)
            if elapsed >= due and not done[0]:
                done[0] = True
                act()

        self.clock.on_sleep = on_sleep


@lru_cache(maxsize=1)
def a_dead_process() -> Watcher:
    """A process of this machine that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return replace(this_process(), pid=ended.pid, started="before")


def _no_sync(_fd: int) -> None:
    """Tests end processes, not power."""
