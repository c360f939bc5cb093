"""The description of the interface is complete, needs nobody else's scripts, and is kept by the running server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

from tests.server.stand_ins import BEARER_SECRET, SECRET, SOURCES, World, document_of, request, serving, status_of

OURS = {
    ("post", "/alerts/{source}"): {"202", "401", "404", "411", "413", "415", "503"},
    ("get", "/metrics"): {"200"},
    ("get", "/healthz/live"): {"200", "503"},
    ("get", "/healthz/ready"): {"200", "503"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


def description(world: World) -> Any:
    return document_of(world.talk(request("GET", "/openapi.json", close=True)))


def test_every_endpoint_and_every_answer_is_described(world: World) -> None:
    told = description(world)
    assert told["info"]["title"] == "rollback"
    assert told["info"]["version"]
    found = {
        (method, path): operation
        for path, operations in told["paths"].items()
        for method, operation in operations.items()
        if not path.startswith("/api/")
    }
    assert {key: set(operation["responses"]) - {"422"} for key, operation in found.items()} == OURS
    for operation in found.values():
        assert operation["summary"]
        assert operation["operationId"]
        assert all(response["description"] for response in operation["responses"].values())
    assert found["post", "/alerts/{source}"]["requestBody"]["required"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_no_page_loads_scripts_from_elsewhere(world: World, path: str) -> None:
    answer = world.talk(request("GET", path, close=True))
    assert status_of(answer) == 404
    assert b"<script" not in answer


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OURS)
def test_the_server_keeps_to_its_description_whatever_it_is_asked(world: World, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_url(f"{world.address}/openapi.json")[path][method.upper()]
    credentials = [{}, {"X-Rollback-Secret": SECRET}, {"Authorization": f"Bearer {BEARER_SECRET}"}]
    statuses: set[int] = set()

    @seed(20261124)
    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), headers=st.sampled_from(credentials), source=st.sampled_from([None, *SOURCES]))
    def ask(case: Any, headers: dict[str, str], source: str | None) -> None:
        if source is not None and "source" in case.path_parameters:
            case.path_parameters["source"] = source
        answer = case.call_and_validate(headers=headers, excluded_checks=[not_a_server_error])
        statuses.add(answer.status_code)
        assert answer.status_code < 500 or (answer.status_code == 503 and source == "closed")

    ask()
    assert statuses == ({202, 401, 404, 503} if method == "post" else {200})
    assert status_of(world.talk(request("GET", "/healthz/ready", close=True))) == 200
