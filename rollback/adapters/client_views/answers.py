"""From what a Flipt says to what the proof asks: is this sample served the feature?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rollback.core.flag import Polarity
from rollback.core.sample import Sample, Sighting

MAX_ERRORS = 5
"""How many distinct errors a sighting keeps; one more says how many there were."""

MAX_ERROR_LENGTH = 300
"""Characters; the rest of an error is cut."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One evaluation. `enabled` is None for a variant flag; `variant` is empty when none is handed out."""

    enabled: bool | None = None
    variant: str = ""
    match: bool = False

    def is_served(self, polarity: Polarity) -> bool:
        """True when this answer means having the feature.

        A rule that matches without handing out a variant counts as served (invariant 3): an application
        may look at the match alone.
        """
        if self.enabled is not None:
            return self.enabled == polarity.on_value
        return polarity.variant_is_on(self.variant) if self.variant else self.match


def sighting(
    samples: Sequence[Sample], answers: Iterable[Answer | None], errors: Iterable[str], polarity: Polarity
) -> Sighting:
    """The sighting for `samples`; an answer that is None was not given, and `errors` says why."""
    given = [(sample, answer) for sample, answer in zip(samples, answers, strict=False) if answer is not None]
    served = tuple(sample for sample, answer in given if answer.is_served(polarity))
    return Sighting(evaluated=len(given), served=served, errors=_shortened(errors))


def failed(*errors: str) -> Sighting:
    """A sighting in which nothing was evaluated."""
    return Sighting(evaluated=0, errors=_shortened(errors))


def _shortened(errors: Iterable[str]) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(" ".join(error.split())[:MAX_ERROR_LENGTH] for error in errors))
    more = [f"and {len(distinct) - MAX_ERRORS} more errors"] if len(distinct) > MAX_ERRORS else []
    return tuple(distinct[:MAX_ERRORS] + more)
