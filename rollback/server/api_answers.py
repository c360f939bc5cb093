"""How a command becomes an answer: its document, its events as they happen, or the problem that it ended in."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from rollback.server import streams
from rollback.server.problems import MEDIA_TYPE, Problem, Refused
from rollback.server.streams import Event, Subscription, is_last, line_of, plain
from rollback.server.work import Doing, Ending, Work, told

if TYPE_CHECKING:
    from rollback.server.api_services import ApiServices

READERS = 4
"""Commands that only read, at the same time: each starts an engine, and none may take the processor from a kill."""

READERS_WAIT = 20.0
"""Seconds that one waits for its turn."""

STORED_EVENTS = 256 * 1024
"""Bytes of a stream that are kept for whoever sends the same request again; of a longer one, the end."""

STOPPING = Problem(
    "server_stopping",
    "The server is about to end. What was begun may be done or not: nobody here waits for it any more.",
    5,
    "Look: rollback status FEATURE",
)

Keep = Callable[[int, bytes], None]
"""Keeps an answer (its status and body) for whoever sends the same request again. Called in the command's thread."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the caller wants to be told. `is_stream`: events as they happen, else one document."""

    is_stream: bool
    as_json: bool = True
    is_terminal: bool = False
    columns: int | None = None

    @property
    def words(self) -> str:
        """For telling two requests apart."""
        return f"{self.is_stream} {self.as_json} {self.is_terminal} {self.columns}"


def wanted(
    request: Request,
    output: Annotated[
        Literal["text", "json"], Query(description="Of a stream: what the command writes, lines or one document.")
    ] = "text",
    terminal: Annotated[bool, Query(description="Of a stream: whether somebody looks at live lines.")] = False,
    columns: Annotated[int | None, Query(ge=20, le=500, description="Of a stream: how wide tables may be.")] = None,
) -> Wanted:
    """A dependency: from the Accept header and the query."""
    if streams.MEDIA_TYPE not in request.headers.get("accept", ""):
        return Wanted(is_stream=False)
    return Wanted(True, output == "json", terminal, columns)


Want = Annotated[Wanted, Depends(wanted)]


def digest_of(request: Request, want: Wanted, body: Mapping[str, Any]) -> str:
    """A hash of all that makes the request, for telling it from another with the same idempotency key."""
    parts = (request.method, request.url.path, want.words, json.dumps(body, sort_keys=True, default=str))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def media_type_of(want: Wanted, status: int) -> str:
    """Of a stored answer, which is kept without it."""
    if status >= 400:
        return MEDIA_TYPE
    return streams.MEDIA_TYPE if want.is_stream else "application/json"


def json_answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as it would be printed."""
    body = json.dumps(document, default=plain, ensure_ascii=True).encode("ascii")
    return Response(body, status, headers, media_type="application/json")


def answer_of(work: Work, ending: Ending) -> Response:
    """The answer to a command that has ended. 202: it is done, but not everything is proven (`exit` 5)."""
    answer = told(work, ending)
    if isinstance(answer, Problem):
        return answer.response()
    return json_answer(answer, 202 if ending.exit_code == 5 else 200)


class Answers:
    """Runs commands for callers. A caller who goes away stops nothing that was begun."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._readers = asyncio.Semaphore(READERS)

    @asynccontextmanager
    async def a_turn_to_read(self) -> AsyncIterator[None]:
        """A turn for a command that only reads. Raises `Refused` (503) when there is none for long."""
        try:
            async with asyncio.timeout(READERS_WAIT):
                await self._readers.acquire()
        except TimeoutError:
            raise Refused(Problem("busy", "Too many others are reading at this moment.", 6)) from None
        try:
            yield
        finally:
            self._readers.release()

    async def read(self, name: str, doing: Doing, want: Wanted) -> Response:
        """The answer of a command that only reads."""
        work = self.work(name, doing, want)
        if want.is_stream:
            return self.stream(work, self.a_turn_to_read)
        async with self.a_turn_to_read():
            work.start()
            return answer_of(work, await self.ending(work))

    async def change(self, name: str, doing: Doing, want: Wanted, keep: Keep | None = None) -> Response:
        """The answer of a command that changes something. It waits for no other."""
        work = self.work(name, doing, want)
        if keep is not None:
            self.keep(work, want, keep)
        if want.is_stream:
            return self.stream(work)
        work.start()
        return answer_of(work, await self.ending(work))

    def work(self, name: str, doing: Doing, want: Wanted) -> Work:
        """The command, not begun."""
        return Work(name, doing, as_json=want.as_json, is_terminal=want.is_terminal, columns=want.columns)

    async def ending(self, work: Work) -> Ending:
        """Waits for the end. Raises `Refused` (503) when the server is told to end before."""
        future = asyncio.wrap_future(work.ending)
        while True:
            done, _ = await asyncio.wait({future}, timeout=0.5)
            if done:
                return future.result()
            if self._services.stopping.is_set():
                raise Refused(STOPPING)

    def stream(self, work: Work, turn: Callable[[], AbstractAsyncContextManager[None]] | None = None) -> Response:
        """Begins it, and gives its events as they happen; with `turn`, once it has that."""
        events = Subscription()
        work.listen(events)
        if turn is None:
            work.start()
            return self.streamed(events, self._services.stopping.is_set)

        async def lines() -> AsyncIterator[bytes]:
            try:
                async with turn():
                    work.start()
                    async for line in events.lines(self._services.stopping.is_set, {"problem": STOPPING.document()}):
                        yield line
            except Refused as refused:  # the status is sent already
                yield line_of({"problem": refused.problem.document()})

        return _streaming(lines())

    def streamed(self, events: Subscription, is_stopping: Callable[[], bool]) -> Response:
        """The events of what runs already."""
        return _streaming(events.lines(is_stopping, {"problem": STOPPING.document()}))

    def keep(self, work: Work, want: Wanted, keep: Keep) -> None:
        """Has the answer kept, before anybody hears that it is complete."""
        if not want.is_stream:

            def at_end(ending: Ending) -> None:
                response = answer_of(work, ending)
                keep(response.status_code, bytes(response.body))

            work.on_end(at_end)
            return
        lines: list[bytes] = []

        def collect(event: Event) -> None:
            if "live" not in event and not is_last(event):
                lines.append(line_of(event))

        def end(ending: Ending) -> None:
            kept, size = [line_of(ending.last_event)], 0
            for line in reversed(lines):
                size += len(line)
                if size > STORED_EVENTS:
                    break
                kept.append(line)
            keep(200, b"".join(reversed(kept)))

        work.listen(collect)
        work.on_end(end)


def _streaming(lines: AsyncIterator[bytes]) -> Response:
    # X-Accel-Buffering: proxies such as nginx gather an answer otherwise, and nobody sees it happen.
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines, headers=headers, media_type=streams.MEDIA_TYPE)
