"""What to do, in the imperative. Each effect sets absolute values and carries a key, so that doing it twice is doing it
once; lowering may be repeated by anyone at any time, raising is never re-run after a crash but decided again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LowerExposure:
    """Put a kill of its own (`key`) in front, holding off `held` buckets (100: off for everybody)."""

    key: str
    epoch: int
    held: int


@dataclass(frozen=True, slots=True)
class ProveOff:
    """Look at the flag as every kind of client does, until off is proven or the policy's time is up."""

    epoch: int


@dataclass(frozen=True, slots=True)
class RaiseExposure:
    """Let the kill hold off only `held` buckets; 0 takes ours out. Stops when the case's epoch is newer."""

    epoch: int
    held: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class WatchExposure:
    """Keep probing what is exposed, and report harm."""

    epoch: int


@dataclass(frozen=True, slots=True)
class CallHuman:
    """Tell a role that somebody has to look."""

    what: str
    role: str


Effect = LowerExposure | ProveOff | RaiseExposure | WatchExposure | CallHuman
