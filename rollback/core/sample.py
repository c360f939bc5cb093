"""What the proof asks clients for, and what they saw. Kill path: standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluation to ask for: an entity of a known bucket, with a context.

    `segment` is the segment whose members the context stands for, `None` for the empty context.
    """

    entity_id: str
    bucket: int
    context: Mapping[str, str] = field(default_factory=dict)
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one client saw: how many evaluations answered, which samples still get the feature, and what failed.

    An evaluation that fails is an error, never an off. `complete` is True when every sample was answered.
    """

    evaluated: int
    served: tuple[Sample, ...] = ()
    errors: tuple[str, ...] = ()

    def complete(self, asked: int) -> bool:
        """True when all that was asked for was answered, and nothing failed."""
        return self.evaluated == asked and not self.errors
