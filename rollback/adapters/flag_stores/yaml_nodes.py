"""YAML as a tree of nodes that know where they stand in the text, so that the text can be edited in place.

Scalars stay the text that they are: what `on`, `0100` or `~` means is up to the reader (`declarative_reading`).
JSON is read as well: it is YAML in flow style. Kill path: standard library only; PyYAML (its C parser where there is
one) is loaded when a file is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 100
"""Deeper than any flag; the readers recurse."""

_TEXT_TAG = "tag:yaml.org,2002:str"


class YamlError(Exception):
    """The text is not YAML that can be read; says where (line and column from 1) and why."""

    def __init__(self, line: int, column: int, why: str) -> None:
        super().__init__(f"line {line}, column {column}: {why}")


@dataclass(slots=True, eq=False)
class Node:
    """A scalar, a sequence, a mapping, or an alias of an earlier node.

    `start` and `end` are positions in the text; the end of a block collection or a block scalar is that of its last
    content, without comments and empty lines after it. `column` counts from 0, `line` from 1. `style` is a scalar's
    quoting (`"`, `'`, `|`, `>`, or empty for plain). `children` of a mapping are key, value, key, value, … An
    alias has its name as `text`.
    """

    kind: str
    start: int
    end: int
    line: int
    column: int
    text: str = ""
    style: str = ""
    tag: str | None = None
    flow: bool = False
    anchored: bool = False
    children: list[Node] = field(default_factory=list)
    target: Node | None = None

    @property
    def resolved(self) -> Node:
        """This node, or the one that an alias stands for."""
        return self.target or self

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"line {self.line}, column {self.column + 1}"

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """The keys and values that stand in a mapping itself; nothing for other nodes."""
        if self.kind == "mapping":
            yield from zip(self.children[::2], self.children[1::2], strict=True)

    def own(self, key: str) -> tuple[Node, Node] | None:
        """The key and value that stand under `key` in the mapping itself; the value may be an alias."""
        return next((pair for pair in self.pairs() if pair[0].resolved.text == key), None)

    def get(self, key: str) -> Node | None:
        """The value of `key`, aliases resolved and merge keys (`<<`) honoured; None when there is none."""
        pair = self.own(key)
        if pair is not None:
            return pair[1].resolved
        for name, merged in self.pairs():
            if name.text == "<<" and not name.style:
                sources = merged.resolved.children if merged.resolved.kind == "sequence" else [merged]
                for source in sources:
                    found = source.resolved.get(key)
                    if found is not None:
                        return found
        return None


def compose(text: str) -> list[Node]:
    """The documents in `text`; an empty one is an empty scalar. Raises `YamlError`."""
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return _Composer(text).compose(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = ": ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, why) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1) + 1
        raise YamlError(before.count("\n") + 1, column, f"{error.reason}") from None


class _Composer:
    """Builds the tree from PyYAML's events, without recursion. (PyYAML's own composer loses where aliases stand.)"""

    def __init__(self, text: str) -> None:
        self.text = text
        self.documents: list[Node] = []
        self.anchors: dict[str, Node] = {}
        self.open: list[Node] = []

    def compose(self, events: Any) -> list[Node]:
        for event in events:
            name = type(event).__name__
            if name in {"ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent"}:
                self._begin(name, event)
            elif name in {"SequenceEndEvent", "MappingEndEvent"}:
                self._finish(event)
            elif name == "DocumentStartEvent":
                self.anchors = {}
        return self.documents

    def _begin(self, name: str, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        if len(self.open) > MAX_DEPTH:
            raise YamlError(start.line + 1, start.column + 1, "the file is nested too deeply")
        node = Node("scalar", start.index, end.index, start.line + 1, start.column)
        if name == "AliasEvent":
            node.kind, node.text = "alias", event.anchor
            node.target = self.anchors.get(event.anchor)
            if node.target is None or any(node.target is outer for outer in self.open):
                raise YamlError(node.line, node.column + 1, f"*{event.anchor} names nothing that ends before it")
        else:
            node.tag = event.tag if event.tag != _TEXT_TAG else None
            node.anchored = event.anchor is not None
            if name == "ScalarEvent":
                node.text, node.style = event.value, event.style or ""
                while node.style in {"|", ">"} and self.text[node.end - 1].isspace():
                    node.end -= 1
            else:
                node.kind = "sequence" if name == "SequenceStartEvent" else "mapping"
                node.flow = bool(event.flow_style)
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.documents.append(node)
        if node.kind in {"sequence", "mapping"}:
            self.open.append(node)
        if name != "AliasEvent" and event.anchor is not None:
            self.anchors[event.anchor] = node

    def _finish(self, event: Any) -> None:
        node = self.open.pop()
        # A block collection's own end mark is where the next thing begins, behind comments.
        node.end = event.end_mark.index if node.flow or not node.children else node.children[-1].end
