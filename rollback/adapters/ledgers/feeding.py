"""Feeding the ledger from the journal: each entry once, whatever crashes in between.

One feeder works at a time, under the ledger's write lock. Entries and the position that they were read up to are one
transaction, so a crash repeats at most what was undone; and the ledger keeps each entry once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rollback.adapters.ledgers.transaction import LedgerSetAside, LedgerTransaction, WritableLedger
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal import Journal
from rollback.journal_file import JournalFile, JournalRead

ROTATE_AT = 1024 * 1024
_ROUNDS = 6


@dataclass(slots=True)
class Fed:
    """What one feeding has done so far: entries that were new, texts of lines that were given up, other warnings."""

    new: int = 0
    damaged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def feed(journal: Journal, ledger: WritableLedger, kept: Sequence[Entry] = (), rotate_at: int = ROTATE_AT) -> Fed:
    """Brings everything that the journal and `kept` hold into the ledger, and rotates a journal beyond `rotate_at`.

    `kept` are entries that could not be written to the journal. Raises `HistoryUnwritable`; what was committed until
    then stays.
    """
    done = Fed()
    for _ in range(_ROUNDS):
        found = Fed()
        try:
            with ledger.writing() as transaction:
                again = _round(journal, transaction, kept, rotate_at, found)
        except LedgerSetAside as error:
            done.warnings.append(error.message)
            continue
        done.new += found.new
        done.damaged += found.damaged
        done.warnings += found.warnings
        if not again:
            break
    else:
        done.warnings.append(f"the journal {journal.path} was not fed to its end")
    journal.top_up()
    done.warnings += [warning for warning in ledger.warnings if warning not in done.warnings]
    return done


def _round(journal: Journal, transaction: LedgerTransaction, kept: Sequence[Entry], rotate_at: int, found: Fed) -> bool:
    """One transaction's work. True when there is more to do after it is committed."""
    leftovers = journal.leftovers()
    again = False
    for old in leftovers:
        try:
            again |= _feed_leftover(journal, transaction, old, found)
        except HistoryUnwritable as error:
            found.warnings.append(error.message)
    read = _take(journal.path, journal.file(), transaction, found)
    found.new += transaction.append(kept)
    if read.end_offset > rotate_at and not leftovers and not read.newer:
        try:
            journal.rotate()
            again = True
        except OSError as error:
            found.warnings.append(f"the journal {journal.path} cannot be rotated: {error.strerror or error}")
    return again


def _feed_leftover(journal: Journal, transaction: LedgerTransaction, old: str, found: Fed) -> bool:
    """Feeds the rest of a replaced file, or retires it when nothing of it is left. True when it is to be retired."""
    if journal.is_replaced(old):
        file = journal.file(old)
        fed = transaction.position(file.journal_id) if file else None
        read = _take(old, file, transaction, found, final=True)
        if read.newer:
            return False
        if read.end_offset and (fed is None or read.position != fed):
            return True  # retired once this is committed
    journal.retire(old, transaction.heads())
    return False


def _take(
    path: str, file: JournalFile | None, transaction: LedgerTransaction, found: Fed, *, final: bool = False
) -> JournalRead:
    if file is None or not file.journal_id:
        return JournalRead()
    fed = transaction.position(file.journal_id)
    read = file.since(fed, final=final)
    found.new += transaction.append(read.entries)
    if read.position != fed:
        transaction.place(read.position)
    found.damaged += [f"{path}, {text}" for text in read.damaged]
    if read.restarted:
        found.warnings.append(f"the journal {path} is not as it was left and has been read from its beginning")
    if read.newer:
        found.warnings.append(f"the journal {path} has entries of a newer program: update this one to feed them")
    return read
