"""A replica's view of a stand-in in another process."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

from rollback.sandbox.documents import read_state
from rollback.sandbox.model import State
from rollback.sandbox.store import poll_for_change
from rollback.sandbox.wire import Answer, Request

TIMEOUT_SECONDS = 5.0
KEPT_HEADERS = ("content-type", "etag", "www-authenticate")


class PrimaryError(Exception):
    """The primary did not answer at the start."""


class RemotePrimary:
    """Asks the primary at each read what it was `lag` seconds ago; keeps the last answer while it is away."""

    def __init__(self, url: str, lag: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._lag = lag
        self._lock = threading.Lock()
        self._state = State()
        self.api = "v2"
        try:
            document = self._ask()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PrimaryError(f"{url}: {error}") from error
        self.api = str(document["api"])
        self._take(document)

    def current(self) -> State:
        """What the primary held `lag` seconds ago."""
        with self._lock:
            try:
                document = self._ask()
            except (OSError, http.client.HTTPException, ValueError):
                return self._state
            self._take(document)
            return self._state

    def wait_for_change(self, version: int, timeout: float) -> State:
        """Asks again every 20 ms."""
        return poll_for_change(self.current, version, timeout, every=0.02)

    def forward(self, request: Request) -> Answer:
        """Let the primary carry out a write, and pass its answer on. OSError when it is away."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            passed = {
                name: value for name, value in request.headers.items() if name in ("authorization", "content-type")
            }
            connection.request(request.method, request.path, request.body, passed)
            answer = connection.getresponse()
            headers = {name: value for name in KEPT_HEADERS if (value := answer.getheader(name)) is not None}
            return Answer(answer.status, answer.read(), headers)
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _ask(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", f"/_sandbox/state?age={self._lag}")
            document = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if not isinstance(document, dict):
            raise ValueError("not a state")
        return document

    def _take(self, document: dict[str, Any]) -> None:
        """Read a state, unless it is the one that is known."""
        if document["version"] == self._state.version:
            return
        read = read_state(document, self.api)
        self._state = State(read.environments, int(document["version"]))
