"""Fuzzes the checks of authenticity: no header raises, and none that lacks the secret opens."""

from __future__ import annotations

import base64

from rollback.adapters.alert_sources.authenticity import (
    MALFORMED_CREDENTIALS,
    NO_CREDENTIALS,
    WRONG_CREDENTIALS,
    Basic,
    Bearer,
    PagerDutySignature,
    SecretHeader,
)
from tests.fuzz.running import main

SECRETS = ("a-secret-for-fuzzing-0123456789", "the-old-secret-fedcba9876543210")
CHECKS = (
    SecretHeader("X-Rollback-Secret", SECRETS),
    Basic("sender", SECRETS),
    Bearer(SECRETS),
    PagerDutySignature(SECRETS),
)
REFUSALS = frozenset({NO_CREDENTIALS, MALFORMED_CREDENTIALS, WRONG_CREDENTIALS})


def one_input(data: bytes) -> None:
    """The first line is a header's value, the rest the body. Raises when a check raises or lets a stranger in."""
    value, _, body = data.partition(b"\n")
    texts = [value.decode("latin-1"), value.decode("utf-8", "surrogateescape")]
    texts += [f"Basic {texts[0]}", f"Basic {base64.b64encode(value).decode()}", f"Bearer {texts[0]}", f"v1={texts[0]}"]
    knows = any(secret.encode() in value for secret in SECRETS)
    for text in texts:
        headers = dict.fromkeys(("x-rollback-secret", "authorization", "x-pagerduty-signature"), text)
        for check in CHECKS:
            verdict = check.check(headers, body)
            assert verdict in REFUSALS or (verdict is None and knows)


if __name__ == "__main__":
    main(one_input)
