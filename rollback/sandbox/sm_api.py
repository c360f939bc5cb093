"""A pretend application: the messaging paths of an API whose health can be changed while it runs.

GET  /my_health/v1/messaging/folders, /threads, /allrecipients, /messages/1 …   as the behaviour says
GET  /control                 always healthy: tells "the service" apart from "the network"
GET  /version                 {"git_revision": …}
GET  /_sandbox/behaviour      what is set, and how many requests were answered how
POST /_sandbox/behaviour      {"mode": "healthy", "error_rate": 0.3, "latency_ms": 20, "status": 503}
GET  /_sandbox/requests       what was asked; DELETE forgets it
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import TracebackType
from typing import Any, Literal, get_args

from rollback.sandbox.request_log import RequestLog
from rollback.sandbox.wire import Answer, Dropped, Request, WireServer, json_answer

Mode = Literal["healthy", "broken", "disabled", "empty", "hang"]
MODES: tuple[str, ...] = get_args(Mode)
BASE = "/my_health/v1/messaging/"
ATTRIBUTES: Mapping[str, dict[str, Any]] = {
    "folders": {"name": "Inbox", "count": 2, "unreadCount": 1, "systemFolder": True},
    "threads": {"threadPageSize": 10, "unreadMessages": False, "numberOfMessages": 1},
    "messages": {"category": "OTHER", "subject": "Synthetic message", "attachment": False},
    "allrecipients": {"name": "Synthetic care team", "relationType": "PATIENT", "preferredTeam": True},
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the messaging paths answer.

    `mode`: `healthy` (well, but for the `error_rate` share of answers, which are errors), `broken` (all are
    errors), `disabled` (200 with `{"error": "disabled"}`), `empty` (200 without a body), `hang` (no answer
    until the mode changes). `status`: of errors. `latency_ms`: before each answer. `seed`: which answers are
    errors.
    """

    mode: Mode = "healthy"
    error_rate: float = 0.0
    latency_ms: float = 0.0
    status: int = 503
    seed: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known: {', '.join(MODES)}")
        if not 0 <= self.error_rate <= 1:
            raise ValueError(f"an error rate of {self.error_rate}; it is a share from 0 to 1")
        if not 0 <= self.latency_ms <= 600_000:
            raise ValueError(f"a latency of {self.latency_ms} ms")
        if not 100 <= self.status <= 599:
            raise ValueError(f"a status of {self.status}")


class SmApi:
    """The pretend API on 127.0.0.1, from the constructor until `stop()` or the end of the `with` block.

    The keyword arguments are those of `Behaviour`. `requires`: a header that messaging requests must carry,
    as `("X-Bypass", "secret")`; without it they get 403. `git_revision`: what `/version` says.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        requires: tuple[str, str] | None = None,
        git_revision: str = "0000000",
        **behaviour: Any,
    ) -> None:
        self.requires = requires
        self.git_revision = git_revision
        self.log = RequestLog()
        self.outcomes: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._behaviour = Behaviour(**behaviour)
        self._random = random.Random(self._behaviour.seed)  # noqa: S311 - repeatable, not secret
        self._stopping = threading.Event()
        self._wire = WireServer(self._handle, port, self._stopping)

    def __enter__(self) -> SmApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._wire.url

    @property
    def behaviour(self) -> Behaviour:
        """How it behaves now."""
        return self._behaviour

    def behave(self, **changes: Any) -> Behaviour:
        """Change some of the behaviour, from the next request on. ValueError for what makes no sense.

        The sequence of errors starts again when a seed is given.
        """
        names = {field.name for field in fields(Behaviour)}
        if unknown := set(changes) - names:
            raise ValueError(f"unknown {sorted(unknown)}; known: {sorted(names)}")
        with self._changed:
            self._behaviour = replace(self._behaviour, **changes)
            if "seed" in changes:
                self._random = random.Random(self._behaviour.seed)  # noqa: S311 - repeatable, not secret
            self._changed.notify_all()
            return self._behaviour

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests came in (see `RequestLog.count`); those to `/_sandbox` are not counted."""
        return self.log.count(method, path)

    def stop(self) -> None:
        """Close the port and all connections. Idempotent."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._wire.stop()

    def _handle(self, request: Request) -> Answer:
        if request.path.startswith("/_sandbox/"):
            return self._control(request)
        entry = self.log.begin(request.method, request.path)
        answer = self._answer(request)
        entry.status = answer.status
        return answer

    def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/control":
                return json_answer({"status": "ok"})
            case "/version":
                return json_answer({"git_revision": self.git_revision})
        if not request.path.startswith(BASE):
            return failure(404, "Not found")
        if self.requires is not None and request.headers.get(self.requires[0].lower()) != self.requires[1]:
            return failure(403, "Forbidden")
        with self._changed:
            behaviour, failing = self._behaviour, self._random.random() < self._behaviour.error_rate
        if behaviour.latency_ms:
            self._stopping.wait(behaviour.latency_ms / 1000)
        return self._behaved(behaviour, failing, request.path.removeprefix(BASE).strip("/"))

    def _behaved(self, behaviour: Behaviour, failing: bool, what: str) -> Answer:
        match behaviour.mode:
            case "hang":
                self._hang()
                raise Dropped(reset=False)
            case "disabled":
                return self._counted("disabled", json_answer({"error": "disabled"}))
            case "empty":
                return self._counted("empty", Answer(200, b"", {"content-type": "application/json"}))
            case "broken":
                return self._counted("error", failure(behaviour.status, "Service unavailable"))
            case "healthy":
                if failing:
                    return self._counted("error", failure(behaviour.status, "Service unavailable"))
                return self._counted("healthy", json_answer(document_of(what)))

    def _counted(self, outcome: str, answer: Answer) -> Answer:
        with self._changed:
            self.outcomes[outcome] += 1
        return answer

    def _hang(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._behaviour.mode != "hang")

    def _control(self, request: Request) -> Answer:
        try:
            match (request.method, request.path.removeprefix("/_sandbox/")):
                case ("GET", "behaviour"):
                    return json_answer(self._told())
                case ("POST", "behaviour"):
                    changes = dict(json.loads(request.body))
                    self.git_revision = str(changes.pop("git_revision", self.git_revision))
                    self.behave(**changes)
                    return json_answer(self._told())
                case ("GET", "requests"):
                    return json_answer({"requests": [entry.document() for entry in self.log.all()]})
                case ("DELETE", "requests"):
                    self.log.clear()
                    return json_answer({"requests": []})
        except (ValueError, TypeError) as error:
            return json_answer({"error": str(error)}, 400)
        return json_answer({"error": "no such control"}, 404)

    def _told(self) -> dict[str, Any]:
        with self._changed:
            answered = dict(self.outcomes)
        return {**asdict(self._behaviour), "git_revision": self.git_revision, "answered": answered}


def document_of(what: str) -> dict[str, Any]:
    """A healthy answer: a list for a collection, one resource for a path that ends in a number."""
    parts = what.split("/")
    single = parts[-1].lstrip("-").isdigit()
    kind = parts[-2] if single and len(parts) > 1 else parts[-1]
    attributes = ATTRIBUTES.get(kind, {"name": "synthetic"})
    resource = {"id": parts[-1] if single else "0", "type": kind, "attributes": attributes}
    return {"data": resource if single else [resource]}


def failure(status: int, title: str) -> Answer:
    """An error in the API's form."""
    return json_answer({"errors": [{"title": title, "status": str(status)}]}, status)
