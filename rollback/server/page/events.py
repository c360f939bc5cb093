"""The page's document as server-sent events (html.spec.whatwg.org, "server-sent events") and as one answer.

    event: state   {"at", "ages", "stale_after", "version", "document"}   at once, and after each change
    event: beat    {"at", "ages", "stale_after", "version"}               every other second: nothing is new
    event: ended   {"why"}                                                nobody is signed in any more; the last one

`at` is the server's time, `ages` how old the reading of each feature is, in seconds. A page that hears nothing, or old
things, says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from rollback.ports import Clock
from rollback.server.page import cards
from rollback.server.page.lookout import Lookout, Seen
from rollback.server.problems import Problem, Refused

MEDIA_TYPE = "text/event-stream"

BEAT_SECONDS = 2.0

VIEWERS_AT_ONCE = 100
"""Streams of all people together: the server has 1000 connections, and alerts need theirs."""

VIEWERS_PER_SESSION = 3
"""A browser has six connections to a server, for all its windows; a disable must find one. More windows poll."""

Still = Callable[[], Awaitable[str]]
"""Why the viewer is not told any more; empty while all is well."""


class Events:
    """The streams of one server. For the event loop's thread alone."""

    def __init__(self, lookout: Lookout, clock: Clock, is_stopping: Callable[[], bool]) -> None:
        self._lookout = lookout
        self._clock = clock
        self._is_stopping = is_stopping
        self._open: Counter[str] = Counter()

    def state(self) -> bytes:
        """The document now, with the time and the ages beside it."""
        return self._state(self._lookout.seen())

    def _state(self, seen: Seen) -> bytes:
        return self._head(seen.version)[:-1] + b',"document":' + seen.document + b"}"

    def expect_room(self, session: str) -> None:
        """Raises `Refused` (503) when there are too many streams."""
        if self._open.total() >= VIEWERS_AT_ONCE or self._open[session] >= VIEWERS_PER_SESSION:
            raise Refused(Problem("busy", "Too many windows are open; this one asks now and then instead.", 6))

    async def stream(self, session: str, still: Still) -> AsyncIterator[bytes]:
        """The events until the viewer goes, is not signed in any more, or the server ends."""
        self._open[session] += 1
        try:
            with self._lookout.viewing() as viewer:
                version = -1
                yield b"retry: 2000\n\n"
                while not self._is_stopping():
                    if why := await still():
                        yield _event("ended", json.dumps({"why": why}).encode("ascii"))
                        return
                    seen = self._lookout.seen()
                    if seen.version != version:
                        version = seen.version
                        yield _event("state", self._state(seen))
                    else:
                        yield _event("beat", self._head(version))
                    await self._pause(viewer.wait)
        finally:
            self._open[session] -= 1

    async def _pause(self, wait: Callable[[float], Awaitable[bool]]) -> None:
        """Until something is new, or a beat is due; looks up now and then whether the server ends."""
        waited = 0.0
        while waited < BEAT_SECONDS and not self._is_stopping():
            if await wait(0.5):
                return
            waited += 0.5

    def _head(self, version: int) -> bytes:
        head: dict[str, Any] = {
            "at": cards.iso(self._clock.now()),
            "ages": self._lookout.ages(),
            "stale_after": self._lookout.stale_after,
            "version": version,
        }
        return json.dumps(head, separators=(",", ":")).encode("ascii")


def _event(name: str, data: bytes) -> bytes:
    """One event; the data is JSON without line breaks."""
    return b"event: " + name.encode("ascii") + b"\ndata: " + data + b"\n\n"
