"""Whatever a system answers: an error of the port, or readings, and never a recovery of what was not seen firing."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.adapters.alert_pollers.reading import of_monitors
from rollback.adapters.alert_pollers.seen import Seen
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import StoreRefused, StoreUnreachable
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.alert_pollers.benches import (
    NOON,
    AlertmanagerBench,
    AppDynamicsBench,
    Bench,
    DatadogBench,
    PrometheusBench,
    alerts,
)

NAMES = re.findall(
    r"\w+",
    """id name state status groups overall_state options silenced last_triggered_ts last_resolved_ts labels alertname
fingerprint startsAt endsAt activeAt data alerts rules health incidentStatus severity triggeredEntityDefinition
entityId startTimeInMillis endTimeInMillis priority tags message cluster uptime startTime lastEvaluation""",
)
WORDS = ("Alert", "OK", "Warn", "active", "suppressed", "firing", "pending", "success", "ok", "OPEN", "RESOLVED", "*")
TIMES = ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00.123456789-05:00", "0001-01-01T00:00:00Z")

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.sampled_from(WORDS + TIMES) | st.text(max_size=12)
names = st.sampled_from(NAMES) | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=25,
)

BENCHES = [DatadogBench, AppDynamicsBench, AlertmanagerBench, PrometheusBench]
relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture(params=BENCHES, ids=lambda bench: str(bench.__name__).removesuffix("Bench").lower())
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made: Bench = request.param()
    yield made
    made.close()


def asked(bench: Bench) -> list[Reading] | None:
    """What a poll gives, None when it is an error of the port. Anything else fails the test."""
    bench.clock.passed += 30
    try:
        return list(bench.poller.poll(bench.clock.now()))
    except (StoreRefused, StoreUnreachable) as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 400
    return None


@relaxed
@given(documents=st.lists(values, min_size=1, max_size=3))
def test_arbitrary_documents_never_break_it_and_never_invent_a_recovery(bench: Bench, documents: list[Any]) -> None:
    bench.poller.close()
    bench.poller = bench.made()
    fired: set[str] = set()
    for document in documents:
        bench.api.fault = lambda request, document=document: None if "oauth" in request.path else json_answer(document)
        for alert in alerts(asked(bench) or []):
            assert alert.edge is not Edge.RECOVERED or alert.cycle in fired
            fired |= {alert.cycle} if alert.edge is Edge.FIRED else set()
    bench.work()


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield from places(value, (*path, name))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value, or without one (`...`), at a place."""
    if not path:
        return None if value is ... else value
    again = copy.deepcopy(document)
    holder = again
    for step in path[:-1]:
        holder = holder[step]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return again


@relaxed
@given(data=st.data())
def test_a_changed_answer_while_it_fires_is_an_error_or_never_loses_the_alert_in_silence(
    bench: Bench, data: st.DataObject
) -> None:
    """One value of a true answer is replaced or left out. Either the poll fails, or the cycle is spoken of."""
    bench.poller.close()
    bench.poller = bench.made()
    bench.fire("101")
    told = alerts(asked(bench) or [])
    cycle = next(one.cycle for one in told if one.edge is Edge.FIRED)
    value = data.draw(st.just(...) | values)
    choice = data.draw(st.integers(0, 10_000))

    def fault(request: Request) -> Answer | None:
        if "oauth" in request.path or request.query.get("page", "0") != "0":
            return None
        bench.api.fault = None
        answer = bench.api._handle(request)
        bench.api.fault = fault
        document = json.loads(answer.body)
        everywhere = list(places(document))
        return json_answer(changed(document, everywhere[choice % len(everywhere)], value))

    bench.api.fault = fault
    readings = asked(bench)
    bench.work()
    if readings is not None:
        assert cycle in {one.cycle for one in alerts(readings)}
    bench.resolve("101")


# -- what was seen -----------------------------------------------------------------------------------------------

edges_told = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Edge)), st.integers(0, 50)), max_size=4),
    max_size=12,
)


@given(edges_told)
def test_a_recovery_is_told_only_of_what_fired_before_or_with_it(answers: list[list[tuple[str, Edge, int]]]) -> None:
    seen, fired = Seen("watch"), set()
    for number, answer in enumerate(answers):
        now = NOON + timedelta(minutes=number)
        found = [Alert("watch", "m", cycle, edge, NOON + timedelta(seconds=at)) for cycle, edge, at in answer]
        fired |= {one.cycle for one in found if one.edge in (Edge.FIRED, Edge.REPEATED)}
        told = seen.keep(found, now)
        assert all(one.cycle in fired for one in told if one.edge is Edge.RECOVERED)
        assert {one.cycle for one in found if one.edge is Edge.FIRED} <= {one.cycle for one in told}


@given(edges_told, st.randoms())
def test_the_order_within_an_answer_does_not_change_the_deliveries(
    answers: list[list[tuple[str, Edge, int]]], shuffled: Any
) -> None:
    def readings(found: list[tuple[str, Edge, int]]) -> list[Reading]:
        unique = {
            (monitor, edge): Alert("w", monitor, f"{monitor}1", edge, at(second)) for monitor, edge, second in found
        }
        return of_monitors("w", unique.values())

    def at(second: int) -> datetime:
        return NOON + timedelta(seconds=second)

    for answer in answers:
        first = {(monitor, edge): second for monitor, edge, second in answer}
        items = [(monitor, edge, second) for (monitor, edge), second in first.items()]
        other = list(items)
        shuffled.shuffle(other)
        assert readings(items) == readings(other)
