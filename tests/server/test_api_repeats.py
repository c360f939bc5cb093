"""`Idempotency-Key` for everything but off: the same answer again, or a refusal; never done twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollback.adapters.idempotency.memory import MemoryIdempotency
from rollback.core.history import Actor
from rollback.server.api_repeats import Repeat
from rollback.server.problems import Problem
from tests.server.api_world import ApiWorld, api_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path) as world:
        yield world


def note(world: ApiWorld, text: str = "once", key: str = "k-1", **more: Any) -> httpx.Response:
    return world.post("/features/sm/note", {"text": text}, headers={"idempotency-key": key}, **more)


def notes(world: ApiWorld) -> list[str]:
    return [row["data"]["text"] for row in world.history() if row["name"] == "note_added"]


def test_the_same_request_again_gets_the_same_answer_and_is_done_once(world: ApiWorld) -> None:
    first, again = note(world), note(world)
    assert first.status_code == 200
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert notes(world) == ["once"]


def test_another_request_with_the_same_key_is_refused(world: ApiWorld) -> None:
    note(world)
    for answer in (
        note(world, "other"),
        world.post("/features/sm/fix", {"commit": "abc"}, headers={"idempotency-key": "k-1"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert notes(world) == ["once"]


def test_a_key_is_its_owners_alone(world: ApiWorld) -> None:
    note(world)
    assert "idempotent-replayed" not in note(world, role="approver").headers
    assert notes(world) == ["once", "once"]


class SlowHolds:
    """Holds that take until somebody lets them."""

    def __init__(self) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.count = 0

    def hold(self, feature: str, until: object, what: str, actor: Actor, reason: str) -> None:  # noqa: ARG002
        self.count += 1
        self.begun.set()
        assert self.let.wait(20)


def test_the_same_request_while_it_is_under_way_is_refused(tmp_path: Path) -> None:
    holds = SlowHolds()
    body = {"until": "2030-01-01T00:00:00Z", "reason": "r"}
    with api_world(tmp_path, holds=holds) as world, ThreadPoolExecutor(1) as pool:
        key = {"idempotency-key": "k"}
        first = pool.submit(world.post, "/features/sm/hold", body, headers=key)
        assert holds.begun.wait(20)
        meanwhile = world.post("/features/sm/hold", body, headers=key)
        assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "idempotency_in_progress")
        assert int(meanwhile.headers["retry-after"]) > 0
        holds.let.set()
        assert first.result().status_code == 200
        assert world.post("/features/sm/hold", body, headers=key).content == first.result().content
        assert holds.count == 1


def test_what_the_policy_refused_stays_refused_under_its_key(world: ApiWorld) -> None:
    """Errors are stored as well: the request was dealt with."""
    asked = ("/features/sm/fix", {"commit": "abc"})
    first = world.post(*asked, headers={"idempotency-key": "k"})
    again = world.post(*asked, headers={"idempotency-key": "k"})
    assert (first.status_code, again.content) == (409, first.content)
    assert again.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("code", "is_kept"), [("store_unreachable", False), ("conflict", False), ("refused", True)])
def test_what_certainly_did_nothing_frees_its_key(code: str, is_kept: bool, tmp_path: Path) -> None:
    answers = MemoryIdempotency()
    with api_world(tmp_path, idempotency=answers) as world:
        now = world.server.services.clock.now()
        assert answers.begin("k", "somebody", "digest", now) is None
        problem = Problem(code, "It did not work.", 6).response()
        Repeat("k", "somebody", world.server.services).keep(problem.status_code, bytes(problem.body))
        found = answers.begin("k", "somebody", "digest", now)
        assert (found is not None) is is_kept


def test_a_call_that_begins_nothing_leaves_its_key_free(world: ApiWorld) -> None:
    body, key = {"reason": "r"}, {"idempotency-key": "k"}
    assert world.post("/features/nosuch/enable", body, headers=key).status_code == 404
    assert world.post("/features/nosuch/enable", body, headers=key).status_code == 404
    assert world.post("/features/sm/enable", body, headers=key).status_code == 202


def test_a_return_is_begun_once(world: ApiWorld) -> None:
    world.post("/features/sm/disable").raise_for_status()
    world.world.mend()
    asked = ("/features/sm/enable", {"reason": "fixed"})
    first = world.post(*asked, headers={"idempotency-key": "k"})
    again = world.post(*asked, headers={"idempotency-key": "k"})
    assert first.status_code == again.status_code == 202
    assert first.json()["operation"] == again.json()["operation"]


def test_a_stream_is_told_again_from_its_store(world: ApiWorld) -> None:
    more: dict[str, Any] = {"headers": {"idempotency-key": "k"}}
    first = world.stream("POST", "/features/sm/note", {"text": "t"}, **more)
    again = world.stream("POST", "/features/sm/note", {"text": "t"}, **more)
    assert first == again
    assert first[-1] == {"exit": 0}
    assert notes(world) == ["t"]
    document = world.post("/features/sm/note", {"text": "t"}, **more)
    assert document.status_code == 409, "another form is another request"
