"""Checking chains. Pure: rows in, findings out.

A chain by itself shows every edit, gap and reordering. That its end was cut off, or that all of it was written anew,
shows only against hashes that are kept elsewhere: the head record, and the heads in the markers on flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollback.adapters.ledgers.canonical import GENESIS, LedgerRow, canonical, chain_hash
from rollback.adapters.ledgers.chains import CHAIN_STARTED, HEAD_MISMATCH, MISSING, is_own
from rollback.codec import entry_to_json, time_to_text
from rollback.core.history import Entry
from rollback.ports import Head

ANCHOR_DIGITS = 12
"""The shortest prefix of a hash that is taken as an anchor: 48 bits."""


@dataclass(frozen=True, slots=True)
class ChainFindings:
    """What there is to say about one feature's chain.

    `problems` are empty when it is whole. `notes` are not faults, e.g. that it follows a chain in another file.
    `anchored_to` is the last sequence that a hash from elsewhere confirms; 0 when none does. Entries behind it could
    have been cut off without a trace.
    """

    feature: str
    entries: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    anchored_to: int

    @property
    def ok(self) -> bool:
        """True without problems."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Verification:
    """The findings by feature, in alphabetical order."""

    chains: tuple[ChainFindings, ...]

    @property
    def ok(self) -> bool:
        """True when every chain is whole."""
        return all(chain.ok for chain in self.chains)


def verify(
    rows: Iterable[LedgerRow],
    heads_outside: Iterable[Head] = (),
    anchors: Mapping[str, Iterable[str]] | None = None,
) -> Verification:
    """Checks the rows of any number of features, each feature's in the order in which they are stored.

    `heads_outside` are complete heads from the head record; `anchors` are hashes by feature, or prefixes of at least
    12 digits, e.g. from markers.
    """
    chains: dict[str, list[LedgerRow]] = {}
    seen: set[str] = set()
    twice: dict[str, list[str]] = {}
    for row in rows:
        chains.setdefault(row.feature, []).append(row)
        if row.entry_id in seen:
            twice.setdefault(row.feature, []).append(f"entry {row.sequence}: {row.entry_id} is there twice")
        seen.add(row.entry_id)
    heads: dict[str, list[Head]] = {}
    for head in heads_outside:
        heads.setdefault(head.feature, []).append(head)
    given = {feature: tuple(values) for feature, values in (anchors or {}).items()}
    features = sorted({*chains, *heads, *(feature for feature, values in given.items() if values)}, key=str)
    return Verification(
        tuple(_chain(f, chains.get(f, []), twice.get(f, []), heads.get(f, []), given.get(f, ())) for f in features)
    )


def _chain(
    feature: str, rows: Sequence[LedgerRow], problems: list[str], heads: Sequence[Head], anchors: Sequence[str]
) -> ChainFindings:
    problems, notes = list(problems), []
    last, previous = 0, GENESIS
    for row in rows:
        problems += _place(row, last, previous) + _content(row)
        last, previous = row.sequence, row.hash
    old_head = ""
    for row in rows:
        entry = _entry(row)
        if entry is None:
            continue
        if row.sequence == 1 and is_own(entry, CHAIN_STARTED):
            old_head = str(entry.data.get("old_head", ""))
            text = (
                f"the chain follows an older one that ended with entry {entry.data.get('old_sequence')},"
                f" {old_head[:ANCHOR_DIGITS]}"
            )
            if entry.data.get("because") == MISSING:
                problems.append(f"{text}: its database was gone")
            else:
                notes.append(f"{text}, kept in {entry.data.get('old_file')}")
        elif is_own(entry, HEAD_MISMATCH):
            problems.append(
                f"entry {row.sequence}: when it was written, entry {entry.data.get('sequence')} was not the one of the"
                " head record: the chain had been cut off or written anew"
            )
    anchored = [_head_outside(head, rows, old_head, problems) for head in heads]
    anchored += [_anchor(anchor, rows, old_head, problems, notes) for anchor in anchors]
    return ChainFindings(feature, len(rows), tuple(problems), tuple(notes), max(anchored, default=0))


def _place(row: LedgerRow, last: int, previous: str) -> list[str]:
    if row.sequence > last + 1:
        return [f"entries {last + 1} to {row.sequence - 1} are missing"]
    if row.sequence <= last:
        return [f"entry {row.sequence} stands behind entry {last}"]
    if row.previous != previous:
        return [f"entry {row.sequence} does not follow the one before it: its link was changed"]
    return []


def _content(row: LedgerRow) -> list[str]:
    entry = _entry(row)
    if entry is None:
        return [f"entry {row.sequence}: its content is not an entry"]
    if chain_hash(row.sequence, row.previous, row.body) != row.hash or canonical(entry_to_json(entry)) != row.body:
        return [f"entry {row.sequence} was changed: its hash does not fit"]
    columns = (row.feature, row.entry_id, row.at, row.kind, row.name, row.incident, row.epoch)
    inside = (entry.feature, entry.entry_id, time_to_text(entry.at), entry.kind.value, entry.name)
    if columns != (*inside, entry.incident, entry.epoch):
        return [f"entry {row.sequence}: a column was changed, it differs from the content"]
    return []


def _entry(row: LedgerRow) -> Entry | None:
    try:
        return row.entry
    except (ValueError, TypeError):
        return None


def _head_outside(head: Head, rows: Sequence[LedgerRow], old_head: str, problems: list[str]) -> int:
    """The sequence that the head confirms, 0 when it confirms none."""
    found = [row.sequence for row in rows if (row.sequence, row.hash) == (head.sequence, head.hash)]
    if found:
        return found[0]
    if head.hash != old_head:
        last = max((row.sequence for row in rows), default=0)
        problems.append(
            f"cut off: the head record has {head.sequence} entries, here are {last}"
            if head.sequence > last
            else f"written anew: entry {head.sequence} is not the one of the head record"
        )
    return 0


def _anchor(anchor: str, rows: Sequence[LedgerRow], old_head: str, problems: list[str], notes: list[str]) -> int:
    """The sequence that the anchor confirms, 0 when it confirms none."""
    text = anchor.strip().lower()
    if not ANCHOR_DIGITS <= len(text) <= len(GENESIS) or not set(text) <= set("0123456789abcdef"):
        notes.append(f"the anchor {anchor[:70]!r} is not a hash and was left out")
        return 0
    found = [row.sequence for row in rows if row.hash.startswith(text)]
    if found:
        return max(found)
    if not old_head.startswith(text):
        problems.append(f"cut off or written anew: the anchor {text[:ANCHOR_DIGITS]} is not in the chain")
    return 0
