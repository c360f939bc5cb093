"""Finds what cannot work in a release plan: stages that open nothing, dates that the window does not allow."""

from __future__ import annotations

from collections.abc import Iterator

from rollback.core.flag import BUCKETS
from rollback.core.release_policy import Stage
from rollback.policy_files import LoadedRelease
from rollback.policy_findings import Finding


def lint_release(loaded: LoadedRelease) -> Iterator[Finding]:
    """What is wrong with one plan, or worth knowing. A plan without numbers is a plan: people judge it."""
    plan = loaded.policy
    for index, stage in enumerate(plan.stages):
        if stage.percent is not None and stage.percent != int(stage.percent):
            message = f"stage {stage.percent:g} % is no whole number: a flag has {BUCKETS} buckets"
            yield _finding(loaded, "error", message, "stages", index, "percent")
        yield from _window(loaded, index, stage)
    is_gated = plan.criteria or plan.judgement or any(stage.samples for stage in plan.stages)
    if plan.stages and not is_gated:
        message = "nothing must hold before the next stage: name criteria or samples, or judgement: true"
        yield _finding(loaded, "warning", message, "stages")


def _window(loaded: LoadedRelease, index: int, stage: Stage) -> Iterator[Finding]:
    """Stages sized by percent happen within the window; a first try by a few may come before it."""
    window = loaded.policy.window
    if window is None or stage.percent is None:
        return
    for name, day in (("starts", stage.starts), ("ends", stage.ends)):
        if day is not None and not window.first <= day <= window.last:
            message = f"{name} {day} is outside of the window, {window.first} to {window.last}"
            yield _finding(loaded, "error", message, "stages", index, name)


def _finding(loaded: LoadedRelease, level: str, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error" if level == "error" else "warning", message)
