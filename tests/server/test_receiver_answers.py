"""What the receiver answers, and what is in the inbox afterwards: chosen by what the sender does next."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.inboxes.group_commit import GroupCommit, Overloaded
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Delivery, Kept
from rollback.core.alerts import Alert, Edge, Reading, ReadingKind
from rollback.server.limits import Limits
from rollback.server.sources import AlertSource
from tests.fakes.clock import FakeClock
from tests.server.stand_ins import (
    SECRET,
    World,
    datadog,
    delivery,
    document_of,
    generic,
    request,
    serving,
    status_of,
)

OURS = {"X-Our-Secret": SECRET}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as running:
        yield running


def test_an_alert_is_on_the_disk_and_with_the_dispatcher_when_it_is_answered(world: World) -> None:
    answer = world.talk(delivery())
    assert (status_of(answer), document_of(answer)) == (202, {"status": "kept", "kind": "alerts"})
    (kept,) = world.dispatcher.accepted
    assert kept == world.kept()[0]
    assert kept.source == "datadog"
    assert [alert.monitor for alert in kept.alerts] == ["4711"]
    assert kept.excerpt == ""
    assert world.metric('rollback_deliveries_total{kind="alerts",source="datadog"}') == 1


def test_a_redelivery_is_answered_alike_and_not_worked_on_twice(world: World) -> None:
    world.talk(delivery())
    answer = world.talk(delivery())
    assert (status_of(answer), document_of(answer)) == (202, {"status": "duplicate"})
    assert len(world.dispatcher.accepted) == len(world.kept()) == 1
    assert world.inbox.counts()["duplicate:datadog"] == 1
    assert world.metric('rollback_duplicate_deliveries_total{source="datadog"}') == 1
    assert world.metric('rollback_deliveries_total{kind="alerts",source="datadog"}') == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (generic(edge="test"), "test"),
        (b"", "unknown"),
        (b"\xff\xfe\x00 not JSON", "unknown"),
        (b"[" * 200_000, "unknown"),
        (b'{"monitor": "checkout"}', "unknown"),
    ],
    ids=["test", "empty", "no text", "deep", "incomplete"],
)
def test_what_is_no_alert_is_kept_and_never_asked_for_again(world: World, body: bytes, kind: str) -> None:
    answer = world.talk(request("POST", "/alerts/generic", body, OURS, close=True))
    assert (status_of(answer), document_of(answer)) == (202, {"status": "kept", "kind": kind})
    (kept,) = world.kept()
    assert kept.kind.value == kind
    assert kept.alerts == ()
    assert kept.why


def test_what_is_no_alert_is_kept_cut_and_without_secrets_and_people(world: World) -> None:
    body = json.dumps({"api_key": "sk-verysecretverysecret", "to": "jane.roe@example.org", "fill": "x " * 5000})
    world.talk(request("POST", "/alerts/generic", body.encode(), OURS, close=True))
    (kept,) = world.kept()
    assert kept.kind is ReadingKind.UNKNOWN
    assert "verysecret" not in kept.excerpt
    assert "jane.roe" not in kept.excerpt
    assert len(kept.excerpt) <= 500


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_any_content_type_is_read(world: World, content_type: str) -> None:
    assert status_of(world.talk(delivery(Content_Type=content_type))) == 202
    assert world.kept()[0].kind is ReadingKind.ALERTS


REFUSED: dict[str, tuple[bytes, int, str, str]] = {
    "unknown source": (request("POST", "/alerts/nobody", b"{}", close=True), 404, "(unknown)", "unknown_source"),
    "closed source": (request("POST", "/alerts/closed", datadog(), close=True), 503, "closed", "closed"),
    "no credentials": (request("POST", "/alerts/datadog", datadog(), close=True), 401, "datadog", "no_credentials"),
    "wrong credentials": (delivery(X_Rollback_Secret="x" * 30), 401, "datadog", "wrong_credentials"),
    "two secrets in one request": (
        request("POST", "/alerts/datadog", b"{}", {"X-Rollback-Secret": SECRET, "x-rollback-secret": SECRET}),
        401,
        "datadog",
        "wrong_credentials",
    ),
    "no length": (request("POST", "/alerts/datadog", None, {"X-Rollback-Secret": SECRET}), 411, "datadog", "no_length"),
    "too large": (delivery(Content_Length="1048577", Expect="100-continue"), 413, "datadog", "too_large"),
    "absurd length": (delivery(Content_Length="9" * 17, Expect="100-continue"), 413, "datadog", "too_large"),
    "gzip": (delivery(Content_Encoding="gzip"), 415, "datadog", "encoded"),
    "two encodings": (delivery(Content_Encoding="identity, br"), 415, "datadog", "encoded"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_delivery_is_counted_and_changes_nothing(world: World, name: str) -> None:
    sent, status, source, why = REFUSED[name]
    answer = world.talk(sent, half_close=True)
    assert (status_of(answer), document_of(answer)) == (status, {"status": "refused", "why": why})
    assert b"4711" not in answer
    assert SECRET.encode() not in answer
    assert world.kept() == []
    assert world.dispatcher.accepted == []
    assert world.metric(f'rollback_receiver_refused_total{{source="{source}",why="{why}"}}') == 1
    assert world.metric(f'rollback_receiver_answer_seconds_count{{status="{status}"}}') == 1


def test_what_passes_asks_to_be_sent_again_and_what_does_not_pass_does_not(world: World) -> None:
    for sent, status, _, _ in REFUSED.values():
        answer = world.talk(sent, half_close=True).lower()
        assert (b"\r\nretry-after: " in answer) == (status == 503)
        assert status not in (429, 500)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
def test_only_post_delivers(world: World, method: str) -> None:
    answer = world.talk(request(method, "/alerts/datadog", datadog(), {"X-Rollback-Secret": SECRET}, close=True))
    assert status_of(answer) == 405
    assert b"\r\nallow: POST\r\n" in answer
    assert world.kept() == []


@pytest.mark.parametrize(
    "path", ["/alerts/", "/alerts/datadog/", "/alerts/data%64og/x", "/alerts//datadog", "/alerts/..%2fx"]
)
def test_another_address_is_no_source_and_no_redirect(world: World, path: str) -> None:
    answer = world.talk(request("POST", path, datadog(), {"X-Rollback-Secret": SECRET}, close=True))
    assert status_of(answer) == 404
    assert world.kept() == []


def test_nobody_can_make_up_series_by_asking_for_sources_that_do_not_exist(world: World) -> None:
    for number in range(20):
        assert status_of(world.talk(request("POST", f"/alerts/made-up-{number}", b"{}", close=True))) == 404
    figures = world.talk(request("GET", "/metrics", close=True))
    assert b"made-up" not in figures
    assert world.metric('rollback_receiver_refused_total{source="(unknown)",why="unknown_source"}') == 20


def test_a_closed_source_is_told_so_that_somebody_sets_its_secret(world: World) -> None:
    for _ in range(3):
        world.talk(request("POST", "/alerts/closed", datadog(), close=True))
    (notice,) = world.notices.told.values()
    assert notice.urgency == "call"
    assert "closed" in notice.text
    assert any(line.startswith("The source closed is closed: NEVER_SET not set.") for line in world.said)


class FullKeeper:
    """Takes nothing: too many wait already."""

    def submit(self, delivery: Delivery) -> Future[Kept | None]:
        raise Overloaded(f"2000 deliveries wait already, {delivery.key} is too much")

    def close(self) -> None:
        """There is nothing to close."""


def test_a_full_queue_is_answered_at_once_and_passes(tmp_path: Path) -> None:
    with serving(tmp_path, keeper=lambda _: FullKeeper()) as world:
        answer = world.talk(delivery())
        assert (status_of(answer), document_of(answer)) == (503, {"status": "refused", "why": "overloaded"})
        assert b"\r\nretry-after: 5\r\n" in answer
        assert world.notices.told == {}  # it passes by itself
        assert world.metric('rollback_receiver_refused_total{source="datadog",why="overloaded"}') == 1


def test_an_inbox_that_cannot_be_written_is_no_loss_and_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        serving(tmp_path, lock_timeout=0.05, clock=clock) as world,
        closing(sqlite3.connect(tmp_path / "rollback.state.db", isolation_level=None)) as other,
    ):
        world.talk(delivery(datadog("before")))
        other.execute("BEGIN IMMEDIATE")
        answer = world.talk(delivery(datadog("locked")))
        assert (status_of(answer), document_of(answer)) == (503, {"status": "refused", "why": "inbox"})
        assert b"\r\nretry-after: 60\r\n" in answer
        assert status_of(world.talk(request("GET", "/healthz/ready", close=True))) == 503
        other.execute("ROLLBACK")
        (notice,) = world.notices.told.values()
        assert notice.urgency == "call"
        assert len(world.dispatcher.accepted) == 1

        assert status_of(world.talk(delivery(datadog("locked")))) == 202  # sent again, it comes in
        assert [kept.alerts[0].cycle for kept in world.dispatcher.accepted][1:] == ["locked"]
        clock.sleep(2)
        assert status_of(world.talk(request("GET", "/healthz/ready", close=True))) == 200


class SlowKeeper:
    """Keeps in the end, but not before it is let."""

    def __init__(self, inbox: SqliteInbox, gate: threading.Event) -> None:
        self._group = GroupCommit(inbox)
        self._gate = gate

    def submit(self, delivery: Delivery) -> Future[Kept | None]:
        future: Future[Kept | None] = Future()

        def later() -> None:
            self._gate.wait(30)
            future.set_result(self._group.submit(delivery).result())

        threading.Thread(target=later).start()
        return future

    def close(self) -> None:
        self._gate.set()
        self._group.close()


def test_what_is_kept_after_its_sender_was_sent_away_is_worked_on_once(tmp_path: Path) -> None:
    gate = threading.Event()
    limits = Limits(kept_within=0.2)
    with serving(tmp_path, keeper=lambda inbox: SlowKeeper(inbox, gate), limits=limits) as world:
        assert status_of(world.talk(delivery())) == 503
        assert world.dispatcher.accepted == []
        gate.set()
        world.dispatcher.wait_for(1)
        answer = world.talk(delivery())
        assert document_of(answer) == {"status": "duplicate"}
        assert len(world.dispatcher.accepted) == len(world.kept()) == 1


def source(parser: Any) -> dict[str, AlertSource]:
    class Anybody:
        signs_body = False

        def check(self, headers: Any, body: bytes) -> None:
            """Everybody is authentic."""

    return {"datadog": AlertSource("datadog", parser, Anybody())}


def test_a_parser_that_fails_loses_nothing_and_is_told(tmp_path: Path) -> None:
    def broken(source: str, headers: Any, body: bytes) -> Reading:
        raise KeyError(f"{source} {headers} {body!r}")

    with serving(tmp_path, sources=source(broken)) as world:
        answer = world.talk(delivery())
        assert (status_of(answer), document_of(answer)) == (202, {"status": "kept", "kind": "unknown"})
        (kept,) = world.kept()
        assert "messaging fails" in kept.excerpt
        (notice,) = world.notices.told.values()
        assert notice.urgency == "call"
        assert "messaging" not in notice.text


def test_what_cannot_be_kept_as_an_alert_is_kept_as_unknown_instead_of_coming_again_for_days(tmp_path: Path) -> None:
    def unkeepable(source: str, headers: Any, body: bytes) -> Reading:  # noqa: ARG001
        alert = Alert(source, "4711", "c", Edge.FIRED, None, tags=["a list"])  # type: ignore[arg-type]
        return Reading(ReadingKind.ALERTS, "key", (alert,))

    with serving(tmp_path, sources=source(unkeepable)) as world:
        answer = world.talk(delivery())
        assert (status_of(answer), document_of(answer)) == (202, {"status": "kept", "kind": "unknown"})
        (kept,) = world.kept()
        assert kept.alerts == ()
        assert "messaging fails" in kept.excerpt
        assert [notice.urgency for notice in world.notices.told.values()] == ["call"]


def test_a_dispatcher_that_fails_costs_neither_the_delivery_nor_its_answer(world: World) -> None:
    world.dispatcher.fault = RuntimeError("broken")
    assert status_of(world.talk(delivery())) == 202
    assert len(world.kept()) == 1
    (notice,) = world.notices.told.values()
    assert (notice.urgency, notice.key) == ("call", f"hand-over:{world.kept()[0].number}")
    world.dispatcher.fault = None
    assert status_of(world.talk(delivery(datadog("next")))) == 202
    assert len(world.dispatcher.accepted) == 1


def test_nothing_of_a_request_gets_into_the_log(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    for sent, *_ in REFUSED.values():
        world.talk(sent, half_close=True)
    world.talk(delivery())
    written = "".join(capfd.readouterr())
    assert SECRET not in written
    assert "4711" not in written
