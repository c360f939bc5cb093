"""Reading the transcripts, sending their steps, and comparing answers with what a real Flipt answered."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "flipt_transcripts"

# The fields that differ from run to run, by the transcripts' README.
RUN_FIELDS = frozenset({
    "revision", "digest", "etag", "id", "variantId", "ruleId", "rolloutIds", "createdAt", "updatedAt",
    "requestId", "requestDurationMillis", "timestamp",
})  # fmt: skip
REVISION = re.compile(r"\b[0-9a-f]{40}\b")
RUN = "<differs from run to run>"


@dataclass(frozen=True, slots=True)
class Transcript:
    """One scenario, by the version and name of its file."""

    api: str
    name: str
    document: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Requests and what was answered; empty for the stream."""
        return list(self.document.get("steps", []))


def all_transcripts() -> Iterator[Transcript]:
    """Every file of the folder."""
    for path in sorted(FOLDER.glob("v*/*.json")):
        yield Transcript(path.parent.name, path.stem, json.loads(path.read_text(encoding="utf-8")))


def transcript(api: str, name: str) -> Transcript:
    """One of them."""
    return next(one for one in all_transcripts() if (one.api, one.name) == (api, name))


@dataclass(slots=True)
class Answered:
    """An answer, with the headers that transcripts record."""

    status: int
    headers: dict[str, str]
    body: Any


class Caller:
    """Sends the steps of a transcript over one connection and keeps what they save."""

    def __init__(self, port: int, saved: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.saved: dict[str, Any] = dict(saved or {})

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def send(self, step: Mapping[str, Any]) -> Answered:
        """Send a step's request, with saved values put in, and save what it tells to."""
        request = self.filled(step["request"])
        headers = dict(request.get("headers", {}))
        body = None
        if "json" in request:
            body = json.dumps(request["json"]).encode()
            headers["content-type"] = "application/json"
        self._connection.request(request["method"], request["path"], body, headers)
        response = self._connection.getresponse()
        raw = response.read().decode()
        given = {name.lower(): value for name, value in response.getheaders()}
        typed = given.get("content-type", "").startswith("application/json")
        answered = Answered(response.status, given, json.loads(raw) if typed else raw)
        for name, where in step.get("save", {}).items():
            self.saved[name] = self._found(answered, where)
        return answered

    def filled(self, value: Any) -> Any:
        """`value` with each `${name}` replaced by what was saved."""
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: str(self.saved[found[1]]), value)
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {name: self.filled(item) for name, item in value.items()}
        return value

    @staticmethod
    def _found(answered: Answered, where: str) -> Any:
        if where.startswith("header:"):
            return answered.headers[where.removeprefix("header:")]
        value = answered.body
        for part in where.split("."):
            value = value[part]
        return value


def comparable(value: Any) -> Any:
    """`value` with everything that differs from run to run made equal. An empty id stays empty."""
    if isinstance(value, dict):
        return {
            name: (RUN if item else item) if name in RUN_FIELDS else comparable(item) for name, item in value.items()
        }
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return REVISION.sub(RUN, value) if isinstance(value, str) else value


def differences(wanted: Any, given: Any, where: str = "body") -> list[str]:
    """Where two documents differ, a line for each place."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return [
            line
            for name in sorted({*wanted, *given})
            for line in differences(wanted.get(name, "<absent>"), given.get(name, "<absent>"), f"{where}.{name}")
        ]
    if isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
        pairs = zip(wanted, given, strict=True)
        return [
            line for number, (one, other) in enumerate(pairs) for line in differences(one, other, f"{where}[{number}]")
        ]
    same = wanted == given and isinstance(wanted, bool) == isinstance(given, bool)
    return [] if same else [f"{where}: a real Flipt said {wanted!r}, the stand-in {given!r}"]
