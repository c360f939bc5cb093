"""Our gate beside models of the rules that other tools publish."""

from __future__ import annotations

import numpy as np

from rollback.core.evidence import Evidence
from tests.figures.climb import climb, one_gate
from tests.figures.gate import Bools
from tests.figures.numbers import GateLimits, Numbers
from tests.figures.peers import Peer, argo_like, flagger_like, growthbook_like, in_a_row, kayenta_like
from tests.figures.services import constant
from tests.figures.tables import Claim, Part, Scale, Table, percent, source

RATES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.2)
BASELINE = 0.005
LET_IN, BACK = "let anybody in", "back at 100 %"
CURVE = tuple(round(0.0025 * step, 4) for step in range(25))


def fixed_limit() -> list[Peer]:
    """Rules that compare with a limit. 228 in a row is what a single look with 1 % needs at 2 %."""
    return [
        in_a_row(3),
        in_a_row(30),
        in_a_row(228),
        argo_like(1),
        argo_like(3),
        flagger_like(50),
        flagger_like(200),
    ]


def with_baseline() -> list[Peer]:
    """Rules that compare with what ran before."""
    sizes = (1_000, 2_000, 5_000, 10_000, 20_000)
    return [
        *(growthbook_like(size, BASELINE) for size in sizes),
        kayenta_like(50, BASELINE),
        kayenta_like(200, BASELINE),
    ]


def measure(numbers: Numbers, scale: Scale) -> Part:
    """T14 and T15."""
    part = Part(
        "Beside the rules of other tools",
        "The other rows are models of published rules, not the tools: one decision on one metric, with the numbers "
        "in the row. The tools can be set "
        "more strictly, and most were made to compare a new version with an old one. What the tables show is what "
        "such a "
        "rule does when it is used to bring back a feature that may still be broken. Rates that count as broken here "
        "(p0 "
        f"= {percent(numbers.p0)} or more) are set in bold.",
    )
    _fixed(part, numbers, scale)
    _relative(part, numbers, scale)
    return part


def _cells(shares: dict[float, float], numbers: Numbers) -> tuple[str, ...]:
    return tuple(f"**{percent(share)}**" if rate >= numbers.p0 else percent(share) for rate, share in shares.items())


def _fixed(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows, at_limit = source(14), [], []
    for peer in fixed_limit():
        shares = {rate: float(peer.brings_back(rng, rate, scale.runs).mean()) for rate in RATES}
        at_limit.append(shares[numbers.p0])
        rows.append((peer.name, f"{peer.samples:,} at most", *_cells(shares, numbers)))
        part.curves[peer.name] = tuple((rate, float(peer.brings_back(rng, rate, scale.runs).mean())) for rate in CURVE)
    single = one_gate(numbers, numbers.alpha, GateLimits(1, numbers.gates[0].last))
    alone = {
        rate: float(constant(rate).run(rng, single, np.zeros(scale.runs), numbers.interval).passed.mean())
        for rate in RATES
    }
    least = Evidence.start(numbers.p0).clean_samples_missing(numbers.alpha)
    rows.append(
        ("this gate, one step with all of α, no soak", f"{least:,} to {single.limits.last:,}", *_cells(alone, numbers))
    )
    ours: dict[str, dict[float, float]] = {LET_IN: {}, BACK: {}}
    for rate in sorted({*RATES, *CURVE}):
        found = climb(rng, [constant(rate)], numbers, np.zeros(scale.runs))
        ours[LET_IN][rate] = float(found.raised.mean())
        ours[BACK][rate] = float(found.returned.mean())
    fewest = {LET_IN: numbers.gates[0].first, BACK: sum(gate.first for gate in numbers.gates)}
    for what, shares in ours.items():
        cells = _cells({rate: shares[rate] for rate in RATES}, numbers)
        rows.append((f"this program as shipped: {what}", f"{fewest[what]:,} or more", *cells))
        part.curves[f"this program: {what}"] = tuple((rate, shares[rate]) for rate in CURVE)
    columns = ("rule", "samples", *(f"true rate {percent(rate)}" for rate in RATES))
    note = (
        f"How often each rule brings the feature back; {scale.runs:,} runs each. Probes and requests count as "
        f"samples; a measurement fails above {percent(numbers.p0)} of "
        "its requests. 228 clean ones in a row are what a single look needs for 1 %: as strict, but it turns away "
        "two of three healthy features with 0.5 % of errors, and it may not be tried twice. "
        "Our rows need more samples than most: that is the price."
    )
    part.tables.append(Table("T14", "Rules with a fixed limit", columns, tuple(rows), note))
    others = [share for peer, share in zip(fixed_limit(), at_limit, strict=True) if peer.samples != 228]
    part.claims.append(
        Claim(
            f"At {percent(numbers.p0)} the models of common rules bring a broken feature back in "
            f"{percent(min(others))} to {percent(max(others))} of the runs, this program in "
            f"{percent(ours[LET_IN][numbers.p0])} "
            f"(and to 100 % in {percent(ours[BACK][numbers.p0])}).",
            "T14",
            min(others) > 10 * numbers.alpha > numbers.alpha >= ours[LET_IN][numbers.p0],
        )
    )


def _relative(part: Part, numbers: Numbers, scale: Scale) -> None:
    rng, rows = source(15), []
    rates = (BASELINE, 0.01, 0.02, 0.03, 0.05)
    for peer in with_baseline():
        shares = {rate: float(_brings_back(peer, rng, rate, scale).mean()) for rate in rates}
        rows.append((peer.name, f"{peer.samples:,}", *_cells(shares, numbers)))
    found = {rate: climb(rng, [constant(rate)], numbers, np.zeros(scale.runs)) for rate in rates}
    rows.append(
        (
            "this program as shipped: let anybody in (no baseline)",
            "–",
            *_cells({rate: float(one.raised.mean()) for rate, one in found.items()}, numbers),
        )
    )
    rows.append(
        (
            "this program as shipped: back at 100 % (no baseline)",
            "–",
            *_cells({rate: float(one.returned.mean()) for rate, one in found.items()}, numbers),
        )
    )
    columns = ("rule", "users or requests", *(f"true rate {percent(rate)}" for rate in rates))
    note = (
        f"How often each rule ships, beside an old version that fails at {percent(BASELINE)}. They judge by the "
        "difference, this program by p0: a doubling from 0.5 % to 1 % is harm to them and healthy to it. "
        "With enough traffic they are strict; with little they ship, because what is not proven harmful ships when "
        "the time is over."
    )
    part.tables.append(Table("T15", "Rules that compare with a baseline", columns, tuple(rows), note))


def _brings_back(peer: Peer, rng: np.random.Generator, rate: float, scale: Scale) -> Bools:
    runs = scale.runs // 5 if peer.name.startswith("Kayenta") else scale.runs
    return peer.brings_back(rng, rate, runs)
