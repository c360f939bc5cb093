"""The watch after the return: an e-detector for harm, which a long good past does not slow down.

`HarmEvidence` multiplies all samples since its start. After a long healthy time its bets have hardly any
stake left, and later harm would first have to win that back. The detector lifts every bet to 1 before the
next sample: M <- max(M, 1) * L per bet, the CUSUM form of Shin, Ramdas & Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection". The mean of M over all bets is an e-detector too.
While the feature is healthy, E[x | past] <= p0, the mean number of samples until M reaches 1/beta is at
least 1/beta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from rollback.core.evidence import BETS, HarmEvidence, is_count, log_bound, log_mean_exp

SECONDS_PER_YEAR = 365.25 * 24 * 3600

MAX_BETA = 0.01
"""The largest beta. However seldom samples come, an alarm needs M >= 100."""


def beta_from_false_alarms(per_year: float, samples_per_second: float) -> float:
    """Return the beta with which one metric has at most `per_year` false alarms a year, in the long run.

    The mean run length to a false alarm is at least 1/beta samples. That is 1/`per_year` years when beta is
    `per_year` divided by the number of samples in a year. Several metrics have to share `per_year`. The
    result is at most `MAX_BETA`; that only makes false alarms rarer. Raises ValueError unless both rates
    are above 0 and finite.
    """
    if not (0 < per_year < math.inf and 0 < samples_per_second < math.inf):
        raise ValueError(f"rates must be above 0, not {per_year!r} a year, {samples_per_second!r} a second")
    return min(MAX_BETA, per_year / samples_per_second / SECONDS_PER_YEAR)


@dataclass(frozen=True, slots=True)
class HealthDetector:
    """The e-detector of one metric against "healthy", E[x | past] <= p0, with the bets of `HarmEvidence`.

    `log_detectors` holds log M of each bet. After an alarm a new watch starts a new detector. Raises
    ValueError on what no run of samples leaves, such as a damaged record.
    """

    p0: float
    log_detectors: tuple[float, ...]
    samples: int = 0
    harm: float = 0.0

    def __post_init__(self) -> None:
        HarmEvidence.start(self.p0)
        if len(self.log_detectors) != BETS or not all(math.isfinite(log) for log in self.log_detectors):
            raise ValueError(f"need {BETS} finite log detectors")
        if not is_count(self.samples) or not 0 <= self.harm <= self.samples:
            raise ValueError("the harm must lie between 0 and the number of samples")

    @classmethod
    def start(cls, p0: float) -> Self:
        """Return the detector before any sample: M = 1. Raises ValueError when p0 is not inside (0, 1)."""
        return cls(p0, (0.0,) * BETS)

    def observe(self, x: float) -> Self:
        """Return the detector after one more sample. Raises ValueError unless x is in [0, 1]; NaN is not."""
        return self._after(HarmEvidence.start(self.p0).observe(x))

    def observe_counts(self, bad: int, total: int) -> Self:
        """Return the detector after a batch of `total` samples, `bad` of them failed, in an unknown order.

        The batch is one observation, and its e-value the product over its samples. The promise about false
        alarms holds, even in samples. It is not the same as observing each: no bet is lifted within a
        batch, so failures at the end of a long batch are found a little later. An order of our own choice
        would break the promise. An empty batch changes nothing. Raises ValueError unless 0 <= bad <= total,
        both whole numbers.
        """
        batch = HarmEvidence.from_counts(self.p0, bad, total)
        return self._after(batch) if batch.samples else self

    def _after(self, batch: HarmEvidence) -> Self:
        logs = zip(self.log_detectors, batch.log_products, strict=True)
        return replace(
            self,
            log_detectors=tuple(max(log_m, 0.0) + log_l for log_m, log_l in logs),
            samples=self.samples + batch.samples,
            harm=self.harm + batch.harm,
        )

    @property
    def log_m(self) -> float:
        """The natural logarithm of M, the mean over the bets. 0 before any sample."""
        return log_mean_exp(self.log_detectors)

    def alarm(self, beta: float) -> bool:
        """Tell whether M >= 1/beta. Raises ValueError unless 0 < beta < 1."""
        return self.log_m >= log_bound(beta)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for a JSON record, which `from_dict` reads back without loss."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the detector of a record. Raises ValueError when a field is missing or damaged."""
        try:
            values = {field.name: record[field.name] for field in fields(cls)}
            return cls(**values | {"log_detectors": tuple(values["log_detectors"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record of {cls.__name__}: {error!r}") from error
