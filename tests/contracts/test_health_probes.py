"""The contract of `HealthProbe`, passed by the probe over HTTP, the probes of windows, and the scripted stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Protocol

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.adapters.health_probes.of_policy import probe_of
from rollback.adapters.health_probes.windows import WindowedHealthProbe
from rollback.core.metric_verdict import Rule
from rollback.ports import HealthProbe, Measurement
from rollback.sandbox.metrics_api import MetricsApi
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer
from tests.health_probes.metric_benches import ENVIRON, ScriptedSource, counted
from tests.health_probes.metric_benches import health as metrics_section
from tests.health_probes.stand_ins import StillClock, endpoint, health, probing

METRICS = ("folders", "threads", "unknown")


class Subject(Protocol):
    """A probe of `METRICS`, the last of which never has data, and ways to change what it sees."""

    clock: StillClock

    @property
    def probe(self) -> HealthProbe: ...
    def be(self, metric: str, *, healthy: bool) -> None: ...


class OverHttp:
    def __init__(self) -> None:
        self.clock = StillClock()
        self.broken: set[str] = set()
        self.server = WireServer(self._answer)
        url = self.server.url
        checks = health(*(endpoint(f"{url}/{name}" if name != "unknown" else None, name) for name in METRICS))
        self._probing = probing(checks, clock=self.clock)
        self.probe: HealthProbe = self._probing.__enter__()

    def be(self, metric: str, *, healthy: bool) -> None:
        (self.broken.discard if healthy else self.broken.add)(metric)

    def _answer(self, request: Request) -> Answer:
        return json_answer({}, 503 if request.path.strip("/") in self.broken else 200)

    def close(self) -> None:
        self._probing.__exit__(None, None, None)
        self.server.stop()


class Scripted:
    def __init__(self) -> None:
        self.clock = StillClock()
        self._memory = MemoryHealthProbe(
            {name: None if name == "unknown" else 0.0 for name in METRICS}, clock=self.clock
        )
        self.probe: HealthProbe = self._memory

    def be(self, metric: str, *, healthy: bool) -> None:
        self._memory.say(metric, 0.0 if healthy else 1.0)

    def close(self) -> None:
        self.probe.close()


@pytest.fixture(params=[OverHttp, Scripted])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    made = request.param()
    yield made
    made.close()


def harms(subject: Subject) -> list[float | None]:
    return [each.harm for each in subject.probe.measure()]


def test_a_round_measures_every_metric_once_and_in_order(subject: Subject) -> None:
    assert subject.probe.metrics == METRICS
    for _ in range(3):
        assert tuple(each.metric for each in subject.probe.measure()) == METRICS


def test_health_is_zero_harm_is_above_it_and_missing_is_none(subject: Subject) -> None:
    assert harms(subject) == [0.0, 0.0, None]
    subject.be("threads", healthy=False)
    assert harms(subject) == [0.0, 1.0, None]


def test_the_next_round_sees_a_change(subject: Subject) -> None:
    for healthy in (False, True, False):
        subject.be("folders", healthy=healthy)
        assert harms(subject)[0] == (0.0 if healthy else 1.0)


def test_a_measurement_bears_the_time_of_its_round(subject: Subject) -> None:
    first = subject.probe.measure()
    subject.clock.passed += 30
    second = subject.probe.measure()
    assert {each.at for each in first} == {StillClock().now()}
    assert {each.at for each in second} == {StillClock().now() + timedelta(seconds=30)}
    assert first[0].at.utcoffset() == timedelta(0)


def test_a_measurement_says_why_in_a_few_words(subject: Subject) -> None:
    subject.be("threads", healthy=False)
    for each in subject.probe.measure():
        assert 0 < len(each.detail) <= 200
        assert "\n" not in each.detail


def test_only_what_was_answered_has_a_latency(subject: Subject) -> None:
    subject.be("threads", healthy=False)
    answered = [each.latency_seconds is not None and each.latency_seconds >= 0 for each in subject.probe.measure()]
    assert answered == [True, True, False]


def test_rounds_may_be_asked_for_from_several_threads(subject: Subject) -> None:
    def one_round(_: int) -> list[Measurement]:
        return list(subject.probe.measure())

    with ThreadPoolExecutor(4) as threads:
        rounds = list(threads.map(one_round, range(20)))
    assert [[each.harm for each in found] for found in rounds] == [[0.0, 0.0, None]] * 20


def test_after_closing_everything_is_missing_and_nothing_raises(subject: Subject) -> None:
    subject.probe.close()
    subject.probe.close()
    assert harms(subject) == [None, None, None]
    assert tuple(each.metric for each in subject.probe.measure()) == METRICS


def test_a_probe_may_be_closed_before_it_was_asked(subject: Subject) -> None:
    subject.probe.close()
    assert set(harms(subject)) == {None}


def test_a_probe_without_metrics_measures_nothing() -> None:
    with probing(health()) as over_http:
        assert (over_http.metrics, list(over_http.measure())) == ((), [])
    scripted = MemoryHealthProbe({}, clock=StillClock())
    assert (scripted.metrics, list(scripted.measure())) == ((), [])


# -- probes of windows -------------------------------------------------------------------------------------------------


def over_windows(kind: str, clock: StillClock) -> tuple[HealthProbe, Callable[[], None]]:
    """A probe of one metric that is healthy, and what ends its stand-in."""
    if kind == "scripted":
        length, delay = timedelta(minutes=1), timedelta(0)
        rule = Rule("web-errors", 20, 100)
        return WindowedHealthProbe(ScriptedSource(), rule, length=length, delay=delay, clock=clock), lambda: None
    if kind == "command":
        source = {"kind": "command", "name": "web-errors", "argv": [sys.executable, "-c", ""], "window": "1m"}
        return probe_of(metrics_section({**source, "counts_from": 0}), clock=clock, environ=ENVIRON), lambda: None
    api = MetricsApi()
    if kind == "datadog_monitor":
        source = {"kind": kind, "name": "web-errors", "url": api.url, "monitor": "1", "window": "1m", "delay": "0s"}
        return probe_of(metrics_section({**source, "counts_from": 0}), clock=clock, environ=ENVIRON), api.stop
    return probe_of(metrics_section(counted(kind, api.url)), clock=clock, environ=ENVIRON), api.stop


@pytest.fixture(params=["scripted", "datadog_metrics", "prometheus", "datadog_monitor", "command"])
def windowed(request: pytest.FixtureRequest) -> Iterator[tuple[HealthProbe, StillClock]]:
    clock = StillClock()
    probe, stop = over_windows(request.param, clock)
    yield probe, clock
    probe.close()
    stop()


def test_windows_are_counted_in_order_without_overlap_and_each_once(windowed: tuple[HealthProbe, StillClock]) -> None:
    probe, clock = windowed
    began = clock.now()
    found = []
    for _ in range(12):
        found += [one for one in probe.measure() if one.total and one.begins is not None and one.begins >= began]
        clock.passed += 30
    bounds = [(one.begins, one.ends) for one in found]
    assert len(bounds) >= 3
    assert all(earlier[1] == later[0] for earlier, later in pairwise(bounds))


def test_counts_and_share_belong_together(windowed: tuple[HealthProbe, StillClock]) -> None:
    probe, clock = windowed
    for _ in range(8):
        for one in probe.measure():
            assert (one.harm is None) == (one.total is None) == (one.bad is None)
            assert not (one.waiting and one.harm is not None)
            if one.harm is not None:
                assert one.counts == (0, one.total)
                assert one.ends is not None
                assert one.ends <= one.at
        clock.passed += 30


def test_a_round_tells_every_metric_once_while_waiting_and_after_closing(
    windowed: tuple[HealthProbe, StillClock],
) -> None:
    probe, clock = windowed
    for _ in range(4):
        assert [one.metric for one in probe.measure()] == ["web-errors"] == list(probe.metrics)
        clock.passed += 1
    probe.close()
    probe.close()
    assert [(one.metric, one.harm, one.waiting) for one in probe.measure()] == [("web-errors", None, False)]
