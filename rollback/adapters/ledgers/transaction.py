"""What a ledger offers while it is being written, and what the feeder needs of one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from rollback.adapters.ledgers.heads import HeadRecord
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import Position


class LedgerSetAside(HistoryUnwritable):
    """The database was corrupt, has been set aside, and nothing was written: doing it again starts a new one."""


class LedgerTransaction(Protocol):
    """All or nothing: entries and the position that they were read up to.

    `append` returns how many entries were new; one that is there already (by `entry_id`) is left as it is.
    `position` is how far the journal with this id has been fed, `None` if never; `place` sets it.
    `heads` are the ends of all chains, this transaction's entries included.
    """

    def append(self, entries: Iterable[Entry]) -> int: ...
    def position(self, journal_id: str) -> Position | None: ...
    def place(self, position: Position) -> None: ...
    def heads(self) -> dict[str, HeadRecord]: ...


class WritableLedger(Protocol):
    """A ledger that can be fed. `writing` holds the ledger's one write lock; leaving it by an error undoes all.

    It raises `HistoryUnwritable`. `warnings` are sentences about what went wrong without costing an entry.
    """

    warnings: list[str]

    def writing(self) -> AbstractContextManager[LedgerTransaction]: ...
