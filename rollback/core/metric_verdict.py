"""What numbers of a metric are worth as evidence. Pure; every doubt ends as missing, none as healthy.

A query gives, per window and stratum, a number of requests and a number of failed ones: s bad of n samples of one
e-process. Two things about that:

* The promise of the gate is about harm at *every* sample, given all before it. Requests of one window are such samples
  only when each of them would fail with a probability of p0 or more on a broken feature, whatever the others of its
  window do. Where failures come together (one bad minute, one bad host), a window is less than n samples' worth. So a
  window counts at most `cap` samples: its counts are scaled down in proportion, and the bad ones are rounded up. With
  a cap of 1 a window is one sample, harm if anything in it failed, and the promise holds however its requests depend
  on each other.
* Which windows count is decided by time and volume, never by failures; each request counts in one stratum at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

HUGEST = 10**12
"""A window with more requests than that is an error of the query."""

REST = "rest"
"""The stratum of all the traffic in strata that are too small to be judged alone."""

NO_VOLUME = "no traffic"


@dataclass(frozen=True, slots=True)
class Counts:
    """`bad` of `total` requests of one window and stratum; whole numbers, bad <= total."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise ValueError(f"need 0 <= bad <= total, not {self.bad} of {self.total}")

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.bad + other.bad, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Missing:
    """No data, and why in a few words of our own."""

    why: str


Reading = Counts | Missing
Strata = Mapping[str, Reading]
"""One window, by stratum; the only stratum is "" where there are none. Empty: nothing came."""

Number = float | Missing | None
"""What a query says for one window and stratum; None: nothing at all."""


def number(value: object) -> float | Missing:
    """A count that came from outside: finite, not negative, not huge. Text, null, NaN and truth values are missing."""
    if value is None:
        return Missing("a null point")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Missing("a value that is no number")
    if isinstance(value, float) and not math.isfinite(value):
        return Missing("a value that is not finite")
    if value < 0:
        return Missing("a negative count")
    if value > HUGEST:
        return Missing("a count that is too large to be one")
    return float(value)


def failed_of(requests: Number, errors: Number, *, absent_is_zero: bool) -> Reading:
    """Counts from requests and failed ones. Sources extrapolate: requests are rounded down, failed ones up.

    `absent_is_zero`: a window without any word about failures, while there were requests, had none.
    """
    asked = _present(requests, "requests")
    if isinstance(asked, Missing):
        return asked
    if errors is None and absent_is_zero:
        errors = 0.0
    failed = _present(errors, "errors")
    if isinstance(failed, Missing):
        return failed
    if failed > asked * (1 + 1e-9):
        return Missing("more errors than requests")
    total = math.floor(asked + 1e-6)
    return Counts(min(math.ceil(failed - 1e-6), total), total)


def served_of(requests: Number, successes: Number) -> Reading:
    """Counts from requests and successful ones: whatever is not known to be good is bad.

    Requests without any word about successes: a total outage or a renamed metric, so missing.
    """
    asked, served = _present(requests, "requests"), _present(successes, "successes")
    if isinstance(asked, Missing):
        return asked
    if isinstance(served, Missing):
        return served
    if served > asked * (1 + 1e-9):
        return Missing("more successes than requests")
    total = math.floor(asked + 1e-6)
    return Counts(total - min(math.floor(served + 1e-6), total), total)


def _present(value: Number, what: str) -> float | Missing:
    return Missing(f"no {what}") if value is None else value


