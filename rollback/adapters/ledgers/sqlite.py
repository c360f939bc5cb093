"""The ledger in a SQLite database: write-ahead log, full sync, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from rollback.adapters.ledgers.canonical import GENESIS, LedgerRow, chained
from rollback.adapters.ledgers.chains import CHAIN_STARTED, MISSING, chain_started, head_mismatch, is_own
from rollback.adapters.ledgers.heads import HeadRecord, heads_path, read_heads, write_heads
from rollback.adapters.ledgers.location import database_path
from rollback.adapters.ledgers.migrations import migrate
from rollback.adapters.ledgers.reading import COLUMNS, read_rows
from rollback.adapters.ledgers.set_aside import last_set_aside, set_aside
from rollback.adapters.ledgers.sqlite_errors import is_corrupt, unwritable
from rollback.adapters.ledgers.transaction import LedgerSetAside
from rollback.core.history import Entry
from rollback.errors import HistoryUnwritable
from rollback.journal_file import Position
from rollback.ports import Head


class SqliteTransaction:
    """A `LedgerTransaction` on an open write transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(self, entries: Iterable[Entry]) -> int:
        """Adds each entry that is not there yet behind the end of its feature's chain."""
        new = 0
        for entry in entries:
            if self._one("SELECT 1 FROM entries WHERE entry_id = ?", entry.entry_id) is None:
                self._add(entry)
                new += 1
        return new

    def position(self, journal_id: str) -> Position | None:
        """How far the journal has been fed."""
        row = self._one("SELECT position, tail FROM positions WHERE journal = ?", journal_id)
        return None if row is None else Position(journal_id, row[0], row[1])

    def place(self, position: Position) -> None:
        """Sets how far the journal has been fed."""
        self._connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", position)

    def heads(self) -> dict[str, HeadRecord]:
        """The ends of all chains."""
        query = """
            SELECT feature, chain, sequence, hash FROM chains JOIN entries USING (feature)
            WHERE sequence = (SELECT MAX(sequence) FROM entries AS e WHERE e.feature = chains.feature)
        """
        return {
            feature: {"sequence": sequence, "hash": digest, "chain": chain}
            for feature, chain, sequence, digest in self._connection.execute(query)
        }

    def hash_at(self, feature: str, sequence: int) -> str | None:
        """The hash of one entry, `None` when there is none at this place."""
        row = self._one("SELECT hash FROM entries WHERE feature = ? AND sequence = ?", feature, sequence)
        return None if row is None else str(row[0])

    def chain(self, feature: str) -> int:
        """Which chain of the feature this is; more than 1 when it follows one in another file, 0 without a chain."""
        row = self._one("SELECT chain FROM chains WHERE feature = ?", feature)
        return 0 if row is None else int(row[0])

    def _add(self, entry: Entry) -> None:
        last = self._one(
            "SELECT sequence, hash FROM entries WHERE feature = ? ORDER BY sequence DESC LIMIT 1", entry.feature
        )
        if last is None:
            data = entry.data if is_own(entry, CHAIN_STARTED) else {}
            old = [data.get(name) for name in ("old_head", "old_sequence", "old_file", "because")]
            self._connection.execute(
                "INSERT OR IGNORE INTO chains VALUES (?, ?, ?, ?, ?, ?)", (entry.feature, data.get("chain", 1), *old)
            )
        sequence, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
        row = chained(entry, sequence, previous)
        values = tuple(getattr(row, name) for name in row.__slots__)
        self._connection.execute(f"INSERT INTO entries ({COLUMNS}) VALUES ({'?, ' * 10}?)", values)  # noqa: S608

    def _one(self, query: str, *values: object) -> Any:
        return self._connection.execute(query, values).fetchone()


