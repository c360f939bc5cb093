"""Stored answers in memory: the stand-in that keeps the same promises, for tests and rehearsals."""

from __future__ import annotations

import threading
from datetime import datetime

from rollback.adapters.idempotency.port import KEEP, StoredAnswer, checked_key, verdict


class MemoryIdempotency:
    """`Idempotency` of this process, as `SqliteIdempotency`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], tuple[str, datetime, StoredAnswer | None]] = {}

    def begin(self, key: str, actor: str, digest: str, at: datetime) -> StoredAnswer | None:
        """The stored answer, or None when the request is this caller's to do."""
        owner = (actor, checked_key(key))
        with self._lock:
            self._records = {each: record for each, record in self._records.items() if record[1] > at - KEEP}
            old = self._records.get(owner)
            answer = None if old is None else verdict(old, digest, at)
            if answer is None:
                self._records[owner] = (digest, at, None)
            return answer

    def finish(self, key: str, actor: str, answer: StoredAnswer) -> None:
        """Stores the answer, once."""
        with self._lock:
            old = self._records.get((actor, key))
            if old is not None and old[2] is None:
                self._records[actor, key] = (old[0], old[1], answer)

    def abandon(self, key: str, actor: str) -> None:
        """Frees the key of a request that did nothing."""
        with self._lock:
            old = self._records.get((actor, key))
            if old is not None and old[2] is None:
                del self._records[actor, key]

    def close(self) -> None:
        """There is nothing to close."""
