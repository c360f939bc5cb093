"""Assertions about a JSON document, as health probes and effect checks state them.

A path is dotted: `data.features[name=sm_enabled].value`, `items[0].id`, `["key.with.dots"].x`. `[0]` takes
one element (`[-1]` the last), `[name=value]` the elements of a list whose field `name` is `value` (quote a
value that holds `]`: `[name="a]b"]`); then the assertion must hold for each of them. An empty path is the
document itself.

A failure never quotes the document: it says the assertion's own words and what kind of value was found, so
that no content of an answer reaches a log (invariant 21).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_PATH_STEPS = 32
"""A path with more steps than this is refused."""


class Operator(StrEnum):
    """What is asserted of the value at the path."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    EXISTS = "exists"
    CONTAINS = "contains"
    IN = "in"
    LT = "lt"
    GT = "gt"


@dataclass(frozen=True, slots=True)
class JsonAssertion:
    """One assertion. Raises ValueError when path, operator and value do not go together.

    `value`: for `exists` True (the default) or False; for `in` a list; for `lt` and `gt` a number; for
    `contains` an element of a list, a key of an object, or a part of a text. Numbers equal by value; `true`
    is not `1`.
    """

    path: str
    operator: Operator
    value: Any = None

    def __post_init__(self) -> None:
        parse_path(self.path)
        if self.operator is Operator.EXISTS and not (self.value is None or isinstance(self.value, bool)):
            raise ValueError("exists takes true or false")
        if self.operator is Operator.IN and not isinstance(self.value, (list, tuple)):
            raise ValueError("in takes a list")
        if self.operator in (Operator.LT, Operator.GT) and not _is_number(self.value):
            raise ValueError(f"{self.operator.value} takes a number")

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return f"{self.path or 'the document'} {'does not exist' if self.value is False else 'exists'}"
        wanted = json.dumps(self.value, ensure_ascii=False, default=str)
        return f"{self.path or 'the document'} {self.operator.value} {wanted}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An assertion that does not hold. `missing` is True when nothing is there to compare with."""

    assertion: JsonAssertion
    missing: bool
    found: str

    def __str__(self) -> str:
        return f"expected: {self.assertion}; {self.found}"


def check(document: Any, assertions: Iterable[JsonAssertion]) -> tuple[Failure, ...]:
    """The assertions that do not hold for a decoded JSON document, in order; empty when all hold."""
    return tuple(failure for one in assertions if (failure := _failure(document, one)) is not None)


def _failure(document: Any, assertion: JsonAssertion) -> Failure | None:
    found = select(document, assertion.path)
    if assertion.operator is Operator.EXISTS:
        if bool(found) == (assertion.value is not False):
            return None
        return Failure(assertion, not found, "it is not there" if not found else "it is there")
    if not found:
        return Failure(assertion, True, "it is not there")
    holds = _CHECKS[assertion.operator]
    odd = next((value for value in found if not holds(value, assertion.value)), _NOTHING)
    return None if odd is _NOTHING else Failure(assertion, False, f"found {_kind(odd)}")


def select(document: Any, path: str) -> list[Any]:
    """The values at `path`: none, one, or several behind a filter. Raises ValueError for a bad path."""
    found = [document]
    for step in parse_path(path):
        found = [value for one in found for value in step(one)]
    return found


# -- paths ---------------------------------------------------------------------------------------------------

_Step = Callable[[Any], list[Any]]
_NOTHING = object()
_PART = re.compile(
    r"""(?P<key>[^.\[\]]+)
    |\[(?P<index>-?[0-9]{1,6})\]
    |\["(?P<quoted>[^"]*)"\]
    |\[(?P<name>[^=\[\]"]+)=(?:"(?P<text>[^"]*)"|(?P<word>[^\]"]*))\]""",
    re.VERBOSE,
)


def parse_path(path: str) -> tuple[_Step, ...]:
    """The steps of a path. Raises ValueError when it cannot be read."""
    steps: list[_Step] = []
    at = 0
    while at < len(path):
        if path[at] == "." and steps:
            at += 1
        part = _PART.match(path, at)
        starts_well = part is not None and (part["key"] is None or at == 0 or path[at - 1] == ".")
        if part is None or not starts_well or len(steps) == MAX_PATH_STEPS:
            raise ValueError(f"the path {path!r} cannot be read at position {at}")
        steps.append(_step(part))
        at = part.end()
    return tuple(steps)


def _step(part: re.Match[str]) -> _Step:
    if part["index"] is not None:
        return _element(int(part["index"]))
    if part["name"] is not None:
        return _filter(part["name"], part["text"] if part["text"] is not None else part["word"])
    return _member(part["key"] if part["key"] is not None else part["quoted"])


def _member(key: str) -> _Step:
    return lambda value: [value[key]] if isinstance(value, Mapping) and key in value else []


def _element(index: int) -> _Step:
    return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []


def _filter(name: str, text: str) -> _Step:
    def step(value: Any) -> list[Any]:
        elements = value if isinstance(value, list) else []
        objects = (one for one in elements if isinstance(one, Mapping))
        return [one for one in objects if _is_written(one.get(name, _NOTHING), text)]

    return step


def _is_written(value: Any, text: str) -> bool:
    """True for the text itself, and for a number, true, false or null that JSON writes like this."""
    if isinstance(value, str):
        return value == text
    return (value is None or isinstance(value, (bool, int, float))) and json.dumps(value) == text


# -- comparisons ---------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(found: Any, wanted: Any) -> bool:
    """JSON equality: `true` is not 1, also inside lists and objects."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, (list, tuple)) and isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(_equal(found[key], wanted[key]) for key in found)
    return bool(found == wanted)


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str) and wanted in found
    if isinstance(found, list):
        return any(_equal(one, wanted) for one in found)
    return isinstance(found, Mapping) and isinstance(wanted, str) and wanted in found


_CHECKS: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUALS: _equal,
    Operator.NOT_EQUALS: lambda found, wanted: not _equal(found, wanted),
    Operator.CONTAINS: _contains,
    Operator.IN: lambda found, wanted: any(_equal(found, one) for one in wanted),
    Operator.LT: lambda found, wanted: _is_number(found) and found < wanted,
    Operator.GT: lambda found, wanted: _is_number(found) and found > wanted,
}


def _kind(value: Any) -> str:
    """What kind of value it is; only true, false and null are named: they tell nothing about anybody."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return "another text"
    if isinstance(value, (list, Mapping)):
        return "a list" if isinstance(value, list) else "an object"
    return "another number"
