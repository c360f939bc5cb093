"""Those who have the feature against those who have not: worse ends the return, alike opens nothing by itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from rollback.core.comparison import Counts
from rollback.core.model import State
from rollback.core.policy import Compare
from rollback.ports import Measurement
from rollback.return_comparison import Comparing
from tests.fakes.clock import NOON
from tests.fakes.commands import person
from tests.fakes.policies import critical, step
from tests.fakes.world import HALF, World

RULE = Compare.model_validate({"metric": "sends", "with": "flag:on", "without": "flag:off", "alpha": 0.01})
MINUTE = timedelta(minutes=1)
PATIENT = [step(percent, minimum_soak="60s", deadline="5m") for percent in (10, 50, 100)]

Rates = Callable[[float], tuple[float, float]]


class Strata:
    """Probes that are always well, and once a second the requests of both arms, by the exposure of the flag."""

    metrics: tuple[str, ...] = ("folders",)

    def __init__(self, world: World, rates: Rates) -> None:
        self.world = world
        self.rates = rates
        self.source = random.Random(20261123)
        self._second = -1

    def measure(self) -> Sequence[Measurement]:
        """The probe's answer, and the last closed second."""
        now, second = self.world.clock.now(), int(self.world.clock.elapsed)
        answers = [Measurement("folders", now, 0.0, "scripted")]
        if second == self._second:
            return answers
        self._second = second
        ends = NOON + timedelta(seconds=second)
        having = 2 * self.world.open_buckets
        for name, total, rate in zip(
            ("on", "off"), (having, 100 - having), self.rates(self.world.clock.elapsed), strict=True
        ):
            bad = sum(self.source.random() < rate for _ in range(total))
            share = bad / total if total else None
            answers.append(
                Measurement(f"sends[flag:{name}]", now, share, "", None, bad, total, ends - timedelta(seconds=1), ends)
            )
        return answers

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def returned(world: World, rates: Rates) -> tuple[int, State, str]:
    policy = critical(
        ladder=PATIENT,
        compare={"metric": "sends", "with": "flag:on", "without": "flag:off"},
        gate={
            "p0": 0.5,
            "alpha": 0.5,
            "harm_alpha": 1e-6,
            "interval": "100ms",
            "minimum_soak": "1s",
            "deadline": "30s",
        },
    )
    outcome = person(world, policy=policy, probe=Strata(world, rates)).enable()
    return outcome.exit_code, outcome.state, outcome.message


def test_a_feature_that_is_worse_than_nothing_goes_down_though_its_own_limit_would_let_it_pass(off: World) -> None:
    """A fifth fails with it and a fiftieth without: far below the gate's half, and a clear difference."""
    code, state, message = returned(off, lambda _elapsed: (0.2, 0.02))
    assert (code, state, off.open_buckets) == (4, State.DISABLED, 0)
    assert "sends is worse with the feature than without" in message
    assert len(off.entries("step_raised")) == 1


def test_a_bad_hour_for_everybody_is_no_reason_to_go_down(off: World) -> None:
    code, state, _ = returned(off, lambda elapsed: (0.3, 0.3) if 20 < elapsed < 90 else (0.02, 0.02))
    assert (code, state, off.open_buckets) == (0, State.RESOLVED, 50)


# -- which windows count ---------------------------------------------------------------------------------------------


def window(name: str, bad: int, total: int, begins: int, at: int = 0) -> Measurement:
    starts = NOON + begins * MINUTE
    return Measurement(
        f"sends[flag:{name}]", NOON + at * MINUTE, bad / max(total, 1), "", None, bad, total, starts, starts + MINUTE
    )


def test_both_arms_of_one_window_are_compared_and_of_two_windows_never() -> None:
    comparing = Comparing(RULE)
    comparing.observe([window("on", 1, 10, 0), window("off", 2, 90, 0)])
    assert (comparing.comparison.having, comparing.comparison.lacking) == (Counts(1, 10), Counts(2, 90))
    comparing.observe([window("on", 9, 10, 1, at=2), window("off", 0, 90, 2, at=2)])
    assert comparing.comparison.having == Counts(1, 10)


def test_a_window_that_began_before_the_return_says_nothing_about_it() -> None:
    comparing = Comparing(RULE)
    assert comparing.observe([window("on", 10, 10, -1), window("off", 0, 90, -1)]) == ""
    assert comparing.comparison.having == Counts(0, 0)


def test_a_missing_arm_says_nothing() -> None:
    comparing = Comparing(RULE)
    gone = Measurement("sends[flag:off]", NOON, None, "no data", begins=NOON, ends=NOON + MINUTE)
    comparing.observe([window("on", 10, 10, 0), gone])
    comparing.observe([])
    assert comparing.comparison.having == Counts(0, 0)
