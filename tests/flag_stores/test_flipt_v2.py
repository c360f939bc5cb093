"""Flipt v2's own ways: one resource, replaced as a whole, under the head of the environment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from rollback.adapters.flag_stores.flipt_v2 import FliptV2FlagStore, in_effect, payload
from rollback.adapters.flipt_http import FliptHttp
from rollback.core import exposure as exposures
from rollback.core.flag import Distribution, FlagConfig, FlagRef, FlagType, Rollout, Rule
from rollback.errors import Conflict, StoreRefused, StoreUnreachable, Unsettled
from rollback.ports import FlagStore
from rollback.sandbox import Fault, FliptServer
from tests.contracts.flag_store_benches import BOOLEAN
from tests.flag_stores.changes import FIRST, ON, SECOND, cohort, kill, now, opened, put
from tests.flag_stores.raw_server import RawServer, Visit


@pytest.mark.parametrize("times", [1, 7])
def test_others_who_edit_other_flags_all_the_time_do_not_stop_a_kill(times: int) -> None:
    with opened("v2") as (bench, base):
        bench.server.faults.add(Fault.conflict("PUT", times=times))
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert after.config.rollouts == kill(base.config).rollouts
        assert bench.server.count("PUT") == times + 1


def test_a_storm_of_conflicts_that_never_ends_is_a_conflict_since_nothing_was_written() -> None:
    with opened("v2") as (bench, base):
        bench.server.faults.add(Fault.conflict("PUT", times=None))
        with pytest.raises(Conflict):
            bench.store.write(base, kill(base.config), deadline=time.monotonic() + 0.3)
        assert exposures.ours(now(bench)) == ()


def test_a_lost_put_that_others_have_overtaken_can_no_longer_arrive_and_is_sent_anew() -> None:
    with opened("v2") as (bench, base):
        bench.server.faults.add(Fault.reset("PUT"))
        bench.server.faults.add(Fault.edit("GET", edit=FliptServer.touch))
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert exposures.ours(after.config) == (FIRST,)


def test_a_put_that_was_done_before_somebody_edited_the_flag_further_counts_as_done() -> None:
    with opened("v2") as (bench, base):
        tenth = Rollout(value=True, percentage=10.0, description="somebody's tenth")
        bench.server.faults.add(Fault.lost_answer("PUT"))
        bench.server.faults.add(Fault.edit("GET", edit=lambda _: bench.somebody_adds(tenth)))
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert after.config.rollouts == (*kill(base.config).rollouts, tenth)
        assert bench.server.count("PUT") == 1


def test_a_lost_put_is_not_resent_over_a_flag_that_somebody_has_changed() -> None:
    with opened("v2") as (bench, base):
        tenth = Rollout(value=True, percentage=10.0, description="somebody's tenth")
        bench.server.faults.add(Fault.reset("PUT"))
        bench.server.faults.add(Fault.edit("GET", edit=lambda _: bench.somebody_adds(tenth)))
        with pytest.raises(Conflict):
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert now(bench).rollouts == (*base.config.rollouts, tenth)


def test_segments_are_read_at_the_same_head_as_the_flag() -> None:
    with opened("v2") as (bench, _):
        bench.server.faults.add(Fault.edit("GET", r"flipt\.core\.Segment", edit=FliptServer.touch))
        snapshot = bench.store.read(BOOLEAN, deadline=bench.deadline(), segments=True)
        assert set(snapshot.config.segments) == {"veterans"}
        assert bench.server.count("GET", r"flipt\.core\.Flag") == 2


def test_the_segments_of_the_base_stay_known_after_a_write() -> None:
    with opened("v2") as (bench, _):
        base = bench.store.read(BOOLEAN, deadline=bench.deadline(), segments=True)
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert after.config.segments == base.config.segments
        bench.server.touch()
        later = bench.store.write(after, cohort(after.config), deadline=bench.deadline())
        assert later.config.segments == base.config.segments


def test_segments_that_cannot_be_looked_up_after_a_write_do_not_make_it_fail() -> None:
    with opened("v2") as (bench, _):
        base = bench.store.read(BOOLEAN, deadline=bench.deadline(), segments=True)
        bench.server.faults.add(Fault.conflict("PUT"))
        bench.server.faults.add(Fault.status("GET", r"flipt\.core\.Segment", status=503, times=None))
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert exposures.ours(after.config) == (FIRST,)
        assert after.config.segments == {}


# -- what goes over the wire, against a server that says what a test wants -------------------------

FLAG: dict[str, Any] = {
    "@type": "flipt.core.Flag",
    "key": "sm",
    "type": "BOOLEAN_FLAG_TYPE",
    "name": "SM",
    "enabled": True,
    "rollouts": [{"type": "THRESHOLD_ROLLOUT_TYPE", "note": "unknown", "threshold": {"percentage": 50, "value": True}}],
    "metadata": {"owner": "mhv", "n": 3, "deep": {"a": [1, "x"]}},
    "unknownField": {"kept": True},
}


class Recorded:
    """A v2 that knows one flag, in whatever words the test gives it."""

    def __init__(self, flag: dict[str, Any], revision: Any = "r1") -> None:
        self.answer: dict[str, Any] = {"resource": {"namespaceKey": "mhv", "key": "sm", "payload": flag}}
        if revision is not None:
            self.answer["revision"] = revision
        self.puts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.refuses = False

    def __call__(self, visit: Visit) -> None:
        self.paths.append(visit.path)
        if visit.method == "PUT":
            body = json.loads(visit.body)
            self.puts.append(body)
            if self.refuses:
                visit.answer(409, {"code": 10, "message": "head has changed", "details": []})
                return
            self.answer = {"resource": {"payload": body["payload"]}, "revision": "r2"}
        visit.answer(200, self.answer)


@contextmanager
def recorded(flag: dict[str, Any], revision: Any = "r1") -> Iterator[tuple[Recorded, FlagStore]]:
    behaviour = Recorded(flag, revision)
    with RawServer(behaviour) as server:
        store = FliptV2FlagStore(FliptHttp(server.url))
        yield behaviour, store
        store.close()


def soon() -> float:
    return time.monotonic() + 5


def test_a_put_sends_back_every_field_also_those_that_this_program_does_not_know() -> None:
    with recorded(FLAG) as (server, store):
        base = store.read(BOOLEAN, deadline=soon())
        store.write(base, kill(base.config), deadline=soon())
    ours = {
        "type": "THRESHOLD_ROLLOUT_TYPE",
        "description": str(FIRST),
        "threshold": {"percentage": 100, "value": False},
    }
    expected = {**FLAG, "rollouts": [ours, *FLAG["rollouts"]]}
    assert server.puts == [{"key": "sm", "revision": "r1", "payload": expected}]


@pytest.mark.parametrize("revision", [None, "", 7])
def test_without_a_revision_nothing_is_ever_put(revision: Any) -> None:
    with recorded(FLAG, revision) as (server, store):
        base = store.read(BOOLEAN, deadline=soon())
        with pytest.raises(StoreRefused, match="revision"):
            store.write(base, kill(base.config), deadline=soon())
    assert server.puts == []


def test_a_revision_that_disappears_on_the_way_stops_the_write() -> None:
    with recorded(FLAG) as (server, store):
        base = store.read(BOOLEAN, deadline=soon())
        del server.answer["revision"]
        server.refuses = True
        with pytest.raises(StoreRefused, match="no revision any more"):
            store.write(base, kill(base.config), deadline=soon())
    assert len(server.puts) == 1


def test_a_conflict_without_a_newer_head_is_tried_again_and_stays_a_conflict() -> None:
    with recorded(FLAG) as (server, store):
        base = store.read(BOOLEAN, deadline=soon())
        server.refuses = True
        with pytest.raises(Conflict):
            store.write(base, kill(base.config), deadline=time.monotonic() + 0.3)
    assert len(server.puts) > 1
    assert {put["revision"] for put in server.puts} == {"r1"}


def test_keys_are_escaped_and_cannot_reach_another_path() -> None:
    with recorded(FLAG) as (server, store):
        store.read(FlagRef("a/b", "c d?", "../x#y"), deadline=soon())
    assert server.paths == ["/api/v2/environments/a%2Fb/namespaces/c%20d%3F/resources/flipt.core.Flag/..%2Fx%23y"]


@pytest.mark.parametrize("answer", [{}, {"resource": None}, {"resource": {"payload": []}}, {"resource": {"key": "sm"}}])
def test_an_answer_that_is_no_flag_is_refused(answer: dict[str, Any]) -> None:
    with RawServer(lambda visit: visit.answer(200, answer)) as server:
        store = FliptV2FlagStore(FliptHttp(server.url))
        with pytest.raises(StoreRefused, match="no flag"):
            store.read(BOOLEAN, deadline=soon())
        store.close()


def test_a_server_that_says_yes_and_keeps_something_else_is_not_believed() -> None:
    def behaviour(visit: Visit) -> None:
        visit.answer(200, {"resource": {"payload": FLAG}, "revision": "r1"})

    with RawServer(behaviour) as server:
        store = FliptV2FlagStore(FliptHttp(server.url))
        base = store.read(BOOLEAN, deadline=soon())
        with pytest.raises(Unsettled):
            store.write(base, kill(base.config), deadline=soon())
        store.close()


def test_a_server_that_drips_its_answers_is_unreachable_at_the_deadline() -> None:
    def behaviour(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        visit.drip(b" " * 500, every=0.02)

    with RawServer(behaviour) as server:
        store = FliptV2FlagStore(FliptHttp(server.url))
        before = time.monotonic()
        with pytest.raises(StoreUnreachable):
            store.read(BOOLEAN, deadline=before + 0.3)
        assert time.monotonic() - before < 5.0
        store.close()


# -- what is in effect -----------------------------------------------------------------------------

HALF = Rollout(value=True, percentage=50.0)
BASE = FlagConfig("sm", FlagType.BOOLEAN, enabled=True, rollouts=(HALF,), wire={"key": "sm"})


def test_a_kill_whose_percentage_somebody_changed_is_still_there() -> None:
    off = kill(BASE)
    changed = exposures.with_kill_at(off, FIRST.key, 99)
    assert not in_effect(off, exposures.without(off), changed)
    assert in_effect(off, exposures.without(off), BASE)


def test_being_there_in_another_order_is_not_in_effect() -> None:
    off = kill(BASE)
    assert not in_effect(BASE, off, replace(off, rollouts=off.rollouts[::-1]))


def test_a_second_kill_is_not_taken_for_the_first() -> None:
    off = kill(BASE)
    wanted = exposures.kill(off, ON, SECOND)
    assert not in_effect(off, wanted, off)
    assert in_effect(off, wanted, replace(wanted, rollouts=(*wanted.rollouts, HALF)))


@pytest.mark.parametrize(
    "desired",
    [
        replace(BASE, rules=(Rule(("a",), (Distribution("on", 100.0),)),)),
        replace(BASE, type=FlagType.VARIANT),
        replace(BASE, key="other"),
    ],
)
def test_a_change_that_would_be_lost_on_the_way_is_refused(desired: FlagConfig) -> None:
    with pytest.raises(StoreRefused):
        payload(BASE, desired)


def test_a_flag_of_another_store_is_refused() -> None:
    with pytest.raises(StoreRefused):
        payload(replace(BASE, wire=None), kill(BASE))


def test_a_variant_flags_default_is_cleared_by_leaving_it_out() -> None:
    with opened("v2") as (bench, _):
        off = put(bench, kill, variant=True)
        assert "defaultVariant" not in off.config.wire
        assert off.config.wire["metadata"] == {"owner": "mhv"}
