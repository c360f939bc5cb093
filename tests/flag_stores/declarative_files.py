"""Random declarative files as people and programs write them: both shapes, comments, quoting, flow style, JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NAMESPACE = "va"
FLAG = "sm"

_KEYS = st.sampled_from(["veterans", "testers", "off", "on", "123", "staff_1", "null"])
_WORDS = st.text("abc xyzÄé😀'\"#:-{}[],&*!|>%@`\\", max_size=12).map(str.strip)
_DESCRIPTIONS = st.one_of(
    st.just(""),
    _WORDS,
    st.just("Two\nlines"),
    st.just("Ends with one\n"),
    st.just("Ends with two\n\n"),
    st.just("a # b"),
)
_PERCENTAGES = st.sampled_from([0, 0.4, 1.5, 25, 33.3, 50, 99.01, 100])


@dataclass(frozen=True)
class Style:
    """How a file is written."""

    shape: str
    kind: str
    list_indent: int
    newline: str
    inner_flow: bool
    comments: tuple[bool, ...]
    final_newline: bool
    bom: bool
    quote: str


STYLES = st.builds(
    Style,
    shape=st.sampled_from(["v1", "v2"]),
    kind=st.sampled_from(["block", "block", "block", "flow", "json", "json-lines"]),
    list_indent=st.sampled_from([0, 2, 4]),
    newline=st.sampled_from(["\n", "\n", "\r\n"]),
    inner_flow=st.booleans(),
    comments=st.lists(st.booleans(), min_size=5, max_size=30).map(tuple),
    final_newline=st.booleans(),
    bom=st.booleans(),
    quote=st.sampled_from(["plain", "single", "double"]),
)


@st.composite
def rollouts(draw: st.DrawFn) -> dict[str, Any]:
    """One rollout as the data of v1's shape."""
    value = draw(st.booleans())
    one: dict[str, Any] = {}
    description = draw(_DESCRIPTIONS)
    if description:
        one["description"] = description
    if draw(st.booleans()):
        one["threshold"] = {"percentage": draw(_PERCENTAGES), "value": value}
    else:
        one["segment"] = {"key": draw(_KEYS), "value": value}
    return one


@st.composite
def flags(draw: st.DrawFn, key: str, *, kind: str | None = None) -> dict[str, Any]:
    """One flag as data; the order of its keys varies."""
    kind = kind or draw(st.sampled_from(["BOOLEAN_FLAG_TYPE", "VARIANT_FLAG_TYPE"]))
    flag: dict[str, Any] = {"name": f"Flag {key}", "type": kind, "enabled": draw(st.booleans())}
    if draw(st.booleans()):
        flag["description"] = draw(_DESCRIPTIONS)
    if draw(st.booleans()):
        flag["metadata"] = {"owner": "team", "since": 2026}
    if kind == "BOOLEAN_FLAG_TYPE":
        if draw(st.booleans()) or draw(st.booleans()):
            flag["rollouts"] = draw(st.lists(rollouts(), max_size=3))
    else:
        names = draw(st.lists(st.sampled_from(["on", "off", "blue"]), unique=True, max_size=3))
        default = draw(st.sampled_from([*names, None]))
        flag["variants"] = [{"key": name, **({"default": True} if name == default else {})} for name in names]
        shares = [{"variant": name, "rollout": 100 / len(names)} for name in names]
        flag["rules"] = [{"segment": draw(_KEYS), "distributions": shares}] if names else []
    rest = draw(st.permutations(list(flag)))
    return {"key": key, **{name: flag[name] for name in rest}}


@st.composite
def documents(draw: st.DrawFn, *, kind: str | None = None) -> dict[str, Any]:
    """A document whose namespace is NAMESPACE, with the flag FLAG somewhere among others."""
    before = draw(st.lists(st.sampled_from(["alpha", "off", "yes"]), unique=True, max_size=2))
    behind = draw(st.lists(st.sampled_from(["beta", "no", "1.0"]), unique=True, max_size=2))
    keys = [(key, None) for key in before] + [(FLAG, kind)] + [(key, None) for key in behind]
    segments = [
        {
            "key": key,
            "name": key.title(),
            "match_type": draw(st.sampled_from(["ANY_MATCH_TYPE", "ALL_MATCH_TYPE"])),
            "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "x"}],
        }
        for key in ("veterans", "testers", "off", "on", "123", "staff_1", "null")
    ]
    return {
        "version": "1.4",
        "namespace": NAMESPACE,
        "flags": [draw(flags(key, kind=one)) for key, one in keys],
        "segments": segments,
    }


