"""Life and readiness: each part says why not, and none is called well because nobody asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollback.errors import ConfigurationError
from rollback.server.health import REMEMBERED_SECONDS
from tests.fakes.clock import FakeClock
from tests.server.stand_ins import World, delivery, document_of, request, serving, status_of

LIVE, READY = "/healthz/live", "/healthz/ready"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    with serving(tmp_path, clock=clock) as running:
        yield running


def asked(world: World, path: str) -> tuple[int, str, dict[str, str]]:
    answer = world.talk(request("GET", path, close=True))
    document = document_of(answer)
    return status_of(answer), document["status"], document["parts"]


def test_a_server_that_can_act_says_so(world: World) -> None:
    assert asked(world, LIVE) == (200, "live", {"event loop": "ok", "inbox-writer": "ok"})
    parts = dict.fromkeys(("inbox", "dispatcher", "policies", "sources", "server"), "ok")
    assert asked(world, READY) == (200, "ready", parts)


def test_asking_changes_nothing(world: World) -> None:
    world.talk(delivery())
    before = world.inbox.recent(10), world.inbox.counts()
    asked(world, READY)
    assert (world.inbox.recent(10), world.inbox.counts()) == before


def test_a_dispatcher_in_trouble_is_not_ready_and_lives(world: World) -> None:
    world.dispatcher.trouble = "nobody decides on alerts of secure-messaging"
    status, word, parts = asked(world, READY)
    assert (status, word) == (503, "not ready")
    assert parts["dispatcher"] == "nobody decides on alerts of secure-messaging"
    assert asked(world, LIVE)[0] == 200  # a restart would not mend a flag store out of reach


def test_an_inbox_that_cannot_be_used_is_not_ready(world: World) -> None:
    world.services.keeper.close()
    world.inbox.close()
    status, _, parts = asked(world, READY)
    assert status == 503
    assert "closed" in parts["inbox"]
    assert parts["policies"] == "ok"


def test_policies_that_cannot_be_read_are_not_ready(tmp_path: Path) -> None:
    def unreadable() -> str:
        raise ConfigurationError("automation.yaml:3: sources must be a mapping; token=abcdefgh12345678")

    with serving(tmp_path, policies=unreadable) as world:
        status, _, parts = asked(world, READY)
    assert status == 503
    assert parts["policies"].startswith("automation.yaml:3: sources must be a mapping")
    assert "abcdefgh12345678" not in parts["policies"]


def test_a_part_that_fails_unexpectedly_is_not_ready_and_shows_no_content(tmp_path: Path) -> None:
    def broken() -> str:
        raise RuntimeError("something private")

    with serving(tmp_path, policies=broken) as world:
        status, _, parts = asked(world, READY)
    assert (status, parts["policies"]) == (503, "it failed unexpectedly (RuntimeError)")


def test_a_thread_that_has_ended_is_dead(tmp_path: Path) -> None:
    alive = {"inbox-writer": True}
    with serving(tmp_path, workers=lambda: alive) as world:
        assert asked(world, LIVE)[0] == 200
        alive["inbox-writer"] = False
        status, word, parts = asked(world, LIVE)
    assert (status, word, parts["inbox-writer"]) == (503, "dead", "it has ended")


def test_threads_that_cannot_be_asked_are_not_taken_for_alive(tmp_path: Path) -> None:
    def broken() -> dict[str, bool]:
        raise RuntimeError("something private")

    with serving(tmp_path, workers=broken) as world:
        assert asked(world, LIVE)[:2] == (503, "dead")


def test_a_server_that_is_ending_is_not_ready(world: World) -> None:
    world.services.stopping.set()
    status, _, parts = asked(world, READY)
    assert (status, parts["server"]) == (503, "it is ending")


def test_readiness_is_asked_for_once_a_second_however_often_somebody_wants_to_know(
    tmp_path: Path, clock: FakeClock
) -> None:
    asked_at: list[float] = []

    def policies() -> str:
        asked_at.append(clock.elapsed)
        return ""

    with serving(tmp_path, clock=clock, policies=policies) as world:
        threads = [threading.Thread(target=asked, args=(world, READY)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(asked_at) == 1
        clock.sleep(REMEMBERED_SECONDS)
        asked(world, READY)
    assert len(asked_at) == 2
