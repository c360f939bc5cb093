"""The watch after the return: false alarms a year, and how late it speaks at harm."""

from __future__ import annotations

import numpy as np

from tests.figures.intervals import poisson_upper
from tests.figures.monitor import Detector, delays, false_alarms, samples_per_year
from tests.figures.numbers import Numbers
from tests.figures.tables import Claim, Part, Scale, Table, middle, percent, source

HARMED = (0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)


def measure(numbers: Numbers, scale: Scale) -> Part:
    """T8 and T9."""
    part = Part(
        "The watch after the return",
        f"An e-detector over one sample every {numbers.monitor_interval:g} s, set to "
        f"{numbers.false_alarms_per_year:g} false alarm a year at most.",
    )
    rng, rows, bounds = source(8), [], []
    detector = Detector.of(numbers)
    for rate in (0.005, 0.01, numbers.p0):
        alarms = false_alarms(rng, detector, rate, scale.years, samples_per_year(numbers))
        bounds.append(poisson_upper(alarms, scale.years))
        rows.append(
            (percent(rate), f"{scale.years:,}", str(alarms), f"{alarms / scale.years:.3f}", f"{bounds[-1]:.3f}")
        )
    columns = ("true rate", "years of watching", "alarms", "a year", "at most")
    note = (
        "Upper ends of two-sided 95 % Poisson intervals. A case is watched for a day; a year of watching is 365 of "
        "them."
    )
    part.tables.append(Table("T8", "False alarms", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            f"The watch has at most {numbers.false_alarms_per_year:g} false alarm a year at any rate up to p0; the "
            f"largest upper bound is {max(bounds):.2f}.",
            "T8",
            max(bounds) <= numbers.false_alarms_per_year,
        )
    )
    _delays(part, numbers, scale, detector)
    return part


def _delays(part: Part, numbers: Numbers, scale: Scale, detector: Detector) -> None:
    rng, rows, medians = source(9), [], {}
    limit = int(numbers.monitor_seconds / numbers.monitor_interval)
    for rate in HARMED:
        found = delays(rng, detector, rate, scale.runs, limit)
        seen = found[found > 0]
        minutes = seen * numbers.monitor_interval / 60
        medians[rate] = float(np.median(minutes))
        rows.append((percent(rate), middle(seen), middle(minutes, 1), percent(seen.size / scale.runs)))
    columns = ("rate from then on", "samples until the alarm", "minutes", "within the day")
    note = (
        f"Healthy at 0.5 % for 4,000 samples before; {scale.runs:,} watches each. Median, and in brackets the 90 % "
        "quantile."
    )
    part.tables.append(Table("T9", "How late the alarm comes when harm begins", columns, tuple(rows), note))
    part.claims.append(
        Claim(
            f"When a returned feature breaks again, the alarm comes (median) after {medians[1.0]:.1f} minutes at 100 "
            f"%, {medians[0.2]:.0f} at 20 % "
            f"and {medians[0.05]:.0f} at 5 %.",
            "T9",
            medians[1.0] < medians[0.2] < medians[0.05] < numbers.monitor_seconds / 60,
        )
    )
