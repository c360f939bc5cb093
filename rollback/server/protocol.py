"""HTTP on one connection, within limits: nobody holds it open by sending slowly, and a long head fills no memory.

uvicorn itself waits for ever for a head that is begun, and for a body; it counts no bytes of a head.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rollback.server.limits import Limits


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a time and a size for each request, and with answers for who stops sending first.

    A sender that closes its half of the connection after a complete request still gets its answer (RFC 9112, 9.6):
    without it, it would send the same again for days.
    """

    limits = Limits()
    _timer: asyncio.TimerHandle | None = None
    _awaits_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is open: its first head is due."""
        super().connection_made(transport)
        self._start(self.limits.head_within)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The next bytes."""
        if self._awaits_head:
            self._head_bytes += len(data)
            if self._timer is None:  # the first bytes on a connection that was kept
                self._start(self.limits.head_within)
        super().data_received(data)
        if self._awaits_head and self._head_bytes > self.limits.max_head and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or of its trailers."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there, its body is due."""
        self._awaits_head = False
        self._head_bytes = 0
        self._start(self.limits.body_within)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._awaits_head = True
        self._cancel()
        super().on_message_complete()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The other side sends nothing more. True keeps our half open for the answers that are under way."""
        self._cancel()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return None
        cycle.keep_alive = False
        return True

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > 2 * self.limits.max_head:  # twice: they were counted as they came in, too
            raise ValueError("the head of the request is too long")

    def _start(self, seconds: float) -> None:
        self._cancel()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol with these limits: uvicorn takes a class and makes one of it for each connection."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits})
