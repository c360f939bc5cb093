"""Proves that off is off (invariant 2), and never claims it before: looks at the flag as every kind of client does.

On each replica: (a) reasoning over the snapshot that SDKs read, (b) the engine and the server's own evaluation for all
100 buckets; for each kind of client that the policy declares (d) a stream that has seen it, or a polling interval since
the last replica turned; and (e) the application's own read-back where one is configured.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollback.core.contexts import Samples, samples_for
from rollback.core.exposure import Exposure, exposure
from rollback.core.flag import FlagConfig, FlagRef, Polarity
from rollback.core.proof import (
    NO_EFFECT_CHECK,
    ON_EACH_REPLICA,
    POLLING,
    REASONING,
    OffProof,
    ProofPart,
    Status,
    failed_part,
    part_from_sighting,
    polling_part,
    reasoning_part,
)
from rollback.errors import RollbackError

if TYPE_CHECKING:
    from rollback.ports import ClientView, Clock, Sighting, SnapshotReader

LAST_LOOK = 5.0
"""Seconds that a look may take though the time is up: what is said at the end has to be what was seen."""

LOOK_AGAIN_AFTER = 0.25
"""Seconds between two looks while something is still open; a replica's lag is seconds."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One server that clients read from: its snapshot, and what evaluates it."""

    name: str
    reader: SnapshotReader
    views: tuple[ClientView, ...]


@dataclass(slots=True)
class Prover:
    """Looks, waits and looks again.

    `stream` and `effect` are asked once per look where they are configured: they return a part. `turns` is since when
    each replica was seen off, on the monotonic clock, by name, without those that are not; whoever looks again later,
    with another prover, gives it that of the one before.
    """

    ref: FlagRef
    polarity: Polarity
    replicas: Sequence[Replica]
    clock: Clock
    poll_seconds: float | None = None
    stream: Callable[[float], Sequence[ProofPart]] | None = None
    effect: Callable[[float], ProofPart] | None = None
    file_only: str | None = None
    not_covered: tuple[str, ...] = ()
    readers_unknown: str | None = None
    turns: dict[str, float] = field(default_factory=dict)

    def prepare(self) -> None:
        """Starts what is slow to start, before the write."""
        for replica in self.replicas:
            for view in replica.views:
                view.prepare()

    def close(self) -> None:
        """Frees every view."""
        for replica in self.replicas:
            for view in replica.views:
                view.close()

    def look(self, deadline: float) -> tuple[OffProof, Exposure | None]:
        """One look at everything. The exposure is the worst over the replicas; None when none could be read."""
        if self.file_only is not None:
            return OffProof((failed_part(REASONING, self.file_only, self.clock.now()),), self.not_covered), None
        parts: list[ProofPart] = []
        worst: Exposure | None = None
        for replica in self.replicas:
            found, seen = self._look_at(replica, deadline)
            parts.extend(found)
            if seen is not None and (worst is None or len(seen.buckets) > len(worst.buckets) or seen.unknown):
                worst = seen
        if self.readers_unknown is not None:
            parts.append(failed_part("readers", self.readers_unknown, self.clock.now()))
        if self.stream is not None:
            parts.extend(self.stream(deadline))
        if self.poll_seconds is not None:
            parts.append(polling_part(self.clock.monotonic(), self._last_turned(), self.poll_seconds, self.clock.now()))
        parts.append(self.effect(deadline) if self.effect is not None else NO_EFFECT_CHECK)
        return OffProof(tuple(parts), self.not_covered), worst

    def prove(
        self, until: float, on_look: Callable[[OffProof], None], stop: Callable[[], bool] = lambda: False
    ) -> OffProof:
        """Looks until off is proven or `until` (monotonic) has passed; `on_look` sees each look.

        Once every replica is off only time is missing, so it waits for that without asking the servers again,
        and takes a last full look at the end.
        """
        while True:
            proof, _ = self.look(max(until, self.clock.monotonic() + LAST_LOOK))
            on_look(proof)
            now = self.clock.monotonic()
            if proof.proven or now >= until or stop():
                return proof
            wait = LOOK_AGAIN_AFTER
            if proof.waits_only_for_time and self.poll_seconds is not None:
                wait = max(0.0, (self._last_turned() or now) + self.poll_seconds - now)
            self._wait(min(wait, until - now), proof, on_look, stop)

    def _wait(
        self, seconds: float, proof: OffProof, on_look: Callable[[OffProof], None], stop: Callable[[], bool]
    ) -> None:
        """Waits in slices, so that a countdown moves and an interrupt is heard."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 0 and not stop():
            self.clock.sleep(min(left, LOOK_AGAIN_AFTER))
            on_look(proof)

    def turned_before(self, monotonic: float) -> None:
        """Takes it that every replica turned at `monotonic` at the latest (from the record of an earlier proof)."""
        for replica in self.replicas:
            self.turns[replica.name] = monotonic

    def _last_turned(self) -> float | None:
        """When the last replica turned; None while one has not."""
        known = [self.turns[replica.name] for replica in self.replicas if replica.name in self.turns]
        return max(known) if known and len(known) == len(self.replicas) else None

    def _look_at(self, replica: Replica, deadline: float) -> tuple[list[ProofPart], Exposure | None]:
        now = self.clock.now()
        try:
            config = replica.reader.snapshot(self.ref, deadline=deadline)
        except RollbackError as error:
            self.turns.pop(replica.name, None)
            return [failed_part(name, error.message, now, replica.name) for name in ON_EACH_REPLICA], None
        seen = exposure(config, self.polarity)
        parts = [reasoning_part(replica.name, seen, now)]
        parts.extend(self._evaluated(replica, config, deadline))
        if all(part.status is Status.PROVEN for part in parts):
            self.turns.setdefault(replica.name, self.clock.monotonic())
        else:
            self.turns.pop(replica.name, None)
        return parts, seen

    def _evaluated(self, replica: Replica, config: FlagConfig, deadline: float) -> list[ProofPart]:
        """Asks every view at the same time: each waits for its own process or server."""
        samples: Samples = samples_for(config)
        sightings: dict[str, Sighting] = {}

        def ask(view: ClientView) -> None:
            sightings[view.name] = view.evaluate(self.ref, self.polarity, samples.samples, deadline=deadline)

        threads = [threading.Thread(target=ask, args=(view,), daemon=True) for view in replica.views[1:]]
        for thread in threads:
            thread.start()
        for view in replica.views[:1]:
            ask(view)
        for thread in threads:
            thread.join(max(0.1, deadline - self.clock.monotonic() + 1.0))
        return [
            part_from_sighting(
                view.name,
                replica.name,
                sightings.get(view.name),
                len(samples.samples),
                samples.unsampled,
                self.clock.now(),
            )
            for view in replica.views
        ]


def lacking_words(proof: OffProof) -> str:
    """What stands against the proof, in a few words; empty when nothing does."""
    return "; ".join(f"{part.name}: {part.detail}" for part in proof.lacking[:3]) or (
        "" if proof.complete else "not every replica could be looked at"
    )


def off_on_servers(proof: OffProof) -> bool:
    """True when reasoning, engine and server agree on every replica, whatever its readers still have to do."""
    return proof.complete and all(part.holds for part in proof.parts if part.name in ON_EACH_REPLICA)


def waiting_words(proof: OffProof) -> str:
    """What is being waited for."""
    return next((part.detail for part in proof.lacking if part.name == POLLING), "") or lacking_words(proof)
