"""What every `ClientView` promises: the engine and the server's own evaluation (Flipt v1 and v2), and the stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest

from rollback.adapters.client_views.engine import EngineClientView
from rollback.adapters.client_views.memory import MemoryClientView
from rollback.adapters.client_views.server_evaluation import ServerEvaluationClientView
from rollback.adapters.flipt_http import FliptHttp, TokenSource
from rollback.core.contexts import samples_for
from rollback.core.flag import (
    Constraint,
    Distribution,
    FlagConfig,
    FlagRef,
    FlagType,
    Operator,
    Polarity,
    Rollout,
    Rule,
    Segment,
)
from rollback.errors import FlagMissing
from rollback.ports import ClientView, Sample, Sighting
from rollback.sandbox import FliptServer
from tests.client_views.documents import declarative, declarative_flag

NAMESPACE = "mhv"
VETERANS = Segment("veterans", False, (Constraint("string", "role", "eq", "veteran"),))
TESTERS = Segment(
    "testers", True, (Constraint("number", "age", "gte", "18"), Constraint("boolean", "beta", "true", ""))
)
EVERYBODY = Segment("everybody", True, ())
SEGMENTS = {one.key: one for one in (VETERANS, TESTERS, EVERYBODY)}
BASE = FlagConfig(
    "sm",
    FlagType.BOOLEAN,
    enabled=False,
    rollouts=(Rollout(True, segments=("veterans",)), Rollout(True, percentage=50)),
    segments=SEGMENTS,
)
VARIANTS = FlagConfig(
    "vf",
    FlagType.VARIANT,
    enabled=True,
    rules=(Rule(("veterans",), (Distribution("on", 100),)),),
    variants=("on", "control"),
    segments=SEGMENTS,
)


class World(Protocol):
    """One kind of view and what it looks at. `put` makes a flag be like this in an environment."""

    view: ClientView

    def put(self, config: FlagConfig, environment: str = "default") -> None: ...
    def break_it(self) -> None: ...


@dataclass
class FliptWorld:
    """A Flipt stand-in over HTTP, and a view of it. `break_it` stops the server."""

    server: FliptServer
    view: ClientView

    def put(self, config: FlagConfig, environment: str = "default") -> None:
        fields = declarative_flag(config)
        self.server.edit_flag(NAMESPACE, fields.pop("key"), environment, **fields)

    def break_it(self) -> None:
        self.server.stop()


@dataclass
class MemoryWorld:
    """The stand-in view over a dictionary."""

    flags: dict[tuple[str, str], FlagConfig] = field(default_factory=dict)
    view: ClientView = field(init=False)

    def __post_init__(self) -> None:
        self.memory = self.view = MemoryClientView(self._flag)

    def put(self, config: FlagConfig, environment: str = "default") -> None:
        self.flags[environment, config.key] = config

    def break_it(self) -> None:
        self.memory.failing_with = "no connection"

    def _flag(self, ref: FlagRef) -> FlagConfig:
        try:
            return self.flags[ref.environment, ref.flag_key]
        except KeyError:
            raise FlagMissing(f"{ref} is not there") from None


Maker = Callable[[str], ClientView]
MAKERS: Mapping[str, Maker] = {
    "engine": lambda url: EngineClientView(url, token=TokenSource.value("secret-token"), timeout=20),
    "server": lambda url: ServerEvaluationClientView(FliptHttp(url, TokenSource.value("secret-token"), timeout=20)),
}


def seed() -> dict[str, Any]:
    document = declarative([replace(BASE, key="other")], NAMESPACE)
    content = {"flags": document["flags"], "segments": document["segments"]}
    return {
        "environments": {
            "default": {"namespaces": {NAMESPACE: content}},
            "staging": {"namespaces": {NAMESPACE: content}},
        }
    }


@pytest.fixture(params=["engine-v1", "engine-v2", "server-v1", "server-v2", "memory"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    kind, _, api = request.param.partition("-")
    with ExitStack() as stack:
        if kind == "memory":
            made: World = MemoryWorld()
        else:
            content = seed() if api == "v2" else declarative([replace(BASE, key="other")], NAMESPACE)
            server = stack.enter_context(FliptServer(api, seed=content, token="secret-token"))
            made = FliptWorld(server, MAKERS[kind](server.url))
        stack.callback(made.view.close)
        made.view.prepare()
        yield made


def look(
    world: World, config: FlagConfig, polarity: Polarity | None = None, *, environment: str = "default"
) -> Sighting:
    """All samples of `config`, which is what the flag is like."""
    samples = samples_for(config)
    assert samples.unsampled == ()
    seen = evaluate(world, config.key, samples.samples, polarity or Polarity(), environment)
    assert seen.complete(len(samples.samples)), seen.errors
    return seen


def evaluate(
    world: World,
    key: str,
    samples: tuple[Sample, ...],
    polarity: Polarity,
    environment: str = "default",
    seconds: float = 20.0,
) -> Sighting:
    ref = FlagRef(environment, NAMESPACE, key)
    return world.view.evaluate(ref, polarity, samples, deadline=time.monotonic() + seconds)


def served(seen: Sighting) -> dict[str | None, set[int]]:
    buckets: dict[str | None, set[int]] = {}
    for sample in seen.served:
        buckets.setdefault(sample.segment, set()).add(sample.bucket)
    return buckets


def killed(held: float, base: FlagConfig = BASE) -> FlagConfig:
    return replace(base, rollouts=(Rollout(False, percentage=held), *base.rollouts))


def test_a_kill_held_lower_and_lower_lets_in_exactly_the_buckets_above_it(world: World) -> None:
    for held in (100, 75, 50, 40, 25, 0):
        config = killed(held)
        world.put(config)
        expected = {None: set(range(held, 50)), "veterans": set(range(held, 100))}
        assert served(look(world, config)) == {key: buckets for key, buckets in expected.items() if buckets}


def test_a_kill_turns_the_flag_off_for_everybody(world: World) -> None:
    world.put(killed(100))
    assert look(world, killed(100)) == Sighting(evaluated=200)


def test_disabling_a_flag_with_rollouts_is_not_off(world: World) -> None:
    config = replace(BASE, enabled=False)
    world.put(config)
    assert served(look(world, config)) == {None: set(range(50)), "veterans": set(range(100))}


def test_a_cohort_ahead_of_the_kill_is_served_and_nobody_else(world: World) -> None:
    config = replace(killed(100), rollouts=(Rollout(True, segments=("testers",)), *killed(100).rollouts))
    world.put(config)
    assert served(look(world, config)) == {"testers": set(range(100))}


def test_segments_joined_with_and_are_served_together_only(world: World) -> None:
    both = Rollout(True, segments=("veterans", "testers"), operator=Operator.AND)
    config = replace(BASE, rollouts=(both,))
    world.put(config)
    assert served(look(world, config)) == {"veterans+testers": set(range(100))}


def test_a_segment_without_constraints_is_everybody(world: World) -> None:
    config = replace(BASE, rollouts=(Rollout(False, segments=("everybody",)),), enabled=True)
    world.put(config)
    assert served(look(world, config)) == {}


@pytest.mark.parametrize(("percentage", "buckets"), [(0.4, 1), (1.5, 2), (99.01, 100)])
def test_a_threshold_counts_whole_buckets(world: World, percentage: float, buckets: int) -> None:
    config = replace(BASE, rollouts=(Rollout(True, percentage=percentage),))
    world.put(config)
    assert served(look(world, config)) == {None: set(range(buckets))}


def test_an_inverted_flag_serves_where_it_says_false(world: World) -> None:
    config = replace(BASE, rollouts=(Rollout(False, percentage=30),), enabled=True)
    world.put(config)
    assert served(look(world, config, Polarity(on_value=False))) == {None: set(range(30))}


def test_a_change_is_seen_at_the_next_look(world: World) -> None:
    world.put(BASE)
    assert look(world, BASE).served
    world.put(killed(100))
    assert not look(world, killed(100)).served


def test_a_variant_counts_as_served_when_it_means_on(world: World) -> None:
    world.put(VARIANTS)
    assert served(look(world, VARIANTS)) == {"veterans": set(range(100))}
    assert served(look(world, VARIANTS, Polarity(on_variants=frozenset({"on"})))) == {"veterans": set(range(100))}
    assert served(look(world, VARIANTS, Polarity(on_variants=frozenset({"control"})))) == {}


def test_a_disabled_variant_flag_with_a_default_variant_is_not_off(world: World) -> None:
    config = replace(VARIANTS, enabled=False, default_variant="on")
    world.put(config)
    assert served(look(world, config)) == {None: set(range(100)), "veterans": set(range(100))}


def test_a_disabled_variant_flag_without_a_default_variant_is_off(world: World) -> None:
    config = replace(VARIANTS, enabled=False)
    world.put(config)
    assert look(world, config).served == ()


def test_a_rule_that_matches_without_variants_counts_as_served(world: World) -> None:
    config = replace(VARIANTS, rules=(Rule(("veterans",), ()),))
    world.put(config)
    assert served(look(world, config)) == {"veterans": set(range(100))}


def test_a_flag_that_is_not_there_is_an_error_and_never_off(world: World) -> None:
    seen = evaluate(world, "nope", samples_for(BASE).samples, Polarity())
    assert seen.evaluated == 0
    assert seen.errors


def test_without_samples_nothing_was_evaluated(world: World) -> None:
    world.put(BASE)
    assert evaluate(world, "sm", (), Polarity()).evaluated == 0


def test_no_answer_is_an_error_and_never_off(world: World) -> None:
    world.put(BASE)
    world.break_it()
    seen = evaluate(world, "sm", samples_for(BASE).samples, Polarity())
    assert seen.evaluated == 0
    assert seen.errors
    assert "secret-token" not in " ".join(seen.errors)


def test_a_deadline_that_has_passed_is_an_error(world: World) -> None:
    world.put(BASE)
    seen = evaluate(world, "sm", samples_for(BASE).samples, Polarity(), seconds=-1)
    assert seen.evaluated == 0
    assert seen.errors


def test_a_closed_view_can_be_closed_again_and_answers_with_an_error_or_anew(world: World) -> None:
    world.put(killed(100))
    world.view.close()
    world.view.close()
    seen = evaluate(world, "sm", samples_for(BASE).samples, Polarity())
    assert seen.complete(200) or seen.errors


@pytest.mark.parametrize("kind", MAKERS)
def test_the_environment_that_is_named_is_the_one_that_is_asked(kind: str) -> None:
    with FliptServer("v2", seed=seed(), token="secret-token") as server, ExitStack() as stack:
        world = FliptWorld(server, MAKERS[kind](server.url))
        stack.callback(world.view.close)
        world.put(killed(100))
        world.put(BASE, "staging")
        assert look(world, killed(100)).served == ()
        assert served(look(world, BASE, environment="staging")) == {None: set(range(50)), "veterans": set(range(100))}
        missing = evaluate(world, "sm", samples_for(BASE).samples, Polarity(), "nope")
        assert missing.evaluated == 0
        assert missing.errors
