"""What a seed may look like, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rollback.sandbox import FliptServer
from rollback.sandbox.documents import SeedError
from tests.sandbox.calls import ask, boolean_flag, seeded

DOCUMENT = {"version": "1.4", "namespace": "mhv", "flags": [boolean_flag()]}


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    "seed",
    [
        seeded(boolean_flag()),
        DOCUMENT,
        [DOCUMENT, {"namespace": {"key": "other", "name": "Other"}, "flags": []}],
        {"environments": {"default": seeded(boolean_flag())}},
        {"namespaces": {"mhv": {"flags": {"sm": {"type": "BOOLEAN_FLAG_TYPE", "enabled": True}}}}},
    ],
)
def test_every_shape_of_a_seed_gives_the_same_flag(api: str, seed: Any) -> None:
    with FliptServer(api, seed=seed) as server:
        assert server.evaluate_boolean("mhv", "sm", "entity")
        snapshot = ask(server.url, "GET", "/internal/v1/evaluation/snapshot/namespace/mhv").body
        assert [flag["key"] for flag in snapshot["flags"]] == ["sm"]


@pytest.mark.parametrize(
    "seed",
    [
        {"namepsaces": {}},
        {"namespaces": {"mhv": {"flags": [{"name": "no key"}]}}},
        {"namespaces": {"mhv": {"flags": [{"key": "sm", "rollouts": [{"description": "neither"}]}]}}},
        {"namespaces": {"mhv": {"flags": [{"key": "v", "variants": [{"key": "a", "attachment": "{"}]}]}}},
        ["text"],
    ],
)
def test_seeds_that_make_no_sense_are_refused(seed: Any) -> None:
    with pytest.raises(SeedError):
        FliptServer("v2", seed=seed)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown API 'v3'"):
        FliptServer("v3")


def test_an_empty_server_has_only_the_default_namespace() -> None:
    with FliptServer("v1") as server:
        namespaces = ask(server.url, "GET", "/api/v1/namespaces").body["namespaces"]
        assert [one["key"] for one in namespaces] == ["default"]
