"""The thread that probes: no control target, no start; no alarm is lost; and it ends when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.core.alerts import Edge, Reading
from rollback.core.policy import Health
from rollback.core.probe_alarm import ProbeRule
from rollback.errors import ConfigurationError, HistoryUnwritable
from rollback.probing import Prober, has_control
from rollback.sandbox.sm_api import SmApi
from tests.fakes.clock import FakeClock

RULE = ProbeRule(p0=0.02, interval=timedelta(seconds=5))


class Inbox:
    """Keeps what is delivered; refuses while `broken`."""

    def __init__(self) -> None:
        self.kept: list[Reading] = []
        self.broken = False
        self.arrived = threading.Event()

    def __call__(self, reading: Reading) -> None:
        if self.broken:
            raise HistoryUnwritable("The disk is full.")
        self.kept.append(reading)
        self.arrived.set()

    def edges(self) -> list[Edge]:
        return [alert.edge for reading in self.kept for alert in reading.alerts]


def prober(
    probe: MemoryHealthProbe | HttpHealthProbe, inbox: Callable[[Reading], None], clock: FakeClock, **options: Any
) -> Prober:
    settings: dict[str, Any] = {"has_control": True, "rule": RULE, **options}
    return Prober("sm", probe, settings.pop("rule"), clock, inbox, **settings)


def scripted(clock: FakeClock, harm: float | None = 0.0) -> MemoryHealthProbe:
    return MemoryHealthProbe({"folders": harm}, clock=clock)


def test_without_a_control_target_it_does_not_start() -> None:
    clock = FakeClock()
    with pytest.raises(ConfigurationError, match="without a control target"):
        prober(scripted(clock), Inbox(), clock, has_control=False)


def test_without_metrics_it_does_not_start() -> None:
    clock = FakeClock()
    with pytest.raises(ConfigurationError, match="nothing to probe"):
        prober(MemoryHealthProbe({}, clock=clock), Inbox(), clock)


ENDPOINT = {"name": "folders", "url": "https://api.example.org/folders"}
CONTROL = {"name": "control", "url": "https://control.example.org/"}


@pytest.mark.parametrize(
    ("control", "unknown", "has"),
    [(CONTROL, {}, True), (None, {}, False), (CONTROL, {"control": "SM_CONTROL_URL is not set"}, False)],
)
def test_a_control_target_that_cannot_be_asked_is_none(
    control: dict[str, str] | None, unknown: dict[str, str], has: bool
) -> None:
    health = Health.model_validate({"endpoints": [ENDPOINT], "control": control})
    assert has_control(health, unknown) is has


def test_an_alarm_is_delivered_once_and_its_end_too() -> None:
    clock, inbox = FakeClock(), Inbox()
    probe = scripted(clock, 1.0)
    one = prober(probe, inbox, clock)
    for _ in range(30):
        one.round()
        clock.sleep(5)
    assert inbox.edges() == [Edge.FIRED]
    assert one.state().alarmed
    probe.say("folders", 0.0)
    for _ in range(400):
        one.round()
        clock.sleep(5)
    assert inbox.edges() == [Edge.FIRED, Edge.RECOVERED]
    assert inbox.kept[0].alerts[0].cycle == inbox.kept[1].alerts[0].cycle
    assert not one.state().alarmed


def test_an_alarm_that_cannot_be_kept_is_handed_over_until_it_is() -> None:
    clock, inbox = FakeClock(), Inbox()
    inbox.broken = True
    one = prober(scripted(clock, 1.0), inbox, clock)
    for _ in range(30):
        one.round()
    assert one.state().undelivered == 1
    assert inbox.kept == []
    inbox.broken = False
    one.round()
    assert inbox.edges() == [Edge.FIRED]
    assert one.state().undelivered == 0


def test_missing_rounds_raise_nothing_and_are_seen() -> None:
    clock, inbox = FakeClock(), Inbox()
    one = prober(scripted(clock, None), inbox, clock)
    for _ in range(50):
        clock.sleep(5)
        one.round()
    state = one.state()
    assert inbox.kept == []
    assert (state.rounds, state.last_data_at) == (50, None)
    assert state.last_round_at == clock.now()


def test_a_probe_that_breaks_is_a_missing_round_and_the_next_one_counts() -> None:
    clock, inbox = FakeClock(), Inbox()
    probe = scripted(clock, 1.0)

    def break_down(number: int) -> None:
        if number <= 10:
            raise OSError("no socket left")

    probe.on_round = break_down
    one = prober(probe, inbox, clock)
    for _ in range(10):
        one.round()
    assert inbox.kept == []
    assert one.state().last_data_at is None
    for _ in range(30):
        one.round()
    assert inbox.edges() == [Edge.FIRED]


def test_alarms_of_an_earlier_process_are_ended() -> None:
    clock, inbox = FakeClock(), Inbox()
    one = prober(scripted(clock), inbox, clock, open_cycles=["sm@before"])
    for _ in range(400):
        one.round()
    assert [(alert.cycle, alert.edge) for reading in inbox.kept for alert in reading.alerts] == [
        ("sm@before", Edge.RECOVERED)
    ]


def test_the_thread_probes_until_it_is_stopped_and_closes_the_probe() -> None:
    clock, inbox = FakeClock(), Inbox()
    probe = scripted(clock, 1.0)
    one = prober(probe, inbox, clock, rule=ProbeRule(p0=0.02, interval=timedelta(milliseconds=1)))
    one.start()
    one.start()
    assert inbox.arrived.wait(20)
    one.stop()
    one.stop()
    assert inbox.edges() == [Edge.FIRED]
    assert probe.closed
    rounds = probe.rounds
    assert [thread.name for thread in threading.enumerate() if thread.name == "probing-sm"] == []
    assert probe.rounds == rounds


def test_it_can_be_stopped_before_it_was_started() -> None:
    clock = FakeClock()
    probe = scripted(clock)
    prober(probe, Inbox(), clock).stop()
    assert probe.closed
    assert probe.rounds == 0


def test_a_feature_that_breaks_is_found_over_http_and_a_fault_of_our_own_network_is_not() -> None:
    clock, inbox = FakeClock(), Inbox()
    with SmApi() as feature, SmApi() as control:
        health = Health.model_validate(
            {
                "endpoints": [{"name": "folders", "url": f"{feature.url}/my_health/v1/messaging/folders"}],
                "control": {"name": "control", "url": f"{control.url}/control"},
            }
        )
        probe = HttpHealthProbe(health, clock=clock)
        one = prober(probe, inbox, clock, has_control=has_control(health, probe.unknown))
        try:
            one.round()
            assert one.state().last_data_at is not None
            feature.behave(mode="broken")
            control.stop()
            for _ in range(20):
                one.round()
            assert inbox.kept == [], "when the control target fails as well, it is not the feature"
        finally:
            one.stop()
    with SmApi(mode="broken") as feature:
        url = f"{feature.url}/my_health/v1/messaging/folders"
        health = Health.model_validate(
            {
                "endpoints": [{"name": "folders", "url": url}],
                "control": {"name": "control", "url": f"{feature.url}/control"},
            }
        )
        one = prober(HttpHealthProbe(health, clock=clock), inbox, clock)
        try:
            for _ in range(20):
                one.round()
            assert inbox.edges() == [Edge.FIRED]
        finally:
            one.stop()
