"""The gate of `rollback.core.evidence`, for many runs at once.

E depends on samples of 0 and 1 only through their counts. It rises with each clean sample and falls with each failed
one; the harm test does the opposite. So both are tables: how many clean samples let `b` failed ones pass, and with how
many clean samples at most `b` failed ones are harm. The tables are asked of `Evidence` and `HarmEvidence`
themselves, and a test compares whole runs with what the program's own book says sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rollback.core.evidence import Evidence, HarmEvidence
from tests.figures.numbers import GateLimits

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER = 1 << 30
"""More samples than any run has."""


class Ending(IntEnum):
    """How one gate ended."""

    EXPIRED = 0  # not enough evidence in time
    PASSED = 1
    HARMED = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """One gate as tables. `needed[b]`: clean samples for a pass; `allowed[b]`: clean samples up to which it is harm.

    Above the tables' ends `b` failed samples can no longer pass, and are harm however many were clean.
    """

    limits: GateLimits
    needed: Counts
    allowed: Counts

    def needs(self, bad: NDArray[np.integer]) -> Counts:
        """How many clean samples these counts of failed ones need."""
        return np.asarray(self.needed[np.minimum(bad, len(self.needed) - 1)])

    def allows(self, bad: NDArray[np.integer]) -> Counts:
        """Up to how many clean samples these counts of failed ones are harm; -1: with none."""
        return np.asarray(self.allowed[np.minimum(bad, len(self.allowed) - 1)])


@dataclass(frozen=True, slots=True)
class GateRuns:
    """The ending of each run, and the sample at which it came (1 is the first)."""

    ending: Counts
    at: Counts

    @property
    def passed(self) -> Bools:
        """Which runs passed."""
        return np.asarray(self.ending == Ending.PASSED)


def rule_for(p0: float, alpha: float, harm_alpha: float, limits: GateLimits) -> Rule:
    """The tables of a gate. `alpha` is what this one step may spend."""
    long_enough = 1 << limits.last.bit_length()  # so that gates of nearly the same length share their tables
    return Rule(limits, _needed(p0, alpha, long_enough), _allowed(p0, harm_alpha, long_enough))


@lru_cache(maxsize=64)
def _needed(p0: float, alpha: float, last: int) -> Counts:
    needed = [Evidence.start(p0).clean_samples_missing(alpha)]
    while needed[-1] + len(needed) - 1 <= last:
        bad, before = len(needed), needed[-1]
        needed.append(before + Evidence.from_counts(p0, bad, bad + before).clean_samples_missing(alpha))
    return np.array([*needed, NEVER], np.int64)


@lru_cache(maxsize=64)
def _allowed(p0: float, harm_alpha: float, last: int) -> Counts:
    allowed = [-1]  # no harm without a failed sample
    while allowed[-1] + len(allowed) - 1 < last:
        allowed.append(_most_clean(p0, len(allowed), harm_alpha, start=allowed[-1]))
    return np.array([*allowed, NEVER], np.int64)


def _most_clean(p0: float, bad: int, harm_alpha: float, start: int) -> int:
    """The largest number of clean samples with which `bad` failed ones are harm; `start` is known not to be above."""

    def is_harm(clean: int) -> bool:
        return HarmEvidence.from_counts(p0, bad, bad + clean).rejects(harm_alpha)

    if not is_harm(start + 1):
        return start
    low, high = start + 1, start + 2
    while is_harm(high):
        low, high = high, 2 * high + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_harm(middle) else (low, middle)
    return low


def run_samples(rule: Rule, bad: Bools) -> GateRuns:
    """Runs the gate on samples that are given one by one: `bad[run, sample]`, at least `rule.limits.last` of them."""
    first, last = rule.limits.first, rule.limits.last
    failed = np.cumsum(bad[:, :last], axis=1, dtype=np.int32)
    clean = np.arange(1, last + 1, dtype=np.int32) - failed
    passes = clean >= rule.needs(failed)
    passes[:, : first - 1] = False
    harms = clean <= rule.allows(failed)
    return _first(_first_true(passes), _first_true(harms), last)


def _first_true(where: Bools) -> Counts:
    at = np.argmax(where, axis=1).astype(np.int64) + 1
    return np.where(where.any(axis=1), at, NEVER)


def _first(pass_at: Counts, harm_at: Counts, last: int) -> GateRuns:
    ending = np.where(pass_at < harm_at, int(Ending.PASSED), int(Ending.HARMED))
    at = np.minimum(pass_at, harm_at)
    over = at > last
    return GateRuns(np.where(over, int(Ending.EXPIRED), ending), np.where(over, last, at))


def run_streaks(rule: Rule, begin_bad: Counts, gap: Callable[[int], Counts], length: int) -> GateRuns:
    """Runs the gate on a service whose failures come `length` in a row, with clean gaps between them.

    Each run begins with so many failures; `gap(n)` draws n gaps. Exact, and far faster than sample by sample: within a
    gap only a pass can come, at the earliest sample that has enough, and within a row of failures only harm.
    """
    first, last, runs = rule.limits.first, rule.limits.last, begin_bad.size
    clean, bad = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    ending, at = np.full(runs, int(Ending.EXPIRED)), np.full(runs, last)
    left, row = np.arange(runs), begin_bad
    while left.size:
        harm_at = _harm_within(rule, clean, bad, row)
        bad = bad + row
        seen, gaps = clean + bad, gap(left.size)
        pass_at = np.maximum(np.maximum(rule.needs(bad) + bad, first), seen + 1)
        is_harm = harm_at <= last
        is_pass = ~is_harm & (pass_at <= np.minimum(seen + gaps, last))
        ending[left] = np.where(is_harm, int(Ending.HARMED), np.where(is_pass, int(Ending.PASSED), int(Ending.EXPIRED)))
        at[left] = np.where(is_harm, harm_at, np.where(is_pass, pass_at, last))
        go_on = ~is_harm & ~is_pass & (seen + gaps < last)
        left, clean, bad = left[go_on], (clean + gaps)[go_on], bad[go_on]
        row = np.full(left.size, length)
    return GateRuns(ending, at)


def _harm_within(rule: Rule, clean: Counts, bad: Counts, length: Counts) -> Counts:
    """At which sample of a row of failures there is harm; NEVER when the row ends before."""
    needed = np.searchsorted(rule.allowed, clean)  # the smallest number of failures that is harm with so many clean
    at = clean + np.maximum(needed, bad + 1)
    return np.where((length > 0) & (needed <= bad + length), at, NEVER)
