"""Reading JSON that somebody else wrote: bounded, strict where it matters, and nothing unclean comes out.

Whatever the bytes are, `json_object` gives fields or raises `Unreadable`, and no other error. Identifiers are refused
rather than cut, because two long ones must never become equal; what only people read is cut and redacted.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import NoReturn

from rollback.adapters.alert_sources.moments import moment
from rollback.redaction import redact

MAX_BODY = 1_048_576
"""Bytes of a body that are read. PagerDuty sends at most 256 KB; a group of Alertmanager's has no limit of its own."""

MAX_DEPTH = 32
"""Objects and lists inside one another; the senders' own bodies have five."""

MAX_IDENTIFIER = 200
"""Characters of an identifier; a longer one makes the delivery unreadable."""

MAX_TEXT = 200
"""Characters of a title or a link."""

MAX_WORD = 40
"""Characters of a word from a vocabulary, such as a priority."""

MAX_TAGS = 64
MAX_TAG = 200

TAGS_CUT = "rollback_tags_cut:true"
"""Says that there were more tags than are kept: a rule may have missed its own."""

KEPT_FIRST = frozenset({"env", "environment", "service", "application", "app", "team", "severity", "priority"})
"""Names of the tags that rules pin. They are kept before all others when there are too many."""

_STRING = r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
"""A JSON string, or what would be one if it ended: so that a quote without its end costs no quadratic time."""
_STRINGS = re.compile(_STRING, re.DOTALL)
_TRAILING_COMMAS = re.compile(rf"({_STRING})|,(?=\s*+[}}\]])", re.DOTALL)
_ADDRESS = re.compile(r"https?://[^\s/?#][^\s]*", re.IGNORECASE)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")


class Unreadable(Exception):
    """The delivery is not understood. Its text is one whole sentence, without anything of the content."""


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of a body. A field that is missing, null or of another type reads as empty, unless said otherwise."""

    values: Mapping[str, object]

    def word(self, name: str) -> str:
        """The text or whole number as it came, without blanks around it: to compare, never to keep or show."""
        value = self.values.get(name)
        if isinstance(value, str):
            return value.strip()
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""

    def text(self, name: str, longest: int = MAX_TEXT) -> str:
        """One line for people: redacted, without control characters, cut at `longest`."""
        return redact(self.word(name), longest)

    def priority(self, *names: str) -> str:
        """The first of the named fields that says something, upper case, fit to be kept."""
        return next((word for name in names if (word := self.text(name, MAX_WORD).upper()[:MAX_WORD])), "")

    def identifier(self, name: str) -> str:
        """An id, exactly as it came but for blanks around it; empty when it is missing.

        Raises `Unreadable` when it is neither text nor a whole number, longer than `MAX_IDENTIFIER`, or holds
        characters that cannot be seen: ids that look alike would not be alike.
        """
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise Unreadable(f"The field {name} is neither text nor a whole number.")
        found = self.word(name)
        if len(found) > MAX_IDENTIFIER:
            raise Unreadable(f"The field {name} is longer than {MAX_IDENTIFIER} characters.")
        if not all(map(_is_visible, found)):
            raise Unreadable(f"The field {name} holds characters that cannot be seen.")
        return found

    def required(self, name: str, missing: str) -> str:
        """`identifier`, and `Unreadable` with the sentence `missing` when it is empty."""
        found = self.identifier(name)
        if not found:
            raise Unreadable(missing)
        return found

    def inner(self, name: str) -> Fields:
        """The object in a field; empty when it is none."""
        value = self.values.get(name)
        return Fields(value) if isinstance(value, dict) else Fields({})

    def many(self, name: str) -> list[object]:
        """The list in a field; empty when it is none."""
        value = self.values.get(name)
        return value if isinstance(value, list) else []

    def moment(self, name: str) -> datetime | None:
        """The time in a field, aware UTC; None when it says none that makes sense."""
        return moment(self.values.get(name))

    def says_true(self, name: str) -> bool:
        """Whether a field is true, or the word `true`."""
        value = self.values.get(name)
        return value is True or (isinstance(value, str) and value.strip().casefold() == "true")

    def link(self, name: str) -> str:
        """An http(s) address for people, redacted; empty for any other.

        One that is too long loses its query and its fragment first, so that it still leads somewhere.
        """
        address = self.word(name)
        if not all(map(_is_visible, address)):
            return ""
        if len(address) > MAX_TEXT:
            address = re.split(r"[?#]", address, maxsplit=1)[0]
        address = redact(address, MAX_TEXT)
        return address if _ADDRESS.fullmatch(address) else ""

    def without(self, placeholder: re.Pattern[str]) -> Fields:
        """The same without the fields whose whole text matches: what a sender's template left unreplaced."""
        kept = {
            name: value
            for name, value in self.values.items()
            if not (isinstance(value, str) and placeholder.fullmatch(value.strip()))
        }
        return Fields(kept)


