"""What the promise costs: how long a healthy feature waits, and how soon the harm test speaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rollback.core.evidence import Evidence, step_alpha
from tests.figures.climb import climb, finished_in, one_gate, rules
from tests.figures.gate import NEVER, Ending
from tests.figures.intervals import clopper_pearson
from tests.figures.numbers import GateLimits, Numbers
from tests.figures.services import constant
from tests.figures.tables import Claim, Part, Scale, Table, counted, middle, percent, source

HEALTHY = (0.0, 0.002, 0.005, 0.01)
HARMED = (0.03, 0.05, 0.1, 0.2, 1.0)


def measure(numbers: Numbers, scale: Scale) -> Part:
    """T5 to T7."""
    part = Part(
        "What it costs when the feature is healthy",
        f"One sample every {numbers.interval:g} s and metric. The times are for one metric; with several all must "
        "pass, so the "
        "slowest decides.",
    )
    _samples(part, numbers, scale)
    _least(part, numbers)
    _harm(part, numbers, scale)
    return part


def _samples(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows, returned, medians = source(5), [], {}, {}
    alpha = numbers.may_spend(0)
    whole_day = one_gate(numbers, alpha, GateLimits(1, 86_400))
    for rate in HEALTHY:
        service = constant(rate)
        samples = finished_in(service.run(rng, whole_day, np.zeros(scale.many), numbers.interval))
        found = climb(rng, [service], numbers, np.zeros(scale.many))
        minutes = found.seconds[found.returned] / 60
        steps = [middle((finished_in(gate) - 1) * numbers.interval / 60) for gate in found.gates]
        harmed = sum(int((gate.ending == Ending.HARMED).sum()) for gate in found.gates)
        expired = sum(int((gate.ending == Ending.EXPIRED).sum()) for gate in found.gates)
        returned[rate], medians[rate] = float(found.returned.mean()), float(np.median(minutes))
        part.curves[f"fails at {percent(rate)}"] = _distribution(minutes, scale.many)
        rows.append(
            (
                percent(rate),
                middle(samples),
                *steps,
                middle(minutes),
                percent(float(found.returned.mean())),
                *(percent(n / scale.many) for n in (harmed, expired)),
            )
        )
    gates = tuple(f"step {place + 1}, minutes" for place in range(numbers.steps))
    columns = (
        "true rate",
        "samples per step by the evidence alone",
        *gates,
        "whole ladder, minutes",
        "back at 100 %",
        "called harmful",
        "out of time",
    )
    note = (
        "Median, and in brackets the 90 % quantile. Minutes include the soaks, which decide when there are hardly "
        "any errors."
    )
    part.tables.append(
        Table("T5", f"The way back of a healthy feature ({scale.many:,} returns each)", columns, tuple(rows), note)
    )
    part.claims.append(
        Claim(
            f"A healthy feature does come back: with {percent(0.005)} of errors in {percent(returned[0.005])} of the "
            f"cases (median {medians[0.005]:.0f} minutes), with {percent(0.01)} in {percent(returned[0.01])} "
            f"({medians[0.01]:.0f} minutes).",
            "T5",
            min(returned.values()) >= 0.95,
        )
    )


def _distribution(minutes: np.ndarray[tuple[int], np.dtype[np.float64]], runs: int) -> tuple[tuple[float, float], ...]:
    """Which share is back after so many minutes."""
    return tuple((float(at), float((minutes <= at).sum()) / runs) for at in range(0, 241, 4))


def _least(part: Part, numbers: Numbers) -> None:
    rows = [
        (
            str(steps),
            *(
                f"{Evidence.start(numbers.p0).clean_samples_missing(step_alpha(numbers.alpha, steps, k)):,}"
                for k in range(1, 6)
            ),
        )
        for steps in range(1, 6)
    ]
    columns = ("steps that share α", *(f"fix {k}" for k in range(1, 6)))
    part.tables.append(
        Table("T6", "The fewest samples with which a step can pass: all of them clean", columns, tuple(rows))
    )


def _harm(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows, false_calls = source(7), [], []
    rule = replace(rules(numbers)[0], needed=np.array([NEVER]))
    for rate in (*HEALTHY[1:], numbers.p0, *HARMED):
        found = constant(rate).run(rng, rule, np.zeros(scale.many), numbers.interval)
        harmed = found.ending == Ending.HARMED
        share, bound = counted(int(harmed.sum()), scale.many)
        if rate <= numbers.p0:
            false_calls.append(clopper_pearson(int(harmed.sum()), scale.many))
        when = middle(found.at[harmed]) if rate > numbers.p0 else "–"
        rows.append(
            (
                percent(rate),
                "no" if rate <= numbers.p0 else "yes",
                when,
                percent(float((found.at[harmed] <= 60).sum()) / scale.many),
                share,
                bound,
            )
        )
    columns = (
        "true rate",
        "harmful",
        "samples until it is called harmful",
        "within 60 samples",
        f"within {rule.limits.last:,} samples",
        "at most",
    )
    note = (
        "Median, and in brackets the 90 % quantile, of the runs in which it was called harmful. What is hardly above "
        "p0 is not found; it does not pass either (T1)."
    )
    part.tables.append(
        Table("T7", f"The harm test while the gate watches ({scale.many:,} runs each)", columns, tuple(rows), note)
    )
    part.claims.append(
        Claim(
            f"A healthy feature is called harmful at a step with probability {percent(numbers.harm_alpha)} at most; "
            f"the largest upper bound is {percent(max(false_calls))}.",
            "T7",
            max(false_calls) <= numbers.harm_alpha,
        )
    )
