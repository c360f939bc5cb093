"""The contract of `AlertPoller`, passed by each poller over HTTP and by the stand-in in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollback.alert_ports import Cycle
from rollback.core.alerts import Edge, ReadingKind
from rollback.errors import StoreRefused, StoreUnreachable
from tests.alert_pollers.benches import (
    AlertmanagerBench,
    AppDynamicsBench,
    Bench,
    DatadogBench,
    MemoryBench,
    PrometheusBench,
    alerts,
    edges,
)

BENCHES = [DatadogBench, AppDynamicsBench, AlertmanagerBench, PrometheusBench, MemoryBench]


@pytest.fixture(params=BENCHES, ids=lambda bench: str(bench.__name__).removesuffix("Bench").lower())
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made: Bench = request.param()
    yield made
    made.close()


def test_nothing_fires_and_nothing_is_told(bench: Bench) -> None:
    assert bench.poll() == []


def test_what_fires_is_told_with_its_time_and_source(bench: Bench) -> None:
    bench.fire("101")
    (reading,) = bench.poll()
    (alert,) = reading.alerts
    assert reading.kind is ReadingKind.ALERTS
    assert (alert.source, alert.monitor, alert.edge) == ("watch", "101", Edge.FIRED)
    assert alert.occurred_at is not None
    assert abs((bench.clock.now() - alert.occurred_at).total_seconds() - 30) < 1
    assert alert.cycle
    assert reading.key


def test_a_second_poll_of_the_same_state_is_the_same_delivery(bench: Bench) -> None:
    bench.fire("101")
    bench.fire("102")
    first = bench.poll()
    second = bench.poll()
    assert [reading.key for reading in second] == [reading.key for reading in first]
    assert alerts(second) == alerts(first)


def test_each_monitor_has_a_reading_of_its_own(bench: Bench) -> None:
    bench.fire("101")
    alone = {reading.key for reading in bench.poll()}
    bench.fire("102")
    both = bench.poll()
    assert [len(reading.alerts) for reading in both] == [1, 1]
    assert alone < {reading.key for reading in both}, "the first monitor's delivery must not change with the second"


def test_the_end_of_what_was_seen_firing_is_told(bench: Bench) -> None:
    bench.fire("101")
    bench.fire("102")
    (fired, other) = alerts(bench.poll())
    bench.resolve("101")
    told = alerts(bench.poll())
    assert [(one.monitor, one.edge) for one in told] == [("101", Edge.RECOVERED), ("102", Edge.FIRED)]
    assert told[0].cycle == fired.cycle
    assert told[0].occurred_at is not None
    assert fired.occurred_at is not None
    assert told[0].occurred_at > fired.occurred_at, "the end must be later than the beginning, or it would not end it"
    assert told[1] == other


def test_an_end_that_may_not_have_been_kept_is_told_again_as_the_same_delivery(bench: Bench) -> None:
    bench.fire("101")
    bench.poll()
    bench.resolve("101")
    first, second = bench.poll(), bench.poll()
    assert edges(first) == [("101", Edge.RECOVERED)]
    assert [one.key for one in second] == [one.key for one in first]
    assert bench.poll(later=3600) == []


def test_a_recovery_of_what_no_poll_saw_firing_is_never_told(bench: Bench) -> None:
    bench.fire("101")
    bench.resolve("101")
    assert Edge.RECOVERED not in [edge for _, edge in edges(bench.poll())]
    assert Edge.FIRED not in [edge for _, edge in edges(bench.poll())], "it is history for this process"


def test_the_next_trigger_is_another_cycle(bench: Bench) -> None:
    bench.fire("101")
    (first,) = alerts(bench.poll())
    bench.resolve("101")
    bench.poll()
    bench.clock.passed += 300
    bench.fire("101")
    fired = [one for one in alerts(bench.poll()) if one.edge is Edge.FIRED]
    assert [one.monitor for one in fired] == ["101"]
    assert fired[0].cycle != first.cycle


@pytest.mark.parametrize("firing", [False, True])
def test_what_is_muted_neither_fires_nor_recovers(bench: Bench, firing: bool) -> None:
    bench.fire("101")
    if firing:
        bench.poll()
    bench.mute("101")
    told = edges(bench.poll())
    assert Edge.FIRED not in [edge for _, edge in told]
    assert Edge.RECOVERED not in [edge for _, edge in told]
    if firing:
        assert told == [("101", Edge.UNCLEAR)]


def test_a_system_that_is_down_is_an_error_and_forgets_nothing(bench: Bench) -> None:
    bench.fire("101")
    before = bench.poll()
    bench.fail()
    for _ in range(3):
        with pytest.raises(StoreUnreachable):
            bench.poll()
        with pytest.raises(StoreUnreachable):
            bench.poller.monitors(["101"], bench.clock.now())
    bench.work()
    assert [one.key for one in bench.poll()] == [one.key for one in before]
    bench.resolve("101")
    assert edges(bench.poll()) == [("101", Edge.RECOVERED)]


def test_a_new_process_that_is_told_what_fired_still_sees_it_firing(bench: Bench) -> None:
    bench.fire("101")
    (fired,) = alerts(bench.poll())
    bench.poller.close()
    bench.poller = bench.made()
    bench.poller.remember([Cycle("watch", fired.monitor, fired.cycle, fired.occurred_at)])
    assert alerts(bench.poll()) == [fired]
    bench.resolve("101")
    told = edges(bench.poll())
    assert told == [("101", Edge.RECOVERED)]


def test_cycles_of_other_sources_and_those_that_are_over_are_not_remembered(bench: Bench) -> None:
    now = bench.clock.now()
    bench.poller.remember([Cycle("elsewhere", "101", "101|*|1", now), Cycle("watch", "101", "101|*|2", now, now)])
    assert bench.poll() == []


def test_monitors_are_described_and_those_that_do_not_exist_are_left_out(bench: Bench) -> None:
    bench.fire("101")
    firing, *others = bench.poller.monitors(["101", "101", "999999"], bench.clock.now())
    assert (firing.monitor, firing.state) == ("101", "alert")
    assert firing.name
    assert [one.edge for one in firing.alerts] == [Edge.FIRED]
    assert [one.state for one in others] == ([] if bench.WELL == "ok" else ["unknown"])


def test_a_monitor_that_does_not_fire_is_described(bench: Bench) -> None:
    bench.fire("102")
    bench.resolve("102")
    (state,) = bench.poller.monitors(["102"], bench.clock.now())
    assert state.state == bench.WELL
    assert bool(state.why) == (bench.WELL == "unknown")


def test_what_is_muted_is_unknown_and_says_why(bench: Bench) -> None:
    bench.fire("101")
    bench.mute("101")
    (state,) = bench.poller.monitors(["101"], bench.clock.now())
    assert state.state == "unknown"
    assert state.why


def test_describing_changes_nothing_about_what_is_told(bench: Bench) -> None:
    bench.fire("101")
    bench.poller.monitors(["101"], bench.clock.now())
    bench.resolve("101")
    assert Edge.RECOVERED not in [edge for _, edge in edges(bench.poll())], "no poll saw it firing"


def test_after_closing_nothing_is_asked(bench: Bench) -> None:
    bench.poll()
    bench.poller.close()
    bench.poller.close()
    if not isinstance(bench, MemoryBench):
        asked = len(bench.api.log.all())
        with pytest.raises((StoreUnreachable, StoreRefused)):
            bench.poll()
        assert len(bench.api.log.all()) == asked
