"""The token by which a job's own system says which pipeline it is: from GitHub Actions, or from a variable of GitLab.

GitHub gives one for the asking, good for minutes and for one audience: the server that it is shown to.
Sources: docs.github.com/actions/reference/security/oidc, docs.gitlab.com/ci/secrets/id_token_authentication.
"""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from rollback.errors import ConfigurationError, StoreUnreachable

REQUEST_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the name of a variable
WITHIN = 10.0
"""Seconds for asking GitHub."""
MAX_BODY = 64 * 1024

_TOKEN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


def id_token(environ: Mapping[str, str], audience: str, variable: str | None) -> str | None:
    """The job's token; None where no system gives one. `variable` names the one of GitLab that holds it.

    Raises `ConfigurationError` when the variable holds none, `StoreUnreachable` when GitHub gives none.
    """
    if variable is not None:
        token = environ.get(variable, "")
        if _TOKEN.fullmatch(token) is None:
            raise ConfigurationError(
                f"The variable {variable[:80]} of --id-token-variable holds no token.",
                next=f"Name it under id_tokens in the job, with aud: {audience}",
            )
        return token
    url, secret = environ.get(REQUEST_URL, ""), environ.get(REQUEST_TOKEN, "")
    return _asked(url, secret, audience) if url and secret else None


def _asked(url: str, secret: str, audience: str) -> str:
    """What GitHub answers, in a thread that is left behind when the time is up."""
    _check_address(url)
    if re.fullmatch(r"[!-~]+", secret) is None:
        raise ConfigurationError(f"{REQUEST_TOKEN} holds what a header cannot hold.")
    found: list[str | None] = []

    def ask() -> None:
        found.append(_answer(url, secret, audience))

    thread = threading.Thread(target=ask, name="id-token", daemon=True)
    thread.start()
    thread.join(WITHIN)
    if not found or found[0] is None:
        raise StoreUnreachable(
            "GitHub gives this job no token; certainly nothing changed.",
            next="Does the job have the permission `id-token: write`? A token of the server goes in ROLLBACK_TOKEN.",
        )
    return found[0]


def _answer(url: str, secret: str, audience: str) -> str | None:
    """The token in the answer; None for any other answer. Nothing of it is told: it may hold secrets."""
    try:
        with (
            httpx.Client(timeout=WITHIN, follow_redirects=False) as client,
            client.stream(
                "GET",
                httpx.URL(url).copy_merge_params({"audience": audience}),
                headers={"authorization": f"Bearer {secret}", "accept": "application/json"},
            ) as response,
        ):
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY:
                    return None
        told = json.loads(body) if response.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError):
        return None
    value = told.get("value") if isinstance(told, dict) else None
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _check_address(url: str) -> None:
    """The secret goes over https, or to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not url.startswith("https://") and not (url.startswith("http://") and is_here):
        raise ConfigurationError(f"{REQUEST_URL} is no https:// address, so no secret is sent there.")
