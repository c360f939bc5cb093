"""What the record says of how long a feature is off holds where no clock was set anew since."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollback.core.turning import STEPPED, last_turned
from tests.core.cases import NOW, disabled

CLOCK = NOW.timestamp() - 1000.0
"""At `NOW` the monotonic clock shows 1000."""
OFF = replace(disabled(), turned_at=NOW, turned_clock=CLOCK)


def test_time_passes_as_both_clocks_say() -> None:
    assert last_turned(OFF, NOW + timedelta(seconds=60), 1060.0, 5.0) == pytest.approx(1005.0)


def test_nobody_can_tell_what_is_not_recorded() -> None:
    assert last_turned(replace(OFF, turned_clock=None), NOW, 1000.0, 0.0) is None
    assert last_turned(replace(OFF, turned_at=None), NOW, 1000.0, 0.0) is None


@pytest.mark.parametrize("seconds", [-3600.0, -STEPPED - 1, STEPPED + 1, 3600.0], ids=str)
def test_a_clock_that_was_set_or_another_machine_tells_nothing(seconds: float) -> None:
    assert last_turned(OFF, NOW + timedelta(seconds=30 + seconds), 1030.0, 0.0) is None


def test_a_clock_that_is_being_corrected_is_believed_and_what_it_moved_is_not_counted() -> None:
    later = NOW + timedelta(hours=10, seconds=18)
    assert last_turned(OFF, later, 37_000.0, 0.0) == pytest.approx(1018.0)


def test_it_never_turned_in_the_future() -> None:
    assert last_turned(OFF, NOW, 1000.0, 60.0) == 1000.0
