"""How the AppDynamics controller knows us: an API client (OAuth client credentials), or a user with a password."""

from __future__ import annotations

import math
from typing import Protocol

from rollback.adapters.careful_answers import Denied
from rollback.adapters.careful_http import CarefulHttp, Secret, basic
from rollback.errors import ConfigurationError, StoreRefused
from rollback.ports import Clock

TOKEN_PATH = "/controller/api/oauth/access_token"  # noqa: S105 - a path
EARLY = 30.0
"""Seconds before its end at which a token is replaced."""


class Access(Protocol):
    """Gives the `Authorization` header. `renew`: the last one was refused; None when there is no other."""

    def authorization(self, http: CarefulHttp, deadline: float, *, renew: bool = False) -> str | None: ...


class ApiClient:
    """An API client of the controller: `name@account` and its secret, exchanged for a token of a few minutes.

    Source: docs.appdynamics.com, Extend AppDynamics, API Clients.
    """

    def __init__(self, client_id: str, secret: Secret, *, clock: Clock) -> None:
        self._client_id = _with_account(client_id)
        self._secret = secret
        self._clock = clock
        self._token = ""
        self._ends = -math.inf

    def __repr__(self) -> str:
        return f"ApiClient({self._client_id})"

    def authorization(self, http: CarefulHttp, deadline: float, *, renew: bool = False) -> str | None:
        """The present token, or a new one. Raises `StoreRefused` when there is none to be had."""
        if renew or self._clock.monotonic() >= self._ends - EARLY:
            self._token, self._ends = self._fetched(http, deadline)
        return f"Bearer {self._token}"

    def _fetched(self, http: CarefulHttp, deadline: float) -> tuple[str, float]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._secret(),
        }
        try:
            document = http.post_form(TOKEN_PATH, form, deadline=deadline).document
        except Denied as denied:
            raise StoreRefused(
                f"AppDynamics gives no token to the API client {self._client_id} ({denied.status}).",
                next="Check the client's name, account and secret.",
            ) from None
        token = document.get("access_token") if isinstance(document, dict) else None
        lasts = document.get("expires_in") if isinstance(document, dict) else None
        if not isinstance(token, str) or not token:
            raise StoreRefused("AppDynamics answered the request for a token with something that holds none.")
        usable = isinstance(lasts, (int, float)) and math.isfinite(lasts)
        return token, self._clock.monotonic() + (float(lasts or 0) if usable else 0.0)


class UserPassword:
    """A user of the controller: `user@account`, with a password, sent as HTTP basic authentication."""

    def __init__(self, user: str, password: Secret) -> None:
        self._user = _with_account(user)
        if ":" in user:
            raise ConfigurationError("A user of AppDynamics is of the form user@account, without a colon.")
        self._password = password

    def __repr__(self) -> str:
        return f"UserPassword({self._user})"

    def authorization(self, http: CarefulHttp, deadline: float, *, renew: bool = False) -> str | None:  # noqa: ARG002
        """The header; there is no other one when it was refused."""
        if renew:
            return None
        return basic(lambda: self._user, self._password)()["authorization"]


def _with_account(name: str) -> str:
    if "@" not in name.strip("@") or not name.isprintable():
        raise ConfigurationError(
            "A user or API client of AppDynamics is given with its account.", next="Write name@account."
        )
    return name
