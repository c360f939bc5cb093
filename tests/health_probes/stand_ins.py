"""Servers that misbehave in one way each, a clock that stands still, and short ways to write a policy."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.core.policy import Health
from rollback.ports import Measurement
from rollback.sandbox.wire import Answer, Request, WireServer
from tests.requires import require_program

FOLDERS = "/my_health/v1/messaging/folders"
CONTROL = "/control"


class StillClock:
    """Moves only when it is told to, or when somebody sleeps on it."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 3, 12, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds


def health(*endpoints: dict[str, Any], control: str | dict[str, Any] | None = None) -> Health:
    """A health section. `control` may be an address alone."""
    if isinstance(control, str):
        control = {"name": "control", "url": control, "timeout": "2s"}
    return Health.model_validate({"endpoints": list(endpoints), "control": control})


def endpoint(url: str | None, name: str = "folders", **fields: Any) -> dict[str, Any]:
    """An endpoint as a policy file has it; the timeout is short."""
    return {"name": name, "url": url, "timeout": "2s", **fields}


@contextlib.contextmanager
def probing(checks: Health, *, clock: StillClock | None = None, **options: Any) -> Iterator[HttpHealthProbe]:
    """A probe that is closed afterwards."""
    probe = HttpHealthProbe(checks, clock=clock or StillClock(), **options)
    try:
        yield probe
    finally:
        probe.close()


def measured(checks: Health, **options: Any) -> Measurement:
    """The only measurement of one round of a new probe."""
    with probing(checks, **options) as probe:
        (measurement,) = probe.measure()
        return measurement


@contextlib.contextmanager
def answering(handler: Callable[[Request], Answer]) -> Iterator[str]:
    """A server that answers with what `handler` returns; gives its address."""
    server = WireServer(handler)
    try:
        yield server.url
    finally:
        server.stop()


@contextlib.contextmanager
def talking(conversation: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that reads a request's head and then says what `conversation` says, byte by byte; gives its address.

    The event is set when the server should stop.
    """
    listener, stopping = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.recv(65536)
            conversation(sock, stopping)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def refusing_url() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Fine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextlib.contextmanager
def serving_tls(certificate: Path) -> Iterator[str]:
    """A healthy https server that shows `certificate` (a PEM file with its key); gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fine)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def make_certificate(folder: Path, *, address: str = "127.0.0.1", days: int = 2) -> Path:
    """A certificate for `address` that vouches for itself, with its key in the same file."""
    certificate, key = folder / f"{address}.crt", folder / f"{address}.key"
    command = [require_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", str(days), "-subj", "/CN=stand-in", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate
