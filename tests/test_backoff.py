"""Waits that spread those who failed together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.backoff import full_jitter


@pytest.mark.parametrize(("failures", "top"), [(1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (100_000, 1.0)])
def test_a_wait_is_drawn_from_nothing_to_a_top_that_doubles_up_to_the_longest(failures: int, top: float) -> None:
    drawn = [full_jitter(0.1, 1.0, failures) for _ in range(300)]
    assert 0.0 <= min(drawn) < 0.2 * top
    assert 0.8 * top < max(drawn) <= top


@given(st.integers(1, 10**9))
def test_no_number_of_failures_is_too_many(failures: int) -> None:
    assert 0.0 <= full_jitter(0.05, 2.0, failures) <= 2.0
