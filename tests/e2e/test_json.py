"""`--json`: one document on standard output whatever happens; help and completion for people."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from rollback.cli.app import COMMANDS
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import World, flag_of, world_in
from tests.sandbox.calls import threshold

READING = [
    ("status",),
    ("status", "sm"),
    ("status", "--flag", "default/mhv/secure-messaging"),
    ("history",),
    ("history", "sm"),
    ("verify",),
    ("verify", "--flags"),
    ("runbook", "sm"),
    ("policy", "show", "sm"),
    ("policy", "schema"),
    ("policy", "diagram"),
    ("completion", "bash"),
]
USAGE_ERRORS = [
    ("nosuch",),
    ("disable", "sm", "--nosuch"),
    ("disable", "sm", "--timeout", "soon"),
    ("disable", "sm", "too", "many"),
    ("enable", "sm"),
    ("open", "sm", "--severity", "critical", "--reason", "x"),
    ("fix", "sm"),
    ("history", "--format", "nosuch"),
    ("completion", "nosuch"),
    ("policy", "nosuch"),
]
CONFIGURATION_ERRORS = [
    ("disable",),
    ("disable", "nosuch"),
    ("disable", "--flag", "only-one-part"),
    ("status", "nosuch"),
    ("enable", "nosuch", "--reason", "x"),
    ("note", "nosuch", "text"),
    ("check", "nosuch"),
    ("runbook", "nosuch"),
    ("policy", "show", "nosuch"),
]
NOTHING_OPEN = [
    ("fix", "sm", "abc123"),
    ("keep-off", "sm", "--reason", "x"),
    ("release", "sm", "--reason", "x"),
    ("raise", "sm", "--severity", "high", "--reason", "x"),
    ("adopt", "sm"),
]


def one_document(done: Result) -> object:
    """The document on standard output, after checking that there is exactly one and no traceback."""
    assert "Traceback" not in done.all
    return json.loads(done.out)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which nothing happens: every command here reads, or is refused."""
    with world_in(tmp_path_factory.mktemp("quiet"), "v2", flag_of(threshold(100, True))) as world:
        yield world


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_every_reading_command_answers_with_one_document(quiet: World, words: tuple[str, ...]) -> None:
    done = quiet.cli.run(*words, "--json").expect(0)
    assert isinstance(one_document(done), dict | list)
    assert done.err == ""


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
def test_every_usage_error_is_one_document_and_exit_2(quiet: World, words: tuple[str, ...]) -> None:
    done = quiet.cli.run(*words, "--json").expect(2)
    check_error(done, "usage")


@pytest.mark.parametrize("words", CONFIGURATION_ERRORS, ids=" ".join)
def test_every_configuration_error_is_one_document_and_exit_2(quiet: World, words: tuple[str, ...]) -> None:
    check_error(quiet.cli.run(*words, "--json").expect(2), "configuration")


@pytest.mark.parametrize("words", NOTHING_OPEN, ids=" ".join)
def test_what_has_nothing_to_act_on_is_refused_in_one_document(quiet: World, words: tuple[str, ...]) -> None:
    check_error(quiet.cli.run(*words, "--json").expect(3), "refused")
    assert quiet.writes == 0


def check_error(done: Result, code: str) -> None:
    """`{"error": {"code", "message", "next"}, "exit": n}`, and n is the exit code."""
    told = one_document(done)
    assert isinstance(told, dict)
    assert told["exit"] == done.code
    assert told["error"].keys() >= {"code", "message", "next"}
    assert told["error"]["code"] == code
    assert told["error"]["message"]
    assert told["error"]["next"]


def test_the_same_error_in_words_goes_to_standard_error_with_what_to_do_next(quiet: World) -> None:
    done = quiet.cli.run("disable", "nosuch").expect(2)
    assert done.out == ""
    assert "Next: " in done.err


@pytest.mark.slow
def test_a_whole_story_in_json_is_one_document_a_command(quiet: World) -> None:
    world = quiet
    cli = world.machine("story")
    story: list[tuple[int, tuple[str, ...]]] = [
        (0, ("open", "sm", "--severity", "low", "--reason", "typo")),
        (0, ("raise", "sm", "--severity", "high", "--reason", "it spreads")),
        (0, ("disable", "sm", "--reason", "it is bad")),
        (0, ("keep-off", "sm", "--reason", "audit")),
        (0, ("release", "sm", "--reason", "audit is done")),
        (0, ("fix", "sm", "abc123")),
        (0, ("note", "sm", "deployed")),
        (4, ("check", "sm", "--for", "0.2")),
        (4, ("enable", "sm", "--reason", "fixed")),
        (0, ("fix", "sm", "def4567")),
        (0, ("ci", "sm", "--fix", "def4567", "--unwatched", "a test")),
        (0, ("enable", "sm", "--reason", "nothing to do")),
        (0, ("open", "sm", "--severity", "low", "--reason", "typo")),
        (0, ("close", "sm", "--reason", "fixed")),
        (0, ("disable", "sm")),
        (0, ("undo", "sm", "--reason", "wrong feature")),
    ]
    for code, words in story:
        if words[0] == "ci":
            world.mend()
        if words == ("disable", "sm"):
            world.break_it()
        if words[0] == "undo":
            world.mend()
        told = cli.run(*words, "--json").expect(code).json
        assert told["exit"] == code, words
        assert told["feature"] == "secure-messaging", words
    world.break_it()
    assert world.flag["rollouts"] == flag_of(threshold(100, True))["rollouts"]


@pytest.mark.parametrize("command", [*COMMANDS, *(f"policy {one}" for one in ("lint", "show", "schema", "diagram"))])
def test_every_command_has_help(quiet: World, command: str) -> None:
    done = quiet.cli.run(*command.split(), "--help").expect(0)
    assert done.out.startswith(f"Usage: rollback {command}")
    if command != "policy":
        assert "--json" in done.out, "every command takes it"


def test_the_programs_own_help_names_every_command_and_exit_code(quiet: World) -> None:
    done = quiet.cli.run("--help").expect(0)
    for command in COMMANDS:
        assert f"  {command} " in done.out
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130):
        assert f"  {code} " in done.out
    assert quiet.cli.run("--version").expect(0).out.startswith("rollback")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(quiet: World, shell: str) -> None:
    script = quiet.cli.run("completion", shell).expect(0).out
    assert "_ROLLBACK_COMPLETE" in script
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True, capture_output=True)


def test_completion_completes_commands(quiet: World) -> None:
    """What the shell asks when somebody types `rollback dis` and presses tab."""
    cli: Cli = quiet.cli
    done = cli.run(_ROLLBACK_COMPLETE="bash_complete", COMP_WORDS="rollback dis", COMP_CWORD="1")
    assert "disable" in done.out
