"""Flipt v1's own ways: small writes, ranks, pages, and no lock."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from rollback.adapters.flag_stores.flipt_v1 import FliptV1FlagStore
from rollback.adapters.flipt_http import FliptHttp
from rollback.core import exposure as exposures
from rollback.core.flag import FlagRef, Polarity, Rollout
from rollback.core.marker import Marker
from rollback.errors import Conflict, FlagMissing, StoreRefused, Unsettled
from rollback.sandbox import Fault, FliptServer
from tests.contracts.flag_store_benches import BOOLEAN, SEED, FliptBench
from tests.flag_stores.changes import COHORT, FIRST, ON, SECOND, cohort, kill, now, opened, put, second_kill
from tests.flag_stores.raw_server import RawServer, Visit


def soon() -> float:
    return time.monotonic() + 5


def test_an_environment_other_than_the_default_is_missing_and_the_server_is_not_even_asked() -> None:
    with opened("v1") as (bench, _):
        with pytest.raises(FlagMissing, match="v1 has only default"):
            bench.store.read(FlagRef("staging", "mhv", "sm"), deadline=soon())
        assert bench.server.count() == 0


def pages(visit: Visit) -> None:
    """A v1 that gives its rollouts in three pages, the last ranks first."""
    rollouts = [
        {"id": str(n), "rank": 9 - n, "description": f"no {9 - n}", "threshold": {"percentage": n}} for n in range(1, 7)
    ]
    path, _, query = visit.path.partition("?")
    if path.endswith("/sm"):
        visit.answer(200, {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "enabled": True})
        return
    following = {"": "a+b/c=", "pageToken=a%2Bb%2Fc%3D": "last", "pageToken=last": ""}
    start = list(following).index(query) * 2
    visit.answer(200, {"rules": rollouts[start : start + 2], "nextPageToken": following[query], "totalCount": 6})


def test_all_pages_are_read_and_sorted_by_rank() -> None:
    with RawServer(pages) as server:
        store = FliptV1FlagStore(FliptHttp(server.url))
        config = store.read(BOOLEAN, deadline=soon()).config
        store.close()
    assert [one.description for one in config.rollouts] == [f"no {n}" for n in range(3, 9)]
    assert len(server.visits) == 4


def test_a_page_token_that_repeats_itself_does_not_turn_into_an_endless_read() -> None:
    def behaviour(visit: Visit) -> None:
        if visit.path.endswith("/sm"):
            visit.answer(200, {"key": "sm", "type": "BOOLEAN_FLAG_TYPE"})
        else:
            visit.answer(200, {"rules": [], "nextPageToken": "same"})

    with RawServer(behaviour) as server:
        store = FliptV1FlagStore(FliptHttp(server.url))
        assert store.read(BOOLEAN, deadline=soon()).config.rollouts == ()
        store.close()


@pytest.mark.parametrize("rules", ["none", ["none"], {"a": 1}])
def test_rollouts_that_are_no_list_of_objects_are_refused(rules: Any) -> None:
    def behaviour(visit: Visit) -> None:
        is_flag = visit.path.endswith("/sm")
        visit.answer(200, {"key": "sm", "type": "BOOLEAN_FLAG_TYPE"} if is_flag else {"rules": rules})

    with RawServer(behaviour) as server:
        store = FliptV1FlagStore(FliptHttp(server.url))
        with pytest.raises(StoreRefused):
            store.read(BOOLEAN, deadline=soon())
        store.close()


def test_a_segment_that_is_not_there_is_left_out() -> None:
    with opened("v1") as (bench, _):
        bench.server.faults.add(
            Fault.status("GET", "/segments/", status=404, body={"code": 5, "message": "not found", "details": []})
        )
        assert bench.store.read(BOOLEAN, deadline=soon(), segments=True).config.segments == {}


def ranks(bench: Any) -> list[int]:
    return [one["rank"] for one in bench.rollouts()]


def test_each_second_kill_ends_at_rank_0_ahead_of_all_and_no_rank_is_ever_negative() -> None:
    with opened("v1") as (bench, _):
        for number in range(1, 5):
            marker = FIRST if number == 1 else SECOND
            put(bench, lambda config: exposures.kill(config, ON, marker))  # noqa: B023
            assert ranks(bench) == list(range(number + 3))
            if number > 1:
                put(bench, lambda config: exposures.without(config, [SECOND.key]))
                bench.call(
                    "POST", "/api/v1/namespaces/mhv/flags/sm/rollouts", {"rank": 0, "threshold": {"value": True}}
                )


def test_rank_0_that_is_taken_just_before_our_kill_does_not_stop_it() -> None:
    with opened("v1") as (bench, base):
        theirs = Rollout(value=True, percentage=100.0, description="let all in")
        bench.server.faults.add(Fault.edit("POST", edit=lambda _: bench.somebody_adds(theirs, in_front=True)))
        after = bench.store.write(base, kill(base.config), deadline=soon())
        assert after.config.rollouts == (kill(base.config).rollouts[0], theirs, *base.config.rollouts)
        assert exposures.exposure(after.config, ON).is_off


def test_a_kill_stays_ahead_when_a_return_orders_late_by_a_list_without_it() -> None:
    with opened("v1") as (bench, _):
        put(bench, kill)
        put(bench, cohort)
        late = [one["id"] for one in bench.rollouts()]  # what the return has read
        put(bench, lambda config: exposures.kill(config, ON, SECOND))
        bench.call("PUT", "/api/v1/namespaces/mhv/flags/sm/rollouts/order", {"rolloutIds": late})
        assert exposures.exposure(now(bench), ON).is_off
        assert exposures.ours(now(bench))[0] == SECOND


@pytest.mark.parametrize("rank", [-1, -7])
def test_a_flag_that_somebody_broke_with_a_negative_rank_is_off_as_soon_as_it_can_be_evaluated_again(rank: int) -> None:
    with opened("v1") as (bench, _):
        bench.call("POST", "/api/v1/namespaces/mhv/flags/sm/rollouts", {"rank": rank, "threshold": {"value": True}})
        assert bench.store.read(BOOLEAN, deadline=soon()).config.defects
        after = put(bench, kill)
        assert after.config.defects == ()
        assert exposures.exposure(after.config, ON).is_off
        assert min(ranks(bench)) >= 0


def test_a_cohort_that_could_be_created_but_not_ordered_is_said_to_be_done_in_part() -> None:
    with opened("v1") as (bench, _):
        off = put(bench, kill)
        bench.server.faults.add(Fault.status("PUT", "/order$", status=403, times=None))
        with pytest.raises(Unsettled, match="in part"):
            bench.store.write(off, cohort(off.config), deadline=soon())
        assert exposures.exposure(now(bench), ON).is_off
        assert exposures.ours(now(bench)) == (FIRST, COHORT)
        put(bench, exposures.without)
        assert exposures.ours(now(bench)) == ()


def edited(bench: FliptBench, marker: Marker, percentage: int) -> None:
    """Somebody else gives one of our rollouts another percentage."""
    id_ = next(one["id"] for one in bench.rollouts() if one["description"] == str(marker))
    body = {"description": str(marker), "threshold": {"percentage": percentage, "value": False}}
    bench.call("PUT", f"/api/v1/namespaces/mhv/flags/sm/rollouts/{id_}", body)


def test_a_restore_stops_in_the_middle_when_somebody_changes_what_was_to_go_next() -> None:
    with opened("v1") as (bench, _):
        put(bench, kill)
        twice = put(bench, second_kill)
        bench.server.faults.add(Fault.edit("GET", "/rollouts$", after=1, edit=lambda _: edited(bench, SECOND, 99)))
        with pytest.raises(Unsettled, match="in part"):
            bench.store.write(twice, exposures.without(twice.config), deadline=soon())
        assert exposures.ours(now(bench)) == (SECOND,)


def test_a_kill_that_somebody_changes_as_soon_as_it_is_there_is_not_taken_out_by_us() -> None:
    with opened("v1") as (bench, base):
        bench.server.faults.add(Fault.edit("GET", edit=lambda _: edited(bench, FIRST, 10)))
        with pytest.raises(Unsettled):
            bench.store.write(base, kill(base.config), deadline=soon())
        assert exposures.ours(now(bench)) == (FIRST,)


def test_a_cohort_that_cannot_be_taken_out_again_is_not_said_to_be_gone() -> None:
    with opened("v1") as (bench, _):
        off = put(bench, kill)
        theirs = Rollout(value=False, percentage=100.0, description=str(SECOND))
        added = Fault.edit("GET", "/rollouts$", after=1, edit=lambda _: bench.somebody_adds(theirs, in_front=True))
        bench.server.faults.add(added)
        bench.server.faults.add(Fault.status("DELETE", status=403, times=None))
        with pytest.raises(Unsettled):
            bench.store.write(off, cohort(off.config), deadline=soon())
        assert exposures.ours(now(bench)) == (SECOND, FIRST, COHORT)
        assert exposures.exposure(now(bench), ON).is_off


def test_somebody_who_takes_rank_0_again_and_again_ends_in_a_conflict_and_not_in_an_endless_loop() -> None:
    with opened("v1") as (bench, base):
        theirs = Rollout(value=True, percentage=1.0, description="mine")
        again = Fault.edit("POST", times=None, edit=lambda _: bench.somebody_adds(theirs, in_front=True))
        bench.server.faults.add(again)
        with pytest.raises(Conflict):
            bench.store.write(base, kill(base.config), deadline=soon() + 20)
        assert again.hits < 40
        assert exposures.ours(now(bench)) == ()


def test_a_kill_that_another_replica_does_not_show_yet_is_waited_for() -> None:
    with FliptServer(api="v1", seed=SEED) as primary, FliptServer(replica_of=primary, lag=0.3) as replica:
        store = FliptV1FlagStore(FliptHttp(replica.url))
        base = store.read(BOOLEAN, deadline=soon())
        after = store.write(base, kill(base.config), deadline=soon())
        assert after.config.rollouts == kill(base.config).rollouts
        served = FliptV1FlagStore(FliptHttp(primary.url))
        assert len(served.read(BOOLEAN, deadline=soon()).config.rollouts) == 4
        store.close()
        served.close()


def test_a_put_of_the_flag_sends_every_field_that_would_else_be_erased() -> None:
    flag = {
        "key": "vf",
        "name": "Variants",
        "description": "shades",
        "type": "VARIANT_FLAG_TYPE",
        "enabled": True,
        "variants": [{"id": "1", "key": "on"}, {"id": "2", "key": "control"}],
        "defaultVariant": {"id": "2", "key": "control"},
    }
    sent: list[dict[str, Any]] = []

    def behaviour(visit: Visit) -> None:
        if visit.method == "PUT":
            sent.append(json.loads(visit.body))
            flag.update(enabled=sent[-1]["enabled"], description=sent[-1]["description"])
        visit.answer(200, {"rules": []} if visit.path.endswith("/rules") else flag)

    with RawServer(behaviour) as server:
        store = FliptV1FlagStore(FliptHttp(server.url))
        base = store.read(FlagRef("default", "mhv", "vf"), deadline=soon())
        control_is_off = Polarity(on_variants=frozenset({"on"}))
        store.write(base, exposures.kill(base.config, control_is_off, FIRST), deadline=soon())
        store.close()
    [body] = sent
    assert body["defaultVariantId"] == "2"
    assert (body["name"], body["enabled"]) == ("Variants", False)
    assert body["description"].startswith("shades\nrollback:")
    assert "metadata" not in body


def test_a_default_that_is_no_variant_is_refused_before_anything_is_written() -> None:
    with opened("v1") as (bench, _):
        ref = FlagRef("default", "mhv", "vf")
        base = bench.store.read(ref, deadline=soon())
        with pytest.raises(StoreRefused, match="no variant nope"):
            bench.store.write(base, replace(base.config, default_variant="nope"), deadline=soon())
        assert bench.server.count("PUT|POST|DELETE") == 0


def test_an_unsafe_change_is_refused_before_anything_is_written() -> None:
    with opened("v1") as (bench, base):
        with pytest.raises(StoreRefused, match="cannot be made safely"):
            bench.store.write(base, replace(base.config, rollouts=base.config.rollouts[::-1]), deadline=soon())
        assert bench.server.count("PUT|POST|DELETE") == 0
