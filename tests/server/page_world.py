"""A browser without a window: signs in by the form, keeps its cookie, and sends what the page's own scripts send."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.harness import until
from tests.server.api_world import ApiWorld


@dataclass
class Browser:
    """Somebody at the page. `csrf` is what the page was given when it was loaded; empty when nobody is signed in."""

    http: httpx.Client
    address: str
    csrf: str = ""

    def sign_in(self, secret: str, **headers: str) -> httpx.Response:
        """Sends the form, and loads the page when that went well."""
        sent = {"origin": self.address, "sec-fetch-site": "same-origin", **headers}
        answer = self.http.post("/page/sign-in", data={"token": secret}, headers=sent)
        if answer.status_code == 303:
            found = re.search(r'name="rollback-csrf" content="([0-9a-f]{64})"', self.http.get("/").text)
            self.csrf = found[1] if found else ""
        return answer

    def act(
        self, feature: str, command: str, body: Mapping[str, Any] | None = None, **headers: str | None
    ) -> httpx.Response:
        """A command as the page sends it; a header that is None is left out."""
        usual = {"origin": self.address, "sec-fetch-site": "same-origin", "x-rollback-csrf": self.csrf}
        given: dict[str, str | None] = {**usual, **{name.replace("_", "-"): text for name, text in headers.items()}}
        sent = {name: text for name, text in given.items() if text is not None}
        return self.http.post(f"/page/features/{feature}/{command}", json=body or {}, headers=sent)

    def state(self) -> Any:
        """The document with what stands beside it."""
        answer = self.http.get("/page/state")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def card(self, key: str = "secure-messaging") -> dict[str, Any]:
        """One feature's card, once the page has it."""

        def found() -> list[dict[str, Any]]:
            document = self.state()["document"]
            return [card for card in (document or {"features": []})["features"] if card["key"] == key]

        until(lambda: bool(found()), what=f"a card of {key}")
        return found()[0]

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """The events as they come."""
        with self.http.stream("GET", "/page/events") as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def browser(address: str) -> Iterator[Browser]:
    """Somebody who is not signed in."""
    with httpx.Client(base_url=address, timeout=30.0, trust_env=False) as http:
        yield Browser(http, address)


@contextmanager
def signed_in(world: ApiWorld, role: str = "responder") -> Iterator[Browser]:
    """Somebody who is."""
    with browser(world.server.address) as somebody:
        assert somebody.sign_in(world.secrets[role]).status_code == 303
        assert somebody.csrf
        yield somebody
