"""A command's output as events, and events as `application/x-ndjson`, one JSON object a line, flushed at once.

The events, in the order in which they happen:

    {"beat": n}                                     nothing to tell; every few seconds, the first one at once
    {"line": text, "fg": colour|null, "bold": bool} a line for people
    {"warn": text}                                  a warning; the same one may come again
    {"live": text}, {"settle": true}                a line that the next one replaces; its end
    {"waiting": seconds, "why": text}               the flag store does not answer; so much longer is tried
    {"raw": text}                                   text that is the answer itself (a table, an export)
    {"document": {…}}                               the command's one JSON document
    {"exit": n}                                     the last event: it ended with this exit code
    {"problem": {…}}                                or the last event: it failed

A reader that knows an event not leaves it out. `rollback.cli.remote` replays them on a terminal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

Event = Mapping[str, Any]
Tell = Callable[[Event], None]

MEDIA_TYPE = "application/x-ndjson"

BEAT_EVERY = 2.0
"""Seconds. A reader that hears nothing for several beats knows that the server, and not the flag store, is gone."""

LIVE_WAITING = 50
"""Live lines are dropped while a slow reader is this many events behind: they are worth nothing when they are late."""


class EventOutput:
    """`rollback.output.Output` that turns everything into events for `tell`, which is called in the command's thread.

    `as_json` makes the command give its document; lines are events in both modes.
    """

    def __init__(self, tell: Tell, *, as_json: bool, is_terminal: bool = False, columns: int | None = None) -> None:
        self.as_json = as_json
        self.is_terminal = is_terminal
        self.columns = columns
        self._tell = tell

    def line(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:
        """A line for people."""
        self._tell({"line": text, "fg": fg, "bold": bold})

    def warn(self, text: str) -> None:
        """A warning."""
        self._tell({"warn": text})

    def live(self, text: str) -> None:
        """A line that the next one replaces; where nobody looks at one it is none."""
        if self.is_terminal:
            self._tell({"live": text})

    def settle(self) -> None:
        """Ends a live line."""
        if self.is_terminal:
            self._tell({"settle": True})

    def waiting(self, left: float, error: Exception) -> None:
        """The flag store does not answer."""
        self._tell({"waiting": left, "why": str(getattr(error, "message", error))})

    def document(self, document: Mapping[str, Any]) -> None:
        """The one document."""
        self._tell({"document": dict(document)})

    def raw(self, text: str) -> None:
        """Text that is the answer itself."""
        self._tell({"raw": text})


class Subscription:
    """One reader of events that come from another thread, for this event loop. It never holds up who tells."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._is_over = False

    def __call__(self, event: Event) -> None:
        """Takes an event, from any thread; nothing once the reader is gone."""
        if self._is_over or ("live" in event and self._queue.qsize() > LIVE_WAITING):
            return
        with suppress(RuntimeError):  # the loop is closed: so is the reader
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    def end(self) -> None:
        """From now on everything is dropped."""
        self._is_over = True

    async def lines(self, is_stopping: Callable[[], bool], stopped: Event) -> AsyncIterator[bytes]:
        """The lines until the last event, with a beat now and then.

        Once `is_stopping`, `stopped` is the last one: the server does not wait for readers.
        """
        beats = 0
        yield line_of({"beat": beats})
        try:
            while True:
                try:
                    async with asyncio.timeout(BEAT_EVERY):
                        event = await self._queue.get()
                except TimeoutError:
                    beats += 1
                    event = stopped if is_stopping() else {"beat": beats}
                yield line_of(event)
                if is_last(event):
                    return
        finally:
            self.end()


def is_last(event: Event) -> bool:
    """Whether nothing follows."""
    return "exit" in event or "problem" in event


def line_of(event: Event) -> bytes:
    """One line of the stream. Times become ISO 8601 in UTC, what JSON does not know becomes text."""
    return json.dumps(event, default=plain, separators=(",", ":")).encode("ascii") + b"\n"


def plain(value: object) -> object:
    """For `json.dumps`: as `--json` writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
