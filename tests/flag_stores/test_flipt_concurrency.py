"""While a flag is killed nobody is ever served, whatever is written around the kill and whoever evaluates meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from rollback.adapters.flag_stores.flipt_json import FliptSnapshotReader
from rollback.adapters.flipt_http import FliptHttp
from rollback.core import exposure as exposures
from rollback.core.contexts import entity_for
from rollback.core.flag import FlagConfig, Rollout
from rollback.core.marker import Marker
from rollback.errors import Conflict, Unsettled
from tests.contracts.flag_store_benches import BOOLEAN, FliptBench
from tests.flag_stores.changes import COHORT, ON, STORES, cohort, kill, now, opened, put

ROUNDS = 12


@dataclass
class Watchers:
    """Threads that evaluate and read snapshots until they are told to stop; `served` is what must not be seen."""

    bench: FliptBench
    stop: threading.Event = field(default_factory=threading.Event)
    served: list[str] = field(default_factory=list)
    looks: int = 0

    def evaluate(self) -> None:
        """The server's own evaluation, of veterans and others."""
        http = FliptHttp(self.bench.server.url)
        buckets = [entity_for(bucket, "sm") for bucket in (0, 30, 60, 99)]
        requests = [
            {"namespaceKey": "mhv", "flagKey": "sm", "entityId": one, "context": context}
            for one in buckets
            for context in ({}, {"role": "veteran"})
        ]
        while not self.stop.is_set():
            body = http.request("POST", "/evaluate/v1/batch", json={"requests": requests}, deadline=_soon()).body
            self.looks += 1
            # An answer that is an error is not an off: it counts as seen.
            answers = [one.get("booleanResponse", {}).get("enabled", "error") for one in body["responses"]]
            self.served += [f"evaluation: {answers}"] if any(answers) else []
        http.close()

    def read(self) -> None:
        """The snapshot that SDKs read."""
        http = FliptHttp(self.bench.server.url)
        reader = FliptSnapshotReader(http)
        while not self.stop.is_set():
            found = exposures.exposure(reader.snapshot(BOOLEAN, deadline=_soon()), ON)
            self.looks += 1
            self.served += [] if found.is_off else [f"snapshot: {found.unknown or found.why}"]
        http.close()


def _soon() -> float:
    return time.monotonic() + 5


@contextmanager
def watched(bench: FliptBench) -> Iterator[Watchers]:
    watchers = Watchers(bench)
    threads = [threading.Thread(target=one) for one in (watchers.evaluate, watchers.evaluate, watchers.read)]
    for thread in threads:
        thread.start()
    try:
        yield watchers
    finally:
        watchers.stop.set()
        for thread in threads:
            thread.join(10)
    assert watchers.looks > 10, "nobody looked"


def in_a_loop(write: Callable[[], object], failures: list[Exception]) -> threading.Thread:
    """Writes in a thread of its own; conflicts are part of the game."""

    def run() -> None:
        for _ in range(ROUNDS):
            try:
                write()
            except (Conflict, Unsettled):
                continue
            except Exception as error:
                failures.append(error)
                return

    return threading.Thread(target=run)


@pytest.mark.parametrize("api", STORES)
def test_kills_that_are_put_ordered_and_taken_out_beside_a_kill_never_let_anybody_in(api: str) -> None:
    with opened(api) as (bench, _):
        put(bench, kill)
        with watched(bench) as watchers:
            for number in range(ROUNDS):
                marker = Marker("i-1", f"kill-{number + 2}-x")
                off = put(bench, lambda config: exposures.kill(config, ON, marker))  # noqa: B023
                older = [mark.key for mark in exposures.ours(off.config)[1:]]
                put(bench, lambda config: exposures.without(config, older))  # noqa: B023
        assert watchers.served == []


@pytest.mark.parametrize("api", STORES)
def test_responders_who_kill_and_return_at_the_same_time_never_let_anybody_in(api: str) -> None:
    """Two put kills in front and take their own out, a third adds and removes rollouts that would let users in."""
    with opened(api) as (bench, _):
        put(bench, kill)
        failures: list[Exception] = []

        stores = {name: STORES[api](FliptHttp(bench.server.url)) for name in ("a", "b")}

        def responder(name: str) -> Callable[[], object]:
            store = stores[name]
            numbers = iter(range(1000))

            def act() -> None:
                marker = Marker(name, f"kill-{next(numbers)}-{name}")
                base = store.read(BOOLEAN, deadline=_soon())
                off = store.write(base, exposures.kill(base.config, ON, marker), deadline=_soon())
                store.write(off, exposures.without(off.config, [marker.key]), deadline=_soon())

            return act

        def team() -> None:
            bench.somebody_adds(Rollout(value=True, percentage=100.0, description="tried by hand"))
            bench.somebody_removes("tried by hand")

        threads = [in_a_loop(responder("a"), failures), in_a_loop(responder("b"), failures), in_a_loop(team, [])]
        with watched(bench) as watchers:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        for store in stores.values():
            store.close()
        assert failures == []
        assert watchers.served == []
        assert now(bench).defects == ()
        assert exposures.exposure(now(bench), ON).is_off


def test_on_v1_a_cohort_that_is_put_ahead_lets_in_its_members_and_nobody_else() -> None:
    with opened("v1") as (bench, _):
        put(bench, kill)
        others: list[str] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                for bucket in (0, 49, 99):
                    if bench.server.evaluate_boolean("mhv", "sm", entity_for(bucket, "sm"), {"role": "staff"}):
                        others.append(str(bucket))

        thread = threading.Thread(target=watch)
        thread.start()
        for _ in range(ROUNDS // 2):
            put(bench, cohort)
            put(bench, _without_cohort)
        stop.set()
        thread.join(10)
        assert others == []


def _without_cohort(config: FlagConfig) -> FlagConfig:
    return exposures.without(config, [COHORT.key])
