"""What stays broken comes back with probability alpha at most: simulated, exact, and over several fixes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.figures.climb import chance_to_pass, climb, false_fixes, one_gate, rules
from tests.figures.gate import Ending
from tests.figures.intervals import clopper_pearson
from tests.figures.numbers import GateLimits, Numbers
from tests.figures.services import Service, constant, drifting, two_moods
from tests.figures.tables import Claim, Part, Scale, Table, counted, percent, source

FIXES = 5


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken service. `services`: what each gate sees; `unseen`: at how many gates the fault does not show yet."""

    name: str
    services: Sequence[Service]
    unseen: int = 0
    cheap: bool = True


def broken_services(p0: float) -> list[Broken]:
    """All rows of T1: never below p0 at any sample of a gate that counts."""
    healthy = constant(p0 / 10)
    rates = [p0, 1.05 * p0, 1.25 * p0, 1.5 * p0, 2.5 * p0, 10 * p0]
    drifts = [
        drifting(
            f"rising from {percent(p0)} to {percent(3 * p0)} in two hours",
            lambda t: p0 * (1 + 2 * np.minimum(t / 7200, 1)),
        ),
        drifting(
            f"falling from {percent(5 * p0)} to {percent(p0)} in half an hour: a fix that helps, but not enough",
            lambda t: p0 * (1 + 4 * np.maximum(1 - t / 1800, 0)),
        ),
        drifting(f"waves between {percent(p0)} and {percent(2 * p0)}", lambda t: p0 * (1 + np.sin(t / 100) ** 2)),
        two_moods(f"moods, ten minutes at {percent(p0)}, five at {percent(4 * p0)} (Markov)", p0, 4 * p0, 600, 300),
        two_moods(
            f"failures come together: {percent(p0)}, and {percent(0.3)} for 20 samples now and then", p0, 0.3, 1000, 20
        ),
    ]
    seen_late = [
        Broken(
            f"{percent(p0)}, but only from step {gate + 1} of the ladder on (before: {percent(p0 / 10)})",
            [healthy] * gate + [constant(p0)],
            gate,
        )
        for gate in (1, 2)
    ]
    fixed = [Broken(f"constant {percent(rate)}", [constant(rate)]) for rate in rates]
    return fixed + seen_late + [Broken(drift.name, [drift], cheap=False) for drift in drifts]


def measure(numbers: Numbers, scale: Scale) -> Part:
    """T1 to T4."""
    part = Part(
        "What stays broken stays off",
        "A return counts as wrong as soon as anybody is let in while the service fails at p0 or more: the first step "
        "is "
        "enough, it need not come to 100 %. A service that fails at exactly p0 is the hardest case.",
    )
    _whole_ladder(part, numbers, scale)
    _exact(part, numbers)
    _again(part, numbers)
    _fixes(part, numbers, scale)
    return part


