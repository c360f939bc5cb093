"""One request over a connection of its own."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from tests.sandbox.transcripts import Answered

TIMEOUT_SECONDS = 10


def ask(url: str, method: str, path: str, document: Any = None, **headers: str) -> Answered:
    """Send a request and read its answer. Underscores in header names stand for dashes.

    Raises what `http.client` raises when no answer comes.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        body = None if document is None else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        raw = response.read().decode()
        given = {name.lower(): value for name, value in response.getheaders()}
        typed = given.get("content-type", "").startswith("application/json") and raw
        return Answered(response.status, given, json.loads(raw) if typed else raw)
    finally:
        connection.close()


def threshold(percentage: float, value: bool, description: str = "", **rest: Any) -> dict[str, Any]:
    """A threshold rollout of a declarative flag."""
    body = {"percentage": percentage, "value": value}
    return {"description": description, "threshold": body, **rest}


def boolean_flag(key: str = "sm", enabled: bool = True, **rest: Any) -> dict[str, Any]:
    """A boolean flag of a declarative document."""
    return {"key": key, "name": key.upper(), "type": "BOOLEAN_FLAG_TYPE", "enabled": enabled, **rest}


def seeded(*flags: dict[str, Any], segments: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A seed with these flags in the namespace `mhv`."""
    return {"namespaces": {"mhv": {"flags": list(flags), "segments": list(segments)}}}


VETERANS = {
    "key": "veterans",
    "name": "Veterans",
    "match_type": "ANY_MATCH_TYPE",
    "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}],
}
