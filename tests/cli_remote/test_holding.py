"""A hold that is set and released from another machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.api_world import ApiWorld, api_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path) as world:
        yield world


def test_a_hold_is_set_and_released_on_the_server(world: ApiWorld) -> None:
    laptop = world.laptop(role="responder")
    laptop.run("hold", "sm", "--until", "2h").expect(2)
    laptop.run("hold", "sm", "--until", "2h", "--reason", "load test").expect(0)
    done = laptop.run("hold", "sm", "--release").expect(0)
    assert "may act on secure-messaging again" in done.out
    assert [(until is None, reason) for _, until, _, _, reason in world.holds.held] == [
        (False, "load test"),
        (True, "released"),
    ]
