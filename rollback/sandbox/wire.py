"""A small HTTP/1.1 server: keep-alive, one write per answer, and ways to misbehave on purpose.

The standard library's `http.server` cannot reset a connection or leave an answer out, and writes head and
body apart; this one does what a stand-in needs. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_LINE = 65536
MAX_HEADERS = 200
MAX_BODY = 32 * 1024 * 1024


class BadRequest(Exception):
    """What came in is not HTTP that this server understands."""


class Dropped(Exception):
    """Raised by a handler to end the connection without an answer.

    `reset`: True sends a TCP reset, so that the client sees "connection reset by peer"; False closes in
    order, so that it sees an end of stream.
    """

    def __init__(self, reset: bool = False) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


@dataclass(slots=True)
class Request:
    """One request. `path` is decoded and without the query; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """One answer. With `lines`, the body is sent in chunks, one per item, and `body` is not used."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lines: Iterator[bytes] | None = None


Handler = Callable[[Request], Answer]


def json_bytes(document: Any) -> bytes:
    """`document` as compact JSON, UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def json_answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON body. Underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json_bytes(document), {"content-type": "application/json", **named})


def text_answer(text: str, status: int) -> Answer:
    """An answer in plain text."""
    return Answer(status, text.encode(), {"content-type": "text/plain; charset=utf-8"})


class WireServer:
    """Accepts connections on 127.0.0.1 and asks `handler` for each answer; one thread per connection.

    `stopping` is set when it stops, so that handlers can wait on it.

    The port is bound and listening once the constructor returns: nobody need wait for it.
    """

    def __init__(self, handler: Handler, port: int = 0, stopping: threading.Event | None = None) -> None:
        self._handler = handler
        self.stopping = stopping or threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"wire-{self.port}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Close the port and every connection; handlers that wait on `stopping` wake up. Idempotent."""
        self.stopping.set()
        for sock in (self._listener, *self._connections()):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)

    def _connections(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock.makefile("rb") as stream:
                while not self.stopping.is_set() and self._answer_one(sock, stream):
                    pass
        except Dropped as dropped:
            if dropped.reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, BadRequest):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _answer_one(self, sock: socket.socket, stream: BinaryIO) -> bool:
        """Read one request and answer it. False when the connection should end."""
        request = read_request(stream, sock)
        if request is None:
            return False
        answer = self._handler(request)
        if answer.lines is not None:
            send_lines(sock, answer)
            return False
        sock.sendall(head_of(answer) + (b"" if request.method == "HEAD" else answer.body))
        return request.headers.get("connection", "").lower() != "close"


def read_request(stream: BinaryIO, sock: socket.socket) -> Request | None:
    """The next request of a connection, or None when the client has gone. BadRequest on nonsense."""
    line = stream.readline(MAX_LINE)
    if not line:
        return None
    try:
        method, target, _ = line.decode("latin-1").split()
    except ValueError as error:
        raise BadRequest(f"request line {line[:80]!r}") from error
    headers = read_headers(stream)
    if headers.get("expect", "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts = urlsplit(target)
    return Request(
        method=method,
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers=headers,
        body=read_body(stream, headers),
    )


def read_headers(stream: BinaryIO) -> dict[str, str]:
    """Header lines up to the empty one; names in lower case, the last of two with one name wins."""
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = stream.readline(MAX_LINE)
        if line in (b"\r\n", b"\n", b""):
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise BadRequest("too many headers")


def read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    """The body, by its length or in chunks. BadRequest when the length makes no sense."""
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(read_chunks(stream))
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise BadRequest("length of the body") from error
    if not 0 <= length <= MAX_BODY:
        raise BadRequest(f"a body of {length} bytes")
    body = stream.read(length)
    if len(body) < length:
        raise BadRequest("the body ended early")
    return body


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The chunks of a chunked body; trailers are read and dropped."""
    while size := int(stream.readline(MAX_LINE).split(b";")[0], 16):
        yield stream.read(size)
        stream.readline(MAX_LINE)
    read_headers(stream)


def head_of(answer: Answer) -> bytes:
    """Status line and headers. A 304 carries no length, since it has no body by definition."""
    headers = dict(answer.headers)
    if answer.lines is not None:
        headers["transfer-encoding"] = "chunked"
    elif answer.status != HTTPStatus.NOT_MODIFIED:
        headers["content-length"] = str(len(answer.body))
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def send_lines(sock: socket.socket, answer: Answer) -> None:
    """Send a chunked answer; its head goes out with the first chunk, as Go's HTTP server does it."""
    assert answer.lines is not None
    head = head_of(answer)
    for line in answer.lines:
        if line:
            sock.sendall(head + f"{len(line):x}\r\n".encode() + line + b"\r\n")
            head = b""
        elif gone(sock):
            return
    sock.sendall(head + b"0\r\n\r\n")


def gone(sock: socket.socket) -> bool:
    """Has the other side closed? Looks, and waits for nothing."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
