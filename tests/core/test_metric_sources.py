"""What sources of evidence declare: a program has no secrets of ours, and counts are counts."""

from __future__ import annotations

import pytest

from rollback.core.metric_sources import CommandEvidence, variables_of
from rollback.core.metric_verdict import Counts


def test_a_program_of_yours_names_no_variable_with_a_secret_of_ours() -> None:
    source = CommandEvidence.model_validate({"kind": "command", "name": "smoke", "argv": ["/bin/true"], "window": "1m"})
    assert variables_of(source) == {}


@pytest.mark.parametrize(("bad", "total"), [(-1, 5), (6, 5), (0, -1)])
def test_counts_that_no_window_can_have_are_refused(bad: int, total: int) -> None:
    with pytest.raises(ValueError, match="bad <= total"):
        Counts(bad, total)
