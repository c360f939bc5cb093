"""A world with a shadow flag and monitors, and an arming loop that is stepped by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rollback.adapters.alert_pollers.memory import MemoryAlertPoller
from rollback.alert_ports import MonitorState, Notice
from rollback.arming import ArmingLoop, Subject
from rollback.arming_checks import Lookup
from rollback.core.arming import Check
from rollback.core.automation_policy import AutomationPolicy
from rollback.core.feature_policy import FeaturePolicy
from rollback.core.flag import FlagConfig, FlagRef, FlagType
from rollback.errors import StoreRefused
from tests.fakes.flag_store import MemoryFlagStore, Mishap
from tests.fakes.world import ALL, FEATURE, SM, World

SHADOW = FlagRef("default", "mhv", "sm-shadow")
DARK = FlagConfig(SHADOW.flag_key, FlagType.BOOLEAN, enabled=False, description="nobody reads this")
REFUSED = Mishap(error=StoreRefused("the token may not write here"))
OURS = "@webhook-rollback"


def automation(**source: Any) -> AutomationPolicy:
    given = {"kind": "datadog", "authentication": "secret_header", "secrets": ["S"], **source}
    return AutomationPolicy.model_validate({"sources": {"datadog": given}})


def policy(**fields: Any) -> FeaturePolicy:
    given = {
        "feature": FEATURE,
        "name": "Secure Messaging",
        "production": False,
        "flag": {"namespace": "mhv", "key": FEATURE},
        "shadow_flag": SHADOW.flag_key,
        "owner": {"role": "SM team", "reach": "the channel"},
        "alerts": [{"name": "errors", "source": "datadog", "monitors": ["17"], "severity": "critical"}],
    }
    return FeaturePolicy.model_validate({**given, **fields})


class Monitors(MemoryAlertPoller):
    """Monitors that notify somebody."""

    def __init__(self, *names: str, notifies: Sequence[str] = (OURS,)) -> None:
        super().__init__("datadog", names)
        self.told = tuple(notifies)

    def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
        return [replace(state, notifies=self.told) for state in super().monitors(ids, now)]


@dataclass
class Bench:
    """A world with a shadow flag, and a loop that is stepped by hand."""

    world: World
    monitors: Monitors = field(default_factory=lambda: Monitors("17"))
    told: list[Notice] = field(default_factory=list)
    measured: list[bool] = field(default_factory=list)

    def lookup(self) -> Lookup:
        return Lookup(self.monitors, OURS, lists_recipients=True)

    def loop(self, feature: FeaturePolicy | None = None, **options: Any) -> ArmingLoop:
        given: dict[str, Any] = {
            "lookups": {"datadog": self.lookup()},
            "jitter": lambda: 0.5,
            "automation": automation(),
        }
        given |= options
        subject = Subject(self.world.session(), feature or policy(), 0.5, given.pop("probe", self.world.probe))
        return ArmingLoop(
            [subject],
            given.pop("automation"),
            self.world.clock,
            self.told.append,
            measure=lambda _feature, is_armed: self.measured.append(is_armed),
            **given,
        )

    def passes(self, loop: ArmingLoop, duration: timedelta) -> None:
        """Lets time pass as the thread does: a step, then as long as it says."""
        until = self.world.clock.elapsed + duration.total_seconds()
        while True:
            wait = loop.step()
            left = until - self.world.clock.elapsed
            if left <= 0:
                return
            self.world.clock.sleep(min(max(wait, 0.5), left))

    def checks(self, loop: ArmingLoop) -> dict[str, Check]:
        return {check.name: check for check in loop.checks(FEATURE)}


def a_bench(folder: Path) -> Bench:
    """A feature that is on, and its shadow flag."""
    world = World(folder)
    world.store = MemoryFlagStore(world.clock, {SM: ALL, SHADOW: DARK})
    return Bench(world)
