"""A plain JSON POST to a system of one's own, signed as Standard Webhooks says.

github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, version 1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
from datetime import datetime
from typing import Any

from pydantic import SecretBytes

from rollback.adapters.notifiers.sending import Post, json_bytes
from rollback.alert_ports import Notice
from rollback.errors import ConfigurationError
from rollback.notice_text import lines
from rollback.ports import Clock

PREFIX = "whsec_"

MIN_SECRET = 24
"""Bytes of a secret, by the specification (at most 64 there; more does no harm)."""


class WebhookChannel:
    """A `NoticeChannel` that posts `{"type", "timestamp", "data"}` and takes any 2xx as told.

    With `secret` (`whsec_` and base64, or the text itself) each request is signed over `id.timestamp.body`:
    `webhook-id`, the same whenever this notice is sent again, so that a receiver can drop repeats;
    `webhook-timestamp`, seconds since 1970 of this attempt; `webhook-signature`, `v1,` and the base64 of the
    HMAC-SHA256. Without a secret there is no signature, and the receiver cannot know who wrote. `url` is treated as a
    secret too. Raises `ConfigurationError` for an address or a secret that cannot be used.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        clock: Clock,
        secret: str | None = None,
        seconds: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._secret = None if secret is None else SecretBytes(_key(name, secret))
        self._post = Post(f"webhook {name!r}", url, clock=clock, seconds=seconds, tls=tls)

    def send(self, notice: Notice) -> None:
        """Posts it; 4xx is final, but for 408, 425 and 429."""
        now = self._clock.now()
        body = json_bytes(webhook_message(notice, now))
        message_id, seconds = webhook_id(notice.key), str(int(now.timestamp()))
        headers = {"webhook-id": message_id, "webhook-timestamp": seconds}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret.get_secret_value(), message_id, seconds, body)
        self._post.send(body, headers)

    def close(self) -> None:
        """Nothing stays open between notices."""


def webhook_message(notice: Notice, at: datetime) -> dict[str, Any]:
    """The document. `text` has all lines, `headline` is the first of them; `feature` and `incident` may be null. Pure.

    The words are plain text and may come from outside: a page that shows them has to escape them.
    """
    words = lines(notice.text)
    return {
        "type": "rollback.notice",
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "data": {
            "key": notice.key,
            "urgency": notice.urgency,
            "feature": notice.feature,
            "incident": notice.incident,
            "role": notice.role,
            "headline": words[0],
            "text": "\n".join(words),
        },
    }


def webhook_id(key: str) -> str:
    """The message's id, made of the notice's key: always the same, without a full stop, which would part what is
    signed at another place."""
    return f"msg_{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def signature(secret: bytes, message_id: str, seconds: str, body: bytes) -> str:
    """The value of `webhook-signature` over these very bytes."""
    signed = b".".join((message_id.encode(), seconds.encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _key(name: str, secret: str) -> bytes:
    key = secret.encode()
    if secret.startswith(PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (ValueError, binascii.Error):
            raise ConfigurationError(
                f"The secret of webhook {name!r} begins with {PREFIX}, but what follows is not base64.",
                next=f"Give {PREFIX} and the base64 of at least {MIN_SECRET} random bytes.",
            ) from None
    if len(key) < MIN_SECRET:
        raise ConfigurationError(
            f"The secret of webhook {name!r} has fewer than {MIN_SECRET} bytes.",
            next=f"Give {PREFIX} and the base64 of at least {MIN_SECRET} random bytes.",
        )
    return key
