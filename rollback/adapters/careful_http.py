"""Careful HTTP towards a monitoring system: an answer is whole, small enough, in time and JSON, or it is an error.

An answer that is empty by mistake would look like recovery, so nothing here ever turns a failure into "no alerts".
httpx's own timeouts bound one wait at a time; a name server that hangs, or a body that drips, is bounded by none of
them. So each exchange runs in a thread of its own, which is left behind when the time is up.
"""

from __future__ import annotations

import base64
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from rollback.adapters.bounded import AFTERWARDS
from rollback.adapters.careful_answers import (
    LONGEST_WAIT,
    Raw,
    Reply,
    asked_wait,
    checked_url,
    judged,
    trusted,
    words_of,
)
from rollback.errors import StoreRefused, StoreUnreachable

MAX_BODY = 32 * 1024 * 1024
"""Bytes. A thousand monitors with a hundred groups each come to about 20 MB."""

_SENDABLE = re.compile(r"[!-~]([\t -~]*[!-~])?")
"""Visible ASCII, blanks between (RFC 9110, 5.5); what refuses other values later would quote them."""

Secret = Callable[[], str]
"""Gives a secret when it is needed. Never shown: it is called for each request, so that it may change."""

Params = Sequence[tuple[str, str]]

Headers = Callable[[], Mapping[str, str]]
"""Gives the headers by which a server knows us, when they are needed."""


def nobody() -> Mapping[str, str]:
    """No credentials: the server asks for none."""
    return {}


def bearer(secret: Secret) -> Headers:
    """A bearer token."""
    return lambda: {"authorization": f"Bearer {secret()}"}


def basic(user: Secret, password: Secret) -> Headers:
    """A user and a password, as HTTP basic authentication."""

    def headers() -> Mapping[str, str]:
        return {"authorization": f"Basic {base64.b64encode(f'{user()}:{password()}'.encode()).decode()}"}

    return headers


