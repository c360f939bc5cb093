"""Writing to Flipt when answers are lost, connections break and others write at the same time: v1 and v2 alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollback.adapters.flipt_http import FliptHttp, TokenSource
from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, Rollout
from rollback.errors import Conflict, FlagMissing, StoreRefused, StoreUnreachable, Unsettled
from rollback.sandbox import Fault, FliptServer
from tests.contracts.flag_store_benches import BOOLEAN, SEED, FliptBench
from tests.flag_stores.changes import (
    CHANGES,
    COHORT,
    FIRST,
    FOREIGN,
    ON,
    SECOND,
    STORES,
    Change,
    cohort,
    kill,
    now,
    opened,
    put,
)

WRITES = "PUT|POST|DELETE"
FOREIGN_KILL = Rollout(value=False, percentage=100.0, description=str(FOREIGN))
FOREIGN_TENTH = Rollout(value=True, percentage=10.0, description="somebody's tenth")
READ_ONLY = {"code": 13, "message": "modification is not allowed in read-only mode", "details": []}

each_change = pytest.mark.parametrize("change", CHANGES, ids=str)
both = pytest.mark.parametrize("api", STORES)


def requests(bench: FliptBench) -> list[str]:
    return [entry.method for entry in bench.server.log.all()]


# -- what it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "expected"), [("v1", ["GET", "GET", "POST", "GET", "GET"]), ("v2", ["GET", "PUT"])])
def test_a_kill_takes_no_request_too_many(api: str, expected: list[str]) -> None:
    with opened(api) as (bench, _):
        put(bench, kill)
        assert requests(bench) == expected


# -- answers that do not come ----------------------------------------------------------------------


def writes_of(api: str, change: Change) -> int:
    with opened(api, change) as (bench, base):
        bench.store.write(base, change.wanted(base.config), deadline=bench.deadline())
        return bench.server.count(WRITES)


@both
@each_change
@pytest.mark.parametrize("fault", [Fault.lost_answer, Fault.reset], ids=["lost answer", "reset"])
def test_a_write_that_breaks_at_any_step_is_settled_by_reading_back_and_never_doubled(
    api: str, change: Change, fault: Callable[..., Fault]
) -> None:
    for step in range(writes_of(api, change)):
        with opened(api, change) as (bench, base):
            desired = change.wanted(base.config)
            bench.server.faults.add(fault(WRITES, after=step))
            after = bench.store.write(base, desired, deadline=bench.deadline())
            assert after.config.rollouts == desired.rollouts
            assert now(bench).rollouts == desired.rollouts


@both
@each_change
def test_all_at_once_every_answer_lost_and_reading_back_broken_for_a_while(api: str, change: Change) -> None:
    with opened(api, change) as (bench, base):
        desired = change.wanted(base.config)
        bench.server.faults.add(Fault.lost_answer(WRITES, times=2))
        bench.server.faults.add(Fault.status("GET", status=503, times=2))
        assert bench.store.write(base, desired, deadline=bench.deadline()).config.rollouts == desired.rollouts


@both
def test_what_was_sent_and_cannot_be_settled_is_said_as_unknown_never_as_nothing_changed(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.reset(WRITES, times=None))
        with pytest.raises(Unsettled):
            bench.store.write(base, kill(base.config), deadline=time.monotonic() + 0.4)


@both
def test_a_write_that_was_done_while_nothing_can_be_read_is_unknown_too(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.lost_answer(WRITES))
        bench.server.faults.add(Fault.status("GET", status=502, times=None))
        with pytest.raises(Unsettled):
            bench.store.write(base, kill(base.config), deadline=time.monotonic() + 0.4)
        assert exposures.exposure(now(bench), ON).is_off


@both
def test_a_write_that_hangs_is_over_at_the_deadline_and_unknown(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.hang(WRITES, times=None))
        before = time.monotonic()
        with pytest.raises(Unsettled):
            bench.store.write(base, kill(base.config), deadline=before + 0.4)
        assert time.monotonic() - before < 5.0


@both
def test_with_the_server_gone_certainly_nothing_was_written(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.stop()
        with pytest.raises(StoreUnreachable):
            bench.store.write(base, kill(base.config), deadline=time.monotonic() + 0.4)


@both
def test_a_server_that_turns_us_away_for_a_moment_is_tried_again(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.status(WRITES, status=429, times=3))
        after = bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert after.config.rollouts == kill(base.config).rollouts


# -- refusals --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(("status", "body"), [(500, READ_ONLY), (403, None), (400, None), (501, None)])
def test_a_refusal_is_permanent_and_not_tried_again(api: str, status: int, body: object) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.status(WRITES, status=status, body=body, times=None))
        with pytest.raises(StoreRefused):
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert bench.server.count(WRITES) == 1


@both
def test_an_internal_error_is_refused_once_reading_back_shows_that_nothing_was_done(api: str) -> None:
    with opened(api) as (bench, base):
        invalid = {"code": 13, "message": "putting flag: invalid", "details": []}
        bench.server.faults.add(Fault.status(WRITES, status=500, body=invalid, times=None))
        with pytest.raises(StoreRefused, match="putting flag: invalid"):
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert bench.server.count(WRITES) == 1


@both
def test_a_login_page_in_answer_to_a_write_is_a_refusal_once_reading_back_shows_that_nothing_was_done(api: str) -> None:
    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.status(WRITES, status=200, body="<h1>Sign in</h1>", times=None))
        with pytest.raises(StoreRefused, match="Sign in"):
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert bench.server.count(WRITES) == 1


@both
def test_storage_that_is_read_only_is_refused_with_the_way_out(api: str) -> None:
    with opened(api, read_only=True) as (bench, base):
        with pytest.raises(StoreRefused) as caught:
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        assert "file:" in caught.value.next


@both
def test_a_flag_that_is_deleted_meanwhile_is_missing(api: str) -> None:
    paths = {
        "v1": "/api/v1/namespaces/mhv/flags/sm",
        "v2": "/api/v2/environments/default/namespaces/mhv/resources/flipt.core.Flag/sm",
    }

    def delete(server: FliptServer) -> None:
        assert server.carry_out("DELETE", paths[server.api]).status == 200

    with opened(api) as (bench, base):
        bench.server.faults.add(Fault.edit(WRITES, edit=delete))
        with pytest.raises((FlagMissing, Conflict)):
            put(bench, kill) if api == "v2" else bench.store.write(base, kill(base.config), deadline=bench.deadline())
        with pytest.raises(FlagMissing):
            bench.store.read(BOOLEAN, deadline=bench.deadline())


@both
def test_a_token_that_rotates_between_read_and_write_does_not_stop_a_kill(api: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with FliptServer(api=api, seed=SEED, token="first") as server:
        store = STORES[api](FliptHttp(server.url, TokenSource.file(file)))
        base = store.read(BOOLEAN, deadline=time.monotonic() + 5)
        server.token = "second"
        file.write_text("second")
        after = store.write(base, kill(base.config), deadline=time.monotonic() + 5)
        assert exposures.exposure(after.config, ON).is_off
        server.token = "third"
        with pytest.raises(StoreRefused):
            store.read(BOOLEAN, deadline=time.monotonic() + 5)
        store.close()


# -- somebody else writes --------------------------------------------------------------------------


def requests_of(api: str, change: Change) -> int:
    with opened(api, change) as (bench, base):
        bench.store.write(base, change.wanted(base.config), deadline=bench.deadline())
        return bench.server.count()


def is_in(config: FlagConfig, rollout: Rollout) -> bool:
    return any(one == rollout for one in config.rollouts)


@both
@each_change
@pytest.mark.parametrize("in_front", [True, False], ids=["in front", "at the end"])
@pytest.mark.parametrize("theirs", [FOREIGN_KILL, FOREIGN_TENTH], ids=["a kill", "a tenth"])
def test_what_somebody_adds_before_any_of_our_requests_is_never_undone(
    api: str, change: Change, theirs: Rollout, in_front: bool
) -> None:
    for step in range(requests_of(api, change)):
        with opened(api, change) as (bench, base):
            added = lambda _: bench.somebody_adds(theirs, in_front=in_front)  # noqa: E731
            bench.server.faults.add(Fault.edit(after=step, edit=added))
            before = {one.description for one in base.config.rollouts}
            try:
                bench.store.write(base, change.wanted(base.config), deadline=bench.deadline())
                is_ours = True
            except Conflict:
                is_ours = False
            config = now(bench)
            assert is_in(config, theirs)
            assert config.defects == ()
            if in_front and theirs is FOREIGN_KILL and not change.lowers:
                assert exposures.exposure(config, ON).is_off, "their kill came later than what we had read"
            if is_ours and change.lowers and change.name != "reduce":
                assert exposures.exposure(config, ON).is_off
            if not is_ours:
                assert {one.description for one in config.rollouts} == before | {theirs.description}


@both
def test_a_second_responder_and_we_both_end_with_a_kill_in_front(api: str) -> None:
    with opened(api) as (bench, base):
        other = STORES[api](FliptHttp(bench.server.url))

        def they_kill(_: FliptServer) -> None:
            theirs = other.read(BOOLEAN, deadline=time.monotonic() + 5)
            other.write(theirs, exposures.kill(theirs.config, ON, SECOND), deadline=time.monotonic() + 5)

        bench.server.faults.add(Fault.edit("POST|PUT", edit=they_kill))
        try:
            bench.store.write(base, kill(base.config), deadline=bench.deadline())
        except Conflict:
            put(bench, kill)
        assert {mark.key for mark in exposures.ours(now(bench))} == {FIRST.key, SECOND.key}
        assert exposures.exposure(now(bench), ON).is_off
        other.close()


@both
def test_a_ramp_does_not_lower_a_kill_that_somebody_has_raised_again(api: str) -> None:
    ramp = next(one for one in CHANGES if one.name == "ramp")
    with opened(api, ramp) as (bench, base):
        put(bench, lambda config: exposures.with_kill_at(config, FIRST.key, 99))
        with pytest.raises(Conflict):
            bench.store.write(base, ramp.wanted(base.config), deadline=bench.deadline())
        assert now(bench).rollouts[0].percentage == 99.0


@both
def test_a_restore_does_not_take_out_a_kill_that_somebody_has_changed(api: str) -> None:
    with opened(api, Change("", (kill,), exposures.without)) as (bench, base):
        put(bench, lambda config: exposures.with_kill_at(config, FIRST.key, 99))
        with pytest.raises(Conflict):
            bench.store.write(base, exposures.without(base.config), deadline=bench.deadline())
        assert exposures.ours(now(bench)) == (FIRST,)


@both
def test_a_variant_flags_kill_and_restore_survive_lost_answers(api: str) -> None:
    with opened(api) as (bench, _):
        original = bench.content()
        bench.server.faults.add(Fault.lost_answer("PUT"))
        off = put(bench, kill, variant=True)
        assert exposures.exposure(off.config, ON).is_off
        bench.server.faults.add(Fault.lost_answer("PUT"))
        put(bench, exposures.without, variant=True)
        assert bench.content() == original


@both
def test_a_variant_that_somebody_makes_the_default_meanwhile_is_not_overlooked(api: str) -> None:
    with opened(api) as (bench, _):
        off = put(bench, kill, variant=True)
        theirs = {**SEED["flags"][1], "description": off.config.description}
        bench.server.edit_flag("mhv", "vf", **{name: one for name, one in theirs.items() if name != "key"})
        with pytest.raises(Conflict):
            bench.store.write(
                off, replace(off.config, description="", default_variant="control"), deadline=bench.deadline()
            )


def test_a_cohort_is_taken_out_again_when_a_newer_kill_turned_up_while_it_was_put_in() -> None:
    change = next(one for one in CHANGES if one.name == "cohort")
    for step in range(requests_of("v1", change)):
        with opened("v1", change) as (bench, base):
            bench.server.faults.add(
                Fault.edit(after=step, edit=lambda _: bench.somebody_adds(FOREIGN_KILL, in_front=True))
            )
            try:
                bench.store.write(base, cohort(base.config), deadline=bench.deadline())
            except Conflict:
                assert COHORT.key not in {mark.key for mark in exposures.ours(now(bench))}
            assert exposures.exposure(now(bench), ON).is_off
