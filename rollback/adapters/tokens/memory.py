"""Tokens in memory: the stand-in that keeps the same promises, for tests and rehearsals."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

from rollback.adapters.tokens.rules import USE_KEPT_EVERY, checked, digest_of, name_taken, new_secret
from rollback.alert_ports import TokenHolder


@dataclass(slots=True)
class _Token:
    holder: TokenHolder
    digest: bytes | None
    issued_at: datetime
    used_at: datetime | None = None
    is_expired: bool = False


class MemoryTokens:
    """`Tokens` of this process, as `SqliteTokens`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}

    def issue(self, name: str, role: str, expires_at: datetime | None, now: datetime) -> str:
        """Makes a token and returns its secret, which nobody can see again."""
        checked(name, role, expires_at, now)
        secret = new_secret()
        with self._lock:
            old = self._tokens.get(name)
            if old is not None and not _is_over(old, now):
                raise name_taken(name)
            self._tokens[name] = _Token(TokenHolder(name, role, expires_at), digest_of(secret), now)
        return secret

    def revoke(self, name: str, now: datetime) -> bool:  # noqa: ARG002
        """Ends the token of that name for good; False when there is none."""
        with self._lock:
            return self._tokens.pop(name, None) is not None

    def holder(self, secret: str, now: datetime) -> TokenHolder | None:
        """Whose secret this is; None when it is nobody's, or nobody's any more."""
        digest = digest_of(secret)
        with self._lock:
            for token in self._tokens.values():
                if digest is not None and token.digest == digest:
                    if _is_over(token, now):
                        token.is_expired = True
                        return None
                    if token.used_at is None or now - token.used_at >= USE_KEPT_EVERY:
                        token.used_at = now
                    return token.holder
        return None

    def all(self) -> list[tuple[TokenHolder, datetime, datetime | None]]:
        """The tokens that are not revoked, by name, each with when it was issued and last used."""
        with self._lock:
            return [(each.holder, each.issued_at, each.used_at) for _, each in sorted(self._tokens.items())]

    def close(self) -> None:
        """There is nothing to close."""


def _is_over(token: _Token, now: datetime) -> bool:
    return token.is_expired or (token.holder.expires_at is not None and token.holder.expires_at <= now)
