"""Used tokens in memory: the stand-in that keeps the same promises, for tests and rehearsals."""

from __future__ import annotations

import threading
from datetime import datetime

from rollback.adapters.token_uses.port import digest_of


class MemoryTokenUses:
    """`TokenUses` of this process, as `SqliteTokenUses`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[bytes, datetime] = {}

    def use(self, issuer: str, token_id: str, expires_at: datetime, now: datetime) -> bool:
        """True the first time."""
        digest = digest_of(issuer, token_id)
        with self._lock:
            self._used = {each: until for each, until in self._used.items() if until > now}
            if digest in self._used:
                return False
            self._used[digest] = expires_at
            return True

    def close(self) -> None:
        """There is nothing to close."""
