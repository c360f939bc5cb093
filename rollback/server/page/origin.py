"""Whether a request comes from our own page, and over what. Pure: from headers that a page's scripts cannot forge."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

PROXY = "If a proxy is in front, it must pass the Host header on as it came."

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@/\[\]\s]+)(?::[0-9]+)?")


def why_foreign(headers: Mapping[str, str]) -> str:
    """Why a request that changes something is not from our own page; empty: it is.

    Browsers send Origin with every POST (fetch.spec.whatwg.org, "append a request Origin header"), and newer ones
    Sec-Fetch-Site (w3.org/TR/fetch-metadata). A request without Origin is no browser's: programs have `/api/v1`.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return "It comes from another site."
    origin, host = _netloc(headers.get("origin", "")), headers.get("host", "").lower()
    if not origin:
        return "It does not say from which page it comes."
    if origin != host:
        return f"It comes from another address than the one it was sent to. {PROXY}"
    return ""


def is_secure(headers: Mapping[str, str]) -> bool:
    """Whether the browser came over TLS: its own word, in Origin, since a proxy ends TLS before us."""
    return headers.get("origin", "").lower().startswith("https://")


def is_loopback(headers: Mapping[str, str]) -> bool:
    """Whether the browser runs on this very machine, by the address that it called."""
    found = _HOST.fullmatch(headers.get("host", ""))
    name = found[1].strip("[]").lower() if found else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""
