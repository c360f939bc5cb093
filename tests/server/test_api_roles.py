"""Who may do what: every route of the interface has a row in one table, and keeps to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from rollback.server.api import router
from rollback.server.auth import PERMISSIONS, Role
from tests.e2e.worlds import served
from tests.server.api_world import ROLES, ApiWorld, api_world

DRY = {"dry_run": True}
BODIES: dict[str, dict[str, Any]] = {
    "disable": DRY,
    "enable": {**DRY, "reason": "r"},
    "open": {**DRY, "reason": "r", "severity": "low"},
    "raise": {**DRY, "reason": "r", "severity": "high"},
    "fix": {**DRY, "commit": "abc123"},
    "note": {**DRY, "text": "t"},
    "keep-off": {**DRY, "reason": "r"},
    "release": {**DRY, "reason": "r"},
    "hold": {**DRY, "reason": "r", "until": "2030-01-01T00:00:00Z"},
    "adopt": DRY,
    "approve": {**DRY, "reason": "r"},
    "undo": {**DRY, "reason": "r"},
    "false-alarm": {**DRY, "reason": "r"},
    "close": {**DRY, "reason": "r"},
    "ci": {**DRY, "fix": "3f2c1ab"},
}
ASKED = {"feature": "sm", "environment": "default", "namespace": "mhv", "key": "secure-messaging"}
WHO: dict[str, set[str]] = {
    "read": {"viewer", "responder", "approver", "ci"},
    "disable": {"responder", "approver"},
    "open": {"responder", "approver"},
    "raise": {"responder", "approver"},
    "note": {"responder", "approver"},
    "keep-off": {"responder", "approver"},
    "hold": {"responder", "approver"},
    "adopt": {"responder", "approver"},
    "approve": {"responder", "approver"},
    "undo": {"responder", "approver"},
    "close": {"responder", "approver"},
    "enable": {"responder", "approver"},
    "fix": {"responder", "approver", "ci"},
    "enable --fix": {"responder", "approver", "ci"},
    "enable --force": {"approver"},
    "enable --accept-blind": {"approver"},
    "release": {"approver"},
    "false-alarm": {"approver"},
}
"""Written a second time, by hand: a slip in the program's own table must show."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    with api_world(tmp_path_factory.mktemp("roles")) as world:
        yield world


def routes(world: ApiWorld) -> list[APIRoute]:
    found = router(world.server.services).routes
    assert all(isinstance(route, APIRoute) for route in found)
    return [route for route in found if isinstance(route, APIRoute)]


def test_the_table_says_what_the_roles_are_for() -> None:
    assert {name: {role.value for role in roles} for name, roles in PERMISSIONS.items()} == WHO
    assert {role.value for role in Role} == set(ROLES)


def test_a_route_without_a_permission_is_a_hole(world: ApiWorld) -> None:
    told = {route.path: (route.openapi_extra or {}).get("x-permission") for route in routes(world)}
    assert len(told) > 20
    assert {path: name for path, name in told.items() if name not in PERMISSIONS} == {}


def test_every_route_keeps_to_the_table_for_every_role(world: ApiWorld) -> None:
    """Also that what is refused is refused before anything is done: the flag and the case are as before."""
    before = world.world.flag
    wrong = []
    for route in routes(world):
        permission = str((route.openapi_extra or {})["x-permission"])
        path = re.sub(r"\{(\w+)\}", lambda found: ASKED.get(found[1], "nosuch"), route.path.removeprefix("/api/v1"))
        query: dict[str, Any] = {"seconds": "0"} if path.endswith("/check") else {}
        for role in (*ROLES, None):
            method = min(route.methods or {"GET"})
            status = world.call(method, path, BODIES.get(path.rpartition("/")[2]), role=role, **query).status_code
            expected = 401 if role is None else 403 if role not in WHO[permission] else None
            if (expected and status != expected) or (not expected and status in (401, 403, 500)):
                wrong.append((method, path, role, status, expected))
    assert wrong == []
    assert world.world.flag == before
    assert world.world.writes == 0
    assert world.get("/features/sm").json()["state"] == "normal"


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({}, {"responder", "approver"}),
        ({"fix": "abc123"}, {"responder", "approver", "ci"}),
        ({"force": True}, {"approver"}),
        ({"accept_blind": True}, {"approver"}),
        ({"fix": "abc123", "force": True}, {"approver"}),
        ({"fix": "abc123", "accept_blind": True}, {"approver"}),
    ],
    ids=lambda told: " ".join(sorted(told)) or "nothing more",
)
def test_what_an_enable_needs_depends_on_how_it_goes_about_it(
    world: ApiWorld, more: dict[str, Any], allowed: set[str]
) -> None:
    asked = {**DRY, "reason": "r", **more}
    told = {role: world.post("/features/sm/enable", asked, role=role).status_code for role in ROLES}
    assert {role for role, status in told.items() if status != 403} == allowed
    assert {told[role] for role in allowed} == {200}


def test_a_refusal_is_in_the_history_once_a_minute_and_names_who_and_what(world: ApiWorld) -> None:
    for _ in range(3):
        assert world.post("/features/sm/disable", role="viewer").status_code == 403
    rows = [row for row in world.history() if row["feature"] == "@server" and row["data"]["permission"] == "disable"]
    assert [
        (row["actor"], row["authenticated"], row["data"]["role"]) for row in rows if row["actor"] == "a-viewer"
    ] == [("a-viewer", "token", "viewer")]
    assert served(world.world.flipt.url) > 0


def test_what_is_done_is_in_the_history_under_the_name_of_the_token(world: ApiWorld) -> None:
    world.post("/features/sm/note", {"text": "somebody looks"}).raise_for_status()
    row = world.history()[-1]
    assert (row["name"], row["actor"], row["authenticated"]) == ("note_added", "a-responder", "token")
    world.post("/features/sm/open", {"severity": "low", "reason": "typo"}).raise_for_status()
    world.post("/features/sm/fix", {"commit": "abc123"}, role="ci").raise_for_status()
    row = next(row for row in world.history() if row["name"] == "fix_deployed")
    assert (row["actor"], row["authenticated"]) == ("a-ci", "ci"), "a pipeline's token is no person"
    assert world.get("/verify").json()["ok"] is True
