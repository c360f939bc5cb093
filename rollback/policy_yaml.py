"""YAML as policy files mean it: version 1.2's core schema, line numbers kept, every problem collected.

PyYAML reads YAML 1.1, where `on`, `off`, `yes` and `no` are booleans, `012` is ten and `1:30` is ninety. Here they
are text, twelve and text. A key is always text. What is said twice is a problem. Tags that make objects do not exist.
Kill path: standard library only; PyYAML (its C parser where there is one) is loaded when a file is read. Records are
named tuples here and in the modules beside it, because each dataclass costs the kill path a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions (from 0) from the top."""

MAX_CHARACTERS = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 50
MAX_OPENINGS = 5_000
"""Brackets and dashes in a file. The C parser calls itself for each level; far above, it would crash the process."""

_TAG = "tag:yaml.org,2002:"
# YAML 1.2.2, section 10.3.2. Order matters: an int is a float too.
_CORE_SCHEMA = (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
)


class Problem(NamedTuple):
    """Something wrong in a file. `line` counts from 1, `None` when no line can be named; `next` is what to do."""

    line: int | None
    message: str
    next: str = ""
    path: Path = ()


class NotYaml(Exception):
    """The text cannot be read as one YAML document; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Document(NamedTuple):
    """A file's content as plain data, the line of each value, and what is wrong short of the syntax."""

    data: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        """Without the data, in which a secret may stand."""
        return f"Document({len(self.lines)} values, problems={self.problems})"

    def line_of(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return line
        return None


def dotted(path: Path) -> str:
    """A path as people write it: `health.endpoints[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(text: str, *, first_line: int = 1) -> Document:
    """Reads one YAML document; `first_line` is the file's line in which `text` begins.

    Raises `NotYaml` on a syntax error, on several documents, and on content that is too large or too deep.
    """
    import yaml

    if len(text) > MAX_CHARACTERS:
        raise NotYaml(Problem(None, f"the file has more than {MAX_CHARACTERS} characters", "split it"))
    if sum(map(text.count, ("[", "{", "- ", "? ", "-\t", "?\t"))) > MAX_OPENINGS:
        raise NotYaml(Problem(None, f"the file has more than {MAX_OPENINGS} brackets and dashes", "split it"))
    loader = _loader_class()(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise NotYaml(_syntax_problem(error, first_line)) from None
    except RecursionError:  # the parser in Python, where there is none in C
        raise NotYaml(Problem(None, "the file is nested too deeply", "write it flatter")) from None
    finally:
        loader.dispose()
    builder = _Builder(first_line)
    data = None if node is None else builder.build(node, ())
    return Document(data, builder.lines, tuple(builder.problems))


@cache
def _loader_class() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class CoreSchemaLoader(base):  # type: ignore[misc]
        """Composes nodes whose tags follow YAML 1.2's core schema."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own way, replaced per class

    for name, pattern, first in _CORE_SCHEMA:
        CoreSchemaLoader.add_implicit_resolver(_TAG + name, re.compile(f"^{pattern}$"), first)
    return CoreSchemaLoader


def _syntax_problem(error: Any, first_line: int) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    context = getattr(error, "context", None)
    return Problem(
        None if mark is None else mark.line + first_line,
        f"this is not YAML: {f'{context}: ' if context else ''}{said}",
        "mend the syntax; look at the indentation and the quotes of this line and the one above",
    )


class _Builder:
    """Turns nodes into plain data. An alias is built again at each place, within `MAX_VALUES` in all."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def build(self, node: Any, path: Path) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise NotYaml(Problem(self._line(node), "the file holds too many values or nests too deeply", "split it"))
        self.lines.setdefault(path, self._line(node))
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            self._expect_tag(node, path, "seq")
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        self._expect_tag(node, path, "map")
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self._problem(key_node, path, "a key must be text", "write the key as one word")
                continue
            key = key_node.value
            if key in built:
                first = self.lines[(*path, key)]
                self._problem(
                    key_node,
                    (*path, key),
                    f"`{key}` is here twice, first in line {first}",
                    "keep one of them",
                )
                continue
            self.lines[(*path, key)] = self._line(key_node)
            built[key] = self.build(value_node, (*path, key))
        return built

    def _scalar(self, node: Any, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text: str = node.value
        try:
            if kind == "str":
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return _integer(text)
            if kind == "float":
                return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        except (ValueError, KeyError):
            self._problem(node, path, f"`{dotted(path)}` is no {kind}", "correct the value")
            return None
        self._problem(node, path, f"the tag {node.tag} means nothing here", "leave it out")
        return text

    def _expect_tag(self, node: Any, path: Path, kind: str) -> None:
        if node.tag != _TAG + kind:
            self._problem(node, path, f"the tag {node.tag} means nothing here", "leave it out")

    def _problem(self, node: Any, path: Path, message: str, todo: str) -> None:
        self.problems.append(Problem(self._line(node), message, todo, path))

    def _line(self, node: Any) -> int:
        return int(node.start_mark.line) + self.first_line


def _integer(text: str) -> int:
    for prefix, base in (("0o", 8), ("0x", 16)):
        if text.startswith(prefix):
            return int(text[2:], base)
    return int(text)


_SECTION = r"""(?P<quote>["']?)[A-Za-z_][\w-]*(?P=quote)[ \t]*:(?:[ \t\r]|$)"""


def salvage(text: str) -> Document:
    """Like `read`, but never raises: after a syntax error each top-level section is read alone.

    A section begins with a key at the left margin. Those that still cannot be read are problems; of one that is there
    twice the first is kept, and that is a problem too.
    """
    try:
        return read(text)
    except NotYaml as error:
        problems = [error.problem]
    data: dict[str, Any] = {}
    lines: dict[Path, int] = {(): 1}
    for first_line, section in _sections(text):
        try:
            part = read(section, first_line=first_line)
        except NotYaml as error:
            problems.append(error.problem)
            continue
        problems.extend(part.problems)
        for key, value in (part.data if isinstance(part.data, dict) else {}).items():
            if key in data:
                where = part.lines.get((key,))
                problems.append(Problem(where, f"`{key}` is here twice", "keep one of them", (key,)))
                continue
            data[key] = value
            lines.update({path: line for path, line in part.lines.items() if path[:1] == (key,)})
    return Document(data, lines, tuple(dict.fromkeys(problems)))


def _sections(text: str) -> list[tuple[int, str]]:
    """The text from each key at the left margin to the next, with the line in which it begins."""
    rows = ["" if re.match(r"(?:---|\.\.\.)(?:\s|$)", row) else row for row in text.split("\n")]
    starts = [index for index, row in enumerate(rows) if re.match(_SECTION, row)]
    ends = [*starts[1:], len(rows)]
    return [(start + 1, "\n".join(rows[start:end])) for start, end in zip(starts, ends, strict=False)]
