"""A probe that reads closed windows of a source, each once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rollback.core.metric_verdict import Known, Missing, Observation, Rule, Strata, judged
from rollback.core.metric_window import Window, first_window, is_due, is_given_up, last_closed
from rollback.ports import Clock, Measurement

LONGEST_PAUSE = 15.0
"""Seconds until a source that did not answer is asked again; a quarter of a window when that is less."""

REVISED = "the window was revised after it was read: it was not complete"


class NoAnswer(Exception):
    """A source gave nothing that can be used; `why` says it in a few words of our own, with nothing of the answer."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class WindowSource(Protocol):
    """Something that tells what was in windows of time.

    `revisable` says whether a window may read otherwise later, so that it is worth being asked twice. `ask` gives each
    of `windows` (in order, disjoint) by stratum, empty when nothing came, and raises `NoAnswer` alone.
    """

    revisable: bool

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Held:
    """A window that was read once. It counts when it reads the same again."""

    window: Window
    strata: Strata


class WindowedHealthProbe:
    """A `HealthProbe` over a `WindowSource`.

    The windows that count begin after the probe was made, follow one another, and are measured once each, the oldest
    first, one a round. A source that may revise its windows is asked for each of them twice, a window apart; one that
    differs is missing. What does not answer is asked again for three windows' lengths; then the window is missing. Only
    time decides which windows are read, never what is in them.

    The first round reads the newest closed window, which is older than the probe: a sign of life, and what the world
    looked like. An `EvidenceBook` does not count it. Between windows the metrics are `waiting`.

    `unknown` says why the source is never asked; then all is missing. `measure` never raises and takes as long as the
    source's timeout.
    """

    def __init__(
        self,
        source: WindowSource | None,
        rule: Rule,
        *,
        length: timedelta,
        delay: timedelta,
        clock: Clock,
        unknown: str | None = None,
    ) -> None:
        self.unknown: Mapping[str, str] = {rule.name: unknown} if unknown else {}
        self._source, self._rule, self._delay, self._clock = source, rule, delay, clock
        self._why_closed = f"not asked: {unknown}" if unknown else ""
        self._known = Known()
        self._next = first_window(clock.now(), length)
        self._held: _Held | None = None
        self._tried = False
        self._ask_again = float("-inf")
        self._lock = threading.Lock()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The whole, and the parts of the traffic that are known by now."""
        return self._known.metrics(self._rule)

    def measure(self) -> list[Measurement]:
        """One round: a window that has become due, or that nothing has."""
        with self._lock:
            now = self._clock.now()
            if self._why_closed or self._source is None:
                return self._all(now, self._why_closed or "there is nothing to ask")
            if not self._tried:
                return self._try_out(self._source, now)
            if not is_due(self._next, now, self._delay):
                return self._all(now, "no new window yet", waiting=True)
            if self._clock.monotonic() < self._ask_again:
                return self._all(now, "asked again soon", waiting=True)
            return self._read(self._source, now)

    def close(self) -> None:
        """Nothing is asked any more. Idempotent."""
        with self._lock:
            self._why_closed = self._why_closed or "the probe is closed"
        if self._source is not None:
            self._source.close()

    # -- one window ------------------------------------------------------------------------------------------------

    def _try_out(self, source: WindowSource, now: datetime) -> list[Measurement]:
        self._tried = True
        window = last_closed(now, self._next.length, self._delay)
        found = self._asked(source, [window])
        return self._all(now, found) if isinstance(found, str) else self._judged(now, window, found.get(window, {}))

    def _read(self, source: WindowSource, now: datetime) -> list[Measurement]:
        window, held = self._next, self._held
        if is_given_up(window, now, self._delay):
            return self._missed(now, "nobody read it in time")
        found = self._asked(source, [window] if held is None else [held.window, window])
        if isinstance(found, str):
            self._ask_again = self._clock.monotonic() + min(LONGEST_PAUSE, window.length.total_seconds() / 4)
            return self._all(now, found)
        self._next = window.after
        strata = found.get(window, {})
        if not source.revisable:
            return self._judged(now, window, strata)
        self._held = _Held(window, strata)
        if held is None:
            return self._all(now, "read once; it counts when it reads the same again", waiting=True)
        if found.get(held.window, {}) != held.strata:
            return self._all(now, REVISED, window=held.window)
        return self._judged(now, held.window, held.strata)

    def _missed(self, now: datetime, why: str) -> list[Measurement]:
        """Goes on with the newest window: what is older is missing, whatever is in it."""
        lost = self._next
        self._held = None
        self._next = max(lost.after, last_closed(now, lost.length, self._delay))
        return self._all(now, why, window=lost)

    def _asked(self, source: WindowSource, windows: Sequence[Window]) -> Mapping[Window, Strata] | str:
        try:
            return source.ask(windows)
        except NoAnswer as error:
            return error.why[:200]
        except Exception as error:  # a fault of ours: its text may hold anything
            return f"the source failed on this side: {type(error).__name__}"

    def _judged(self, now: datetime, window: Window, strata: Strata) -> list[Measurement]:
        found, self._known = judged(self._rule, strata, self._known)
        return [_measured(one, now, window) for one in found]

    def _all(
        self, now: datetime, why: str, *, waiting: bool = False, window: Window | None = None
    ) -> list[Measurement]:
        begins, ends = (None, None) if window is None else (window.begins, window.ends)
        return [Measurement(name, now, None, why, begins=begins, ends=ends, waiting=waiting) for name in self.metrics]


def _measured(one: Observation, now: datetime, window: Window) -> Measurement:
    if one.counts is None:
        return Measurement(one.metric, now, None, one.detail, begins=window.begins, ends=window.ends)
    bad, total = one.counts.bad, one.counts.total
    return Measurement(
        one.metric, now, bad / total, one.detail, bad=bad, total=total, begins=window.begins, ends=window.ends
    )


def missing_everywhere(windows: Sequence[Window], why: str) -> dict[Window, Strata]:
    """An answer in which every window is missing for one reason."""
    return {window: {"": Missing(why)} for window in windows}