def json_object(headers: Mapping[str, str], body: bytes, *, lenient: bool = False) -> Fields:
    """The object that `body` is. Raises `Unreadable` when it is none, too large, too deep, or ambiguous.

    Ambiguous is a name that comes twice in one object, at any depth: programs do not agree on which counts, and a
    template that does not escape its values could be made to say it. Numbers that are none (NaN, Infinity, 1e999) are
    refused. A byte order mark is skipped. `lenient` also takes commas before a closing bracket, and line breaks and
    other control characters inside of texts; nothing else is mended. `headers` only help to say what is wrong.
    """
    if len(body) > MAX_BODY:
        raise Unreadable("The body is larger than 1 MB.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("The body is not UTF-8 text.") from None
    if _depth(text) > MAX_DEPTH:
        raise Unreadable(f"The body nests deeper than {MAX_DEPTH} levels.")
    try:
        value = _parsed(text, lenient)
    except (ValueError, RecursionError) as error:  # the second: the caller's own stack is nearly used up
        raise Unreadable(_broken(headers, error)) from None
    if not isinstance(value, dict):
        raise Unreadable("The body is JSON, but no object.")
    return Fields(value)


def _parsed(text: str, lenient: bool) -> object:
    try:
        return _loaded(text, strict=True)
    except ValueError:
        if not lenient:
            raise
    return _loaded(_TRAILING_COMMAS.sub(lambda found: found[1] or "", text), strict=False)


def tags(words: Iterable[str], notes: Iterable[str] = ()) -> tuple[str, ...]:
    """Tags as an `Alert` has them: redacted, cut at `MAX_TAG` characters, sorted, unique, at most `MAX_TAGS`.

    `notes` are ours, and always kept. When there are too many, `KEPT_FIRST` decides, and `TAGS_CUT` is one of them.
    """
    found = {word.strip() for word in words}
    found.discard("")
    kept = sorted(found, key=lambda word: (word.partition(":")[0].casefold() not in KEPT_FIRST, word))
    added = set(notes)
    if len(kept) + len(added) > MAX_TAGS:
        added.add(TAGS_CUT)
    clean = {redact(word, MAX_TAG) for word in kept[: MAX_TAGS - len(added)]}
    clean.discard("")
    return tuple(sorted(clean | added))


def split_tags(value: object) -> list[str]:
    """The tags of a field: a list of texts, or one text with commas between them."""
    if isinstance(value, str):
        return value.split(",")
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _loaded(text: str, *, strict: bool) -> object:
    value: object = json.loads(
        text, strict=strict, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
    )
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("The body says one name twice in the same object.")
    return found


def _no_number(_: str) -> NoReturn:
    raise Unreadable("The body holds a number that is none.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Unreadable("The body holds a number that is out of range.")
    return number


def _depth(text: str) -> int:
    brackets = _NOT_BRACKETS.sub("", _STRINGS.sub("", text))
    return max(accumulate((1 if bracket in "[{" else -1) for bracket in brackets), default=0)


def _broken(headers: Mapping[str, str], error: Exception) -> str:
    if "form" in headers.get("content-type", "").casefold():
        return "The body was sent as a form and not as JSON: switch form encoding off at the sender."
    where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
    return f"The body is not valid JSON{where}."


def _is_visible(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
