"""Cycles are a join: what is known only grows, and neither order nor repetition matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.inboxes.folding import EPOCH, cycle_of, joined
from rollback.alert_ports import Cycle
from rollback.core.alerts import Edge
from tests.inboxes.deliveries import an_alert, minute

times = st.none() | st.just(EPOCH) | st.integers(-3, 3).map(minute)
ranks = st.dictionaries(st.sampled_from(["sm", "rx"]), st.integers(0, 2)).map(lambda held: tuple(sorted(held.items())))
cycles = st.builds(Cycle, st.just("datadog"), st.just("4711"), st.just("c1"), times, times, ranks)


@given(cycles, cycles, cycles)
def test_joining_is_associative_commutative_and_idempotent(a: Cycle, b: Cycle, c: Cycle) -> None:
    assert joined(a, joined(b, c)) == joined(joined(a, b), c)
    assert joined(a, b) == joined(b, a)
    assert joined(a, a) == a
    assert joined(a, Cycle("datadog", "4711", "c1")) == a


@given(cycles, cycles)
def test_nothing_known_is_ever_lost(a: Cycle, b: Cycle) -> None:
    both = joined(a, b)
    for feature in ("sm", "rx"):
        assert both.decided_rank(feature) == max(a.decided_rank(feature), b.decided_rank(feature))
    for name in ("fired_at", "recovered_at"):
        known = [at for at in (getattr(a, name), getattr(b, name)) if at is not None]
        assert getattr(both, name) == max(known, default=None)


def test_what_each_edge_tells() -> None:
    known = {edge: cycle_of(an_alert(edge, minute(1))) for edge in Edge}
    assert {edge: (cycle.fired_at, cycle.recovered_at) for edge, cycle in known.items()} == {
        Edge.FIRED: (minute(1), None),
        Edge.REPEATED: (minute(1), None),
        Edge.RECOVERED: (None, minute(1)),
        Edge.UNCLEAR: (None, None),
    }
    assert not any(cycle.decided for cycle in known.values())


def test_an_edge_without_a_time_counts_as_one_of_1970() -> None:
    assert cycle_of(an_alert(Edge.FIRED, None)).fired_at == EPOCH
    assert cycle_of(an_alert(Edge.RECOVERED, None)).recovered_at == EPOCH
