"""A replica's snapshot, as SDKs read it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rollback.adapters.flag_stores.flipt_json import FliptSnapshotReader
from rollback.adapters.flipt_http import FliptHttp, TokenSource
from rollback.core import exposure as exposures
from rollback.core.flag import FlagRef
from rollback.errors import FlagMissing, StoreRefused, StoreUnreachable
from rollback.sandbox import Fault, FliptServer
from tests.contracts.flag_store_benches import BOOLEAN, SEED
from tests.flag_stores.changes import ON, kill, opened, put
from tests.flag_stores.raw_server import RawServer


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


@contextmanager
def reader(url: str, token: TokenSource | None = None) -> Iterator[FliptSnapshotReader]:
    http = FliptHttp(url, token)
    try:
        yield FliptSnapshotReader(http)
    finally:
        http.close()


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_kill_is_seen_in_the_snapshot_and_the_segments_come_with_it(api: str) -> None:
    with opened(api) as (bench, base), reader(bench.server.url) as snapshots:
        before = snapshots.snapshot(BOOLEAN, deadline=soon())
        assert [(one.value, one.percentage, one.segments) for one in before.rollouts] == [
            (one.value, one.percentage, one.segments) for one in base.config.rollouts
        ]
        assert before.segments["veterans"].constraints[0].value == "veteran"
        assert not exposures.exposure(before, ON).is_off
        put(bench, kill)
        assert exposures.exposure(snapshots.snapshot(BOOLEAN, deadline=soon()), ON).is_off
        assert snapshots.replica == bench.server.url


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("ref", [FlagRef("default", "mhv", "nope"), FlagRef("default", "nope", "sm")])
def test_a_flag_or_namespace_that_does_not_exist_is_missing_and_never_off(api: str, ref: FlagRef) -> None:
    with FliptServer(api=api, seed=SEED) as server, reader(server.url) as snapshots, pytest.raises(FlagMissing):
        snapshots.snapshot(ref, deadline=soon())


def test_v2_picks_the_environment_by_the_header() -> None:
    flag = {"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "enabled": True}
    seed = {"environments": {"staging": {"namespaces": {"mhv": {"flags": [flag]}}}}}
    with FliptServer(api="v2", seed=seed) as server, reader(server.url) as snapshots:
        assert snapshots.snapshot(FlagRef("staging", "mhv", "sm"), deadline=soon()).enabled
        with pytest.raises(FlagMissing):
            snapshots.snapshot(BOOLEAN, deadline=soon())


def test_v1_is_not_believed_when_another_environment_was_asked_for() -> None:
    with (
        FliptServer(api="v1", seed=SEED) as server,
        reader(server.url) as snapshots,
        pytest.raises(FlagMissing, match="environment staging"),
    ):
        snapshots.snapshot(FlagRef("staging", "mhv", "sm"), deadline=soon())


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_replica_that_stumbles_is_asked_again_and_one_that_is_gone_is_unreachable(api: str) -> None:
    with FliptServer(api=api, seed=SEED) as server, reader(server.url) as snapshots:
        server.faults.add(Fault.status("GET", status=503, times=2))
        assert snapshots.snapshot(BOOLEAN, deadline=soon()).key == "sm"
        server.stop()
        with pytest.raises(StoreUnreachable):
            snapshots.snapshot(BOOLEAN, deadline=soon(0.3))


def test_a_replica_that_does_not_know_the_token_refuses() -> None:
    with (
        FliptServer(api="v2", seed=SEED, token="right") as server,
        reader(server.url, TokenSource.value("wrong")) as snapshots,
        pytest.raises(StoreRefused),
    ):
        snapshots.snapshot(BOOLEAN, deadline=soon())


@pytest.mark.parametrize(
    "body",
    [{"namespace": {"key": "other"}, "flags": []}, {"flags": "none"}, {"namespace": {"key": "mhv"}, "flags": [1]}],
)
def test_a_snapshot_of_something_else_is_refused(body: dict[str, Any]) -> None:
    with (
        RawServer(lambda visit: visit.answer(200, body)) as server,
        reader(server.url) as snapshots,
        pytest.raises(StoreRefused),
    ):
        snapshots.snapshot(BOOLEAN, deadline=soon())
