"""The summary of a job of a pipeline, as Markdown, and its outputs for later steps. Pure.

Both are made from the job's document (`commands.pipeline`). What people and alerts wrote in there stays text: it makes
no link, no name that is called, no row and no line of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rollback.core.deploys import MONITORED, is_run_url
from rollback.words import clean

EXITS = {
    0: "done",
    1: "unexpected",
    2: "usage or configuration",
    3: "refused by policy",
    4: "not healthy, or not enough evidence; or a disable came in between",
    5: "done but not proven, or sent and not settled",
    6: "flag store or server out of reach or refused",
    8: "journal or ledger cannot be written",
    130: "interrupted; what was raised is down again, or `serve` watches it",
}
"""What the exit codes of `rollback ci` mean."""

OUTPUTS = ("incident", "state", "exposure", "exit", "verdict")
"""What later steps get."""

HEADLINES = {
    "back": "is back",
    "nothing_to_do": "has no open case",
    "recorded": "stays as it is: this deploy is not the fix of its case",
    "refused": "was not brought back: refused",
    "not_healthy": "is not back: the evidence is not there",
    "unwatched": "is not back: nobody else would watch it",
    "not_proven": "has not settled: something is not proven, or not known here",
    "unreachable": "was not brought back: the flag store or the server is out of reach",
    "unwritable": "was not brought back: the record cannot be written",
    "interrupted": "is not back: the job was ended",
    "failed": "was not brought back: the job failed",
}
"""How a summary begins, by verdict: behind the feature's name."""

_MARKDOWN = str.maketrans(
    {letter: f"&#{ord(letter)};" for letter in "<>&`|\\"}
    | {letter: f"\\{letter}" for letter in "*_[]~!"}
    | {letter: f"{letter}&#8203;" for letter in "@#"}
)


def render(document: Mapping[str, Any], run_url: str = "") -> str:
    """The summary: verdict first, then evidence, timeline, the link to the run, and what the exit code means.

    A document without `verdict` is that of a command that failed before it had any.
    """
    code = _whole(document.get("exit"), 1)
    verdict = str(document.get("verdict") or "failed")
    name = _text(document.get("name") or document.get("feature") or "The feature")
    lines = [f"## {name} {HEADLINES.get(verdict, HEADLINES['failed'])}", ""]
    lines += [_text(document.get("outcome") or "It ended without a word."), ""]
    if document.get("next"):
        lines += [f"**Next:** {_text(document['next'])}", ""]
    lines += [*_facts(document, code, run_url), ""]
    lines += _evidence(document.get("evidence") or ())
    lines += _timeline(document.get("timeline") or ())
    return "\n".join(lines).rstrip() + "\n"


def _facts(document: Mapping[str, Any], code: int, run_url: str) -> list[str]:
    """A table of what people ask first."""
    deploy = document.get("deploy") or {}
    url = run_url or str(deploy.get("run_url", ""))
    exposure = document.get("exposure")
    rows = [
        ("exit code", f"{code}: {EXITS.get(code, 'unexpected')}"),
        ("case", _text(document.get("incident") or "none")),
        ("state", _text(document.get("state") or "unknown")),
        ("exposure", "not asked" if exposure is None else f"{_text(exposure)} of 100 buckets"),
        ("deployed", _text(deploy.get("commit") or "unknown")),
    ]
    for word, title in (("by", "by"), ("workflow", "workflow")):
        if deploy.get(word):
            rows.append((title, _text(deploy[word])))
    if document.get("unwatched"):
        rows.append(("without a second watcher", _text(document["unwatched"])))
    if url and is_run_url(url):
        rows.append(("run", f"<{url}>"))
    if document.get("dry_run"):
        rows.append(("dry run", "nothing was written"))
    return ["| | |", "| --- | --- |", *(f"| {title} | {told} |" for title, told in rows)]


def _evidence(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One row a step and metric. A step passes when every metric's E reaches its bound."""
    if not rows:
        return []
    lines = ["### Evidence", "", "| step | metric | samples | bad | no data | E | bound | |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for row in rows:
        stage = _whole(row.get("stage"), 0)
        is_gate = stage != MONITORED
        title = f"{stage + 1}" if is_gate else "monitoring"
        figures = [power(float(row["log_e"])), f"{float(row['bound']):g}"] if is_gate else ["", ""]
        verdict = ("enough" if row.get("passed") else "not enough") if is_gate else "watched"
        counts = [str(_whole(row.get(word), 0)) for word in ("total", "bad", "missing")]
        lines.append("| " + " | ".join([title, _text(row.get("metric")), *counts, *figures, verdict]) + " |")
    return [*lines, "", "Step 1 is what was asked before anybody was let in.", ""]


def power(log_value: float) -> str:
    """E from its logarithm, short."""
    return f"{math.exp(log_value):.3g}" if log_value < 300 else f"e^{log_value:.0f}"


def _timeline(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["### Timeline (UTC, from the record)", "", "| time | what | state | who | why |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in rows:
        who = f"{_text(row.get('who'))}{'' if row.get('known') else ' (claimed)'}"
        at = _text(str(row.get("at", ""))[:19].replace("T", " "))
        what = _text(str(row.get("what", "")).replace("_", " "))
        lines.append(f"| {at} | {what} | {_text(row.get('state'))} | {who} | {_text(row.get('why'))} |")
    return [*lines, ""]


def _text(value: object) -> str:
    """A value as text in a cell: nobody is led or called anywhere by it."""
    text = " ".join(clean(str("" if value is None else value)).split())[:500]
    return text.translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


# -- outputs -----------------------------------------------------------------------------------------------------------


def outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """What later steps get, each one word: `exposure` is empty when it is not known, `incident` when there is none."""
    told = {name: "" if document.get(name) is None else str(document[name]) for name in OUTPUTS}
    told["verdict"] = told["verdict"] or "failed"
    told["exit"] = told["exit"] or "1"
    return {name: re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:200] for name, text in told.items()}


def output_lines(document: Mapping[str, Any]) -> str:
    """For the file of `GITHUB_OUTPUT`."""
    return "".join(f"{name}={value}\n" for name, value in outputs(document).items())


def dotenv_lines(document: Mapping[str, Any]) -> str:
    """For a dotenv report of GitLab: `RETURN_STATE=…`. None of these names is a setting of this program."""
    return "".join(f"RETURN_{name.upper()}={value}\n" for name, value in outputs(document).items())
