"""A whole server over a Flipt and a pretend application, with a token of each role, and how to call it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from rollback.adapters.idempotency.sqlite import SqliteIdempotency
from rollback.adapters.tokens.sqlite import SqliteTokens
from rollback.core.history import Actor
from tests.e2e.harness import Cli
from tests.e2e.worlds import USUAL, World, world_in
from tests.server.stand_ins import World as Server
from tests.server.stand_ins import serving

ROLES = ("viewer", "responder", "approver", "ci")
BASE = "/api/v1"


@dataclass
class KeptHolds:
    """Remembers what was held."""

    held: list[tuple[str, datetime | None, str, Actor, str]] = field(default_factory=list)

    def hold(self, feature: str, until: datetime | None, what: str, actor: Actor, reason: str) -> None:
        self.held.append((feature, until, what, actor, reason))


@dataclass
class ApiWorld:
    """The server, the world it acts in, and the secrets of its tokens by role."""

    world: World
    server: Server
    tokens: SqliteTokens
    holds: KeptHolds
    secrets: Mapping[str, str]
    http: httpx.Client

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        role: str | None = "responder",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """One call, by the token of this role (None: without one)."""
        sent = {**({"authorization": f"Bearer {self.secrets[role]}"} if role else {}), **(headers or {})}
        return self.http.request(method, f"{BASE}{path}", json=body, headers=sent, params=query or None)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> httpx.Response:
        return self.call("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.call("GET", path, **more)

    def stream(self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> list[Any]:
        """All events of one call, without beats."""
        headers = {"accept": "application/x-ndjson", **more.pop("headers", {})}
        answer = self.call(method, path, body, headers=headers, **more)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        events = [json.loads(line) for line in answer.text.splitlines()]
        return [event for event in events if "beat" not in event]

    def laptop(self, name: str = "laptop", role: str = "responder", **settings: str | None) -> Cli:
        """A machine whose commands go to the server; it has policies and no flag store."""
        own = {"ROLLBACK_SERVER": self.server.address, "ROLLBACK_TOKEN": self.secrets[role], **settings}
        return Cli(self.world.folder / name, own.pop("ROLLBACK_FLIPT_URL", None), self.world.cli.policies, own)

    def history(self) -> list[dict[str, Any]]:
        """All rows of the server's record."""
        rows: list[dict[str, Any]] = self.get("/transitions", limit=500).json()["entries"]
        return rows


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these settings of ours, and no others."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("ROLLBACK_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def api_world(folder: Path, api: str = "v2", flag: Mapping[str, Any] | None = USUAL, **more: Any) -> Iterator[ApiWorld]:
    """A server whose record is that of the machine `world.cli`; gone afterwards."""
    with world_in(folder, api, flag) as world:
        mine = world.cli.environment()
        settings = {name: text for name, text in mine.items() if name.startswith(("ROLLBACK_", "SM_"))}
        state = folder / "rollback.state.db"
        tokens, answers, holds = SqliteTokens(state), SqliteIdempotency(state), KeptHolds()
        secrets = {role: tokens.issue(f"a-{role}", role, None, datetime.now(UTC)) for role in ROLES}
        parts: dict[str, Any] = {"tokens": tokens, "idempotency": answers, "holds": holds, **more}
        with variables(settings), serving(folder, **parts) as server:
            with httpx.Client(base_url=server.address, timeout=60.0, trust_env=False) as http:
                yield ApiWorld(world, server, tokens, holds, secrets, http)
            server.services.operations.stop_all(20.0)
        tokens.close()
        answers.close()
