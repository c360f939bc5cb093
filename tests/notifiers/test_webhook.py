"""What a system of one's own is given, and that it can know who wrote."""

from __future__ import annotations

import base64
import hashlib
import hmac
import traceback

import pytest

from rollback.adapters.notifiers.webhook import WebhookChannel, webhook_id
from rollback.errors import ConfigurationError
from rollback.sandbox.wire import Answer, Request
from tests.fakes.clock import NOON, FakeClock
from tests.notifiers.stand_ins import a_notice, people

RAW = b"0123456789abcdef01234567"
SECRET = "whsec_" + base64.b64encode(RAW).decode()


def is_authentic(request: Request, key: bytes) -> bool:
    """As a receiver checks it, written from the specification."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [one.partition(",") for one in request.headers["webhook-signature"].split()]
    return any(version == "v1" and hmac.compare_digest(value, wanted) for version, _, value in versions)


def sent(*notices: object, secret: str | None = SECRET, clock: FakeClock | None = None) -> list[Request]:
    with people(Answer(204)) as server:
        channel = WebhookChannel("w", server.url, clock=clock or FakeClock(), secret=secret)
        for notice in notices:
            channel.send(notice)  # type: ignore[arg-type]
        return server.requests


def test_the_document_says_everything_that_the_notice_says() -> None:
    with people(Answer(200)) as server:
        WebhookChannel("w", server.url, clock=FakeClock()).send(
            a_notice("k9", text="Off for all.\nproven", urgency="call", role="Watch Officer")
        )
        (document,) = server.documents
    assert document == {
        "type": "rollback.notice",
        "timestamp": "2026-11-23T12:00:00.000000Z",
        "data": {
            "key": "k9",
            "urgency": "call",
            "feature": "secure-messaging",
            "incident": "sm-1",
            "role": "Watch Officer",
            "headline": "Off for all.",
            "text": "Off for all.\nproven",
        },
    }


PLAIN = "a plain secret of 26 bytes"


@pytest.mark.parametrize(("secret", "key"), [(SECRET, RAW), (PLAIN, PLAIN.encode())])
def test_the_signature_is_of_these_very_bytes_and_of_this_key(secret: str, key: bytes) -> None:
    (request,) = sent(a_notice(text="words – with a dash"), secret=secret)
    assert is_authentic(request, key)
    assert not is_authentic(request, b"another key of that length")
    request.body += b" "
    assert not is_authentic(request, key)


def test_a_moved_timestamp_or_id_breaks_the_signature() -> None:
    for name, value in (("webhook-timestamp", str(int(NOON.timestamp()) + 1)), ("webhook-id", webhook_id("other"))):
        (request,) = sent(a_notice())
        assert is_authentic(request, RAW)
        request.headers[name] = value
        assert not is_authentic(request, RAW)


def test_a_notice_that_is_sent_again_keeps_its_id_and_gets_a_new_time() -> None:
    clock = FakeClock()
    with people(Answer(204)) as server:
        channel = WebhookChannel("w", server.url, clock=clock, secret=SECRET)
        channel.send(a_notice("same"))
        clock.elapsed += 60
        channel.send(a_notice("same"))
        channel.send(a_notice("other"))
        first, again, other = (request.headers for request in server.requests)
    assert first["webhook-id"] == again["webhook-id"] != other["webhook-id"]
    assert int(again["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != again["webhook-signature"]


@pytest.mark.parametrize("key", ["", "with.full.stop", "\ud800", "x" * 5000, "line\nend", "ключ"])
def test_an_id_is_short_and_without_a_full_stop_whatever_the_key(key: str) -> None:
    found = webhook_id(key)
    assert found.startswith("msg_")
    assert found.isascii()
    assert "." not in found
    assert len(found) == 36


def test_without_a_secret_nothing_pretends_to_be_signed() -> None:
    (request,) = sent(a_notice(), secret=None)
    assert "webhook-signature" not in request.headers
    assert request.headers["webhook-id"] == webhook_id("k1")


@pytest.mark.parametrize(
    "secret", ["", "too-short-to-be-a-secret"[:23], "whsec_", "whsec_dG9vIHNob3J0", "whsec_not base64 at all!!!!!!!!!"]
)
def test_a_secret_that_protects_nothing_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="The secret of webhook 'w'") as caught:
        WebhookChannel("w", "https://hooks.example.org/x", clock=FakeClock(), secret=secret)
    told = "".join(traceback.format_exception(caught.value)) + caught.value.next
    for part in (secret.removeprefix("whsec_"), "too short"):
        assert not part or part not in told.replace("from None", "")
