"""Addresses that may be used, time that may pass, and what is never told: the address itself."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from rollback.adapters.notifiers.sending import MAX_ANSWER, Post, json_bytes
from rollback.adapters.notifiers.slack import SlackChannel
from rollback.adapters.notifiers.teams import TeamsChannel
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.alert_ports import NoticeChannel
from rollback.errors import ConfigurationError, RollbackError, StoreUnreachable
from rollback.notice_ports import PerhapsTold
from rollback.sandbox.wire import Answer
from tests.fakes.clock import NOON, FakeClock
from tests.health_probes.stand_ins import make_certificate, refusing_url, serving_tls, talking
from tests.notifiers.stand_ins import ACCEPTED, HANG, PATH, RESET, SLACK_OK, Script, a_notice, people

SIGNING_KEY = "a-signing-secret-that-nobody-may-see"


def a_post(url: str, seconds: float = 5.0, tls: ssl.SSLContext | None = None) -> Post:
    return Post("webhook 'w'", url, clock=FakeClock(), seconds=seconds, tls=tls)


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/x",
        "http://127.0.0.1.example.org/x",
        "http://10.0.0.1/x",
        "ftp://hooks.example.org/x",
        "hooks.example.org/x",
        "",
        "https://",
        "https:///x",
        "https://user:pass@hooks.example.org/x",
        "https://hooks.example.org:99999/x",
        "https://hooks.example.org:0/x",
        "https://[::1/x",
        "https://hooks.example.org/two words",
        "https://hooks.example.org/line\nend",
        "https://hooks.example.org/ключ",
        "https://256.1.1.1/x",
        "https://hooks.example.org:x/",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_not_whole_or_not_private_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="The address of webhook 'w'") as caught:
        a_post(url)
    told = caught.value.message + caught.value.next
    assert len(url) < 10 or url not in told
    assert "pass@" not in told


@pytest.mark.parametrize(
    "url", ["https://hooks.example.org/x", "http://localhost:1/x", "http://127.0.0.9/x", "http://[::1]:80/x"]
)
def test_https_anywhere_and_http_on_this_machine_are_taken(url: str) -> None:
    assert a_post(url).what == "webhook 'w'"


@pytest.mark.parametrize("seconds", [0.0, -1.0, 15.5, float("nan"), float("inf")])
def test_a_sending_that_could_outlast_its_claim_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="it must be at most 15 s"):
        a_post("https://hooks.example.org/x", seconds)


def test_the_very_path_and_query_are_asked_for_on_the_right_host() -> None:
    with people() as server:
        a_post(server.url).send(b"{}")
        (request,) = server.requests
        host = server.url.split("/")[2]
    assert request.method == "POST"
    assert request.path == PATH.split("?")[0]
    assert request.query == {"sig": "also-a-Secret1"}
    assert request.headers["host"] == host
    assert request.headers["content-type"] == "application/json"


# -- TLS, size, time -----------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_is_no_way_out(tmp_path: Path) -> None:
    with serving_tls(make_certificate(tmp_path)) as url, pytest.raises(StoreUnreachable, match="ConnectError"):
        a_post(url + "/x").send(b"{}")


def test_a_certificate_of_an_own_authority_is_verified(tmp_path: Path) -> None:
    # The stand-in knows no POST: its 501 shows that the exchange took place.
    certificate = make_certificate(tmp_path)
    with serving_tls(certificate) as url, pytest.raises(PerhapsTold, match="501"):
        a_post(url + "/x", tls=ssl.create_default_context(cafile=certificate)).send(b"{}")


def test_an_endless_answer_is_read_no_further_than_needed() -> None:
    def endless() -> object:
        while True:
            yield b"ok" * 2000

    with people(Answer(200, lines=endless())) as server:  # type: ignore[arg-type]
        answer = a_post(server.url).send(b"{}")
    assert len(answer.body) == MAX_ANSWER


def drip(sock: socket.socket, stopping: threading.Event) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stopping.wait(0.02):
        sock.sendall(b"x")


def test_an_answer_that_drips_ends_with_the_whole_time() -> None:
    with talking(drip) as url, pytest.raises(PerhapsTold, match=r"no answer within 0\.4 s"):
        a_post(url + "/x", seconds=0.4).send(b"{}")


LOOKING_UP = """
import socket, sys, threading, time
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.alert_ports import Notice
from rollback.clock import SystemClock
from rollback.errors import StoreUnreachable

