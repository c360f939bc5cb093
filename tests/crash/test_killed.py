"""kill -9 of the real program at each request that it sends, then the next changing command (invariants 10 and 18).

The server holds a request without carrying it out, and says so; then the program is killed. So every point between two
requests is covered without any luck: what was written before it has happened, the held one has not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollback.sandbox import Fault
from tests.e2e.worlds import World, served, world_in

pytestmark = pytest.mark.crash

STORES_OWN = {"id", "rank", "createdAt", "updatedAt"}
"""What a store numbers and dates by itself; order and content are compared."""

HELD = 30.0
"""Seconds that a request is held at most; the kill ends it."""

MOST_REQUESTS = 200


def killed_at(world: World, nth: int, *words: str) -> bool:
    """Starts a command and kills it at its n-th request to the flag store; False when it ended before that."""
    fault = world.flipt.faults.add(Fault.hang("", "^/(api|internal|evaluate|client)/", seconds=HELD, after=nth))
    running = world.cli.start(*words)
    while running.is_running and not fault.wait_hit(0.02):
        pass
    hit = fault.hits > 0
    running.kill()
    world.flipt.faults.clear()
    return hit


def content(value: Any) -> Any:
    """Order and content of a flag."""
    if isinstance(value, dict):
        return {key: content(one) for key, one in value.items() if key not in STORES_OWN}
    return [content(one) for one in value] if isinstance(value, list) else value


def check_settled(world: World) -> None:
    """Nobody has the feature, the record is whole, and the program says both."""
    assert served(world.flipt.url) == 0
    verified = world.cli.run("verify", "--json").expect(0).json
    assert verified["ok"] is True
    told = world.cli.status()
    assert told["exposure"] == 0
    assert told["state"] in ("disabling", "disabled")
    assert told["differs"] == []
    rows = world.cli.history()
    ids = [row["entry_id"] for row in rows]
    assert len(ids) == len(set(ids))
    opened = {row["incident"] for row in rows if row["name"] == "case_opened"}
    assert len(opened) == 1


def check_comes_back(world: World, flag: Any) -> None:
    """A return that nobody kills gives back the flag as it was."""
    world.mend()
    world.cli.run("enable", "sm", "--reason", "fixed", "--fix", "600df1x").expect(0)
    assert content(world.flag) == flag


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_disable_killed_at_any_request_is_off_after_the_next_command(api: str, tmp_path: Path) -> None:
    points = 0
    for nth in range(MOST_REQUESTS):
        with world_in(tmp_path / str(nth), api) as world:
            flag = content(world.flag)
            if not killed_at(world, nth, "disable", "sm", "--reason", "broken"):
                break
            points += 1
            world.cli.run("note", "sm", "somebody looks").expect(0)
            check_settled(world)
            if nth % 4 == 0:
                check_comes_back(world, flag)
    assert points >= 4
    print(f"{api}: {points} points")


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_enable_killed_at_any_request_is_off_after_the_next_command(api: str, tmp_path: Path) -> None:
    points = 0
    for nth in range(0, MOST_REQUESTS, 1 if api == "v2" else 2):
        with world_in(tmp_path / str(nth), api) as world:
            flag = content(world.flag)
            world.cli.run("disable", "sm").expect(0)
            world.mend()
            if not killed_at(world, nth, "enable", "sm", "--reason", "fixed", "--fix", "600df1x"):
                assert content(world.flag) == flag
                break
            points += 1
            world.cli.run("note", "sm", "somebody looks").expect(0)
            check_settled(world)
            if nth % 8 == 0:
                check_comes_back(world, flag)
    assert points >= 8
    print(f"{api}: {points} points")


def test_disable_after_a_killed_enable_wins_at_once(tmp_path: Path) -> None:
    for nth in (6, 12, 18):
        with world_in(tmp_path / str(nth), "v2") as world:
            world.cli.run("disable", "sm").expect(0)
            world.mend()
            assert killed_at(world, nth, "enable", "sm", "--reason", "fixed")
            world.cli.run("disable", "sm").expect(0)
            check_settled(world)
