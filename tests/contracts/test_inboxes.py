"""The contract of `Inbox`, passed by the one in the state database and by the stand-in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.adapters.inboxes.memory import MemoryInbox
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Cycle, Inbox, Unkeepable
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.inboxes.deliveries import NOON, a_delivery, an_alert, few_alerts, keys, minute

DAY = timedelta(days=1)
AnyInbox = MemoryInbox | SqliteInbox


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def new_inbox(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[[], AnyInbox]]:
    """Makes an empty inbox at each call."""
    made: list[AnyInbox] = []

    def make() -> AnyInbox:
        path = tmp_path / f"{len(made)}.db"
        made.append(MemoryInbox(now=clock.now) if request.param == "memory" else SqliteInbox(path, now=clock.now))
        return made[-1]

    yield make
    for inbox in made:
        inbox.close()
        inbox.close()


@pytest.fixture
def inbox(new_inbox: Callable[[], AnyInbox]) -> AnyInbox:
    return new_inbox()


def numbers(inbox: Inbox) -> list[int]:
    return [kept.number for kept in inbox.pending(1000)]


def test_it_is_an_inbox(inbox: AnyInbox) -> None:
    used_as_port: Inbox = inbox
    assert (used_as_port.pending(10), used_as_port.firing(), used_as_port.recent(10)) == ([], [], [])
    assert (used_as_port.put([]), used_as_port.see([]), used_as_port.counts()) == ([], [], {})


def test_deliveries_wait_in_the_order_in_which_they_came(inbox: AnyInbox) -> None:
    first = inbox.put([a_delivery(3), a_delivery(1)])
    second = inbox.put([a_delivery(2, kind=ReadingKind.UNKNOWN, alerts=(), why="no JSON", excerpt="<html>")])
    waiting = inbox.pending(10)
    assert waiting == [*first, *second]
    assert keys(waiting) == ["k3", "k1", "k2"]
    assert [kept.number for kept in waiting] == sorted(kept.number for kept in waiting)
    assert (waiting[2].why, waiting[2].excerpt, waiting[2].attempts) == ("no JSON", "<html>", 0)
    assert keys(inbox.pending(2)) == ["k3", "k1"]
    assert inbox.pending(0) == inbox.pending(-1) == []


def test_a_message_that_is_sent_again_is_kept_once_and_counted(inbox: AnyInbox) -> None:
    assert keys(inbox.put([a_delivery(1), a_delivery(1)])) == ["k1", None]
    assert keys(inbox.put([a_delivery(1, alerts=()), a_delivery(1, source="pagerduty"), a_delivery(2)])) == [
        None,
        "k1",
        "k2",
    ]
    assert inbox.counts() == {"duplicate:datadog": 2}
    assert inbox.pending(10)[0].alerts == (an_alert(),)
    assert len(inbox.pending(10)) == 3


def test_a_message_that_is_sent_again_after_it_ended_stays_ended(inbox: AnyInbox) -> None:
    (one,) = inbox.put([a_delivery(1)])
    assert one is not None
    inbox.settle({one.number: "turned off"}, minute(1))
    assert inbox.put([a_delivery(1)]) == [None]
    assert inbox.pending(10) == []


def test_one_bad_delivery_in_a_batch_keeps_nothing_of_it_and_is_named(inbox: AnyInbox) -> None:
    naive = a_delivery(2, received_at=datetime(2026, 11, 23, 12, 0))  # noqa: DTZ001
    with pytest.raises(Unkeepable, match="received_at") as caught:
        inbox.put([a_delivery(1), naive, a_delivery(3, alerts=(an_alert(tags=["list"]),))])
    assert caught.value.positions == (1, 2)
    assert (inbox.pending(10), inbox.counts()) == ([], {})
    assert keys(inbox.put([a_delivery(1), a_delivery(3)])) == ["k1", "k3"]


def test_an_attempt_is_counted_before_the_work_and_only_while_it_waits(inbox: AnyInbox) -> None:
    inbox.put([a_delivery(1), a_delivery(2)])
    first, second = numbers(inbox)
    assert [inbox.begin(first), inbox.begin(first), inbox.begin(second)] == [1, 2, 1]
    assert [kept.attempts for kept in inbox.pending(10)] == [2, 1]
    inbox.settle({first: "done"}, minute(1))
    assert inbox.begin(first) == 0
    assert inbox.begin(999) == 0
    assert [kept.attempts for kept, _ in inbox.recent(10)] == [1, 2]


def test_what_ended_stays_as_it_ended(inbox: AnyInbox) -> None:
    inbox.put([a_delivery(number) for number in range(4)])
    first, second, third, fourth = numbers(inbox)
    inbox.settle({first: "turned off", third: "no rule matches"}, minute(1))
    inbox.set_aside(second, "its rule failed: ValueError", minute(2))
    for number in (first, second, third):
        inbox.settle({number: "something else"}, minute(9))
        inbox.set_aside(number, "something else", minute(9))
    inbox.settle({999: "unknown"}, minute(9))
    inbox.settle({}, minute(9))
    assert numbers(inbox) == [fourth]
    assert [(kept.key, words) for kept, words in inbox.recent(10)] == [
        ("k3", ""),
        ("k2", "no rule matches"),
        ("k1", "set aside: its rule failed: ValueError"),
        ("k0", "turned off"),
    ]
    assert [kept.key for kept, _ in inbox.recent(2)] == ["k3", "k2"]
    assert inbox.recent(0) == []


def test_what_an_exception_quotes_is_redacted_before_it_is_kept(inbox: AnyInbox) -> None:
    (kept,) = inbox.put([a_delivery(1)])
    assert kept is not None
    inbox.set_aside(kept.number, "ValueError: password=hunter2 of veteran@example.org", minute(1))
    ((_, words),) = inbox.recent(1)
    assert "hunter2" not in words
    assert "veteran" not in words


def test_a_cycle_fires_until_it_recovers_by_the_senders_time(inbox: AnyInbox) -> None:
    (cycle,) = inbox.see([an_alert(Edge.FIRED, minute(0))])
    assert cycle == Cycle("datadog", "4711", "c1", fired_at=minute(0))
    assert inbox.firing() == [cycle]
    (cycle,) = inbox.see([an_alert(Edge.RECOVERED, minute(5))])
    assert cycle == Cycle("datadog", "4711", "c1", minute(0), minute(5))
    assert inbox.firing() == []
    inbox.see([an_alert(Edge.REPEATED, minute(3))])  # late, and it changes nothing
    assert inbox.firing() == []
    (cycle,) = inbox.see([an_alert(Edge.REPEATED, minute(6))])
    assert cycle.is_firing
    assert inbox.firing() == [cycle]


def test_a_recovery_that_comes_before_its_alert_ends_it_all_the_same(inbox: AnyInbox) -> None:
    inbox.see([an_alert(Edge.RECOVERED, minute(5))])
    (cycle,) = inbox.see([an_alert(Edge.FIRED, minute(0))])
    assert not cycle.is_firing
    assert inbox.firing() == []


def test_unclear_edges_change_nothing(inbox: AnyInbox) -> None:
    assert inbox.see([an_alert(Edge.UNCLEAR, minute(9))]) == [Cycle("datadog", "4711", "c1")]
    inbox.see([an_alert(Edge.FIRED, minute(0))])
    assert inbox.see([an_alert(Edge.UNCLEAR, minute(9))]) == [Cycle("datadog", "4711", "c1", minute(0))]
    assert len(inbox.firing()) == 1


def test_an_edge_without_a_time_weighs_less_than_any_with_one(inbox: AnyInbox) -> None:
    (cycle,) = inbox.see([an_alert(Edge.FIRED, None)])
    assert cycle.is_firing
    (cycle,) = inbox.see([an_alert(Edge.RECOVERED, None)])
    assert not cycle.is_firing
    (cycle,) = inbox.see([an_alert(Edge.FIRED, minute(0))])
    (cycle,) = inbox.see([an_alert(Edge.RECOVERED, None)])
    assert cycle.is_firing


def test_cycles_differ_by_source_monitor_and_name(inbox: AnyInbox) -> None:
    alerts = [an_alert(), an_alert(source="pagerduty"), an_alert(monitor="1"), an_alert(cycle="c2"), an_alert()]
    cycles = inbox.see(alerts)
    assert [(each.source, each.monitor, each.cycle) for each in cycles] == [
        (alert.source, alert.monitor, alert.cycle) for alert in alerts
    ]
    assert len(inbox.firing()) == 4
    assert inbox.firing() == sorted(inbox.firing(), key=lambda each: (each.source, each.monitor, each.cycle))


def test_a_cycle_stays_decided_through_all_that_follows(inbox: AnyInbox) -> None:
    seen = inbox.see([an_alert()])
    assert not seen[0].decided
    inbox.decided("sm", [(seen[0], 2)])
    inbox.decided("sm", [(seen[0], 0)])
    inbox.decided("sm", [])
    for edge, at in ((Edge.RECOVERED, 5), (Edge.FIRED, 9)):
        (cycle,) = inbox.see([an_alert(edge, minute(at))])
        assert cycle.decided_rank("sm") == 2, "the worst stays"
        assert cycle.decided_rank("another feature") == -1
    assert inbox.see([an_alert(Edge.UNCLEAR, minute(10))])[0] == Cycle(
        "datadog", "4711", "c1", minute(9), minute(5), decided=(("sm", 2),)
    )


def test_a_decision_on_a_cycle_that_nobody_saw_is_kept(inbox: AnyInbox) -> None:
    inbox.decided("sm", [(Cycle("datadog", "4711", "c1", fired_at=minute(0)), 1)])
    assert inbox.firing() == []
    (cycle,) = inbox.see([an_alert(Edge.FIRED, minute(1))])
    assert cycle == Cycle("datadog", "4711", "c1", fired_at=minute(1), decided=(("sm", 1),))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(alerts=st.lists(few_alerts, max_size=8), again=st.lists(st.integers(0, 7), max_size=6), seed=st.integers(0, 99))
def test_any_order_and_any_repetition_of_edges_ends_in_the_same_cycles(
    new_inbox: Callable[[], AnyInbox], alerts: list[Alert], again: list[int], seed: int
) -> None:
    one_by_one, at_once, shuffled = new_inbox(), new_inbox(), new_inbox()
    for alert in alerts:
        one_by_one.see([alert])
    assert at_once.see(alerts) == one_by_one.see(alerts)
    mixed = alerts + [alerts[index % len(alerts)] for index in again if alerts]
    random.Random(seed).shuffle(mixed)
    for alert in mixed:
        shuffled.see([alert])
    assert shuffled.see(alerts) == at_once.see(alerts)
    assert one_by_one.firing() == at_once.firing() == shuffled.firing()


def test_no_more_features_are_turned_off_in_a_window_than_allowed(inbox: AnyInbox) -> None:
    assert inbox.reserve_off("a", minute(0), minute(-60), 2)
    assert inbox.reserve_off("b", minute(1), minute(-59), 2)
    assert not inbox.reserve_off("c", minute(2), minute(-58), 2)
    assert inbox.reserve_off("a", minute(3), minute(-57), 2)  # it has its place
    assert inbox.reserve_off("b", minute(3), minute(-57), 0)
    assert not inbox.reserve_off("c", minute(3), minute(-57), 2)
    assert not inbox.reserve_off("d", minute(500), minute(440), 0)


def test_a_place_is_free_again_when_its_latest_use_is_out_of_the_window(inbox: AnyInbox) -> None:
    assert inbox.reserve_off("a", minute(0), minute(-60), 1)
    assert inbox.reserve_off("a", minute(30), minute(-30), 1)
    assert not inbox.reserve_off("b", minute(70), minute(10), 1)
    assert not inbox.reserve_off("b", minute(90), minute(30), 1)  # the window's first moment belongs to it
    assert inbox.reserve_off("b", minute(91), minute(31), 1)


def test_a_place_that_a_clock_took_that_was_ahead_lasts_no_longer_than_any_other(inbox: AnyInbox) -> None:
    assert inbox.reserve_off("a", minute(500), minute(440), 1)
    assert not inbox.reserve_off("b", minute(0), minute(-60), 1)
    assert inbox.reserve_off("b", minute(61), minute(1), 1)


def test_counters_add_up(inbox: AnyInbox) -> None:
    inbox.count("refused:datadog")
    inbox.count("refused:datadog", 4)
    inbox.count("überlauf", 2)
    assert inbox.counts() == {"refused:datadog": 5, "überlauf": 2}
    inbox.put([a_delivery(1), a_delivery(1)])
    assert inbox.counts() == {"duplicate:datadog": 1, "refused:datadog": 5, "überlauf": 2}


def test_forgetting_takes_what_ended_and_never_what_waits_or_fires(inbox: AnyInbox, clock: Clock) -> None:
    inbox.put([a_delivery(number) for number in range(3)])
    first, second, third = numbers(inbox)
    inbox.see([an_alert(cycle="firing"), an_alert(cycle="over"), an_alert(Edge.RECOVERED, minute(1), "over")])
    inbox.settle({first: "done", second: "done"}, NOON + DAY)
    clock.at = NOON + 100 * DAY
    assert inbox.forget(NOON + DAY) == 0
    assert inbox.forget(NOON + 99 * DAY) == 2
    assert inbox.forget(NOON + 99 * DAY) == 0
    assert numbers(inbox) == [third]
    assert [kept.number for kept, _ in inbox.recent(10)] == [third]
    assert [each.cycle for each in inbox.firing()] == ["firing"]
    assert inbox.see([an_alert(Edge.UNCLEAR, None, "over")]) == [Cycle("datadog", "4711", "over")]
    assert keys(inbox.put([a_delivery(2), a_delivery(0)])) == [None, "k0"]
    inbox.put([a_delivery(3)])
    assert len(set(numbers(inbox))) == 3


def test_for_seven_days_a_forgotten_message_that_is_sent_again_is_still_known(inbox: AnyInbox, clock: Clock) -> None:
    inbox.put([a_delivery(1)])
    seen = inbox.see([an_alert(), an_alert(Edge.RECOVERED, minute(1))])
    inbox.decided("sm", [(cycle, 2) for cycle in seen])
    assert inbox.reserve_off("sm", minute(0), minute(-60), 1)
    inbox.settle({numbers(inbox)[0]: "done"}, minute(1))
    clock.at = NOON + 6 * DAY
    assert inbox.forget(clock.at) == 1
    assert inbox.recent(10) == []
    assert inbox.put([a_delivery(1)]) == [None]
    assert inbox.see([an_alert()])[0].decided
    assert not inbox.reserve_off("another", minute(9), minute(-51), 1)
    clock.at = NOON + 8 * DAY
    inbox.forget(clock.at)
    assert keys(inbox.put([a_delivery(1)])) == ["k1"]


def test_numbers_are_never_used_again(inbox: AnyInbox, clock: Clock) -> None:
    inbox.put([a_delivery(1)])
    (number,) = numbers(inbox)
    inbox.settle({number: "done"}, minute(1))
    clock.at = NOON + 100 * DAY
    inbox.forget(clock.at)
    inbox.put([a_delivery(2)])
    assert numbers(inbox) > [number]


def test_of_many_threads_that_put_the_same_messages_each_is_kept_once(inbox: AnyInbox) -> None:
    batches = [[a_delivery(number) for number in range(start, start + 10)] for start in range(10)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(inbox.put, batches * 3))
    kept = [each for answer in answers for each in answer if each is not None]
    assert sorted(each.key for each in kept) == sorted(f"k{number}" for number in range(19))
    assert sorted(each.number for each in kept) == numbers(inbox)
    assert inbox.counts() == {"duplicate:datadog": 300 - 19}


def test_of_many_threads_that_want_the_last_places_only_so_many_get_one(inbox: AnyInbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda n: inbox.reserve_off(f"f{n}", minute(0), minute(-60), 3), range(24)))
    assert sum(got) == 3
