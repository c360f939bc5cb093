"""docs/evidence.md is what the current code writes, and what it claims is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.figures.numbers import ROOT
from tests.figures.page import digest_line, write
from tests.figures.tables import Scale

PAGE = ROOT / "docs" / "evidence.md"


def test_the_page_was_written_by_the_current_code() -> None:
    assert digest_line() in PAGE.read_text("utf-8").splitlines(), "the figures are old: run `make evidence`"


def test_every_claim_of_the_page_holds_and_names_a_table_that_is_there() -> None:
    text = PAGE.read_text("utf-8")
    claims = re.findall(r"^\| .* \| (T\d+) \| (yes|\*\*NO\*\*) \|$", text, flags=re.MULTILINE)
    tables = set(re.findall(r"^### (T\d+)\. ", text, flags=re.MULTILINE))
    assert len(claims) >= 10
    assert {holds for _, holds in claims} == {"yes"}
    assert {table for table, _ in claims} <= tables


def test_every_picture_is_there_and_carries_no_date() -> None:
    names = re.findall(r"!\[[^]]+\]\((figures/\w+\.svg)\)", PAGE.read_text("utf-8"))
    assert len(names) >= 3
    for name in names:
        drawn = (PAGE.parent / name).read_text("utf-8")
        assert drawn.startswith("<?xml")
        assert "<dc:date>" not in drawn


def test_the_page_says_that_other_tools_rows_are_models_and_where_the_promise_ends() -> None:
    text = PAGE.read_text("utf-8")
    assert "models of published rules, not the tools" in text
    assert "## Where the promise does not hold" in text
    assert not re.search(r"\bnan\b", text), "no empty median stands in a table"


@pytest.mark.slow
def test_the_claims_hold_when_all_is_drawn_again_and_two_runs_write_the_same(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    claims = write(here, Scale.quick())
    assert [claim.text for claim in claims if not claim.holds] == []
    command = [sys.executable, "-m", "tests.figures", "--quick", "--out", str(there)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("holds (T") == len(claims)
    files = {path.relative_to(here) for path in here.rglob("*.*")}
    assert Path("evidence.md") in files
    assert len(files) >= 4
    for name in files:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name