def resolver(*question, **more):
    threading.Event().wait(60)

socket.getaddrinfo = resolver
channel = WebhookChannel("w", "https://hooks.invalid/x", clock=SystemClock(), seconds=0.3)
began = time.monotonic()
try:
    channel.send(Notice("k", None, None, "call", "text"))
except StoreUnreachable as error:
    print(error.message)
print("in time" if time.monotonic() - began < 5 else "late")
"""


def test_a_name_server_that_hangs_holds_up_neither_the_sending_nor_the_end() -> None:
    command = [sys.executable, "-W", "error", "-c", LOOKING_UP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["webhook 'w' gave no answer within 0.3 s.", "in time"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("1e9", None),
        ("9" * 40, None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert FakeClock().now() == NOON
    with people(Answer(429, headers={"retry-after": value})) as server, pytest.raises(StoreUnreachable) as caught:
        a_post(server.url).send(b"{}")
    assert caught.value.retry_after == seconds


def test_proxy_settings_that_cannot_be_used_are_told_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "carrier-pigeon://user:pass@here")
    with pytest.raises(StoreUnreachable) as caught:
        a_post("https://hooks.invalid/x").send(b"{}")
    assert caught.value.message == "webhook 'w' cannot be reached from here (ValueError)."


def test_a_proxy_is_asked_for_the_host_alone_and_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with people(Answer(403)) as proxy, people() as here:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, "/".join(proxy.url.split("/")[:3]))
        with pytest.raises(StoreUnreachable, match="ProxyError"):
            a_post("https://hooks.invalid" + PATH).send(b"{}")
        a_post(here.url).send(b"{}")
        (asked,) = proxy.requests
        assert len(here.requests) == 1
    assert (asked.method, asked.headers["host"]) == ("CONNECT", "hooks.invalid:443")
    assert "SECRET" not in repr(asked)


def test_a_document_is_plain_ascii_whatever_its_letters() -> None:
    assert json_bytes({"a": "\ud800é\u202e"}) == b'{"a":"\\ud800\\u00e9\\u202e"}'


# -- secrets -------------------------------------------------------------------------------------------------------

CHANNELS: dict[str, Callable[..., NoticeChannel]] = {
    "slack": SlackChannel,
    "teams": TeamsChannel,
    "webhook": lambda name, url, **more: WebhookChannel(name, url, secret=SIGNING_KEY, **more),
}


@pytest.mark.parametrize("kind", list(CHANNELS))
@pytest.mark.parametrize(
    "says",
    [
        SLACK_OK,
        ACCEPTED,
        Answer(400, b"invalid_payload"),
        Answer(404, f"no such webhook: {PATH}".encode()),
        Answer(302, headers={"location": f"https://elsewhere.example.org{PATH}"}),
        Answer(429, PATH.encode()),
        Answer(500, PATH.encode()),
        HANG,
        RESET,
        "refused",
    ],
    ids=str,
)
def test_no_secret_shows_in_errors_tracebacks_reprs_or_logs(
    kind: str, says: Script, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with caplog.at_level(logging.DEBUG), people(says) as server:
        url = refusing_url() + PATH if says == "refused" else server.url
        channel = CHANNELS[kind]("on-call", url, clock=FakeClock(), seconds=0.3 if says == HANG else 5.0)
        try:
            channel.send(a_notice())
        except RollbackError as error:
            told.extend(traceback.format_exception(error))
            told.extend((repr(error), error.message, error.next, repr(vars(error))))
            told.extend(repr(one) for one in (error.__context__, error.__cause__))
        told.extend((repr(channel), repr(vars(channel)), repr(vars(channel._post))))  # type: ignore[attr-defined]
        channel.close()
    everything = "\n".join([*told, caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    assert "on-call" in everything
    for secret in ("SECRET", "Secret1", "a-signing-secret"):
        assert secret not in everything, everything
