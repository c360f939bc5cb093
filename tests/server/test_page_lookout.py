"""Looking at the world for all viewers together: never more than once a second, and never old things as new."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from rollback.errors import StoreUnreachable
from rollback.server.page import cards
from rollback.server.page.lookout import LOOKERS, STALE_SECONDS, Lookout
from tests.e2e.harness import until


@dataclass
class World:
    """Remembers when it was looked at. `trouble` is raised by the look at that feature; `holds` makes it wait."""

    keys: list[str] = field(default_factory=lambda: ["a", "b"])
    looked: dict[str, list[float]] = field(default_factory=dict)
    trouble: dict[str, Exception] = field(default_factory=dict)
    holds: dict[str, threading.Event] = field(default_factory=dict)
    kinds: dict[str, int | None] = field(default_factory=dict)
    recorded: int = 0
    at_once: Counter[str] = field(default_factory=Counter)
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def features(self) -> list[str]:
        if fault := self.trouble.get("features"):
            raise fault
        return list(self.keys)

    def signature(self) -> object:
        return self.recorded

    def card(self, key: str) -> dict[str, Any]:
        with self.lock:
            self.looked.setdefault(key, []).append(time.monotonic())
            self.at_once[key] += 1
            self.most = max(self.most, self.at_once.total())
        try:
            if hold := self.holds.get(key):
                hold.wait(20)
            if fault := self.trouble.get(key):
                raise fault
            return cards.card({"feature": key, "exposure": self.kinds.get(key, 100), "off_proven": True})
        finally:
            with self.lock:
                self.at_once[key] -= 1

    def rest(self) -> dict[str, Any]:
        return {"parts": {}}


Make = Callable[[World], Lookout]


@pytest.fixture
def make() -> Iterator[Make]:
    over = threading.Event()

    def lookout(world: World) -> Lookout:
        return Lookout(world, time.monotonic, over.is_set)

    yield lookout
    over.set()
    until(lambda: not [one for one in threading.enumerate() if one.name == "page"], what="the end of all lookouts")


def shown(lookout: Lookout) -> dict[str, str]:
    document = json.loads(lookout.seen().document)
    return {card["key"]: card["kind"] for card in document["features"]} if document else {}


def test_nobody_looks_while_nobody_watches(make: Make) -> None:
    world = World()
    lookout = make(world)
    assert not lookout._is_running
    assert world.looked == {}
    lookout.seen()
    assert lookout._is_running


def test_a_feature_is_looked_at_once_a_second_however_many_ask(make: Make) -> None:
    world = World()
    lookout = make(world)
    began = time.monotonic()
    until(lambda: bool(lookout.seen()) and time.monotonic() - began > 2.6, what="many askings")
    for times in world.looked.values():
        assert 2 <= len(times) <= 4
        assert all(later - sooner > 0.95 for sooner, later in pairwise(times))


def test_what_was_recorded_is_looked_at_at_once_yet_not_more_often(make: Make) -> None:
    world = World(keys=[f"f{number}" for number in range(20)])  # so many that each has its turn every 6 s
    lookout = make(world)
    until(lambda: bool(lookout.seen()) and len(world.looked) == 20, what="the first round")
    first = {key: len(times) for key, times in world.looked.items()}
    world.recorded += 1
    began = time.monotonic()
    until(lambda: all(len(world.looked[key]) > first[key] for key in world.keys), what="the next round")
    assert time.monotonic() - began < 4.5
    assert world.most <= LOOKERS
    for times in world.looked.values():
        assert all(later - sooner > 0.95 for sooner, later in pairwise(times))


def test_a_look_that_hangs_makes_its_feature_old_and_no_other(make: Make) -> None:
    world = World(kinds={"a": 0, "b": 0})
    lookout = make(world)
    until(lambda: set(shown(lookout).values()) == {"off"}, what="the first round")
    world.holds["a"] = hold = threading.Event()
    try:
        until(lambda: (lookout.ages()["a"] or 0) > 3.0, what="an old reading")
        assert (lookout.ages()["b"] or 0) < 2.5
        assert lookout.stale_after == STALE_SECONDS
    finally:
        hold.set()


def test_an_age_counts_from_the_beginning_of_the_look(make: Make) -> None:
    """What a look of five seconds found may be five seconds old when it ends."""
    world = World(keys=["a"], holds={"a": threading.Event()})
    lookout = make(world)
    until(lambda: bool(lookout.seen()) and bool(world.looked.get("a")), what="a look")
    assert lookout.ages() == {"a": None}
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 1.0, what="a second")
    world.holds["a"].set()
    until(lambda: lookout.ages()["a"] is not None, what="its end")
    assert (lookout.ages()["a"] or 0) >= 0.9


@pytest.mark.parametrize(
    "fault", [StoreUnreachable("the store does not answer", next="Wait."), RuntimeError("token=s3cret")], ids=str
)
def test_a_look_that_fails_is_unknown_and_shows_nothing_of_before(make: Make, fault: Exception) -> None:
    world = World(kinds={"a": 0, "b": 0})
    lookout = make(world)
    until(lambda: set(shown(lookout).values()) == {"off"}, what="the first round")
    world.trouble["a"] = fault
    until(lambda: shown(lookout) == {"a": "unknown", "b": "off"}, what="the failure")
    assert b"s3cret" not in lookout.seen().document
    del world.trouble["a"]
    until(lambda: shown(lookout)["a"] == "off", what="the next look")


def test_policies_that_cannot_be_read_are_told_and_hide_no_feature(make: Make) -> None:
    world = World()
    lookout = make(world)
    until(lambda: set(shown(lookout).values()) == {"on"}, what="the first round")
    world.trouble["features"] = StoreUnreachable("the folder is gone", next="")
    until(lambda: b"the folder is gone" in lookout.seen().document, what="the trouble")
    assert set(shown(lookout)) == {"a", "b"}


def test_a_feature_that_is_new_shows_as_unknown_until_it_is_read(make: Make) -> None:
    world = World(holds={"c": threading.Event()})
    lookout = make(world)
    until(lambda: set(shown(lookout).values()) == {"on"}, what="the first round")
    world.keys.append("c")
    until(lambda: shown(lookout).get("c") == "unknown", what="the new one")
    world.keys.remove("a")
    world.holds["c"].set()
    until(lambda: shown(lookout) == {"b": "on", "c": "on"}, what="the change")


def test_only_what_is_new_wakes_a_viewer(make: Make) -> None:
    world = World(keys=["a"])
    lookout = make(world)

    async def watch() -> None:
        with lookout.viewing() as viewer:
            while not shown(lookout) or set(shown(lookout).values()) != {"on"}:
                await viewer.wait(0.5)
            await viewer.wait(2.5)  # the server's own parts
            version = lookout.seen().version
            assert not await viewer.wait(2.5), "looked at again, and nothing new"
            assert lookout.seen().version == version
            world.kinds["a"] = 0
            assert await viewer.wait(5.0)
            assert shown(lookout) == {"a": "off"}

    asyncio.run(watch())


def test_with_very_many_features_a_look_is_rarer_and_old_is_later(make: Make) -> None:
    world = World(keys=[f"f{number}" for number in range(60)])
    lookout = make(world)
    until(lambda: len(shown(lookout)) == 60, what="the list")
    assert lookout.stale_after > 2 * 0.3 * 60
