"""An incident's image: nothing is lost, and nothing that is no incident gets through."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.core.model import Approval, ApprovalRequest, Incident, NeedsHuman, Severity, State, Watcher
from rollback.incident_codec import incident_from_json, incident_to_json

NOW = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)
PLAIN = Incident("sm-1", "sm", Severity.CRITICAL, State.DISABLED, NOW, NOW)

zones = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45))])
times = st.datetimes(timezones=zones)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: times,
    Severity: st.sampled_from(list(Severity)),
    State: st.sampled_from(list(State)),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
    tuple[Approval, ...]: st.lists(
        st.builds(Approval, st.text(), st.text(), st.text(), st.text(), times, times, st.booleans()), max_size=2
    ).map(tuple),
    ApprovalRequest: st.builds(
        ApprovalRequest, st.text(), times, st.lists(st.text(), max_size=2).map(tuple), st.text()
    ),
    NeedsHuman: st.builds(NeedsHuman, st.text(), st.text(), times, st.none() | times),
    Watcher: st.builds(Watcher, st.text(), st.integers(0), st.text()),
    Mapping[str, Any]: st.dictionaries(st.text(), json_values, max_size=3),
}
HINTS = get_type_hints(Incident)


def strategy_for(hint: Any) -> st.SearchStrategy[Any]:
    """By the field's type, so that a new field takes part by itself."""
    if hint in STRATEGIES:
        return STRATEGIES[hint]
    (kind,) = (one for one in hint.__args__ if one is not type(None))
    return st.none() | STRATEGIES[kind]


incidents = st.builds(Incident, **{field.name: strategy_for(HINTS[field.name]) for field in fields(Incident)})


def through_json(image: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(image))
    return read


@settings(max_examples=150)
@given(incidents)
def test_every_field_survives(incident: Incident) -> None:
    assert incident_from_json(through_json(incident_to_json(incident))) == incident


@pytest.mark.fuzz
@settings(max_examples=2000)
@given(incidents)
def test_every_field_survives_very_often(incident: Incident) -> None:
    assert incident_from_json(through_json(incident_to_json(incident))) == incident


def test_the_image_names_every_field_in_words_of_json() -> None:
    image = incident_to_json(PLAIN)
    assert list(image) == [field.name for field in fields(Incident)]
    assert (image["severity"], image["state"], image["kills"]) == ("critical", "disabled", [])
    assert image["opened_at"] == "2026-11-23T09:30:00.123456+00:00"
    assert type(image["severity"]) is str


def test_fields_of_a_newer_version_are_ignored_and_missing_ones_have_their_defaults() -> None:
    image = incident_to_json(PLAIN) | {"mood": "calm", "another": {"x": 1}}
    for name in ("kills", "review", "needs_human", "undo_by", "undo_until", "extra", "epoch"):
        del image[name]
    assert incident_from_json(image) == PLAIN


def test_a_newer_version_may_tell_more_of_a_human_and_a_watcher() -> None:
    image = incident_to_json(PLAIN)
    image["needs_human"] = {"what": "look", "role": "owner", "since": NOW.isoformat(), "phone": "?"}
    image["watcher"] = {"host": "h", "pid": 1, "started": "s", "boot": "b"}
    read = incident_from_json(image)
    assert read.needs_human == NeedsHuman("look", "owner", NOW, None)
    assert read.watcher == Watcher("h", 1, "s")


