"""A whole return: gate after gate, each with its share of alpha, and fix after fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tests.figures.gate import Bools, Counts, Ending, Floats, GateRuns, Rule, rule_for
from tests.figures.numbers import GateLimits, Numbers
from tests.figures.services import DAY, Service


@dataclass(frozen=True, slots=True)
class Climb:
    """Many returns with one fix. `raises`: how many steps up each one got; `seconds`: how long it took in all.

    `gates` has the runs of each gate, of those that came so far.
    """

    raises: Counts
    seconds: Floats
    gates: tuple[GateRuns, ...]

    @property
    def raised(self) -> Bools:
        """Which returns let anybody in at all."""
        return np.asarray(self.raises > 0)

    @property
    def returned(self) -> Bools:
        """Which returns came to 100 %."""
        return np.asarray(self.raises == len(self.gates))


def rules(numbers: Numbers, attempt: int = 1) -> tuple[Rule, ...]:
    """The gates of one return with the `attempt`-th fix, as `EvidenceBook` judges them."""
    return tuple(
        rule_for(numbers.p0, numbers.may_spend(gate, attempt), numbers.harm_alpha, limits)
        for gate, limits in enumerate(numbers.gates)
    )


def one_gate(numbers: Numbers, alpha: float, limits: GateLimits) -> Rule:
    """A single gate with a level and limits of its own."""
    return rule_for(numbers.p0, alpha, numbers.harm_alpha, limits)


def climb(
    rng: Generator,
    services: Sequence[Service],
    numbers: Numbers,
    began: Floats,
    ladder: Sequence[Rule] | None = None,
) -> Climb:
    """Runs the whole ladder once per entry of `began`; gate k judges `services[k]`, the last one all that follow.

    A return ends at the first gate that does not pass. Nobody starts it again: the same fix continues its evidence, so
    starting again is one longer run.
    """
    ladder = rules(numbers) if ladder is None else ladder
    raises, seconds = np.zeros(began.size, np.int64), np.zeros(began.size)
    left = np.arange(began.size)
    gates = []
    for place, rule in enumerate(ladder):
        service = services[min(place, len(services) - 1)]
        at_clock = (began[left] + seconds[left]) % DAY
        found = service.run(rng, rule, at_clock, numbers.interval)
        gates.append(found)
        seconds[left] += (found.at - 1) * numbers.interval
        raises[left[found.passed]] += 1
        left = left[found.passed]
        if not left.size:
            break
    gates += [GateRuns(np.empty(0, np.int64), np.empty(0, np.int64))] * (len(ladder) - len(gates))
    return Climb(raises, seconds, tuple(gates))


def false_fixes(rng: Generator, service: Service, numbers: Numbers, runs: int, fixes: int, *, split: bool) -> Bools:
    """Which of `runs` cases let anybody in with any of `fixes` fixes that did not help.

    `split` False: as if each fix had the first one's share, to show what the split is for.
    """
    let_in = np.zeros(runs, bool)
    for attempt in range(1, fixes + 1):
        found = climb(rng, [service], numbers, np.zeros(runs), rules(numbers, attempt if split else 1))
        let_in |= found.raised
    return let_in


def chance_to_pass(rule: Rule, rate: float) -> float:
    """The exact probability that one gate passes a service with a constant rate: no drawing, no error.

    Follows the distribution over the number of failed samples, sample by sample. For `rate` = p0 this is also the
    most that any service reaches whose chance to fail is p0 or more at every sample, whatever came before: its
    samples can be drawn beside those of the constant one so that it fails whenever that one does, and a failure more
    never lets a gate pass.
    """
    first, last = rule.limits.first, rule.limits.last
    counts = np.arange(min(last, len(rule.needed) + len(rule.allowed)) + 1)
    open_at = rule.needs(counts) + counts
    harm_until = rule.allows(counts) + counts
    chance = np.zeros(counts.size)
    chance[0] = 1.0
    passed = 0.0
    for sample in range(1, last + 1):
        moved = chance * (1 - rate)
        moved[1:] += chance[:-1] * rate
        moved[harm_until >= sample] = 0.0
        if sample >= first:
            passes = open_at <= sample
            passed += float(moved[passes].sum())
            moved[passes] = 0.0
        chance = moved
    return passed


def finished_in(found: GateRuns) -> Counts:
    """At which sample those that passed did so."""
    return np.asarray(found.at[found.ending == Ending.PASSED])
