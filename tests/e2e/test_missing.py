"""A flag, namespace or environment that does not exist is never off: the application's own default decides."""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import FLAG, NAMESPACE, USUAL, World, write_policies

REFERENCE = f"{{namespace: {NAMESPACE}, key: {FLAG}}}"
ELSEWHERE = f"{{namespace: nosuch, key: {FLAG}}}"
MISSING = {
    "v1 flag": ("v1", None, REFERENCE),
    "v2 flag": ("v2", None, REFERENCE),
    "v1 namespace": ("v1", USUAL, ELSEWHERE),
    "v2 namespace": ("v2", USUAL, ELSEWHERE),
    "v2 environment": ("v2", USUAL, f"{{environment: nosuch, namespace: {NAMESPACE}, key: {FLAG}}}"),
}


@pytest.fixture(params=MISSING)
def lost(request: pytest.FixtureRequest, make_world: MakeWorld) -> World:
    """A world whose policy names something that the store does not have."""
    api, flag, reference = MISSING[request.param]
    world = make_world(api, flag)
    write_policies(world.cli.policies, flag=reference)
    return world


def claims_no_off(done: Result) -> None:
    """Nothing that it says could be read as off."""
    assert not re.search(r"\bis OFF\b|\bproven\b", done.out), done.out
    assert "exposure" in done.all.lower()


def test_disable_of_what_is_missing_is_exit_2_and_never_off(lost: World) -> None:
    told = lost.cli.run("disable", "sm", "--json").expect(2).json
    assert told["exposure"] is None
    assert told["off_proven"] is False
    assert told["error"]["code"] == "flag_missing"
    assert told["exit"] == 2
    said = lost.cli.run("disable", "sm").expect(2)
    claims_no_off(said)
    assert "not off" in said.all
    assert lost.flipt.count("PUT|POST|DELETE", "^/api/") == 0, "and nothing was made in its place"


def test_status_of_what_is_missing_is_exit_2_and_exposure_unknown(lost: World) -> None:
    told = lost.cli.run("status", "sm", "--json").expect(2).json
    assert told["exposure"] is None
    assert told["exposure_unknown"]
    assert told["off_proven"] is False
    assert told["error"]["code"] == "flag_missing"
    said = lost.cli.run("status", "sm").expect(2)
    claims_no_off(said)
    assert "UNKNOWN" in said.out


def test_status_after_a_disable_that_found_no_flag_shows_no_off(lost: World) -> None:
    """The attempt is in the record; it is neither an off nor an open case that looks like one."""
    lost.cli.run("disable", "sm").expect(2)
    told = lost.cli.run("status", "sm", "--json").expect(2).json
    assert told["exposure"] is None
    assert told["off_proven"] is False
    assert told["state"] != "disabled"
    assert [row["kind"] for row in lost.cli.history()] == ["intent", "outcome"]


def test_the_list_of_all_features_says_unknown_and_shows_the_others(make_world: MakeWorld) -> None:
    world = make_world("v1", None)
    told = world.cli.run("status", "--json").expect(0).json
    assert [(one["feature"], one["exposure"]) for one in told["features"]] == [("secure-messaging", None)]
    assert told["features"][0]["error"]["code"] == "flag_missing"
    assert "unknown" in world.cli.run("status").expect(0).out


def test_the_empty_snapshot_that_v1_serves_for_an_unknown_namespace_is_no_off(make_world: MakeWorld) -> None:
    """A typing error in the namespace looks like "nobody is served" to whoever reads the snapshot alone."""
    world = make_world("v1", USUAL)
    bare = Cli(world.folder / "bare", world.flipt.url, world.folder / "none")
    for words in (("disable", "--flag", f"default/typo/{FLAG}"), ("status", "--flag", f"default/typo/{FLAG}")):
        told = bare.run(*words, "--json").expect(2).json
        assert told["exposure"] is None, words


def test_enable_and_open_refuse_a_missing_flag(lost: World) -> None:
    for words in (("enable", "sm", "--reason", "x"), ("open", "sm", "--severity", "high", "--reason", "x")):
        told = lost.cli.run(*words, "--json").expect(2).json
        assert told["error"]["code"] == "flag_missing", words
