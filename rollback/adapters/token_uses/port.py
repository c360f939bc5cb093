"""The port of used tokens: a token that somebody has read over a shoulder, or in a log, is worth nothing any more."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Protocol


class TokenUses(Protocol):
    """The tokens that were used, by issuer and `jti`, until they expire. For several threads and processes.

    `use` is True the first time and False each time after; of several callers at once exactly one gets True. What has
    expired by `now` is forgotten: whoever asks has refused it before. Raises `HistoryUnwritable`, and then the token
    must not be accepted.
    """

    def use(self, issuer: str, token_id: str, expires_at: datetime, now: datetime) -> bool: ...
    def close(self) -> None: ...


def digest_of(issuer: str, token_id: str) -> bytes:
    """What is kept of a token: nobody can make out which it was."""
    return hashlib.sha256(f"{issuer}\0{token_id}".encode("utf-8", "surrogatepass")).digest()
