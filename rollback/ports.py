"""The ports: what the shell asks of the world, with each contract in prose.

Adapters are one file each; a contract suite (`tests/contracts`) is passed by the real adapter and by the stand-in.
Errors of a port are the types of `rollback.errors`; nothing else leaves an adapter. Kill path: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot, Polarity
from rollback.core.history import Entry
from rollback.core.sample import Sample, Sighting


class Clock(Protocol):
    """Time. `now` is aware UTC; `monotonic` never goes back, in seconds; `sleep` waits that long."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class FlagStore(Protocol):
    """The system that a flag is written to (a client of the flag management system).

    `read` gives the flag as the store keeps it, rollouts in evaluation order with their descriptions (markers).
    With `segments=True` it also looks up the constraints of every segment that the flag names; the kill path
    does not need them. Raises `FlagMissing`, `StoreUnreachable`, `StoreRefused`, `ConfigurationError`.

    `write` makes the flag be `desired`, provided that it still is as `base` says (by revision where the store has
    one; else by reading back), and returns the flag as it is afterwards. Rollouts of `desired` that carry `wire`
    are the existing ones; those without are new. On a store without revision no step of it ever lets in
    a user whom both `base` and `desired` exclude, and it never undoes a rollout that `base` does not show.
    Raises `Conflict` (nothing written: read again, decide again), `StoreUnreachable` and `StoreRefused` (certainly
    nothing written), `Unsettled` (sent, fate unknown even after reading back), `FlagMissing`.

    Both stop at `deadline` (monotonic seconds). `where` names the store for the first line of every output,
    e.g. `flipt v2 https://flipt.example.gov`.
    """

    where: str

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot: ...
    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot: ...
    def close(self) -> None: ...


class SnapshotReader(Protocol):
    """One replica's snapshot, as SDKs read it: rollouts in order, constraints of segments inline, no descriptions.

    Raises `FlagMissing` (also when a namespace that does not exist answers with no flags), `StoreUnreachable`,
    `StoreRefused`.
    """

    replica: str

    def snapshot(self, ref: FlagRef, *, deadline: float) -> FlagConfig: ...


class ClientView(Protocol):
    """What a kind of client sees on one replica: the engine inside SDKs, or the server's own evaluation.

    `prepare` may be called before the write, to overlap slow starts; it never raises. `evaluate` asks for every
    sample and never raises: what cannot be evaluated is an error in the `Sighting`. `close` frees everything.
    """

    name: str
    replica: str

    def prepare(self) -> None: ...
    def evaluate(self, ref: FlagRef, polarity: Polarity, samples: Sequence[Sample], *, deadline: float) -> Sighting: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Measurement:
    """One look at one metric. `harm` is x in [0, 1]; `None` means missing: neither harm nor health.

    `detail` says why in a few words without any content of the answer; `latency_seconds` is None when unanswered.

    A metric that counts (requests of a closed window) gives `total` samples at once, `bad` of them failed; `harm` is
    their share then. Both None: one sample. `begins` and `ends` bound the time that it is about, `ends` excluded;
    None: the moment `at`. Windows of one metric never overlap, and each is given once in a probe's life.

    `waiting` says that nothing was due in this round: not even missing. `harm` is None then.
    """

    metric: str
    at: datetime
    harm: float | None
    detail: str
    latency_seconds: float | None = None
    bad: int | None = None
    total: int | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    waiting: bool = False

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples failed, of how many; (0, 0) when it is missing.

        A share between 0 and 1 without counts is one whole harm: that only makes passing harder.
        """
        if self.harm is None:
            return 0, 0
        if self.bad is not None and self.total is not None:
            return self.bad, self.total
        return int(self.harm > 0), 1


class HealthProbe(Protocol):
    """Something that can be asked about a feature's health. One round measures every metric once; never raises.

    `metrics` are those that must pass now. It may grow while it is asked: a part of the traffic that was not seen
    before is a metric of its own.
    """

    @property
    def metrics(self) -> tuple[str, ...]: ...
    def measure(self) -> Sequence[Measurement]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Head:
    """The end of one feature's chain: how many entries, and the hash of the last (64 hex digits)."""

    feature: str
    sequence: int
    hash: str


class Ledger(Protocol):
    """The append-only history, one hash chain per feature.

    `append` stores entries that it does not have yet (by `entry_id`) in one transaction and returns how many were new.
    It waits for a lock no longer than it was told at construction. Raises `HistoryUnwritable`.
    `entries` yields stored entries in sequence. `head` is None for a feature without entries.
    """

    def append(self, entries: Iterable[Entry]) -> int: ...
    def entries(self, feature: str | None = None) -> Iterable[Any]: ...
    def head(self, feature: str) -> Head | None: ...
    def close(self) -> None: ...


class Notifier(Protocol):
    """Tells people. Never raises and never delays an off effect."""

    def notify(self, text: str, *, feature: str, incident: str | None) -> None: ...


__all__ = [
    "ClientView",
    "Clock",
    "FlagStore",
    "Head",
    "HealthProbe",
    "Ledger",
    "Measurement",
    "Notifier",
    "Sample",
    "Sighting",
    "SnapshotReader",
]
