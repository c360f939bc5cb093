"""The contract of all parsers: always a verdict, the same for the same delivery, and recovery never harms."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.alert_sources import PARSERS
from rollback.core.alerts import Edge, ReadingKind
from tests.alert_sources.payloads import FIRING, RECOVERED, SOURCE, TESTS, Json, encoded, read
from tests.alert_sources.promises import check

each_kind = pytest.mark.parametrize("kind", PARSERS)

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**300), 10**300),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(
            ["", "null", "0", "${latestEvent.id}", "$ALERT_ID", "x" * 300, "\ud800", "a\u202eb", "true", "4"]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=10,
)

ALL_SHAPES = [document for shapes in (FIRING, RECOVERED, TESTS) for document in shapes.values()]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside of a document."""
    inner: list[tuple[object, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found = [path] if path else []
    return found + [place for name, one in inner for place in places(one, (*path, name))]


@st.composite
def mutated(draw: st.DrawFn, document: Json) -> Json:
    """The document with up to three places removed or replaced."""
    changed: Any = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        found = places(changed)
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        holder = changed
        for step in way:
            holder = holder[step]
        if draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = draw(JSON)
    assert isinstance(changed, dict)
    return changed


def verdict_holds(kind: str, body: bytes) -> None:
    reading = read(kind, body)
    check(reading, SOURCE)
    assert read(kind, body) == reading


@each_kind
@given(body=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_have_a_verdict(kind: str, body: bytes) -> None:
    verdict_holds(kind, body)


@each_kind
@given(document=JSON)
def test_any_json_has_a_verdict(kind: str, document: object) -> None:
    verdict_holds(kind, encoded(document))


@each_kind
@given(data=st.data())
def test_any_mutation_of_any_senders_shape_has_a_verdict(kind: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([FIRING[kind], RECOVERED[kind], TESTS[kind], *ALL_SHAPES]))
    verdict_holds(kind, encoded(data.draw(mutated(shape))))


@each_kind
@given(data=st.data())
def test_cut_and_garbled_bodies_have_a_verdict(kind: str, data: st.DataObject) -> None:
    body = bytearray(encoded(FIRING[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = min(len(body), start + data.draw(st.integers(0, 10)))
        body[start:end] = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b"\\", b"{", b"]", b",", b"\x00"]))
        )
    verdict_holds(kind, bytes(body))


@each_kind
@given(data=st.data())
def test_recovery_with_anything_else_changed_never_fires(kind: str, data: st.DataObject) -> None:
    """Whatever happens to the other fields: what says that it is over does not turn a feature off."""
    words = {"alert_transition", "event_type", "status", "edge"}
    changed = data.draw(mutated(RECOVERED[kind]))
    said = [place for place in places(RECOVERED[kind]) if place[-1] in words]
    if any(at(changed, place) != at(RECOVERED[kind], place) for place in said):
        return
    edges = {alert.edge for alert in read(kind, changed).alerts}
    assert not edges & {Edge.FIRED, Edge.REPEATED}


def at(document: Any, place: tuple[Any, ...]) -> object:
    """What stands at a path; None when nothing does."""
    for step in place:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


@each_kind
def test_firing_and_recovery_share_their_cycle_and_nothing_of_their_keys(kind: str) -> None:
    fired, recovered, rehearsed = (read(kind, shapes[kind]) for shapes in (FIRING, RECOVERED, TESTS))
    assert [alert.edge for alert in fired.alerts] == [Edge.FIRED]
    assert [alert.edge for alert in recovered.alerts] == [Edge.RECOVERED]
    assert rehearsed.kind is ReadingKind.TEST
    assert fired.alerts[0].cycle == recovered.alerts[0].cycle
    assert fired.alerts[0].monitor == recovered.alerts[0].monitor
    assert len({fired.key, recovered.key, rehearsed.key}) == 3


@each_kind
@given(data=st.data())
def test_the_same_delivery_written_anew_has_the_same_key(kind: str, data: st.DataObject) -> None:
    document = data.draw(mutated(FIRING[kind]))
    first = read(kind, document)
    if first.kind is ReadingKind.UNKNOWN:
        return
    rewrite: Callable[[Json], str] = lambda one: json.dumps(one, indent=2, sort_keys=True)  # noqa: E731
    try:
        rewritten = rewrite(document).encode()
    except TypeError:
        return
    again = read(kind, rewritten)
    assert again.key == first.key
    assert again.kind is first.kind


@each_kind
@given(left=st.text(min_size=1, max_size=30), right=st.text(min_size=1, max_size=30))
def test_different_cycles_are_never_the_same_delivery(kind: str, left: str, right: str) -> None:
    """Also at the edges of fields: what moves from one field to the next stays different."""
    first, second = (read(kind, with_cycle(kind, cycle)) for cycle in (left, right))
    if ReadingKind.ALERTS not in (first.kind, second.kind) or left.strip() == right.strip():
        return
    assert first.key != second.key
    assert {alert.cycle for alert in first.alerts} != {alert.cycle for alert in second.alerts}


def with_cycle(kind: str, cycle: str) -> Json:
    """The alert that fires, of another cycle."""
    document: Any = copy.deepcopy(FIRING[kind])
    match kind:
        case "datadog":
            document["alert_cycle_key"] = cycle
        case "pagerduty":
            document["event"]["data"]["id"] = cycle
        case "alertmanager":
            document["alerts"][0]["fingerprint"] = cycle
        case "appdynamics":
            document["incident_id"] = cycle
        case _:
            document["cycle"] = cycle
    assert isinstance(document, dict)
    return document


@each_kind
def test_long_identifiers_are_refused_and_never_become_equal(kind: str) -> None:
    long = "c" * 200
    assert read(kind, with_cycle(kind, long)).kind is ReadingKind.ALERTS
    assert read(kind, with_cycle(kind, long + "1")).kind is ReadingKind.UNKNOWN


@each_kind
def test_nothing_of_the_content_is_told_in_a_verdict(kind: str) -> None:
    secret = "hunter2-jane@example.gov"
    for shapes in (FIRING, RECOVERED, TESTS):
        for place in places(shapes[kind]):
            document: Any = copy.deepcopy(shapes[kind])
            *way, last = place
            holder = document
            for step in way:
                holder = holder[step]
            holder[last] = f"{secret}\x00{'x' * 300}"
            reading = read(kind, document)
            assert "hunter2" not in reading.why + reading.key
            assert "jane@" not in repr(reading)


@each_kind
def test_form_encoding_is_named_as_the_mistake(kind: str) -> None:
    reading = read(kind, b"payload=%7B%7D", {"content-type": "application/x-www-form-urlencoded"})
    assert "form" in reading.why
