"""The application's own read-back over HTTP: does it say itself that the feature is off?

For example vets-api, `GET /v0/feature_toggles?features=x`, with `data.features[name=x].value equals false`. Such a
caller has no user, so an answer of "on" means fully on; "off" can also mean "not for everybody". It adds to the proof
and replaces no part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from rollback.adapters.bounded import AFTERWARDS, within
from rollback.adapters.flipt_http.lean import httpx
from rollback.adapters.flipt_http.tls import Tls, no_tls
from rollback.core.json_assertions import JsonAssertion, check
from rollback.core.proof import ProofPart, Status, effect_part
from rollback.errors import RollbackError

MAX_BODY = 1024 * 1024
"""Bytes; a longer answer is not read."""


class Condition(Protocol):
    """An assertion of a policy."""

    def as_json_assertion(self) -> JsonAssertion: ...


class ReadBack(Protocol):
    """What a policy says about the read-back (`core.policy.EffectCheck`). The assertions hold exactly when it is off.

    `unknown_because` says why it cannot be asked (a variable in its address is not set), None when it can.
    """

    @property
    def url(self) -> str | None: ...
    @property
    def method(self) -> str: ...
    @property
    def timeout(self) -> timedelta: ...
    @property
    def assertions(self) -> Sequence[Condition]: ...
    @property
    def unknown_because(self) -> str | None: ...
    def sent_headers(self) -> Mapping[str, str]: ...
    def expects(self, status: int) -> bool: ...


class EffectCheck:
    """Asks the application and compares. Raises ValueError for a read-back without assertions."""

    def __init__(
        self,
        read_back: ReadBack,
        *,
        tls: Tls | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._read_back = read_back
        self._off_when = tuple(one.as_json_assertion() for one in read_back.assertions)
        if not self._off_when:
            raise ValueError("an effect check without assertions says nothing")
        self._tls = tls or Tls()
        self._now = now

    def look(self, deadline: float) -> ProofPart:
        """The part `effect`: proven, open (still on) or unknown, with a detail that quotes no answer. Never raises."""
        url = self._read_back.url
        if url is None or self._read_back.unknown_because:
            return effect_part(Status.UNKNOWN, self._read_back.unknown_because or "it has no address", self._now())
        limit = min(self._read_back.timeout.total_seconds(), deadline - time.monotonic())
        try:
            status, detail = self._judge(within(limit, lambda: self._fetch(url, limit)))
        except Exception as error:  # the promise is to answer; what went wrong is part of the answer
            why = str(error) if isinstance(error, (RollbackError, TimeoutError)) else type(error).__name__
            status, detail = Status.UNKNOWN, f"no answer ({why})"
        return effect_part(status, f"{_without_secrets(url)}: {detail}", self._now())

    def _judge(self, answer: tuple[int, bytes]) -> tuple[Status, str]:
        code, body = answer
        if not self._read_back.expects(code):
            return Status.UNKNOWN, f"answered {code}"
        try:
            document: Any = json.loads(body)
        except (ValueError, RecursionError):
            return Status.UNKNOWN, "answered with something that is no JSON"
        failures = check(document, self._off_when)
        if not failures:
            return Status.PROVEN, "the application says that it is off"
        if any(failure.missing for failure in failures):
            return Status.UNKNOWN, "; ".join(str(failure) for failure in failures)
        return Status.OPEN, "; ".join(str(failure) for failure in failures)

    def _fetch(self, url: str, limit: float) -> tuple[int, bytes]:
        end = time.monotonic() + limit
        _ = urlsplit(url).port  # raises for one that does not exist; the socket would be left open over it
        verify = self._tls.context() if url.startswith("https:") else no_tls()
        headers = {"accept": "application/json", **self._read_back.sent_headers()}
        with (
            httpx.Client(verify=verify, follow_redirects=False) as client,
            client.stream(self._read_back.method, url, headers=headers, timeout=limit + AFTERWARDS) as response,
        ):
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY or time.monotonic() > end:
                    raise httpx.ReadError("the answer is too long")
            return response.status_code, bytes(body)


def _without_secrets(url: str) -> str:
    """The address without user, query and fragment."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "the effect check"
