"""Constraints hold as Flipt's server has it, where values are odd."""

from __future__ import annotations

import pytest

from rollback.sandbox.constraints import holds, segment_matches
from rollback.sandbox.evaluation import malformed
from rollback.sandbox.model import ALL, ANY, Constraint, Segment


@pytest.mark.parametrize(
    ("kind", "operator", "wanted", "given", "held"),
    [
        ("STRING", "empty", "", "  ", True),
        ("STRING", "notempty", "", "  ", False),
        ("STRING", "neq", "x", "", False),
        ("STRING", "prefix", "ve", " veteran", True),
        ("STRING", "suffix", "an", "veteran ", True),
        ("STRING", "isnotoneof", "no list", "x", False),
        ("STRING", "isoneof", "[1]", "1", False),
        ("STRING", "odd", "x", "x", False),
        ("NUMBER", "eq", "5", "5.0", True),
        ("NUMBER", "eq", "5", " 5", False),
        ("NUMBER", "neq", "5", "five", False),
        ("NUMBER", "lt", "1e3", "999.5", True),
        ("NUMBER", "isoneof", "[1, 2.5]", "2.5", True),
        ("NUMBER", "isnotoneof", "[true]", "2", False),
        ("NUMBER", "notpresent", "", " ", True),
        ("NUMBER", "odd", "1", "1", False),
        ("NUMBER", "gt", "1", "", False),
        ("BOOLEAN", "true", "", "T", True),
        ("BOOLEAN", "false", "", "0", True),
        ("BOOLEAN", "false", "", "no", False),
        ("BOOLEAN", "present", "", "no", True),
        ("DATETIME", "eq", "2026-01-01", "2026-01-01T01:00:00+01:00", True),
        ("DATETIME", "gt", "2026-01-01", "2026-01-01T00:00:00.5Z", True),
        ("DATETIME", "lt", "2026-01-01", "yesterday", False),
        ("DATETIME", "lt", "2026-01-01", "2026-13-01", False),
        ("DATETIME", "lte", "2026-01-01", "", False),
        ("ENTITY_ID", "eq", "e", "in the context, not asked", True),
        ("UNKNOWN", "eq", "x", "x", False),
    ],
)
def test_a_value_is_read_as_the_server_reads_it(kind: str, operator: str, wanted: str, given: str, held: bool) -> None:
    constraint = Constraint(f"{kind}_COMPARISON_TYPE", "p", operator, wanted)
    assert holds(constraint, {"p": given}, "e") is held


def test_a_property_that_is_not_there_is_empty() -> None:
    assert holds(Constraint("STRING_COMPARISON_TYPE", "p", "empty"), {}, "e")
    assert not holds(Constraint("STRING_COMPARISON_TYPE", "p", "notcontains", "x"), {}, "e")


@pytest.mark.parametrize("match_type", [ANY, ALL])
def test_a_segment_without_constraints_matches_everybody(match_type: str) -> None:
    assert segment_matches(Segment("s", match_type=match_type), {}, "e")


@pytest.mark.parametrize(
    ("kind", "operator", "wanted", "bad"),
    [
        ("STRING", "isoneof", "x", True),
        ("STRING", "isoneof", '["x"]', False),
        ("NUMBER", "isnotoneof", '["1"]', True),
        ("NUMBER", "lt", "5.5", False),
        ("NUMBER", "lt", "five", True),
        ("NUMBER", "lt", "", False),
        ("DATETIME", "eq", "soon", True),
        ("DATETIME", "present", "soon", False),
        ("BOOLEAN", "isoneof", "x", False),
    ],
)
def test_v2_cannot_prepare_what_it_cannot_parse(kind: str, operator: str, wanted: str, bad: bool) -> None:
    assert malformed(Constraint(f"{kind}_COMPARISON_TYPE", "p", operator, wanted)) is bad
