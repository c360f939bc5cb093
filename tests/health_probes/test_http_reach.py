"""A broken network here is not a broken feature there, and neither may look like health."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollback.sandbox import SmApi
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.health_probes.stand_ins import (
    CONTROL,
    FOLDERS,
    answering,
    endpoint,
    health,
    make_certificate,
    measured,
    probing,
    refusing_url,
    serving_tls,
    talking,
)


@pytest.fixture
def api() -> Iterator[SmApi]:
    with SmApi() as running:
        yield running


# -- with a control target -----------------------------------------------------------------------------------------


def test_a_refused_connection_is_harm_while_the_control_answers(api: SmApi) -> None:
    found = measured(health(endpoint(refusing_url()), control=api.url + CONTROL))
    assert (found.harm, found.detail) == (1.0, "connection refused")


@pytest.mark.parametrize("mode", ["broken", "hang"])
def test_harm_is_missing_while_the_control_is_out_of_reach(api: SmApi, mode: str) -> None:
    api.behave(mode=mode)
    found = measured(health(endpoint(api.url + FOLDERS, timeout="200ms"), control=refusing_url()))
    assert (found.harm, found.detail) == (None, "control target out of reach: connection refused")


def test_good_answers_are_missing_too_while_the_control_is_out_of_reach(api: SmApi) -> None:
    """Counting only them would make any feature look healthy: its failures would be left out, its rest counted."""
    found = measured(health(endpoint(api.url + FOLDERS), control=refusing_url()))
    assert (found.harm, found.detail) == (None, "control target out of reach: connection refused")


@pytest.mark.parametrize(
    ("status", "harm"), [(200, 1.0), (404, 1.0), (302, 1.0), (500, None), (503, None), (511, None)]
)
def test_a_control_target_fails_from_500_on(api: SmApi, status: int, harm: float | None) -> None:
    api.behave(mode="broken")
    with answering(lambda _: Answer(status)) as control:
        found = measured(health(endpoint(api.url + FOLDERS), control=control))
    assert found.harm == harm
    assert found.detail == ("status 503" if harm else f"control target out of reach: status {status}")


def say_nothing(_: socket.socket, stopping: threading.Event) -> None:
    stopping.wait(5)


def test_a_control_target_that_hangs_or_breaks_off_has_failed(api: SmApi) -> None:
    with talking(say_nothing) as silent:
        slow = {"name": "control", "url": silent, "timeout": "200ms"}
        found = measured(health(endpoint(api.url + FOLDERS), control=slow))
    assert (found.harm, found.detail) == (None, "control target out of reach: no answer within 0.2 s")
    with talking(lambda sock, _: sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")) as cut:
        assert measured(health(endpoint(api.url + FOLDERS), control=cut)).harm is None


def test_a_control_target_later_than_its_own_limit_has_failed(api: SmApi) -> None:
    def slow(_: Request) -> Answer:
        threading.Event().wait(0.06)
        return json_answer({})

    with answering(slow) as url:
        control = {"name": "control", "url": url, "timeout": "2s"}
        assert measured(health(endpoint(api.url + FOLDERS), control=control)).harm == 0.0
        found = measured(health(endpoint(api.url + FOLDERS), control={**control, "latency_limit": "50ms"}))
    assert found.harm is None
    assert found.detail.startswith("control target out of reach")


def test_the_control_is_asked_once_a_round_and_is_no_metric(api: SmApi) -> None:
    checks = health(endpoint(api.url + FOLDERS, "a"), endpoint(api.url + FOLDERS, "b"), control=api.url + CONTROL)
    with probing(checks) as probe:
        assert probe.metrics == ("a", "b")
        assert [[one.metric for one in probe.measure()] for _ in range(3)] == [["a", "b"]] * 3
    assert api.count("GET", CONTROL) == 3


def test_a_control_without_address_is_as_none_at_all(api: SmApi) -> None:
    api.behave(mode="broken")
    control = {"name": "control", "url": None}
    with probing(health(endpoint(api.url + FOLDERS), control=control)) as probe:
        assert probe.measure()[0].harm == 1.0
        assert list(probe.unknown) == ["control"]


# -- without one ---------------------------------------------------------------------------------------------------


def test_without_control_a_server_that_never_answered_is_unknown() -> None:
    with probing(health(endpoint(refusing_url()))) as probe:
        found = [probe.measure()[0] for _ in range(3)]
    assert {(each.harm, each.detail) for each in found} == {(None, "connection refused; never reached")}


def test_without_control_a_server_that_answered_before_is_harmful_when_it_refuses() -> None:
    with SmApi() as api, probing(health(endpoint(api.url + FOLDERS))) as probe:
        assert probe.measure()[0].harm == 0.0
        api.stop()
        gone = probe.measure()[0]
        assert (gone.harm, gone.detail) == (1.0, "connection refused")


def test_an_error_shows_as_well_as_health_that_the_server_was_reached() -> None:
    with SmApi(mode="broken") as api, probing(health(endpoint(api.url + FOLDERS))) as probe:
        assert probe.measure()[0].harm == 1.0
        api.stop()
        assert probe.measure()[0].harm == 1.0


def test_that_one_server_was_reached_says_nothing_about_another(api: SmApi) -> None:
    checks = health(endpoint(api.url + FOLDERS, "here"), endpoint(refusing_url(), "there"))
    with probing(checks) as probe:
        assert [each.harm for each in probe.measure()] == [0.0, None]
        assert [each.harm for each in probe.measure()] == [0.0, None]


def test_without_control_a_question_that_was_sent_and_not_answered_is_harm(api: SmApi) -> None:
    api.behave(mode="hang")
    found = measured(health(endpoint(api.url + FOLDERS, timeout="200ms")))
    assert (found.harm, found.detail) == (1.0, "no answer within 0.2 s")


# -- TLS -----------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_is_never_health(tmp_path: Path, api: SmApi) -> None:
    with serving_tls(make_certificate(tmp_path)) as url:
        alone, beside = measured(health(endpoint(url))), measured(health(endpoint(url), control=api.url + CONTROL))
    assert (alone.harm, alone.detail) == (None, "the TLS certificate is not trusted; never reached")
    assert (beside.harm, beside.detail) == (1.0, "the TLS certificate is not trusted")


def test_a_certificate_for_another_address_is_never_health(tmp_path: Path, api: SmApi) -> None:
    certificate = make_certificate(tmp_path, address="127.0.0.2")
    trusting = ssl.create_default_context(cafile=certificate)
    with serving_tls(certificate) as url:
        found = measured(health(endpoint(url), control=api.url + CONTROL), tls=trusting)
    assert (found.harm, found.detail) == (1.0, "the TLS certificate is not trusted")


def test_a_certificate_that_is_trusted_is_fine(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with serving_tls(certificate) as url:
        found = measured(health(endpoint(url)), tls=ssl.create_default_context(cafile=certificate))
    assert (found.harm, found.detail) == (0.0, "status 200")


def test_https_to_a_server_without_tls_is_no_connection(api: SmApi) -> None:
    with talking(lambda sock, _: sock.sendall(b"HTTP/1.1 400 Bad request\r\n\r\n")) as plain:
        found = measured(health(endpoint(plain.replace("http:", "https:")), control=api.url + CONTROL))
    assert (found.harm, found.detail) == (1.0, "no TLS connection")


# -- names, turns, sockets -----------------------------------------------------------------------------------------

LOOKING_UP = """
import socket, sys, threading, time
from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.clock import SystemClock
from rollback.core.policy import Health

