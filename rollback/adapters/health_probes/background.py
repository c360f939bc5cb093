"""An event loop in a thread of its own, so that a round can be bounded from outside whatever happens in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLOSE_WITHIN = 2.0
"""Seconds that closing may take; a thread that hangs longer is left behind (it does not hold up the process's end)."""


class Closed(Exception):
    """It was closed; nothing runs any more."""


class BackgroundLoop:
    """Runs coroutines for callers in other threads, several at a time. Its thread starts with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, within: float) -> T:
        """The result of `work()`. Raises `Closed`, TimeoutError after `within` seconds, and what `work` raises."""
        with self._lock:
            if self._closed:
                raise Closed
            loop = self._loop or self._started()
            future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return future.result(within)
        except TimeoutError:
            future.cancel()
            raise
        except concurrent.futures.CancelledError:
            raise Closed from None

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Cancels what runs, then does `last` and ends the thread. Idempotent; never raises."""
        with self._lock:
            already, self._closed = self._closed, True
            loop, thread = self._loop, self._thread
        if already or loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_wind_down(loop, last), loop)
        thread.join(CLOSE_WITHIN)

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = _Loop()
        thread = threading.Thread(target=_run, args=(loop,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left to give
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _wind_down(loop: asyncio.AbstractEventLoop, last: Callable[[], Awaitable[None]]) -> None:
    try:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), CLOSE_WITHIN / 2)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(last(), CLOSE_WITHIN / 2)
    finally:
        loop.stop()


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose name lookups nobody waits for.

    asyncio asks the resolver in threads that Python joins when the process ends, so a name server that hangs would
    hold up the end of a command.
    """

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that asyncio gives it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        found: asyncio.Future[Any] = self.create_future()

        def tell(result: Any, error: Exception | None) -> None:
            if found.done():
                return
            if error is None:
                found.set_result(result)
            else:
                found.set_exception(error)

        def look_up() -> None:
            result, error = None, None
            try:
                result = socket.getaddrinfo(host, port, family, type, proto, flags)
            except Exception as failure:
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                self.call_soon_threadsafe(tell, result, error)

        threading.Thread(target=look_up, name="health-probe-lookup", daemon=True).start()
        return await found
