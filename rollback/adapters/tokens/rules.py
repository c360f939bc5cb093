"""What a token is: its secret, its hash, and which names and roles there are. Shared by all stores of tokens."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from rollback.errors import ConfigurationError

ROLES = ("viewer", "responder", "approver", "ci")
PREFIX = "rb_"
"""What a secret begins with, so that scanners and people know one when they see it."""
USE_KEPT_EVERY = timedelta(minutes=1)

_NAME = re.compile(r"[A-Za-z0-9@._+-]{1,64}")
_SECRET = re.compile(r"rb_[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """The prefix and 32 random bytes."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes | None:
    """The SHA-256 that is kept in place of the secret; None for a text that cannot be one of our secrets.

    One fast hash without salt is enough because the secret has 256 random bits: there is nothing to guess, no
    dictionary to try, and no two are equal. Slow hashes and salts make up for passwords that people choose. Source:
    NIST SP 800-63B, 5.2.7 (an approved hash, of secrets with at least 112 bits of strength). The lookup by hash tells
    a listener nothing: who does not know the secret cannot choose its hash.
    """
    if _SECRET.fullmatch(secret) is None:
        return None
    return hashlib.sha256(secret.encode("ascii")).digest()


def checked(name: str, role: str, expires_at: datetime | None, now: datetime) -> None:
    """Raises `ConfigurationError` when no token may be issued like this."""
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            "a token's name must have 1 to 64 letters, digits or @ . _ + -", next="choose one such as deploy-pipeline"
        )
    if role not in ROLES:
        raise ConfigurationError(f"the role {role!r:.40} is unknown", next=f"use one of {', '.join(ROLES)}")
    if expires_at is not None and (expires_at.utcoffset() is None or expires_at <= now):
        raise ConfigurationError(
            f"the token {name} would be expired already: its end must lie ahead, with an offset from UTC",
            next="choose a later time",
        )


def name_taken(name: str) -> ConfigurationError:
    """The name belongs to a token that works."""
    return ConfigurationError(
        f"there is a token with the name {name} already", next=f"revoke {name} first, or choose another name"
    )
