"""The stand-ins keep the promises of the ports that they stand in for."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rollback.clock import SystemClock
from rollback.core.flag import Distribution, FlagConfig, FlagType, Rollout, Rule
from tests.contracts import test_flag_stores as contract
from tests.contracts.flag_store_benches import BOOLEAN, VARIANT
from tests.fakes.flag_store import MemoryFlagStore
from tests.fakes.world import VETERANS

FLAGS = {
    BOOLEAN: FlagConfig(
        "sm",
        FlagType.BOOLEAN,
        enabled=True,
        description="the team's own words",
        rollouts=(
            Rollout(value=True, segments=("veterans",), description="veterans first"),
            Rollout(value=True, percentage=50.0),
            Rollout(value=False, percentage=100.0, description="the rest"),
        ),
    ),
    VARIANT: FlagConfig(
        "vf",
        FlagType.VARIANT,
        enabled=True,
        description="shades",
        default_variant="on",
        variants=("on", "control"),
        rules=(Rule(("veterans",), (Distribution("on", 100.0),)),),
    ),
}


@dataclass
class MemoryBench:
    """Flags in memory, with somebody else who edits them."""

    store: MemoryFlagStore

    def content(self) -> Any:
        return [self.store.config(ref) for ref in (BOOLEAN, VARIANT)]

    def somebody_adds(self, rollout: Rollout, *, in_front: bool = False) -> None:
        def add(config: FlagConfig) -> FlagConfig:
            return replace(config, rollouts=(rollout, *config.rollouts) if in_front else (*config.rollouts, rollout))

        self.store.edit(BOOLEAN, add)

    def somebody_removes(self, description: str) -> None:
        def remove(config: FlagConfig) -> FlagConfig:
            return replace(config, rollouts=tuple(r for r in config.rollouts if r.description != description))

        self.store.edit(BOOLEAN, remove)

    def somebody_disables(self) -> None:
        self.store.edit(VARIANT, lambda config: replace(config, enabled=False))

    def deadline(self) -> float:
        return time.monotonic() + 5.0


@pytest.fixture(params=["with revisions", "without revisions"])
def bench(request: pytest.FixtureRequest) -> MemoryBench:
    revisions = request.param == "with revisions"
    return MemoryBench(MemoryFlagStore(SystemClock(), FLAGS, {"veterans": VETERANS}, revisions=revisions))


globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})
