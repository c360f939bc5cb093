"""The commands that ask and tell: check, doctor, policy, runbook, completion, history, and the demonstration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import SHIPPED_POLICIES, Cli
from tests.e2e.worlds import World, write_policies


@pytest.fixture
def shell(tmp_path: Path) -> Cli:
    """A machine without any server."""
    return Cli(tmp_path / "alone", None)


def test_check_tells_health_from_harm_and_keeps_nothing(world: World) -> None:
    unhealthy = world.cli.run("check", "sm", "--json").expect(4).json
    assert unhealthy["verdict"] == "unhealthy"
    world.mend()
    healthy = world.cli.run("check", "sm").expect(0)
    assert "healthy" in healthy.out
    assert world.writes == 0
    assert world.cli.history() == []


def test_check_without_data_is_not_healthy(world: World) -> None:
    told = world.cli.run("check", "sm", "--for", "0.3", "--json", SM_API_URL=None).expect(4).json
    assert told["verdict"] == "no_data"


def test_doctor_finds_each_connection_and_the_one_that_is_not_there(world: World) -> None:
    world.mend()
    write_policies(world.cli.policies, production=False)  # else its targets on this machine are an error
    well = world.cli.run("doctor", "sm", "--json").expect(0).json
    assert all(one["ok"] for one in well["findings"])
    assert len(well["findings"]) == 6
    ill = world.cli.run("doctor", ROLLBACK_FLIPT_URL="http://127.0.0.1:9").expect(6)
    assert "FAIL" in ill.out
    assert world.writes == 0


def test_doctor_names_settings_that_nobody_knows(world: World) -> None:
    told = world.cli.run("doctor", "sm", ROLLBACK_FLIPT_ULR="http://typo").all
    assert "ROLLBACK_FLIPT_ULR" in told


def test_policy_lint_names_file_and_line(world: World) -> None:
    broken = world.cli.policies / "features" / "broken.yaml"
    broken.write_text("feature: broken\nname: Broken\nproduction: maybe\nflag: {namespace: mhv, key: x}\n")
    told = world.cli.run("policy", "lint").expect(2)
    assert "broken.yaml:3: error" in told.out
    as_json = world.cli.run("policy", "lint", "--json").expect(2).json
    assert any(one["line"] == 3 and one["level"] == "error" for one in as_json["findings"])


def test_the_shipped_policies_have_no_error(shell: Cli) -> None:
    shell.run("policy", "lint", str(SHIPPED_POLICIES)).expect(0)


def test_policy_show_has_every_default_and_no_secret(world: World) -> None:
    told = world.cli.run("policy", "show", "sm", "--json").expect(0).json
    assert told["feature"]["flag"]["key"] == "secure-messaging"
    assert set(told["severities"]) == {"low", "high", "critical"}
    assert "secure-messaging" in world.cli.run("policy", "show", "sm").expect(0).out


def test_policy_schema_and_diagram(shell: Cli, tmp_path: Path) -> None:
    assert json.loads(shell.run("policy", "schema", "feature").expect(0).out)["type"] == "object"
    written = shell.run("policy", "schema", "--write", str(tmp_path / "schema"), "--json").expect(0).json["written"]
    assert all(Path(path).exists() for path in written)
    assert "stateDiagram" in shell.run("policy", "diagram").expect(0).out
    assert "stateDiagram" in shell.run("policy", "diagram", "--json").expect(0).json["markdown"]


def test_the_runbook_names_this_very_feature(world: World) -> None:
    told = world.cli.run("runbook", "sm").expect(0).out
    assert "secure-messaging" in told
    assert world.flipt.url in told
    assert world.cli.run("runbook", "sm", "--json").expect(0).json["manual_steps"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: Cli, name: str) -> None:
    assert "_ROLLBACK_COMPLETE" in shell.run("completion", name).expect(0).out


def test_history_in_every_form(world: World) -> None:
    world.cli.run("disable", "sm", "--reason", '=cmd() <b>"x"</b>').expect(0)
    assert "off_proven" in world.cli.run("history", "sm").expect(0).out
    assert world.cli.run("history", "sm", "--format", "markdown").expect(0).out.startswith("| sequence")
    rows = world.cli.run("history", "sm", "--format", "csv").expect(0).out
    assert "'=cmd()" in rows
    case = world.cli.status()["incident"]
    assert len(world.cli.run("history", "sm", "--incident", case).expect(0).lines) > 5
    nobody = world.cli.run("history", "sm", "--incident", "nosuch").expect(2)
    assert "There is no case nosuch in the record of secure-messaging" in nobody.err
    assert "Nothing is recorded" in world.machine("new").run("history", "sm").expect(0).out


def test_verify_reads_the_heads_on_the_flags(world: World) -> None:
    assert "nothing to verify" in world.cli.run("verify").expect(0).out
    world.cli.run("disable", "sm").expect(0)
    world.cli.run("disable", "sm").expect(0)
    told = world.cli.run("verify", "--flags", "--json").expect(0).json
    assert told["chains"][0]["anchored_to"] > 0


def test_status_of_all_features(world: World) -> None:
    told = world.cli.run("status", "--json").expect(0).json
    assert [one["feature"] for one in told["features"]] == ["secure-messaging"]
    assert "secure-messaging" in world.cli.run("status").expect(0).out
    nowhere = world.cli.run("status", "--json", ROLLBACK_FLIPT_URL="http://127.0.0.1:9").expect(0).json
    assert nowhere["features"][0]["exposure"] is None


def test_wrong_words_are_one_clear_sentence(world: World) -> None:
    for words in (("disable",), ("disable", "smm"), ("nonsense",), ("enable", "sm"), ("disable", "--flag", "x")):
        told = world.cli.run(*words).expect(2)
        assert told.err.strip()
        as_json = world.cli.run(*words, "--json").expect(2).json
        assert set(as_json["error"]) >= {"code", "message", "next"}


def test_verbose_logs_events_as_json(world: World) -> None:
    told = world.cli.run("--verbose", "disable", "sm").expect(0)
    events = [json.loads(line)["event"] for line in told.err.splitlines() if line.startswith("{")]
    assert "off_proven" in events


@pytest.mark.slow
def test_the_demonstration_comes_out_as_it_must(shell: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    told = shell.run("demo", "--json", "--picture", str(picture), timeout=240).expect(0).json
    counts = [step["on"] for step in told["steps"] if "on" in step]
    assert counts[0] == counts[1] > 0, "the naive switch leaves everybody in"
    assert counts.count(0) == 2
    assert counts[-1] == counts[0]
    assert "rollback&#160;disable&#160;sm" in picture.read_text()
