"""All of a feature's probes as one: its endpoints, the metrics of other systems, and what makes both meaningless."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from rollback.ports import Clock, HealthProbe, Measurement


class Watch(Protocol):
    """Something that says why what is measured now means nothing; None when it means something.

    `look` asks once and never raises. It is asked before and after each round, but not more often than `every_seconds`.
    After it said why, nothing counts until it has had nothing to say for `steady_seconds`.
    """

    steady_seconds: float
    every_seconds: float

    def look(self) -> str | None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One probe, and from which exposure (percent) on its metrics must pass."""

    probe: HealthProbe
    counts_from: float = 0.0


class CombinedHealthProbe:
    """A `HealthProbe` of several, asked at the same time. Never raises.

    `exposed` gives the percentage of the buckets that are open now. A part that counts from more is neither asked nor
    among `metrics`: a feature that is off has no users to count. What cannot be told counts as fully exposed: then
    its metrics are needed, and without data the gate stays shut.

    `watches` (the version, planned silence) void what they say is meaningless: the whole round, and every window that
    began before all of them had been quiet for their time. `unknown` are the metrics that are never asked, and why.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        clock: Clock,
        watches: Sequence[Watch] = (),
        unknown: Mapping[str, str] | None = None,
        exposed: Callable[[], float] = lambda: 100.0,
    ) -> None:
        self.unknown: Mapping[str, str] = dict(unknown or {})
        self._parts, self._clock, self._exposed = tuple(parts), clock, exposed
        self._quiet = [_Quiet(watch, clock) for watch in watches]
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that must pass at the present exposure."""
        return tuple(name for part in self._counting() for name in part.probe.metrics)

    def measure(self) -> list[Measurement]:
        """One round of all parts that count now."""
        counting = self._counting()
        before = self._look()
        measured = [one for found in self._all(counting) for one in found]
        why = before or self._look()
        spoilt = max((one.spoke_at for one in self._quiet if one.spoke_at is not None), default=None)
        unsteady = not all(one.is_steady for one in self._quiet)
        return [_voided(one, why, spoilt, unsteady=unsteady) for one in measured]

    def close(self) -> None:
        """Closes all parts. Idempotent."""
        self._closed = True
        for part in self._parts:
            part.probe.close()
        for quiet in self._quiet:
            quiet.watch.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _counting(self) -> list[Part]:
        try:
            exposed = self._exposed()
        except Exception:  # whatever it is, it must not make metrics less needed
            exposed = 100.0
        return [part for part in self._parts if part.counts_from <= exposed]

    def _look(self) -> str | None:
        """The first reason why nothing counts now."""
        if self._closed:
            return None
        with self._lock:
            found = [one.look() for one in self._quiet]
        return next((why for why in found if why), None)

    def _all(self, parts: Sequence[Part]) -> list[Sequence[Measurement]]:
        """In the order of the parts; the last one in this thread, the others beside it."""
        if len(parts) < 2 or self._closed:
            return [part.probe.measure() for part in parts]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(self._parts), thread_name_prefix="health-parts")
        try:
            others: list[Future[Sequence[Measurement]]] = [
                self._threads.submit(part.probe.measure) for part in parts[1:]
            ]
        except RuntimeError:  # no thread left, or it was closed just now
            return [part.probe.measure() for part in parts]
        return [parts[0].probe.measure(), *(other.result() for other in others)]


class _Quiet:
    """What a watch has said. `spoke_at`: when it last had something to say; `since`: it has been quiet from then on."""

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self.watch = watch
        self.spoke_at: datetime | None = None
        self.since: datetime | None = None
        self._clock = clock
        self._why: str | None = None
        self._looked = float("-inf")

    @property
    def is_steady(self) -> bool:
        """Whether it has been quiet for as long as it asks for."""
        steady = timedelta(seconds=self.watch.steady_seconds)
        return self.since is not None and self._clock.now() >= self.since + steady

    def look(self) -> str | None:
        """What it says now, or said when it was asked not long ago."""
        if self._clock.monotonic() - self._looked >= self.watch.every_seconds:
            self._looked = self._clock.monotonic()
            began = self._clock.now()
            self._why = self.watch.look()
            if self._why:
                self.since, self.spoke_at = None, self._clock.now()
            elif self.since is None:
                self.since = began
        return self._why


def _voided(one: Measurement, why: str | None, spoilt: datetime | None, *, unsteady: bool) -> Measurement:
    """The measurement, unless something makes it meaningless. A window is void as a whole, and is not given again."""
    if one.waiting or one.harm is None:
        return one
    if why is None and spoilt is not None and one.begins is not None and one.begins <= spoilt:
        why = "something made a part of the window meaningless"
    if why is None and unsteady:
        return _empty(one, "what answers has not been the right version for long enough", waiting=True)
    return one if why is None else _empty(one, why, waiting=False)


def _empty(one: Measurement, why: str, *, waiting: bool) -> Measurement:
    return replace(one, harm=None, detail=why[:200], latency_seconds=None, bad=None, total=None, waiting=waiting)