def resolver(*question):
    if sys.argv[1] == "hangs":
        threading.Event().wait(60)
    raise socket.gaierror(-2, "a name server's own words")

socket.getaddrinfo = resolver
endpoints = [{"name": "folders", "url": "http://app.invalid", "timeout": "200ms"}]
probe = HttpHealthProbe(Health.model_validate({"endpoints": endpoints}), clock=SystemClock())
began = time.monotonic()
print(probe.measure()[0].detail)
probe.close()
print("closed" if time.monotonic() - began < 2 else "late")
"""


@pytest.mark.parametrize(
    ("resolver", "detail"), [("refuses", "the name is not known"), ("hangs", "no connection within 0.2 s")]
)
def test_a_name_server_that_hangs_holds_up_neither_the_round_nor_the_end(resolver: str, detail: str) -> None:
    command = [sys.executable, "-W", "error", "-c", LOOKING_UP, resolver]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines() == [f"{detail}; never reached", "closed"]
    assert done.stderr == ""


def test_at_most_eight_endpoints_are_asked_at_once_and_all_in_the_end() -> None:
    lock, now, most = threading.Lock(), 0, 0
    eight = threading.Barrier(8)

    def handler(_: Request) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        eight.wait(5)
        with lock:
            now -= 1
        return json_answer({})

    with answering(handler) as url:
        checks = health(*(endpoint(url, f"e{index}") for index in range(16)))
        with probing(checks) as probe:
            assert [each.harm for each in probe.measure()] == [0.0] * 16
    assert most == 8


def test_an_endpoint_that_gets_no_turn_is_missing_not_cut_short() -> None:
    with talking(say_nothing) as silent, SmApi() as api:
        hanging = [endpoint(silent, f"h{index}", timeout="600ms") for index in range(8)]
        checks = health(*hanging, endpoint(api.url + FOLDERS, "last", timeout="600ms"))
        with probing(checks) as probe:
            found = probe.measure()
    assert {(each.harm, each.detail) for each in found[:8]} == {(1.0, "no answer within 0.6 s")}
    assert (found[8].harm, found[8].detail) == (None, "no turn before the end of the round")


SHORT_OF_SOCKETS = """
import os, resource, sys
from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.clock import SystemClock
from rollback.core.policy import Health

