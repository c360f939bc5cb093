"""Who is signed in: sessions in memory, each bound to the token that it was opened with.

A session's id is 32 random bytes that the browser alone has; here it is known by its hash. The token's secret is kept
sealed with the id, so that this memory alone opens nothing, and is looked up anew with each call: a token that is
revoked, expires or loses its role takes its sessions with it at once. After a restart everybody signs in again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LASTS_SECONDS = 12 * 3600.0
"""A shift; nobody stays signed in overnight."""

SESSIONS_KEPT = 1000
"""Beyond it the oldest one ends. Only who has a token opens one."""


@dataclass(frozen=True, slots=True)
class _Session:
    sealed: bytes
    until: float


class Sessions:
    """All sessions of this process. `monotonic` gives seconds. Usable from several threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Session] = OrderedDict()

    def open(self, secret: str) -> str:
        """Opens one for the holder of this token, who was looked up before; returns the id for the browser."""
        cookie = secrets.token_urlsafe(32)
        session = _Session(_sealed(secret.encode(), cookie), self._monotonic() + LASTS_SECONDS)
        with self._lock:
            while len(self._known) >= SESSIONS_KEPT:
                self._known.popitem(last=False)
            self._known[name_of(cookie)] = session
        return cookie

    def secret(self, cookie: str) -> str | None:
        """The token's secret of a session; None when there is no such session (any more)."""
        with self._lock:
            session = self._known.get(name_of(cookie))
            if session is not None and session.until <= self._monotonic():
                del self._known[name_of(cookie)]
                session = None
        return None if session is None else _sealed(session.sealed, cookie).decode()

    def end(self, cookie: str) -> None:
        """Ends it, if there is one."""
        with self._lock:
            self._known.pop(name_of(cookie), None)


def name_of(cookie: str) -> str:
    """By what a session is known here: the hash of its id."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_of(cookie: str) -> str:
    """What the session's own page sends along with each change, and no other site can know. The id cannot be told
    from it."""
    return hmac.new(cookie.encode("utf-8", "surrogatepass"), b"a change asked for by the page", "sha256").hexdigest()


def is_csrf_of(cookie: str, sent: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(csrf_of(cookie).encode(), sent.encode("utf-8", "surrogatepass"))


def _sealed(text: bytes, cookie: str) -> bytes:
    """Sealed, and unsealed by the same: each id is random and seals one text, so its stream is used once."""
    stream = hashlib.shake_256(b"seal of a session\0" + cookie.encode("utf-8", "surrogatepass")).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))
