"""The history as the rest of the program uses it: written to the journal, kept in the ledger.

Kill path: standard library only, and no database until something is fed or looked up. Neither a full disk nor a
broken, locked or wrongly configured ledger stops `record`, and a disk that does not answer stops it for `patience`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rollback.codec import entry_to_json, repaired
from rollback.core.history import Entry, EntryKind
from rollback.errors import HistoryUnwritable, RollbackError
from rollback.journal import Journal
from rollback.journal_file import newest_transition

if TYPE_CHECKING:
    from threading import Thread

    from rollback.adapters.ledgers.canonical import LedgerRow
    from rollback.adapters.ledgers.verify import Verification

_T = TypeVar("_T")
_LOOK = 0.25
"""Seconds for looking something up before a kill. Locks are not waited for; this is for storage that hangs."""

WAITS_AGAIN_AFTER = 1.0
"""Seconds after a feeding that failed in which the next one waits for no lock: a disable feeds several times, and who
holds the lock for that long holds it for longer."""


class FeedReport(NamedTuple):  # named tuples: three dataclasses take two milliseconds more to be made
    """What a feeding did: entries that were new in the ledger, texts of journal lines that were given up, sentences
    that were said, and `trouble`, why the ledger does not have everything (empty: it has)."""

    new: int = 0
    damaged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """True when the ledger has everything that was recorded."""
        return not self.trouble


class Latest(NamedTuple):
    """The newest image of a feature's case. If `uncertain` there may be a newer one, or one at all; `why` says why."""

    entry: Entry | None
    uncertain: bool = False
    why: str = ""


class HistoryView(NamedTuple):
    """The ledger's rows in order, the entries that it does not have yet, and why that may not be all (empty: it is)."""

    rows: Sequence[LedgerRow] = ()
    pending: Sequence[Entry] = ()
    trouble: str = ""

    @property
    def entries(self) -> list[Entry]:
        """All entries, the ledger's first. A row that holds no entry any more is left out; `verify` names it."""
        found: list[Entry] = []
        for row in self.rows:
            with suppress(ValueError):
                found.append(row.entry)
        return [*found, *self.pending]


def last_resort(line: str) -> None:
    """An entry's line to standard error and to syslog, as far as they are there; never raises."""
    with suppress(Exception):
        print(f"rollback: the journal cannot take this entry: {line}", file=sys.stderr, flush=True)

    def to_syslog() -> None:
        import syslog

        syslog.openlog("rollback")
        syslog.syslog(syslog.LOG_ALERT, line)

    with suppress(Exception):  # a stuck syslog blocks its writers
        _within(0.5, to_syslog, "syslog")


