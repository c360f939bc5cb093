"""Who belongs to a segment, as Flipt's server and the engine inside SDKs both see it.

The two read some constraint values differently: the server trims blanks and reads `5.0` and `TRUE`, the
engine does not. Here a constraint counts as met only when *both* say so, so a member is one for both. This
is for choosing samples only. Exposure never reasons about constraint values (invariant 3). Kill path:
standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rollback.core.flag import Constraint, Segment

ENTITY_ID = "entity_id"
"""The type of constraint that looks at the entity id; every other type looks at a property of the context."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def is_known(constraint: Constraint) -> bool:
    """False for a type that is not Flipt's: the server refuses to evaluate a segment that has one."""
    return constraint.type in _CHECKS


def is_met(constraint: Constraint, value: str) -> bool:
    """True when server and engine both say that `value` meets `constraint`; "" is a missing property."""
    check = _CHECKS.get(constraint.type)
    return check is not None and _is_utf8(value) and check(constraint.operator, constraint.value, value)


def is_member(segment: Segment, context: Mapping[str, str], entity_id: str) -> bool:
    """True when server and engine both take an entity with this context as a member of `segment`."""
    if not all(is_known(constraint) for constraint in segment.constraints):
        return False
    met = (
        is_met(one, entity_id if one.type == ENTITY_ID else context.get(one.property, ""))
        for one in segment.constraints
    )
    return all(met) if segment.match_all or not segment.constraints else any(met)


# -- reading values ------------------------------------------------------------------------------------------


def integer(text: str) -> int | None:
    """A whole number as both read it (the engine knows 32-bit integers); None for anything else."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**31) <= number < 2**31 else None


def integers(text: str) -> tuple[int, ...] | None:
    """A JSON list of whole numbers; None for anything else."""
    found = _list(text)
    if found is None or not all(type(one) is int for one in found):
        return None
    return tuple(found)


def texts(text: str) -> tuple[str, ...] | None:
    """A JSON list of strings; None for anything else."""
    found = _list(text)
    if found is None or not all(isinstance(one, str) for one in found):
        return None
    return tuple(found)


def moment(text: str) -> datetime | None:
    """An RFC 3339 time (the form that both read), in UTC; None for anything else."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _list(text: str) -> list[Any] | None:
    try:
        # The engine takes "-0" for a fraction, the server for a whole number.
        found = json.loads(text, parse_int=lambda digits: None if digits == "-0" else integer(digits))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- one constraint ------------------------------------------------------------------------------------------


def _text_meets(operator: str, wanted: str, value: str) -> bool:
    if operator == "empty":
        return value == ""
    if operator == "notempty":
        return value.strip() != ""
    check = _TEXT_CHECKS.get(operator)
    return check is not None and value != "" and check(wanted, value)  # these fail on a missing property


def _is_one_of(wanted: str, value: str) -> bool:
    # The engine cannot read a list with escapes in it.
    return "\\" not in wanted and value in (texts(wanted) or ())


def _is_not_one_of(wanted: str, value: str) -> bool:
    listed = texts(wanted)
    return listed is not None and value not in listed


_TEXT_CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda wanted, value: value == wanted,
    "neq": lambda wanted, value: value != wanted,
    # The server trims the value here, the engine does not.
    "prefix": lambda wanted, value: value.startswith(wanted) and value == value.strip(),
    "suffix": lambda wanted, value: value.endswith(wanted) and value == value.strip(),
    "contains": lambda wanted, value: wanted in value,
    "notcontains": lambda wanted, value: wanted not in value,
    "isoneof": _is_one_of,
    "isnotoneof": _is_not_one_of,
}


def _number_meets(operator: str, wanted: str, value: str) -> bool:
    if operator in ("present", "notpresent"):
        return _presence_meets(operator, value)
    number = integer(value)
    if number is None:
        return False
    if operator in ("isoneof", "isnotoneof"):
        listed = integers(wanted)
        return listed is not None and (number in listed) == (operator == "isoneof")
    bound = integer(wanted)
    return bound is not None and _compare(operator, number, bound)


def _boolean_meets(operator: str, _wanted: str, value: str) -> bool:
    return _presence_meets(operator, value) or (operator in ("true", "false") and value == operator)


def _moment_meets(operator: str, wanted: str, value: str) -> bool:
    if operator in ("present", "notpresent"):
        return _presence_meets(operator, value)
    found, bound = moment(value), moment(wanted)
    if found is None or bound is None:
        return False
    # The engine compares whole seconds.
    coarse = _compare(operator, found.replace(microsecond=0), bound.replace(microsecond=0))
    return coarse and _compare(operator, found, bound)


def _presence_meets(operator: str, value: str) -> bool:
    return (operator == "present" and value.strip() != "") or (operator == "notpresent" and value == "")


def _compare(operator: str, left: Any, right: Any) -> bool:
    known: dict[str, bool] = {
        "eq": left == right,
        "neq": left != right,
        "lt": left < right,
        "lte": left <= right,
        "gt": left > right,
        "gte": left >= right,
    }
    return known.get(operator, False)


_CHECKS: Mapping[str, Callable[[str, str, str], bool]] = {
    "string": _text_meets,
    "number": _number_meets,
    "boolean": _boolean_meets,
    "datetime": _moment_meets,
    ENTITY_ID: _text_meets,
}