APPROVAL = {
    "by": "alex",
    "role": "approver",
    "fix": "",
    "digest": "d",
    "at": NOW.isoformat(),
    "expires_at": NOW.isoformat(),
    "used": False,
}
REQUEST = {"digest": "d", "since": NOW.isoformat(), "roles": ["approver"], "what": "an approval is missing"}
HUMAN = {"what": "look", "role": "owner", "since": "2026-11-23T09:30:00Z"}
WATCHER = {"host": "h", "pid": 1, "started": "s"}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("incident_id", None),
        ("incident_id", 5),
        ("reason", ["x"]),
        ("severity", "urgent"),
        ("severity", None),
        ("state", "gone"),
        ("opened_at", None),
        ("opened_at", ""),
        ("opened_at", 1700000000),
        ("since", "2026-11-23T09:30:00"),
        ("turned_at", "yesterday"),
        ("turned_clock", "1.5"),
        ("turned_clock", True),
        ("turned_clock", float("inf")),
        ("undo_until", "2026-11-23"),
        ("epoch", "3"),
        ("epoch", True),
        ("epoch", None),
        ("epoch", 1.5),
        ("settled_held", "100"),
        ("safe_held", 99.5),
        ("sensitive", 1),
        ("keep_off", None),
        ("gate_blind", "yes"),
        ("kills", "kill-1-ab"),
        ("kills", [1]),
        ("kills", None),
        ("firing", "datadog:1"),
        ("firing", [1]),
        ("firing_unkept", None),
        ("firing_unkept", 1),
        ("review", {"a": 1}),
        ("extra", None),
        ("extra", []),
        ("needs_human", "look"),
        ("needs_human", {"what": "look"}),
        ("needs_human", HUMAN | {"since": None}),
        ("needs_human", HUMAN | {"by": "soon"}),
        ("needs_human", HUMAN | {"what": 1}),
        ("watcher", "h"),
        ("watcher", []),
        ("watcher", WATCHER | {"pid": "1"}),
        ("watcher", {"host": "h"}),
        ("approvals", APPROVAL),
        ("approvals", None),
        ("approvals", ["alex"]),
        ("approvals", [APPROVAL | {"used": 1}]),
        ("approvals", [APPROVAL | {"by": None}]),
        ("approvals", [APPROVAL | {"expires_at": "2026-11-23T09:30:00"}]),
        ("approvals", [{"by": "alex"}]),
        ("approval_request", "asked"),
        ("approval_request", REQUEST | {"roles": "approver"}),
        ("approval_request", REQUEST | {"since": None}),
        ("step_go", "yes"),
        ("disabled_by", "alex"),
        ("fixed_by", None),
        ("switches_lifted", [1]),
    ],
)
def test_a_bad_field_is_refused_by_its_name(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"not the image of an incident: {name}"):
        incident_from_json(incident_to_json(PLAIN) | {name: bad})


@pytest.mark.parametrize("name", ["incident_id", "feature", "severity", "state", "opened_at", "since"])
def test_what_every_incident_has_must_be_there(name: str) -> None:
    image = incident_to_json(PLAIN)
    del image[name]
    with pytest.raises(ValueError, match=f"not the image of an incident: .*{name}"):
        incident_from_json(image)


@pytest.mark.parametrize("image", [None, [], "sm-1", 5])
def test_what_is_no_object_is_no_incident(image: Any) -> None:
    with pytest.raises(ValueError, match="no object"):
        incident_from_json(image)


@settings(max_examples=200)
@given(st.sampled_from([field.name for field in fields(Incident)]), json_values)
def test_no_value_of_a_field_gets_past_as_anything_but_an_incident_or_a_value_error(name: str, value: Any) -> None:
    try:
        read = incident_from_json(incident_to_json(PLAIN) | {name: value})
    except ValueError:
        return
    assert incident_from_json(through_json(incident_to_json(read))) == read


def test_an_image_from_before_alerts_were_attached_reads_as_one_without_any() -> None:
    image = incident_to_json(PLAIN)
    del image["firing"], image["firing_unkept"]
    assert incident_from_json(image) == PLAIN


def test_an_image_from_before_there_were_approvals_reads_as_one_without_any() -> None:
    image = incident_to_json(PLAIN)
    later = ("disabled_by", "fixed_by", "returned_by", "approvals", "approval_request", "step_go", "switches_lifted")
    for name in later:
        del image[name]
    assert incident_from_json(image) == PLAIN
