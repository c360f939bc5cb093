"""v1's management API where no transcript goes: ranks, pages, what a client needs to give a flag back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.calls import VETERANS, ask, boolean_flag, seeded, threshold

FLAGS = "/api/v1/namespaces/mhv/flags"
ROLLOUTS = f"{FLAGS}/sm/rollouts"
SEGMENTS = "/api/v1/namespaces/mhv/segments"
KILL = {"rank": 0, "description": "kill", "threshold": {"percentage": 100, "value": False}}


@pytest.fixture
def flipt() -> Iterator[FliptServer]:
    """A v1 server with a flag that has three rollouts."""
    rollouts = [threshold(10, True, "first"), threshold(20, True, "second"), threshold(30, True, "third")]
    with FliptServer("v1", seed=seeded(boolean_flag(rollouts=rollouts), segments=(VETERANS,))) as server:
        yield server


def rollouts_of(server: FliptServer) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = ask(server.url, "GET", ROLLOUTS).body["rules"]
    return rules


def ranks_of(server: FliptServer) -> list[tuple[int, str]]:
    return [(one["rank"], one["description"]) for one in rollouts_of(server)]


def test_ordering_only_some_ids_gives_duplicate_ranks(flipt: FliptServer) -> None:
    third = rollouts_of(flipt)[2]["id"]
    second = rollouts_of(flipt)[1]["id"]
    assert ask(flipt.url, "PUT", f"{ROLLOUTS}/order", {"rolloutIds": [third, second]}).body == {}
    assert ranks_of(flipt) == [(1, "first"), (1, "third"), (2, "second")]


def test_ordering_needs_two_ids(flipt: FliptServer) -> None:
    answered = ask(flipt.url, "PUT", f"{ROLLOUTS}/order", {"rolloutIds": ["one"]})
    assert (answered.status, answered.body["message"]) == (
        400,
        "invalid field rolloutIds: must contain atleast 2 elements",
    )


def test_deleting_renumbers_from_one_so_that_rank_0_is_free_again(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", ROLLOUTS, KILL)
    assert ask(flipt.url, "POST", ROLLOUTS, KILL).status == 400
    assert ask(flipt.url, "DELETE", f"{ROLLOUTS}/of-nobody").status == 200
    assert ranks_of(flipt) == [(1, "kill"), (2, "first"), (3, "second"), (4, "third")]
    assert ask(flipt.url, "POST", ROLLOUTS, KILL).status == 200
    assert ranks_of(flipt)[:2] == [(0, "kill"), (1, "kill")]


def test_rollouts_come_in_pages(flipt: FliptServer) -> None:
    first = ask(flipt.url, "GET", f"{ROLLOUTS}?limit=2").body
    assert [one["description"] for one in first["rules"]] == ["first", "second"]
    assert first["totalCount"] == 3
    token = first["nextPageToken"]
    rest = ask(flipt.url, "GET", f"{ROLLOUTS}?limit=2&pageToken={token}").body
    assert [one["description"] for one in rest["rules"]] == ["third"]
    assert rest["nextPageToken"] == ""


@pytest.mark.parametrize("query", ["pageToken=abc", "limit=2&pageToken=not-a-token", "limit=many"])
def test_pages_that_make_no_sense_are_refused(flipt: FliptServer, query: str) -> None:
    assert ask(flipt.url, "GET", f"{ROLLOUTS}?{query}").status == 400


def test_rollouts_of_a_flag_that_is_not_there_are_an_empty_list(flipt: FliptServer) -> None:
    answered = ask(flipt.url, "GET", f"{FLAGS}/nope/rollouts")
    assert (answered.status, answered.body["rules"]) == (200, [])


def test_rollout_of_a_segment_that_is_not_there_is_refused(flipt: FliptServer) -> None:
    rollout = {"rank": 9, "segment": {"segmentKey": "nobody", "value": True}}
    answered = ask(flipt.url, "POST", ROLLOUTS, rollout)
    assert (answered.status, answered.body["message"]) == (404, 'flag "mhv/sm or segment nobody" not found')


def test_a_rollout_cannot_change_its_type(flipt: FliptServer) -> None:
    first = rollouts_of(flipt)[0]["id"]
    answered = ask(flipt.url, "PUT", f"{ROLLOUTS}/{first}", {"segment": {"segmentKey": "veterans", "value": True}})
    assert answered.status == 400
    assert "cannot change type of rollout" in answered.body["message"]
    assert ask(flipt.url, "PUT", f"{ROLLOUTS}/{first}", {"description": "x"}).status == 400
    assert ranks_of(flipt)[0] == (1, "first")


def test_several_segments_are_written_under_segment_keys(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", SEGMENTS, {"key": "staff", "name": "Staff", "matchType": "ALL_MATCH_TYPE"})
    both = {
        "segmentKeys": ["veterans", "staff"],
        "segmentOperator": "AND_SEGMENT_OPERATOR",
        "value": True,
    }
    made = ask(flipt.url, "POST", ROLLOUTS, {"rank": 0, "segment": both}).body
    assert made["segment"] == {**both, "segmentKey": ""}
    assert flipt.evaluate_boolean("mhv", "sm", "e", {"role": "veteran"})


def test_a_variant_flag_can_be_taken_apart_and_put_together_again(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", FLAGS, {"key": "vf", "name": "VF", "enabled": True})
    ids = {
        key: ask(flipt.url, "POST", f"{FLAGS}/vf/variants", {"key": key, "name": key}).body["id"]
        for key in ("blue", "green")
    }
    rule = ask(flipt.url, "POST", f"{FLAGS}/vf/rules", {"segmentKey": "veterans", "rank": 1}).body
    shares = f"{FLAGS}/vf/rules/{rule['id']}/distributions"
    share = ask(flipt.url, "POST", shares, {"variantId": ids["blue"], "rollout": 100}).body
    listed = ask(flipt.url, "GET", f"{FLAGS}/vf/rules").body["rules"]
    assert [one["variantId"] for one in listed[0]["distributions"]] == [ids["blue"]]
    changed = ask(flipt.url, "PUT", f"{shares}/{share['id']}", {"variantId": ids["blue"], "rollout": 40}).body
    assert changed["rollout"] == 40
    ask(flipt.url, "PUT", f"{FLAGS}/vf", {"name": "VF", "enabled": True, "defaultVariantId": ids["green"]})
    assert ask(flipt.url, "DELETE", f"{FLAGS}/vf/variants/{ids['green']}").status == 200
    assert "defaultVariant" not in ask(flipt.url, "GET", f"{FLAGS}/vf").body
    assert ask(flipt.url, "DELETE", f"{shares}/{share['id']}?variantId={ids['blue']}").status == 200
    assert ask(flipt.url, "DELETE", f"{FLAGS}/vf/rules/{rule['id']}").status == 200
    assert ask(flipt.url, "GET", f"{FLAGS}/vf/rules").body["totalCount"] == 0


def test_a_default_variant_of_another_flag_is_refused(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", FLAGS, {"key": "vf", "name": "VF", "enabled": True})
    answered = ask(flipt.url, "PUT", f"{FLAGS}/vf", {"name": "VF", "defaultVariantId": "nope"})
    assert (answered.status, answered.body["message"]) == (400, 'variant "nope" not found for flag "mhv/vf"')


def test_metadata_stays_unless_it_is_given(flipt: FliptServer) -> None:
    ask(flipt.url, "PUT", f"{FLAGS}/sm", {"name": "SM", "enabled": True, "metadata": {"team": "a"}})
    assert ask(flipt.url, "PUT", f"{FLAGS}/sm", {"name": "SM"}).body["metadata"] == {"team": "a"}
    assert "metadata" not in ask(flipt.url, "PUT", f"{FLAGS}/sm", {"name": "SM", "metadata": {}}).body


def test_a_segment_in_use_cannot_be_deleted(flipt: FliptServer) -> None:
    ask(flipt.url, "POST", ROLLOUTS, {"rank": 9, "segment": {"segmentKey": "veterans", "value": True}})
    answered = ask(flipt.url, "DELETE", f"{SEGMENTS}/veterans")
    assert (answered.status, answered.body["message"]) == (400, 'segment "mhv/veterans" is in use')


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (
            {"type": "STRING_COMPARISON_TYPE", "property": "p", "operator": "lt", "value": "1"},
            'constraint operator "lt" is not valid for type string',
        ),
        (
            {"type": "NUMBER_COMPARISON_TYPE", "property": "p", "operator": "eq"},
            "invalid field value: must not be empty",
        ),
        (
            {"type": "DATETIME_COMPARISON_TYPE", "property": "p", "operator": "eq", "value": "soon"},
            'parsing datetime from "soon"',
        ),
        (
            {"type": "STRING_COMPARISON_TYPE", "property": "p", "operator": "isoneof", "value": "x"},
            'invalid value provided for property "p" of type string',
        ),
    ],
)
def test_constraints_are_checked(flipt: FliptServer, constraint: dict[str, str], message: str) -> None:
    answered = ask(flipt.url, "POST", f"{SEGMENTS}/veterans/constraints", constraint)
    assert (answered.status, answered.body["message"]) == (400, message)


def test_constraints_can_be_changed_and_deleted(flipt: FliptServer) -> None:
    path = f"{SEGMENTS}/veterans/constraints"
    given = {
        "type": "DATETIME_COMPARISON_TYPE",
        "property": "since",
        "operator": "GT",
        "value": "2026-01-01T02:00:00+02:00",
    }
    made = ask(flipt.url, "POST", path, given).body
    assert (made["operator"], made["value"]) == ("gt", "2026-01-01T00:00:00Z")
    changed = ask(flipt.url, "PUT", f"{path}/{made['id']}", {**given, "operator": "present"}).body
    assert (changed["operator"], changed["value"]) == ("present", "")
    assert ask(flipt.url, "DELETE", f"{path}/{made['id']}").status == 200
    assert len(ask(flipt.url, "GET", f"{SEGMENTS}/veterans").body["constraints"]) == 1


def test_namespaces_with_flags_are_deleted_only_by_force(flipt: FliptServer) -> None:
    assert ask(flipt.url, "DELETE", "/api/v1/namespaces/mhv").status == 400
    assert ask(flipt.url, "DELETE", "/api/v1/namespaces/default").status == 400
    assert ask(flipt.url, "DELETE", "/api/v1/namespaces/mhv?force=true").status == 200
    assert ask(flipt.url, "GET", f"{FLAGS}/sm").status == 404


def test_paths_of_the_other_version_are_404_in_text(flipt: FliptServer) -> None:
    answered = ask(flipt.url, "GET", "/api/v2/environments")
    assert (answered.status, answered.body) == (404, "404 page not found\n")


def test_read_only_refuses_every_kind_of_write() -> None:
    with FliptServer("v1", seed=seeded(boolean_flag()), read_only=True) as server:
        writes = [
            ("POST", ROLLOUTS, KILL),
            ("PUT", f"{FLAGS}/sm", {"name": "SM"}),
            ("DELETE", f"{FLAGS}/sm", None),
            ("POST", "/api/v1/namespaces", {"key": "x", "name": "x"}),
        ]
        answers = [ask(server.url, method, path, document) for method, path, document in writes]
        assert [(one.status, one.body["code"]) for one in answers] == [(500, 13)] * 4
        assert ask(server.url, "GET", f"{FLAGS}/sm").status == 200
