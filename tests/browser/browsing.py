"""A real browser on the page: Chromium without a window, which notes each error and each request to elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rollback.adapters.tokens.sqlite import SqliteTokens
from tests.e2e.harness import PATIENCE, Cli
from tests.requires import require_module, require_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
MILLISECONDS = PATIENCE * 1000


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; closed afterwards."""
    path = require_program("chromium")
    require_module("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """One window of somebody's browser, with what went wrong in it. `goes_wrong` are the words of what a test makes
    go wrong on purpose."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    goes_wrong: tuple[str, ...] = ()

    def sign_in(self, secret: str) -> None:
        """By the form, as a person does it."""
        self.page.goto(self.url)
        self.page.get_by_label("Token").fill(secret)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator(".card").first.wait_for(timeout=MILLISECONDS)

    def expect_well(self) -> None:
        """Nothing went wrong in it but what was meant to, and it called nobody else."""
        assert self.elsewhere == []
        assert [error for error in self.errors if not any(word in error for word in self.goes_wrong)] == []

    def says(self, text: str) -> None:
        """Waits until the feature's card says this at a glance."""
        self.page.locator(".card .glance", has_text=text).first.wait_for(timeout=MILLISECONDS)


@contextmanager
def window(browser: Browser, url: str, size: dict[str, int] = DESKTOP, **more: Any) -> Iterator[Window]:
    """A window with a profile of its own."""
    context = browser.new_context(viewport=size, reduced_motion="reduce", **more)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        opened = Window(page, url)
        home = urlsplit(url).netloc

        def request(sent: Any) -> None:
            if urlsplit(sent.url).netloc != home:
                opened.elsewhere.append(sent.url)

        page.on("console", lambda said: opened.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.on("request", request)
        page.on("response", lambda got: opened.errors.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        yield opened
    finally:
        context.close()


def issue(cli: Cli, role: str, name: str = "") -> str:
    """A token of this role on the machine that serves; returns its secret."""
    tokens = SqliteTokens(cli.folder / "rollback.state.db")
    try:
        return tokens.issue(name or f"a-{role}", role, None, datetime.now(UTC))
    finally:
        tokens.close()


def revoke(cli: Cli, name: str) -> None:
    """Ends that token."""
    tokens = SqliteTokens(cli.folder / "rollback.state.db")
    try:
        assert tokens.revoke(name, datetime.now(UTC))
    finally:
        tokens.close()
