"""Off is proven before it is claimed (invariant 2): the parts of the proof, and when they add up.

On *each* configured replica: `reasoning` over the snapshot that SDKs read, the `engine` inside SDKs, and the
`server`, the last two asked for all 100 buckets × (no context, one per segment). For each kind of client
that the policy declares: `stream` (a stream has seen it) or `polling` (an interval has passed since the
*last* replica turned, on a monotonic clock: assumed by time, and said so). And `effect`: the application's
own read-back, where one is configured. One part that is missing, failed or still waiting, and off is not
proven. An evaluation that failed is never an off. Surfaces that the flag does not reach are named beside
the parts; they do not count. Kill path: standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from rollback.core.exposure import Exposure
from rollback.core.sample import Sighting

REASONING, ENGINE, SERVER = "reasoning", "engine", "server"
STREAM, POLLING = "stream", "polling"
EFFECT = "effect"

ON_EACH_REPLICA = (REASONING, ENGINE, SERVER)
"""What must be proven on every replica."""

_MAX_NAMED = 3
"""How many errors, reasons or segments a detail names before it only counts."""


class Status(StrEnum):
    """What is known of one part; `ProofPart.holds` says which of them count."""

    PROVEN = "proven"
    ASSUMED = "assumed"
    WAITING = "waiting"
    OPEN = "open"
    """Somebody is still served."""
    UNKNOWN = "unknown"
    NOT_CONFIGURED = "not_configured"


@dataclass(frozen=True, slots=True)
class ProofPart:
    """One part. `at` is when it was seen, for `waiting` when it is due; None when there is no time to tell.

    `detail` is for people and names the replica where there is one; `replica` says the same to programs.
    `unsampled` names the segments for which no member was found, each with the reason.
    """

    name: str
    status: Status
    detail: str
    at: datetime | None = None
    replica: str = ""
    unsampled: tuple[tuple[str, str], ...] = ()

    @property
    def holds(self) -> bool:
        """True when this part does not stand against the proof."""
        return (
            self.status is Status.PROVEN
            or (self.status is Status.ASSUMED and self.name == POLLING)
            or (self.status is Status.NOT_CONFIGURED and self.name == EFFECT)
        )

    def to_json(self) -> dict[str, Any]:
        """The part as JSON values."""
        document: dict[str, Any] = {"name": self.name, "status": self.status.value, "detail": self.detail}
        document["at"] = self.at.isoformat() if self.at else None
        if self.replica:
            document["replica"] = self.replica
        if self.unsampled:
            document["unsampled"] = [{"segment": segment, "why": why} for segment, why in self.unsampled]
        return document


@dataclass(frozen=True, slots=True)
class OffProof:
    """All parts of one look: one for every replica and kind of client, also where looking failed.

    `not_covered` names the surfaces that the flag does not reach.
    """

    parts: tuple[ProofPart, ...]
    not_covered: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True when reasoning, engine and server are there, each for as many replicas as the others."""
        counts = {sum(part.name == name for part in self.parts) for name in ON_EACH_REPLICA}
        return len(counts) == 1 and 0 not in counts

    @property
    def proven(self) -> bool:
        """True when the parts are complete and none stands against it."""
        return self.complete and all(part.holds for part in self.parts)

    @property
    def lacking(self) -> tuple[ProofPart, ...]:
        """The parts that stand against the proof."""
        return tuple(part for part in self.parts if not part.holds)

    @property
    def waits_only_for_time(self) -> bool:
        """True when only a polling interval has still to pass."""
        lacking = self.lacking
        return self.complete and bool(lacking) and all(part.status is Status.WAITING for part in lacking)

    def to_json(self) -> dict[str, Any]:
        """`off_basis`: every part with its status, and the surfaces that the flag does not reach."""
        return {
            "proven": self.proven,
            "parts": [part.to_json() for part in self.parts],
            "not_covered": list(self.not_covered),
        }


# -- building the parts --------------------------------------------------------------------------------------


