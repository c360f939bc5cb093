"""Deploys: whether one is the case's fix, whether that fix was tried and failed, and how its return stands. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rollback.core.evidence import Verdict
from rollback.core.history import Entry, EntryKind
from rollback.core.model import Incident, State

if TYPE_CHECKING:
    from rollback.core.pipeline_policy import Deploys

SHORTEST = 7
"""Hex digits by which a commit is known at least: what git abbreviates to by default."""

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
RUN_URL_PATTERN = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~%+/-]*)?"
_RUN_URL = re.compile(RUN_URL_PATTERN)
_WORKFLOW = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?/[A-Za-z0-9._~%+/-]{1,300}(@[A-Za-z0-9._~%+/-]{1,200})?")

MONITORED = 99
"""The stage under which monitoring keeps its evidence (`return_monitor`); steps count from 0."""

_ENDED = (f"{Verdict.INCONCLUSIVE}:", f"{Verdict.NO_DATA}:")
"""How the words begin with which a return ended without evidence (`return_gate`)."""


def is_commit(text: str) -> bool:
    """Whether it is a commit, whole or by its first digits."""
    return _COMMIT.fullmatch(text) is not None


def may_be_a_person(commit: str) -> bool:
    """Whether a commit could as well be somebody's number, which is not written down: nine decimal digits or more."""
    return len(commit) >= 9 and commit.isdecimal()


def same_commit(one: str, other: str) -> bool:
    """Whether two texts name one commit: each has 7 hex digits at least, and one begins with the other."""
    if not (is_commit(one) and is_commit(other)):
        return False
    long, short = sorted((one.lower(), other.lower()), key=len, reverse=True)
    return long.startswith(short)


def changes_code(incident: Incident, commit: str) -> bool:
    """Whether a deploy of this commit changes what runs: what was deployed last, else the fix, is another one."""
    return not same_commit(commit, incident.deployed or incident.fix)


def code_words(before: tuple[str, int], incident: Incident) -> str:
    """What was deployed since the case's `code` was as `before`, in words; empty when nothing was."""
    if incident.code == before:
        return ""
    what = "another fix" if incident.fix != before[0] else incident.deployed[:12]
    return f"{what} was deployed"


def is_workflow(text: str) -> bool:
    """Whether it looks like a workflow with its host: `github.com/org/repo/.github/workflows/deploy.yml@refs/…`."""
    return _WORKFLOW.fullmatch(text) is not None


def is_run_url(text: str) -> bool:
    """Whether it is a plain link: without user, password, query and fragment, in which secrets travel."""
    return len(text) <= 300 and _RUN_URL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Deploy:
    """What a pipeline says that it has deployed. `by` is who started it, claimed unless the token says so.

    `workflow` is its file with host and ref (`github.com/org/repo/….yml@refs/heads/main`); `is_authenticated` says
    whether the pipeline's own system has signed that, empty and False when nobody says.
    """

    commit: str
    run_url: str = ""
    by: str = ""
    workflow: str = ""
    is_authenticated: bool = False

    def data(self) -> dict[str, Any]:
        """For the record; what is not known is left out."""
        told = {"commit": self.commit, "run_url": self.run_url, "by": self.by, "workflow": self.workflow}
        known: dict[str, Any] = {name: text for name, text in told.items() if text}
        return {**known, "workflow_authenticated": self.is_authenticated} if self.workflow else known


class Counts(StrEnum):
    """What a deploy is to the open case."""

    LINKED = "linked"  # a responder made this commit the case's fix
    BY_POLICY = "by_policy"  # the policy lets every deploy of this workflow count
    UNRELATED = "unrelated"
    CLAIMED = "claimed"  # it would count by the policy, if somebody had signed which workflow it is


def counts(deploy: Deploy, fix: str, rule: Deploys | None) -> Counts:
    """What the deploy is to a case with this `fix` (empty: none is linked), by the severity's rule (None: none)."""
    if same_commit(deploy.commit, fix):
        return Counts.LINKED
    if rule is None or not any(_is_from(deploy.workflow, known) for known in rule.any_from):
        return Counts.UNRELATED
    if deploy.is_authenticated or rule.allow_unauthenticated:
        return Counts.BY_POLICY
    return Counts.CLAIMED


