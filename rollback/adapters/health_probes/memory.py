"""A stand-in that answers by a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from rollback.ports import Clock, Measurement

Outcome = float | None
Script = Outcome | Iterable[Outcome] | Callable[[int], Outcome]
"""What a metric says: always the same; one outcome a round until they end (then missing); or a function of the
number of the round, from 1. An outcome is harm in [0, 1], or None for missing."""


class MemoryHealthProbe:
    """A `HealthProbe` whose outcomes are scripted per metric, and can be changed at any time with `say`.

    `on_round` is called with the number of each round (from 1) before it is measured, e.g. to move a clock; what it
    raises comes out of `measure`. Otherwise `measure` raises only ValueError, for a script that leaves [0, 1].
    """

    def __init__(
        self,
        script: Mapping[str, Script],
        *,
        clock: Clock,
        on_round: Callable[[int], None] | None = None,
        latency_seconds: float = 0.001,
    ) -> None:
        self.metrics = tuple(script)
        self.rounds = 0
        self.closed = False
        self.on_round = on_round
        self._clock = clock
        self._latency_seconds = latency_seconds
        self._lock = threading.Lock()
        self._says: dict[str, Callable[[int], Outcome]] = {}
        for metric, says in script.items():
            self.say(metric, says)

    def say(self, metric: str, script: Script) -> None:
        """From the next round on `metric` follows `script`. KeyError for a metric that is not there."""
        if metric not in self.metrics:
            raise KeyError(metric)
        with self._lock:
            self._says[metric] = _following(script)

    def measure(self) -> list[Measurement]:
        """One round: one measurement of each metric, in the order of `metrics`."""
        with self._lock:
            self.rounds += 1
            number = self.rounds
        if self.on_round is not None:
            self.on_round(number)
        at = self._clock.now()
        with self._lock:
            outcomes = [None if self.closed else _checked(self._says[metric](number)) for metric in self.metrics]
        return [
            Measurement(metric, at, outcome, "scripted", None if outcome is None else self._latency_seconds)
            for metric, outcome in zip(self.metrics, outcomes, strict=True)
        ]

    def close(self) -> None:
        """From now on everything is missing. Idempotent."""
        self.closed = True


def _following(script: Script) -> Callable[[int], Outcome]:
    if callable(script):
        return script
    if isinstance(script, Iterable):
        outcomes: Iterator[Outcome] = iter(script)
        return lambda _: next(outcomes, None)
    return lambda _: script


def _checked(outcome: Outcome) -> Outcome:
    if outcome is not None and not 0 <= outcome <= 1:
        raise ValueError(f"a harm lies in [0, 1], or is None; the script says {outcome!r}")
    return outcome
