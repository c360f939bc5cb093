"""Worlds for every test of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.worlds import World, world_in

MakeWorld = Callable[..., World]

on_v1 = pytest.mark.parametrize("api", ["v1"])
on_v2 = pytest.mark.parametrize("api", ["v2"])
"""For tests that need the usual world, and in which Flipt's version makes no difference: one of the two is enough."""


@pytest.fixture(params=["v1", "v2"], scope="module")
def api(request: pytest.FixtureRequest) -> str:
    """Flipt's versions: what is promised holds on both."""
    return str(request.param)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world: `make_world("v1", flag, **what FliptServer takes)`."""
    with ExitStack() as stack:

        def make(api: str, *args: Any, **kwargs: Any) -> World:
            return stack.enter_context(world_in(tmp_path, api, *args, **kwargs))

        yield make


@pytest.fixture
def world(make_world: MakeWorld, api: str) -> World:
    """The usual world, on v1 and on v2."""
    return make_world(api)
