"""Assertions about JSON: what holds, what fails, and that no content leaks into the words of a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.json_assertions import MAX_PATH_STEPS, JsonAssertion, Operator, check, select

TOGGLES: Any = {
    "data": {
        "type": "feature_toggles",
        "features": [
            {"name": "sm_release", "value": True},
            {"name": "sm_phase_1", "value": False, "share": 12.5},
        ],
    },
    "key.with.dots": {"count": 3},
}


def holds(path: str, operator: str, value: Any = None) -> bool:
    return check(TOGGLES, [JsonAssertion(path, Operator(operator), value)]) == ()


@pytest.mark.parametrize(
    ("path", "operator", "value"),
    [
        ("data.features[name=sm_release].value", "equals", True),
        ("data.features[name=sm_phase_1].value", "not_equals", True),
        ("data.features[value=false].name", "equals", "sm_phase_1"),
        ('data.features[name="sm_release"].value', "equals", True),
        ("data.features[0].name", "equals", "sm_release"),
        ("data.features[-1].name", "equals", "sm_phase_1"),
        ("data.features[1].share", "gt", 12),
        ("data.features[1].share", "lt", 13),
        ('["key.with.dots"].count', "in", [1, 2, 3.0]),
        ("data.type", "contains", "toggles"),
        ("data.features", "contains", {"name": "sm_release", "value": True}),
        ("data", "contains", "features"),
        ("data.features[2]", "exists", False),
        ("data.features[name=sm_release]", "exists", None),
        ("", "exists", True),
    ],
)
def test_an_assertion_that_is_true_holds(path: str, operator: str, value: Any) -> None:
    assert holds(path, operator, value)


@pytest.mark.parametrize(
    ("path", "operator", "value"),
    [
        ("data.features[name=sm_release].value", "equals", 1),  # true is not 1
        ("data.features", "contains", {"name": "sm_release", "value": 1}),
        ("data.features[name=sm_release].value", "equals", "true"),
        ("data.features[0].name", "gt", 1),
        ("data.features[1].value", "lt", 5),
        ("data.type", "in", ["other"]),
        ("data.type", "contains", 1),
        ("data", "contains", ["features"]),
        ("data.features[name=sm_release]", "exists", False),
        ("nowhere", "exists", True),
        ("data.type.more", "equals", None),
    ],
)
def test_an_assertion_that_is_false_fails(path: str, operator: str, value: Any) -> None:
    assert not holds(path, operator, value)


@pytest.mark.parametrize("operator", ["equals", "not_equals", "contains"])
def test_what_is_not_there_fails_as_missing_and_never_holds(operator: str) -> None:
    (failure,) = check(TOGGLES, [JsonAssertion("data.features[name=gone].value", Operator(operator), True)])
    assert failure.missing


def test_a_filter_that_finds_several_needs_all_of_them_to_hold() -> None:
    twice = {"features": [{"name": "x", "value": False}, {"name": "x", "value": True}]}
    (failure,) = check(twice, [JsonAssertion("features[name=x].value", Operator.EQUALS, False)])
    assert not failure.missing


def test_failures_come_in_order_and_only_those() -> None:
    asked = [
        JsonAssertion("data.type", Operator.EQUALS, "x"),
        JsonAssertion("data", Operator.EXISTS),
        JsonAssertion("gone", Operator.EXISTS),
    ]
    assert [failure.assertion for failure in check(TOGGLES, asked)] == [asked[0], asked[2]]


def test_an_assertion_reads_as_a_sentence() -> None:
    assert str(JsonAssertion("a.b", Operator.IN, [1, "x"])) == 'a.b in [1, "x"]'
    assert str(JsonAssertion("a", Operator.EXISTS)) == "a exists"
    assert str(JsonAssertion("", Operator.EXISTS, False)) == "the document does not exist"


def test_a_failure_says_what_was_expected_and_quotes_nothing_of_the_answer() -> None:
    private = {"messages": [{"subject": "my test results"}], "total": 31337}
    wrong = [
        JsonAssertion("messages[0].subject", Operator.EQUALS, "-"),
        JsonAssertion("messages", Operator.EQUALS, []),
        JsonAssertion("total", Operator.LT, 5),
    ]
    words = " ".join(str(failure) for failure in check(private, wrong))
    assert 'messages[0].subject equals "-"' in words
    assert "test results" not in words
    assert "31337" not in words


@pytest.mark.parametrize(
    "path", ["a..b", ".a", "a.", "a[", "a[x]", "a]b", "[0]b", "a.[0", ".".join("a" * (MAX_PATH_STEPS + 1))]
)
def test_a_path_that_cannot_be_read_is_refused_when_the_assertion_is_made(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        JsonAssertion(path, Operator.EXISTS)


@pytest.mark.parametrize(
    ("operator", "value"), [("exists", 1), ("exists", "yes"), ("in", "abc"), ("lt", "5"), ("gt", True), ("lt", None)]
)
def test_a_value_that_does_not_fit_its_operator_is_refused(operator: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"takes"):
        JsonAssertion("a", Operator(operator), value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_json)
def test_every_document_equals_itself_also_after_a_round_trip(document: Any) -> None:
    again = json.loads(json.dumps(document))
    assert check(document, [JsonAssertion("", Operator.EQUALS, again)]) == ()
    assert check(document, [JsonAssertion("", Operator.NOT_EQUALS, again)]) != ()


@given(_json, st.text('abc[]=.0"-', max_size=8), st.sampled_from(Operator), _json)
def test_no_document_makes_a_check_raise(document: Any, path: str, operator: Operator, value: Any) -> None:
    try:
        asked = JsonAssertion(path, operator, value)
    except ValueError:
        return
    assert len(check(document, [asked])) <= 1
    assert isinstance(select(document, path), list)
