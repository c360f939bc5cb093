"""Does a segment's constraint hold for a value? By Flipt's server, which parses values as Go does.

The SDKs' engine differs in a few values, always server true and engine false (see the tests).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

from rollback.sandbox.model import ALL, Constraint, Segment

TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})
GO_FLOAT = re.compile(r"[+-]?(\d[\d_]*\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity|nan)\Z", re.IGNORECASE)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d\Z")


class Unparsable(ValueError):
    """A value that is not of its constraint's type: the constraint does not hold."""


def segment_matches(segment: Segment, context: dict[str, str], entity_id: str) -> bool:
    """Does the segment mean this entity? Without constraints it means everybody."""
    held = (holds(one, context, entity_id) for one in segment.constraints)
    if segment.match_type == ALL:
        return all(held)
    return not segment.constraints or any(held)


def holds(constraint: Constraint, context: dict[str, str], entity_id: str) -> bool:
    """Does one constraint hold? A property that is not in the context counts as ""."""
    kind = constraint.type.removesuffix("_COMPARISON_TYPE")
    value = entity_id if kind == "ENTITY_ID" else context.get(constraint.property, "")
    test = TESTS.get(kind)
    if test is None:
        return False
    try:
        return test(constraint.operator, constraint.value, value)
    except Unparsable:
        return False


def text_holds(operator: str, wanted: str, value: str) -> bool:
    """String operators. Empty means only white space; prefix and suffix look at the trimmed value."""
    trimmed = value.strip()
    if operator in ("empty", "notempty"):
        return (not trimmed) == (operator == "empty")
    if not value:
        return False
    match operator:
        case "eq":
            return value == wanted
        case "neq":
            return value != wanted
        case "prefix":
            return trimmed.startswith(wanted)
        case "suffix":
            return trimmed.endswith(wanted)
        case "contains":
            return wanted in value
        case "notcontains":
            return wanted not in value
        case "isoneof":
            return value in text_list(wanted)
        case "isnotoneof":
            return value not in text_list(wanted)
    return False


def number_holds(operator: str, wanted: str, value: str) -> bool:
    """Number operators, in 64-bit floats."""
    if (present := presence(operator, value)) is not None:
        return present
    if not value:
        return False
    number = parse_number(value)
    if operator == "isoneof":
        return number in number_list(wanted)
    if operator == "isnotoneof":
        return number not in number_list(wanted)
    return compare(operator, number, parse_number(wanted))


def boolean_holds(operator: str, _wanted: str, value: str) -> bool:
    """Boolean operators; the words are Go's (`TRUE`, `t`, `1` and so on)."""
    if (present := presence(operator, value)) is not None:
        return present
    if value in TRUE_WORDS:
        return operator == "true"
    return value in FALSE_WORDS and operator == "false"


def datetime_holds(operator: str, wanted: str, value: str) -> bool:
    """Date operators, on RFC 3339 times or plain dates (midnight UTC)."""
    if (present := presence(operator, value)) is not None:
        return present
    if not value:
        return False
    return compare(operator, parse_moment(value), parse_moment(wanted))


TESTS: dict[str, Callable[[str, str, str], bool]] = {
    "STRING": text_holds,
    "ENTITY_ID": text_holds,
    "NUMBER": number_holds,
    "BOOLEAN": boolean_holds,
    "DATETIME": datetime_holds,
}


def presence(operator: str, value: str) -> bool | None:
    """The answer of `present` and `notpresent`; None for other operators."""
    if operator not in ("present", "notpresent"):
        return None
    return bool(value.strip()) == (operator == "present")


def compare(operator: str, value: float, wanted: float) -> bool:
    """The six comparisons; an unknown operator never holds."""
    match operator:
        case "eq":
            return value == wanted
        case "neq":
            return value != wanted
        case "lt":
            return value < wanted
        case "lte":
            return value <= wanted
        case "gt":
            return value > wanted
        case "gte":
            return value >= wanted
    return False


def parse_number(text: str) -> float:
    """A number as Go's `strconv.ParseFloat` reads it: no white space around it. Raises Unparsable."""
    if not GO_FLOAT.match(text) or "_" in text:
        raise Unparsable(text)
    return float(text)


def parse_moment(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time or a date. Raises Unparsable."""
    try:
        if RFC3339.match(text):
            return datetime.fromisoformat(text).timestamp()
        if DATE_ONLY.match(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Unparsable(text) from error
    raise Unparsable(text)


def text_list(wanted: str) -> list[str]:
    """The strings of a JSON list. Raises Unparsable."""
    return [value for value in json_list(wanted, str) if isinstance(value, str)]


def number_list(wanted: str) -> list[float]:
    """The numbers of a JSON list. Raises Unparsable."""
    return [float(value) for value in json_list(wanted, int, float)]


def json_list(wanted: str, *kinds: type) -> list[float | str]:
    """A JSON list of which every item is of these kinds. Raises Unparsable."""
    try:
        values = json.loads(wanted)
    except ValueError as error:
        raise Unparsable(wanted) from error
    if not isinstance(values, list) or not all(
        isinstance(value, kinds) and not isinstance(value, bool) for value in values
    ):
        raise Unparsable(wanted)
    return values
