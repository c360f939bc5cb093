"""What one sender may take: bytes, seconds, and turns at the same time. So nobody can keep the others out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollback.server.refusals import Refusal, Why, passing

MAX_BODY = 1024 * 1024
DISCARD_WITHIN = 1.0
"""Seconds in which what is too large may end by itself: a connection that is closed while somebody still sends is
reset, and the answer is lost with it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for each request, in seconds, bytes, and requests at the same time."""

    head_within: float = 10.0
    """For the head of a request, from the connection's opening or its first byte."""

    read_within: float = 10.0
    """For the body of a delivery. Senders give up sooner: PagerDuty after 5 s."""

    body_within: float = 20.0
    """For any body, after which the connection is cut. Longer than `read_within`, so that a delivery is answered."""

    kept_within: float = 4.0
    """For the disk, which usually takes milliseconds. PagerDuty gives up after 5 s, and sends again."""

    max_body: int = MAX_BODY
    """Of one body. PagerDuty drops its own above 256 KB; a large group of Alertmanager stays below 1 MB."""

    max_head: int = 32 * 1024
    """Of one request's address and headers together. Senders stay below 4 KB; proxies allow 8 to 32 KB."""

    max_turns: int = 256
    """Deliveries under way, of all sources."""

    max_turns_per_source: int = 128
    """The same of one source: a sender that runs wild, or somebody who holds turns open in its name, leaves room."""


class Turns:
    """Counts deliveries under way. For the event loop's thread alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Deliveries under way now."""
        return self._taken.total()

    @contextmanager
    def turn(self, source: str) -> Iterator[None]:
        """One delivery's turn; raises `Refusal` (503) when there are too many."""
        limits = self._limits
        if self._taken.total() >= limits.max_turns or self._taken[source] >= limits.max_turns_per_source:
            raise passing(Why.OVERLOADED)
        self._taken[source] += 1
        try:
            yield
        finally:
            self._taken[source] -= 1


async def expect_readable(request: Request, headers: Mapping[str, str], limits: Limits) -> None:
    """Raises `Refusal` for what must not even be begun: compressed, without length, too large by its own word.

    A compressed body is refused (415) rather than unpacked: a few bytes could become gigabytes, and no sender that is
    read here compresses. `headers` have lower-case names.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Why.ENCODED, {"Accept-Encoding": "identity"})
    if "transfer-encoding" in headers:
        return
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, Why.NO_LENGTH)
    if len(length) > 12 or int(length) > limits.max_body:
        if "expect" not in headers:  # somebody who asks before sending has not begun, and must not be told to
            await _discard_rest(request)
        raise _too_large()


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body, whatever length it claims. Raises `Refusal`: 413 when it is too large, 503 when it is slow."""
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(limits.read_within):
            while more and len(body) <= limits.max_body:
                chunk, more = await _next_chunk(request)
                body += chunk
    except TimeoutError:
        raise passing(Why.TOO_SLOW) from None
    except ClientDisconnect:
        raise Refusal(HTTPStatus.BAD_REQUEST, Why.BROKEN_OFF) from None
    if len(body) > limits.max_body:
        if more:
            await _discard_rest(request)
        raise _too_large()
    return bytes(body)


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _discard_rest(request: Request) -> None:
    """Throws away what still comes of a body that was refused, for a moment and at most once as much as is allowed."""
    size, more = 0, True
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_WITHIN):
            while more and size <= MAX_BODY:
                chunk, more = await _next_chunk(request)
                size += len(chunk)


def _too_large() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Why.TOO_LARGE, {"Connection": "close"})


class BodyLimit:
    """Ends requests to the rest of the server (not the receiver, which counts for itself) whose body is too large.

    Frameworks gather a whole body before they look at who sends it, so that anybody could fill the memory.
    """

    def __init__(self, app: ASGIApp, *, but: str) -> None:
        self._app = app
        self._but = but

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._but):
            await self._app(scope, receive, send)
            return
        size = 0
        has_begun = False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if _declared(scope) > MAX_BODY:
                raise _TooLarge
            await self._app(scope, counted, noted)
        except _TooLarge:
            if not has_begun:
                await _say_too_large(send)


class _TooLarge(BaseException):
    """Passes through handlers that catch every `Exception`."""


def _declared(scope: Scope) -> int:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return max((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), default=0)


async def _say_too_large(send: Send) -> None:
    body = b'{"status":"refused","why":"too_large"}'
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": int(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
