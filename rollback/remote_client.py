"""Talks to a server (`rollback serve`) for the command line: one call, its events as they happen, hard time limits.

The HTTP library's own limits bound one wait at a time, and not a name server that hangs. So the exchange runs in a
thread of its own, which is left behind when the time is up; whether the request had been sent by then is always known.
Authorities of your own: the variable SSL_CERT_FILE, as OpenSSL reads it. Proxies of the environment are not used.
"""

from __future__ import annotations

import json
import queue
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rollback.errors import ConfigurationError, RollbackError
from rollback.kill_settings import KillSettings
from rollback.words import clean

PREFIX = "/api/v1"
STREAM = "application/x-ndjson"
PROBLEM = "application/problem+json"
MAX_LINE = 64 * 1024 * 1024
"""Characters; a longer event is not our server's."""
TOKEN_SECONDS = 10.0
"""How long the command that prints the token may take."""

Event = dict[str, Any]


class ServerGone(RollbackError):
    """The server did not answer, or something in front of it answered for it.

    `sent` is True when the request may have arrived; else it certainly did not.
    """

    code = "server_unreachable"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Answered(RollbackError):
    """The server answered with a problem. `status` is that of HTTP; the rest is as the same error is told here."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(_text(problem.get("detail")), next=_text(problem.get("next")))
        self.code = _text(problem.get("code")) or "unexpected"
        self.exit_code = _number(problem.get("exit"), 1)
        self.status = _number(problem.get("status"), 500)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `path` is behind `/api/v1` and escaped already. `body` None: without one."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: until the first event, and between two events (the server lets a beat be heard every 2 s)."""

    first: float = 15.0
    silence: float = 15.0


