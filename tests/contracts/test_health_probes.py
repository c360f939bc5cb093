"""The contract of `HealthProbe`, passed by the probe over HTTP and by the scripted stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Protocol

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.ports import HealthProbe, Measurement
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer
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
