"""What a stand-in was asked, so that a test can count writes."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

KEPT_REQUESTS = 200_000


@dataclass(slots=True)
class Logged:
    """One request. `at` is in seconds since 1970; `status` None: no answer was sent (yet)."""

    method: str
    path: str
    at: float = field(default_factory=time.time)
    status: int | None = None

    def document(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {"method": self.method, "path": self.path, "time": self.at, "status": self.status}


class RequestLog:
    """The last requests in the order of their arrival. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Logged] = deque(maxlen=KEPT_REQUESTS)

    def begin(self, method: str, path: str) -> Logged:
        """Note a request that arrived; the caller fills in the status."""
        entry = Logged(method, path)
        with self._lock:
            self._entries.append(entry)
        return entry

    def all(self) -> list[Logged]:
        """All entries."""
        with self._lock:
            return list(self._entries)

    def chosen(self, method: str = "", path: str = "") -> list[Logged]:
        """Those with this method ("" any, `PUT|POST` several) and a path in which the expression is found.

        ValueError when the path is no regular expression.
        """
        try:
            pattern = re.compile(path)
        except re.error as error:
            raise ValueError(f"path {path!r} is no regular expression: {error}") from error
        methods = method.split("|") if method else None
        return [
            entry for entry in self.all() if (methods is None or entry.method in methods) and pattern.search(entry.path)
        ]

    def count(self, method: str = "", path: str = "") -> int:
        """How many there are of those."""
        return len(self.chosen(method, path))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
