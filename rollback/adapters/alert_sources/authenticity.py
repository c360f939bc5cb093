"""Whether a request comes from its sender: over the raw bytes, in constant time, before anything is read.

A source without a secret cannot be built, so that nothing is ever accepted for want of one. Every check compares with
each secret, and never stops at the first that fits. No secret shows in a representation or an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from rollback.errors import ConfigurationError

MIN_SECRET = 16
"""Characters that a secret has at least."""

MAX_SECRETS = 2
"""The new one and the old one, while senders are moved from one to the other."""

NO_CREDENTIALS = "no_credentials"
MALFORMED_CREDENTIALS = "malformed_credentials"
WRONG_CREDENTIALS = "wrong_credentials"

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


class Authenticity(Protocol):
    """Checks requests of one sender.

    `check` takes the headers with lower-case names and the raw body. None: authentic. Otherwise why not, as a stable
    word for counters: `no_credentials`, `malformed_credentials`, `wrong_credentials`. It never raises.
    `signs_body` is True when the credentials also prove that the body is the sender's: one whose secret merely comes
    along proves nothing of the body to whoever has seen the secret, and may need a guard.
    """

    @property
    def signs_body(self) -> bool: ...
    def check(self, headers: Mapping[str, str], body: bytes) -> str | None: ...


class SecretHeader:
    """The secret is the whole value of a header of our choice: what Datadog's custom headers can do.

    Raises `ConfigurationError` for a name that is no header's, and for secrets as `secrets` may not be: one or two,
    each of at least `MIN_SECRET` printable ASCII characters, without blanks at its ends.
    """

    signs_body = False

    def __init__(self, header: str, secrets: Sequence[str]) -> None:
        if not _HEADER_NAME.fullmatch(header):
            raise ConfigurationError(
                f"{header[:40]!r} cannot be the name of a header",
                next="Use letters, digits and dashes, such as X-Rollback-Secret.",
            )
        self._header = header.lower()
        self._secrets = _digests(secrets)

    def __repr__(self) -> str:
        return f"SecretHeader({self._header!r})"

    def check(self, headers: Mapping[str, str], body: bytes) -> str | None:  # noqa: ARG002 - the body is not signed
        """See `Authenticity`."""
        value = headers.get(self._header, "").strip()
        return _compared(value, self._secrets) if value else NO_CREDENTIALS


class Basic:
    """HTTP's Basic scheme (RFC 7617): one user, and the secret as password.

    Raises `ConfigurationError` for an empty user or one with a colon, and for secrets as in `SecretHeader`.
    """

    signs_body = False

    def __init__(self, user: str, secrets: Sequence[str]) -> None:
        if not user or ":" in user or not user.isprintable():
            raise ConfigurationError(
                f"{user[:40]!r} cannot be the user of a sender",
                next="Give a name without colon and control characters.",
            )
        self._user = user
        self._secrets = tuple(_digest(f"{user}:{secret}") for secret in _usable(secrets))

    def __repr__(self) -> str:
        return f"Basic({self._user!r})"

    def check(self, headers: Mapping[str, str], body: bytes) -> str | None:  # noqa: ARG002 - the body is not signed
        """See `Authenticity`."""
        given = headers.get("authorization", "").strip()
        if not given:
            return NO_CREDENTIALS
        scheme, _, encoded = given.partition(" ")
        if scheme.lower() != "basic":
            return MALFORMED_CREDENTIALS
        try:
            pair = base64.b64decode(encoded.strip().encode("ascii"), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeError):
            return MALFORMED_CREDENTIALS
        return _compared(pair, self._secrets) if ":" in pair else MALFORMED_CREDENTIALS


class Bearer:
    """The secret as a bearer token (RFC 6750). Raises `ConfigurationError` for secrets as in `SecretHeader`."""

    signs_body = False

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = _digests(secrets)

    def __repr__(self) -> str:
        return "Bearer()"

    def check(self, headers: Mapping[str, str], body: bytes) -> str | None:  # noqa: ARG002 - the body is not signed
        """See `Authenticity`."""
        given = headers.get("authorization", "").strip()
        if not given:
            return NO_CREDENTIALS
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return MALFORMED_CREDENTIALS
        return _compared(token.strip(), self._secrets)


class PagerDutySignature:
    """PagerDuty's V3 signature: `X-PagerDuty-Signature: v1=<hex>[,v1=<hex>…]`, HMAC-SHA256 of the raw body.

    Several stand there while PagerDuty's secret is rotated; any that fits one of ours counts. Other versions are passed
    over. The scheme has no time in it: a copy of a request stays authentic, so the age is checked on what it says.
    Raises `ConfigurationError` for secrets as in `SecretHeader`.
    Source: PagerDuty/developer-docs, docs/webhooks, Verifying Signatures.
    """

    signs_body = True

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(secret.encode("ascii") for secret in _usable(secrets))

    def __repr__(self) -> str:
        return "PagerDutySignature()"

    def check(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """See `Authenticity`."""
        given = headers.get("x-pagerduty-signature", "").strip()
        if not given:
            return NO_CREDENTIALS
        parts = (part.strip() for part in given.split(","))
        signatures = [part[3:] for part in parts if part.startswith("v1=") and _SIGNATURE.fullmatch(part[3:])]
        if not signatures:
            return MALFORMED_CREDENTIALS
        expected = [hmac.new(key, body, hashlib.sha256).hexdigest() for key in self._keys]
        fits = False
        for ours in expected:
            for theirs in signatures:
                fits |= hmac.compare_digest(ours, theirs)
        return None if fits else WRONG_CREDENTIALS


def authenticity(scheme: str, secrets: Sequence[str], *, header: str = "", user: str = "") -> Authenticity:
    """The check that a configuration names: `secret_header` (with `header`), `basic` (with `user`), `bearer` or
    `pagerduty_signature`. Raises `ConfigurationError`, which lists them, for any other word."""
    match scheme:
        case "secret_header":
            return SecretHeader(header, secrets)
        case "basic":
            return Basic(user, secrets)
        case "bearer":
            return Bearer(secrets)
        case "pagerduty_signature":
            return PagerDutySignature(secrets)
        case _:
            raise ConfigurationError(
                f"unknown authentication {scheme[:40]!r}",
                next="Use secret_header, basic, bearer or pagerduty_signature.",
            )


def _usable(secrets: Sequence[str]) -> tuple[str, ...]:
    if isinstance(secrets, str) or not 1 <= len(secrets) <= MAX_SECRETS:
        raise ConfigurationError(
            "a sender needs one secret, or two while it is changed",
            next="Set the variable that its `secrets` name; without one nothing is accepted.",
        )
    for number, secret in enumerate(secrets, 1):
        if len(secret) < MIN_SECRET:
            raise ConfigurationError(
                f"secret {number} of a sender is empty or shorter than {MIN_SECRET} characters",
                next="Make a long random one, such as `openssl rand -hex 32` gives.",
            )
        if not (secret.isascii() and secret.isprintable()) or secret != secret.strip():
            raise ConfigurationError(
                f"secret {number} of a sender has blanks at its ends, or characters that are not printable ASCII",
                next="Look for a line break at the end of the variable; make a new secret when there is none.",
            )
    return tuple(secrets)


def _digests(secrets: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(_digest(secret) for secret in _usable(secrets))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _compared(given: str, expected: Sequence[bytes]) -> str | None:
    digest = _digest(given)  # of one length always: the time tells nothing of the secret's
    fits = False
    for one in expected:
        fits |= hmac.compare_digest(digest, one)
    return None if fits else WRONG_CREDENTIALS
