"""The README says what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rollback import errors
from rollback.cli.app import COMMANDS, cli
from rollback.settings import Settings

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


GROUPS = ("source", "inbox", "token", "policy", "completion")
"""Commands that have commands of their own, each with its options."""


def rows(title: str) -> dict[str, str]:
    """The table under a heading: first column (without backticks) to second."""
    section = README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| (.+?) \| (.+?) \|", section, re.M)
    return {first.strip("`"): second for first, second in found if set(first) != {"-"}}


def help_of(*words: str) -> str:
    result = CliRunner().invoke(cli, [*words, "--help"], prog_name="rollback")
    assert result.exit_code == 0, result.output
    return result.output


def test_every_command_is_in_the_readme_with_the_words_of_its_help() -> None:
    told = {name.removeprefix("rollback "): words for name, words in rows("Commands").items() if name != "command"}
    assert list(told) == list(COMMANDS)
    context = click.Context(cli)
    for name, words in told.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert " ".join((command.help or "").split()).startswith(words), name


def test_every_command_is_in_the_help() -> None:
    listed = re.findall(r"^  ([a-z-]+)  ", help_of().split("Commands:", 1)[1], re.M)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in GROUPS])
def test_every_command_has_json_and_an_example(name: str) -> None:
    text = help_of(name)
    assert "--json" in text
    assert "Example" in text


def test_exit_codes_are_those_of_the_help_and_of_the_errors() -> None:
    told = {code: words for code, words in rows("Exit codes").items() if code != "code"}
    listed = dict(re.findall(r"^ +(\d+) +(.+)$", help_of().split("Exit codes:", 1)[1], re.M))
    assert {code: words.replace("`", "") for code, words in told.items()} == {
        code: words.replace("`", "") for code, words in listed.items()
    }
    used = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RollbackError)
    }
    assert used | {0} == {int(code) for code in told}


def test_every_setting_is_in_the_readme() -> None:
    told = {name for name in rows("Settings") if name != "setting"}
    assert told == {f"ROLLBACK_{name.upper()}" for name in Settings.model_fields}
