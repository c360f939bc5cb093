"""The changes that are ever made to a flag, each from the flag as it is read, with what it must come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rollback.adapters.flag_stores.flipt_v1 import FliptV1FlagStore
from rollback.adapters.flag_stores.flipt_v2 import FliptV2FlagStore
from rollback.adapters.flipt_http import FliptHttp
from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, FlagSnapshot, Polarity
from rollback.core.marker import Marker
from rollback.ports import FlagStore
from tests.contracts.flag_store_benches import BOOLEAN, VARIANT, FliptBench, flipt_bench

ON = Polarity()
FIRST = Marker("i-1", "kill-1-aaa", "jdoe")
SECOND = Marker("i-1", "kill-2-bbb", "jdoe")
COHORT = Marker("i-1", "cohort-1-ccc", "jdoe")
FOREIGN = Marker("i-2", "kill-7-zzz", "other")

STORES: dict[str, Callable[[FliptHttp], FlagStore]] = {"v1": FliptV1FlagStore, "v2": FliptV2FlagStore}


@dataclass(frozen=True, slots=True)
class Change:
    """`before` says how the flag got to where it is; `wanted` makes the change; `lowers` that it takes users off."""

    name: str
    before: tuple[Callable[[FlagConfig], FlagConfig], ...]
    wanted: Callable[[FlagConfig], FlagConfig]
    lowers: bool = False

    def __str__(self) -> str:
        return self.name


def kill(config: FlagConfig) -> FlagConfig:
    return exposures.kill(config, ON, FIRST)


def second_kill(config: FlagConfig) -> FlagConfig:
    return exposures.kill(config, ON, SECOND)


def cohort(config: FlagConfig) -> FlagConfig:
    return exposures.with_cohort(config, ON, ("veterans",), COHORT)


def ramp(config: FlagConfig) -> FlagConfig:
    return exposures.with_kill_at(config, FIRST.key, 40)


def newest_only(config: FlagConfig) -> FlagConfig:
    return exposures.with_kill_at(exposures.without(config, [FIRST.key, COHORT.key]), SECOND.key, 40)


CHANGES = (
    Change("kill", (), kill, lowers=True),
    Change("reduce", (), lambda config: exposures.with_kill_at(kill(config), FIRST.key, 60), lowers=True),
    Change("cohort", (kill,), cohort),
    Change("ramp", (kill,), ramp),
    Change("second kill", (kill, cohort, ramp), second_kill, lowers=True),
    Change("lower the newest", (kill, cohort, second_kill), newest_only),
    Change("restore", (kill, cohort, second_kill), exposures.without),
)


@contextmanager
def opened(api: str, change: Change | None = None, **options: Any) -> Iterator[tuple[FliptBench, FlagSnapshot]]:
    """A bench where all that comes before the change is done, and the flag as it was read then."""
    with flipt_bench(api, STORES[api], **options) as bench:
        for earlier in change.before if change else ():
            put(bench, earlier)
        base = bench.store.read(BOOLEAN, deadline=bench.deadline())
        bench.server.log.clear()
        yield bench, base


def put(bench: FliptBench, wanted: Callable[[FlagConfig], FlagConfig], *, variant: bool = False) -> FlagSnapshot:
    """Reads, decides and writes."""
    base = bench.store.read(VARIANT if variant else BOOLEAN, deadline=bench.deadline())
    return bench.store.write(base, wanted(base.config), deadline=bench.deadline())


def now(bench: FliptBench) -> FlagConfig:
    """The boolean flag as it is, whatever the faults."""
    bench.server.faults.clear()
    return bench.store.read(BOOLEAN, deadline=bench.deadline()).config
