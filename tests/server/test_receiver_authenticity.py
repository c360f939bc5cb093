"""Who may deliver: each way of proving it, old and new secrets, and that a forger changes nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.server.stand_ins import (
    BASIC_SECRET,
    BEARER_SECRET,
    OLD_SECRET,
    PAGERDUTY_SECRET,
    SECRET,
    World,
    datadog,
    document_of,
    generic,
    request,
    serving,
    signed,
    status_of,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    with serving(tmp_path, clock=clock) as running:
        yield running


PAGE = json.dumps(
    {
        "event": {
            "id": "01EVENT",
            "event_type": "incident.triggered",
            "occurred_at": "2026-11-23T11:59:30Z",
            "data": {
                "id": "PINC1",
                "type": "incident",
                "status": "triggered",
                "title": "Messages are not sent",
                "service": {"id": "PSVC1", "summary": "Messaging"},
                "priority": {"summary": "P1"},
                "urgency": "high",
            },
        }
    }
).encode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


AUTHENTIC: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "new secret": ("datadog", datadog(), {"X-Rollback-Secret": SECRET}),
    "old secret": ("datadog", datadog(), {"x-rollback-secret": OLD_SECRET}),
    "new signature": ("pagerduty", PAGE, signed(PAGE, PAGERDUTY_SECRET)),
    "old signature": ("pagerduty", PAGE, signed(PAGE, OLD_SECRET)),
    "both signatures, ours last": ("pagerduty", PAGE, signed(PAGE, "another subscription's", PAGERDUTY_SECRET)),
    "bearer": ("alertmanager", b"{}", {"Authorization": f"Bearer {BEARER_SECRET}"}),
    "basic": ("appdynamics", b"{}", basic("appd", BASIC_SECRET)),
    "a header of our choice": ("generic", generic(), {"X-Our-Secret": SECRET}),
}


@pytest.mark.parametrize("name", AUTHENTIC)
def test_a_sender_that_proves_itself_is_heard(world: World, name: str) -> None:
    source, body, headers = AUTHENTIC[name]
    assert status_of(world.talk(request("POST", f"/alerts/{source}", body, headers, close=True))) == 202
    assert [kept.source for kept in world.kept()] == [source]
    assert world.notices.told == {}


def test_signatures_in_two_headers_are_one_list(world: World) -> None:
    wrong, right = (signed(PAGE, secret)["X-PagerDuty-Signature"] for secret in ("another one's secret", OLD_SECRET))
    headers = {"X-PagerDuty-Signature": wrong, "x-pagerduty-signature": right}
    assert status_of(world.talk(request("POST", "/alerts/pagerduty", PAGE, headers, close=True))) == 202


FORGED: dict[str, tuple[str, bytes, dict[str, str], str]] = {
    "unsigned": ("pagerduty", PAGE, {}, "no_credentials"),
    "signed by another": ("pagerduty", PAGE, signed(PAGE, "another subscription's"), "wrong_credentials"),
    "changed after it was signed": ("pagerduty", PAGE + b" ", signed(PAGE, PAGERDUTY_SECRET), "wrong_credentials"),
    "another scheme": (
        "pagerduty",
        PAGE,
        {"X-PagerDuty-Signature": signed(PAGE, PAGERDUTY_SECRET)["X-PagerDuty-Signature"].replace("v1", "v0")},
        "malformed_credentials",
    ),
    "no bytes of latin": ("pagerduty", PAGE, {"X-PagerDuty-Signature": "v1=\xe4\xf6\xfc"}, "malformed_credentials"),
    "the secret of another source": ("datadog", datadog(), {"X-Rollback-Secret": BEARER_SECRET}, "wrong_credentials"),
    "the header of another source": ("datadog", datadog(), {"X-Our-Secret": SECRET}, "no_credentials"),
    "a part of the secret": ("datadog", datadog(), {"X-Rollback-Secret": SECRET[:-1]}, "wrong_credentials"),
    "the secret and more": ("datadog", datadog(), {"X-Rollback-Secret": f"{SECRET},{SECRET}"}, "wrong_credentials"),
    "an empty secret": ("datadog", datadog(), {"X-Rollback-Secret": ""}, "no_credentials"),
    "basic instead of bearer": ("alertmanager", b"{}", basic("x", BEARER_SECRET), "malformed_credentials"),
    "another user": ("appdynamics", b"{}", basic("root", BASIC_SECRET), "wrong_credentials"),
    "no base64": ("appdynamics", b"{}", {"Authorization": "Basic %%%"}, "malformed_credentials"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_delivery_changes_nothing(world: World, name: str) -> None:
    source, body, headers, why = FORGED[name]
    answer = world.talk(request("POST", f"/alerts/{source}", body, headers, close=True))
    assert (status_of(answer), document_of(answer)) == (401, {"status": "refused", "why": why})
    assert world.kept() == []
    assert world.dispatcher.accepted == []
    assert world.inbox.counts() == {}
    assert world.metric(f'rollback_receiver_refused_total{{source="{source}",why="{why}"}}') == 1


def test_a_401_names_the_way_in_where_http_has_a_name_for_it(world: World) -> None:
    challenges = {}
    for source in ("datadog", "pagerduty", "alertmanager", "appdynamics"):
        answer = world.talk(request("POST", f"/alerts/{source}", b"{}", close=True)).decode("latin-1")
        found = [line for line in answer.split("\r\n") if line.lower().startswith("www-authenticate:")]
        challenges[source] = found[0].split(": ")[1].split()[0] if found else ""
    assert challenges == {"datadog": "", "pagerduty": "", "alertmanager": "Bearer", "appdynamics": "Basic"}


def test_a_replayed_delivery_is_the_same_delivery(world: World) -> None:
    sent = request("POST", "/alerts/pagerduty", PAGE, signed(PAGE, PAGERDUTY_SECRET), close=True)
    assert document_of(world.talk(sent)) == {"status": "kept", "kind": "alerts"}
    for number in range(5):
        header = {**signed(PAGE, PAGERDUTY_SECRET), "X-Webhook-Id": f"made-up-{number}"}
        again = world.talk(request("POST", "/alerts/pagerduty", PAGE, header, close=True))
        assert document_of(again) == {"status": "duplicate"}
    assert len(world.kept()) == len(world.dispatcher.accepted) == 1


def test_wrong_credentials_are_told_once_an_hour_for_each_source_and_missing_ones_never(
    world: World, clock: FakeClock
) -> None:
    def send(source: str, headers: dict[str, str]) -> None:
        assert status_of(world.talk(request("POST", f"/alerts/{source}", datadog(), headers, close=True))) == 401

    for _ in range(5):
        send("datadog", {"X-Rollback-Secret": "y" * 30})
        send("datadog", {})
    assert [notice.urgency for notice in world.notices.told.values()] == ["tell"]
    send("generic", {"X-Our-Secret": "y" * 30})
    assert len(world.notices.told) == 2
    clock.sleep(timedelta(minutes=59).total_seconds())
    send("datadog", {"X-Rollback-Secret": "y" * 30})
    assert len(world.notices.told) == 2
    clock.sleep(timedelta(minutes=2).total_seconds())
    send("datadog", {"X-Rollback-Secret": "y" * 30})
    assert len(world.notices.told) == 3
    assert all("y" * 30 not in notice.text for notice in world.notices.told.values())
