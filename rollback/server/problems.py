"""Errors as RFC 9457 problem documents, and the one table from error codes to HTTP statuses.

A problem has `type` (`about:blank`: the status says all that HTTP needs), `title` (the status in words), `status`,
`detail` (one sentence), `code` (the stable word of `rollback.errors`), `next` (what to do now, may be empty) and `exit`
(the exit code that the command line ends with for the same error). Nothing else of an exception is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from rollback import log
from rollback.errors import RollbackError

MEDIA_TYPE = "application/problem+json"
PREFIX = "/api/v1"

STATUSES: Mapping[str, int] = {
    "usage": 400,
    "configuration": 503,
    "flag_missing": 404,
    "not_found": 404,
    "unauthenticated": 401,
    "forbidden": 403,
    "refused": 409,
    "conflict": 409,
    "idempotency_key_reused": 409,
    "idempotency_in_progress": 409,
    "not_healthy": 422,
    "not_proven": 409,
    "not_settled": 504,
    "store": 502,
    "store_unreachable": 502,
    "store_refused": 502,
    "ledger_broken": 503,
    "history_unwritable": 507,
    "interrupted": 503,
    "busy": 503,
    "tokens_unreadable": 503,
    "server_stopping": 503,
    "unexpected": 500,
}
"""Each `code` and its status; one that is not here is 500. 409: the state of things forbids it; 422: the evidence does.

`configuration` is the server's own trouble. What a caller gets wrong is `usage`; a name that no feature has is 404 with
the code `configuration`, as on the command line."""

_RETRY_AFTER = {"busy": "2", "idempotency_in_progress": "2"}
"""Seconds after which the same request is worth another try."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure as it is told. `more` are further members of the document, `headers` of the answer."""

    code: str
    detail: str
    exit_code: int
    next: str = ""
    status: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def http_status(self) -> int:
        """`status`, or what the table says when that is 0."""
        return self.status or STATUSES.get(self.code, 500)

    def document(self) -> dict[str, Any]:
        """The members, in the order of the module's description."""
        status = self.http_status
        return {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": self.detail,
            "code": self.code,
            "next": self.next,
            "exit": self.exit_code,
            **{name: value for name, value in self.more.items() if name not in _MEMBERS},
        }

    def response(self) -> Response:
        """The answer."""
        headers = {**self.headers}
        if self.code in _RETRY_AFTER:
            headers["retry-after"] = _RETRY_AFTER[self.code]
        return JSONResponse(self.document(), self.http_status, headers, media_type=MEDIA_TYPE)


_MEMBERS = ("type", "title", "status", "detail", "code", "next", "exit")


class Refused(RollbackError):
    """A call is answered with this problem; nothing was done."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, next=problem.next)
        self.problem = problem


def problem_of(error: Exception) -> Problem:
    """The problem that an error becomes. Of one that nobody expected, only its type is told."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, RollbackError):
        return Problem(error.code, error.message, error.exit_code, error.next)
    log.event("api_unexpected", error=type(error).__name__, where=_where(error))
    return Problem("unexpected", f"Unexpected: {type(error).__name__}.", 1, "The server's log says where it happened.")


def problem_in(document: Mapping[str, Any]) -> Problem | None:
    """The problem that a command told as its document (`{"error": …, "exit": n}`); None for any other document."""
    error = document.get("error")
    if not isinstance(error, Mapping):
        return None
    more = {name: value for name, value in {**document, **error}.items() if name not in ("error", "message")}
    return Problem(
        str(error.get("code", "unexpected")),
        str(error.get("message", "")),
        int(document.get("exit", 1)),
        str(error.get("next", "")),
        more=more,
    )


def _where(error: BaseException) -> str:
    """File and line of each frame, innermost last: no values, which may be secret."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " ".join(places[-8:])


def _of_validation(error: RequestValidationError) -> Problem:
    """What is wrong with a request and where; never what was sent, which may be secret."""
    wrong = []
    for one in error.errors()[:5]:
        place = ".".join(str(part) for part in one.get("loc", ()))[:100]
        wrong.append(f"{place}: {one.get('msg', 'is wrong')}"[:200])
    return Problem("usage", "; ".join(wrong) or "The request is not valid.", 2, "See /openapi.json for what is known.")


def _of_http(error: HTTPException) -> Problem:
    code = {401: "unauthenticated", 403: "forbidden", 404: "not_found"}.get(error.status_code, "usage")
    return Problem(code, f"{error.detail}.", 2, status=error.status_code, headers=error.headers or {})


class ProblemRoute(APIRoute):
    """A route all of whose failures are problems, whichever application includes it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with errors told in one way."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _of_validation(error).response()
            except HTTPException as error:
                return _of_http(error).response()
            except Exception as error:
                return problem_of(error).response()

        return handler


def install(app: FastAPI) -> None:
    """Makes problems also of what no route of the interface answers: unknown paths and methods."""
    otherwise: Any = app.exception_handlers.get(HTTPException)

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.url.path.startswith(f"{PREFIX}/"):
            return _of_http(error).response()
        handled: Response | Awaitable[Response] = otherwise(request, error)
        return handled if isinstance(handled, Response) else await handled

    app.add_exception_handler(HTTPException, answer)
