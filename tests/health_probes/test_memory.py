"""The scripted stand-in: what it is told is what it says."""

from __future__ import annotations

import math

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe, Script
from tests.health_probes.stand_ins import StillClock


def outcomes(script: Script, rounds: int) -> list[float | None]:
    probe = MemoryHealthProbe({"folders": script}, clock=StillClock())
    return [probe.measure()[0].harm for _ in range(rounds)]


def test_a_constant_stays() -> None:
    assert outcomes(0.25, 3) == [0.25] * 3
    assert outcomes(None, 2) == [None] * 2


def test_outcomes_come_one_a_round_and_then_are_missing() -> None:
    assert outcomes([0.0, 1.0, None, 0.5], 6) == [0.0, 1.0, None, 0.5, None, None]
    assert outcomes((x for x in (1.0, 0.0)), 3) == [1.0, 0.0, None]


def test_a_function_is_given_the_number_of_the_round() -> None:
    assert outcomes(lambda number: float(number % 3 == 0), 6) == [0, 0, 1, 0, 0, 1]


def test_the_script_can_be_changed_at_any_time() -> None:
    probe = MemoryHealthProbe({"folders": 0.0}, clock=StillClock())
    assert probe.measure()[0].harm == 0.0
    probe.say("folders", [1.0])
    assert [probe.measure()[0].harm for _ in range(2)] == [1.0, None]
    with pytest.raises(KeyError):
        probe.say("letters", 0.0)


def test_the_hook_runs_before_each_round_and_may_move_the_clock_and_the_script() -> None:
    clock = StillClock()

    def on_round(number: int) -> None:
        clock.passed = 10.0 * number
        if number == 2:
            probe.say("folders", 1.0)

    probe = MemoryHealthProbe({"folders": 0.0}, clock=clock, on_round=on_round)
    first, second = probe.measure()[0], probe.measure()[0]
    assert (first.harm, second.harm) == (0.0, 1.0)
    assert (second.at - first.at).total_seconds() == 10.0
    assert probe.rounds == 2


def test_what_the_hook_raises_comes_out_so_that_a_test_can_interrupt_a_round() -> None:
    def on_round(_: int) -> None:
        raise KeyboardInterrupt

    probe = MemoryHealthProbe({"folders": 0.0}, clock=StillClock(), on_round=on_round)
    with pytest.raises(KeyboardInterrupt):
        probe.measure()


@pytest.mark.parametrize("outcome", [-0.1, 1.1, math.nan, math.inf])
def test_a_script_outside_of_the_contract_is_a_mistake(outcome: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        outcomes(outcome, 1)
