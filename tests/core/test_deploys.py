"""Whose deploy is the fix, and whether that fix failed already: a machine must never try a broken one twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollback import return_monitor
from rollback.core.deploys import (
    MONITORED,
    SHORTEST,
    Counts,
    Deploy,
    counts,
    evidence_of,
    failure,
    is_commit,
    is_run_url,
    is_workflow,
    may_be_a_person,
    same_commit,
)
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.pipeline_policy import Deploys, Pipeline

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CASE = "sm-20261124T120000Z-0000"
FIX = "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d"
OTHER = "b7d1f00dcafe4c5a7b6f1e2d3c4b5a69788f9e0d"
FILE = "github.com/org/repo/.github/workflows/deploy.yml"
MAIN = f"{FILE}@refs/heads/main"
NUMBERS = count(1)

hexes = st.text("0123456789abcdefABCDEF", min_size=1, max_size=70)


# -- commits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (FIX, FIX, True),
        (FIX[:7], FIX, True),
        (FIX, FIX[:7], True),
        (FIX[:7], FIX[:12].upper(), True),
        (FIX[:6], FIX, False),
        (FIX[:6], FIX[:6], False),
        (FIX, OTHER, False),
        (FIX, FIX[:7] + "0" + FIX[8:], False),
        ("", FIX, False),
        ("", "", False),
        ("main", "main", False),
        (f"{FIX[:7]}\n", FIX, False),
        ("\uff10" * 8, "\uff10" * 8, False),
        ("a" * 65, "a" * 65, False),
    ],
)
def test_a_commit_is_known_by_seven_digits_both_ways_and_never_by_fewer(one: str, other: str, same: bool) -> None:
    assert same_commit(one, other) is same
    assert same_commit(other, one) is same


@given(hexes, hexes)
def test_two_texts_are_one_commit_only_if_one_begins_the_other_and_both_are_long_enough(one: str, other: str) -> None:
    if same_commit(one, other):
        assert min(len(one), len(other)) >= SHORTEST
        assert one.lower().startswith(other.lower()) or other.lower().startswith(one.lower())
    elif is_commit(one) and is_commit(other):
        assert one.lower()[: len(other)] != other.lower()[: len(one)]


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://github.com/org/repo/actions/runs/19283746550", True),
        ("https://gitlab.example.org:8443/g/p/-/pipelines/7", True),
        ("https://ci.example.org", True),
        ("https://u:p@ci.example.org/1", False),
        ("https://ci.example.org/1?token=x", False),
        ("https://ci.example.org/1#x", False),
        ("javascript:alert(1)", False),
        ("https://ci.example.org/a b", False),
        ("https://ci.example.org/1\n", False),
        ("https://ci.example.org/" + "a" * 300, False),
        ("", False),
    ],
)
def test_a_link_to_a_run_carries_nothing_else(url: str, good: bool) -> None:
    assert is_run_url(url) is good


@pytest.mark.parametrize(
    ("commit", "may_be"),
    [("123456789", True), ("0" * 40, True), ("12345678", False), ("12345678a", False), (FIX, False), ("", False)],
)
def test_a_commit_that_could_be_somebodys_number_is_told_from_others(commit: str, may_be: bool) -> None:
    assert may_be_a_person(commit) is may_be


def test_a_workflow_is_a_file_with_its_host() -> None:
    assert is_workflow(MAIN)
    assert is_workflow("gitlab.example.org/group/project//.gitlab-ci.yml@refs/tags/v1.2")
    assert not is_workflow("deploy")
    assert not is_workflow(f"{FILE}@a@b")
    assert not is_workflow(f"{FILE}\nx")


# -- whose deploy counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deploy", "fix", "rule", "found"),
    [
        (Deploy(FIX), FIX[:8], None, Counts.LINKED),
        (Deploy(FIX), OTHER, None, Counts.UNRELATED),
        (Deploy(FIX), "", None, Counts.UNRELATED),
        (Deploy(FIX, workflow=MAIN, is_authenticated=True), "", None, Counts.UNRELATED),
        (Deploy(FIX), "", (FILE,), Counts.UNRELATED),
        (Deploy(FIX, is_authenticated=True), "", (FILE,), Counts.UNRELATED),
        (Deploy(FIX, workflow=MAIN, is_authenticated=True), "", (FILE,), Counts.BY_POLICY),
        (Deploy(FIX, workflow=MAIN, is_authenticated=True), OTHER, (FILE,), Counts.BY_POLICY),
        (Deploy(FIX, workflow=MAIN, is_authenticated=True), "", (MAIN,), Counts.BY_POLICY),
        (Deploy(FIX, workflow=f"{FILE}@refs/heads/x", is_authenticated=True), "", (MAIN,), Counts.UNRELATED),
        (Deploy(FIX, workflow=f"{FILE}.bak@refs/heads/main", is_authenticated=True), "", (FILE,), Counts.UNRELATED),
        (Deploy(FIX, workflow=MAIN), "", (FILE,), Counts.CLAIMED),
        (Deploy(FIX, workflow=MAIN), FIX, (FILE,), Counts.LINKED),
    ],
)
def test_a_deploy_counts_when_it_was_linked_or_its_workflow_has_signed(
    deploy: Deploy, fix: str, rule: tuple[str, ...] | None, found: Counts
) -> None:
    assert counts(deploy, fix, Deploys(any_from=rule) if rule else None) is found


def test_a_claimed_workflow_counts_only_where_the_policy_says_so() -> None:
    rule = Deploys(any_from=(FILE,), allow_unauthenticated=True)
    assert counts(Deploy(FIX, workflow=MAIN), "", rule) is Counts.BY_POLICY
    assert counts(Deploy(FIX, workflow="github.com/other/repo/a.yml@x"), "", rule) is Counts.UNRELATED


def test_what_is_recorded_of_a_deploy_leaves_out_what_nobody_said() -> None:
    assert Deploy(FIX).data() == {"commit": FIX}
    told = Deploy(FIX, run_url="https://ci.example.org/1", by="dev", workflow=MAIN, is_authenticated=True).data()
    assert told == {
        "commit": FIX,
        "run_url": "https://ci.example.org/1",
        "by": "dev",
        "workflow": MAIN,
        "workflow_authenticated": True,
    }


@pytest.mark.parametrize("workflow", ["deploy.yml", "github.com/a b", f"{FILE}?x", f"{FILE}@", ""])
def test_a_policy_names_workflows_with_their_host(workflow: str) -> None:
    with pytest.raises(ValidationError):
        Deploys(any_from=(workflow,))


@pytest.mark.parametrize(
    "issuer",
    ["http://token.example.org", "https://u@token.example.org", "token.example.org", "https://token.example.org/?x"],
)
def test_an_issuer_is_asked_over_https_alone(issuer: str) -> None:
    with pytest.raises(ValidationError):
        Pipeline(issuer=issuer, audience="a", repository="org/repo", workflow_ref="w")


def test_a_pipeline_has_the_role_ci_and_no_other() -> None:
    with pytest.raises(ValidationError):
        Pipeline.model_validate(
            {"issuer": "https://t.example.org", "audience": "a", "repository": "o/r", "workflow_ref": "w", "role": "x"}
        )


# -- a fix that failed ---------------------------------------------------------------------------------------------


def moved(name: str, before: str, *, fix: str = FIX, what: str = "", case: str = CASE, by: str = "ci") -> Entry:
    """A change of the case."""
    number = next(NUMBERS)
    after: dict[str, Any] = {"fix": fix, "needs_human": {"what": what} if what else None}
    return Entry(
        f"e{number}",
        NOON + timedelta(seconds=number),
        "sm",
        EntryKind.TRANSITION,
        name,
        Actor(by, "ci"),
        incident=case,
        before={"state": before},
        after=after,
    )


SHORT = "not enough evidence at this step: folders: no samples"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([moved("harm_seen", "verifying", what="it was harmful: 9 of 10")], "it was harmful: 9 of 10"),
        ([moved("harm_seen", "ramping")], "the feature was harmful"),
        ([moved("harm_seen", "monitoring", what="harm")], "harm"),
        (
            [moved("evidence_ended", "verifying", what="inconclusive: too few")],
            "there was not enough evidence (inconclusive: too few)",
        ),
        (
            [moved("evidence_ended", "verifying", what="no_data: nothing")],
            "there was not enough evidence (no_data: nothing)",
        ),
        ([moved("evidence_ended", "ramping", what=SHORT), moved("watch_stopped", "ramping", what=SHORT)], SHORT),
        ([moved("disable_commanded", "ramping", by="alert-datadog")], "alert-datadog turned it down while it was back"),
        ([moved("disable_commanded", "monitoring", by="ana")], "ana turned it down while it was back"),
        ([moved("reduce_commanded", "ramping", by="ana")], "ana turned it down while it was back"),
    ],
)
def test_a_fix_that_was_harmful_or_brought_no_evidence_has_failed(entries: list[Entry], why: str) -> None:
    failed = failure(entries, CASE, FIX[:9])
    assert failed is not None
    assert failed.why == why
    assert failed.at == entries[-1].at


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [moved("watch_stopped", "verifying"), moved("watch_stopped", "ramping")],
        [moved("harm_seen", "ramping", fix=OTHER)],
        [moved("harm_seen", "ramping", fix="")],
        [moved("harm_seen", "ramping", case="another-case")],
        [moved("disable_commanded", "disabled"), moved("disable_commanded", "verifying")],
        [moved("evidence_ended", "ramping", what=SHORT)],
        [
            moved("evidence_ended", "ramping", what=SHORT),
            moved("gate_passed", "ramping", what=SHORT),
            moved("watch_stopped", "ramping", what=SHORT),
        ],
        [moved("evidence_ended", "verifying", what="Without us 100 of 100 buckets would be open")],
        [moved("evidence_ended", "verifying")],
        [moved("gate_passed", "verifying"), moved("monitoring_ended", "monitoring")],
    ],
    ids=range(11),
)
def test_an_interruption_and_what_is_about_something_else_is_no_failure(entries: list[Entry]) -> None:
    assert failure(entries, CASE, FIX) is None


def test_facts_are_no_failures_and_the_last_failure_is_told() -> None:
    first, last = moved("harm_seen", "verifying", what="first"), moved("harm_seen", "verifying", what="last")
    fact = Entry("f", NOON, "sm", EntryKind.FACT, "harm_seen", Actor("x"), incident=CASE, after={"fix": FIX})
    failed = failure([first, last, fact], CASE, FIX)
    assert failed is not None
    assert failed.why == "last"


# -- evidence ------------------------------------------------------------------------------------------------------


def batch(stage: int, bad: int, total: int, *, fix: str = FIX, case: str = CASE, **more: Any) -> Entry:
    data = {
        "stage": stage,
        "attempt": 1,
        "basis": "b",
        "fix": fix,
        "p0": 0.02,
        "alpha": 0.005,
        "metrics": {"folders": {"total": total, "bad": bad, "missing": 1}},
        **more,
    }
    return Entry(f"b{next(NUMBERS)}", NOON, "sm", EntryKind.FACT, "evidence", Actor("ci"), incident=case, data=data)


def test_evidence_is_summed_over_runs_and_what_no_longer_counts_is_left_out() -> None:
    entries = [
        batch(0, 7, 7, basis="before an edit of the flag"),
        batch(0, 0, 100),
        batch(MONITORED, 1, 50),
        batch(0, 2, 300, fix=FIX[:7]),
        batch(1, 0, 40, metrics={"b": {"total": 40, "bad": 0}, "a": {"total": 3, "bad": 1, "missing": 2}}),
        batch(0, 9, 9, fix=OTHER),
        batch(0, 9, 9, case="another-case"),
        moved("harm_seen", "verifying"),
    ]
    found = evidence_of(entries, CASE, FIX)
    assert [(one.stage, one.metric, one.total, one.bad, one.missing) for one in found] == [
        (0, "folders", 400, 2, 2),
        (1, "a", 3, 1, 2),
        (1, "b", 40, 0, 0),
        (MONITORED, "folders", 50, 1, 1),
    ]
    assert {(one.p0, one.alpha) for one in found} == {(0.02, 0.005)}


def test_monitoring_keeps_its_evidence_under_the_stage_that_is_told_as_such() -> None:
    assert return_monitor.MONITOR == MONITORED
