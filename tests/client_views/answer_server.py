"""A web server on 127.0.0.1 that answers whatever a test says, also nonsense, in pieces, or not at all."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.requires import require_program


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An answer; a `body` of several pieces is sent piece by piece, and then the connection is closed."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    hang: bool = False


Answering = Callable[[Asked], Reply]


def json_reply(document: Any, status: int = 200) -> Reply:
    """An answer with a JSON document."""
    return Reply(status, json.dumps(document).encode())


class AnswerServer:
    """Listens from the constructor to `stop()`. `answer` may be replaced at any time.

    `hanging` is set once a request is left without an answer, `left` once its client has gone.
    """

    def __init__(self, answer: Answering, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.hanging = threading.Event()
        self.left = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
            self.url = self.url.replace("http:", "https:")
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> AnswerServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes the port."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: AnswerServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""

    def _answer(self) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
        owner.asked.append(asked)
        reply = owner.answer(asked)
        if reply.hang:
            owner.hanging.set()
            self.connection.recv(1)
            owner.left.set()
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("content-type", "application/json")
        if isinstance(reply.body, bytes):
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("connection", "close")
        self.end_headers()
        for piece in reply.body:
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True


def hang(_: Asked) -> Reply:
    """Never answers."""
    return Reply(hang=True)


def make_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate authority's file, and a server context for 127.0.0.1 that it has signed."""
    openssl = require_program("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = {"ca": "/CN=test authority", "leaf": "/CN=127.0.0.1"}
    files = {name: (folder / f"{name}.pem", folder / f"{name}.key") for name in names}

    def make(name: str, *options: str) -> None:
        pem, private = files[name]
        written = ["-keyout", str(private), "-out", str(pem)]
        command = [openssl, "req", "-x509", *key, "-subj", names[name], *written, *options]
        subprocess.run(command, check=True, capture_output=True)

    make("ca", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    ca, ca_key = files["ca"]
    signed = ["-CA", str(ca), "-CAkey", str(ca_key), "-addext", "subjectAltName=IP:127.0.0.1"]
    make("leaf", *signed, "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files["leaf"])
    return ca, context
