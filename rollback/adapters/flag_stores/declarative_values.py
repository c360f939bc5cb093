"""The values of a declarative file, as Flipt's YAML library (Go's yaml.v3) reads them into its fields.

The text decides, and the field: `off` is text in a key and false in the place of a boolean. Pure. Kill path: standard
library only.
"""

from __future__ import annotations

import json
import re

from rollback.adapters.flag_stores.yaml_nodes import Node

# Where a boolean is expected, yaml.v3 takes YAML 1.1's words too.
TRUE = frozenset({"true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
FALSE = frozenset({"false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF"})
NULL = frozenset({"", "~", "null", "Null", "NULL"})

_QUOTED = frozenset({"true", "false"})
"""In quotes these two are text to yaml.v3, while `"yes"`, `"no"`, `"on"` and `"off"` still count."""

_OCTAL = re.compile(r"[-+]?0[oO]?[0-7]+")
_OTHER_BASE = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F]+|[bB][01]+)")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def text_of(node: Node | None) -> str:
    """A scalar's text as Flipt has it in a text field; empty for null, for nothing, and for what is no scalar."""
    if node is None or node.kind != "scalar" or is_null(node):
        return ""
    return node.text


def number_of(text: str) -> float | None:
    """A plain scalar as the number that Go's yaml.v3 reads; None when it is none, or far too large.

    Flipt rounds it to single precision; that is left to `core.exposure`, so that the file's own number shows.
    """
    plain = text.replace("_", "")
    if len(plain) > 40:
        return None
    if _OCTAL.fullmatch(plain):
        number = float(int(plain, 8))
    elif _OTHER_BASE.fullmatch(plain):
        number = float(int(plain, 0))
    elif _DECIMAL.fullmatch(plain):
        number = float(plain)
    else:
        return None
    if not abs(number) < 1e30:
        return None
    return number


def is_null(node: Node) -> bool:
    """Whether it is a plain `null`, `~` or nothing."""
    return node.kind == "scalar" and not node.style and node.text in NULL


def boolean_of(node: Node | None) -> bool | None:
    """False for nothing and null; None for what is neither true nor false."""
    if node is None or is_null(node):
        return False
    if node.kind != "scalar" or node.text not in TRUE | FALSE or (node.style and node.text.lower() in _QUOTED):
        return None
    return node.text in TRUE


def constraint_value(node: Node | None) -> str:
    """A constraint's value as text; v2 writes a list where v1 has the list's JSON."""
    if node is None or node.kind != "sequence":
        return text_of(node)
    items = [one.resolved for one in node.children]
    values = [one.text if one.style or (number := number_of(one.text)) is None else number for one in items]
    whole = [int(one) if isinstance(one, float) and one.is_integer() else one for one in values]
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
