"""Takes alerts in: `POST /alerts/{source}`. Authentic, read, on the disk, answered; then somebody else acts on it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from rollback import log
from rollback.alert_ports import Delivery, Kept, Notice, Unkeepable
from rollback.core.alerts import Reading, ReadingKind
from rollback.errors import RollbackError
from rollback.redaction import redact
from rollback.server.limits import Turns, expect_readable, read_body
from rollback.server.refusals import (
    NO_SOURCE,
    RETRY_WHEN_MENDED_SECONDS,
    UNKEPT,
    UNREAD,
    Refusal,
    RefusalDesk,
    Why,
    passing,
)

if TYPE_CHECKING:
    from rollback.server.services import Services
    from rollback.server.sources import AlertSource

PATH = "/alerts/"

EXCERPT = 500
"""Characters that are kept, redacted, of what is no alert: enough to see who sends what."""

TROUBLE_LASTS_SECONDS = 60.0

CROWD = 8
"""Deliveries under way from which on an answer gives way to an off. A few are in nobody's way."""


class Receiver:
    """Receives deliveries. The order protects: each step sees only what the one before let through.

    Size and length by the headers, credentials that need no body, the body (bounded in bytes and seconds), the
    credentials over its raw bytes, the parser, the disk; only then 202. A redelivery is a 202 as well, and so is what
    is no alert or not understood: nothing of it would get better if it were sent again.

    What is on the disk is handed to the dispatcher by the very thread that wrote it, a moment before the answer: the
    sender may be gone by then, and a kill should not wait for an answer to be sent.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = RefusalDesk(services)
        self._turns = Turns(services.limits)
        self._trouble: tuple[float, str] | None = None

    async def receive(self, source: str, request: Request) -> JSONResponse:
        """See `router`."""
        began = time.perf_counter()
        known = self._services.sources.get(source)
        label = NO_SOURCE if known is None else known.name
        headers: dict[str, str] = {}
        try:
            status, document = HTTPStatus.ACCEPTED, await self._received(known, request)
        except Refusal as refusal:
            self._desk.refused(label, refusal.why)
            status, headers = refusal.status, refusal.headers
            document = {"status": "refused", "why": refusal.why.value}
            if refusal.why is Why.TOO_SLOW or "transfer-encoding" in request.headers:
                headers = {**headers, "Connection": "close"}  # nobody knows how much still comes, or when
        self._services.meters.answered(int(status), time.perf_counter() - began)
        return JSONResponse(document, int(status), headers)

    def trouble(self) -> str:
        """Why the inbox took nothing less than a minute ago; empty when it did, or was not asked since."""
        if self._trouble is None or self._services.clock.monotonic() - self._trouble[0] > TROUBLE_LASTS_SECONDS:
            return ""
        return self._trouble[1]

    async def _received(self, source: AlertSource | None, request: Request) -> dict[str, str]:
        if source is None:
            raise Refusal(HTTPStatus.NOT_FOUND, Why.UNKNOWN_SOURCE)
        with self._turns.turn(source.name):
            headers = _headers(request)
            body = await self._authentic_body(source, headers, request)
            reading = self._read(source, headers, body)
            kept = await self._keep(_delivery(source, reading, body, self._services), body)
            await self._give_way()
        return {"status": "duplicate"} if kept is None else {"status": "kept", "kind": kept.kind.value}

    async def _authentic_body(self, source: AlertSource, headers: Mapping[str, str], request: Request) -> bytes:
        """The body of a delivery that is its sender's. Raises `Refusal`.

        A source without a usable secret cannot tell its sender from a forger, so it takes nothing. It is a 503 and not
        a 401: the sender may be right and then tries on (PagerDuty for 48 hours), instead of dropping the alert and
        switching itself off; somebody who forges learns that there is nothing to try.
        """
        check = source.authenticity
        if check is None:
            raise passing(Why.CLOSED, RETRY_WHEN_MENDED_SECONDS)
        await expect_readable(request, headers, self._services.limits)
        if not check.signs_body:
            _expect(source, check.check(headers, b""))  # nobody without the secret can hold a turn with a slow body
        body = await read_body(request, self._services.limits)
        if check.signs_body:
            _expect(source, check.check(headers, body))
        return body

    def _read(self, source: AlertSource, headers: Mapping[str, str], body: bytes) -> Reading:
        try:
            return source.parser(source.name, headers, body)
        except Exception as error:  # parsers promise not to raise; one that does must not lose the delivery
            self._desk.fault(source.name, UNREAD, type(error).__name__)
            return _unknown(body, "Its parser failed; this is an error of this program.")

    async def _keep(self, delivery: Delivery, body: bytes) -> Kept | None:
        try:
            return await self._put(delivery)
        except Unkeepable as error:
            # Sent again it would fail again, and hold up what is queued behind it: kept as what can be kept.
            self._desk.fault(delivery.source, UNKEPT, type(error).__name__)
            reading = _unknown(body, "It could not be kept as what it is; this is an error of this program.")
            return await self._last_resort(replace(delivery, key=reading.key, **_emptied(reading, body)))
        except RollbackError as error:
            raise self._unkept(error) from error

    async def _last_resort(self, delivery: Delivery) -> Kept | None:
        try:
            return await self._put(delivery)
        except RollbackError as error:
            raise self._unkept(error) from error

    async def _put(self, delivery: Delivery) -> Kept | None:
        """Waits until the delivery is durable. What was handed in is kept, and worked on, also when nobody waits."""
        future = self._services.keeper.submit(delivery)
        future.add_done_callback(self._hand_over)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_seen)
        within = self._services.limits.kept_within
        done, _ = await asyncio.wait({waiting}, timeout=within)
        if not done:
            self._trouble = (self._services.clock.monotonic(), f"nothing was written within {within:g} s")
            raise passing(Why.INBOX, RETRY_WHEN_MENDED_SECONDS)
        kept = waiting.result()
        self._trouble = None
        if kept is None:
            self._services.meters.duplicate(delivery.source)
        return kept

    async def _give_way(self) -> None:
        """In a storm, whoever is answered sends the next one at once: while a flag is turned off, they wait a moment.

        Nothing waits before it is kept and handed over, so a second alert that turns something off is not held up.
        """
        if self._turns.taken > CROWD:
            free, seconds = self._services.way.free()
            if seconds:
                await asyncio.wait({asyncio.wrap_future(free)}, timeout=seconds)

    def _unkept(self, error: RollbackError) -> Refusal:
        if error.code == "overloaded":
            return passing(Why.OVERLOADED)
        log.event("inbox_unusable", why=error.message)
        self._trouble = (self._services.clock.monotonic(), error.message)
        return passing(Why.INBOX, RETRY_WHEN_MENDED_SECONDS)

    def _hand_over(self, future: Future[Kept | None]) -> None:
        """Runs in the thread that wrote it, right after the commit."""
        if future.cancelled() or future.exception() is not None:
            return
        kept = future.result()
        if kept is None:
            return
        self._services.meters.delivered(kept.source, kept.kind.value)
        try:
            self._services.dispatcher.accept(kept)
        except Exception as error:  # it is in the inbox, where the next start finds it
            log.event("hand_over_failed", delivery=kept.number, error=type(error).__name__)
            text = f"Delivery {kept.number} from {kept.source} is kept, and nobody works on it. Restart the server."
            self._services.notices.tell(Notice(f"hand-over:{kept.number}", None, None, "call", text, "responder"))


def _seen(waiting: asyncio.Future[Kept | None]) -> None:
    """Takes note of an error that comes when nobody waits any more, so that it is not reported as forgotten."""
    if not waiting.cancelled():
        waiting.exception()


def _expect(source: AlertSource, why_not: str | None) -> None:
    if why_not is None:
        return
    headers = {"WWW-Authenticate": source.challenge} if source.challenge else {}
    raise Refusal(HTTPStatus.UNAUTHORIZED, _CREDENTIALS.get(why_not, Why.WRONG_CREDENTIALS), headers)


_CREDENTIALS = {why.value: why for why in (Why.NO_CREDENTIALS, Why.MALFORMED_CREDENTIALS, Why.WRONG_CREDENTIALS)}


def _headers(request: Request) -> dict[str, str]:
    """Lower-case names; one that comes several times is a list (RFC 9110, 5.3): two secrets are none."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _delivery(source: AlertSource, reading: Reading, body: bytes, services: Services) -> Delivery:
    return Delivery(
        source=source.name,
        key=reading.key,
        received_at=services.clock.now(),
        kind=reading.kind,
        alerts=reading.alerts,
        why=reading.why,
        excerpt="" if reading.kind is ReadingKind.ALERTS else _excerpt(body),
    )


