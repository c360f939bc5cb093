"""Fetches the keys with which a pipeline's own system signs its tokens (OpenID Connect Discovery 1.0, 4; RFC 7517).

Only issuers that the policy names are ever asked: an address in a token leads nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from rollback.adapters.careful_http import CarefulHttp
from rollback.errors import StoreRefused

WITHIN = 5.0
"""Seconds for both answers together: somebody waits for the door to open."""
MAX_BODY = 256 * 1024
"""Bytes of one answer; GitHub's is 10 KB."""
MAX_KEYS = 100
DISCOVERY = "/.well-known/openid-configuration"


class HttpSigningKeys:
    """Asks an issuer: first where its keys are, then for them. They lie on its own host, or they are refused.

    Calling it gives the keys as the issuer wrote them; raises `StoreUnreachable` and `StoreRefused`.
    """

    def __init__(self, monotonic: Callable[[], float], *, within: float = WITHIN, max_body: int = MAX_BODY) -> None:
        self._monotonic = monotonic
        self._within = within
        self._max_body = max_body

    def __call__(self, issuer: str) -> Sequence[Mapping[str, Any]]:
        """The keys of this issuer, now."""
        at = self._http(issuer)
        deadline = at.deadline(self._within)
        try:
            told = at.get(DISCOVERY, deadline=deadline).document
        finally:
            at.close()
        if not isinstance(told, Mapping) or told.get("issuer") != issuer:
            raise StoreRefused(f"{issuer} does not describe itself as that issuer.")
        host, path = self._place_of_keys(issuer, told.get("jwks_uri"))
        keys = self._http(host)
        try:
            found = keys.get(path, deadline=deadline).document
        finally:
            keys.close()
        listed = found.get("keys") if isinstance(found, Mapping) else None
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise StoreRefused(f"What {issuer} gives as its keys is no list of keys.")
        return [one for one in listed if isinstance(one, Mapping)]

    def _http(self, url: str) -> CarefulHttp:
        return CarefulHttp(
            url, "the issuer of tokens", monotonic=self._monotonic, timeout=self._within, max_body=self._max_body
        )

    def _place_of_keys(self, issuer: str, told: object) -> tuple[str, str]:
        """Host and path of the keys. Another host could speak for the issuer without being it."""
        text = told if isinstance(told, str) and len(told) <= 2000 else ""
        try:
            own, named = urlsplit(issuer), urlsplit(text)
            is_same = (own.scheme, own.hostname, own.port) == (named.scheme, named.hostname, named.port)
        except ValueError:
            named, is_same = urlsplit(""), False
        if not is_same or named.query or named.fragment or named.username:
            raise StoreRefused(f"The keys of {issuer} do not lie on its own host, so they are not taken.")
        return f"{named.scheme}://{named.netloc}", named.path