def reasoning_part(replica: str, exposure: Exposure, at: datetime) -> ProofPart:
    """What follows from the snapshot that SDKs read on one replica."""
    if exposure.percent is None:
        return failed_part(REASONING, exposure.unknown or "the exposure is unknown", at, replica)
    if exposure.is_off:
        return ProofPart(REASONING, Status.PROVEN, f"{replica}: nobody can be served", at, replica)
    detail = f"{replica}: {exposure.percent} of 100 buckets can be served: {_some(exposure.why)}"
    return ProofPart(REASONING, Status.OPEN, detail, at, replica)


def part_from_sighting(
    name: str,
    replica: str,
    sighting: Sighting | None,
    asked: int,
    unsampled: Sequence[tuple[str, str]],
    at: datetime,
) -> ProofPart:
    """What the engine or server of one replica said to the `asked` samples; None when it has not answered."""
    if sighting is None:
        return failed_part(name, "no answer in time", at, replica)
    left_out = tuple(unsampled)
    if sighting.served:
        segments = dict.fromkeys(sample.segment or "without context" for sample in sighting.served)
        buckets = len({sample.bucket for sample in sighting.served})
        count = f"{len(sighting.served)} of {asked} samples in {buckets} buckets"
        detail = f"{replica}: {count} are served: {_some(segments)}"
        return ProofPart(name, Status.OPEN, detail, at, replica, left_out)
    if not asked or not sighting.complete(asked):
        why = _some(sighting.errors) or "nothing more is known"
        detail = f"{replica}: {sighting.evaluated} of {asked} samples were answered: {why}"
        return ProofPart(name, Status.UNKNOWN, detail, at, replica, left_out)
    rest = f" ({len(left_out)} segments could not be sampled)" if left_out else ""
    detail = f"{replica}: none of {asked} samples is served{rest}"
    return ProofPart(name, Status.PROVEN, detail, at, replica, left_out)


def failed_part(name: str, why: str, at: datetime, replica: str = "") -> ProofPart:
    """A part that could not be looked at."""
    return ProofPart(name, Status.UNKNOWN, f"{replica}: {why}" if replica else why, at, replica)


def stream_part(replica: str, seen_at: datetime | None, why_not: str, at: datetime) -> ProofPart:
    """Whether a streaming client has seen it; `why_not` says what came instead when `seen_at` is None."""
    if seen_at is None:
        return failed_part(STREAM, why_not, at, replica)
    return ProofPart(STREAM, Status.PROVEN, f"{replica}: a streaming client has seen it", seen_at, replica)


def polling_part(
    now_monotonic: float, last_turned_monotonic: float | None, interval_seconds: float, now: datetime
) -> ProofPart:
    """Whether clients that poll have asked since the last replica turned (times of one monotonic clock).

    `last_turned_monotonic` is None while some replica has not turned.
    """
    if last_turned_monotonic is None:
        return ProofPart(POLLING, Status.WAITING, "clients that poll: not every replica has turned yet")
    rest = interval_seconds - (now_monotonic - last_turned_monotonic)
    due = now + timedelta(seconds=rest)
    if rest > 0:
        detail = f"clients that poll ask every {interval_seconds:g} s; {math.ceil(rest)} s are left"
        return ProofPart(POLLING, Status.WAITING, detail, due)
    detail = f"assumed by time: clients that poll ask every {interval_seconds:g} s"
    return ProofPart(POLLING, Status.ASSUMED, detail, due)


def effect_part(status: Status, detail: str, at: datetime) -> ProofPart:
    """What the application's own read-back said."""
    return ProofPart(EFFECT, status, detail, at)


NO_EFFECT_CHECK = ProofPart(EFFECT, Status.NOT_CONFIGURED, "no effect check is configured")
"""Stands in when the policy configures no effect check."""


def _some(words: Iterable[str]) -> str:
    """The first few distinct ones, and how many more there are."""
    distinct = list(dict.fromkeys(words))
    more = f" and {len(distinct) - _MAX_NAMED} more" if len(distinct) > _MAX_NAMED else ""
    return "; ".join(distinct[:_MAX_NAMED]) + more