endpoint = {"name": "folders", "url": sys.argv[1], "headers": {"connection": "close"}}
health = Health.model_validate({"endpoints": [endpoint]})
early, late = (HttpHealthProbe(health, clock=SystemClock()) for _ in range(2))
print(early.measure()[0].detail)
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
found = [probe.measure()[0] for probe in (early, late)]
early.close()
late.close()
for each in found:
    print(each.harm, each.detail)
"""


def test_a_machine_without_sockets_says_nothing_about_the_feature(api: SmApi) -> None:
    command = [sys.executable, "-c", SHORT_OF_SOCKETS, api.url + FOLDERS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines() == [
        "status 200",
        "None not asked: this machine has no socket to spare",
        "None the round failed on this side: OSError",
    ]


def test_what_is_missing_says_why_in_few_words(api: SmApi) -> None:
    api.behave(mode="hang")
    checks = health(endpoint(api.url + FOLDERS, timeout="100ms"), control=refusing_url())
    assert re.fullmatch(r"[a-z0-9 .:;]{10,80}", measured(checks).detail)


# -- names that are known, proxies ---------------------------------------------------------------------------------


def test_a_name_is_looked_up(api: SmApi) -> None:
    """`localhost` may have two addresses, and nothing listens at one of them."""
    found = measured(health(endpoint(api.url.replace("127.0.0.1", "localhost") + FOLDERS)))
    assert (found.harm, found.detail) == (0.0, "status 200")


def test_a_proxy_that_lets_nobody_through_is_not_the_feature(monkeypatch: pytest.MonkeyPatch, api: SmApi) -> None:
    asked: list[str] = []

    def proxy(request: Request) -> Answer:
        asked.append(request.method)
        return Answer(403)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with answering(proxy) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        alone = measured(health(endpoint("https://app.invalid/folders")))
        beside = measured(health(endpoint("https://app.invalid/folders"), control=api.url + CONTROL))
    assert (alone.harm, alone.detail) == (None, "the proxy gives no connection; never reached")
    assert (beside.harm, beside.detail) == (1.0, "the proxy gives no connection")
    assert asked == ["CONNECT", "CONNECT"]


def test_a_proxy_that_keeps_us_waiting_is_not_the_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking(say_nothing) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        found = measured(health(endpoint("https://app.invalid/folders", timeout="200ms")))
    assert (found.harm, found.detail) == (None, "no connection within 0.2 s; never reached")


def test_proxy_settings_that_cannot_be_used_make_everything_unknown(
    monkeypatch: pytest.MonkeyPatch, api: SmApi
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "carrier-pigeon://here")
    found = measured(health(endpoint(api.url + FOLDERS), control=api.url + CONTROL))
    assert (found.harm, found.detail) == (None, "the round failed on this side: ValueError")