def _is_from(workflow: str, known: str) -> bool:
    """Whether a workflow, with its ref, is one of the policy, which may leave the ref open."""
    file, _, ref = known.partition("@")
    said, _, its_ref = workflow.partition("@")
    return bool(workflow) and said == file and (not ref or ref == its_ref)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a fix failed when it was tried."""

    at: datetime
    why: str


def failure(entries: Iterable[Entry], incident_id: str, commit: str) -> Failure | None:
    """The last time that this commit failed as the fix of this case; None when it never did.

    It failed when it was harmful on its way back or while monitored, when it ended without enough evidence, and when
    somebody, or an alert, turned it off while it was back. An interruption is no failure: nothing was seen.
    """
    found: Failure | None = None
    short = ""  # a step is exposed whose deadline has passed without enough evidence
    for entry in entries:
        after = entry.after or {}
        if entry.kind is not EntryKind.TRANSITION or entry.incident != incident_id:
            continue
        if not same_commit(str(after.get("fix", "")), commit):
            continue
        before, words = str((entry.before or {}).get("state", "")), _called(after)
        if entry.name == "evidence_ended" and before == State.RAMPING:
            short = words
        elif entry.name == "gate_passed":
            short = ""
        elif why := _failed(entry, before, words, short):
            found, short = Failure(entry.at, why), ""
    return found


def _called(image: Mapping[str, Any]) -> str:
    """What a person was called for, by the case's image."""
    human = image.get("needs_human")
    return str(human.get("what", "")) if isinstance(human, Mapping) else ""


def _failed(entry: Entry, before: str, words: str, short: str) -> str:
    """How this change ended a try, in words; empty when it did not."""
    match entry.name:
        case "harm_seen":
            return words or "the feature was harmful"
        case "evidence_ended" if words.startswith(_ENDED):
            return f"there was not enough evidence ({words})"
        case "watch_stopped" if short:
            return short
        case "disable_commanded" | "reduce_commanded" if before in (State.RAMPING, State.MONITORING):
            return f"{entry.actor.name} turned it down while it was back"
        case _:
            return ""


# -- what the evidence was ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageEvidence:
    """What was counted of one metric at one stage, and what its test is: E >= 1/alpha against a harm rate of p0."""

    stage: int
    metric: str
    total: int
    bad: int
    missing: int
    p0: float
    alpha: float


def evidence_of(entries: Iterable[Entry], incident_id: str, commit: str) -> list[StageEvidence]:
    """The evidence of this commit in this case, by stage and metric, summed over all runs; in the order of stages.

    Of several bases (the policy or the flag was changed in between) and attempts the newest is told: the others no
    longer count.
    """
    kept = [
        one
        for one in entries
        if one.name == "evidence" and one.incident == incident_id and same_commit(str(one.data.get("fix", "")), commit)
    ]
    newest = {int(one.data["stage"]): (one.data.get("attempt"), one.data.get("basis")) for one in kept}
    sums: dict[tuple[int, str], list[int]] = {}
    tests: dict[int, tuple[float, float]] = {}
    for one in kept:
        stage = int(one.data["stage"])
        if (one.data.get("attempt"), one.data.get("basis")) != newest[stage]:
            continue
        tests[stage] = (float(one.data.get("p0", 0.02)), float(one.data.get("alpha", 0.01)))
        for metric, counted in dict(one.data.get("metrics", {})).items():
            held = sums.setdefault((stage, metric), [0, 0, 0])
            for place, word in enumerate(("total", "bad", "missing")):
                held[place] += int(counted.get(word, 0))
    return [
        StageEvidence(stage, metric, total, bad, missing, *tests[stage])
        for (stage, metric), (total, bad, missing) in sorted(sums.items())
    ]