def _unknown(body: bytes, why: str) -> Reading:
    return Reading(ReadingKind.UNKNOWN, f"body:{hashlib.sha256(body).hexdigest()}", why=why)


def _emptied(reading: Reading, body: bytes) -> dict[str, Any]:
    return {"kind": reading.kind, "alerts": (), "why": reading.why, "excerpt": _excerpt(body)}


def _excerpt(body: bytes) -> str:
    return redact(body[: 8 * EXCERPT].decode("utf-8", "replace"), EXCERPT)


_REFUSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "status": {"const": "refused"},
        "why": {"enum": [why.value for why in Why]},
    },
    "required": ["status", "why"],
    "additionalProperties": False,
}
_KEPT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "status": {"enum": ["kept", "duplicate"]},
        "kind": {"enum": [kind.value for kind in ReadingKind]},
    },
    "required": ["status"],
    "additionalProperties": False,
}


def _documented(description: str, schema: dict[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    told = {name: {"description": words, "schema": {"type": "string"}} for name, words in (headers or {}).items()}
    return {"description": description, "content": {"application/json": {"schema": schema}}, "headers": told}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: _documented("Kept on the disk, or known already. Nothing needs to be sent again, whatever it was.", _KEPT),
    401: _documented(
        "No credentials, or wrong ones.", _REFUSED, {"WWW-Authenticate": "The way in, where HTTP has a name for it."}
    ),
    404: _documented("There is no source of this name.", _REFUSED),
    411: _documented("The body's length is not given.", _REFUSED),
    413: _documented("The body is larger than 1 MiB.", _REFUSED),
    415: _documented("The body is compressed.", _REFUSED),
    503: _documented(
        "Not kept: too much at once, a body that comes too slowly, an inbox that cannot be written, or a source whose "
        "secret is not set. Send it again.",
        _REFUSED,
        {"Retry-After": "Seconds to wait."},
    ),
}

_DESCRIPTION = """\
Takes one delivery of a configured source. The body is whatever that kind of sender sends; its credentials are those
that the source's `authentication` names: a secret header, Basic, Bearer, or PagerDuty's signature over the body.
Answered as soon as it is on the disk; what it leads to is seen in the record."""


def router(receiver: Receiver) -> APIRouter:
    """`POST /alerts/{source}`, with every answer documented."""
    routes = APIRouter(tags=["alerts"])
    routes.add_api_route(
        PATH + "{source}",
        receiver.receive,
        methods=["POST"],
        status_code=202,
        response_class=JSONResponse,
        response_model=None,
        summary="Deliver an alert",
        description=_DESCRIPTION,
        operation_id="deliver_alert",
        responses=_RESPONSES,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
    )
    return routes
