"""The canonical form of an entry and the hash that chains it to the one before.

Canonical JSON is RFC 8785, so any program in any language can check a chain: the hash of an entry is the SHA-256 of
the canonical JSON of `{"sequence": …, "previous": …, "entry": …}`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from rollback.codec import SAFE_INTEGER, entry_from_json, entry_to_json, time_to_text
from rollback.core.history import Entry

GENESIS = "0" * 64
"""What the first entry of a chain names as the hash before it."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One stored entry: its place in the feature's chain, and the columns that are looked up.

    `sequence` counts from 1, `hash` and `previous` are 64 hex digits, `body` is the entry's canonical JSON.
    """

    feature: str
    sequence: int
    hash: str
    previous: str
    entry_id: str
    at: str
    kind: str
    name: str
    incident: str | None
    epoch: int
    body: str

    @property
    def entry(self) -> Entry:
        """The entry that `body` holds. Raises `ValueError` when it holds none."""
        return entry_from_body(self.body)


def canonical(value: object) -> str:
    """RFC 8785 canonical JSON. Raises `ValueError` for what it cannot express."""
    import rfc8785

    return rfc8785.dumps(value).decode()  # type: ignore[arg-type]


def chain_hash(sequence: int, previous: str, body: str) -> str:
    """The hash of an entry at its place. `body` is canonical, so putting the parts together in the order of their
    names is the canonical form of the whole."""
    return sha256(f'{{"entry":{body},"previous":"{previous}","sequence":{sequence}}}'.encode()).hexdigest()


def chained(entry: Entry, sequence: int, previous: str) -> LedgerRow:
    """The row that puts `entry` behind the one with the hash `previous`."""
    body = canonical(entry_to_json(entry))
    return LedgerRow(
        feature=entry.feature,
        sequence=sequence,
        hash=chain_hash(sequence, previous, body),
        previous=previous,
        entry_id=entry.entry_id,
        at=time_to_text(entry.at),
        kind=entry.kind.value,
        name=entry.name,
        incident=entry.incident,
        epoch=entry.epoch,
        body=body,
    )


def entry_from_body(body: str) -> Entry:
    """The entry in a stored body. Raises `ValueError`."""
    try:
        return entry_from_json(json.loads(body, parse_int=_number))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _number(digits: str) -> Any:
    # Canonical JSON writes the float 1e16 as 10000000000000000; codec lets no integer in that is so large.
    return int(digits) if len(digits) < 16 or abs(int(digits)) <= SAFE_INTEGER else float(digits)
