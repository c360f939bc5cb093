"""What is sent, and what is never told: secrets, addresses, anything of an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback.core.policy import Health
from rollback.policy_files import load_feature
from rollback.sandbox import SmApi
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.health_probes.stand_ins import CONTROL, FOLDERS, answering, endpoint, health, measured, probing, refusing_url

TOKEN = "Bearer a-secret-of-the-probe"
BYPASS = "a-secret-way-in"
PRIVATE = "Mrs-Private's-message"


@pytest.fixture
def api() -> Iterator[SmApi]:
    with SmApi() as running:
        yield running


def asked_of(seen: list[Request], **fields: Any) -> Request:
    """The request that arrives for an endpoint with these fields."""

    def handler(request: Request) -> Answer:
        seen.append(request)
        return json_answer({})

    with answering(handler) as url:
        assert measured(health(endpoint(url, **fields))).harm == 0.0
    return seen[-1]


def test_secret_and_bypass_headers_are_sent() -> None:
    request = asked_of([], headers={"Authorization": TOKEN}, bypass_headers={"X-Bypass": BYPASS})
    assert request.headers["authorization"] == TOKEN
    assert request.headers["x-bypass"] == BYPASS


def test_the_bypass_lets_the_probe_in_while_users_stay_out() -> None:
    with SmApi(requires=("X-Bypass", BYPASS)) as api:
        shut = measured(health(endpoint(api.url + FOLDERS)))
        let_in = measured(health(endpoint(api.url + FOLDERS, bypass_headers={"X-Bypass": BYPASS})))
    assert (shut.harm, shut.detail) == (1.0, "status 403")
    assert let_in.harm == 0.0


def test_an_empty_header_is_not_sent() -> None:
    request = asked_of([], headers={"Authorization": ""}, bypass_headers={"X-Bypass": None})
    assert "authorization" not in request.headers
    assert "x-bypass" not in request.headers


def test_caches_in_between_and_compression_are_asked_to_stay_out_unless_the_policy_says_otherwise() -> None:
    plain = asked_of([])
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.headers["accept-encoding"] == "identity"
    assert asked_of([], headers={"Cache-Control": "max-age=1"}).headers["cache-control"] == "max-age=1"


def test_a_cookie_is_neither_kept_nor_sent_with_the_next_question() -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Answer:
        seen.append(request)
        return json_answer({}, set_cookie=f"session={PRIVATE}")

    with answering(handler) as url, probing(health(endpoint(url))) as probe:
        for _ in range(3):
            probe.measure()
        assert probe._client is not None
        assert not list(probe._client.cookies.jar)
    assert len(seen) == 3
    assert not any("cookie" in request.headers for request in seen)


def everything_told(checks: Health, caplog: pytest.LogCaptureFixture) -> str:
    """Measurements, the probe itself, its inner parts, and all that anybody logged."""
    with caplog.at_level(logging.DEBUG), probing(checks) as probe:
        told = [repr(measurement) for _ in range(2) for measurement in probe.measure()]
        return "\n".join([*told, repr(probe), repr(vars(probe)), caplog.text])


def test_no_secret_shows_in_details_reprs_or_logs(api: SmApi, caplog: pytest.LogCaptureFixture) -> None:
    secret = {"headers": {"Authorization": TOKEN}, "bypass_headers": {"X-Bypass": BYPASS}}
    checks = health(
        endpoint(api.url + FOLDERS, "good", **secret),
        endpoint(api.url + FOLDERS, "slow", latency_limit="0.000001s", **secret),
        endpoint(refusing_url(), "refused", **secret),
        endpoint(api.url + "/nothing", "bad", **secret),
        control={"name": "control", "url": api.url + CONTROL, "headers": {"Authorization": TOKEN}},
    )
    told = everything_told(checks, caplog)
    assert "good" in told
    assert "a-secret" not in told


@pytest.mark.parametrize("value", ["two\nlines", "two\r\nX-Other: lines", "line\n", "blank ", "null\x00", "ключ"])
def test_a_secret_that_cannot_be_sent_is_unknown_and_is_not_told(
    api: SmApi, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    checks = health(
        endpoint(api.url + FOLDERS, headers={"Authorization": f"a-secret {value}"}), control=api.url + CONTROL
    )
    found = measured(checks)
    assert (found.harm, found.detail) == (None, "not asked: its header Authorization holds what a header cannot hold")
    assert "a-secret" not in everything_told(checks, caplog)
    assert api.count("GET", FOLDERS) == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, f'{{"subject": "{PRIVATE}"}}'),
        (500, f'{{"errors": ["{PRIVATE}"]}}'),
        (200, f"<p>{PRIVATE}"),
        (200, f'{{"error": "disabled", "subject": "{PRIVATE}"}}'),
        (302, PRIVATE),
    ],
)
def test_nothing_of_an_answer_is_told(status: int, body: str, caplog: pytest.LogCaptureFixture) -> None:
    assertions = [{"path": "subject", "equals": "Synthetic"}]
    with answering(lambda _: Answer(status, body.encode())) as url:
        told = everything_told(health(endpoint(url, assertions=assertions)), caplog)
    assert "Private" not in told
    assert "Synthetic" not in "".join(line for line in told.splitlines() if line.startswith("Measurement"))


def test_a_status_line_that_is_no_http_is_not_quoted() -> None:
    with answering(lambda _: Answer(200, b"", {"x bad": f"{PRIVATE}\r\n\x01: {PRIVATE}"})) as url:
        found = measured(health(endpoint(url)))
    assert (found.harm, found.detail) == (1.0, "the connection broke before the answer was complete")


@pytest.mark.parametrize("url", ["http://xn--0.example/", "http://ü-.example/"])
def test_an_address_that_cannot_be_used_is_unknown(url: str, api: SmApi) -> None:
    with probing(health(endpoint(url), control=api.url + CONTROL)) as probe:
        (found,) = probe.measure()
        assert probe.unknown == {"folders": "its address cannot be used"}
    assert (found.harm, found.detail) == (None, "not asked: its address cannot be used")


# -- targets that are not known ------------------------------------------------------------------------------------


def test_an_endpoint_without_address_is_unknown_and_nothing_is_asked(api: SmApi) -> None:
    found = measured(health(endpoint(None), control=api.url + CONTROL))
    assert found.harm is None
    assert found.detail == "not asked: its address is not known: a variable in it is not set"
    assert api.count() == 0


def test_a_header_without_value_makes_its_endpoint_unknown(api: SmApi) -> None:
    found = measured(health(endpoint(api.url + FOLDERS, headers={"Authorization": None})))
    assert found.harm is None
    assert found.detail == "not asked: its header Authorization has no value: the variable in it is not set"


def test_a_defaulted_address_is_unknown_in_production_alone(api: SmApi) -> None:
    checks = health(endpoint(api.url + FOLDERS, "a"), endpoint(api.url + FOLDERS, "b"))
    defaulted = frozenset({"health.endpoints[1].url"})
    with probing(checks, defaulted=defaulted) as probe:
        assert [each.harm for each in probe.measure()] == [0.0, None]
        assert probe.unknown == {"b": "its address fell back to a default"}
    with probing(checks, defaulted=defaulted, production=False) as probe:
        assert [each.harm for each in probe.measure()] == [0.0, 0.0]


def test_a_defaulted_control_target_is_as_none(api: SmApi) -> None:
    api.behave(mode="broken")
    checks = health(endpoint(api.url + FOLDERS), control=refusing_url())
    assert measured(checks, defaulted={"health.control.url"}).harm == 1.0
    assert measured(checks).harm is None


POLICY = """
feature: letters
name: Letters
production: true
flag: {namespace: web, key: letters}
health:
  control: {name: control, url: "${CONTROL_URL:-http://127.0.0.1:9/}"}
  endpoints:
    - {name: unset, url: "${LETTERS_URL}/folders"}
    - {name: defaulted, url: "${LETTERS_URL:-http://127.0.0.1:9}/folders"}
    - {name: tokenless, url: "${THERE}/control", headers: {Authorization: "${LETTERS_TOKEN}"}}
    - {name: asked, url: "${THERE}/control", bypass_headers: {X-Bypass: "${LETTERS_BYPASS:-}"}}
"""


def test_a_policy_whose_variables_are_not_set_is_asked_only_where_it_is_meant(tmp_path: Path, api: SmApi) -> None:
    file = tmp_path / "letters.yaml"
    file.write_text(POLICY, encoding="utf-8")
    loaded = load_feature(file, {"THERE": api.url})
    with probing(loaded.policy.health, defaulted=loaded.defaulted, unset=loaded.unset) as probe:
        found = {each.metric: (each.harm, each.detail) for each in probe.measure()}
        assert set(probe.unknown) == {"control", "unset", "defaulted", "tokenless"}
    assert found == {
        "unset": (None, "not asked: LETTERS_URL is not set"),
        "defaulted": (None, "not asked: its address fell back to a default"),
        "tokenless": (None, "not asked: LETTERS_TOKEN is not set"),
        "asked": (0.0, "status 200"),
    }
    assert api.count() == 1
