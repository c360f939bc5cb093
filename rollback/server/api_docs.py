"""What OpenAPI says of each status, in one place."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from rollback.server import problems, streams

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "next", "exit"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence: what is wrong."},
        "code": {"type": "string", "enum": sorted(problems.STATUSES), "description": "A stable word for programs."},
        "next": {"type": "string", "description": "What to do now; may be empty."},
        "exit": {"type": "integer", "description": "The command line's exit code for the same error."},
    },
}
DOCUMENT_SCHEMA: dict[str, Any] = {"type": "object", "additionalProperties": True}

_SAID = {
    200: "Done; the document that the command line prints with `--json`",
    202: "Begun (an operation), or done but not proven in full (`exit` 5)",
    400: "The request is wrong",
    401: "No token, or one that is not known",
    403: "The token's role does not allow it",
    404: "No such feature, flag, case or operation",
    409: "The state of the case forbids it, or the idempotency key does",
    422: "Not healthy, or not enough evidence",
    500: "Unexpected",
    502: "The flag store is out of reach or refused; certainly nothing changed",
    503: "This server cannot do it now: turn off at the flag store itself",
    504: "A write was sent and its fate is unknown",
    507: "Journal or ledger cannot be written",
}
_ALWAYS = (400, 401, 403, 500, 503)


def answers_of(*statuses: int, is_stream: bool = False) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these statuses, and those that every call may get."""
    return {status: _answer(status, is_stream) for status in sorted({*statuses, *_ALWAYS, 422})}


def _answer(status: int, is_stream: bool) -> dict[str, Any]:
    said = {"description": _SAID.get(status, HTTPStatus(status).phrase)}
    if status >= 400:
        return {**said, "content": {problems.MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}
    content: dict[str, Any] = {"application/json": {"schema": DOCUMENT_SCHEMA}}
    if is_stream and status == 200:
        content[streams.MEDIA_TYPE] = {"schema": {"type": "string", "description": "One event a line."}}
    return {**said, "content": content}
