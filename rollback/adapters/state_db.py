"""The database of what `rollback serve` must not forget: one SQLite file that several components share.

Write-ahead log with full sync, one writer at a time, several threads and processes. Each component (inbox, tokens,
stored answers) has its own tables, and its schema's number stands in one table. No history is kept here: that is the
ledger's.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar, TypeVar
from urllib.parse import quote

from rollback.adapters.state_db_trouble import folder_lock, is_corrupt, set_aside, unusable
from rollback.errors import HistoryUnwritable

DEFAULT_NAME = "rollback.state.db"
APPLICATION_ID = 0x726F6C73
"""`rols` in ASCII: what tells this database from the ledger and from other people's (sqlite.org/fileformat2.html)."""
LAYOUT = 1
"""The number of the table of components itself (`user_version`)."""
LOCK_TIMEOUT = 2.0
"""Seconds to wait for another process's write: PagerDuty gives a receiver five to answer."""

_TRIES = 4
_Result = TypeVar("_Result")
_Work = Callable[[sqlite3.Connection], _Result]


class StateDatabase:
    """One component's way into the database at `path`; usable from several threads, each call is one transaction.

    `migrations` are the component's schema steps; a released step is never changed, a new one is added. A file that is
    corrupt is set aside under another name, never deleted, and a new one begins: `report` is told in one sentence, and
    it stands in `warnings`. Raises `HistoryUnwritable` for a database of another program or of a newer version of this
    one, a disk that is full, a place that cannot be written, a lock that lasts longer than `lock_timeout` seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        component: str,
        migrations: Sequence[Sequence[str]],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        report: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = os.path.realpath(path)
        self.warnings: list[str] = []
        self._component = component
        self._migrations = migrations
        self._lock_timeout = lock_timeout
        self._report = report
        self._now = now
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._is_closed = False

    def read(self, work: _Work[_Result]) -> _Result:
        """What `work` reads, in one consistent view. It may be called again when the file was replaced meanwhile."""
        return self._transaction("BEGIN", work, synced=True, wait=None)

    def write(self, work: _Work[_Result], *, synced: bool = True, wait: float | None = None) -> _Result:
        """Does `work` in one write transaction, all or nothing; an exception of `work` undoes it and goes on.

        When it returns, the disk has it; without `synced` the operating system has it, which outlives this process but
        no power cut, and the next synced transaction brings it to the disk too. `wait` are the seconds to wait for
        another process's write, None: the usual ones. `work` may be called again when the file had to be replaced, so
        it must not change anything but the database.
        """
        return self._transaction("BEGIN IMMEDIATE", work, synced=synced, wait=wait)

    def close(self) -> None:
        """Closes the database for good; may be called twice."""
        with self._lock:
            self._is_closed = True
            self._drop()

    def tell(self, sentence: str) -> None:
        """Passes on what went wrong without making a call fail."""
        self.warnings.append(sentence)
        if self._report is not None:
            self._report(sentence)

    def _transaction(self, begin: str, work: _Work[_Result], *, synced: bool, wait: float | None) -> _Result:
        sentences: list[str] = []
        try:
            with self._lock:
                return self._tried(begin, work, synced, self._lock_timeout if wait is None else wait, sentences)
        finally:
            for sentence in sentences:  # without the lock: whoever is told may come back with a question
                self.tell(sentence)

    def _tried(self, begin: str, work: _Work[_Result], synced: bool, wait: float, sentences: list[str]) -> _Result:
        """One transaction, in a new file if need be; what there is to tell goes to `sentences`."""
        for _ in range(_TRIES):
            try:
                connection = self._opened(wait)
                # Without sync, what a killed process wrote is there all the same (sqlite.org/wal.html, 2.2).
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                connection.execute(begin)
                if self._file_is_in_place():
                    self._expect_own_schema(connection)
                    result = work(connection)
                    connection.execute("COMMIT")
                    # Set aside by another process in between, it went where nobody would find it.
                    if self._file_is_in_place():
                        return result
                self._drop()
            except sqlite3.Error as error:
                self._drop()
                sentences += self._give_up_or_set_aside(error)
            except BaseException:
                self._undo()
                raise
        raise HistoryUnwritable(
            f"the state database {self.path} is being replaced again and again", next="see who else uses it"
        )

    def _opened(self, wait: float) -> sqlite3.Connection:
        if self._is_closed:
            raise HistoryUnwritable(f"the state database {self.path} is closed", next="the program is ending")
        if self._connection is None:
            self._connect(wait)
        connection = self._connection
        assert connection is not None
        connection.execute(f"PRAGMA busy_timeout = {max(0, round(wait * 1000))}")
        return connection

    def _connect(self, wait: float) -> None:
        folder = os.path.dirname(self.path)
        try:
            # Only a file that does not exist is opened here: closing one that SQLite has open would drop its locks.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise HistoryUnwritable(
                f"the state database {self.path} cannot be created: {error.strerror}",
                next="make its folder writable, or name another file",
            ) from error
        self._file = self._identity()
        address = f"file:{quote(self.path)}?mode=rw"  # rw: never creates a file that others may read
        connection = sqlite3.connect(address, timeout=wait, isolation_level=None, check_same_thread=False, uri=True)
        self._connection = connection
        try:
            connection.text_factory = _text
            connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
            if not self._is_ready(connection):
                with folder_lock(folder):  # two processes that make the same database would lock one another out
                    self._prepare(connection)
        except BaseException:
            self._drop()  # half prepared, it must not be taken for a good one
            raise

    def _is_ready(self, connection: sqlite3.Connection) -> bool:
        journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
        return journal == "wal" and self._version(connection) == len(self._migrations)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the file ours and brings the component's schema to the last step. Nothing of others' is touched."""
        self._version(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = self._version(connection)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'components'").fetchone():
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
            connection.execute("CREATE TABLE components (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        for statements in self._migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        values = (self._component, len(self._migrations))
        connection.execute("INSERT OR REPLACE INTO components VALUES (?, ?)", values)
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        """The component's schema; 0 when it has none yet. Raises for a database that is not ours to use."""
        if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return 0
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise HistoryUnwritable(
                f"{self.path} is a database of another program, not a state database", next="name another file"
            )
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        query = "SELECT version FROM components WHERE name = ?"
        row = connection.execute(query, (self._component,)).fetchone() if layout == LAYOUT else None
        version = 0 if row is None else int(row[0])
        if layout != LAYOUT or version > len(self._migrations):
            raise HistoryUnwritable(
                f"the state database {self.path} was written by a newer version of this program"
                f" ({self._component} has schema {version if layout == LAYOUT else 'unknown'},"
                f" this version knows up to {len(self._migrations)})",
                next="update this program, or name another file",
            )
        return version

    def _expect_own_schema(self, connection: sqlite3.Connection) -> None:
        query = "SELECT version FROM components WHERE name = ?"
        row = connection.execute(query, (self._component,)).fetchone()
        if row != (len(self._migrations),):
            raise HistoryUnwritable(
                f"the state database {self.path} has been changed by another version of this program",
                next="restart this program, or update it",
            )

    def _give_up_or_set_aside(self, error: sqlite3.Error) -> list[str]:
        """Returns, with what to tell, when doing it again may help: in a new file, because the old one was corrupt."""
        if not is_corrupt(error):
            raise unusable(error, self.path) from error
        name = set_aside(self.path, self._file, self._now())
        if not name:
            return []
        return [
            f"the state database {self.path} was corrupt ({error}) and has been set aside as {name};"
            " a new one begins: alerts that waited in it, tokens and counters are not in the new one"
        ]

    def _file_is_in_place(self) -> bool:
        return self._file is not None and self._file == self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            state = os.stat(self.path)
        except OSError:
            return None
        return state.st_dev, state.st_ino

    def _undo(self) -> None:
        if self._connection is not None:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._drop()

    def _drop(self) -> None:
        """Closes the connection; what is not committed is undone."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


class StateComponent:
    """What a component in the database begins and ends with; it says its own name and schema steps.

    `path`, `lock_timeout`, `report`, `now`: as `StateDatabase` takes them.
    """

    component: ClassVar[str]
    migrations: ClassVar[Sequence[Sequence[str]]]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        report: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = StateDatabase(
            path, self.component, self.migrations, lock_timeout=lock_timeout, report=report, now=now
        )

    def close(self) -> None:
        """Closes the database."""
        self.database.close()


def _text(raw: bytes) -> str:
    # Damaged text must not make its whole table unreadable: whoever decodes the value finds it wrong.
    return raw.decode("utf-8", "backslashreplace")
