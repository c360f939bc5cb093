"""Where the promise does not hold: faults that are quiet while they are tested."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tests.figures.climb import climb, one_gate
from tests.figures.gate import Counts, Ending, Rule
from tests.figures.intervals import clopper_pearson
from tests.figures.monitor import Detector, first_alarm
from tests.figures.numbers import GateLimits, Numbers
from tests.figures.services import DAY, Bursts, Sampled, any_time_of_day, autoregressive, by_the_clock, two_moods
from tests.figures.tables import Claim, Part, Scale, Table, counted, middle, percent, source

LENGTHS = (1, 2, 5, 10, 20, 50, 200, 600)
SOAKS = (0, 600, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
QUIET_TIMES = 6
"""So many average quiet times without a burst have a chance of 1 in 400."""

ENOUGH = 5
"""So many failures in a row are an alarm of the e-detector, whatever came before."""

WATCHES = 500
"""Days that are watched sample by sample; each has 17,280 of them."""


def measure(numbers: Numbers, scale: Scale) -> Part:
    """T10 to T13."""
    part = Part(
        "Where the promise does not hold",
        "The promise is about harm that is there at every sample. A fault that comes and goes can be quiet while it "
        "is tested, "
        "and no statistics over the samples of that time can see it. What helps: a soak that is longer than the "
        "quiet times, as "
        "far as the harm test then notices the burst, and the watch after the return.",
    )
    _bursts(part, numbers, scale)
    _catching(part, numbers, scale)
    _clustered(part, numbers, scale)
    _clock(part, numbers, scale)
    return part


def _first_gate(numbers: Numbers, soak: float) -> Rule:
    """The first gate with another soak; it lasts at least as long as the shipped one, and twice as long as the soak."""
    first = int(soak / numbers.interval) + 1
    limits = GateLimits(first, max(numbers.gates[0].last, 2 * first))
    return one_gate(numbers, numbers.may_spend(0), limits)


def _bursts(part: Part, numbers: Numbers, scale: Scale) -> None:
    rows, at_fifty = [], 0.0
    for length in LENGTHS:
        service, rng = Bursts("", numbers.p0, length), source(10_000 + length)
        gates = [service.run(rng, _first_gate(numbers, soak), np.zeros(scale.runs), numbers.interval) for soak in SOAKS]
        shares = [float(gate.passed.mean()) for gate in gates]
        found = climb(rng, [service], numbers, np.zeros(scale.runs))
        rows.append(
            (
                str(length),
                *map(percent, shares),
                percent(float(found.raised.mean())),
                percent(float(found.returned.mean())),
            )
        )
        at_fifty = shares[0] if length == 50 else at_fifty
        part.curves[f"{length} in a row"] = tuple((soak / 60, share) for soak, share in zip(SOAKS, shares, strict=True))
    columns = (
        "failures in a row",
        *(f"soak {_duration(soak)}" for soak in SOAKS),
        "shipped: let anybody in",
        "shipped: back at 100 %",
    )
    note = (
        f"{percent(numbers.p0)} of all samples fail, but so many in a row, with quiet gaps between. The first gate "
        "with other soaks, then the shipped "
        f"ladder; {scale.runs:,} runs each. Each gate of the ladder begins at another place of the pattern. Length 1 "
        "is the constant rate."
    )
    part.tables.append(Table("T10", "Bursts: how often a gate passes, by soak", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            "Faults in bursts are outside the promise: without a soak, 2 % in bursts of 50 pass the first gate in "
            f"{percent(at_fifty)} of the runs, and the shipped soak of the first gate alone does not stop them.",
            "T10",
            at_fifty > 0.5,
        )
    )


def _catching(part: Part, numbers: Numbers, scale: Scale) -> None:
    rows, plain, beside = [], [], []
    for length in LENGTHS[1:]:
        gap = length * (1 - numbers.p0) / numbers.p0 * numbers.interval
        soak = max(numbers.interval * (numbers.gates[0].first - 1), QUIET_TIMES * gap)
        rule = _first_gate(numbers, soak)
        alone = Bursts("", numbers.p0, length).run(
            source(30_000 + length), rule, np.zeros(scale.many), numbers.interval
        )
        passed = _passed_beside_detector(source(40_000 + length), numbers, rule, length, scale.many)
        share = float(alone.passed.mean())
        if length >= ENOUGH:
            plain.append(share)
            beside.append(clopper_pearson(passed, scale.many))
        rows.append((str(length), _duration(gap), _duration(soak), percent(share), *counted(passed, scale.many)))
    columns = (
        "failures in a row",
        "quiet in between, on average",
        "soak",
        "the gate passes",
        "with an e-detector beside it",
        "at most",
    )
    note = (
        f"The soak is {QUIET_TIMES} times the average quiet time, and not below the shipped one, so hardly any run "
        "is without a burst; "
        f"{scale.many:,} runs each. The harm test multiplies all samples since its start: after a long quiet time "
        "its bets have lost their stake, "
        "and a burst only counts in the average. An e-detector lifts every bet to 1 before the next sample. The "
        "program has one only "
        "in the watch after the return; here one with 1/β = samples of the gate / harm_alpha stands beside the gate, "
        "to show "
        "what it would do."
    )
    part.tables.append(Table("T11", "Bursts under a long soak", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            f"A long soak alone does not catch bursts: with {QUIET_TIMES} times the quiet time, bursts of {ENOUGH} or "
            f"more still pass in up to {percent(max(plain))} of the runs. With an e-detector beside the gate it would "
            f"be {percent(max(beside))} at most.",
            "T11",
            max(plain) > numbers.alpha >= max(beside),
        )
    )


def _passed_beside_detector(rng: Generator, numbers: Numbers, rule: Rule, length: int, runs: int) -> int:
    """How many runs on bursts pass when an alarm of an e-detector ends them as well as the harm test does."""
    detector = Detector.at_level(numbers.p0, numbers.harm_alpha / rule.limits.last)
    begins = numbers.p0 / (numbers.p0 + length * (1 - numbers.p0))
    inside = rng.random(runs) < numbers.p0
    row = np.where(inside, rng.integers(1, length + 1, runs), 0)
    clean, bad = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    state = detector.start(runs)
    passed = 0
    while clean.size:
        bad = bad + row
        state = state + row[:, None] * detector.up
        gaps = rng.geometric(begins, clean.size) - 1
        harmed = (clean <= rule.allows(bad)) | detector.alarms(state)
        opens = np.maximum(np.maximum(rule.needs(bad) + bad, rule.limits.first), clean + bad + 1)
        passes = ~harmed & (opens <= np.minimum(clean + bad + gaps, rule.limits.last))
        passed += int(passes.sum())
        clean = clean + gaps
        left = ~harmed & ~passes & (clean + bad < rule.limits.last)
        clean, bad, gaps = clean[left], bad[left], gaps[left]
        state = np.maximum(state[left] - gaps[:, None] * detector.down, 0.0)
        row = np.full(clean.size, length)
    return passed


def _clustered(part: Part, numbers: Numbers, scale: Scale) -> None:
    p0 = numbers.p0
    services = [autoregressive(f"AR(1), correlation {rho:g}", p0, rho) for rho in (0.3, 0.7, 0.9, 0.99)]
    services += [
        two_moods("moods, ten minutes at 1 %, two at 7 % (Markov)", 0.01, 0.07, 600, 120),
        two_moods("moods, thirty minutes at 0.2 %, five at 12.8 % (Markov)", 0.002, 0.128, 1800, 300),
    ]
    rng, rows = source(12), []
    for service in services:
        found = climb(rng, [service], numbers, np.zeros(scale.runs))
        harmed = sum(int((gate.ending == Ending.HARMED).sum()) for gate in found.gates)
        rows.append(
            (
                service.name,
                *counted(int(found.raised.sum()), scale.runs),
                percent(float(found.returned.mean())),
                percent(harmed / scale.runs),
            )
        )
    columns = ("service", "let anybody in", "at most", "back at 100 %", "called harmful")
    note = (
        f"All fail at {percent(p0)} on average, and at less than p0 in their quiet times, so the promise does not "
        "speak of them. Services whose "
        "quiet times are at p0 or above stand in T1."
    )
    part.tables.append(
        Table(
            "T12",
            f"Failures that cluster, with the same mean ({scale.runs:,} returns each)",
            columns,
            tuple(rows),
            note,
        )
    )


def _clock(part: Part, numbers: Numbers, scale: Scale) -> None:
    hour = 3600.0
    times = [
        ("nightly batch: 20 % from 02:00 to 02:30, else 0.2 %", 0.002, 0.2, 2 * hour, hour / 2),
        ("nightly batch: all fail from 02:00 to 02:05, else 0.2 %", 0.002, 1.0, 2 * hour, hour / 12),
        ("peak hours: 5 % from 09:00 to 13:00, else 0.5 %", 0.005, 0.05, 9 * hour, 4 * hour),
        ("peak hours: 3 % from 09:00 to 13:00, else 0.5 %", 0.005, 0.03, 9 * hour, 4 * hour),
    ]
    rng, rows = source(13), []
    runs = scale.days
    alpha = numbers.may_spend(0)
    day_long = one_gate(numbers, alpha, GateLimits(int(DAY / numbers.interval) + 1, int(1.5 * DAY / numbers.interval)))
    for name, quiet, loud, begins, lasts in times:
        service = by_the_clock(name, quiet, loud, begins, lasts)
        found = climb(rng, [service], numbers, any_time_of_day(rng, scale.runs))
        soaked = service.run(rng, day_long, any_time_of_day(rng, runs), numbers.interval).passed.sum()
        alarms = _watched(rng, service, numbers, begins, lasts)
        rows.append(
            (
                service.name,
                percent(float(found.raised.mean())),
                percent(float(found.returned.mean())),
                percent(float(soaked) / runs),
                percent(alarms.size / WATCHES),
                middle(alarms * numbers.monitor_interval / 60, 1),
            )
        )
    columns = (
        "service",
        "shipped: let anybody in",
        "shipped: back at 100 %",
        "first gate with a soak of a day passes",
        "the watch finds it on the day",
        "minutes after it began",
    )
    note = (
        f"Returns begin at any time of day. {scale.runs:,} returns and {runs:,} soaks of a day each; {WATCHES} "
        "watches that begin when the bad time does. "
        "What is below p0 on average over the day and not loud enough for the harm test passes even a soak of a day."
    )
    part.tables.append(Table("T13", "Faults that follow the clock", columns, tuple(rows), note))


def _watched(rng: Generator, service: Sampled, numbers: Numbers, begins: float, lasts: float) -> Counts:
    """After how many samples of the bad time the watch alarms, of those that do while it lasts."""
    samples = int(lasts / numbers.monitor_interval)
    bad = service.draw(rng, np.full(WATCHES, begins), samples, numbers.monitor_interval)
    found = first_alarm(Detector.of(numbers), bad)
    return np.asarray(found[found > 0])


def _duration(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.3g} min" if seconds else "none"
    return f"{seconds / 3600:.3g} h"
