"""What sources of evidence declare: a program has no secrets of ours, and counts are counts."""

from __future__ import annotations

import pytest

from rollback.core.metric_sources import CommandEvidence, variables_of
from rollback.core.metric_verdict import Counts, Rule


def test_a_program_of_yours_names_no_variable_with_a_secret_of_ours() -> None:
    source = CommandEvidence.model_validate({"kind": "command", "name": "smoke", "argv": ["/bin/true"], "window": "1m"})
    assert variables_of(source) == {}


def command(**changes: object) -> CommandEvidence:
    given = {"kind": "command", "name": "smoke", "argv": ["/bin/true"], "window": "1m"}
    return CommandEvidence.model_validate(given | changes)


def test_an_exit_code_is_one_sample_and_counts_are_as_many_as_the_window_may_have() -> None:
    assert command().rule == Rule("smoke", minimum_volume=1, cap=1)
    counted = command(output="counts", minimum_volume=20, maximum_samples_per_window=50)
    assert counted.rule == Rule("smoke", minimum_volume=20, cap=50)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"argv": ["true"]}, "full path"), ({"timeout": "31s", "window": "30s"}, "pile up")],
)
def test_a_program_that_a_search_path_finds_or_that_piles_up_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        command(**changes)


@pytest.mark.parametrize(("bad", "total"), [(-1, 5), (6, 5), (0, -1)])
def test_counts_that_no_window_can_have_are_refused(bad: int, total: int) -> None:
    with pytest.raises(ValueError, match="bad <= total"):
        Counts(bad, total)
