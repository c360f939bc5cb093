"""The proof against engine and server: neither finds a user whom the reasoning excluded; each planted hole is found."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rollback.adapters.client_views.engine import EngineClientView
from rollback.adapters.client_views.server_evaluation import ServerEvaluationClientView
from rollback.adapters.flag_stores.flipt_json import FliptSnapshotReader, flag_from_snapshot
from rollback.adapters.flipt_http import FliptHttp
from rollback.core.contexts import bucket, samples_for
from rollback.core.exposure import exposure
from rollback.core.flag import FlagRef, Polarity
from rollback.sandbox import FliptServer
from tests.sandbox.calls import ask, boolean_flag, seeded, threshold
from tests.sandbox.random_flags import NAMESPACE, Generator
from tests.sandbox.test_agreement import engine_answers, server_answers

ON = Polarity()
KILL = threshold(100, False, "rollback:case:kill-1-a")
VETERANS = {
    "key": "veterans",
    "name": "Veterans",
    "match_type": "ANY_MATCH_TYPE",
    "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}],
}
EVERYBODY = {"key": "everybody", "name": "Everybody", "match_type": "ALL_MATCH_TYPE", "constraints": []}


def is_served(answer: Any) -> bool:
    """A boolean answer, or `[match, variant, attachment]`."""
    return answer if isinstance(answer, bool) else bool(answer[1])


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_nobody_is_served_whom_the_reasoning_excluded(api: str) -> None:
    made = Generator(seed=4711, several=api == "v2").flags(count=1000, entities=10)
    with FliptServer(api, seed=made.seed) as server:
        headers = {"x_flipt_accept_server_version": "1.47.0"}
        path = f"/internal/v1/evaluation/snapshot/namespace/{NAMESPACE}"
        snapshot = ask(server.url, "GET", path, **headers).body
        by_engine, by_server = engine_answers(server, made.questions), server_answers(server, made.questions)
    known = {key: exposure(flag_from_snapshot(snapshot, key), ON) for key in {one[0] for one in made.questions}}
    closed = served = 0
    for (key, entity, _context), one, other in zip(made.questions, by_engine, by_server, strict=True):
        is_open = bucket(entity, key) in known[key].buckets
        closed += not is_open
        served += is_served(one) or is_served(other)
        assert is_open or not (is_served(one) or is_served(other)), (key, entity, one, other)
    assert closed > 1000, "the reasoning excludes somebody, or it would say nothing"
    assert served > 1000


HOLES: dict[str, list[dict[str, Any]]] = {
    "a segment ahead of the kill": [{"segment": {"key": "veterans", "value": True}}, KILL],
    "everybody ahead of the kill": [{"segment": {"key": "everybody", "value": True}}, KILL],
    "a threshold ahead of the kill": [threshold(1, True), KILL],
    "a kill of 99 percent": [threshold(99, False), threshold(100, True)],
    "a kill with the wrong value": [threshold(100, True, "rollback:case:kill-1-a")],
    "a kill behind the team's rollout": [threshold(50, True), KILL],
    "a segment instead of a kill": [{"segment": {"key": "veterans", "value": False}}, threshold(100, True)],
    "no kill at all": [{"segment": {"key": "veterans", "value": True}}],
}


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_each_planted_hole_is_found_by_reasoning_engine_and_server(api: str) -> None:
    flags = [boolean_flag(f"hole-{n}", False, rollouts=rollouts) for n, rollouts in enumerate(HOLES.values())]
    sound = boolean_flag("sound", True, rollouts=[KILL, threshold(50, True)])
    with FliptServer(api, seed=seeded(*flags, sound, segments=(VETERANS, EVERYBODY))) as server:
        http = FliptHttp(server.url)
        reader, engine, evaluation = (
            FliptSnapshotReader(http),
            EngineClientView(server.url),
            ServerEvaluationClientView(http),
        )
        try:
            for number, hole in enumerate(HOLES):
                assert looked_at(f"hole-{number}", reader, engine, evaluation) == (False, True, True), hole
            assert looked_at("sound", reader, engine, evaluation) == (True, False, False)
        finally:
            engine.close()
            http.close()


def looked_at(
    key: str, reader: FliptSnapshotReader, engine: EngineClientView, evaluation: ServerEvaluationClientView
) -> tuple[bool, bool, bool]:
    """Off by reasoning; somebody served by the engine; somebody served by the server."""
    ref, deadline = FlagRef("default", "mhv", key), time.monotonic() + 20
    config = reader.snapshot(ref, deadline=deadline)
    samples = samples_for(config).samples
    seen = [view.evaluate(ref, ON, samples, deadline=deadline) for view in (engine, evaluation)]
    assert all(sighting.complete(len(samples)) for sighting in seen), seen
    return exposure(config, ON).is_off, bool(seen[0].served), bool(seen[1].served)
