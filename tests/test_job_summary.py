"""The summary of a job: read by people in a hurry, written in part by strangers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.commands.pipeline_document import Verdict, verdict_of
from rollback.core.deploys import MONITORED
from rollback.job_summary import EXITS, HEADLINES, OUTPUTS, dotenv_lines, output_lines, outputs, power, render

RUN = "https://github.com/org/repo/actions/runs/19283746550"
DOCUMENT: dict[str, Any] = {
    "name": "Secure Messaging",
    "feature": "secure-messaging",
    "incident": "secure-messaging-20261124T120000Z-0000",
    "state": "resolved",
    "exposure": 100,
    "outcome": "Monitored to the end; the case is resolved.",
    "verdict": "back",
    "exit": 0,
    "next": "",
    "deploy": {"commit": "3f2c1ab", "run_url": RUN, "by": "dev", "workflow": "github.com/o/r/a.yml@refs/heads/main"},
    "unwatched": "no server yet",
    "dry_run": False,
    "evidence": [
        {
            "stage": 0,
            "metric": "folders",
            "total": 400,
            "bad": 2,
            "missing": 1,
            "log_e": 6.9,
            "bound": 600.0,
            "passed": True,
        },
        {
            "stage": 1,
            "metric": "folders",
            "total": 40,
            "bad": 9,
            "missing": 0,
            "log_e": -3.0,
            "bound": 600.0,
            "passed": False,
        },
        {"stage": MONITORED, "metric": "folders", "total": 9, "bad": 0, "missing": 0, "log_e": 1, "bound": 1},
    ],
    "timeline": [
        {"at": "2026-11-24T12:00:00Z", "what": "case_opened", "state": "triggered", "who": "ana", "known": "os"},
        {
            "at": "2026-11-24T12:09:00Z",
            "what": "note_added",
            "state": "disabled",
            "who": "bob",
            "known": "",
            "why": "x",
        },
    ],
}


def test_the_verdict_comes_first_then_evidence_then_the_timeline() -> None:
    text = render(DOCUMENT)
    assert text.startswith("## Secure Messaging is back\n\nMonitored to the end; the case is resolved.\n")
    assert text.index("exit code") < text.index("### Evidence") < text.index("### Timeline")
    assert "| exit code | 0: done |" in text
    assert f"| run | <{RUN}> |" in text
    assert "| 1 | folders | 400 | 2 | 1 | 992 | 600 | enough |" in text
    assert "| 2 | folders | 40 | 9 | 0 | 0.0498 | 600 | not enough |" in text
    assert "| monitoring | folders | 9 | 0 | 0 |  |  | watched |" in text
    assert "| 2026-11-24 12:00:00 | case opened | triggered | ana |" in text
    assert "bob (claimed)" in text
    assert "without a second watcher" in text


def test_a_document_of_a_command_that_failed_at_once_is_told_too() -> None:
    text = render({"feature": "sm", "exit": 2, "outcome": "No feature is called so.", "next": "rollback status"})
    assert text.startswith("## sm was not brought back: the job failed\n")
    assert "| exit code | 2: usage or configuration |" in text
    assert "**Next:** rollback status" in text
    assert "###" not in text
    assert render({}).startswith("## The feature was not brought back")
    assert "nothing was written" in render({"dry_run": True, "verdict": "nobody knows it"})


def test_a_link_that_is_none_is_left_out() -> None:
    assert "<javascript" not in render({**DOCUMENT, "deploy": {"run_url": "javascript:alert(1)"}})
    assert f"<{RUN}>" in render({**DOCUMENT, "deploy": {}}, RUN)


@pytest.mark.parametrize("word", list(Verdict))
def test_every_verdict_has_a_headline(word: Verdict) -> None:
    assert word.value in HEADLINES
    assert len(HEADLINES) == len(Verdict)


@pytest.mark.parametrize("code", EXITS)
def test_every_exit_code_has_a_verdict(code: int) -> None:
    assert verdict_of(code).value in HEADLINES
    assert (verdict_of(code) is Verdict.BACK) == (code == 0)


evil = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["|", "a|b", "<img src=x>", "[x](y)", "\n## x", "`x`", "@all", "\r\n| a |", "x\u2028y", "::set::"]),
)


@given(evil, evil, evil)
def test_whatever_people_wrote_makes_no_row_no_line_and_no_tag(name: str, why: str, outcome: str) -> None:
    rows = [{**DOCUMENT["timeline"][0], "why": why, "who": name}]
    text = render({**DOCUMENT, "name": name, "outcome": outcome, "timeline": rows})
    plain = render({**DOCUMENT, "timeline": DOCUMENT["timeline"][:1]})
    assert text.count("\n") == plain.count("\n")
    assert not re.search(r"<(?!https://github\.com/org/repo/actions/runs/)", text)
    row = next(line for line in text.splitlines() if line.startswith("| 2026-11-24"))
    assert row.count("|") == 6, "five cells"
    assert not re.search(r"(?<!\\)\]\(", text)


@pytest.mark.parametrize(("log_e", "told"), [(0.0, "1"), (-3.0, "0.0498"), (1000.0, "e^1000")])
def test_a_large_e_is_told_as_a_power(log_e: float, told: str) -> None:
    assert power(log_e) == told


def test_outputs_are_one_word_each() -> None:
    assert outputs(DOCUMENT) == {
        "incident": "secure-messaging-20261124T120000Z-0000",
        "state": "resolved",
        "exposure": "100",
        "exit": "0",
        "verdict": "back",
    }
    assert outputs({"exposure": None}) == {
        "incident": "",
        "state": "",
        "exposure": "",
        "exit": "1",
        "verdict": "failed",
    }
    assert output_lines(DOCUMENT).splitlines()[-1] == "verdict=back"
    assert dotenv_lines(DOCUMENT).splitlines()[0] == "RETURN_INCIDENT=secure-messaging-20261124T120000Z-0000"


@given(st.dictionaries(st.sampled_from(OUTPUTS), st.one_of(st.text(), st.integers(), st.none())))
def test_no_value_becomes_another_output(document: dict[str, Any]) -> None:
    for text in (output_lines(document), dotenv_lines(document)):
        assert len(text.splitlines()) == len(OUTPUTS)
        assert all(re.fullmatch(r"[A-Za-z_]+=[A-Za-z0-9._-]*", line) for line in text.splitlines())
