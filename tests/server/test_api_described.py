"""The interface keeps to its own description, whatever it is asked, and nobody without a token changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

from rollback.server.api_commands import commands
from tests.server.api_world import ApiWorld, KeptHolds, api_world

DOCUMENTED = {502, 503, 504, 507}
"""What a store or a server that cannot is told by; anything else from 500 on is a fault."""

READING = [
    "/features",
    "/features/{feature}",
    "/features/{feature}/check",
    "/features/{feature}/incidents",
    "/features/{feature}/transitions",
    "/flags/{environment}/{namespace}/{key}",
    "/incidents/{incident}",
    "/inbox",
    "/operations/{operation}",
    "/transitions",
    "/verify",
]
CHANGING = [
    "/features/{feature}/disable",
    "/flags/{environment}/{namespace}/{key}/disable",
    *(f"/features/{{feature}}/{name}" for name in commands(KeptHolds())),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    with api_world(tmp_path_factory.mktemp("described")) as world:
        yield world


def test_every_path_of_the_interface_is_asked_here(world: ApiWorld) -> None:
    paths = world.http.get("/openapi.json").json()["paths"]
    told = {path.removeprefix("/api/v1") for path in paths if path.startswith("/api/v1/")}
    elsewhere = "/features/{feature}/ci"  # tests/server/test_api_oidc.py
    assert told == {*READING, *CHANGING, elsewhere}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"), [*(("GET", path) for path in READING), *(("POST", path) for path in CHANGING)], ids=str
)
def test_the_interface_keeps_to_its_description_whatever_it_is_asked(world: ApiWorld, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_url(f"{world.server.address}/openapi.json")[f"/api/v1{path}"][method]
    statuses: set[int] = set()

    @seed(20261124)
    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(
        case=operation.as_strategy(),
        role=st.sampled_from(["approver", "approver", "viewer", None]),
        is_known=st.booleans(),
        is_stream=st.booleans(),
    )
    def ask(case: Any, role: str | None, is_known: bool, is_stream: bool) -> None:
        if is_known and "feature" in case.path_parameters:
            case.path_parameters["feature"] = "sm"
        if path.endswith("/check"):
            case.query = {"seconds": "0"}
        if path.endswith("/enable") and isinstance(case.body, dict) and case.body.get("force") is not True:
            case.body.pop("force_for", None)  # needs the other, which a schema cannot say
        if path.endswith("/approve") and isinstance(case.body, dict):
            case.body.pop("step", None)  # excludes the others, which a schema cannot say
            case.body.pop("switch", None)
        headers = {"Authorization": f"Bearer {world.secrets[role]}"} if role else {}
        if is_stream and role:
            headers["Accept"] = "application/x-ndjson"
        answer = case.call_and_validate(headers=headers, excluded_checks=[not_a_server_error])
        statuses.add(answer.status_code)
        assert answer.status_code < 500 or answer.status_code in DOCUMENTED, answer.text
        assert role or answer.status_code in (400, 401, 404, 405)

    ask()
    assert 401 in statuses
    assert not {500} & statuses
    assert world.get("/verify").json()["ok"] is True
