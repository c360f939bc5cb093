"""What is put into a declarative file: rollouts, and the flag's description with or without our marker.

Block lists get `- description: …` and `threshold: {…}` on lines of their own; everything in braces is JSON, so that it
also fits a JSON file. Pure. Kill path: standard library only.
"""

from __future__ import annotations

import json
import re

from rollback.adapters.flag_stores.declarative_values import is_null, number_of
from rollback.adapters.flag_stores.text_splice import CannotSplice
from rollback.adapters.flag_stores.yaml_nodes import Node
from rollback.core import marker
from rollback.core.flag import Operator, Rollout

_OPERATOR_NAMES = {Operator.OR: "OR_SEGMENT_OPERATOR", Operator.AND: "AND_SEGMENT_OPERATOR"}
# Line breaks and marks to YAML, or not printable there, while JSON lets them stand.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_KNOWN = frozenset({"threshold", "segment", "segments", "description"})
_BREAK = r"(?:\r\n|\n|\r)"


def json_text(text: str) -> str:
    """A text in double quotes, the same for YAML and JSON. What no file can hold (half a surrogate) is replaced."""
    whole = text.encode("utf-8", "replace").decode()
    quoted = json.dumps(whole, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def number_text(number: float) -> str:
    """A percentage, whole numbers without a point."""
    return str(int(number)) if number.is_integer() else repr(number)


def block_lines(rollout: Rollout, old: Node | None = None) -> list[str]:
    """A rollout as the lines of an item of a block list, the dash included.

    `old` is the item that it takes the place of: what this program does not know of it is kept.
    """
    name, body = _body(rollout)
    fields = ", ".join(f"{key}: {value}" for key, value in body.items())
    lines = [f"description: {json_text(rollout.description)}"] if rollout.description else []
    lines.append(f"{name}: {{{fields}}}")
    lines += [f"{json_text(key.text)}: {flow_of(value)}" for key, value in unknown_fields(old)]
    return [f"{'  ' if number else '- '}{line}" for number, line in enumerate(lines)]


def flow_text(rollout: Rollout, old: Node | None = None) -> str:
    """A rollout as one item of a flow list, as JSON; `old` as for `block_lines`."""
    name, body = _body(rollout)
    fields = ", ".join(f'"{key}": {value}' for key, value in body.items())
    parts = [f'"description": {json_text(rollout.description)}'] if rollout.description else []
    parts.append(f'"{name}": {{{fields}}}')
    parts += [f"{json_text(key.text)}: {flow_of(value)}" for key, value in unknown_fields(old)]
    return f"{{{', '.join(parts)}}}"


def unknown_fields(rollout: Node | None) -> list[tuple[Node, Node]]:
    """The keys and values of an item that this program does not know."""
    pairs = rollout.resolved.pairs() if rollout is not None else ()
    return [pair for pair in pairs if pair[0].text not in _KNOWN]


def _body(rollout: Rollout) -> tuple[str, dict[str, str]]:
    """The one segment goes under `key`, which every version of Flipt reads; several need `keys`."""
    value = "true" if rollout.value else "false"
    if rollout.percentage is not None:
        return "threshold", {"percentage": number_text(rollout.percentage), "value": value}
    if len(rollout.segments) == 1 and rollout.operator is Operator.OR:
        return "segment", {"key": json_text(rollout.segments[0]), "value": value}
    keys = f"[{', '.join(json_text(key) for key in rollout.segments)}]"
    return "segment", {"keys": keys, "operator": _OPERATOR_NAMES[rollout.operator], "value": value}


def flow_of(node: Node) -> str:
    """What stands in the file, written anew in one line. Raises `CannotSplice` for merge keys and tags."""
    node = node.resolved
    if node.tag is not None:
        raise CannotSplice("a tag")
    if node.kind == "sequence":
        return f"[{', '.join(flow_of(child) for child in node.children)}]"
    if node.kind == "mapping":
        if node.own("<<"):
            raise CannotSplice("a merge key")
        return f"{{{', '.join(f'{json_text(key.text)}: {flow_of(value)}' for key, value in node.pairs())}}}"
    if node.style:
        return json_text(node.text)
    if is_null(node):
        return "null"
    is_bare = node.text in {"true", "false"} or number_of(node.text) is not None
    return node.text if is_bare else json_text(node.text)


def with_description(source: str, node: Node, indent: str, newline: str, old: str, new: str) -> str | None:
    """The source of a description with our marker put behind the text, taken away or replaced; None if that is not it.

    The rest of the source stays as it is written, so that taking the marker away gives back the very same source.
    `indent` is what further lines of the scalar begin with.
    """
    text = marker.strip(old)
    if marker.strip(new) != text or not old.startswith(text) or not new.startswith(text):
        return None
    if node.style in {"|", ">"}:
        return _block_scalar(source, newline, text, old[len(text) :], new[len(text) :])
    cut = _cut(source, node.style, old[len(text) :])
    if cut is None or new == text:
        return cut
    added = new[len(text) :]
    if node.style == '"':
        return f'{cut[:-1]}{json_text(added)[1:-1]}"'
    if "\n" in added.removeprefix("\n") or bool(text) != added.startswith("\n"):
        return None
    line = added.removeprefix("\n")
    gap = newline * 2 + indent if text else ""  # an empty line is a line break in folded scalars
    if node.style == "'":
        escaped = line.replace("'", "''")
        return f"{cut[:-1]}{gap}{escaped}'"
    return f"{cut}{gap}{line}" if text else None


def _cut(source: str, style: str, added: str) -> str | None:
    """A quoted or plain source without what was added behind its text."""
    if not added:
        return source
    if style == '"':
        tail = json_text(added)[1:-1] + '"'
        return source[: -len(tail)] + '"' if source.endswith(tail) else None
    line = re.escape(added.removeprefix("\n").replace("'", "''" if style else "'"))
    gap = rf"[ \t]*{_BREAK}[ \t]*{_BREAK}[ \t]*" if added.startswith("\n") else ""
    found = re.search(rf"{gap}{line}{style}$", source)
    return source[: found.start()] + style if found else None


def _block_scalar(source: str, newline: str, text: str, removed: str, added: str) -> str | None:
    """The same for `|` and `>`: the marker is a last line; how the scalar ends stands in its first."""
    header, body = _header(source)
    if header is None or not body:
        return None
    indent = re.search(rf"{_BREAK}([ \t]*)[^\s]", body)
    if indent is None:
        return None
    if removed:
        line = removed.removeprefix("\n")
        found = re.search(rf"(?:{_BREAK}[ \t]*)*{re.escape(line)}$", body)
        if found is None:
            return None
        body = body[: found.start()]
    endings = len(text) - len(text.rstrip("\n"))
    if not added:
        if not text:
            return None
        return f"{header}{('-', '', '+')[min(endings, 2)]}{body}"
    breaks = endings + (2 if header[0] == ">" else 1) if text else 1
    return f"{header}-{body}{newline * breaks}{indent[1]}{added.removeprefix(chr(10))}"


def _header(source: str) -> tuple[str | None, str]:
    """The first line of a block scalar without its chomping, and the rest from the first line break on."""
    found = re.match(rf"([|>])([1-9]?)[-+]?([1-9]?)(?=[ \t]*(?:#[^\r\n]*)?{_BREAK})", source)
    if found is None:
        return None, ""
    return f"{found[1]}{found[2]}{found[3]}", source[found.end() :]
