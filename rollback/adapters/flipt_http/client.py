"""HTTP towards one Flipt, with hard time limits. Kill path: standard library and httpx.

httpx's own timeouts bound one wait at a time: a name server that hangs, or a body or header that drips, is bounded
by none of them. So each exchange runs in a thread of its own, which is left behind when the time is up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rollback.adapters.flipt_http.answers import Answer, AnswerLost, Asked, judge, quoted
from rollback.adapters.flipt_http.lean import httpx
from rollback.adapters.flipt_http.retry import OnWait, Patience
from rollback.adapters.flipt_http.tls import Tls, no_tls
from rollback.adapters.flipt_http.token import TokenSource
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable

T = TypeVar("T")

MAX_BODY = 64 * 1024 * 1024
"""Bytes; a larger answer is not Flipt's."""

REACH = "Is ROLLBACK_FLIPT_URL right, and can the server be reached from here?"


class FliptHttp:
    """One Flipt server over one kept-alive client.

    `base_url` may have a path (a proxy's prefix). `timeout` (seconds) bounds one call, `deadline` (seconds on
    `monotonic`) several. `on_wait` is told about waits between tries, for a countdown. Proxies are taken from the
    environment, as other programs do. Usable from several threads.
    """

    def __init__(
        self,
        base_url: str,
        token: TokenSource | None = None,
        tls: Tls | None = None,
        *,
        timeout: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: OnWait | None = None,
    ) -> None:
        self.base_url = _checked(base_url)
        self._token = token or TokenSource.none()
        self._tls = tls or Tls()
        self._timeout = timeout
        self._monotonic = monotonic
        self.patience = Patience(monotonic=monotonic, sleep=sleep, on_wait=on_wait)
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def retry(self, call: Callable[[], T], *, deadline: float) -> T:
        """`call()`, repeated while it raises `StoreUnreachable` or `TryAgain`, until `deadline`."""
        return self.patience.retry(call, deadline=deadline)

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        expects_write: bool = False,
    ) -> Answer:
        """One call, answered with JSON. Nothing is tried twice, but a refused token is read again once.

        `path` starts with `/` and is escaped already. Raises `StoreUnreachable` (no answer; nothing was done),
        `AnswerLost` (only with `expects_write`: it may have been done), `StoreRefused`, `FlagMissing`, `Conflict`,
        `PathUnknown`, `ConfigurationError` (the token cannot be read).
        """
        asked = Asked(method, self.base_url + path, expects_write, self._token.scrubbed)
        used = self._token.authorization(seconds=self._left(asked, deadline))
        status, answered, raw = self._exchange(asked, json, {**(headers or {}), **_header(used)}, deadline)
        if status == 401 and self._token.is_given:
            fresh = self._token_again(asked, deadline)
            if fresh != used:
                status, answered, raw = self._exchange(asked, json, {**(headers or {}), **_header(fresh)}, deadline)
        return judge(asked, status, answered, raw)

    def close(self) -> None:
        """Closes the connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _left(self, asked: Asked, deadline: float) -> float:
        left = deadline - self._monotonic()
        if left <= 0:
            raise StoreUnreachable(f"No time was left for {asked}.", next=REACH)
        return left

    def _token_again(self, asked: Asked, deadline: float) -> str | None:
        try:
            return self._token.authorization(seconds=self._left(asked, deadline), again=True)
        except ConfigurationError as error:
            raise StoreRefused(f"{asked} refused the token, and {error.message}", next=error.next) from error

    def _exchange(
        self, asked: Asked, json: Mapping[str, Any] | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        limit = min(self._timeout, self._left(asked, deadline))
        exchange = _Exchange(self._opened(), asked, json, headers, limit)
        exchange.start()
        if not exchange.done.wait(limit):
            exchange.abandoned.set()
            self._forget(exchange.client)
            if not exchange.done.is_set():
                raise _lost(asked, exchange.sent, f"no complete answer within {limit:.1f} s")
            exchange.client.close()  # it ended just now, perhaps before it could see that it was abandoned
        if exchange.failure is not None:
            raise _lost(asked, exchange.sent, self._token.scrubbed(_words(exchange.failure))) from exchange.failure
        assert exchange.result is not None
        return exchange.result

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                verify = self._tls.context() if self.base_url.startswith("https:") else no_tls()
                try:
                    self._client = httpx.Client(verify=verify, follow_redirects=False)
                except (ValueError, ImportError, httpx.InvalidURL) as error:
                    raise ConfigurationError(
                        f"The proxy settings in the environment cannot be used: {quoted(str(error))}.",
                        next="Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
                    ) from error
            return self._client

    def _forget(self, client: httpx.Client) -> None:
        """A client that hangs is left to the thread that uses it, which closes it."""
        with self._lock:
            if self._client is client:
                self._client = None


class _Exchange:
    """One request and its answer, in a thread of its own."""

    def __init__(
        self,
        client: httpx.Client,
        asked: Asked,
        json: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        limit: float,
    ) -> None:
        self.client = client
        self.done = threading.Event()
        self.abandoned = threading.Event()
        self.sent = False
        self.failure: Exception | None = None
        self.result: tuple[int, Mapping[str, str], bytes] | None = None
        self._asked, self._json, self._headers, self._limit = asked, json, headers, limit

    def start(self) -> None:
        """Carries it out beside us; here, when the machine has no thread left to give."""
        try:
            threading.Thread(target=self._run, name="flipt-http", daemon=True).start()
        except RuntimeError:
            self._run()

    def _run(self) -> None:
        try:
            self.result = self._carry_out()
        except Exception as error:
            self.failure = error
        finally:
            self.done.set()
            if self.abandoned.is_set():
                self.client.close()

    def _carry_out(self) -> tuple[int, Mapping[str, str], bytes]:
        request = self.client.build_request(
            self._asked.method,
            self._asked.url,
            json=self._json,
            headers={"accept": "application/json", **self._headers},
            timeout=self._limit,
            extensions={"trace": self._trace},
        )
        response = self.client.send(request, stream=True)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if self.abandoned.is_set() or len(body) > MAX_BODY:
                    raise httpx.ReadError("the answer is too long")
            return response.status_code, dict(response.headers), bytes(body)
        finally:
            response.close()

    def _trace(self, event: str, _: Mapping[str, Any]) -> None:
        # From here on the server may have got the request; before, certainly not.
        if event.endswith(".send_request_headers.started"):
            self.sent = True


def _lost(asked: Asked, sent: bool, why: str) -> Exception:
    error = StoreUnreachable(f"{asked} failed: {why}.", next=REACH)
    return AnswerLost(error) if sent and asked.expects_write else error


def _words(error: Exception) -> str:
    kinds: list[tuple[type[Exception], str]] = [
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.ConnectError, "no connection"),
        (httpx.TimeoutException, "no answer in time"),
        (httpx.TransportError, "the connection broke"),
    ]
    kind = next((words for cls, words in kinds if isinstance(error, cls)), type(error).__name__)
    said = quoted(str(error)).rstrip(".")
    return f"{kind} ({said})" if said else kind


def _header(authorization: str | None) -> dict[str, str]:
    return {"authorization": authorization} if authorization else {}


def _checked(base_url: str) -> str:
    advice = "ROLLBACK_FLIPT_URL is an address such as https://flipt.example.gov."
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port  # a wrong port raises here
        httpx.URL(base_url.strip())
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError("The address of Flipt cannot be read.", next=advice) from error
    if parts.username or parts.password:
        # Not shown: the address would carry the secret into every message.
        raise ConfigurationError(
            "The address of Flipt holds a user name or password.", next="Give a token in ROLLBACK_FLIPT_TOKEN instead."
        )
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigurationError(f"{quoted(base_url)} is not the address of a Flipt.", next=advice)
    return base_url.strip().rstrip("/")
