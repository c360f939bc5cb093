"""Checks an edited declarative file before it is written: the flag as wished, everything else as it was.

Pure. Kill path: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from rollback.adapters.flag_stores.declarative_reading import DeclarativeFile, Found, find_flag, parse_file, read_flag
from rollback.adapters.flag_stores.declarative_values import is_null
from rollback.adapters.flag_stores.declarative_writing import unknown_fields
from rollback.adapters.flag_stores.text_splice import CannotSplice
from rollback.adapters.flag_stores.yaml_nodes import Node
from rollback.core.flag import FlagConfig, FlagRef, Rollout
from rollback.errors import ConfigurationError, FlagMissing


def place_of(rollout: Rollout, count: int) -> int | None:
    """Where an existing rollout stands in the list of `count`; None for a new one."""
    return rollout.wire if isinstance(rollout.wire, int) and 0 <= rollout.wire < count else None


def check_edit(file: DeclarativeFile, ref: FlagRef, desired: FlagConfig, text: str) -> None:
    """Raises `CannotSplice` unless `text` has the flag as wished and everything else as in `file`."""
    try:
        after = parse_file(text.encode(), file.where)
        found_before, found = find_flag(file, ref), find_flag(after, ref)
        now = read_flag(after, ref)
    except (ConfigurationError, FlagMissing) as error:
        raise CannotSplice(str(error)) from error
    if replace(now, segments=desired.segments, defects=desired.defects) != desired:
        raise CannotSplice("the flag would not be as wished")
    if (found.document, found.position) != (found_before.document, found_before.position):
        raise CannotSplice("the flag would stand at another place")
    before = _around(file, found_before)
    if not _all_same(before, _around(after, found), found_before.node) or not _same_rollouts(
        found_before.node, found.node, desired
    ):
        raise CannotSplice("something else would change with it; look for anchors (&) and merge keys (<<)")
    if _is_json(file.text) and not _is_json(text):
        raise CannotSplice("it would not be JSON any more")


def _around(file: DeclarativeFile, found: Found) -> list[Node]:
    """All that an edit of the flag must not change, in order."""
    nodes: list[Node] = []
    for number, document in enumerate(file.documents):
        if number != found.document:
            nodes.append(document)
            continue
        for key, value in document.pairs():
            items = value.resolved.children if key.text == "flags" else [value]
            nodes += [key, *(one for one in items if one.resolved is not found.node)]
    for key, value in found.node.pairs():
        if key.text == "variants":
            for variant in value.resolved.children:
                pairs = variant.resolved.pairs()
                nodes += [part for pair in pairs if pair[0].text != "default" for part in pair]
        elif key.text not in {"rollouts", "enabled", "description"}:
            nodes += [key, value]
    return nodes


def _same_rollouts(before: Node, after: Node, desired: FlagConfig) -> bool:
    """Whether the rollouts that were there have kept what this program does not know of them."""
    old, new = before.get("rollouts"), after.get("rollouts")
    if old is None or new is None:
        return True
    for position, one in enumerate(desired.rollouts):
        place = place_of(one, len(old.children))
        if place is None:
            continue
        unknown = [
            [part for pair in unknown_fields(node) for part in pair]
            for node in (old.children[place], new.children[position])
        ]
        if not _all_same(unknown[0], unknown[1], before, styles=False):
            return False
    return True


def _all_same(before: Sequence[Node], after: Sequence[Node], flag: Node, *, styles: bool = True) -> bool:
    """Whether the nodes say the same, written the same way. What an alias takes over from `flag` is compared too."""

    def same(one: Node, other: Node) -> bool:
        if not styles and is_null(one) and is_null(other):
            return True
        if (one.kind, one.text, one.tag) != (other.kind, other.text, other.tag):
            return False
        if styles and (one.style, one.anchored) != (other.style, other.anchored):
            return False
        if one.target is not None and other.target is not None and flag.start <= one.target.start <= flag.end:
            return same(one.target, other.target)
        return _all_same(one.children, other.children, flag, styles=styles)

    return len(before) == len(after) and all(map(same, before, after))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