class SqliteLedger:
    """The ledger at `sqlite:///…` or a plain path.

    A writer waits for the lock of another process for `lock_timeout` seconds. After each append the ends of all
    chains go to the head record beside the database. A corrupt database is set aside under another name, never
    deleted; the chains that replace its chains, or those of a database that is gone, start with the fact
    `chain_started`. `known_heads` are heads from elsewhere, used when the head record is gone. One object is for one
    thread. Raises `ConfigurationError` for a wrong URL.
    """

    def __init__(
        self,
        url_or_path: str | os.PathLike[str],
        *,
        lock_timeout: float = 0.02,
        known_heads: Mapping[str, Mapping[str, Any]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = database_path(url_or_path)
        self.warnings: list[str] = []
        self._lock_timeout = lock_timeout
        self._known_heads = known_heads or {}
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._recorded: dict[str, HeadRecord] = {}

    def append(self, entries: Iterable[Entry]) -> int:
        """Stores the entries that are new, all or none, and returns how many. Raises `HistoryUnwritable`."""
        entries = tuple(entries)
        try:
            with self.writing() as transaction:
                return transaction.append(entries)
        except LedgerSetAside:
            with self.writing() as transaction:
                return transaction.append(entries)

    def entries(self, feature: str | None = None) -> Iterable[LedgerRow]:
        """The stored rows, as `read_rows`."""
        return read_rows(self.path, feature)

    def head(self, feature: str) -> Head | None:
        """The end of the feature's chain, `None` without entries. Raises `HistoryUnwritable`."""
        rows = read_rows(self.path, feature)
        return Head(feature, rows[-1].sequence, rows[-1].hash) if rows else None

    def close(self) -> None:
        """Closes the database."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    @contextmanager
    def writing(self) -> Iterator[SqliteTransaction]:
        """One write transaction. Raises `HistoryUnwritable`, with nothing written; `LedgerSetAside` to try again."""
        connection = self._begin()
        transaction = SqliteTransaction(connection)
        try:
            self._compare_heads(transaction)
            yield transaction
            heads = transaction.heads()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            if is_corrupt(error):
                raise LedgerSetAside(self._set_aside(error)) from error
            raise unwritable(error, self.path) from error
        except BaseException:
            self.close()  # undoes what is not committed
            raise
        if heads != self._recorded:
            self._write_heads(heads)

    def _begin(self) -> sqlite3.Connection:
        """An open write transaction on the file that has the ledger's name now, with the schema as it should be."""
        for _ in range(4):
            try:
                connection = self._connection or self._connect()
                connection.execute("BEGIN IMMEDIATE")
                if self._file is not None and self._file == self._identity():
                    if migrate(connection, self.path):
                        self._start_chains(SqliteTransaction(connection))
                    return connection
                self.close()  # deleted or replaced since it was opened: nobody would find what went there
            except sqlite3.Error as error:
                self.close()
                if not is_corrupt(error):
                    raise unwritable(error, self.path) from error
                self._set_aside(error)
            except BaseException:
                self.close()
                raise
        raise HistoryUnwritable(f"the ledger {self.path} is being replaced again and again")

    def _connect(self) -> sqlite3.Connection:
        try:
            # Only a file that does not exist is opened here: closing one that SQLite has open would drop its locks.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise HistoryUnwritable(
                f"the ledger {self.path} cannot be created: {error.strerror}",
                next="set ROLLBACK_LEDGER to another file",
            ) from error
        self._file = self._identity()
        self._connection = connection = sqlite3.connect(self.path, timeout=self._lock_timeout, isolation_level=None)
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            state = os.stat(self.path)
        except OSError:
            return None
        return state.st_dev, state.st_ino

    def _set_aside(self, error: sqlite3.Error) -> str:
        """Puts the corrupt database away and returns the sentence that says so."""
        name = set_aside(self.path, self._file, self._now())
        text = f"the ledger {self.path} was corrupt ({error}) and has been set aside" + (name and f" as {name}")
        self.warnings.append(text)
        return text

    def _start_chains(self, transaction: SqliteTransaction) -> None:
        """In an empty database: a first entry for each chain that is known to have been there before."""
        old_file = last_set_aside(self.path)
        because = "corrupt" if old_file else MISSING
        for feature, head in sorted(self._recorded_heads().items()):
            started = chain_started(feature, head, old_file=old_file, because=because, at=self._now())
            transaction.append([started])
            self.warnings.append(
                f"the ledger of {feature} was {because} and starts anew after entry {head['sequence']}"
                + (f"; the old database is kept as {old_file}" if old_file else "")
            )

    def _compare_heads(self, transaction: SqliteTransaction) -> None:
        """Puts into the chain that its end was cut off or written anew, before the head record is replaced."""
        for feature, head in sorted(self._recorded_heads().items()):
            found = transaction.hash_at(feature, head["sequence"])
            if found == head["hash"] or head["chain"] < transaction.chain(feature):
                continue
            if transaction.append([head_mismatch(feature, head, found, at=self._now())]):
                self.warnings.append(
                    f"the ledger of {feature} does not hold entry {head['sequence']} of the head record:"
                    " it was cut off or written anew"
                )

    def _recorded_heads(self) -> dict[str, HeadRecord]:
        """What the head record says, or what is known from elsewhere when there is none."""
        self._recorded = {}
        try:
            self._recorded = read_heads(self.path)
        except (OSError, ValueError) as error:
            self.warnings.append(f"the head record {heads_path(self.path)} cannot be read: {error}")
        known = {
            feature: HeadRecord(sequence=head["sequence"], hash=head["hash"], chain=head.get("chain", 1))
            for feature, head in self._known_heads.items()
        }
        return self._recorded or known

    def _write_heads(self, heads: Mapping[str, HeadRecord]) -> None:
        try:
            write_heads(self.path, heads)
        except OSError as error:
            self.warnings.append(f"the head record {heads_path(self.path)} cannot be written: {error.strerror}")
