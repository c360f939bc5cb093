"""One careful POST of a JSON document to an address that is itself a secret."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from rollback.notice_ports import PerhapsTold
from rollback.ports import Clock

MAX_ANSWER = 16_384
"""Bytes of an answer that are read; none of the systems says more than a word."""

MAX_SECONDS = 15.0
"""A sending may not last longer: below the lease of the outbox's claims, after which another process sends it too."""

CONNECT_SECONDS = 5.0
"""Until there is a connection; below the whole time, so that running out of that means: it may have arrived."""

THREAD = "notice-post"
"""The name of the threads in which requests are made."""

LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")
"""The loggers of the HTTP library."""

_TRY_LATER = (408, 425, 429)
"""Turned away at the door: certainly not told (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its headers with names in lower case, and the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _NothingOfOurs(logging.Filter):
    """Keeps the HTTP library from logging our requests (their address) and answers (they may repeat it)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets the records of all other threads through."""
        return record.threadName != THREAD


_NOTHING_OF_OURS = _NothingOfOurs()


class Post:
    """Sends to one address. `what` names the channel in messages, e.g. `Slack channel 'on-call'`.

    The address is https; http goes to this very machine alone. It is a secret (who knows the address of a Slack or
    Teams webhook may write there), so it appears in no message, no log, no exception and no repr: what the HTTP library
    logs of our requests is dropped, and what it raises is told in words of our own. Redirects are not followed, the
    system's proxies are used, nothing of an answer is repeated but a plain word. `seconds` bounds the whole exchange.
    `tls` replaces the context that verifies against the system's authorities. Raises `ConfigurationError`.
    """

    def __init__(
        self, what: str, url: str, *, clock: Clock, seconds: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.what = what
        self._clock = clock
        if not 0 < seconds <= MAX_SECONDS:
            raise ConfigurationError(f"{what} is given {seconds:g} s to answer; it must be at most {MAX_SECONDS:g} s.")
        self._seconds = seconds
        self._is_tls = _scheme(what, url) == "https"
        self._url = SecretStr(url)
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_NOTHING_OF_OURS)  # the same one again changes nothing
        self._tls = tls or (_verifying() if self._is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def send(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer of a success (2xx). Raises `StoreUnreachable` (try again), `PerhapsTold`, `StoreRefused`."""
        answer = self._exchange(body, {"content-type": "application/json", **(headers or {})})
        status = answer.status
        if 200 <= status < 300:
            return answer
        said = f"{self.what} answered {status}{_word(answer)}."
        if status in _TRY_LATER:
            raise StoreUnreachable(said, retry_after=self._retry_after(answer))
        if status >= 500:
            raise PerhapsTold(said, retry_after=self._retry_after(answer))
        if 300 <= status < 400:
            raise StoreRefused(f"{said} Redirects are not followed.", next="Give the final address.")
        raise StoreRefused(said, next="Check that the address is still the right one, and that it may be posted to.")

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """In a thread of its own: the library bounds each step, but neither the whole nor a name lookup."""
        found: list[Answer | StoreUnreachable] = []
        timeout = httpx.Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds / 2))
        try:
            client = httpx.Client(verify=self._tls, timeout=timeout, follow_redirects=False, trust_env=self._is_tls)
        except Exception as error:  # proxy settings that cannot be used
            raise StoreUnreachable(f"{self.what} cannot be reached from here ({type(error).__name__}).") from None
        try:
            thread = threading.Thread(
                target=lambda: found.append(self._asked(client, body, headers)), name=THREAD, daemon=True
            )
            thread.start()
            thread.join(self._seconds)
        except RuntimeError:
            raise StoreUnreachable(f"{self.what} cannot be reached: this machine has no thread to spare.") from None
        finally:
            client.close()  # also ends the exchange of a thread that is still waiting
        if not found:
            raise PerhapsTold(f"{self.what} gave no answer within {self._seconds:g} s.")
        if isinstance(found[0], StoreUnreachable):
            raise found[0]
        return found[0]

    def _asked(self, client: httpx.Client, body: bytes, headers: Mapping[str, str]) -> Answer | StoreUnreachable:
        # An error is returned, in words of our own: what the library raises remembers the request.
        try:
            with client.stream("POST", self._url.get_secret_value(), content=body, headers=dict(headers)) as response:
                names = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, names, _beginning(response))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            return StoreUnreachable(f"{self.what} cannot be reached ({type(error).__name__}).")
        except httpx.TransportError as error:
            return PerhapsTold(f"{self.what} gave no whole answer ({type(error).__name__}).")
        except Exception as error:
            return PerhapsTold(f"Sending to {self.what} failed on this side ({type(error).__name__}).")

    def _retry_after(self, answer: Answer) -> float | None:
        """`Retry-After` in seconds (RFC 9110, 10.2.3: a number or a date); None when it does not say."""
        value = answer.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return float(value)
        try:
            at = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        return max(0.0, (_aware(at) - self._clock.now()).total_seconds())


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A compact JSON document in ASCII, so that no letter can be unfit to be sent."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _word(answer: Answer) -> str:
    """The plain word that Slack answers with, e.g. `channel_is_archived`. It cannot hold a part of the address."""
    found = re.fullmatch(rb"[a-z_]{3,40}", answer.body.strip())
    return f" ({found[0].decode()})" if found else ""


def _beginning(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes(4096):
        body += chunk
        if len(body) >= MAX_ANSWER:
            break
    return body[:MAX_ANSWER]


def _scheme(what: str, url: str) -> str:
    """`https` or `http`. Raises `ConfigurationError` for an address that may not be used, without repeating it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        httpx.URL(url)  # it knows more about names of hosts
        whole = url.isascii() and url.isprintable() and " " not in url and bool(host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        raise _unfit(what, "is not a full address") from None
    if not whole:
        raise _unfit(what, "is not a full address")
    if "@" in parts.netloc:
        raise _unfit(what, "holds a user or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise _unfit(what, "does not begin with https://")
    return parts.scheme


def _unfit(what: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The address of {what} {why}.", next="Give the webhook's whole https:// address.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _verifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
        import certifi  # some builds of Python see no store of the system

        context.load_verify_locations(certifi.where())
    return context
