"""The stream of v2: the current snapshot at once, then one line for each change of content."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

from rollback.sandbox import FliptServer
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded, threshold
from tests.sandbox.transcripts import comparable, differences, transcript

STREAM = "/client/v2/environments/default/namespaces/t2/stream"
ROLLOUTS = [{"segment": {"key": "veterans", "value": True}}, threshold(50, True)]
FIELDS: dict[str, Any] = {"name": "SM", "type": "BOOLEAN_FLAG_TYPE", "rollouts": ROLLOUTS}


class Stream:
    """An open stream, read line by line."""

    def __init__(self, server: FliptServer, path: str = STREAM) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        self._connection.request("GET", path)
        self.response = self._connection.getresponse()

    def line(self) -> dict[str, Any]:
        """The next line; fails after 5 seconds."""
        document: dict[str, Any] = json.loads(self.response.readline())
        return document

    def close(self) -> None:
        """Leave."""
        self.response.close()
        self._connection.close()


def t2() -> dict[str, Any]:
    """The scenario of the transcript."""
    return {"namespaces": {"t2": {"flags": [{"key": "sm", "enabled": True, **FIELDS}], "segments": [VETERANS]}}}


def test_lines_are_those_of_a_real_flipt() -> None:
    recorded = transcript("v2", "stream").document["lines"]
    head, wanted = recorded[0], [json.loads(line) for line in recorded[1:]]
    with FliptServer("v2", seed=t2()) as server:
        stream = Stream(server)
        lines = [stream.line()]
        for enabled in (False, True):
            server.edit_flag("t2", "sm", enabled=enabled, **FIELDS)
            lines.append(stream.line())
        assert stream.response.status == head["status"]
        given = {name: stream.response.getheader(name) for name in head["headers"]}
        assert given == head["headers"]
        stream.close()
    for number, (one, other) in enumerate(zip(wanted, lines, strict=True)):
        assert not differences(comparable(one), comparable(other), f"line {number}")
    digests = [line["result"]["digest"] for line in lines]
    assert digests[0] == digests[2] != digests[1]


def test_an_edit_that_changes_nothing_for_the_namespace_sends_no_line() -> None:
    with FliptServer("v2", seed=t2()) as server:
        stream = Stream(server)
        stream.line()
        server.touch()
        server.edit_flag("elsewhere", "other", enabled=True)
        server.edit_flag("t2", "sm", enabled=False, **FIELDS)
        assert stream.line()["result"]["flags"][0]["enabled"] is False
        stream.close()


def test_a_client_that_has_the_current_digest_waits_for_the_next_change() -> None:
    with FliptServer("v2", seed=t2()) as server:
        digest = ask(server.url, "GET", STREAM.replace("stream", "snapshot")).headers["etag"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", f"{STREAM}?digest={digest}")
        server.edit_flag("t2", "sm", enabled=False, **FIELDS)
        line = json.loads(connection.getresponse().readline())
        assert line["result"]["flags"][0]["enabled"] is False
        connection.close()
        refused = ask(server.url, "GET", f"{STREAM}?digest=short")
        assert (refused.status, refused.body["code"]) == (400, 3)


def test_the_stream_ends_with_the_server() -> None:
    server = FliptServer("v2", seed=t2())
    stream = Stream(server)
    stream.line()
    started = time.monotonic()
    server.stop()
    try:
        rest = stream.response.readline()
    except (OSError, http.client.HTTPException):
        rest = b""
    assert rest == b""
    assert time.monotonic() - started < 2
    stream.close()


def test_v1_has_no_stream() -> None:
    with FliptServer("v1", seed=seeded(boolean_flag())) as server:
        answered = ask(server.url, "GET", "/client/v2/environments/default/namespaces/mhv/stream")
        assert (answered.status, answered.body) == (404, "404 page not found\n")
