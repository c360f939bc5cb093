"""The statistics of the gate: is a feature no longer broken, or is it broken?

Every sample is a harm x in [0, 1]: 0 is a clean sample, 1 a failed one (a failed probe, an error response, a
latency above its limit). Two tests watch the same samples, each a bet against its own null hypothesis:

* `Evidence` bets against "still broken", E[x | past] >= p0 at every sample. When it wins, the gate may open.
* `HarmEvidence` bets against "healthy", E[x | past] <= p0 at every sample. When it wins, there is harm.

Under its null hypothesis each is a non-negative supermartingale that starts at 1. By Ville's inequality it
ever reaches 1/alpha with probability <= alpha, however the samples depend on each other, however often one
looks. Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting"; Howard,
Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences".

Not promised: a fault that comes in bursts can be quiet while it is tested; a minimum soak is the defence
there. Each observation may count only once, so windows must be closed and disjoint. Missing data is no
sample: nothing is observed then, nothing changes, and the gate stays shut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self

BETS = 20
"""How many bets are mixed, from timid to bold. The mean of e-processes is an e-process."""

_BOLDEST = 0.99
"""The largest part of its stake that a bet can lose in one sample. Below 1: no factor may reach zero."""

_P0_MARGIN = 1e-6
"""p0 keeps this distance from 0 and 1, where the bets lose their meaning, and soon the floats do too."""


def _check_p0(p0: float) -> None:
    if not _P0_MARGIN <= p0 <= 1 - _P0_MARGIN:
        raise ValueError(f"p0 must lie between {_P0_MARGIN} and {1 - _P0_MARGIN}, not {p0!r}")


def log_bound(alpha: float) -> float:
    """Return log(1/alpha), which the logarithm of an e-process must reach.

    Raises ValueError unless 0 < alpha < 1: with alpha = 1 an e-process without any sample would be there.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha or beta must lie strictly between 0 and 1, not {alpha!r}")
    return -math.log(alpha)


