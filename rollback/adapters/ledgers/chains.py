"""Facts that the ledger itself puts into a chain: that it starts after an older one, or that its end was cut off."""

from __future__ import annotations

from datetime import datetime

from rollback.adapters.ledgers.canonical import LedgerRow
from rollback.adapters.ledgers.heads import HeadRecord
from rollback.core.history import Actor, Entry, EntryKind

CHAIN_STARTED = "chain_started"
HEAD_MISMATCH = "head_mismatch"
MISSING = "missing"
"""`because` of a chain that starts anew since its database was not there any more; nothing shows what it held."""

_LEDGER = Actor("rollback", "os")


def chain_started(feature: str, old: HeadRecord, *, old_file: str, because: str, at: datetime) -> Entry:
    """The first entry of a new chain: the head of the old one, and where its database is (empty: nobody knows)."""
    return Entry(
        entry_id=f"chain-{old['chain'] + 1}-{feature}-{old['hash'][:12]}",
        at=at,
        feature=feature,
        kind=EntryKind.FACT,
        name=CHAIN_STARTED,
        actor=_LEDGER,
        data={
            "old_head": old["hash"],
            "old_sequence": old["sequence"],
            "old_file": old_file,
            "because": because,
            "chain": old["chain"] + 1,
        },
    )


def head_mismatch(feature: str, recorded: HeadRecord, found: str | None, *, at: datetime) -> Entry:
    """Says that the head record named an entry that the chain does not have: it was cut off or written anew.

    It is kept in the chain because the next head record replaces the one that could show it.
    """
    return Entry(
        entry_id=f"mismatch-{feature}-{recorded['sequence']}-{recorded['hash'][:12]}",
        at=at,
        feature=feature,
        kind=EntryKind.FACT,
        name=HEAD_MISMATCH,
        actor=_LEDGER,
        data={"sequence": recorded["sequence"], "recorded": recorded["hash"], "found": found},
    )


def is_own(entry: Entry, name: str) -> bool:
    """True for a fact of that name which the ledger itself has written."""
    return entry.name == name and entry.kind is EntryKind.FACT and entry.actor == _LEDGER


def chain_number(first: LedgerRow) -> int:
    """Which chain of the feature this is, out of its first row: 1 unless it says that it follows another one."""
    try:
        entry = first.entry
    except (ValueError, TypeError):
        return 1
    number = entry.data.get("chain") if is_own(entry, CHAIN_STARTED) else 1
    return number if isinstance(number, int) else 1