def _whole_ladder(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows, bounds = source(1), [], []
    for broken in broken_services(numbers.p0):
        runs = scale.many if broken.cheap else scale.runs
        found = climb(rng, broken.services, numbers, np.zeros(runs))
        wrong = int((found.raises > broken.unseen).sum())
        harmed = sum(int((gate.ending == Ending.HARMED).sum()) for gate in found.gates)
        bounds.append(clopper_pearson(wrong, runs))
        rows.append(
            (
                broken.name,
                f"{runs:,}",
                *counted(wrong, runs),
                *counted(int(found.returned.sum()), runs),
                percent(harmed / runs),
            )
        )
    note = (
        f"α = {percent(numbers.alpha)} for the whole case; the first fix has half of it, shared by {numbers.steps} "
        "steps. "
        "Bounds are the upper ends of two-sided 95 % Clopper-Pearson intervals. Called harmful: the harm test ended it."
    )
    columns = ("service", "runs", "let anybody in", "at most", "back at 100 %", "at most", "called harmful")
    part.tables.append(Table("T1", "The whole ladder with one fix, on broken services", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            f"A feature that fails at p0 = {percent(numbers.p0)} or more, constant or drifting, is let back with "
            f"probability {percent(numbers.alpha)} at most; the largest upper bound is {percent(max(bounds))}.",
            "T1",
            max(bounds) <= numbers.alpha,
        )
    )


def _exact(part: Part, numbers: Numbers) -> None:
    rows, total = [], 0.0
    for attempt in range(1, FIXES + 1):
        chances = [chance_to_pass(rule, numbers.p0) for rule in rules(numbers, attempt)]
        spent = numbers.alpha / (attempt * (attempt + 1))
        total += sum(chances)
        rows.append(
            (
                f"fix {attempt}",
                percent(numbers.may_spend(0, attempt)),
                *map(percent, chances),
                percent(sum(chances)),
                percent(spent),
                percent(total),
            )
        )
    gates = tuple(f"step {place + 1}" for place in range(numbers.steps))
    columns = ("", "step 1 may spend", *gates, "all steps", "all may spend", "all fixes so far")
    note = (
        "Computed, not drawn: the distribution over the number of failed samples, followed sample by sample. At p0 "
        "it is also "
        "the most that any service reaches whose chance to fail is p0 or more at every sample, whatever came before: "
        "its samples can be drawn beside those of the constant one so that it fails whenever that one does, and one "
        "more "
        "failure never lets a gate pass. So the drifts of T1 are examples, and this table is the limit."
    )
    part.tables.append(
        Table("T2", "The exact probability that a gate passes a service at p0", columns, tuple(rows), note)
    )
    part.claims.append(
        Claim(
            "No fault that is p0 or more at every sample, however it depends on the past, passes any of "
            f"{numbers.steps} steps with any of "
            f"{FIXES} fixes with probability above {percent(total)} (promised: {percent(numbers.alpha)}).",
            "T2",
            total <= numbers.alpha,
        )
    )


def _again(part: Part, numbers: Numbers) -> None:
    alpha = numbers.may_spend(0)
    once = numbers.gates[0]
    rows, worst = [], 0.0
    single = chance_to_pass(rules(numbers)[0], numbers.p0)
    for tries in (1, 2, 5, 10):
        limits = GateLimits(once.first, tries * once.last)
        chance = chance_to_pass(one_gate(numbers, alpha, limits), numbers.p0)
        worst = max(worst, chance)
        rows.append((f"{tries}", percent(chance), percent(1 - (1 - single) ** tries)))
    unsoaked = chance_to_pass(one_gate(numbers, alpha, GateLimits(1, once.last)), numbers.p0)
    note = (
        f"The share of one step is {percent(alpha)}. Without any soak one run would pass with {percent(unsoaked)}. "
        "The right column is "
        "what would happen if a new run did not know the samples of the old ones; a foreign edit of the flag and a "
        "changed policy do "
        "begin anew, on purpose, because then something else is tested."
    )
    columns = ("runs with the same fix, each to its deadline", "passes the first step", "if evidence were forgotten")
    part.tables.append(Table("T3", "The same fix, tried again: its evidence goes on", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            "Trying the same fix again does not help a broken feature: all runs together keep to the one share.",
            "T3",
            worst <= alpha,
        )
    )


def _fixes(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows, bounds = source(4), [], {}
    for name, split in (("the k-th fix spends α/(k(k+1))", True), ("each fix had the first one's share", False)):
        wrong = int(false_fixes(rng, constant(numbers.p0), numbers, scale.many, FIXES, split=split).sum())
        exact = 1 - math.prod(
            1 - chance_to_pass(rules(numbers, k if split else 1)[0], numbers.p0) for k in range(1, FIXES + 1)
        )
        bounds[name] = clopper_pearson(wrong, scale.many)
        rows.append((name, f"{scale.many:,}", *counted(wrong, scale.many), percent(exact)))
    columns = (f"{FIXES} fixes in a row that do not help, at p0", "cases", "let anybody in", "at most", "exact")
    part.tables.append(Table("T4", "False fixes in a row", columns, tuple(rows)))
    bound = next(iter(bounds.values()))
    part.claims.append(
        Claim(
            f"{FIXES} false fixes in a row let anybody in with probability {percent(numbers.alpha)} at most in all; "
            f"the upper bound is {percent(bound)}.",
            "T4",
            bound <= numbers.alpha,
        )
    )
