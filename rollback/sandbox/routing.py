"""From a path to the function that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rollback.sandbox.rpc import Body
from rollback.sandbox.wire import Answer, Request, json_answer


@dataclass(slots=True)
class Call:
    """A request that a route matched: its parameters from the path, and its body."""

    request: Request
    params: Mapping[str, str]
    _body: Body | None = None

    @property
    def body(self) -> Body:
        """The JSON body. RpcError (400) when it is none."""
        if self._body is None:
            self._body = Body.parse(self.request.body)
        return self._body

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    def header(self, name: str) -> str:
        """A header by its lower-case name; "" when absent."""
        return self.request.headers.get(name, "")


Responder = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path with `{names}` for its parts."""

    method: str
    pattern: re.Pattern[str]
    responder: Responder


def route(method: str, path: str, responder: Responder) -> Route:
    """A route; each `{name}` stands for one part of the path."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return Route(method, re.compile(pattern + r"\Z"), responder)


class Router:
    """Finds the first route that fits."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes

    def answer(self, request: Request) -> Answer | None:
        """The answer of the route that fits; None when none does. A document becomes a JSON answer."""
        for candidate in self._routes:
            if candidate.method != request.method:
                continue
            if (found := candidate.pattern.match(request.path)) is None:
                continue
            params = {name: value for name, value in found.groupdict().items() if value is not None}
            result = candidate.responder(Call(request, params))
            return result if isinstance(result, Answer) else json_answer(result)
        return None