class CarefulHttp:
    """One monitoring system over one kept-alive client. `what` names it in messages (`Datadog`).

    `base_url` is https; http is for loopback alone. Redirects are refused, because secrets would follow them. `timeout`
    (seconds) bounds one exchange as a whole, from the name lookup to the last byte; `deadline()` bounds several.
    `monotonic` is the clock by which a wait that the server asked for is kept; until it is over nothing is sent.
    Usable from several threads. Proxies are taken from the environment.
    """

    def __init__(
        self,
        base_url: str,
        what: str,
        *,
        monotonic: Callable[[], float],
        timeout: float = 10.0,
        max_body: int = MAX_BODY,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.base_url = checked_url(base_url, what)
        self.what = what
        self._monotonic = monotonic
        self._timeout = timeout
        self._max_body = max_body
        self._tls = tls
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._closed = False
        self._quiet_until = -math.inf

    def __repr__(self) -> str:
        return f"CarefulHttp({self.what}, {self.base_url})"

    def deadline(self, seconds: float) -> float:
        """The moment, on the machine's monotonic clock, at which several exchanges have to be over."""
        return time.monotonic() + seconds

    def get(
        self, path: str, *, deadline: float, params: Params = (), headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET `path`, answered 200 with a JSON document.

        Raises `StoreUnreachable` (no whole answer in time, 5xx, 429 with `retry_after`), `Denied`, `NotThere`,
        `StoreRefused` (anything else). Nothing that the server said is repeated in the message.
        """
        return self._ask("GET", path, deadline=deadline, params=params, headers=headers or {}, form=None)

    def post_form(self, path: str, form: Mapping[str, str], *, deadline: float) -> Reply:
        """POST a form (for an access token), answered 200 with a JSON document. Raises like `get`."""
        return self._ask("POST", path, deadline=deadline, params=(), headers={}, form=form)

    def be_quiet(self, seconds: float) -> None:
        """Sends nothing for that long; a longer wait that was asked for before stays."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, self._monotonic() + min(max(seconds, 0.0), LONGEST_WAIT))

    def close(self) -> None:
        """Closes the connections; nothing is asked any more. Idempotent."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- one exchange ----------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        params: Params,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> Reply:
        asked = f"{self.what} ({method} {self.base_url}{path})"
        for name, value in headers.items():
            if not _SENDABLE.fullmatch(value):
                raise StoreRefused(
                    f"The value for the header {name} of {self.what} holds what a header cannot hold.",
                    next="Is the secret complete, in one line, and without quotation marks?",
                )
        limit = min(self._timeout, deadline - time.monotonic())
        if limit <= 0:
            raise StoreUnreachable(f"No time was left to ask {asked}.")
        self._refuse_while_quiet(asked)
        exchange = _Exchange(self._opened(), limit, self._max_body)
        exchange.start(method, self.base_url + path, params, {**_DEFAULTS, **headers}, form)
        raw = self._result(exchange, asked, limit)
        if raw.status == 429:
            self.be_quiet(asked_wait(raw.headers) or 0.0)
        return judged(asked, raw)

    def _refuse_while_quiet(self, asked: str) -> None:
        with self._lock:
            left = self._quiet_until - self._monotonic()
        if left > 0:
            message = f"{asked} asked to wait; {math.ceil(left)} s of that are left, and nothing was sent."
            raise StoreUnreachable(message, retry_after=left)

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._closed:
                raise StoreUnreachable(f"The connection to {self.what} has been closed.")
            if self._client is None:
                verify = self._tls or trusted(self.base_url)
                try:
                    self._client = httpx.Client(verify=verify, follow_redirects=False, timeout=self._timeout)
                except (ValueError, ImportError, httpx.InvalidURL) as error:
                    raise StoreRefused(
                        "The proxy settings in the environment cannot be used.",
                        next="Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
                    ) from error
            return self._client

    def _result(self, exchange: _Exchange, asked: str, limit: float) -> Raw:
        if not exchange.done.wait(limit):
            exchange.abandoned.set()
            with self._lock:
                if self._client is exchange.client:
                    self._client = None
            if exchange.done.is_set():  # it ended just now, perhaps before it could see that it was abandoned
                exchange.client.close()
            raise StoreUnreachable(f"{asked} gave no complete answer within {limit:.1f} s.")
        if exchange.too_long:
            raise StoreRefused(
                f"{asked} answered with more than {self._max_body // 1024} KB.", next="Ask for less: narrow the query."
            )
        if exchange.failure is not None:
            raise StoreUnreachable(f"{asked} failed: {words_of(exchange.failure)}.") from None
        assert exchange.result is not None
        return exchange.result


_DEFAULTS = {
    "user-agent": "rollback",
    "accept": "application/json",
    "accept-encoding": "identity",  # the size that is sent is the size that is read
    "cache-control": "no-cache",  # what a cache in between keeps says nothing about now
}


class _Exchange:
    """One request and its answer, in a thread of its own."""

    def __init__(self, client: httpx.Client, limit: float, max_body: int) -> None:
        self.client = client
        self.done = threading.Event()
        self.abandoned = threading.Event()
        self.too_long = False
        self.failure: Exception | None = None
        self.result: Raw | None = None
        self._limit, self._max_body = limit, max_body

    def start(
        self, method: str, url: str, params: Params, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> None:
        """Carries it out beside us; here, when the machine has no thread left to give."""
        thread = threading.Thread(
            target=self._run, args=(method, url, params, headers, form), name="careful-http", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._run(method, url, params, headers, form)

    def _run(
        self, method: str, url: str, params: Params, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> None:
        try:
            request = self.client.build_request(
                method, url, params=list(params), headers=dict(headers), data=form, timeout=self._limit + AFTERWARDS
            )
            response = self.client.send(request, stream=True)
            try:
                self.result = self._read(response)
            finally:
                response.close()
        except Exception as error:
            self.failure = error
        finally:
            self.done.set()
            if self.abandoned.is_set():
                self.client.close()

    def _read(self, response: httpx.Response) -> Raw | None:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if self.abandoned.is_set():
                raise httpx.ReadError("abandoned")
            if len(body) > self._max_body:
                self.too_long = True
                return None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Raw(response.status_code, headers, bytes(body))
