"""What a desk makes of alerts: each acted on at most once, each explained, and nothing forgotten while it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.adapters.inboxes.memory import MemoryInbox
from rollback.alert_ports import Cycle
from rollback.core.alerts import Alert, Edge
from rollback.core.model import State
from rollback.core.verdicts import Action, Hold, Urgency
from rollback.errors import HistoryUnwritable
from rollback.restraint import Restraints
from tests.alerting.desks import CRITICAL, HIGH, LOW, WEAK, Bench

SOON = timedelta(hours=1)


def test_a_critical_alert_turns_off_once_and_is_attached() -> None:
    bench = Bench()
    assert bench.deliver(bench.alert()) == [Action.TURN_OFF]
    assert bench.doing.acts == [Action.TURN_OFF]
    assert len(bench.doing.attached) == 1
    assert bench.ended[0][1].startswith("turn_off: ")


def test_the_same_cycle_again_attaches_and_turns_nothing_off() -> None:
    bench = Bench()
    bench.deliver(bench.alert())
    assert bench.deliver(bench.alert(), bench.alert(Edge.REPEATED)) == [Action.ATTACH, Action.ATTACH]
    assert bench.doing.acts == [Action.TURN_OFF]


def test_others_give_way_while_it_acts_and_not_while_it_only_decides() -> None:
    bench = Bench()
    bench.deliver(bench.alert())
    bench.deliver(bench.alert(Edge.REPEATED))
    assert bench.doing.went_first == [True]
    assert bench.doing.way.free()[1] == 0.0


def test_twice_in_one_batch_is_once() -> None:
    bench = Bench()
    assert bench.deliver(bench.alert(), bench.alert()) == [Action.TURN_OFF, Action.ATTACH]


def test_a_recovery_is_attached_and_flips_nothing() -> None:
    bench = Bench()
    bench.deliver(bench.alert())
    bench.clock.sleep(60)
    assert bench.deliver(bench.alert(Edge.RECOVERED)) == [Action.RECOVER]
    assert bench.doing.recovered == bench.doing.attached
    assert bench.doing.acts == [Action.TURN_OFF]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_order_of_arrival_does_not_matter(order: tuple[int, ...]) -> None:
    bench = Bench()
    told = [
        bench.alert(ago=60),
        bench.alert(Edge.REPEATED, ago=30),
        bench.alert(Edge.RECOVERED, ago=10),
    ]
    for index in order:
        bench.deliver(told[index])
    assert bench.doing.acts == [Action.TURN_OFF], "it fired, whatever came first"


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["fired", "repeated", "recovered", "unclear"]), min_size=1, max_size=12), st.data())
def test_no_order_and_no_repetition_of_one_cycle_turns_off_twice(edges: list[str], data: st.DataObject) -> None:
    bench = Bench()
    for number, edge in enumerate(edges):
        bench.deliver(bench.alert(Edge(edge), ago=float(100 - number)))
        if data.draw(st.booleans()):
            bench.deliver(bench.alert(Edge(edge), ago=float(100 - number)))
    assert len(bench.doing.acts) <= 1
    assert set(bench.doing.acts) <= {Action.TURN_OFF}


def test_a_new_cycle_while_it_is_on_its_way_back_turns_it_off_again() -> None:
    bench = Bench()
    bench.deliver(bench.alert())
    for state in (State.RAMPING, State.MONITORING):
        assert bench.doing.incident is not None
        bench.doing.incident = bench.doing.incident.__class__(
            "case-1", "secure-messaging", bench.doing.incident.severity, state, bench.clock.now(), bench.clock.now()
        )
        assert bench.deliver(bench.alert(Edge.REPEATED)) == [Action.ATTACH], "a reminder of what is known"
        assert bench.deliver(bench.alert(cycle=f"while-{state}")) == [Action.TURN_OFF]


def test_what_is_too_old_is_told_and_not_acted_on() -> None:
    bench = Bench()
    assert bench.deliver(bench.alert(ago=3600)) == [Action.TELL]
    assert bench.doing.acts == []
    assert bench.doing.notices[0].tell.value == "call"


def test_an_alert_without_a_time_is_told_and_not_acted_on() -> None:
    bench = Bench()
    alert = bench.alert()
    assert bench.deliver(type(alert)(alert.source, alert.monitor, alert.cycle, alert.edge, None)) == [Action.TELL]
    assert bench.doing.acts == []


def test_high_reduces_and_low_touches_nothing() -> None:
    bench = Bench()
    assert bench.deliver(bench.alert(rule=LOW)) == [Action.OPEN_LOW]
    assert bench.deliver(bench.alert(rule=HIGH)) == [Action.REDUCE]
    assert bench.deliver(bench.alert(rule=CRITICAL)) == [Action.TURN_OFF]


def test_with_automation_off_everything_is_told_and_nothing_done() -> None:
    bench = Bench(auto=False)
    assert bench.deliver(bench.alert()) == [Action.SUPPRESS]
    assert bench.doing.acts == []
    assert bench.doing.notices


def test_one_alert_that_concerns_two_features_is_decided_by_each() -> None:
    inbox = MemoryInbox()
    one, other = (Bench(CRITICAL, inbox=inbox, feature=feature) for feature in ("one", "other"))
    alert = one.alert()
    assert one.deliver(alert) == [Action.TURN_OFF]
    assert other.deliver(alert) == [Action.TURN_OFF]


def test_a_cycle_that_becomes_worse_is_acted_on_although_it_was_decided_as_a_milder_one() -> None:
    """PagerDuty tells of a raised priority as an update of the same incident."""
    mild = LOW.model_copy(update={"monitors": CRITICAL.monitors})
    grave = CRITICAL.model_copy(update={"priorities": ("P1",)})
    bench = Bench(mild, grave)
    assert bench.deliver(bench.alert()) == [Action.OPEN_LOW]
    assert bench.deliver(replace(bench.alert(), priority="P1")) == [Action.TURN_OFF]
    assert bench.deliver(replace(bench.alert(), priority="P1")) == [Action.ATTACH]


def test_a_recovery_without_tags_and_priority_is_still_heard() -> None:
    grave = CRITICAL.model_copy(update={"priorities": ("P1",), "tags": ("env:prod",)})
    bench = Bench(grave)
    bench.deliver(replace(bench.alert(), priority="P1", tags=("env:prod",)))
    assert bench.deliver(bench.alert(Edge.RECOVERED, ago=0)) == [Action.RECOVER]


# -- holds and mutes ------------------------------------------------------------------------------------------------


def test_a_hold_is_told_and_at_its_end_what_still_fires_is_acted_on() -> None:
    bench = Bench()
    bench.restraints = Restraints({"secure-messaging": Hold(bench.clock.now() + SOON, "all alerts, by alice")})
    assert bench.deliver(bench.alert()) == [Action.SUPPRESS]
    assert bench.ended == [], "it waits, here and in the inbox"
    assert bench.later(60) == []
    assert bench.later(3600) == [Action.TURN_OFF]
    assert bench.doing.acts == [Action.TURN_OFF]


def test_a_hold_that_is_released_is_over_at_once() -> None:
    bench = Bench()
    bench.restraints = Restraints({"secure-messaging": Hold(bench.clock.now() + SOON, "all alerts, by alice")})
    bench.deliver(bench.alert(cycle="c1"), bench.alert(cycle="c2"))
    bench.restraints = Restraints()
    bench.desk.reconsider()
    assert bench.later(1) == [Action.TURN_OFF, Action.ATTACH]
    assert bench.later(3600) == [], "each was decided once"


def test_what_recovered_during_a_hold_is_not_acted_on_at_its_end() -> None:
    bench = Bench()
    bench.restraints = Restraints({"secure-messaging": Hold(bench.clock.now() + SOON)})
    bench.deliver(bench.alert(ago=60))
    bench.deliver(bench.alert(Edge.RECOVERED, ago=0))
    assert bench.later(3601) == [Action.IGNORE]
    assert bench.doing.acts == []


def test_a_muted_source_is_told_and_others_still_count() -> None:
    bench = Bench(CRITICAL, WEAK.model_copy(update={"guard": None}))
    bench.restraints = Restraints({}, {"datadog": bench.clock.now() + SOON})
    assert bench.deliver(bench.alert()) == [Action.SUPPRESS]
    assert bench.deliver(bench.alert(rule=WEAK, cycle="w")) == [Action.TURN_OFF]


# -- guards ---------------------------------------------------------------------------------------------------------


def test_a_weak_sender_alone_turns_nothing_off_and_a_person_is_called() -> None:
    bench = Bench()
    assert bench.deliver(bench.alert(rule=WEAK)) == [Action.WAIT_FOR_GUARD]
    assert bench.later(61) == [Action.TELL]
    assert bench.doing.acts == []
    assert bench.doing.notices[-1].tell.value == "call"


def test_a_second_source_that_fires_in_time_is_enough() -> None:
    bench = Bench(WEAK, HIGH.model_copy(update={"severity": LOW.severity}))
    bench.deliver(bench.alert(rule=WEAK))
    bench.clock.sleep(20)
    assert bench.deliver(bench.alert(rule=HIGH)) == [Action.OPEN_LOW]
    assert bench.later(0) == [Action.TURN_OFF]


def test_a_second_source_that_fired_long_before_is_not_enough() -> None:
    bench = Bench(WEAK, LOW)
    bench.deliver(bench.alert(rule=LOW))
    bench.clock.sleep(120)
    assert bench.deliver(bench.alert(rule=WEAK)) == [Action.WAIT_FOR_GUARD]


def test_failing_probes_are_the_second_signal() -> None:
    bench = Bench()
    bench.deliver(bench.alert(rule=WEAK))
    assert len(bench.doing.probing) == 1
    bench.doing.probing[0]()
    assert bench.later(0) == [Action.TURN_OFF]
    assert bench.later(61) == [], "the waiting one is gone: it is not decided twice"


# -- the storm brake ------------------------------------------------------------------------------------------------


def test_of_twenty_features_at_once_as_many_go_off_as_the_policy_allows() -> None:
    inbox = MemoryInbox()
    benches = [Bench(CRITICAL, inbox=inbox, feature=f"feature-{number}") for number in range(20)]
    for number, bench in enumerate(benches):
        bench.deliver(bench.alert(cycle=f"c{number}"))
    off = [bench for bench in benches if bench.doing.acts]
    told = [bench for bench in benches if bench.doing.notices and not bench.doing.acts]
    assert (len(off), len(told)) == (3, 17)
    assert "shared cause" in told[0].doing.notices[0].why


def test_a_braked_alert_is_not_acted_on_when_it_is_repeated_later() -> None:
    inbox = MemoryInbox()
    for number in range(3):
        first = Bench(CRITICAL, inbox=inbox, feature=f"feature-{number}")
        first.deliver(first.alert(cycle=f"c{number}"))
    braked = Bench(CRITICAL, inbox=inbox, feature="feature-4")
    braked.deliver(braked.alert(cycle="c4"))
    braked.clock.sleep(1200)
    assert braked.deliver(braked.alert(Edge.REPEATED, cycle="c4")) == [Action.TELL]
    assert braked.doing.acts == []


# -- trouble --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_processed_is_tried_again_and_then_set_aside_and_told() -> None:
    bench = Bench()
    bench.doing.fails = RuntimeError("poison")
    items = bench.desk.items_of(bench.kept(bench.alert()))
    for _ in range(3):
        bench.desk.attempt(items)
        bench.clock.sleep(2)
        items = bench.desk.due() or items
    assert [words for _, words in bench.ended] == ["set aside: RuntimeError: poison"]
    assert bench.inbox.pending(10) == []
    assert bench.doing.notices[-1].tell.value == "call"


class Unwritable(MemoryInbox):
    """An inbox whose disk is full once something was kept."""

    is_full = False

    def see(self, alerts: Sequence[Alert]) -> list[Cycle]:
        if self.is_full:
            raise HistoryUnwritable("the disk is full")
        return super().see(alerts)

    def begin(self, number: int) -> int:
        if self.is_full:
            raise HistoryUnwritable("the disk is full")
        return super().begin(number)


def test_an_inbox_that_cannot_be_written_is_tried_again_without_end_and_soon_told_once() -> None:
    inbox = Unwritable()
    bench = Bench(inbox=inbox)
    items = bench.desk.items_of(bench.kept(bench.alert()))
    inbox.is_full = True
    bench.desk.attempt(items)
    for _ in range(20):
        bench.clock.sleep(1)
        bench.desk.attempt(bench.desk.due())
    (told,) = bench.doing.notices
    assert told.tell is Urgency.CALL
    assert "the disk is full. By hand: rollback disable secure-messaging" in told.why
    inbox.is_full = False
    assert bench.later(1) == [Action.TURN_OFF]


def test_one_poisonous_alert_does_not_take_the_others_with_it() -> None:
    """Another desk, another alert: what comes after it is decided all the same."""
    bench = Bench()
    bench.doing.fails = RuntimeError("poison")
    bench.desk.attempt(bench.desk.items_of(bench.kept(bench.alert(cycle="bad"))))
    bench.doing.fails = None
    assert bench.deliver(bench.alert(cycle="good")) == [Action.TURN_OFF]


def test_what_the_store_did_not_take_is_not_decided_and_is_done_once_it_answers() -> None:
    bench = Bench()
    bench.doing.out_of_reach = True
    assert bench.deliver(bench.alert(rule=HIGH)) == [Action.REDUCE]
    assert (bench.doing.acts, bench.ended) == ([], [])
    bench.doing.out_of_reach = False
    assert bench.later(16) == [Action.REDUCE]
    assert bench.doing.acts == [Action.REDUCE]
    assert len(bench.ended) == 1
