"""A server that takes notices as Slack, Teams or a system of one's own does, and misbehaves in a given order."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from rollback.alert_ports import Notice
from rollback.sandbox.wire import Answer, Dropped, Request, WireServer, text_answer

SECRET = "T0SECRET/B0SECRET/aVerySecretPath"
PATH = f"/services/{SECRET}?sig=also-a-Secret1"

SLACK_OK = text_answer("ok", 200)
ACCEPTED = Answer(202)
HANG = "hang"
RESET = "reset"

Script = Answer | str


def a_notice(key: str = "k1", text: str = "Secure Messaging is off for all.", **fields: Any) -> Notice:
    """A notice that is told (urgency `tell`)."""
    given = {"feature": "secure-messaging", "incident": "sm-1", "urgency": "tell", **fields}
    return Notice(key=key, text=text, **given)


class People:
    """The server. `script` is how it answers one request after the other, then `then` for ever."""

    def __init__(self, then: Script = SLACK_OK, script: Iterable[Script] = ()) -> None:
        self.then = then
        self.script = list(script)
        self.requests: list[Request] = []
        self.arrived = threading.Semaphore(0)
        self._stopping = threading.Event()
        self._server = WireServer(self._answer, stopping=self._stopping)

    @property
    def url(self) -> str:
        """The webhook's address: path and query are the secret."""
        return self._server.url + PATH

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What was posted, in order."""
        return [json.loads(request.body) for request in self.requests]

    def wait(self, count: int = 1) -> None:
        """Until so many more requests have arrived."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=20), f"only {len(self.requests)} requests arrived"

    def stop(self) -> None:
        """Ends it; what hangs is let go without an answer."""
        self._server.stop()

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        says = self.script.pop(0) if self.script else self.then
        self.arrived.release()
        if says == HANG:
            self._stopping.wait(60)
            raise Dropped
        if isinstance(says, str):
            raise Dropped(reset=True)
        return says


@contextlib.contextmanager
def people(then: Script = SLACK_OK, script: Iterable[Script] = ()) -> Iterator[People]:
    """A server that is stopped afterwards."""
    server = People(then, script)
    try:
        yield server
    finally:
        server.stop()
