"""The port of stored answers: a request that is sent again, because its answer got lost, is not done again.

Semantics: Stripe's idempotency keys (docs.stripe.com/api/idempotent_requests); status codes after the IETF's draft of
the `Idempotency-Key` header field (draft-ietf-httpapi-idempotency-key-header): 422 for `KeyReused`, 409 for
`KeyInProgress`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rollback.errors import ConfigurationError, RollbackError

KEEP = timedelta(hours=24)
"""How long an answer is known; afterwards the same key begins a new request."""
LEASE = timedelta(minutes=10)
"""After this an unanswered request counts as dead with its process, and may be begun again. Longer than any takes."""

_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was sent: the status code and the body's bytes."""

    status: int
    body: bytes


class KeyReused(RollbackError):
    """The key was used before, for another request."""

    code = "idempotency_key_reused"
    exit_code = 2


class KeyInProgress(RollbackError):
    """The same request is being worked on at this moment."""

    code = "idempotency_in_progress"
    exit_code = 5


class Idempotency(Protocol):
    """Answers by (actor, key): nobody gets another actor's answer. For several threads and processes.

    `begin` returns the stored answer of the same request, None when it is to be done now: then `finish` or `abandon`
    must follow. `digest` is a hash over all that makes the request (method, path, body). Raises `KeyReused` when the
    key came with another digest, `KeyInProgress` while the first one is unanswered and younger than `LEASE`,
    `ConfigurationError` for a key that is none (1 to 255 visible ASCII characters). What is older than `KEEP` is gone.
    `finish` stores the answer, for good and bad ones alike (also a 500: it happened); the first one stays. `abandon`
    is for a request that was refused before anything was done: it leaves no trace, and the key is free.
    Raises `HistoryUnwritable`. A command that must never be refused (off) is done all the same, whatever this raises.
    """

    def begin(self, key: str, actor: str, digest: str, at: datetime) -> StoredAnswer | None: ...
    def finish(self, key: str, actor: str, answer: StoredAnswer) -> None: ...
    def abandon(self, key: str, actor: str) -> None: ...
    def close(self) -> None: ...


def checked_key(key: str) -> str:
    """The key. Raises `ConfigurationError` when it is none; the text does not repeat it."""
    if _KEY.fullmatch(key) is None:
        raise ConfigurationError(
            "an idempotency key must have 1 to 255 visible ASCII characters", next="use a random UUID"
        )
    return key


def verdict(old: tuple[str, datetime, StoredAnswer | None], digest: str, at: datetime) -> StoredAnswer | None:
    """What a known record, of this digest and begun then, answers; None when it is to be done again."""
    known, begun_at, answer = old
    if known != digest:
        raise KeyReused(
            "this idempotency key was used for another request", next="send each new request with a key of its own"
        )
    if answer is None and at - begun_at < LEASE:
        raise KeyInProgress(
            "the same request is being worked on", next="wait, and send it again with the same key for its answer"
        )
    return answer
