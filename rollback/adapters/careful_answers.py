"""What an answer of a monitoring system means: status and body in, a document or the right error out.

Nothing that the server said is repeated in a message: it may echo a secret, and it is untrusted.
"""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx

from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable

LONGEST_WAIT = 3600.0
"""Seconds; a server that asks for more is asked again after an hour."""


class Denied(StoreRefused):
    """401 or 403: who we are, or what we may read. `status` tells which."""

    def __init__(self, message: str, status: int, *, next: str = "") -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.status = status


class NotThere(StoreRefused):
    """404: there is no such thing, or no such path."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: the document and the headers (names in lower case)."""

    document: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Raw:
    status: int
    headers: Mapping[str, str]
    body: bytes


def judged(asked: str, raw: Raw) -> Reply:
    """The document of an answer. `asked` names the question in messages.

    Raises `StoreUnreachable` (429 and 5xx, with `retry_after`; JSON that cannot be read), `Denied`, `NotThere`,
    `StoreRefused`.
    """
    if raw.status != 200:
        _refuse(asked, raw.status, asked_wait(raw.headers))
    return Reply(parsed(asked, raw), raw.headers)


def _refuse(asked: str, status: int, wait: float | None) -> NoReturn:
    message = f"{asked} answered {status}"
    if status in (401, 403):
        raise Denied(f"{message}: it does not accept who we are, or what we ask for.", status)
    if status == 404:
        raise NotThere(f"{message}: it has no such thing.", next="Is the address right, and is the path complete?")
    if status == 429:
        raise StoreUnreachable(f"{message}: too many requests.", retry_after=wait)
    if status >= 500 or status in (408, 425):
        raise StoreUnreachable(f"{message}.", retry_after=wait)
    if 300 <= status < 400:
        raise StoreRefused(f"{message}, a redirect; it was not followed.", next="Give the address it leads to.")
    raise StoreRefused(f"{message}, which is no answer to this question.")


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `X-RateLimit-Reset` (seconds), else `Retry-After` (seconds or a date).

    None when it does not say, or says nonsense. At most `LONGEST_WAIT`.
    """
    for name in ("x-ratelimit-reset", "retry-after"):
        told = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", told):
            return min(float(told), LONGEST_WAIT)
        if name == "retry-after" and told:
            try:
                at = parsedate_to_datetime(told)
            except ValueError:
                return None
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_WAIT)
    return None


def parsed(asked: str, raw: Raw) -> Any:
    encoding = raw.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise StoreRefused(f"{asked} answered in an encoding that was not asked for.")
    try:
        return json.loads(raw.body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        pass
    if "json" in raw.headers.get("content-type", "").lower():
        raise StoreUnreachable(f"{asked} answered 200 with JSON that cannot be read; was it cut off?")
    raise StoreRefused(
        f"{asked} answered 200 with something that is not JSON.",
        next="Is there a proxy or a login page in front of it?",
    )


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def words_of(error: Exception) -> str:
    """The kind of failure; never the error's text, which may quote what was sent."""
    kinds: list[tuple[type[Exception], str]] = [
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.ConnectError, "no connection"),
        (httpx.TimeoutException, "no answer in time"),
        (httpx.ProxyError, "the proxy gives no connection"),
        (httpx.RemoteProtocolError, "the answer broke off, or is not HTTP"),
        (httpx.TransportError, "the connection broke"),
    ]
    return next((words for kind, words in kinds if isinstance(error, kind)), type(error).__name__)


def checked_url(url: str, what: str) -> str:
    """The address without a slash at the end. Raises `ConfigurationError` for what is no place to send a secret to."""
    advice = f"The address of {what} is of the form https://host, with a path where a proxy adds one."
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname or "", parts.port  # a wrong port raises here
        httpx.URL(url.strip())
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"The address of {what} cannot be read.", next=advice) from error
    if parts.username or parts.password:
        raise ConfigurationError(f"The address of {what} holds a user name or password.", next=advice)
    if not host or parts.query or parts.fragment or parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"The address of {what} is not one that can be asked.", next=advice)
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"The address of {what} is http://; secrets are sent over https alone.", next="Use https://."
        )
    return url.strip().rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address; other names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusted(base_url: str) -> ssl.SSLContext:
    """Trusts the system's authorities; some builds of Python see none, then certifi's. Without https nobody."""
    if base_url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
        import certifi

        context.load_verify_locations(certifi.where())
    return context
