"""Upper ends of exact 95 % intervals, two-sided: what a count of rare events leaves possible."""

from __future__ import annotations

import math
from collections.abc import Callable

TAIL = 0.025
"""What is left above the upper end of a two-sided 95 % interval."""


def clopper_pearson(successes: int, runs: int) -> float:
    """The largest probability under which at most `successes` of `runs` still has a chance of 2.5 %.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial".
    Raises ValueError unless 0 <= successes <= runs and there are runs.
    """
    if not 0 <= successes <= runs or runs < 1:
        raise ValueError(f"{successes} of {runs} runs is no count")
    if successes == runs:
        return 1.0
    return _bisect(lambda rate: _log_binomial_tail(successes, runs, rate), successes / runs, 1.0)


def poisson_upper(events: int, exposure: float) -> float:
    """The largest rate per unit of `exposure` under which at most `events` still has a chance of 2.5 %."""
    if events < 0 or exposure <= 0:
        raise ValueError(f"{events} events in {exposure} is no count")
    mean = _bisect(lambda value: _log_poisson_tail(events, value), float(events), 2.0 * events + 20)
    return mean / exposure


def _bisect(log_tail: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if log_tail(middle) > math.log(TAIL) else (low, middle)
    return high


def _log_sum(terms: list[float]) -> float:
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def _log_binomial_tail(successes: int, runs: int, rate: float) -> float:
    whole = math.lgamma(runs + 1)
    return _log_sum(
        [
            whole - math.lgamma(k + 1) - math.lgamma(runs - k + 1) + k * math.log(rate) + (runs - k) * math.log1p(-rate)
            for k in range(successes + 1)
        ]
    )


def _log_poisson_tail(events: int, mean: float) -> float:
    return _log_sum([k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(events + 1)])
