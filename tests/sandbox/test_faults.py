"""Faults hit the requests they are meant for, do what they say, and are seen from outside."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import Fault, FliptServer
from rollback.sandbox.faults import FaultError
from tests.sandbox.calls import ask, boolean_flag, seeded, threshold

RESOURCES = "/api/v2/environments/default/namespaces/mhv/resources"
FLAG = f"{RESOURCES}/flipt.core.Flag/sm"
KILL = {"type": "THRESHOLD_ROLLOUT_TYPE", "threshold": {"percentage": 100, "value": False}}


@pytest.fixture
def flipt() -> Iterator[FliptServer]:
    """A v2 server with one flag that is on."""
    with FliptServer("v2", seed=seeded(boolean_flag())) as server:
        yield server


def kill(revision: str = "") -> dict[str, Any]:
    """A put of the flag with a kill rollout in front."""
    payload = {
        "@type": "flipt.core.Flag",
        "key": "sm",
        "name": "SM",
        "type": "BOOLEAN_FLAG_TYPE",
        "enabled": True,
        "rollouts": [KILL],
    }
    return {"key": "sm", "revision": revision, "payload": payload}


def test_lost_answer_is_carried_out_and_never_answered(flipt: FliptServer) -> None:
    flipt.faults.add(Fault.lost_answer("PUT"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(flipt.url, "PUT", RESOURCES, kill())
    assert not flipt.evaluate_boolean("mhv", "sm", "entity")
    assert flipt.count("PUT") == 1


def test_reset_breaks_the_connection_and_carries_out_nothing(flipt: FliptServer) -> None:
    flipt.faults.add(Fault.reset("PUT"))
    with pytest.raises(ConnectionResetError):
        ask(flipt.url, "PUT", RESOURCES, kill())
    assert flipt.evaluate_boolean("mhv", "sm", "entity")


def test_status_answers_as_told_and_only_as_often_as_told(flipt: FliptServer) -> None:
    fault = flipt.faults.add(Fault.status("GET", "/snapshot", status=502, body="bad gateway", times=2, after=1))
    snapshot = "/client/v2/environments/default/namespaces/mhv/snapshot"
    assert [ask(flipt.url, "GET", snapshot).status for _ in range(5)] == [200, 502, 502, 200, 200]
    assert fault.hits == 2
    assert ask(flipt.url, "GET", FLAG).status == 200


def test_status_carries_out_nothing(flipt: FliptServer) -> None:
    flipt.faults.add(Fault.status("PUT|POST", status=503))
    answered = ask(flipt.url, "PUT", RESOURCES, kill())
    assert (answered.status, answered.body["code"]) == (503, 14)
    assert flipt.evaluate_boolean("mhv", "sm", "entity")


def test_conflict_makes_the_revision_stale_and_the_next_attempt_pass(flipt: FliptServer) -> None:
    revision = ask(flipt.url, "GET", FLAG).body["revision"]
    flipt.faults.add(Fault.conflict())
    refused = ask(flipt.url, "PUT", RESOURCES, kill(revision))
    assert (refused.status, refused.body["code"]) == (409, 10)
    assert flipt.evaluate_boolean("mhv", "sm", "entity")
    again = ask(flipt.url, "GET", FLAG).body["revision"]
    assert again != revision
    assert ask(flipt.url, "PUT", RESOURCES, kill(again)).status == 200
    assert not flipt.evaluate_boolean("mhv", "sm", "entity")


def test_edit_in_between_is_seen_by_the_request_it_precedes(flipt: FliptServer) -> None:
    def someone(server: FliptServer) -> None:
        server.edit_flag("mhv", "sm", type="BOOLEAN_FLAG_TYPE", enabled=False, rollouts=[threshold(5, True)])

    flipt.faults.add(Fault.edit("GET", "flipt.core.Flag", edit=someone, after=1))
    before = ask(flipt.url, "GET", FLAG).body["resource"]["payload"]
    after = ask(flipt.url, "GET", FLAG).body["resource"]["payload"]
    assert (before["enabled"], after["enabled"]) == (True, False)
    assert after["rollouts"][0]["threshold"] == {"percentage": 5, "value": True}


def test_edits_over_http_are_requests_that_are_not_counted(flipt: FliptServer) -> None:
    other = {"@type": "flipt.core.Flag", "key": "other", "name": "Other", "type": "BOOLEAN_FLAG_TYPE"}
    edit = {"method": "POST", "path": RESOURCES, "json": {"key": "other", "payload": other}}
    fault = {"kind": "edit", "method": "PUT", "path": "/resources$", "edit": [edit]}
    assert ask(flipt.url, "POST", "/_sandbox/faults", fault).status == 200
    revision = ask(flipt.url, "GET", FLAG).body["revision"]
    assert ask(flipt.url, "PUT", RESOURCES, kill(revision)).status == 409
    assert flipt.flag("mhv", "other").key == "other"
    assert (flipt.count("POST"), flipt.count("PUT")) == (0, 1)


def test_delay_comes_before_the_request_is_carried_out(flipt: FliptServer) -> None:
    fault = flipt.faults.add(Fault.delay("PUT", seconds=0.2))
    started = time.monotonic()
    putting = threading.Thread(target=ask, args=(flipt.url, "PUT", RESOURCES, kill()))
    putting.start()
    assert fault.wait_hit()
    assert flipt.evaluate_boolean("mhv", "sm", "entity")
    putting.join()
    assert not flipt.evaluate_boolean("mhv", "sm", "entity")
    assert time.monotonic() - started >= 0.2


def test_hanging_request_ends_when_the_fault_is_removed(flipt: FliptServer) -> None:
    fault = flipt.faults.add(Fault.hang("PUT"))
    ended: list[BaseException] = []

    def put() -> None:
        try:
            ask(flipt.url, "PUT", RESOURCES, kill())
        except http.client.RemoteDisconnected as error:
            ended.append(error)

    putting = threading.Thread(target=put)
    putting.start()
    assert fault.wait_hit()
    assert putting.is_alive()
    flipt.faults.remove(fault)
    putting.join(5)
    assert len(ended) == 1
    assert flipt.evaluate_boolean("mhv", "sm", "entity")


def test_stopping_the_server_ends_hanging_requests() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag()), faults=[Fault.hang()]) as server:
        fault = server.faults.all()[0]
        outcome: list[type[BaseException]] = []

        def get() -> None:
            try:
                ask(server.url, "GET", FLAG)
            except (OSError, http.client.HTTPException) as error:
                outcome.append(type(error))

        getting = threading.Thread(target=get)
        getting.start()
        assert fault.wait_hit()
        started = time.monotonic()
        server.stop()
        getting.join(5)
    assert len(outcome) == 1
    assert time.monotonic() - started < 2


def test_controls_need_no_token_and_are_hit_by_no_fault() -> None:
    with FliptServer("v1", token="secret", faults=[Fault.status(times=None)]) as server:
        assert ask(server.url, "GET", "/health").status == 503
        told = ask(server.url, "GET", "/_sandbox/faults").body["faults"]
        assert [(fault["kind"], fault["hits"]) for fault in told] == [("status", 1)]
        assert ask(server.url, "DELETE", "/_sandbox/faults").status == 200
        assert ask(server.url, "GET", "/health").status == 200
        assert ask(server.url, "GET", "/api/v1/namespaces").status == 401


def test_requests_are_logged_with_what_became_of_them(flipt: FliptServer) -> None:
    ask(flipt.url, "GET", FLAG)
    flipt.faults.add(Fault.lost_answer("PUT"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(flipt.url, "PUT", RESOURCES, kill())
    logged = ask(flipt.url, "GET", "/_sandbox/requests").body["requests"]
    assert [(one["method"], one["path"], one["status"]) for one in logged] == [
        ("GET", FLAG, 200),
        ("PUT", RESOURCES, None),
    ]
    assert abs(logged[0]["time"] - time.time()) < 60
    chosen = ask(flipt.url, "GET", "/_sandbox/requests?method=PUT&path=resources$").body["requests"]
    assert len(chosen) == 1
    ask(flipt.url, "DELETE", "/_sandbox/requests")
    assert flipt.count() == 0


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "explode"}, "unknown kind 'explode'"),
        ({"kind": "delay", "secods": 1}, "unknown fields ['secods']"),
        ({"kind": "delay", "path": "("}, "no regular expression"),
    ],
)
def test_faults_that_make_no_sense_are_refused(flipt: FliptServer, fault: dict[str, Any], why: str) -> None:
    answered = ask(flipt.url, "POST", "/_sandbox/faults", fault)
    assert answered.status == 400
    assert why in answered.body["error"]
    assert flipt.faults.all() == []


def test_an_unknown_kind_is_refused_in_python_too() -> None:
    with pytest.raises(FaultError, match="unknown kind"):
        Fault("explode")  # type: ignore[arg-type]


def test_writes_take_as_long_as_told_and_evaluations_do_not() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag()), put_delay=0.08) as server:
        started = time.monotonic()
        ask(server.url, "PUT", RESOURCES, kill())
        assert time.monotonic() - started >= 0.08
        ask(server.url, "POST", "/_sandbox/delays", {"put_delay": 5})
        started = time.monotonic()
        asked = {"namespaceKey": "mhv", "flagKey": "sm", "entityId": "u", "context": {}}
        assert not ask(server.url, "POST", "/evaluate/v1/boolean", asked).body["enabled"]
        assert ask(server.url, "GET", FLAG).status == 200
        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "nothing", 404), ("POST", "faults", 400), ("GET", "requests?path=(", 400), ("GET", "state?age=x", 400)],
)
def test_controls_that_make_no_sense_are_refused(flipt: FliptServer, method: str, path: str, status: int) -> None:
    answered = ask(flipt.url, method, f"/_sandbox/{path}", "text" if method == "POST" else None)
    assert answered.status == status
    assert answered.body["error"]
