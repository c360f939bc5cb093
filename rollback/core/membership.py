"""A search for somebody who belongs to given segments: values built from the constraints, then checked.

What is found is a member for the server and for the engine (`core.constraints`). When nothing is found
there may be a member all the same; then the segment stays unsampled and is named. Kill path: standard
library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, product

from rollback.core import constraints as rules
from rollback.core.flag import Constraint, Segment

ENTITY_STEM = "rollback-proof-"
"""Every entity id made here has this in it, so that it is known in a server's own records."""

MAX_CANDIDATES = 1_000
"""How many values are tried for one property."""

MAX_ALTERNATIVES = 64
"""How many ways through ANY segments are tried for one combination of segments."""

_FILLERS = ("rollback-proof", "z", "7", "Q", "true", "false", "0", "1", "2000-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Membership:
    """What makes somebody a member: the context, and what the entity id must look like.

    `entity_ids` lists the only ids that will do; `None` when any id `prefix` + stem + number + `suffix` does.
    """

    context: Mapping[str, str] = field(default_factory=dict)
    entity_ids: tuple[str, ...] | None = None
    prefix: str = ""
    suffix: str = ""


class NobodyFound(LookupError):
    """No member was found; the text says why, without any constraint's value."""


def membership_of(segments: Sequence[Segment]) -> Membership:
    """What makes somebody a member of all `segments` at once. Raises `NobodyFound`."""
    why = "it names no constraints"
    for needed in islice(product(*(_alternatives(segment) for segment in segments)), MAX_ALTERNATIVES):
        try:
            return _meeting_all([constraint for part in needed for constraint in part])
        except NobodyFound as nobody:
            why = str(nobody)
    raise NobodyFound(why)


def _alternatives(segment: Segment) -> list[tuple[Constraint, ...]]:
    """The sets of constraints of which one must be met whole; those that leave the id free come first."""
    for constraint in segment.constraints:
        if not rules.is_known(constraint):
            raise NobodyFound("a constraint has a type that is not known here")
    if segment.match_all or not segment.constraints:
        return [segment.constraints]
    return [(one,) for one in sorted(segment.constraints, key=lambda one: one.type == rules.ENTITY_ID)]


def _meeting_all(constraints: Sequence[Constraint]) -> Membership:
    by_property: dict[str, list[Constraint]] = {}
    for constraint in constraints:
        if constraint.type != rules.ENTITY_ID:
            by_property.setdefault(constraint.property, []).append(constraint)
    context: dict[str, str] = {}
    for name, group in by_property.items():
        tried = islice(_candidates(group), MAX_CANDIDATES)
        value = next((one for one in tried if _meets_all(group, one)), None)
        if value is None:
            raise NobodyFound(f"no value of {name} is found that means {_words(group)} to server and engine")
        if value:
            context[name] = value
    return _with_entity(context, [one for one in constraints if one.type == rules.ENTITY_ID])


def _with_entity(context: Mapping[str, str], group: Sequence[Constraint]) -> Membership:
    listed = [value for one in group for value in _listed(one)]
    if listed:
        ids = tuple(value for value in dict.fromkeys(listed) if value.strip() and _meets_all(group, value))
        if ids:
            return Membership(context, entity_ids=ids)
    else:
        start, middle, end = _parts(group)
        if _meets_all(group, f"{start}{middle}{ENTITY_STEM}0{end}"):
            return Membership(context, prefix=start + middle, suffix=end)
    raise NobodyFound(f"no entity id is found that means {_words(group)} to server and engine")


def _meets_all(group: Iterable[Constraint], value: str) -> bool:
    return all(rules.is_met(one, value) for one in group)


def _words(group: Iterable[Constraint]) -> str:
    """The constraints by operator; their values may name people, so they stay out."""
    return " and ".join(f"{one.type} {one.operator}" for one in group)


# -- values to try -------------------------------------------------------------------------------------------


def _candidates(group: Sequence[Constraint]) -> Iterator[str]:
    """Values that may meet all constraints of one property, likely ones first; "" means: leave it out."""
    for one in group:
        yield from _listed(one)
    start, middle, end = _parts(group)
    yield from (f"{start}{middle}{end}", start, end)  # start or end may hold the other already
    for filler in _FILLERS:
        yield f"{start}{middle}{filler}{end}"
    for one in group:
        yield from _near(one)
    yield from _FILLERS
    yield ""


def _listed(constraint: Constraint) -> Sequence[str]:
    """The values that a constraint names one by one (eq, isoneof)."""
    if constraint.operator == "eq":
        return [constraint.value]
    if constraint.operator != "isoneof":
        return []
    if constraint.type == "number":
        return [str(number) for number in rules.integers(constraint.value) or ()]
    return rules.texts(constraint.value) or ()


def _parts(group: Sequence[Constraint]) -> tuple[str, str, str]:
    """How a text must start, what it must contain, how it must end."""

    def longest(operator: str) -> str:
        return max((one.value for one in group if one.operator == operator), key=len, default="")

    start, end = longest("prefix"), longest("suffix")
    inside = dict.fromkeys(one.value for one in group if one.operator == "contains")
    return start, "".join(value for value in inside if value not in start and value not in end), end


def _near(constraint: Constraint) -> Iterator[str]:
    """Numbers and times on both sides of the ones that a constraint names."""
    if constraint.type == "number":
        one = rules.integer(constraint.value)
        for number in (rules.integers(constraint.value) or ()) if one is None else (one,):
            yield from (str(number + by) for by in (0, 1, -1, 2, -2, 3, -3, 5, -5, 8, -8, 100, -100))
    if constraint.type == "datetime" and (named := rules.moment(constraint.value)):
        for seconds in (1, 2, 60, 86_400, 400 * 86_400):
            yield from _around(named, timedelta(seconds=seconds))


def _around(named: datetime, distance: timedelta) -> Iterator[str]:
    for by in (distance, -distance):
        try:
            shifted = (named + by).replace(microsecond=0, tzinfo=None)
        except OverflowError:
            continue
        yield f"{shifted.isoformat()}Z"
