"""The gate is measured once when a case opens: green, harm, or no data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe, Script
from rollback.gate_measure import measure_once
from rollback.ports import Measurement
from rollback.sandbox import SmApi
from tests.health_probes.stand_ins import CONTROL, FOLDERS, StillClock, endpoint, health, probing


def scripted(clock: StillClock, on_round: Callable[[int], None] | None = None, **script: Script) -> MemoryHealthProbe:
    return MemoryHealthProbe(script, clock=clock, on_round=on_round)


def test_a_gate_without_harm_is_green_after_the_asked_rounds() -> None:
    clock = StillClock()
    probe = scripted(clock, folders=0.0)
    assert measure_once(probe, clock, within_seconds=60) is True
    assert probe.rounds == 50


def test_it_stops_at_the_first_harm() -> None:
    clock = StillClock()
    probe = scripted(clock, folders=[0.0] * 7 + [1.0], threads=0.0)
    assert measure_once(probe, clock, within_seconds=60) is False
    assert probe.rounds == 8


def test_harm_in_part_is_harm() -> None:
    clock = StillClock()
    assert measure_once(scripted(clock, folders=0.0, threads=0.01), clock, within_seconds=60) is False


def test_a_gate_without_data_is_neither_green_nor_harmful_and_ends() -> None:
    clock = StillClock()
    probe = scripted(clock, folders=None)
    assert measure_once(probe, clock, within_seconds=60) is None
    assert probe.rounds == 50


def test_a_feature_without_metrics_has_no_data_at_once() -> None:
    clock = StillClock()
    probe = scripted(clock)
    assert measure_once(probe, clock, within_seconds=60) is None
    assert clock.passed == 0
    assert probe.rounds == 0


def test_one_metric_with_data_is_enough_for_the_careful_answer() -> None:
    clock = StillClock()
    assert measure_once(scripted(clock, folders=0.0, threads=None), clock, within_seconds=60) is True


def test_harm_that_is_no_number_is_no_data() -> None:
    class Confused:
        metrics: tuple[str, ...] = ("folders",)

        def measure(self) -> list[Measurement]:
            return [Measurement("folders", StillClock().now(), math.nan, "not a number")]

        def close(self) -> None:
            """Nothing to free."""

    assert measure_once(Confused(), StillClock(), within_seconds=60) is None


def test_no_round_begins_after_the_time_is_up() -> None:
    clock = StillClock()

    def takes(seconds: float) -> Callable[[int], None]:
        return lambda _: clock.sleep(seconds)

    probe = scripted(clock, takes(0.4), folders=0.0)
    assert measure_once(probe, clock, within_seconds=1.0) is True
    assert probe.rounds == 3
    assert clock.passed == pytest.approx(1.2)


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_time_nothing_is_asked(seconds: float) -> None:
    clock = StillClock()
    probe = scripted(clock, folders=0.0)
    assert measure_once(probe, clock, within_seconds=seconds) is None
    assert probe.rounds == 0


def test_what_is_broken_already_is_not_hammered() -> None:
    clock = StillClock()
    began: list[float] = []
    durations = itertools.cycle([0.0, 0.03, 0.2])

    def on_round(_: int) -> None:
        began.append(clock.passed)
        clock.passed += next(durations)

    assert measure_once(scripted(clock, on_round, folders=0.0), clock, within_seconds=60) is True
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert min(gaps) == pytest.approx(0.05)
    assert max(gaps) == pytest.approx(0.2)
    assert clock.passed == pytest.approx(began[-1] + 0.03)  # and no pause after the last round


def test_a_pause_does_not_go_past_the_end() -> None:
    clock = StillClock()
    assert measure_once(scripted(clock, folders=0.0), clock, within_seconds=0.12) is True
    assert clock.passed == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("mode", "green"), [("healthy", True), ("broken", False), ("disabled", None), ("empty", False)]
)
def test_over_http(mode: str, green: bool | None) -> None:
    clock = StillClock()
    with SmApi(mode=mode) as api:
        checks = health(
            endpoint(api.url + FOLDERS, assertions=[{"path": "data", "exists": True}]), control=api.url + CONTROL
        )
        with probing(checks) as probe:
            assert measure_once(probe, clock, within_seconds=60, samples=10) is green
        assert api.count("GET", FOLDERS) == (1 if green is False else 10)
