"""What an answer of Flipt means: status and body in, an `Answer` or the right error out. Pure.

From the table "Errors that matter" in the transcripts' page: JSON bodies carry a gRPC code (`{"code", "message"}`); a
path that this version of Flipt does not have is 404 with a text. Kill path: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rollback.errors import Conflict, FlagMissing, RollbackError, StoreRefused, StoreUnreachable

MAX_QUOTED = 200
"""Characters of a server's words that are repeated in a message."""

GRPC_NOT_FOUND = 5
GRPC_INTERNAL = 13
READ_ONLY = "not allowed in read-only mode"


NO_SUCH_ROUTE = "Not Found"
"""All that grpc-gateway says about a path that it does not have; a missing flag is named."""


class Answer(NamedTuple):
    """A successful answer: the status, the JSON document, the headers (names in lower case)."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


class AnswerLost(Exception):
    """A write was sent, or may have been, and whether it was done is not known: read back.

    `error` says it as the port would; `refusal` is the server's own no, where there was one: when reading back
    shows that nothing was done, that is what to raise.
    """

    def __init__(self, error: StoreUnreachable, refusal: StoreRefused | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.refusal = refusal


class PathUnknown(StoreRefused):
    """404 with a text: this version of Flipt does not have the path (tells v1 from v2)."""


class BadRequest(StoreRefused):
    """400: the server's validation said no. `said` holds its words."""

    def __init__(self, message: str, said: str, *, next: str = "") -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.said = said


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for judging and for messages."""

    method: str
    url: str
    expects_write: bool
    scrubbed: Callable[[str], str] = str
    """Takes the token out of a server's words, should it have echoed it."""

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


def quoted(text: str) -> str:
    """A server's words, made fit for a message: one line, printable, at most 200 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_QUOTED]).split())
    return line if len(line) <= MAX_QUOTED else line[: MAX_QUOTED - 1] + "…"


def judge(asked: Asked, status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    """The answer, or what it means that there is none.

    Raises `FlagMissing`, `Conflict`, `StoreRefused`, `StoreUnreachable` (nothing was done), `AnswerLost` (writes
    whose fate is open), `PathUnknown`.
    """
    body = _json(raw)
    if 200 <= status < 300:
        if isinstance(body, dict):
            return Answer(status, body, headers)
        raise _unreadable(asked, status, headers, raw)
    raise _error(asked, status, headers, body, _said(asked, body, raw))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _said(asked: Asked, body: Any, raw: bytes) -> str:
    message = body.get("message") if isinstance(body, dict) else None
    text = message if isinstance(message, str) and message else raw.decode("utf-8", errors="replace")
    return quoted(asked.scrubbed(text))


def _code(body: Any) -> int | None:
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) else None


def _unreadable(asked: Asked, status: int, headers: Mapping[str, str], raw: bytes) -> Exception:
    kind = quoted(headers.get("content-type", "")) or "no content type"
    begins = quoted(asked.scrubbed(raw.decode("utf-8", errors="replace")))
    message = f"{asked} answered {status} with something that is not Flipt's JSON ({kind}): {begins}"
    refused = StoreRefused(message, next="Is there a proxy or a login page in front of ROLLBACK_FLIPT_URL?")
    if not asked.expects_write:
        return refused
    # A page is a proxy's refusal, if reading back agrees; JSON that breaks off says nothing about what was done.
    return AnswerLost(StoreUnreachable(message), None if "json" in kind.lower() else refused)


def _error(asked: Asked, status: int, headers: Mapping[str, str], body: Any, said: str) -> Exception:
    message = f"{asked} answered {status}: {said}" if said else f"{asked} answered {status}."
    if 300 <= status < 400:
        to = quoted(headers.get("location", "").partition("?")[0]) or "nowhere"
        return StoreRefused(
            f"{asked} answered {status} and points to {to}; redirects are not followed.",
            next="Give the final address in ROLLBACK_FLIPT_URL; a login page here means that the token did not arrive.",
        )
    if status == 404:
        if _code(body) == GRPC_NOT_FOUND and said != NO_SUCH_ROUTE:
            return FlagMissing(message, next="Check environment, namespace and key of the flag.")
        return PathUnknown(
            message, next="Is this a Flipt, and of the version in ROLLBACK_FLIPT_API? `auto` finds out by itself."
        )
    if status == 409:
        return Conflict(message)
    if status == 429:  # turned away at the door: nothing was done
        return StoreUnreachable(message, retry_after=_retry_after(headers))
    if status == 500 and _code(body) == GRPC_INTERNAL:
        return _internal(asked, message, said)
    if (status >= 500 and status != 501) or status in (408, 499):
        unreachable = StoreUnreachable(message, retry_after=_retry_after(headers))
        return AnswerLost(unreachable) if asked.expects_write else unreachable
    return _refused(status, message, said)


def _internal(asked: Asked, message: str, said: str) -> Exception:
    """500 with code 13: read-only storage, or v2's validation; both permanent."""
    if READ_ONLY in said:
        return StoreRefused(
            message,
            next="This flag lives in files: change the file that the server's storage (local, git, object, oci) reads, "
            "or set ROLLBACK_FLIPT_URL=file:PATH to have rollback change it.",
        )
    refused = StoreRefused(message, next="The server's own log says more.")
    return AnswerLost(StoreUnreachable(message), refused) if asked.expects_write else refused


def _refused(status: int, message: str, said: str) -> RollbackError:
    if status == 400:
        return BadRequest(message, said, next="The server will not take this; its own message says why.")
    if status == 401:
        return StoreRefused(
            message, next="Check ROLLBACK_FLIPT_TOKEN (or _FILE, _COMMAND): the server knows no such token."
        )
    if status == 403:
        return StoreRefused(message, next="This token may not do that: ask for the right to write this flag.")
    return StoreRefused(message, next="Check ROLLBACK_FLIPT_URL and what stands between here and Flipt.")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds (RFC 9110, 10.2.3: a number, or a date, measured from the answer's own `Date`)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return float(value[:9])
    from email.utils import parsedate_to_datetime

    try:
        at, sent = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (at - sent).total_seconds())
    except (ValueError, TypeError):
        return None