def in_v2_shape(data: Any, key: str = "") -> Any:
    """The same document as v2 writes it: zero and false left out, `keys` and `operator`, the namespace an object."""
    if isinstance(data, list):
        return [in_v2_shape(one) for one in data]
    if not isinstance(data, dict):
        return data
    if key == "segment":
        data = {
            "keys": [data["key"]],
            "operator": "OR_SEGMENT_OPERATOR",
            **{k: v for k, v in data.items() if k != "key"},
        }
    if key == "threshold" or key == "segment":
        return {name: value for name, value in data.items() if value is not False}
    changed = {name: in_v2_shape(value, name) for name, value in data.items()}
    if "version" in changed:
        changed |= {"version": "1.6", "namespace": {"key": data["namespace"], "name": "VA"}}
    return {name: value for name, value in changed.items() if value != "" and value != []}


def render(document: dict[str, Any], style: Style) -> bytes:
    """The file's bytes."""
    data = in_v2_shape(document) if style.shape == "v2" else document
    if style.kind == "json":
        text = json.dumps(data, ensure_ascii=False) + ("\n" if style.final_newline else "")
    elif style.kind == "json-lines":
        text = json.dumps(data, ensure_ascii=False, indent="\t" if style.inner_flow else 2) + "\n"
    elif style.kind == "flow":
        text = "# all in braces\n" + json.dumps(data, ensure_ascii=False) + "\n"
    else:
        text = _Writer(style).write(data)
    text = text.replace("\n", style.newline)
    return (b"\xef\xbb\xbf" if style.bom else b"") + text.encode()


class _Writer:
    """Writes block style by hand, since no library writes comments and mixed quoting."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.lines: list[str] = []
        self.turn = 0

    def write(self, data: dict[str, Any]) -> str:
        self._mapping(data, 0)
        return "\n".join(self.lines) + ("\n" if self.style.final_newline else "")

    def _comment(self) -> bool:
        self.turn += 1
        return self.style.comments[self.turn % len(self.style.comments)]

    def _mapping(self, data: dict[str, Any], indent: int, first: str = "") -> None:
        for number, (key, value) in enumerate(data.items()):
            start = first if first and number == 0 else " " * indent
            if not (first and number == 0) and self._comment():
                self.lines.append(f"{' ' * indent}# about {key}")
            self._entry(start, indent, key, value)

    def _entry(self, start: str, indent: int, key: str, value: Any) -> None:
        tail = "  # why" if self._comment() else ""
        if isinstance(value, dict) and not (self.style.inner_flow and key in {"threshold", "segment", "metadata"}):
            self.lines.append(f"{start}{key}:{tail}")
            self._mapping(value, indent + 2)
        elif isinstance(value, list) and value and not (self.style.inner_flow and key in {"keys", "constraints"}):
            self.lines.append(f"{start}{key}:{tail}")
            self._list(value, indent + self.style.list_indent)
        elif isinstance(value, str) and "\n" in value and self.style.quote != "double":
            self._block_scalar(start, indent, key, value)
        else:
            self.lines.append(f"{start}{key}: {self._scalar(value)}{tail}")

    def _list(self, items: list[Any], indent: int) -> None:
        for item in items:
            if self._comment():
                self.lines.append(f"{' ' * indent}# next")
            if isinstance(item, dict):
                self._mapping(item, indent + 2, first=f"{' ' * indent}- ")
            else:
                self.lines.append(f"{' ' * indent}- {self._scalar(item)}")
        if self._comment():
            self.lines.append("")

    def _block_scalar(self, start: str, indent: int, key: str, value: str) -> None:
        endings = len(value) - len(value.rstrip("\n"))
        sign, chomp = "|" if self.style.quote == "single" else ">", ("-", "", "+")[min(endings, 2)]
        gap = "\n" if sign == "|" else "\n\n"
        body = gap.join(f"{' ' * (indent + 2)}{line}" for line in value.rstrip("\n").split("\n"))
        self.lines += [f"{start}{key}: {sign}{chomp}", *body.split("\n"), *[""] * max(endings - 1, 0)]

    def _scalar(self, value: Any) -> str:
        if not isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        if self.style.quote == "plain" and value.isalnum() and value.isascii() and value != "null":
            return value
        if self.style.quote == "single" and "\n" not in value:
            doubled = value.replace("'", "''")
            return f"'{doubled}'"
        return json.dumps(value, ensure_ascii=False)
