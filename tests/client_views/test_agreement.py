"""The samples against the real engine and the server's rules: buckets and members are what we take them for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.adapters.client_views.engine import EngineClientView
from rollback.core.contexts import samples_for
from rollback.core.flag import BUCKETS, Constraint, FlagConfig, FlagRef, FlagType, Operator, Polarity, Rollout, Segment
from rollback.ports import Sample
from rollback.sandbox import FliptServer
from tests.client_views.answer_server import AnswerServer, json_reply
from tests.client_views.documents import declarative, segments, snapshot

SEGMENTS_AT_A_TIME = 8


class Engine:
    """One engine child, and the flags that it is shown."""

    def __init__(self, view: EngineClientView, server: AnswerServer) -> None:
        self._view = view
        self._server = server

    def show(self, *configs: FlagConfig) -> None:
        document = snapshot(configs)
        self._server.answer = lambda _: json_reply(document)

    def served(self, flag_key: str, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        ref = FlagRef("default", "mhv", flag_key)
        seen = self._view.evaluate(ref, Polarity(), samples, deadline=time.monotonic() + 20)
        assert seen.complete(len(samples)), seen.errors
        return seen.served


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with AnswerServer(lambda _: json_reply({})) as server:
        view = EngineClientView(server.url)
        yield Engine(view, server)
        view.close()


def flag(key: str, *rollouts: Rollout, known: tuple[Segment, ...] = ()) -> FlagConfig:
    return FlagConfig(key, FlagType.BOOLEAN, False, rollouts, segments={one.key: one for one in known})


def test_the_engine_uses_the_same_bucket_for_every_percentage(engine: Engine) -> None:
    configs = [flag(f"flag-{percentage}", Rollout(True, percentage=percentage)) for percentage in range(1, BUCKETS + 1)]
    engine.show(*configs)
    for percentage, config in enumerate(configs, 1):
        found = engine.served(config.key, samples_for(config).samples)
        assert [sample.bucket for sample in found] == list(range(percentage))


@settings(max_examples=25)
@given(known=st.tuples(*(segments(f"s{number}") for number in range(SEGMENTS_AT_A_TIME))))
def test_who_is_sampled_as_a_member_is_one_for_the_engine_and_for_the_server(
    engine: Engine, known: tuple[Segment, ...]
) -> None:
    configs = [flag(f"f-{one.key}", Rollout(True, segments=(one.key,)), known=(one,)) for one in known]
    assert_members(engine, configs)


@settings(max_examples=25)
@given(known=st.tuples(*(segments(f"s{number}") for number in range(SEGMENTS_AT_A_TIME))))
def test_who_is_sampled_for_joined_segments_is_a_member_of_all(engine: Engine, known: tuple[Segment, ...]) -> None:
    pairs = list(zip(known[::2], known[1::2], strict=True))
    configs = [
        flag(f"f-{a.key}", Rollout(True, segments=(a.key, b.key), operator=Operator.AND), known=(a, b))
        for a, b in pairs
    ]
    assert_members(engine, configs)


def assert_members(engine: Engine, configs: list[FlagConfig]) -> None:
    """Every sample for a flag's whole rollout is served it, by the engine and by the server's rules."""
    engine.show(*configs)
    with FliptServer("v1", seed=declarative(configs)) as server:
        for config in configs:
            name = "+".join(config.rollouts[0].segments)
            members = tuple(sample for sample in samples_for(config).samples if sample.segment == name)
            assert engine.served(config.key, members) == members
            for sample in members[:3]:
                assert server.evaluate_boolean("mhv", config.key, sample.entity_id, sample.context)


def test_most_segments_that_teams_write_are_sampled(engine: Engine) -> None:
    """A search that finds nobody would be sound and useless."""
    usual: dict[str, list[tuple[str, str, str, str]]] = {
        "role": [("string", "role", "eq", "veteran")],
        "mail": [("string", "email", "suffix", "@va.gov"), ("string", "email", "notcontains", "+")],
        "sites": [("string", "site", "isoneof", '["983", "984"]'), ("number", "age", "gte", "18")],
        "testers": [("entity_id", "entity", "isoneof", '["u-1", "u-2"]')],
        "cohort": [("entity_id", "entity", "prefix", "test-"), ("boolean", "beta", "true", "")],
        "new": [("datetime", "joined", "gt", "2026-01-01T00:00:00Z"), ("datetime", "left", "notpresent", "")],
    }
    for key, constraints in usual.items():
        segment = Segment(key, True, tuple(Constraint(*one) for one in constraints))
        config = flag(key, Rollout(True, segments=(key,)), known=(segment,))
        assert samples_for(config).unsampled == ()
        assert_members(engine, [config, replace(config, key=f"{key}-2")])
