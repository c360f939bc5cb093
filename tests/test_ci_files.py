"""The files for pipelines say what the command says, and pass on what they are given without reading it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from rollback.cli.pipeline import ci
from rollback.job_summary import OUTPUTS
from tests.requires import require_program

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "ci"
OF_THE_ACTION_ALONE = {"server", "version"}
NOT_FOR_THE_ACTION = {"actor", "json", "dotenv", "id-token-variable"}
FIX = "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d"


def document(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping; its `on` is no yes."""
    found = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    assert isinstance(found, dict)
    return found


def options() -> set[str]:
    """The command's long options."""
    return {name.removeprefix("--") for one in ci.params for name in one.opts if name.startswith("--")}


def arguments() -> set[str]:
    return {str(one.name) for one in ci.params if isinstance(one, click.Argument)}


ACTION = document(ROOT / "action.yml")
STEPS = ACTION["runs"]["steps"]


def test_the_actions_inputs_are_the_commands_options() -> None:
    assert set(ACTION["inputs"]) == (options() - NOT_FOR_THE_ACTION) | arguments() | OF_THE_ACTION_ALONE
    required = {name for name, one in ACTION["inputs"].items() if one.get("required") == "true"}
    assert required == arguments()
    until = next(one for one in ci.params if one.name == "until")
    assert isinstance(until.type, click.Choice)
    assert ACTION["inputs"]["until"]["default"] == until.default
    assert ACTION["inputs"]["until"]["default"] in until.type.choices


def test_the_actions_outputs_are_the_commands_outputs() -> None:
    assert set(ACTION["outputs"]) == set(OUTPUTS)
    for name, one in ACTION["outputs"].items():
        assert one["value"] == f"${{{{ steps.return.outputs.{name} }}}}"
    assert [one["id"] for one in STEPS if "id" in one] == ["return"]


def test_no_script_reads_an_input_as_a_part_of_itself() -> None:
    for step in STEPS:
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"
    used = {found for step in STEPS for found in re.findall(r"inputs\.([a-z-]+)", str(step["env"]))}
    assert used == set(ACTION["inputs"])


def test_the_scripts_pass_the_shells_own_check() -> None:
    bash = require_program("bash")
    for step in STEPS:
        subprocess.run([bash, "-n"], input=step["run"], text=True, check=True)


EVIL = ['$(touch "$MARK")', "`touch $MARK`", '"; touch "$MARK"; "', "--force", "a b\nc", "", "${{ x }}"]


def ran(folder: Path, **given: str) -> list[str]:
    """The words that the last step gives to the program."""
    bash = require_program("bash")
    program = folder / "rollback" / "bin" / "rollback"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nprintf "%s\\0" "$@" > "$OUT"\nprintf "%s" "$ROLLBACK_SERVER" > "$OUT.server"\nexit 3\n'
    )
    program.chmod(0o755)
    step = STEPS[-1]
    empty = dict.fromkeys(step["env"], "")
    variables = {**empty, "UNTIL": "resolved", "DRY_RUN": "false", "FEATURE": "sm", "FIX": FIX, **given}
    environment = {
        "PATH": os.environ["PATH"],
        "RUNNER_TEMP": str(folder),
        "OUT": str(folder / "out"),
        "MARK": str(folder / "mark"),
        **variables,
    }
    done = subprocess.run([bash, "-e"], input=step["run"], text=True, env=environment, check=False)
    assert done.returncode == 3, "the program's own exit code is the step's"
    assert not (folder / "mark").exists(), "nothing was run"
    return (folder / "out").read_text().split("\0")[:-1]


@pytest.mark.parametrize("text", EVIL)
def test_whatever_an_input_holds_reaches_the_program_as_one_word(tmp_path: Path, text: str) -> None:
    words = ran(tmp_path, FEATURE=text or "sm", REASON=text, BY=text, RUN_URL=text)
    assert words[words.index("--by") + 1] == text
    assert words[words.index("--run-url") + 1] == text
    assert words[-2:] == ["--", text or "sm"], "a feature is never an option"
    assert ("--reason" in words) == bool(text)


def test_the_program_understands_the_words(tmp_path: Path) -> None:
    words = ran(tmp_path, REASON="r", UNWATCHED="u", SUMMARY="s.md", DRY_RUN="true", SERVER="https://x.example.org")
    assert (tmp_path / "out.server").read_text() == "https://x.example.org"
    parsed = ci.make_context("ci", words[1:])
    assert parsed.params == {
        "feature": "sm",
        "fix": FIX,
        "run_url": "",
        "by": "",
        "reason": "r",
        "until": "resolved",
        "unwatched": "u",
        "summary": "s.md",
        "dotenv": None,
        "id_token_variable": None,
        "actor": None,
        "dry_run": True,
        "as_json": False,
    }


def test_a_cancelled_job_reaches_the_program_itself() -> None:
    assert re.search(r"^exec .*/bin/rollback", STEPS[-1]["run"], re.M)


def test_the_install_step_takes_a_version_or_what_is_pinned_beside_it() -> None:
    script = STEPS[0]["run"]
    assert "--require-hashes" in script
    assert (ROOT / "requirements" / "runtime.txt").is_file()
    assert 'name = "rollback-controller"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize("version", ["1.2 ; x", "--index-url=https://x.example.org", "$(x)", "1.2\n3"])
def test_a_version_that_is_none_is_refused_before_anything_is_installed(tmp_path: Path, version: str) -> None:
    bash = require_program("bash")
    environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "SOURCE": str(ROOT), "VERSION": version}
    done = subprocess.run(
        [bash, "-e"], input=STEPS[0]["run"], text=True, env=environment, check=False, capture_output=True
    )
    assert done.returncode == 2, done.stderr
    assert "no version" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_reusable_workflow_gives_the_action_what_it_knows() -> None:
    told = document(DOCS / "reusable-workflow.yml")
    (job,) = told["jobs"].values()
    (step,) = job["steps"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert set(job["outputs"]) <= set(OUTPUTS)
    called = told["on"]["workflow_call"]
    assert set(called["outputs"]) == set(job["outputs"])
    used = set(re.findall(r"inputs\.([a-z-]+)", (DOCS / "reusable-workflow.yml").read_text("utf-8")))
    assert used == set(called["inputs"])
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert told["permissions"] == {}
    assert job["concurrency"]["cancel-in-progress"] == "false"
    assert re.search(r"@[0-9a-f]{40}$", step["uses"]), "a commit, which nobody can move"


def test_the_gitlab_job_uses_options_that_there_are() -> None:
    (job,) = document(DOCS / "gitlab-ci.yml").values()
    command = next(line for line in job["script"] if "rollback ci" in line)
    words = command.split()
    assert {word.removeprefix("--") for word in words if word.startswith("--")} <= options()
    variable = words[words.index("--id-token-variable") + 1]
    assert set(job["id_tokens"]) == {variable}
    assert job["id_tokens"][variable]["aud"] == job["variables"]["ROLLBACK_SERVER"]
    assert words[words.index("--dotenv") + 1] == job["artifacts"]["reports"]["dotenv"]
    assert words[words.index("--summary") + 1] in job["artifacts"]["paths"]


def test_the_page_tells_every_option_and_output() -> None:
    page = (DOCS / "ci.md").read_text("utf-8")
    assert [name for name in options() - {"json", "actor", "dry-run"} if f"--{name}" not in page] == []
    assert [name for name in OUTPUTS if f"`{name}`" not in page] == []
