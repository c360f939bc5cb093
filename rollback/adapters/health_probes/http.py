"""Asks a feature's own endpoints over HTTP, as its policy says."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from rollback.adapters.health_probes.answers import MAX_BODY, Reply, is_late, judge
from rollback.adapters.health_probes.background import BackgroundLoop, Closed
from rollback.core.policy import Endpoint, Health
from rollback.ports import Clock, Measurement

AT_ONCE = 8
"""Endpoints that are asked at the same time; the control target comes on top."""

ROUND_MARGIN = 1.0
"""Seconds by which a round may last longer than the longest timeout in it."""

IDLE_SECONDS = 1.5
"""How long a connection is kept for the next round. Servers close idle ones after 2 s (gunicorn), 5 s (Apache, Node)
or more. Reusing one that is just being closed would look like a fault of the feature."""

_DEFAULT_HEADERS = {
    "user-agent": "rollback-health-probe",
    "accept": "*/*",
    "accept-encoding": "identity",  # the size that is sent is the size that is read
    "cache-control": "no-cache",  # what a cache in between answers says nothing about the feature
}
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class HttpHealthProbe:
    """A `HealthProbe`: each endpoint is a metric; a round asks all of them at once, and the control target once.

    Harm is 1.0 or 0.0. It is 1.0 for an unexpected status (redirects are not followed: a login page is no health), a
    failed assertion, a body above 1 MB, an answer later than `latency_limit`, none within `timeout`, and
    a connection that breaks before the answer is complete. Nothing is asked twice: that would hide rare faults.

    Missing (None), never health (design, invariant 6):

    * an endpoint without address, or in a `production` feature with one that is among `defaulted` (dotted paths, as
      `policy_files.Loaded` has them; `unset` has the variables, for the reason), or with a header without value;
    * one that says that the feature is disabled (`answers.judge`);
    * what fails on our own machine: no socket left, a header that cannot be sent, no turn before the round's end;
    * with a control target: everything in a round in which the control gives no answer in time, or a 5xx, or one later
      than its own latency limit. The good answers as well: if only the failures were left out, a feature with errors
      would pass whenever the control target is down, because only its good answers would count;
    * without one: a failure to connect (refused, name, route, TLS) as long as no answer has come from that server in
      this probe's life. After one it is harm: then the way there works. Any answer over HTTP counts.

    `measure` never raises, can be called from several threads, and ends within the longest timeout and 1 s. `tls`
    replaces the context that verifies against the system's authorities. Proxies come from the environment.
    Nothing of an answer, no header and no address is kept or told.
    """

    def __init__(
        self,
        health: Health,
        *,
        clock: Clock,
        defaulted: Collection[str] = frozenset(),
        unset: Mapping[str, Sequence[str]] | None = None,
        production: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.metrics = tuple(endpoint.name for endpoint in health.endpoints)
        doubts = _Doubts(frozenset(defaulted) if production else frozenset(), unset or {})
        self._targets = tuple(
            _target(endpoint, doubts.about(endpoint, f"health.endpoints[{index}]"))
            for index, endpoint in enumerate(health.endpoints)
        )
        control = health.control
        self._control = None if control is None else _target(control, doubts.about(control, "health.control"))
        asked = [*self._targets] if self._control is None else [self._control, *self._targets]
        self.unknown: Mapping[str, str] = {one.endpoint.name: one.unknown for one in asked if one.unknown}
        """The targets, the control's included, that are never asked, and why."""
        self._within = max((one.seconds for one in asked if not one.unknown), default=0.0) + ROUND_MARGIN
        self._clock = clock
        self._tls = tls
        self._client: httpx.AsyncClient | None = None
        self._reached: set[str] = set()
        self._background = BackgroundLoop("health-probe")

    def measure(self) -> list[Measurement]:
        """One round: one measurement of each metric, in the order of `metrics`, at the time the round began."""
        at = self._clock.now()
        try:
            outcomes = self._background.run(self._round, within=self._within + ROUND_MARGIN)
        except Closed:
            outcomes = self._nothing("the probe is closed")
        except TimeoutError:
            outcomes = self._nothing("the round did not end in time")
        except Exception as error:
            outcomes = self._nothing(f"the round failed here: {type(error).__name__}")
        return [one.measurement(target.endpoint.name, at) for target, one in zip(self._targets, outcomes, strict=True)]

    def close(self) -> None:
        """Closes the connections and ends the thread. A round that is under way ends as missing. Idempotent."""
        self._background.close(self._closed)

    async def _closed(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _nothing(self, why: str) -> list[_Outcome]:
        return [_Outcome(_Contact.NOT_ASKED, None, why) for _ in self._targets]

    # -- one round -----------------------------------------------------------------------------------------------

    async def _round(self) -> list[_Outcome]:
        if all(target.unknown for target in self._targets):
            return [_unasked(target) for target in self._targets]
        client = self._opened()
        ends = asyncio.get_running_loop().time() + self._within
        turns = asyncio.Semaphore(AT_ONCE)
        control, *outcomes = await asyncio.gather(
            self._ask_control(client), *(self._ask_in_turn(client, target, turns, ends) for target in self._targets)
        )
        answered = zip(self._targets, outcomes, strict=True)
        self._reached.update(target.origin for target, one in answered if one.contact is _Contact.ANSWERED)
        return [self._in_context(target, one, control) for target, one in zip(self._targets, outcomes, strict=True)]

    def _in_context(self, target: _Target, outcome: _Outcome, control: _Outcome) -> _Outcome:
        """What an outcome means beside the control target's."""
        if outcome.harm is None:
            return outcome
        if control.contact is _Contact.NOT_ASKED:
            if outcome.contact is _Contact.NONE and target.origin not in self._reached:
                return outcome.missing(f"{outcome.detail}; never reached")
            return outcome
        if control.harm:
            return outcome.missing(f"control target out of reach: {control.detail}")
        return outcome

    async def _ask_control(self, client: httpx.AsyncClient) -> _Outcome:
        """Its harm only says whether something else than the feature answers here: any status below 500 does."""
        if self._control is None:
            return _Outcome(_Contact.NOT_ASKED, None, "no control target")
        outcome = await self._ask(client, self._control)
        answers = outcome.contact is _Contact.ANSWERED and outcome.status < 500
        if answers and not is_late(self._control.endpoint, outcome.seconds or 0.0):
            return _Outcome(outcome.contact, 0.0, outcome.detail)
        return outcome

    async def _ask_in_turn(
        self, client: httpx.AsyncClient, target: _Target, turns: asyncio.Semaphore, ends: float
    ) -> _Outcome:
        """Asks when fewer than `AT_ONCE` others are asked, and only if there is time for its whole timeout:

        if slow answers were cut short by the round's end and quick ones counted, it would look better than it is.
        """
        async with turns:
            if asyncio.get_running_loop().time() + target.seconds > ends:
                return _Outcome(_Contact.NOT_ASKED, None, "no turn before the end of the round")
            return await self._ask(client, target)

    async def _ask(self, client: httpx.AsyncClient, target: _Target) -> _Outcome:
        """Asks one target once; never raises."""
        if target.unknown:
            return _unasked(target)
        attempt = _Attempt()
        try:
            async with asyncio.timeout(target.seconds):
                reply = await self._exchange(client, target, attempt)
        except Exception as error:
            return _failed(target, attempt, error)
        harm, detail = judge(target.endpoint, reply)
        return _Outcome(_Contact.ANSWERED, harm, detail, reply.status, reply.seconds)

    async def _exchange(self, client: httpx.AsyncClient, target: _Target, attempt: _Attempt) -> Reply:
        time = asyncio.get_running_loop().time
        began = time()
        request = httpx.Request(
            target.endpoint.method, target.url, headers=target.headers, extensions={"trace": attempt.trace}
        )
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

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            https = any(one.url.scheme == "https" for one in (*self._targets, self._control) if one is not None)
            self._client = httpx.AsyncClient(
                verify=self._tls or (_verifying() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
                timeout=None,  # noqa: S113 - `_ask` bounds each exchange as a whole
                follow_redirects=False,
                limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        return self._client


# -- targets -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """An endpoint, ready to be asked. `unknown` says why it cannot be; then `url` and `headers` are empty."""

    endpoint: Endpoint
    unknown: str | None
    url: httpx.URL = field(repr=False)
    headers: httpx.Headers = field(repr=False)

    @property
    def origin(self) -> str:
        """The server: scheme, host and port."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii', 'replace')}"

    @property
    def seconds(self) -> float:
        """How long the whole answer may take."""
        return self.endpoint.timeout.total_seconds()


@dataclass(frozen=True, slots=True)
class _Doubts:
    """What the policy's variables leave open."""

    defaulted: frozenset[str]
    unset: Mapping[str, Sequence[str]]

    def about(self, endpoint: Endpoint, path: str) -> str | None:
        """Why the endpoint at `path` cannot be asked as it was meant; None when it can."""
        if f"{path}.url" in self.defaulted:
            return "its address fell back to a default"
        places = (f"{path}.url", *(f"{path}.headers.{name}" for name in endpoint.headers))
        names = [name for place in places for name in self.unset.get(place, ())]
        if names:
            return f"{', '.join(names)} is not set"
        return endpoint.unknown_because


def _target(endpoint: Endpoint, unknown: str | None) -> _Target:
    nowhere = _Target(endpoint, unknown, httpx.URL(), httpx.Headers())
    if unknown or endpoint.url is None:
        return nowhere
    try:
        url = httpx.URL(endpoint.url)
        headers = httpx.Headers(_DEFAULT_HEADERS)
        headers.update(endpoint.sent_headers())
        httpx.Request(endpoint.method, url, headers=headers)
    except (httpx.InvalidURL, ValueError, TypeError):
        return _Target(endpoint, "its address or a header cannot be used", httpx.URL(), httpx.Headers())
    if not url.host:
        return _Target(endpoint, "its address has no host", httpx.URL(), httpx.Headers())
    return _Target(endpoint, None, url, headers)


# -- outcomes ----------------------------------------------------------------------------------------------------


class _Contact(Enum):
    """How far a question came."""

    ANSWERED = auto()  # a whole answer, or more than is read
    SENT = auto()  # it was sent, and no whole answer came
    NONE = auto()  # no connection
    NOT_ASKED = auto()  # nothing left this machine


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of asking one target. `status` is 0 and `seconds` None without a whole answer."""

    contact: _Contact
    harm: float | None
    detail: str
    status: int = 0
    seconds: float | None = None

    def missing(self, why: str) -> _Outcome:
        """The same, counting as neither harm nor health."""
        return _Outcome(self.contact, None, why, self.status, self.seconds)

    def measurement(self, metric: str, at: datetime) -> Measurement:
        """As the port wants it."""
        return Measurement(metric, at, self.harm, self.detail, self.seconds)


@dataclass(slots=True)
class _Attempt:
    """How far one exchange has come: whether the request was sent, and the status (0: none yet)."""

    sent: bool = False
    status: int = 0

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's reports. A CONNECT goes to a proxy, so it says nothing about the server behind it."""
        if event.endswith(".send_request_headers.started"):
            self.sent = info["request"].method != b"CONNECT"


def _unasked(target: _Target) -> _Outcome:
    return _Outcome(_Contact.NOT_ASKED, None, f"not asked: {target.unknown}")


def _failed(target: _Target, attempt: _Attempt, error: Exception) -> _Outcome:
    """The outcome of an exchange that ended in an error. Its text is never told: it may quote the answer."""
    if attempt.status and not target.endpoint.expects(attempt.status):
        return _Outcome(_Contact.SENT, 1.0, f"status {attempt.status}")
    if isinstance(error, httpx.LocalProtocolError):
        return _Outcome(_Contact.NOT_ASKED, None, "not asked: its headers cannot be sent")
    unconnected = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)) or not attempt.sent
    if isinstance(error, TimeoutError):
        what = "no connection" if unconnected else "no complete answer" if attempt.status else "no answer"
        return _Outcome(_Contact.NONE if unconnected else _Contact.SENT, 1.0, f"{what} within {target.seconds:g} s")
    if not isinstance(error, httpx.TransportError):
        return _Outcome(_Contact.NOT_ASKED, None, f"not asked: {type(error).__name__} here")
    if not unconnected:
        return _Outcome(_Contact.SENT, 1.0, "the connection broke before the answer was complete")
    causes = list(_causes(error))
    if any(isinstance(cause, OSError) and cause.errno in _OURS for cause in causes):
        return _Outcome(_Contact.NOT_ASKED, None, "not asked: this machine has no socket to spare")
    return _Outcome(_Contact.NONE, 1.0, _why_unconnected(error, causes))


def _why_unconnected(error: Exception, causes: Sequence[BaseException]) -> str:
    kinds: list[tuple[type[BaseException], str]] = [
        (ssl.SSLCertVerificationError, "the TLS certificate is not trusted"),
        (ssl.SSLError, "no TLS connection"),
        (socket.gaierror, "the name is not known"),
        (ConnectionRefusedError, "connection refused"),
    ]
    if isinstance(error, httpx.ProxyError):
        return "the proxy gives no connection"
    return next((words for kind, words in kinds if any(isinstance(cause, kind) for cause in causes)), "no connection")


def _causes(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """An error, what it came from, and what it is a group of."""
    yield error
    if depth < 10:
        inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for cause in (error.__cause__, error.__context__, *inner):
            if cause is not None:
                yield from _causes(cause, depth + 1)


def _verifying() -> ssl.SSLContext:
    """Verifies against the system's authorities; some builds of Python see none, then certifi's."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
        import certifi

        context.load_verify_locations(certifi.where())
    return context
