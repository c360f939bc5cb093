"""One careful read of an endpoint of a policy, for what is no sample itself: versions, maintenance, toggles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rollback.adapters.careful_answers import words_of
from rollback.adapters.careful_http import CarefulHttp
from rollback.core.policy import Request
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable

MAX_BODY = 512 * 1024
"""Bytes."""


class Unread(Exception):
    """It could not be read; `why` says it in words of our own."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Endpoint:
    """A JSON document at the address of a policy's `Request`, answered 200. Never asked when it is `unknown`."""

    def __init__(self, request: Request, what: str, monotonic: Callable[[], float], unknown: str | None = None) -> None:
        self.unknown = unknown or request.unknown_because
        self._request, self._what = request, what
        self._http: CarefulHttp | None = None
        self._path, self._params = "/", list[tuple[str, str]]()
        if self.unknown or request.url is None:
            return
        parts = urlsplit(request.url)
        self._path, self._params = parts.path or "/", parse_qsl(parts.query, keep_blank_values=True)
        try:
            self._http = CarefulHttp(
                f"{parts.scheme}://{parts.netloc}",
                what,
                monotonic=monotonic,
                timeout=request.timeout.total_seconds(),
                max_body=MAX_BODY,
            )
        except ConfigurationError as error:
            self.unknown = error.message

    def read(self, *more: tuple[str, str]) -> Any:
        """The document; `more` parameters are added to the address. Raises `Unread`.

        Each read makes a connection of its own: a kept one would always lead to the same instance.
        """
        if self._http is None:
            raise Unread(f"{self._what} is not asked: {self.unknown}")
        within = self._http.deadline(self._request.timeout.total_seconds())
        headers = {**self._request.sent_headers(), "connection": "close"}
        try:
            return self._http.get(self._path, deadline=within, params=[*self._params, *more], headers=headers).document
        except (StoreUnreachable, StoreRefused) as error:
            told = error.message.replace(f" (GET {self._http.base_url}{self._path})", "")
            raise Unread(told[:160]) from None
        except Exception as error:  # a fault of ours: its text may hold anything
            raise Unread(f"{self._what} could not be read: {words_of(error)}") from None

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self._http is not None:
            self._http.close()
