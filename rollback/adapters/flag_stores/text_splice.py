"""Edits of a YAML (or JSON) text at the places of its nodes, so that every other byte stays.

Each function gives edits and changes nothing; `apply` makes the new text. Taking out what an insertion put in gives
back the text as it was. `CannotSplice` says that the place is written in a way for which there is no small
edit (an alias, an explicit key); the caller has another way. Pure. Kill path: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rollback.adapters.flag_stores.yaml_nodes import Node


class CannotSplice(Exception):
    """There is no small edit for this; nothing was changed."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replaces the text from `start` to `end`; an insertion when they are the same."""

    start: int
    end: int
    text: str = ""


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits made; those at one place in the order in which they were given."""
    parts, position = [], 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if edit.start < position:
            raise CannotSplice("two edits meet")
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


class Splicer:
    """Makes edits for one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        first = re.search(r"\r\n|\n|\r", text)
        self.newline = first[0] if first else "\n"

    # -- lines -------------------------------------------------------------------------------------------------

    def line_start(self, position: int) -> int:
        """Where the line begins that `position` is in."""
        return max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position)) + 1

    def line_end(self, position: int) -> int:
        """Where the next line begins (the end of the text on the last one)."""
        found = re.compile(r"\r\n|\n|\r").search(self.text, position)
        return found.end() if found else len(self.text)

    def indent(self, position: int) -> str | None:
        """The white space before `position`; None when something else stands before it on its line."""
        before = self.text[self.line_start(position) : position]
        return before if not before.strip() else None

    def above_comments(self, position: int, after: int) -> int:
        """The start of the line of `position`, or of the comment lines right above it, not before `after`."""
        start = self.line_start(position)
        while start > after:
            above = self.line_start(start - self._break_before(start))
            if above < after or not self.text[above:start].lstrip().startswith("#"):
                break
            start = above
        return start

    def without_lines(self, start: int, end: int) -> Edit:
        """Takes out the lines from the one of `start` to the one of `end`; other text stands on neither."""
        first, behind = self.line_start(start), self.line_end(end)
        at_the_end = behind == len(self.text) and not self.text.endswith(("\n", "\r"))
        if at_the_end and first:
            first -= self._break_before(first)
        return Edit(first, behind)

    def _break_before(self, line_start: int) -> int:
        return 2 if self.text[max(line_start - 2, 0) : line_start] == "\r\n" else 1

    # -- mappings ----------------------------------------------------------------------------------------------

    def colon(self, key: Node) -> int:
        """The position behind the colon of a key."""
        found = re.compile(r"\s*:").match(self.text, key.end)
        if found is None:
            raise CannotSplice("a key without its colon behind it")
        return found.end()

    def own_value(self, mapping: Node, key: str) -> Node | None:
        """The value that stands under `key` itself; None when there is none. An alias cannot be edited here."""
        pair = mapping.own(key)
        if pair is None:
            return None
        if pair[1].kind == "alias" or pair[1].anchored or pair[1].tag:
            raise CannotSplice(f"{key} is shared by an alias, or tagged")
        return pair[1]

    def insert_key(self, mapping: Node, before: Node, entry: Sequence[str], flow_entry: str) -> Edit:
        """A new entry in front of the key `before`: `entry` line by line in a block mapping, else `flow_entry`.

        In a flow mapping `before` must be the first key: that is how `remove_key` knows ours again.
        """
        indent = self.indent(before.start)
        if mapping.flow:
            separator = " " if indent is None else self.newline + indent
            return Edit(before.start, before.start, f"{flow_entry},{separator}")
        if indent is None:
            pad = " " * before.column
            lines = [entry[0], *(pad + line for line in entry[1:]), pad]
            return Edit(before.start, before.start, self.newline.join(lines))
        siblings = mapping.children
        place = next(index for index, child in enumerate(siblings) if child is before)
        at = self.above_comments(before.start, siblings[place - 1].end if place else mapping.start)
        return Edit(at, at, "".join(f"{indent}{line}{self.newline}" for line in entry))

    def remove_key(self, mapping: Node, key: Node, value: Node) -> Edit:
        """Takes a whole entry out of a mapping."""
        siblings = mapping.children
        place = next(index for index, child in enumerate(siblings) if child is key)
        if not mapping.flow and self.indent(key.start) is not None:
            return self.without_lines(key.start, value.end)
        if place + 2 >= len(siblings):
            raise CannotSplice("the last key of a mapping")
        return Edit(key.start, siblings[place + 2].start)

    # -- lists -------------------------------------------------------------------------------------------------

    def dash(self, sequence: Node, place: int) -> int:
        """Where the dash of an item of a block list stands."""
        if place == 0:
            return sequence.start
        found = re.compile(r"(?:\s|#[^\r\n]*)*-").match(self.text, sequence.children[place - 1].end)
        if found is None:
            raise CannotSplice("an item that does not stand behind its dash")
        return found.end() - 1

    def insert_items(
        self, key: Node, sequence: Node, place: int, items: Sequence[Sequence[str]], flow_items: Sequence[str]
    ) -> Edit:
        """New items in front of the one at `place` (behind the last when there is none there); the list is not empty.

        `key` is the list's. Each item of `items` comes line by line, with its dash; `flow_items` are the same
        for a flow list.
        """
        children = sequence.children
        if sequence.flow:
            if place == len(children):
                at = children[-1].end
                return Edit(at, at, "".join(f", {item}" for item in flow_items))
            at = children[place].start
            indent = self.indent(at)
            separator = ", " if indent is None else f",{self.newline}{indent}"
            return Edit(at, at, "".join(f"{item}{separator}" for item in flow_items))
        dash = self.dash(sequence, min(place, len(children) - 1))
        indent = self.indent(dash)
        if place == len(children):
            if indent is None:
                raise CannotSplice("a list that begins behind other text")
            at = self.line_end(children[-1].end)
            ended = self.text[:at].endswith(("\n", "\r"))
            lines = "".join(f"{indent}{line}{self.newline}" for item in items for line in item)
            return Edit(at, at, lines if ended else self.newline + lines.removesuffix(self.newline))
        if indent is None:
            pad = " " * (dash - self.line_start(dash))
            lines = "".join(f"{line}{self.newline}{pad}" for item in items for line in item)
            return Edit(dash, dash, lines)
        at = self.above_comments(dash, children[place - 1].end if place else key.end)
        return Edit(at, at, "".join(f"{indent}{line}{self.newline}" for item in items for line in item))

    def remove_items(self, sequence: Node, places: Sequence[int]) -> list[Edit]:
        """Takes items out of a list. The last ones of a flow list take the comma before them along."""
        children = sequence.children
        if not sequence.flow:
            return [self._remove_block_item(sequence, place) for place in places]
        edits = []
        for first, last in _runs(places):
            if last + 1 < len(children):
                edits.append(Edit(children[first].start, children[last + 1].start))
            elif first:
                edits.append(Edit(children[first - 1].end, children[last].end))
            else:
                comma = re.compile(r"\s*,").match(self.text, children[last].end)
                edits.append(Edit(children[first].start, comma.end() if comma else children[last].end))
        return edits

    def _remove_block_item(self, sequence: Node, place: int) -> Edit:
        dash = self.dash(sequence, place)
        if self.indent(dash) is not None:
            return self.without_lines(dash, sequence.children[place].end)
        if place + 1 == len(sequence.children):
            raise CannotSplice("a list that begins behind other text")
        return Edit(dash, self.dash(sequence, place + 1))


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring places as (first, last)."""
    runs: list[tuple[int, int]] = []
    for place in sorted(places):
        if runs and runs[-1][1] + 1 == place:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs
