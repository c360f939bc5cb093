"""A TCP server that answers byte by byte as a test wants it: what no well-behaved HTTP server would do."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

Behaviour = Callable[["Visit"], None]


@dataclass(slots=True)
class Visit:
    """One request, and the connection that it came on. The behaviour sends what it likes, then the line is cut."""

    connection: socket.socket
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    stopping: threading.Event

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.connection.sendall(data)

    def answer(self, status: int, body: Any = b"", *, content_type: str = "application/json", **headers: str) -> None:
        """A whole answer; underscores in header names stand for dashes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(raw)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "connection: close", "", ""]).encode() + raw)

    def drip(self, data: bytes, every: float) -> None:
        """Sends one byte at a time until the other side hangs up."""
        for byte in data:
            if self.stopping.wait(every):
                return
            self.send(bytes([byte]))

    def hang(self) -> None:
        """Says nothing until the server stops."""
        self.stopping.wait(10)


@dataclass(slots=True)
class RawServer:
    """Listens on 127.0.0.1. `behaviour` is called for each request, in a thread of its own."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    visits: list[Visit] = field(default_factory=list)
    _socket: socket.socket = field(init=False)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)

    def __enter__(self) -> RawServer:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self.tls else 'http'}://localhost:{self._socket.getsockname()[1]}"

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        # A client that hangs up while we talk is what many tests are about.
        with contextlib.suppress(OSError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            visit = self._received(connection)
            if visit is not None:
                self.visits.append(visit)
                self.behaviour(visit)
        connection.close()

    def _received(self, connection: socket.socket) -> Visit | None:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return None
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        method, path, _ = first.split(" ")
        return Visit(connection, method, path, headers, body, self._stopping)