class History:
    """Journal and ledger together.

    `ledger_url` is ROLLBACK_LEDGER. `warn` gets each trouble once, in one sentence. `lock_timeout` is how long the
    ledger's lock is waited for, `patience` how long the journal's disk, both in seconds. `fallback` gets the JSON line
    of an entry that the journal did not take.
    """

    def __init__(
        self,
        journal_path: str | os.PathLike[str],
        ledger_url: str,
        warn: Callable[[str], None],
        *,
        journal: Journal | None = None,
        lock_timeout: float = 0.02,
        patience: float = 1.0,
        fallback: Callable[[str], None] = last_resort,
    ) -> None:
        self.journal = journal or Journal(journal_path)
        self._ledger_url = ledger_url
        self._warn = warn
        self._lock_timeout = lock_timeout
        self._patience = patience
        self._fallback = fallback
        self._kept: list[Entry] = []
        self._said: set[str] = set()
        self._stuck: Thread | None = None
        self._in_trouble_until = float("-inf")

    def record(self, entry: Entry, *, strict: bool = False) -> None:
        """Writes the entry ahead of what it is about.

        Without `strict` it never raises: an entry that the journal does not take goes to `fallback`, and to the
        ledger with the next `feed` of this object. With `strict` (whatever raises exposure) it raises
        `HistoryUnwritable`, or `ConfigurationError` when the ledger's URL is wrong.
        """
        if strict:
            self._database()
        try:
            self._append(entry)
        except HistoryUnwritable as error:
            if strict:
                raise
            self._keep(entry, error.message)
        except Exception as error:  # whatever it is, a kill goes on
            if strict:
                raise HistoryUnwritable(f"the journal cannot be written: {error}") from error
            self._keep(entry, f"the journal {self.journal.path} cannot be written: {error}")

    def feed(self) -> FeedReport:
        """Brings the journal and what it did not take into the ledger. Never raises; trouble is said and reported."""
        from rollback.turn import FEEDING

        with FEEDING:
            return self._fed()

    def _fed(self) -> FeedReport:
        said: list[str] = []
        try:
            self._require_answering()
            from rollback.adapters.ledgers.feeding import feed
            from rollback.adapters.ledgers.sqlite import SqliteLedger

            kept = tuple(self._kept)
            heads = self.journal.read().heads
            waits = self._lock_timeout if time.monotonic() >= self._in_trouble_until else 0.0
            ledger = SqliteLedger(self._ledger_url, lock_timeout=waits, known_heads=heads)
            try:
                fed = feed(self.journal, ledger, kept)
            finally:
                ledger.close()
                said += ledger.warnings
        except Exception as error:  # an import that fails, too: the entries stay where they are
            trouble = error.message if isinstance(error, RollbackError) else f"the ledger cannot be fed: {error!r}"
            self._in_trouble_until = time.monotonic() + WAITS_AGAIN_AFTER
            self._say(trouble)
            self._say_all(said)
            return FeedReport(new=self._feed_kept(), warnings=(trouble, *said), trouble=trouble)
        del self._kept[: len(kept)]
        warnings = [*fed.warnings]
        if fed.damaged:
            warnings.append(f"the journal lost {len(fed.damaged)} record(s) to damage: {'; '.join(fed.damaged[:3])}")
        self._said.clear()
        self._say_all(warnings)
        return FeedReport(fed.new, tuple(fed.damaged), tuple(warnings))

    def _feed_kept(self) -> int:
        """What the journal did not take goes to the ledger without it, as far as that is well; how many were new."""
        kept = tuple(self._kept)
        if not kept:
            return 0
        with suppress(Exception):  # then they stay where they are
            from rollback.adapters.ledgers.sqlite import SqliteLedger

            ledger = SqliteLedger(self._ledger_url, lock_timeout=self._lock_timeout)
            try:
                new = ledger.append(kept)
            finally:
                ledger.close()
            del self._kept[: len(kept)]
            return new
        return 0

    def latest(self, feature: str) -> Latest:
        """The newest image of the feature's case: from the journal, and when that has none from the ledger."""
        own = [e for e in self._kept if e.feature == feature and e.kind is EntryKind.TRANSITION]
        why = ""
        try:
            self._require_answering()
            found = _within(_LOOK, lambda: self.journal.latest(feature), f"the journal {self.journal.path}")
            own = [found, *own] if found else own
        except Exception as error:
            why = _sentence(error)
        if not own:
            try:
                own = self._look_up(feature)
            except Exception as error:
                why = why or _sentence(error)
        return Latest(newest_transition(own), bool(why), why)

    def recent(self, feature: str) -> list[Entry]:
        """The feature's entries that the journal still holds, in the order in which processes wrote them.

        Only what this object kept when it cannot be read: then nobody can tell who came first.
        """
        with suppress(Exception):
            self._require_answering()
            return [entry for entry in (*self.journal.read().entries, *self._kept) if entry.feature == feature]
        return [entry for entry in self._kept if entry.feature == feature]

    def entries(self, feature: str | None = None) -> HistoryView:
        """All that is known of the feature, or of all. Read-only, creates no file, never raises."""
        troubles: list[str] = []
        rows: Sequence[LedgerRow] = ()
        try:
            from rollback.adapters.ledgers.reading import read_rows

            rows = read_rows(self._database(), feature)
        except Exception as error:
            troubles.append(_sentence(error))
        written: list[Entry] = list(self._kept)
        try:
            written = self._unfed()
        except Exception as error:
            troubles.append(_sentence(error))
        known = {row.entry_id for row in rows}
        pending: dict[str, Entry] = {}
        for entry in written:
            if entry.entry_id not in known and feature in (None, entry.feature):
                pending.setdefault(entry.entry_id, entry)
        return HistoryView(tuple(rows), tuple(pending.values()), "; ".join(troubles))

    def facts(self, feature: str, names: Sequence[str]) -> list[Entry]:
        """The newest facts of these names, oldest first, from the ledger and then the journal.

        Raises `HistoryUnwritable` when they cannot be read: what holds automation back must not be missed.
        """
        from rollback.adapters.ledgers.reading import read_facts

        kept = read_facts(self._database(), feature, names)
        known = {entry.entry_id for entry in kept}
        for entry in self._unfed():
            is_asked = entry.feature == feature and entry.kind is EntryKind.FACT and entry.name in names
            if is_asked and entry.entry_id not in known:
                kept.append(entry)
                known.add(entry.entry_id)
        return kept

    def _unfed(self) -> list[Entry]:
        """What the journal's files hold, fed or not, and what it did not take."""
        self._require_answering()
        files = [self.journal.file(path) for path in (*self.journal.leftovers(), self.journal.path)]
        return [*(entry for file in files if file for entry in file.since().entries), *self._kept]

    def head_text(self, feature: str) -> str:
        """The first 12 digits of the head of the feature's chain, for a marker; empty when it is not known.

        From the head record beside the ledger, else from the journal's checkpoint; the database stays closed.
        """

        def look() -> str:
            head: Mapping[str, Any] = self._heads().get(feature) or self.journal.read().heads.get(feature) or {}
            return str(head.get("hash", ""))[:12]

        with suppress(Exception):
            self._require_answering()
            return _within(_LOOK, look, "the head record")
        return ""

    def verify(self, anchors: Mapping[str, Sequence[str]] | None = None) -> Verification:
        """Checks all chains against the head record and `anchors`, hashes (or 12 digits of them) by feature.

        Raises `HistoryUnwritable` for a ledger that cannot be read, `ConfigurationError` for a wrong URL.
        """
        from rollback.adapters.ledgers.chains import chain_number
        from rollback.adapters.ledgers.reading import read_rows
        from rollback.adapters.ledgers.verify import verify
        from rollback.ports import Head

        rows = read_rows(self._database())
        chains = {row.feature: chain_number(row) for row in rows if row.sequence == 1}
        heads: Mapping[str, Mapping[str, Any]] = self._heads() or self.journal.read().heads
        outside = [
            Head(feature, head["sequence"], head["hash"])
            for feature, head in heads.items()
            if head.get("chain", 1) >= chains.get(feature, 1)
        ]
        return verify(rows, outside, anchors)

    def _append(self, entry: Entry) -> None:
        """Within `patience`, because a disk that hangs must not hold up a kill."""
        self._require_answering()
        try:
            entry_to_json(entry)
        except (ValueError, AttributeError, TypeError) as error:
            self._say(f"an entry of the history had to be repaired: {error}")
            entry = repaired(entry)
        whole = entry
        try:
            _within(self._patience, lambda: self.journal.append(whole), f"the journal {self.journal.path}")
        except _NoAnswer as error:
            self._stuck = error.thread
            raise

    def _require_answering(self) -> None:
        if self._stuck is not None and self._stuck.is_alive():
            raise HistoryUnwritable(f"the disk of the journal {self.journal.path} does not answer")

    def _keep(self, entry: Entry, cause: str) -> None:
        self._kept.append(entry)
        line = repr(entry)
        with suppress(Exception):
            self._kept[-1] = whole = repaired(entry)
            line = json.dumps(entry_to_json(whole), separators=(",", ":"))
        with suppress(Exception):
            self._fallback(line)
        self._say(f"{cause}; what is done goes to standard error and syslog instead")

    def _look_up(self, feature: str) -> list[Entry]:
        from rollback.adapters.ledgers.reading import read_transitions

        path = self._database()
        found = _within(_LOOK, lambda: read_transitions(path, feature), f"the ledger {path}")
        if not found and not os.path.exists(path) and feature in self._heads():
            raise HistoryUnwritable(f"the ledger {path} is gone")
        return found

    def _heads(self) -> Mapping[str, Mapping[str, Any]]:
        from rollback.adapters.ledgers.heads import read_heads

        return read_heads(self._database())

    def _database(self) -> str:
        from rollback.adapters.ledgers.location import database_path

        return database_path(self._ledger_url)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            with suppress(Exception):
                self._warn(sentence)

    def _say_all(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            self._say(sentence)


class _NoAnswer(HistoryUnwritable):
    """The work goes on in `thread`, nobody waits for it any more."""

    def __init__(self, message: str, thread: Thread) -> None:
        super().__init__(message)
        self.thread = thread


def _within(seconds: float, work: Callable[[], _T], name: str) -> _T:
    """What `work` returns or raises. After `seconds` it is left to itself and `HistoryUnwritable` is raised."""
    from threading import Thread

    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads: better without a limit than not at all
        return work()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise _NoAnswer(f"{name} did not answer within {seconds:g} s", thread)
    return results[0]


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, RollbackError) else f"the history cannot be read: {error!r}"
