"""The pretend application is as healthy as it is told to be."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

import pytest

from rollback.sandbox import SmApi
from tests.sandbox.calls import ask
from tests.sandbox.waiting import wait_until

FOLDERS = "/my_health/v1/messaging/folders"


def test_healthy_answers_have_the_form_of_the_api() -> None:
    with SmApi() as api:
        folders = ask(api.url, "GET", FOLDERS)
        assert folders.status == 200
        assert folders.body["data"][0]["type"] == "folders"
        one = ask(api.url, "GET", "/my_health/v1/messaging/messages/42").body["data"]
        assert (one["id"], one["type"]) == ("42", "messages")
        assert api.count("GET", "folders$") == 1
        assert api.outcomes == {"healthy": 2}


def test_the_error_rate_is_kept_and_repeatable() -> None:
    def statuses(api: SmApi, count: int = 300) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", int(api.url.rsplit(":", 1)[1]), timeout=5)
        found = []
        for _ in range(count):
            connection.request("GET", FOLDERS)
            response = connection.getresponse()
            response.read()
            found.append(response.status)
        connection.close()
        return found

    with SmApi(error_rate=0.3, seed=7, status=502) as api:
        first = statuses(api)
        assert 60 <= first.count(502) <= 120
        assert set(first) == {200, 502}
        api.behave(seed=7)
        assert statuses(api) == first
        api.behave(error_rate=0)
        assert set(statuses(api, 50)) == {200}
        api.behave(error_rate=1)
        assert set(statuses(api, 50)) == {502}


@pytest.mark.parametrize(
    ("mode", "status", "body"),
    [
        ("broken", 503, {"errors": [{"title": "Service unavailable", "status": "503"}]}),
        ("disabled", 200, {"error": "disabled"}),
        ("empty", 200, ""),
    ],
)
def test_modes_answer_in_their_own_way_and_the_control_stays_healthy(mode: Any, status: int, body: Any) -> None:
    with SmApi(mode=mode) as api:
        answered = ask(api.url, "GET", FOLDERS)
        assert (answered.status, answered.body) == (status, body)
        assert ask(api.url, "GET", "/control").body == {"status": "ok"}


def test_hanging_ends_when_the_mode_changes() -> None:
    with SmApi(mode="hang") as api:
        ended: list[type[BaseException]] = []

        def get() -> None:
            try:
                ask(api.url, "GET", FOLDERS)
            except http.client.RemoteDisconnected as error:
                ended.append(type(error))

        getting = threading.Thread(target=get)
        getting.start()
        wait_until(lambda: api.count() == 1)
        assert getting.is_alive()
        api.behave(mode="healthy")
        getting.join(5)
        assert ended == [http.client.RemoteDisconnected]
        assert ask(api.url, "GET", FOLDERS).status == 200


def test_a_required_header_is_required_of_messaging_only() -> None:
    with SmApi(requires=("X-Bypass", "secret")) as api:
        assert ask(api.url, "GET", FOLDERS).status == 403
        assert ask(api.url, "GET", FOLDERS, x_bypass="wrong").status == 403
        assert ask(api.url, "GET", FOLDERS, x_bypass="secret").status == 200
        assert ask(api.url, "GET", "/control").status == 200


def test_behaviour_and_version_are_set_over_http() -> None:
    with SmApi(git_revision="abc") as api:
        assert ask(api.url, "GET", "/version").body == {"git_revision": "abc"}
        told = ask(api.url, "POST", "/_sandbox/behaviour", {"mode": "broken", "git_revision": "def"}).body
        assert (told["mode"], told["git_revision"]) == ("broken", "def")
        assert ask(api.url, "GET", "/version").body == {"git_revision": "def"}
        assert ask(api.url, "GET", FOLDERS).status == 503
        assert ask(api.url, "GET", "/_sandbox/behaviour").body["answered"] == {"error": 1}
        assert len(ask(api.url, "GET", "/_sandbox/requests").body["requests"]) == 3


@pytest.mark.parametrize(
    "wrong", [{"mode": "odd"}, {"error_rate": 1.5}, {"errorrate": 0}, {"status": 42}, {"latency_ms": -1}]
)
def test_behaviour_that_makes_no_sense_is_refused_and_changes_nothing(wrong: dict[str, Any]) -> None:
    with SmApi() as api:
        before = api.behaviour
        assert ask(api.url, "POST", "/_sandbox/behaviour", wrong).status == 400
        assert api.behaviour == before
        with pytest.raises(ValueError, match=r"."):
            api.behave(**wrong)


def test_what_is_not_there_is_404_and_the_log_can_be_forgotten() -> None:
    with SmApi() as api:
        assert ask(api.url, "GET", "/elsewhere").status == 404
        assert ask(api.url, "GET", "/_sandbox/nothing").status == 404
        assert ask(api.url, "DELETE", "/_sandbox/requests").status == 200
        assert api.count() == 0


def test_latency_is_kept() -> None:
    with SmApi(latency_ms=80) as api:
        started = time.monotonic()
        ask(api.url, "GET", FOLDERS)
        assert time.monotonic() - started >= 0.08


def test_it_answers_five_hundred_requests_a_second_on_one_connection() -> None:
    with SmApi() as api:
        connection = http.client.HTTPConnection("127.0.0.1", int(api.url.rsplit(":", 1)[1]), timeout=5)
        started = time.monotonic()
        for _ in range(500):
            connection.request("GET", FOLDERS)
            assert json.loads(connection.getresponse().read())["data"]
        assert time.monotonic() - started < 1
        connection.close()
