"""The same request again: `Idempotency-Key`, as Stripe has it (docs.stripe.com/api/idempotent_requests).

For all commands but one: the stored answer comes again, word for word; another request with the same key is refused
(409), and so is the same one while it is under way (409).

For `disable` a key refuses nothing and delays nothing (invariant 1). Whether it was done before is looked up for a
moment; its stored answer comes again only while the off that it tells of still stands. Else it is simply done again: an
off twice is an off, and a stored "off" of a feature that is back would be the worst thing to say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Header
from fastapi.responses import Response

from rollback import bootstrap, log
from rollback.automation_bootstrap import StoredAnswer
from rollback.core.flag import BUCKETS
from rollback.errors import RollbackError
from rollback.server.api_answers import Wanted, media_type_of

if TYPE_CHECKING:
    from rollback.server.api_services import ApiServices

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Your own name for this request, e.g. a random UUID: sent again with it, it is not done again.",
    ),
]

LOOK_WITHIN = 0.25
"""Seconds that a disable waits for what the store of answers knows: less than a person notices."""

FREE_AGAIN = frozenset(
    {"store_unreachable", "conflict", "busy", "server_stopping", "tokens_unreadable", "history_unwritable"}
)
"""Codes after which certainly nothing was done: such an answer is not kept, and the key is free for another try."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """One keyed request: its stored answer, or the right to do it; `keep` and `abandon` end that. None raises."""

    key: str
    actor: str
    services: ApiServices
    stored: StoredAnswer | None = None

    def keep(self, status: int, body: bytes) -> None:
        """Keeps the answer; where certainly nothing was done, frees the key instead."""
        with suppress(Exception):
            if status >= 400 and json.loads(body).get("code") in FREE_AGAIN:
                self.abandon()
            else:
                self.services.idempotency.finish(self.key, self.actor, StoredAnswer(status, body))

    def abandon(self) -> None:
        """Nothing was done."""
        with suppress(Exception):
            self.services.idempotency.abandon(self.key, self.actor)

    def again(self, want: Wanted) -> Response:
        """The stored answer."""
        assert self.stored is not None
        media_type = media_type_of(want, self.stored.status)
        return Response(self.stored.body, self.stored.status, {"idempotent-replayed": "true"}, media_type=media_type)


async def begin(services: ApiServices, key: str | None, actor: str, digest: str) -> Repeat | None:
    """Begins a keyed request; None for one without a key. Raises `KeyReused` and `KeyInProgress` (409)."""
    if key is None:
        return None
    stored = await asyncio.to_thread(services.idempotency.begin, key, actor, digest, services.clock.now())
    return Repeat(key, actor, services, stored)


async def begin_disable(
    services: ApiServices, key: str | None, actor: str, digest: str, feature: str | None
) -> Repeat | None:
    """The same for a disable: None also when the key cannot be used, for whatever reason. Never raises."""
    if key is None:
        return None

    def look() -> Repeat | None:
        found = services.idempotency.begin(key, actor, digest, services.clock.now())
        if found is not None and not _still_stands(feature, found):
            return None
        return Repeat(key, actor, services, found)

    try:
        async with asyncio.timeout(LOOK_WITHIN):
            return await asyncio.to_thread(look)
    except (RollbackError, TimeoutError) as error:
        log.event("idempotency_passed_over", error=type(error).__name__)
    except Exception as error:  # whatever it is, an off goes on
        log.event("idempotency_passed_over", error=type(error).__name__)
    return None


def _still_stands(feature: str | None, stored: StoredAnswer) -> bool:
    """Whether the case that the answer tells of still holds the feature off, as far as the history knows."""
    from rollback.controller import Controller

    told = json.loads(stored.body)
    if stored.status >= 400 or not isinstance(told, Mapping) or not feature:
        return False
    with bootstrap.closing():
        incident = Controller(bootstrap.open_session(feature, None, None, lambda _: None)).incident
    if incident is None or incident.incident_id != told.get("incident"):
        return False
    return incident.settled_held == BUCKETS and told.get("kill") in incident.kills


def kept_beside(keep: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
    """Like `keep`, but waits for it only a moment: the caller wants to hear that it is off."""

    def keep_for_a_moment(status: int, body: bytes) -> None:
        import threading

        beside = threading.Thread(target=keep, args=(status, body), name="keep-answer", daemon=True)
        with suppress(RuntimeError):
            beside.start()
            beside.join(LOOK_WITHIN)

    return keep_for_a_moment


def body_of(body: Any) -> dict[str, Any]:
    """A request's body as plain values, defaults included: the same request in other words is the same request."""
    plain: dict[str, Any] = body.model_dump(mode="json")
    return plain
