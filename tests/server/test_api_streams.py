"""Events as they happen, flushed at once; whoever goes away stops nothing; returns are watched by the server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollback.serve_presence import announce, withdraw
from rollback.server import streams
from rollback.server.operations import Operations
from rollback.server.problems import Refused
from rollback.server.streams import EventOutput, Subscription, line_of
from tests.e2e.harness import until
from tests.e2e.worlds import HALF, served, write_policies
from tests.server.api_world import ApiWorld, api_world

NDJSON = "application/x-ndjson"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path) as world:
        yield world


def kinds(events: list[Any]) -> list[str]:
    return [next(iter(event)) for event in events]


def test_a_disable_streams_its_lines_and_ends_with_its_exit_code(world: ApiWorld) -> None:
    events = world.stream("POST", "/features/sm/disable", {"reason": "r"})
    assert set(kinds(events)) == {"line", "exit"}
    assert events[-1] == {"exit": 0}
    text = "\n".join(event["line"] for event in events[:-1])
    assert "is OFF on the server since" in text
    assert events[0]["line"].startswith("flipt ")
    assert any(event.get("fg") == "green" and event["bold"] for event in events)


def test_with_output_json_the_document_is_the_one_of_the_command_line(world: ApiWorld) -> None:
    events = world.stream("GET", "/features/sm", output="json")
    (document,) = [event["document"] for event in events if "document" in event]
    assert document["feature"] == "secure-messaging"
    assert "--json" not in str(events)


def test_a_failure_ends_the_stream_as_a_problem(world: ApiWorld) -> None:
    events = world.stream("POST", "/features/nosuch/disable")
    assert kinds(events) == ["problem"]
    assert events[0]["problem"]["status"] == 404


def test_who_may_not_gets_no_stream(world: ApiWorld) -> None:
    answer = world.post("/features/sm/disable", role="viewer", headers={"accept": NDJSON})
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


def begun(world: ApiWorld, path: str, body: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {world.secrets['responder']}", "accept": NDJSON}
    return world.http.stream("POST", f"/api/v1{path}", json=body, headers=headers)


def test_events_come_while_the_command_runs_and_beats_when_there_is_nothing_to_tell(world: ApiWorld) -> None:
    """The proof waits for clients that poll; the first line must not."""
    write_policies(world.world.folder / "policies", poll="5s", prove_within="20s")
    seen = []
    with begun(world, "/features/sm/disable", {}) as answer:
        events = (json.loads(line) for line in answer.iter_lines())
        for event in events:
            seen.append(event)
            if "is OFF on the server" in event.get("line", ""):
                break
        assert served(world.world.flipt.url) == 0
        assert "exit" not in str(seen)
        rest = list(events)
    assert seen[0] == {"beat": 0}
    assert any("beat" in event for event in rest)
    assert rest[-1] == {"exit": 0}


def test_a_caller_who_goes_away_stops_nothing(world: ApiWorld) -> None:
    write_policies(world.world.folder / "policies", poll="1s", prove_within="20s")
    with begun(world, "/features/sm/disable", {}) as answer:
        next(answer.iter_lines())
    until(lambda: world.get("/features/sm").json()["state"] == "disabled", what="the proof")
    assert served(world.world.flipt.url) == 0
    names = [row["name"] for row in world.history()]
    assert "off_proven" in names


def test_a_reader_who_goes_away_gives_its_turn_back(world: ApiWorld) -> None:
    write_policies(world.world.folder / "policies", soak="30s", deadline="60s")
    world.world.mend()
    headers = {"authorization": f"Bearer {world.secrets['viewer']}", "accept": NDJSON}
    for _ in range(6):
        with world.http.stream("GET", "/api/v1/features/sm/check?seconds=0.5", headers=headers) as answer:
            next(answer.iter_lines())
    assert world.get("/features/sm").status_code == 200


# -- returns -------------------------------------------------------------------------------------------------------


def ended(world: ApiWorld, answer: Any) -> Any:
    where = answer.headers["location"].removeprefix("/api/v1")
    until(lambda: world.get(where).json()["state"] == "ended", what="the operation")
    return world.get(where).json()


def test_a_return_is_an_operation_that_can_be_asked_for(world: ApiWorld) -> None:
    before = served(world.world.flipt.url)
    world.post("/features/sm/disable").raise_for_status()
    world.world.mend()
    answer = world.post("/features/sm/enable", {"reason": "fixed", "fix": "abc123"}, role="ci")
    assert (answer.status_code, answer.json()["state"], answer.json()["exit"]) == (202, "running", None)
    told = ended(world, answer)
    assert (told["exit"], told["by"], told["command"]) == (0, "a-ci", "enable")
    assert told["document"]["state"] == "resolved"
    assert told["lines"]
    assert served(world.world.flipt.url) == before


def test_one_return_a_feature_also_by_its_alias(world: ApiWorld) -> None:
    write_policies(world.world.folder / "policies", soak="30s", deadline="60s")
    world.post("/features/sm/disable").raise_for_status()
    world.world.mend()
    first = world.post("/features/sm/enable", {"reason": "fixed"})
    second = world.post("/features/secure-messaging/enable", {"reason": "me too"})
    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["operation"] == first.json()["operation"]
    assert world.server.services.operations.stop_all(20.0)
    third = world.post("/features/sm/enable", {"reason": "too late"})
    assert (third.status_code, third.json()["code"]) == (503, "server_stopping")


def test_a_server_that_ends_retreats_from_what_it_exposes(tmp_path: Path) -> None:
    """It never leaves the watch to `serve`: that is itself."""
    with api_world(tmp_path, flag=HALF) as world:
        announce(str(world.world.cli.journal))
        write_policies(world.world.folder / "policies", monitoring="60s")
        world.post("/features/sm/disable").raise_for_status()
        world.world.mend()
        with begun(world, "/features/sm/enable", {"reason": "fixed"}) as answer:
            lines = answer.iter_lines()
            for line in lines:
                if "onitoring" in line:
                    break
            assert served(world.world.flipt.url) > 0
            assert world.server.services.operations.stop_all(30.0)
            rest = [json.loads(line) for line in lines]
        withdraw(str(world.world.cli.journal))
        assert rest[-1] == {"exit": 130}
        assert served(world.world.flipt.url) == 0


def test_a_disable_ends_a_return_that_is_under_way(world: ApiWorld) -> None:
    write_policies(world.world.folder / "policies", monitoring="60s")
    world.post("/features/sm/disable").raise_for_status()
    world.world.mend()
    answer = world.post("/features/sm/enable", {"reason": "fixed"})
    until(lambda: served(world.world.flipt.url) > 0, what="exposure")
    world.post("/features/sm/disable", {"reason": "again"}).raise_for_status()
    assert served(world.world.flipt.url) == 0
    assert ended(world, answer)["exit"] == 4
    assert served(world.world.flipt.url) == 0


def test_every_caller_of_operations_is_refused_while_one_runs_and_none_is_lost() -> None:
    operations, let = Operations(), threading.Event()

    def returning(_: object, __: object) -> int:
        let.wait(20)
        return 0

    now = datetime.now(UTC)
    first = operations.start("f", "enable", "me", now, returning)
    with pytest.raises(Refused, match="me brings f back already"):
        operations.start("f", "enable", "you", now, returning)
    other = operations.start("g", "enable", "you", now, returning)
    assert {one.feature for one in operations.running()} == {"f", "g"}
    let.set()
    assert (first.work.join(20), other.work.join(20)) == (True, True)
    assert operations.get(first.operation_id) is first
    assert first.document()["exit"] == 0


def test_a_return_that_does_not_end_in_time_is_said() -> None:
    operations, let = Operations(), threading.Event()

    def returning(_: object, __: object) -> int:
        let.wait(20)
        return 0

    operation = operations.start("f", "enable", "me", datetime.now(UTC), returning)
    assert operations.stop_all(0.05) is False
    assert operation.end.is_set()
    let.set()
    assert operations.stop_all(20.0) is True


# -- the parts -----------------------------------------------------------------------------------------------------


def test_text_of_any_kind_is_one_line_of_ascii() -> None:
    told: list[Any] = []
    output = EventOutput(told.append, as_json=False, is_terminal=True)
    output.line("half a \ud800 character\nand a line", fg="red", bold=True)
    output.warn("\u202e")
    output.live("now")
    output.settle()
    output.waiting(2.5, ValueError("why"))
    output.raw("\x1b[1mtable\n")
    lines = [line_of(event) for event in told]
    assert all(line.count(b"\n") == 1 and line.isascii() for line in lines)
    assert [json.loads(line) for line in lines] == told
    assert told[4] == {"waiting": 2.5, "why": "why"}


def test_live_lines_are_for_terminals_alone() -> None:
    told: list[Any] = []
    EventOutput(told.append, as_json=False).live("now")
    assert told == []


def test_a_slow_reader_loses_live_lines_and_nothing_else() -> None:
    async def read() -> list[Any]:
        events = Subscription()
        for number in range(500):
            events({"live": str(number)})
            events({"line": str(number)})
            await asyncio.sleep(0)
        events({"exit": 0})
        return [json.loads(line) async for line in events.lines(lambda: False, {"exit": 1})]

    told = asyncio.run(read())
    assert [event["line"] for event in told if "line" in event] == [str(number) for number in range(500)]
    assert len([event for event in told if "live" in event]) < 100


def test_readers_are_let_go_when_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BEAT_EVERY", 0.01)

    async def read() -> list[Any]:
        events = Subscription()
        return [json.loads(line) async for line in events.lines(lambda: True, {"problem": {}})]

    began = time.monotonic()
    assert asyncio.run(read()) == [{"beat": 0}, {"problem": {}}]
    assert time.monotonic() - began < 10
