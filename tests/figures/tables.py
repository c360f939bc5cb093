"""What a measurement hands over: tables and claims, and how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from tests.figures.gate import Counts, Floats
from tests.figures.intervals import clopper_pearson

SEED = 20_260
"""The seed of everything; each table adds its own number."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is drawn. `runs`: per row; `many`: where runs are cheap; `years` and `days`: of watching, per row."""

    runs: int
    many: int
    years: int
    days: int

    @classmethod
    def full(cls) -> Scale:
        """For the page."""
        return cls(runs=10_000, many=100_000, years=500, days=400)

    @classmethod
    def quick(cls) -> Scale:
        """For the tests: seconds."""
        return cls(runs=1_000, many=5_000, years=20, days=20)


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `key` names it in the text (`T1`); `note` stands below it."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, the tables that show it, and whether they do."""

    text: str
    shown_in: str
    holds: bool


@dataclass(slots=True)
class Part:
    """One section of the page. `curves` has what its picture draws: per line a name and its points."""

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    curves: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


def source(number: int) -> Generator:
    """The random numbers of one table."""
    return np.random.default_rng([SEED, number])


def percent(share: float) -> str:
    """A share as text with two meaningful digits, more where it is nearly everything: `0.083 %`, `2 %`, `99.93 %`."""
    if 0 < share < 1e-5:
        return "< 0.001 %"
    value = 100 * share
    if value < 9.95:
        return f"{value:.2g} %"
    return f"{value:.0f} %" if value < 99.5 or share == 1 else f"{value:.4g} %"


def counted(successes: int, runs: int) -> tuple[str, str]:
    """How often, and the upper end of the 95 % interval, as two cells."""
    return f"{percent(successes / runs)} ({successes:,})", percent(clopper_pearson(successes, runs))


def middle(values: Counts | Floats, digits: int = 0) -> str:
    """Median and 90 % quantile as one cell; a dash when there are no values."""
    if not len(values):
        return "–"
    return f"{np.median(values):,.{digits}f} ({np.quantile(values, 0.9):,.{digits}f})"
