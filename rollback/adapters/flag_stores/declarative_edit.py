"""Edits one flag of a declarative file in place: comments, order, quoting and all that is not known stay as they are.

The text is edited where the flag's nodes stand, rather than written anew from data: that keeps every other byte, and
taking ours away again gives back the very same file. Each result is read again before it counts: the flag must be
as wished and everything else as it was. Pure. Kill path: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rollback.adapters.flag_stores.declarative_check import check_edit, place_of
from rollback.adapters.flag_stores.declarative_reading import DeclarativeFile, Found, find_flag, read_flag
from rollback.adapters.flag_stores.declarative_values import FALSE, TRUE, boolean_of, is_null, text_of
from rollback.adapters.flag_stores.declarative_writing import (
    block_lines,
    flow_of,
    flow_text,
    json_text,
    number_text,
    with_description,
)
from rollback.adapters.flag_stores.text_splice import CannotSplice, Edit, Splicer, apply
from rollback.adapters.flag_stores.yaml_nodes import Node
from rollback.core.flag import FlagConfig, FlagRef, Rollout
from rollback.errors import StoreRefused

_OPPOSITE = {"true": "false", "True": "False", "TRUE": "FALSE", "y": "n", "Y": "N", "yes": "no", "Yes": "No"}
_OPPOSITE |= {"YES": "NO", "on": "off", "On": "Off", "ON": "OFF"}
_OPPOSITE |= {no: yes for yes, no in _OPPOSITE.items()}
_CHANGEABLE = ("rollouts", "enabled", "default_variant", "description")


def edit_flag(file: DeclarativeFile, ref: FlagRef, desired: FlagConfig) -> str:
    """The file's text with the flag as `desired`; a rollout whose `wire` is a place is the one at that place.

    Raises `StoreRefused` for a change that this program never makes, and where the file is written in a way that
    cannot be edited without touching something else; `FlagMissing` and `ConfigurationError` as the reading does.
    """
    current = read_flag(file, ref)
    changed = {name: getattr(desired, name) for name in _CHANGEABLE}
    if replace(current, **changed, segments=desired.segments, defects=desired.defects) != desired:
        raise StoreRefused(f"Only rollouts, the default and the description of {ref} can be changed.")
    why = ""
    for rollouts, spares in ((_rollouts_in_place, True), (_rollouts_anew, False)):
        try:
            edit = _FlagEdit(file, find_flag(file, ref), current, desired, spares_quoting=spares)
            text = apply(file.text, [*edit.fields(), *rollouts(edit)])
            check_edit(file, ref, desired, text)
        except CannotSplice as cannot:
            why = why or str(cannot)
        else:
            return text
    new = next((flow_text(one) for one in desired.rollouts if one not in current.rollouts), None)
    by_hand = f"Put this in front of the rollouts of {ref.flag_key}: - {new}" if new else "Edit the file by hand."
    raise StoreRefused(f"{file.where} was not changed: flag {ref} cannot be edited safely there ({why})", next=by_hand)


class _FlagEdit:
    """What the parts of one edit share."""

    def __init__(
        self, file: DeclarativeFile, found: Found, current: FlagConfig, desired: FlagConfig, *, spares_quoting: bool
    ) -> None:
        self.splicer = Splicer(file.text)
        self.flag = found.node
        self.current, self.desired = current, desired
        self.spares_quoting = spares_quoting

    def fields(self) -> list[Edit]:
        """The edits of everything but the rollouts."""
        edits = []
        if self.desired.enabled != self.current.enabled:
            edits += self._boolean(self.flag, "enabled", self.desired.enabled)
        if self.desired.default_variant != self.current.default_variant:
            edits += self._default_variant()
        if self.desired.description != self.current.description:
            edits += self._description(self.current.description, self.desired.description)
        return edits

    def place_for_key(self, mapping: Node) -> Node:
        """The key in front of which a new one goes: behind `enabled` if possible; in braces the first."""
        keys = [key for key, _ in mapping.pairs()]
        names = [key.text for key in keys]
        if mapping.flow or len(keys) == 1:
            return keys[0]
        if "enabled" in names[:-1]:
            return keys[names.index("enabled") + 1]
        return keys[-1]

    def _boolean(self, mapping: Node, name: str, value: bool) -> list[Edit]:
        """Keeps the word's spelling, so that going back gives back the same text."""
        node = self.splicer.own_value(mapping, name)
        word = "true" if value else "false"
        if node is None:
            at = self.place_for_key(mapping)
            return [self.splicer.insert_key(mapping, at, [f"{name}: {word}"], f'"{name}": {word}')]
        if is_null(node):
            return [Edit(node.start, node.end, f" {word}")]
        opposite = _OPPOSITE.get(node.text) if boolean_of(node) is not value and not node.style else None
        if opposite is not None and opposite in (TRUE if value else FALSE):
            word = opposite
        return [Edit(node.start, node.end, word)]

    def _default_variant(self) -> list[Edit]:
        edits: list[Edit] = []
        variants = self.splicer.own_value(self.flag, "variants")
        for variant in variants.children if variants else ():
            if variant.kind != "mapping":
                raise CannotSplice("a variant that is shared by an alias")
            wanted = text_of(variant.get("key")) == self.desired.default_variant
            if boolean_of(variant.get("default")) is not wanted:
                edits += self._boolean(variant, "default", wanted)
        return edits

    def _description(self, old: str, new: str) -> list[Edit]:
        """Our own key is a block scalar, or the first in braces; so it is known again when nothing is left in it."""
        flag, splicer = self.flag, self.splicer
        node = splicer.own_value(flag, "description")
        if node is None:
            block = ["description: |-", f"  {new}"] if _is_plain_line(new) else [f"description: {json_text(new)}"]
            at = self.place_for_key(flag)
            return [splicer.insert_key(flag, at, block, f'"description": {json_text(new)}')]
        pair = flag.own("description")
        assert pair is not None
        if not new and (flag.children[0] is pair[0] if flag.flow else node.style == "|"):
            return [splicer.remove_key(flag, *pair)]
        source: str | None = None
        if self.spares_quoting and not is_null(node) and (node.style or not flag.flow):
            indent = " " * (pair[0].column + 2)
            written = splicer.text[node.start : node.end]
            source = with_description(written, node, indent, splicer.newline, old, new)
        glue = " " if splicer.text[node.start - 1] == ":" else ""
        return [Edit(node.start, node.end, glue + (json_text(new) if source is None else source))]


