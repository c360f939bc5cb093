"""v1: what was written is what is read, for everything that a client may have to give back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded

MHV = "/api/v1/namespaces/mhv"


@pytest.fixture
def flipt() -> Iterator[FliptServer]:
    """A v1 server with a boolean flag and two segments."""
    staff = {"key": "staff", "name": "Staff"}
    with FliptServer("v1", seed=seeded(boolean_flag(), segments=(VETERANS, staff))) as server:
        yield server


def test_namespaces(flipt: FliptServer) -> None:
    path = "/api/v1/namespaces/mhv"
    changed = ask(flipt.url, "PUT", path, {"name": "My HealtheVet", "description": "d"}).body
    assert (changed["name"], changed["description"]) == ("My HealtheVet", "d")
    assert ask(flipt.url, "GET", path).body == changed
    assert flipt.flag("mhv", "sm").enabled


def test_flags_and_paths_without_a_namespace(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", "/api/v1/flags", {"key": "other", "name": "Other", "enabled": True})
    assert flipt.flag("default", "other").enabled
    assert ask(flipt.url, "DELETE", "/api/v1/flags/other").body == {}
    assert ask(flipt.url, "GET", "/api/v1/flags/other").status == 404


def test_flags_written_in_snake_case(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", f"{MHV}/flags", {"key": "vf", "name": "VF", "type": 0})
    blue = ask(flipt.url, "POST", f"{MHV}/flags/vf/variants", {"key": "blue"}).body["id"]
    changed = ask(flipt.url, "PUT", f"{MHV}/flags/vf", {"name": "VF", "default_variant_id": blue}).body
    assert changed["defaultVariant"]["key"] == "blue"


def test_variants(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", f"{MHV}/flags", {"key": "vf", "name": "VF"})
    path = f"{MHV}/flags/vf/variants"
    made = ask(flipt.url, "POST", path, {"key": "blue", "attachment": '{ "a": 1 }'}).body
    assert made["attachment"] == '{"a":1}'
    changed = ask(flipt.url, "PUT", f"{path}/{made['id']}", {"key": "navy", "name": "Navy"}).body
    assert (changed["key"], changed["name"], changed["attachment"]) == ("navy", "Navy", "")
    assert ask(flipt.url, "GET", f"{MHV}/flags/vf").body["variants"] == [changed]


def test_rules_are_changed_ordered_and_deleted(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", f"{MHV}/flags", {"key": "vf", "name": "VF"})
    path = f"{MHV}/flags/vf/rules"
    first, second, third = (
        ask(flipt.url, "POST", path, {"segmentKey": "veterans", "rank": rank}).body["id"] for rank in (1, 2, 3)
    )
    both = {"segmentKeys": ["veterans", "staff"], "segmentOperator": "AND_SEGMENT_OPERATOR"}
    changed = ask(flipt.url, "PUT", f"{path}/{second}", both).body
    assert (changed["segmentKeys"], changed["segmentOperator"]) == (["veterans", "staff"], both["segmentOperator"])
    assert ask(flipt.url, "GET", f"{path}/{second}").body == changed
    ask(flipt.url, "PUT", f"{path}/order", {"ruleIds": [third, second, first]})
    assert [one["id"] for one in ask(flipt.url, "GET", path).body["rules"]] == [third, second, first]
    ask(flipt.url, "DELETE", f"{path}/{third}")
    left = [(one["id"], one["rank"]) for one in ask(flipt.url, "GET", path).body["rules"]]
    assert left == [(second, 1), (first, 2)]


def test_segments(flipt: FliptServer) -> None:
    listed = ask(flipt.url, "GET", f"{MHV}/segments?limit=1").body
    assert (listed["segments"][0]["key"], listed["totalCount"]) == ("veterans", 2)
    changed = ask(flipt.url, "PUT", f"{MHV}/segments/staff", {"name": "S", "matchType": "ANY_MATCH_TYPE"}).body
    assert (changed["name"], changed["matchType"]) == ("S", "ANY_MATCH_TYPE")
    assert ask(flipt.url, "GET", f"{MHV}/segments/staff").body == changed
    assert ask(flipt.url, "DELETE", f"{MHV}/segments/staff").body == {}
    assert ask(flipt.url, "GET", f"{MHV}/segments/staff").status == 404


def test_lists_of_a_namespace_that_is_not_there_are_empty(flipt: FliptServer) -> None:
    for kind in ("flags", "segments", "flags/sm/rules"):
        answered = ask(flipt.url, "GET", f"/api/v1/namespaces/nope/{kind}")
        assert (answered.status, answered.body["totalCount"]) == (200, 0)


def test_ordering_and_deleting_in_a_flag_that_is_not_there_do_nothing(flipt: FliptServer) -> None:
    path = f"{MHV}/flags/nope/rollouts"
    assert ask(flipt.url, "PUT", f"{path}/order", {"rolloutIds": ["a", "b"]}).status == 200
    assert ask(flipt.url, "DELETE", f"{path}/a").status == 200
    assert ask(flipt.url, "GET", f"{MHV}/flags/nope").status == 404
