"""A server with the call of pipelines, the world that it acts in, and the issuer that its policy names."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI

from rollback.oidc import Verifier
from rollback.server import api_ci, problems
from rollback.server.api_answers import Answers
from rollback.server.auth import Authentication
from rollback.server.problems import PREFIX, ProblemRoute
from tests.e2e.harness import until
from tests.fakes.oidc_door import AUDIENCE
from tests.fakes.oidc_issuer import Issuer
from tests.server.api_world import ApiWorld

FIX = "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d"
BODY = {"fix": FIX}


@dataclass
class CiWorld:
    """A server with the pipelines' call, the world it acts in, and the issuer that its policy names."""

    api: ApiWorld
    issuer: Issuer
    address: str

    @property
    def flipt(self) -> str:
        return self.api.world.flipt.url

    def token(self, **claims: Any) -> str:
        return self.issuer.token(None, **{"aud": AUDIENCE, **claims})

    def post(self, token: str | None, body: Any = BODY, feature: str = "sm", **headers: str) -> httpx.Response:
        sent = {**({"authorization": f"Bearer {token}"} if token else {}), **headers}
        with httpx.Client(base_url=self.address, timeout=60.0, trust_env=False) as http:
            return http.post(f"{PREFIX}/features/{feature}/ci", json=body, headers=sent)

    def stream(self, token: str, body: Any = BODY) -> list[dict[str, Any]]:
        """All events but beats."""
        answer = self.post(token, body, accept="application/x-ndjson")
        assert answer.status_code == 200, answer.text
        events = [json.loads(line) for line in answer.text.splitlines()]
        return [event for event in events if "beat" not in event]

    def off(self, link: str = FIX) -> None:
        """Off, with its fix linked, and mended."""
        self.api.post("/features/sm/disable").raise_for_status()
        if link:
            self.api.post("/features/sm/fix", {"commit": link}).raise_for_status()
        self.api.world.mend()

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.api.history() if row["name"] == name]


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The application over real HTTP on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, what="the server")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def application(api: ApiWorld, verifier: Verifier | None) -> FastAPI:
    """The pipelines' call alone, as the server has it."""
    services = api.server.services
    app, router = FastAPI(), APIRouter(prefix=PREFIX, route_class=ProblemRoute)
    authentication = Authentication(services.tokens, services.clock, services.record)
    api_ci.add_to(router, services, authentication, Answers(services), verifier)
    app.include_router(router)
    problems.install(app)
    return app