@dataclass(frozen=True, slots=True)
class Rule:
    """What a window has to be to count.

    `minimum_volume`: requests below which a stratum says nothing. `cap`: samples that a window counts at most. `tag`:
    by which the traffic is parted, None: it is not. `own`: so many strata are metrics of their own at most.
    """

    name: str
    minimum_volume: int
    cap: int
    tag: str | None = None
    own: int = 0

    def metric(self, stratum: str) -> str:
        """The metric's name of a stratum."""
        return f"{self.name}[{self.tag}:{stratum}]"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one window is worth for one metric. `bad` of `total` samples; None with a reason when it is missing."""

    metric: str
    counts: Counts | None
    detail: str


@dataclass(frozen=True, slots=True)
class Known:
    """The strata that were large enough in some window before; what is in here never leaves, and is missed when gone.

    A stratum gets a metric of its own in the window after the one in which it was large enough, so that the past
    alone decides where a request counts.
    """

    own: tuple[str, ...] = ()
    has_rest: bool = False

    def metrics(self, rule: Rule) -> tuple[str, ...]:
        """All metrics that must pass: the whole traffic, and its known parts."""
        rest = (rule.metric(REST),) if self.has_rest else ()
        return (rule.name, *(rule.metric(one) for one in self.own), *rest)


@dataclass(slots=True)
class _Parts:
    own: dict[str, Reading] = field(default_factory=dict)
    rest: list[Counts] = field(default_factory=list)
    doubt: str = ""


def judged(rule: Rule, strata: Strata, known: Known) -> tuple[list[Observation], Known]:
    """What a window is worth for every known metric, and the strata that are known from the next one on.

    The whole is missing when any part of it is: a sum without one of its parts is another metric's.
    """
    if rule.tag is None:
        return [_observed(rule, rule.name, _only(strata))], known
    parts = _parted(rule, strata, known)
    found = [_observed(rule, rule.name, _whole(strata))]
    found += [_observed(rule, rule.metric(one), parts.own.get(one, Missing("this part is gone"))) for one in known.own]
    rest = Missing(parts.doubt) if parts.doubt else _sum(parts.rest)
    if known.has_rest:
        found.append(_observed(rule, rule.metric(REST), rest))
    own = _grown(rule, strata, known)
    small = _sum(one for name, one in strata.items() if name not in own and isinstance(one, Counts))
    return found, Known(own, known.has_rest or small.total >= rule.minimum_volume)


def capped(counts: Counts, cap: int) -> Counts:
    """At most `cap` samples in the same proportion, the bad ones rounded up. Raises ValueError for a cap below 1."""
    if cap < 1:
        raise ValueError(f"a window counts one sample at least, not {cap}")
    if counts.total <= cap:
        return counts
    return Counts(-(-counts.bad * cap // counts.total), cap)


def _observed(rule: Rule, metric: str, reading: Reading) -> Observation:
    if isinstance(reading, Missing):
        return Observation(metric, None, reading.why)
    if reading.total == 0:
        return Observation(metric, None, NO_VOLUME)
    if reading.total < rule.minimum_volume:
        return Observation(metric, None, f"{reading.total} requests; {rule.minimum_volume} are needed")
    return Observation(metric, capped(reading, rule.cap), f"{reading.bad} of {reading.total} requests failed")


def _only(strata: Strata) -> Reading:
    if not strata:
        return Missing("no data")
    if set(strata) != {""}:
        return Missing("several series, and by_tag is not set")
    return strata[""]


def _whole(strata: Strata) -> Reading:
    unclear = [reading for reading in strata.values() if isinstance(reading, Missing)]
    if unclear:
        return unclear[0]
    return _sum(reading for reading in strata.values() if isinstance(reading, Counts)) if strata else Missing("no data")


def _sum(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts(0, 0))


def _parted(rule: Rule, strata: Strata, known: Known) -> _Parts:
    """Each stratum's requests in one place: its own metric, or the rest."""
    parts = _Parts()
    for name, reading in strata.items():
        if isinstance(reading, Missing):
            if name in known.own:
                parts.own[name] = reading
            else:
                parts.doubt = reading.why
        elif name in known.own and reading.total >= rule.minimum_volume:
            parts.own[name] = reading
        else:
            parts.rest.append(reading)
            if name in known.own:
                parts.own[name] = Missing(f"{reading.total} requests; {rule.minimum_volume} are needed")
    return parts


def _grown(rule: Rule, strata: Strata, known: Known) -> tuple[str, ...]:
    """The known strata and those that are large enough now, the largest first, as many as there may be."""
    large: Sequence[tuple[int, str]] = sorted(
        (-reading.total, name)
        for name, reading in strata.items()
        if isinstance(reading, Counts) and reading.total >= rule.minimum_volume and name not in known.own
    )
    return (*known.own, *(name for _, name in large))[: max(rule.own, len(known.own))]