def log_mean_exp(logs: Sequence[float]) -> float:
    """Return log(mean(exp(l))) without overflow. `logs` is not empty."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


@lru_cache(maxsize=64)
def lambdas(p0: float) -> tuple[float, ...]:
    """Return the bets against "still broken": lambda_k = 0.99 k / (20 (1 - p0)), k = 1...20.

    The factor of a sample is 1 + lambda (p0 - x). Raises ValueError when p0 is not inside (0, 1).
    """
    _check_p0(p0)
    return tuple(_BOLDEST * k / (BETS * (1 - p0)) for k in range(1, BETS + 1))


@lru_cache(maxsize=64)
def mus(p0: float) -> tuple[float, ...]:
    """Return the bets against "healthy": mu_k = f_k / p0, with f_k in equal ratios from p0/2 up to 0.99.

    The factor of a sample is 1 + mu (x - p0); a clean one costs the part f of the stake. At a true rate q the
    bet that grows fastest has f = (q - p0) / (1 - p0), so bets must lie close together near zero. Equal steps
    would start at f = 0.99/20, and with p0 = 2 % that bet loses money against every rate below 4 %.
    Raises ValueError when p0 is not inside (0, 1).
    """
    _check_p0(p0)
    timid = p0 / 2
    return tuple(timid * (_BOLDEST / timid) ** (k / (BETS - 1)) / p0 for k in range(BETS))


@lru_cache(maxsize=128)
def _log_factors(slopes: tuple[float, ...], p0: float) -> tuple[tuple[float, float], ...]:
    """Return per bet the log of the factor of a clean sample, and of a failed one."""
    return tuple((math.log1p(-slope * p0), math.log1p(slope * (1 - p0))) for slope in slopes)


def is_count(value: object) -> bool:
    """Tell whether a value, perhaps from a damaged record, is a whole number and not negative."""
    return isinstance(value, int) and value >= 0


@dataclass(frozen=True, slots=True)
class EProcess:
    """The mean over `BETS` bets of the products of (1 + slope (x - p0)): what both tests have in common.

    Samples of 0 and 1 are kept as counts, so neither their order nor their grouping matters, not even by a
    rounding error. Fractional samples are kept as their number, their sum and one log product per bet (`()`
    while there are none). Raises ValueError on what no run of samples leaves, such as a damaged record.
    """

    p0: float
    clean: int = 0
    bad: int = 0
    fractional: int = 0
    fractional_harm: float = 0.0
    fractional_logs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_p0(self.p0)
        if not all(is_count(count) for count in (self.clean, self.bad, self.fractional)):
            raise ValueError("counts of samples must be whole numbers, 0 or more")
        if not 0 <= self.fractional_harm <= self.fractional:
            raise ValueError("the harm of the fractional samples must lie between 0 and their number")
        if len(self.fractional_logs) != (BETS if self.fractional else 0):
            raise ValueError(f"fractional samples have {BETS} log products, none have none")
        if not all(math.isfinite(log) for log in self.fractional_logs):
            raise ValueError("log products must be finite")

    def _slopes(self) -> tuple[float, ...]:
        """Return the bets as slopes in x: the only thing in which the two tests differ."""
        raise NotImplementedError

    @classmethod
    def start(cls, p0: float) -> Self:
        """Return the e-process before any sample: E = 1. Raises ValueError when p0 is not inside (0, 1)."""
        return cls(p0)

    @classmethod
    def from_counts(cls, p0: float, bad: int, total: int) -> Self:
        """Return the e-process after `total` samples, `bad` of them failed. Raises like `observe_counts`."""
        return cls.start(p0).observe_counts(bad, total)

    def observe(self, x: float) -> Self:
        """Return the e-process after one more sample. Raises ValueError unless x is in [0, 1]; NaN is not."""
        if not 0 <= x <= 1:
            raise ValueError(f"a sample must lie in [0, 1], not {x!r}")
        if x in (0, 1):
            return self.observe_counts(int(x), 1)
        logs = zip(self.fractional_logs or (0.0,) * BETS, self._slopes(), strict=True)
        return replace(
            self,
            fractional=self.fractional + 1,
            fractional_harm=self.fractional_harm + x,
            fractional_logs=tuple(log + math.log1p(slope * (x - self.p0)) for log, slope in logs),
        )

    def observe_counts(self, bad: int, total: int) -> Self:
        """Return the e-process after `total` more samples, `bad` of them failed: equal to observing each.

        Raises ValueError unless both are whole numbers and 0 <= bad <= total. Where a source extrapolates its
        counts, the caller rounds `bad` up.
        """
        if not (is_count(bad) and is_count(total) and bad <= total):
            raise ValueError(f"need whole numbers with 0 <= bad <= total, not {bad!r} of {total!r}")
        return replace(self, clean=self.clean + total - bad, bad=self.bad + bad)

    @property
    def samples(self) -> int:
        """How many samples were observed."""
        return self.clean + self.bad + self.fractional

    @property
    def harm(self) -> float:
        """The sum of all x."""
        return self.bad + self.fractional_harm

    @property
    def log_products(self) -> tuple[float, ...]:
        """The natural logarithm of the product of each bet."""
        return self._log_products(0)

    @property
    def log_e(self) -> float:
        """The natural logarithm of E, the mean of the products. 0 before any sample."""
        return log_mean_exp(self.log_products)

    def _log_products(self, more_clean: int) -> tuple[float, ...]:
        factors = _log_factors(self._slopes(), self.p0)
        clean, bad = self.clean + more_clean, self.bad
        logs = self.fractional_logs or (0.0,) * BETS
        return tuple(
            clean * clean_log + bad * bad_log + log for (clean_log, bad_log), log in zip(factors, logs, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for a JSON record, which `from_dict` reads back without loss.

        Lossless with every codec that writes a float as the shortest text that reads back, as `json` does.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the e-process of a record. Raises ValueError when a field is missing or damaged."""
        try:
            values = {field.name: record[field.name] for field in fields(cls)}
            return cls(**values | {"fractional_logs": tuple(values["fractional_logs"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record of {cls.__name__}: {error!r}") from error


class Evidence(EProcess):
    """The bet against "still broken", E[x | past] >= p0, of one case, fix, metric and step of the ladder.

    Clean samples raise E, failed ones lower it. What is broken all along passes with probability <= alpha.
    """

    __slots__ = ()

    def _slopes(self) -> tuple[float, ...]:
        return tuple(-bet for bet in lambdas(self.p0))

    def passes(self, alpha: float) -> bool:
        """Tell whether E >= 1/alpha. Raises ValueError unless 0 < alpha < 1."""
        return self.log_e >= log_bound(alpha)

    def clean_samples_missing(self, alpha: float) -> int:
        """Return the smallest n for which n more clean samples make it pass; 0 when it passes now.

        From nothing, with p0 = 2 %: 315 for alpha = 1 %. Raises ValueError unless 0 < alpha < 1.
        """
        bound = log_bound(alpha)

        def enough(more: int) -> bool:
            return log_mean_exp(self._log_products(more)) >= bound

        if enough(0):
            return 0
        short, long = 0, 1
        while not enough(long):
            short, long = long, 2 * long
        while long - short > 1:
            middle = (short + long) // 2
            short, long = (short, middle) if enough(middle) else (middle, long)
        return long


class HarmEvidence(EProcess):
    """The mirror test, a bet against "healthy", E[x | past] <= p0, over the same samples.

    Failed samples raise E, clean ones lower it. What is healthy all along is called harmed with probability
    <= alpha. With p0 = 2 % and alpha = 1 % it finds a rate of 5 % after about 320 samples (median), 20 %
    after 18. It does not find a rate that is hardly above p0.
    """

    __slots__ = ()

    def _slopes(self) -> tuple[float, ...]:
        return mus(self.p0)

    def rejects(self, alpha: float) -> bool:
        """Tell whether E >= 1/alpha: "healthy" is refuted. Raises ValueError unless 0 < alpha < 1."""
        return self.log_e >= log_bound(alpha)


def step_alpha(alpha: float, steps: int, attempt: int) -> float:
    """Return what one step of the ladder may spend for the `attempt`-th fix: alpha / (m k (k + 1)).

    All m steps of all fixes together spend alpha at most. The k-th fix has alpha / (k (k + 1)), and the sum
    over k of 1 / (k (k + 1)) = 1/k - 1/(k + 1) is 1; the m steps of one fix share evenly. By the union bound
    a feature that stays broken passes any step with any fix of its case with probability <= alpha. Several
    metrics need no share: all must pass, so one that is broken holds back the others.

    `steps` m >= 1; `attempt` k = 1 for the first fix. Raises ValueError on less, and unless 0 < alpha < 1.
    """
    if steps < 1 or attempt < 1:
        raise ValueError(f"steps and attempt count from 1, not {steps!r} and {attempt!r}")
    log_bound(alpha)
    return alpha / (steps * attempt * (attempt + 1))


class Verdict(StrEnum):
    """What the gate says. Only `HEALTHY` opens it."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"  # samples from every metric, but not enough evidence or not enough soak
    NO_DATA = "no_data"  # a metric without any sample, or no metric at all


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """Both tests of one metric. `missing` counts the readings that brought no sample; no test saw them."""

    name: str
    health: Evidence
    harm: HarmEvidence
    missing: int = 0

    @classmethod
    def start(cls, name: str, p0: float) -> Self:
        """Return the metric before any sample. Raises ValueError when p0 is not inside (0, 1)."""
        return cls(name, Evidence.start(p0), HarmEvidence.start(p0))

    def observe(self, x: float) -> Self:
        """Return the metric after one more sample. Raises ValueError unless x is in [0, 1]."""
        return replace(self, health=self.health.observe(x), harm=self.harm.observe(x))

    def observe_counts(self, bad: int, total: int) -> Self:
        """Return the metric after `total` more samples, `bad` of them failed. Raises like `EProcess`."""
        health, harm = self.health.observe_counts(bad, total), self.harm.observe_counts(bad, total)
        return replace(self, health=health, harm=harm)

    def miss(self) -> Self:
        """Return the metric after a reading that brought no sample."""
        return replace(self, missing=self.missing + 1)


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """What a screen shows of one metric. It passes when E >= `bound` = 1/alpha."""

    name: str
    samples: int
    harm: float  # the sum of all x: for samples of 0 and 1 the number of failed ones
    missing: int
    log_e: float
    bound: float
    clean_samples_missing: int  # how many more clean samples would make it pass
    harm_log_e: float
    harm_found: bool

    @property
    def passed(self) -> bool:
        """Whether there is enough evidence of health."""
        return self.clean_samples_missing == 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, whether it is final or only so far, why, and the figures behind it."""

    verdict: Verdict
    final: bool
    reasons: tuple[str, ...]
    metrics: tuple[MetricFigures, ...]


def judge(
    metrics: Sequence[MetricEvidence], *, alpha: float, harm_alpha: float, soaked: bool, expired: bool
) -> Judgement:
    """Judge one step. Only all metrics together, after the soak, are healthy; no metric at all is no data.

    Harm in any metric comes before everything else. Without harm and without enough evidence the verdict is
    inconclusive, or no data when some metric has no sample; `expired` (the deadline has passed) makes it
    final. Each metric's harm test has `harm_alpha` of its own, so what is healthy is called unhealthy with
    probability <= harm_alpha times the number of metrics. Raises ValueError unless both alphas are in (0, 1).
    """
    for level in (alpha, harm_alpha):
        log_bound(level)
    figures = tuple(_figures(metric, alpha, harm_alpha) for metric in metrics)
    harmed = tuple(_reason(metric) for metric in figures if metric.harm_found)
    if harmed:
        return Judgement(Verdict.UNHEALTHY, True, harmed, figures)
    short = tuple(_reason(metric) for metric in figures if not metric.passed)
    if figures and not short and soaked:
        return Judgement(Verdict.HEALTHY, True, tuple(_reason(metric) for metric in figures), figures)
    reasons = short if figures else ("no metric is configured",)
    if not soaked:
        reasons += ("the soak time is not over",)
    if expired:
        reasons += ("the deadline has passed",)
    seen = bool(figures) and all(metric.samples for metric in figures)
    return Judgement(Verdict.INCONCLUSIVE if seen else Verdict.NO_DATA, expired, reasons, figures)


def _figures(metric: MetricEvidence, alpha: float, harm_alpha: float) -> MetricFigures:
    return MetricFigures(
        name=metric.name,
        samples=metric.health.samples,
        harm=metric.health.harm,
        missing=metric.missing,
        log_e=metric.health.log_e,
        bound=1 / alpha,
        clean_samples_missing=metric.health.clean_samples_missing(alpha),
        harm_log_e=metric.harm.log_e,
        harm_found=metric.harm.rejects(harm_alpha),
    )


def _reason(metric: MetricFigures) -> str:
    seen = f"harm in {metric.harm:.6g} of {metric.samples} samples" if metric.samples else "no samples"
    if metric.missing:
        seen += f"; readings without data: {metric.missing}"
    if metric.harm_found:
        return f"{metric.name}: {seen}; more than a healthy feature has"
    if metric.passed:
        return f"{metric.name}: {seen}; enough evidence of health"
    return f"{metric.name}: {seen}; clean samples still needed: {metric.clean_samples_missing}"
