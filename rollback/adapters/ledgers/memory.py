"""A ledger in memory: the stand-in that keeps the same promises, for tests and rehearsals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rollback.adapters.ledgers.canonical import GENESIS, LedgerRow, chained
from rollback.adapters.ledgers.heads import HeadRecord
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import Position
from rollback.ports import Head


class MemoryTransaction:
    """A `LedgerTransaction` on copies that are taken over when it ends well."""

    def __init__(self, rows: list[LedgerRow], positions: dict[str, Position]) -> None:
        self.rows = rows
        self.positions = positions

    def append(self, entries: Iterable[Entry]) -> int:
        """Adds each entry that is not there yet behind the end of its feature's chain."""
        known = {row.entry_id for row in self.rows}
        before = len(self.rows)
        for entry in entries:
            if entry.entry_id not in known:
                known.add(entry.entry_id)
                head = self.heads().get(entry.feature)
                sequence, previous = (head["sequence"] + 1, head["hash"]) if head else (1, GENESIS)
                self.rows.append(chained(entry, sequence, previous))
        return len(self.rows) - before

    def position(self, journal_id: str) -> Position | None:
        """How far the journal has been fed."""
        return self.positions.get(journal_id)

    def place(self, position: Position) -> None:
        """Sets how far the journal has been fed."""
        self.positions[position.journal_id] = position

    def heads(self) -> dict[str, HeadRecord]:
        """The ends of all chains."""
        return {row.feature: HeadRecord(sequence=row.sequence, hash=row.hash, chain=1) for row in self.rows}


class MemoryLedger:
    """Keeps the rows of this process."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._rows: list[LedgerRow] = []
        self._positions: dict[str, Position] = {}
        self._is_writing = False

    def append(self, entries: Iterable[Entry]) -> int:
        """Stores the entries that are new, all or none, and returns how many. Raises `HistoryUnwritable`."""
        with self.writing() as transaction:
            return transaction.append(entries)

    def entries(self, feature: str | None = None) -> Iterable[LedgerRow]:
        """The stored rows, of one feature in sequence, of all in the order in which they came."""
        return [row for row in self._rows if feature in (None, row.feature)]

    def head(self, feature: str) -> Head | None:
        """The end of the feature's chain, `None` without entries."""
        rows = [row for row in self._rows if row.feature == feature]
        return Head(feature, rows[-1].sequence, rows[-1].hash) if rows else None

    def close(self) -> None:
        """There is nothing to close."""

    @contextmanager
    def writing(self) -> Iterator[MemoryTransaction]:
        """One write transaction. Raises `HistoryUnwritable` while another one is open."""
        if self._is_writing:
            raise HistoryUnwritable("the ledger in memory is locked by another transaction")
        self._is_writing = True
        try:
            transaction = MemoryTransaction(list(self._rows), dict(self._positions))
            yield transaction
            self._rows, self._positions = transaction.rows, transaction.positions
        finally:
            self._is_writing = False
