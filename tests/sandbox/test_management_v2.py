"""v2's management API where no transcript goes: environments, revisions, deletes, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded

BASE = "/api/v2/environments"
MHV = f"{BASE}/default/namespaces/mhv/resources"
FLAG = f"{MHV}/flipt.core.Flag/sm"


@pytest.fixture
def flipt() -> Iterator[FliptServer]:
    """A v2 server with two environments."""
    staging = {"namespaces": {"mhv": {"flags": [boolean_flag(enabled=False)]}}}
    default = seeded(boolean_flag(rollouts=[{"segment": {"key": "veterans", "value": True}}]), segments=(VETERANS,))
    with FliptServer("v2", seed={"environments": {"default": default, "staging": staging}}) as server:
        yield server


def flag(**fields: Any) -> dict[str, Any]:
    """A payload of the flag `sm`."""
    return {
        "@type": "flipt.core.Flag",
        "key": "sm",
        "name": "SM",
        "type": "BOOLEAN_FLAG_TYPE",
        "enabled": True,
        **fields,
    }


def put(server: FliptServer, payload: dict[str, Any], revision: str = "", path: str = MHV) -> Any:
    """Put a flag."""
    return ask(server.url, "PUT", path, {"key": "sm", "revision": revision, "payload": payload})


def test_environments_have_heads_of_their_own(flipt: FliptServer) -> None:
    path = FLAG.replace("default", "staging")
    head = ask(flipt.url, "GET", path).body["revision"]
    assert put(flipt, flag()).status == 200
    assert ask(flipt.url, "GET", path).body["revision"] == head
    listed = ask(flipt.url, "GET", BASE).body["environments"]
    assert [(one["key"], one["default"]) for one in listed] == [("default", True), ("staging", False)]


def test_an_edit_in_another_namespace_makes_the_revision_stale(flipt: FliptServer) -> None:
    revision = ask(flipt.url, "GET", FLAG).body["revision"]
    flipt.edit_flag("elsewhere", "other", enabled=True)
    assert put(flipt, flag(), revision).status == 409


@pytest.mark.parametrize(
    ("revision", "status"), [("", 200), ("no hex at all", 200), ("deadbeef", 409), ("0" * 40, 200)]
)
def test_only_a_revision_that_git_can_read_protects(flipt: FliptServer, revision: str, status: int) -> None:
    assert put(flipt, flag(), revision).status == status


@pytest.mark.parametrize("percentage", [-5, 150, 99.01])
def test_percentages_are_taken_as_they_come(flipt: FliptServer, percentage: float) -> None:
    rollout = {"type": "THRESHOLD_ROLLOUT_TYPE", "threshold": {"percentage": percentage, "value": False}}
    put(flipt, flag(rollouts=[rollout]))
    payload = ask(flipt.url, "GET", FLAG).body["resource"]["payload"]
    assert payload["rollouts"][0]["threshold"]["percentage"] == percentage
    assert flipt.evaluate_boolean("mhv", "sm", "entity") is (percentage < 0)


@pytest.mark.parametrize(
    ("payload", "status", "code"),
    [
        (flag(name=""), 500, 13),
        (flag(rollouts=[{"description": "neither"}]), 500, 13),
        (flag(type="VARIANT_FLAG_TYPE", variants=[{"key": "a", "attachment": "text"}]), 500, 13),
        (flag(rules=[{"segments": ["nobody"]}]), 400, 3),
        (flag(enabled="yes"), 400, 3),
    ],
)
def test_what_the_schema_refuses_leaves_the_flag_and_the_head(
    flipt: FliptServer, payload: dict[str, Any], status: int, code: int
) -> None:
    before = ask(flipt.url, "GET", FLAG).body
    answered = put(flipt, payload)
    assert (answered.status, answered.body["code"]) == (status, code)
    assert ask(flipt.url, "GET", FLAG).body == before


def test_a_put_drops_what_it_does_not_name(flipt: FliptServer) -> None:
    put(flipt, flag(metadata={"team": "a"}))
    put(flipt, flag(enabled=False))
    payload = ask(flipt.url, "GET", FLAG).body["resource"]["payload"]
    assert "metadata" not in payload
    assert payload["rollouts"] == []


def test_deleting_needs_the_head_and_is_repeatable(flipt: FliptServer) -> None:
    assert ask(flipt.url, "DELETE", f"{FLAG}?revision=deadbeef").status == 409
    revision = ask(flipt.url, "GET", FLAG).body["revision"]
    deleted = ask(flipt.url, "DELETE", f"{FLAG}?revision={revision}")
    assert deleted.status == 200
    assert ask(flipt.url, "GET", FLAG).status == 404
    assert ask(flipt.url, "DELETE", f"{FLAG}?revision={deleted.body['revision']}").status == 200


def test_a_segment_in_use_cannot_be_deleted(flipt: FliptServer) -> None:
    answered = ask(flipt.url, "DELETE", f"{MHV}/flipt.core.Segment/veterans")
    assert answered.status == 400
    assert 'segment "veterans" is in use by flag "sm" rollout 1' in answered.body["message"]


def test_namespaces_are_made_changed_and_deleted(flipt: FliptServer) -> None:
    path = f"{BASE}/default/namespaces"
    assert ask(flipt.url, "POST", path, {"key": "new", "name": "New"}).status == 200
    again = ask(flipt.url, "POST", path, {"key": "new", "name": "New"})
    assert (again.status, again.body["code"]) == (409, 6)
    assert ask(flipt.url, "PUT", path, {"key": "new", "name": "Newer", "description": "d"}).status == 200
    found = ask(flipt.url, "GET", f"{path}/new").body["namespace"]
    assert found == {"key": "new", "name": "Newer", "description": "d", "protected": False}
    assert ask(flipt.url, "PUT", path, {"key": "nope", "name": "x"}).status == 404
    assert ask(flipt.url, "DELETE", f"{path}/new").status == 200
    assert ask(flipt.url, "GET", f"{path}/new").status == 404
    assert ask(flipt.url, "DELETE", f"{path}/default").status == 400


def test_a_resource_in_a_namespace_that_is_not_there_is_refused(flipt: FliptServer) -> None:
    path = MHV.replace("mhv", "nope")
    answered = ask(flipt.url, "POST", path, {"key": "sm", "payload": flag()})
    assert (answered.status, answered.body["code"]) == (500, 13)
    assert 'namespace not found: "nope"' in answered.body["message"]


def test_the_default_namespace_makes_itself_with_its_first_resource() -> None:
    with FliptServer("v2") as server:
        snapshot = "/client/v2/environments/default/namespaces/default/snapshot"
        assert ask(server.url, "GET", snapshot).status == 404
        path = f"{BASE}/default/namespaces/default/resources"
        assert ask(server.url, "POST", path, {"key": "sm", "payload": flag()}).status == 200
        assert ask(server.url, "GET", snapshot).body["flags"][0]["key"] == "sm"


def test_unknown_types_are_404(flipt: FliptServer) -> None:
    answered = ask(flipt.url, "GET", f"{MHV}/flipt.core.Nothing")
    assert (answered.status, answered.body["code"]) == (404, 5)


def test_v1_paths_are_404_in_text_but_for_the_list_of_flags(flipt: FliptServer) -> None:
    assert ask(flipt.url, "GET", "/api/v1/namespaces/mhv/flags/sm").body == "404 page not found\n"
    assert ask(flipt.url, "POST", "/api/v1/namespaces/mhv/flags/sm/rollouts", {}).status == 404
    listed = ask(flipt.url, "GET", "/api/v1/namespaces/mhv/flags").body
    assert [(one["key"], one["enabled"]) for one in listed["flags"]] == [("sm", True)]


def test_read_only_refuses_writes() -> None:
    with FliptServer("v2", seed=seeded(boolean_flag()), read_only=True) as server:
        assert put(server, flag()).status == 500
        assert ask(server.url, "GET", FLAG).status == 200
