"""A verifier of tokens over an issuer on this machine, with one pipeline in its policy."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from rollback.adapters.signing_keys import HttpSigningKeys
from rollback.adapters.token_uses.memory import MemoryTokenUses
from rollback.core.pipeline_policy import Pipeline
from rollback.errors import RollbackError
from rollback.oidc import SigningKeys, TokenRefused, Verifier
from tests.fakes.oidc_issuer import Issuer, rsa_key

AUDIENCE = "https://rollback.example.org"
KEY = rsa_key()
"""Making one takes a while; tests that change nothing of it share it."""


def pipeline(issuer: Issuer, **more: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "repository": "org/repo",
            "environment": "production",
            "workflow_ref": "org/repo/.github/workflows/deploy.yml@refs/heads/main",
            **more,
        }
    )


def verifier(issuer: Issuer, *, refresh_every: float = 30.0, within: float = 5.0, **more: Any) -> Verifier:
    fetch = HttpSigningKeys(time.monotonic, within=within)
    keys = SigningKeys(fetch, time.monotonic, refresh_every=refresh_every)
    return Verifier({"deploy": pipeline(issuer, **more)}, keys, MemoryTokenUses())


def now() -> datetime:
    return datetime.now(UTC)


def refused(door: Verifier, token: str, kind: type[RollbackError] = TokenRefused) -> str:
    """Why it is refused; its text is not repeated."""
    with pytest.raises(kind) as caught:
        door.identity(token, now())
    for part in token.split("."):
        assert len(part) < 8 or part not in caught.value.message + caught.value.next
    return caught.value.message
