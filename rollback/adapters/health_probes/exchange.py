"""One question to one target over HTTP, and what came of it."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import httpx

from rollback.adapters.health_probes.answers import MAX_BODY, Reply, judge
from rollback.core.policy import Endpoint

_DEFAULT_HEADERS = {
    "user-agent": "rollback-health-probe",
    "accept": "*/*",
    "accept-encoding": "identity",  # the size that is sent is the size that is read
    "cache-control": "no-cache",  # what a cache in between answers says nothing about the feature
}
_SENDABLE = re.compile(r"[!-~]([\t -~]*[!-~])?")
"""Visible ASCII, blanks between (RFC 9110, 5.5): no end of line, such as a secret from a file may end in."""

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint, ready to be asked. `unknown` says why it cannot be; then `url` and `headers` are empty."""

    endpoint: Endpoint
    unknown: str | None = None
    url: httpx.URL = field(default_factory=httpx.URL, repr=False)
    headers: httpx.Headers = field(default_factory=httpx.Headers, repr=False)

    @property
    def server(self) -> str:
        """Scheme, host and port."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii', 'replace')}"

    @property
    def seconds(self) -> float:
        """How long the whole answer may take, from before the connection is made."""
        return self.endpoint.timeout.total_seconds()


def prepare(endpoint: Endpoint, unknown: str | None) -> Target:
    """The target of an endpoint, given why it is unknown already (None: it is not). Never raises."""
    unknown = unknown or endpoint.unknown_because
    if unknown or endpoint.url is None:
        return Target(endpoint, unknown)
    sent = endpoint.sent_headers()
    for name, value in sent.items():
        if not _SENDABLE.fullmatch(value):  # checked here, because what refuses it later quotes it in its log
            return Target(endpoint, f"its header {name} holds what a header cannot hold")
    try:
        url = httpx.URL(endpoint.url)
        headers = httpx.Headers(_DEFAULT_HEADERS)
        headers.update(sent)
        httpx.Request(endpoint.method, url, headers=headers)
    except (httpx.InvalidURL, ValueError):
        return Target(endpoint, "its address cannot be used")
    return Target(endpoint, None, url, headers)


class Contact(Enum):
    """How far a question came."""

    ANSWERED = auto()  # a whole answer, or more of one than is read
    SENT = auto()  # it was sent, and no whole answer came
    NONE = auto()  # no connection
    NOT_ASKED = auto()  # nothing left this machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking one target.

    `harm` is 1.0, 0.0, or None when it says nothing about health. `status` is 0 when none came, `seconds` None without
    a whole answer.
    """

    contact: Contact
    harm: float | None
    detail: str
    status: int = 0
    seconds: float | None = None

    def missing(self, why: str) -> Outcome:
        """The same, counting as neither harm nor health."""
        return replace(self, harm=None, detail=why)


def not_asked(why: str) -> Outcome:
    """Nothing left this machine, so nothing is known."""
    return Outcome(Contact.NOT_ASKED, None, why)


async def ask(client: httpx.AsyncClient, target: Target) -> Outcome:
    """Asks once, within the target's own time; never raises, and never tells anything of the answer."""
    if target.unknown:
        return not_asked(f"not asked: {target.unknown}")
    attempt = _Attempt()
    try:
        async with asyncio.timeout(target.seconds):
            reply = await _exchange(client, target, attempt)
        harm, detail = judge(target.endpoint, reply)
    except Exception as error:
        return _failed(target, attempt, error)
    return Outcome(Contact.ANSWERED, harm, detail, reply.status, reply.seconds)


@dataclass(slots=True)
class _Attempt:
    """How far one exchange has come: whether the request was sent, and the status (0: none yet)."""

    sent: bool = False
    status: int = 0

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's reports. A CONNECT goes to a proxy, so it says nothing about the server behind it."""
        if event.endswith(".send_request_headers.started"):
            self.sent = info["request"].method != b"CONNECT"


async def _exchange(client: httpx.AsyncClient, target: Target, attempt: _Attempt) -> Reply:
    time = asyncio.get_running_loop().time
    began = time()
    trace = {"trace": attempt.trace}
    request = httpx.Request(target.endpoint.method, target.url, headers=target.headers, extensions=trace)
    response = await client.send(request, stream=True)
    try:
        attempt.status = response.status_code
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY:
                return Reply(response.status_code, None, time() - began)
        return Reply(response.status_code, bytes(body), time() - began)
    finally:
        await response.aclose()


# -- what went wrong ---------------------------------------------------------------------------------------------


def _failed(target: Target, attempt: _Attempt, error: Exception) -> Outcome:
    """The outcome of an exchange that ended in an error, whose text is never told: it may quote the answer."""
    if attempt.status and not target.endpoint.expects(attempt.status):
        return Outcome(Contact.SENT, 1.0, f"status {attempt.status}", attempt.status)
    if isinstance(error, httpx.LocalProtocolError) or not isinstance(error, (TimeoutError, httpx.TransportError)):
        return not_asked(f"not asked: {type(error).__name__} on this side")
    if attempt.sent and not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
        return Outcome(Contact.SENT, 1.0, _why_incomplete(target, attempt, error), attempt.status)
    causes = list(_causes(error))
    if any(isinstance(cause, OSError) and cause.errno in _OURS for cause in causes):
        return not_asked("not asked: this machine has no socket to spare")
    return Outcome(Contact.NONE, 1.0, _why_unconnected(target, error, causes))


def _why_incomplete(target: Target, attempt: _Attempt, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no {'complete ' if attempt.status else ''}answer within {target.seconds:g} s"
    return "the connection broke before the answer was complete"


def _why_unconnected(target: Target, error: Exception, causes: Sequence[BaseException]) -> str:
    if isinstance(error, TimeoutError):
        return f"no connection within {target.seconds:g} s"
    if isinstance(error, httpx.ProxyError):
        return "the proxy gives no connection"
    kinds: list[tuple[type[BaseException], str]] = [
        (ssl.SSLCertVerificationError, "the TLS certificate is not trusted"),
        (ssl.SSLError, "no TLS connection"),
        (socket.gaierror, "the name is not known"),
        (ConnectionRefusedError, "connection refused"),
    ]
    return next((words for kind, words in kinds if any(isinstance(cause, kind) for cause in causes)), "no connection")


def _causes(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """An error, what it came from, and what it is a group of."""
    yield error
    if depth < 10:
        inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for cause in (error.__cause__, error.__context__, *inner):
            if cause is not None:
                yield from _causes(cause, depth + 1)