class RemoteClient:
    """The server at `url`, with a token. `call` may be used once at a time."""

    def __init__(self, url: str, token: str, limits: Limits | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._limits = limits or Limits()

    def call(self, call: Call) -> Iterator[Event]:
        """The events of a call until its last one, without beats.

        Raises `ServerGone`, `Answered`, and `ConfigurationError` when what answers is no such server.
        """
        exchange = _Exchange(self._url, self._token, call, self._limits)
        exchange.start()
        try:
            wait = self._limits.first
            while True:
                event = exchange.next_event(wait)
                wait = self._limits.silence
                if event is None:
                    return
                if "beat" not in event:
                    yield event
        finally:
            exchange.abandon()


_END = object()


class _Exchange:
    """One request in a thread of its own."""

    def __init__(self, url: str, token: str, call: Call, limits: Limits) -> None:
        self._url, self._token, self._call, self._limits = url, token, call, limits
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sent = False
        self._abandoned = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="rollback-server", daemon=True).start()

    def next_event(self, seconds: float) -> Event | None:
        """The next one; None at the end. Raises what ended the exchange."""
        try:
            item = self._events.get(timeout=seconds)
        except queue.Empty:
            raise ServerGone(f"{self._url} did not answer within {seconds:g} s", sent=self.abandon()) from None
        if item is _END:
            return None
        if isinstance(item, Exception):
            raise item
        event: Event = item
        return event

    def abandon(self) -> bool:
        """From now on nothing is sent; True when the request was sent before."""
        with self._lock:
            self._abandoned = True
            return self._sent

    def _run(self) -> None:
        try:
            self._carry_out()
        except RollbackError as error:
            self._events.put(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError, _Abandoned) as error:
            with self._lock:
                sent = self._sent
            self._events.put(ServerGone(f"{self._url} is out of reach: {_words(error)}", sent=sent))
        except Exception as error:
            self._events.put(error)
        else:
            self._events.put(_END)

    def _carry_out(self) -> None:
        limits = httpx.Timeout(self._limits.silence, connect=self._limits.first)
        verify = ssl.create_default_context() if self._url.startswith("https:") else False
        headers = {"authorization": f"Bearer {self._token}", "accept": f"{STREAM}, {PROBLEM}"}
        # No proxy and no .netrc: a token for this server goes to this server.
        with (
            httpx.Client(verify=verify, timeout=limits, trust_env=False, follow_redirects=False) as client,
            client.stream(
                self._call.method,
                f"{self._url}{PREFIX}{self._call.path}",
                params=dict(self._call.query),
                json=self._call.body,
                headers=headers,
                extensions={"trace": self._trace},
            ) as response,
        ):
            self._read(response)

    def _read(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == PROBLEM:
            raise Answered(_object(response.read()))
        changes = self._call.method != "GET"
        if response.status_code in (502, 503, 504):  # a proxy's own: 503 is one that had nobody to pass it to
            sent = changes and response.status_code != 503
            raise ServerGone(f"{self._url} answers HTTP {response.status_code}, without our server's words", sent=sent)
        if response.status_code != 200 or kind != STREAM:
            raise ConfigurationError(
                f"{self._url} answers HTTP {response.status_code} ({clean(kind) or 'no type'}), not like our server.",
                next="Check ROLLBACK_SERVER.",
            )
        for line in _lines(response):
            event = _object(line)
            self._events.put(event)
            if self._abandoned or "exit" in event or "problem" in event:
                return
        raise httpx.ReadError("the answer ended before its end")

    def _trace(self, event: str, _: Mapping[str, Any]) -> None:
        """From the request's first byte on the server may have got it; before, certainly not."""
        if not event.endswith(".send_request_headers.started"):
            return
        with self._lock:
            if self._abandoned:
                raise _Abandoned
            self._sent = True


class _Abandoned(Exception):
    """Nobody waits for it any more, and it was not sent."""


def _lines(response: httpx.Response) -> Iterator[bytes]:
    rest = b""
    for chunk in response.iter_raw():
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > MAX_LINE:
            raise httpx.ReadError("an event is too long")


def _object(text: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    raise httpx.ReadError("what it says is not JSON")


def _text(value: object) -> str:
    return clean(str(value)) if value is not None else ""


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _words(error: Exception) -> str:
    kinds: list[tuple[type[Exception], str]] = [
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.ConnectError, "no connection"),
        (httpx.TimeoutException, "no answer in time"),
        (httpx.TransportError, "the connection broke"),
    ]
    kind = next((words for cls, words in kinds if isinstance(error, cls)), type(error).__name__)
    said = clean(str(error)).strip().rstrip(".")[:160]
    return f"{kind} ({said})" if said else kind


# -- the token -----------------------------------------------------------------------------------------------------


def token_of(settings: KillSettings) -> str:
    """Our token. Raises `ConfigurationError` when there is none, or none that can be used; it never shows."""
    if settings.token:
        return settings.token
    if settings.token_file:
        return _checked(_from_file(settings.token_file), "the file of ROLLBACK_TOKEN_FILE")
    if settings.token_command:
        return _checked(_from_command(settings.token_command), "the command of ROLLBACK_TOKEN_COMMAND")
    raise ConfigurationError(
        "ROLLBACK_SERVER is set, and there is no token for it.",
        next="Set ROLLBACK_TOKEN_FILE; a token comes from: rollback token issue NAME --role responder",
    )


def _from_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"The token file {path} cannot be read: {reason}.", next=CHECK) from error


CHECK = "Check ROLLBACK_TOKEN_FILE, or ROLLBACK_TOKEN_COMMAND."


def _from_command(line: str) -> str:
    import shlex
    import subprocess

    try:
        done = subprocess.run(  # no shell
            shlex.split(line), stdin=subprocess.DEVNULL, capture_output=True, timeout=TOKEN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:  # `from None`: the exception holds what was printed so far
        raise ConfigurationError(f"The token command did not end within {TOKEN_SECONDS:g} s.", next=CHECK) from None
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError(f"The token command cannot be run: {type(error).__name__}.", next=CHECK) from None
    if done.returncode != 0:
        raise ConfigurationError(f"The token command failed with exit code {done.returncode}.", next=CHECK)
    return done.stdout.decode("utf-8", errors="replace")


def _checked(raw: str, origin: str) -> str:
    token = raw.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # Such a header would be refused by the HTTP library, with the token in its message.
        raise ConfigurationError(f"There is no usable token in {origin} (empty, or several lines).", next=CHECK)
    return token
