"""One browser for all tests of a file, and a window that must have been well behaved at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.browsing import Window, chromium, issue, window
from tests.e2e.serving import Serving, serving, with_alerts
from tests.e2e.worlds import World, world_in

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A broken feature with rules for every sender."""
    with world_in(tmp_path, "v2") as world:
        with_alerts(world.cli.policies)
        yield world


@pytest.fixture
def server(world: World) -> Iterator[Serving]:
    """A server that is ready."""
    with serving(world.cli) as running:
        yield running


@pytest.fixture
def responder(browser: Browser, server: Serving) -> Iterator[Window]:
    """A responder's window, signed in; at its end nothing went wrong in it, and it called nobody else."""
    with window(browser, server.url) as opened:
        opened.sign_in(issue(server.cli, "responder"))
        yield opened
        opened.expect_well()