def _is_plain_line(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


# -- rollouts, each at its own place ---------------------------------------------------------------------------


def _rollouts_in_place(edit: _FlagEdit) -> list[Edit]:
    """The smallest edits: new items in, ours out, numbers changed; the others' text stays."""
    desired, flag, splicer = edit.desired.rollouts, edit.flag, edit.splicer
    if desired == edit.current.rollouts:
        return []
    sequence = splicer.own_value(flag, "rollouts")
    flow = ", ".join(flow_text(one) for one in desired)
    if sequence is None:
        if flag.get("rollouts") is not None:
            raise CannotSplice("its rollouts are taken over from another place by a merge key")
        block = ["rollouts:", *(line for one in desired for line in block_lines(one))]
        return [splicer.insert_key(flag, edit.place_for_key(flag), block, f'"rollouts": [{flow}]')]
    if is_null(sequence):
        return [Edit(sequence.start, sequence.end, f" [{flow}]")]
    if not sequence.children:
        return [Edit(sequence.start + 1, sequence.start + 1, flow)]
    return _list_edits(edit, sequence) if desired else _emptied(edit, sequence)


def _list_edits(edit: _FlagEdit, sequence: Node) -> list[Edit]:
    desired, current, splicer = edit.desired.rollouts, edit.current.rollouts, edit.splicer
    key = edit.flag.own("rollouts")
    assert key is not None
    stay = _staying([place_of(one, len(current)) for one in desired])
    edits: list[Edit] = []
    kept: set[int] = set()
    pending: list[Rollout] = []

    def insert(place: int) -> None:
        if pending:
            block = [_block(splicer, sequence, one, current) for one in pending]
            flow = [_flow(splicer, sequence, one, current) for one in pending]
            edits.append(splicer.insert_items(key[0], sequence, place, block, flow))
            pending.clear()

    for position, one in enumerate(desired):
        place = stay.get(position)
        changes = None if place is None else _changes(splicer, sequence.children[place], current[place], one)
        if place is None or changes is None:
            pending.append(one)
            continue
        insert(place)
        edits += changes
        kept.add(place)
    gone = [place for place in range(len(current)) if place not in kept]
    if not kept and sequence.flow:
        flow = ", ".join(_flow(splicer, sequence, one, current) for one in pending)
        return [Edit(sequence.children[0].start, sequence.children[-1].end, flow)]
    insert(len(current) if kept else 0)
    return edits + splicer.remove_items(sequence, gone)


def _emptied(edit: _FlagEdit, sequence: Node) -> list[Edit]:
    """A block list goes with its key, since a key without a value is not what Flipt takes for an empty list."""
    flag, splicer = edit.flag, edit.splicer
    pair = flag.own("rollouts")
    assert pair is not None
    if sequence.flow:
        if flag.flow and flag.children[0] is pair[0]:
            return [splicer.remove_key(flag, *pair)]
        return splicer.remove_items(sequence, range(len(sequence.children)))
    colon = splicer.colon(pair[0])
    if splicer.indent(pair[0].start) is None or "#" not in splicer.text[colon : sequence.end]:
        return [splicer.remove_key(flag, *pair)]
    items = splicer.remove_items(sequence, range(len(sequence.children)))
    return [splicer.without_lines(pair[0].start, colon), *items]


def _staying(places: Sequence[int | None]) -> dict[int, int]:
    """Which items need not be moved: position → place, the most whose places rise (few items: quadratic will do)."""
    best: list[tuple[int, ...]] = []
    for position, place in enumerate(places):
        before: tuple[int, ...] = ()
        for chain in best:
            if place is not None and chain and places[chain[-1]] < place and len(chain) > len(before):  # type: ignore[operator]
                before = chain
        best.append((*before, position) if place is not None else ())
    longest = max(best, key=len, default=())
    return {position: place for position in longest if (place := places[position]) is not None}


def _changes(splicer: Splicer, node: Node, now: Rollout, wished: Rollout) -> list[Edit] | None:
    """The edits that make an item as wished; None when it has to be written anew."""
    if now == wished:
        return []
    same_kind = (now.percentage is None) == (wished.percentage is None)
    if node.kind != "mapping" or not same_kind or (now.segments, now.operator) != (wished.segments, wished.operator):
        return None
    body = splicer.own_value(node, "segment" if now.percentage is None else "threshold")
    wanted: list[tuple[Node | None, str, str]] = []
    if now.percentage != wished.percentage and wished.percentage is not None:
        wanted.append((body, "percentage", number_text(wished.percentage)))
    if now.value != wished.value:
        wanted.append((body, "value", "true" if wished.value else "false"))
    if now.description != wished.description:
        wanted.append((node, "description", json_text(wished.description)))
    edits = []
    for mapping, name, text in wanted:
        scalar = splicer.own_value(mapping, name) if mapping is not None else None
        if scalar is None or scalar.kind != "scalar" or is_null(scalar):
            return None
        edits.append(Edit(scalar.start, scalar.end, text))
    return edits


def _block(splicer: Splicer, sequence: Node, rollout: Rollout, current: Sequence[Rollout]) -> list[str]:
    """An item's lines: those that stand in the file when it is only moved."""
    place = place_of(rollout, len(current))
    if place is None or current[place] != rollout or sequence.flow:
        return block_lines(rollout, None if place is None else sequence.children[place])
    dash, end = splicer.dash(sequence, place), sequence.children[place].end
    indent = splicer.indent(dash) or " " * (dash - splicer.line_start(dash))
    return [line.removeprefix(indent) for line in re.split(r"\r\n|\n|\r", splicer.text[dash:end])]


def _flow(splicer: Splicer, sequence: Node, rollout: Rollout, current: Sequence[Rollout]) -> str:
    """The same as one item of a flow list."""
    place = place_of(rollout, len(current))
    item = None if place is None else sequence.children[place]
    if place is None or item is None or current[place] != rollout or not sequence.flow:
        return flow_text(rollout, item)
    return splicer.text[item.start : item.end]


# -- rollouts, written anew in one line ------------------------------------------------------------------------


def _rollouts_anew(edit: _FlagEdit) -> list[Edit]:
    """For lists that are shared by an alias or a merge key: the flag gets a list of its own."""
    desired, current, flag = edit.desired.rollouts, edit.current.rollouts, edit.flag
    if desired == current:
        return []
    node = flag.get("rollouts")
    items = node.children if node is not None and node.kind == "sequence" else []
    texts = []
    for one in desired:
        place = place_of(one, len(current))
        item = None if place is None else items[place]
        texts.append(flow_of(item) if item and place is not None and current[place] == one else flow_text(one, item))
    text = f"[{', '.join(texts)}]"
    pair = flag.own("rollouts")
    if pair is None:
        return [edit.splicer.insert_key(flag, edit.place_for_key(flag), [f"rollouts: {text}"], f'"rollouts": {text}')]
    return [Edit(edit.splicer.colon(pair[0]), pair[1].end, f" {text}")]
