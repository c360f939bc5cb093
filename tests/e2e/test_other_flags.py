"""Variant flags, and flags whose `true` takes the feature down: off for everybody, and then exactly as before."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeWorld, on_v1
from tests.e2e.worlds import FLAG, NAMESPACE, World, flag_of, served, write_policies
from tests.sandbox.calls import threshold

VARIANT = {
    "key": FLAG,
    "name": "Secure Messaging",
    "description": "Which inbox people get",
    "type": "VARIANT_FLAG_TYPE",
    "enabled": True,
    "variants": [
        {"key": "new", "name": "The new inbox", "default": True, "attachment": {"theme": "blue"}},
        {"key": "old", "name": "The old inbox"},
    ],
    "rules": [
        {
            "segment": {"keys": ["veterans"], "operator": "OR_SEGMENT_OPERATOR"},
            "distributions": [{"variant": "new", "rollout": 60}, {"variant": "old", "rollout": 40}],
        }
    ],
}


def world_of(make_world: MakeWorld, api: str, flag: dict[str, object], polarity: str) -> World:
    """A world with this flag, whose policy says what on means for it."""
    world = make_world(api, flag)
    write_policies(world.cli.policies, flag=f"{{namespace: {NAMESPACE}, key: {FLAG}, {polarity}}}")
    return world


@pytest.mark.slow
@pytest.mark.parametrize(
    ("api", "polarity"), [("v1", "on_variants: [new]"), ("v2", "on_variants: [new]"), ("v2", "on: true")]
)
def test_a_variant_flag_is_off_for_everybody_and_comes_back_exactly(
    make_world: MakeWorld, api: str, polarity: str
) -> None:
    world = world_of(make_world, api, VARIANT, polarity)
    meaning_on = ("new",) if "new" in polarity else ("new", "old")
    before, flag = served(world.flipt.url, variants=meaning_on), world.flag
    assert before > 0
    told = world.cli.run("disable", "sm", "--json").expect(0).json
    assert (told["exposure"], told["off_proven"]) == (0, True)
    assert served(world.flipt.url, variants=meaning_on) == 0
    assert world.cli.status()["ours_on_flag"], "another machine can see whose it is"
    world.mend()
    done = world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert "all or nothing" in done.out or "whole or not at all" in done.out, "why there are no steps"
    assert world.flag == flag
    assert served(world.flipt.url, variants=meaning_on) == before


@pytest.mark.slow
@on_v1
def test_a_variant_flag_that_is_disabled_twice_still_comes_back_exactly(make_world: MakeWorld, api: str) -> None:
    world = world_of(make_world, api, VARIANT, "on_variants: [new]")
    flag = world.flag
    for _ in range(2):
        world.cli.run("disable", "sm").expect(0)
    world.mend()
    world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert world.flag == flag


def test_a_variant_flag_cannot_be_reduced_and_says_what_to_do(make_world: MakeWorld) -> None:
    world = world_of(make_world, "v2", VARIANT, "on_variants: [new]")
    done = world.cli.run("open", "sm", "--severity", "high", "--reason", "x", "--json").expect(3)
    assert "rollback disable" in done.json["error"]["next"]
    assert world.writes == 0


@pytest.mark.slow
def test_a_flag_whose_true_takes_the_feature_down_is_turned_to_true(make_world: MakeWorld, api: str) -> None:
    maintenance = flag_of(threshold(20, True, "maintenance for some"))
    world = world_of(make_world, api, maintenance, "on: false")
    before, flag = served(world.flipt.url, on=False), world.flag
    assert 2000 < before < 3000
    told = world.cli.run("disable", "sm", "--json").expect(0).json
    assert (told["exposure"], told["off_proven"]) == (0, True)
    assert served(world.flipt.url, on=False) == 0
    world.mend()
    done = world.cli.run("enable", "sm", "--reason", "fixed").expect(0)
    assert "step 10 %: 8 of 100 buckets are open" in done.out, "a tenth of the 80 that had it"
    assert world.flag == flag
    assert served(world.flipt.url, on=False) == before


def test_turned_off_by_its_key_the_policy_still_says_which_way_is_off(make_world: MakeWorld) -> None:
    world = world_of(make_world, "v2", flag_of(threshold(20, True, "maintenance")), "on: false")
    world.cli.run("disable", "--flag", f"default/{NAMESPACE}/{FLAG}").expect(0)
    assert served(world.flipt.url, on=False) == 0
