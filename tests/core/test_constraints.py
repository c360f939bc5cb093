"""A constraint counts as met only when server and engine both say so; a member is found where one can be built."""

from __future__ import annotations

import pytest

from rollback.core.constraints import is_member, is_met
from rollback.core.flag import Constraint, Segment
from rollback.core.membership import NobodyFound, membership_of

MET = [
    ("string", "eq", "a b", "a b"),
    ("string", "eq", " a", " a"),
    ("string", "neq", "a", "b"),
    ("string", "empty", "", ""),
    ("string", "notempty", "", "x"),
    ("string", "prefix", "ab", "abc"),
    ("string", "suffix", "bc", "abc"),
    ("string", "contains", "b", "abc"),
    ("string", "notcontains", "z", "abc"),
    ("string", "isoneof", '["a", "b"]', "b"),
    ("string", "isnotoneof", '["a", "b"]', "c"),
    ("entity_id", "eq", "u1", "u1"),
    ("number", "eq", "5", "5"),
    ("number", "neq", "5", "6"),
    ("number", "lt", "5", "4"),
    ("number", "lte", "5", "5"),
    ("number", "gt", "-5", "-4"),
    ("number", "gte", "5", "5"),
    ("number", "isoneof", "[1, 2]", "2"),
    ("number", "isnotoneof", "[1, 2]", "3"),
    ("number", "present", "", "x"),
    ("number", "notpresent", "", ""),
    ("boolean", "true", "", "true"),
    ("boolean", "false", "", "false"),
    ("boolean", "present", "", "x"),
    ("boolean", "notpresent", "", ""),
    ("datetime", "eq", "2026-11-23T00:00:00Z", "2026-11-23T02:00:00+02:00"),
    ("datetime", "lt", "2026-11-23T00:00:00Z", "2026-11-22T00:00:00Z"),
    ("datetime", "gte", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z"),
    ("datetime", "notpresent", "", ""),
]

NOT_MET = [
    ("string", "neq", "a", ""),  # a missing property meets nothing but empty and notpresent
    ("string", "isnotoneof", '["a"]', ""),
    ("string", "notempty", "", "  "),  # blank: the server says empty
    ("string", "prefix", " a", " ab"),  # the server trims
    ("string", "isoneof", '["a\\n"]', "a\n"),  # the engine cannot read escapes in a list
    ("string", "isoneof", "a,b", "a"),
    ("string", "isnotoneof", "a,b", "c"),
    ("string", "present", "", "x"),  # not an operator of texts
    ("string", "eq", "\ud800", "\ud800"),  # cannot be sent
    ("number", "eq", "5", "5.0"),  # the engine knows whole numbers only
    ("number", "eq", "5.0", "5"),
    ("number", "gt", "2147483648", "2147483649"),
    ("number", "isoneof", "[1.0]", "1"),
    ("number", "isoneof", "[-0]", "0"),
    ("number", "isoneof", "[true]", "1"),
    ("boolean", "true", "", "TRUE"),
    ("boolean", "true", "", "1"),
    ("datetime", "eq", "2026-11-23", "2026-11-23"),  # the engine wants RFC 3339
    ("datetime", "lt", "2026-11-23T00:00:00.5Z", "2026-11-23T00:00:00Z"),  # the engine drops fractions
    ("datetime", "eq", "2026-02-30T00:00:00Z", "2026-02-30T00:00:00Z"),  # no such day
    ("datetime", "eq", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),  # before all time, in UTC
    ("colour", "eq", "red", "red"),
]


@pytest.mark.parametrize(("kind", "operator", "wanted", "value"), MET)
def test_what_both_say_is_met(kind: str, operator: str, wanted: str, value: str) -> None:
    assert is_met(Constraint(kind, "p", operator, wanted), value)


@pytest.mark.parametrize(("kind", "operator", "wanted", "value"), NOT_MET)
def test_what_one_of_them_may_deny_is_not_met(kind: str, operator: str, wanted: str, value: str) -> None:
    assert not is_met(Constraint(kind, "p", operator, wanted), value)


@pytest.mark.parametrize(("kind", "operator", "wanted"), sorted({(kind, op, wanted) for kind, op, wanted, _ in MET}))
def test_a_member_is_found_for_every_operator(kind: str, operator: str, wanted: str) -> None:
    segment = Segment("s", True, (Constraint(kind, "p", operator, wanted),))
    found = membership_of([segment])
    entity_id = found.entity_ids[0] if found.entity_ids else f"{found.prefix}rollback-proof-0{found.suffix}"
    assert is_member(segment, found.context, entity_id)


def test_any_needs_one_constraint_and_all_needs_every_one() -> None:
    both = (Constraint("string", "p", "eq", "a"), Constraint("string", "q", "eq", "b"))
    assert is_member(Segment("any", False, both), {"q": "b"}, "u")
    assert not is_member(Segment("any", False, both), {"q": "x"}, "u")
    assert is_member(Segment("all", True, both), {"p": "a", "q": "b"}, "u")
    assert not is_member(Segment("all", True, both), {"q": "b"}, "u")


@pytest.mark.parametrize("match_all", [True, False])
def test_everybody_is_a_member_of_a_segment_without_constraints(match_all: bool) -> None:
    assert is_member(Segment("all", match_all, ()), {}, "u")
    assert membership_of([Segment("all", match_all, ())]).context == {}


def test_a_constraint_of_an_unknown_type_makes_nobody_a_member() -> None:
    segment = Segment("s", False, (Constraint("string", "p", "eq", "a"), Constraint("colour", "p", "eq", "a")))
    assert not is_member(segment, {"p": "a"}, "u")
    with pytest.raises(NobodyFound, match="not known"):
        membership_of([segment])


@pytest.mark.parametrize(
    "constraints",
    [
        [
            ("string", "prefix", "va."),
            ("string", "suffix", ".gov"),
            ("string", "contains", "mhv"),
            ("string", "neq", "va.gov"),
        ],
        [("string", "prefix", "aba"), ("string", "suffix", "aba"), ("string", "isoneof", '["x", "aba"]')],
        [("number", "gt", "5"), ("number", "lt", "7")],
        [("number", "gte", "10"), ("number", "lte", "12"), ("number", "isnotoneof", "[10, 11]")],
        [("datetime", "gt", "2026-11-23T00:00:00Z"), ("datetime", "lt", "2026-11-23T00:00:02Z")],
        [("string", "notempty", ""), ("number", "gt", "3")],
        [("string", "notcontains", "o"), ("string", "notcontains", "z"), ("string", "neq", "7")],
        [("boolean", "present", ""), ("boolean", "false", "")],
    ],
)
def test_several_constraints_on_one_property_are_met_together(constraints: list[tuple[str, str, str]]) -> None:
    segment = Segment("s", True, tuple(Constraint(kind, "p", operator, value) for kind, operator, value in constraints))
    assert is_member(segment, membership_of([segment]).context, "u")


def test_an_any_segment_takes_the_constraint_that_goes_with_the_other_segment() -> None:
    role = Segment("role", True, (Constraint("string", "role", "eq", "veteran"),))
    either = Segment(
        "either", False, (Constraint("string", "role", "eq", "staff"), Constraint("string", "site", "eq", "x"))
    )
    assert membership_of([role, either]).context == {"role": "veteran", "site": "x"}


def test_an_any_segment_leaves_the_entity_id_free_where_it_can() -> None:
    either = Segment(
        "either", False, (Constraint("entity_id", "", "eq", "u1"), Constraint("string", "site", "eq", "x"))
    )
    assert membership_of([either]).entity_ids is None


def test_nobody_is_found_where_the_constraints_exclude_one_another() -> None:
    with pytest.raises(NobodyFound, match="string eq and string neq"):
        membership_of(
            [Segment("s", True, (Constraint("string", "p", "eq", "a"), Constraint("string", "p", "neq", "a")))]
        )
