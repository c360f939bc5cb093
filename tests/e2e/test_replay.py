"""`rollback policy replay`: what the program wrote itself agrees with its own policy; a hand-written incident is told
beside what would have been; two policies on one incident are compared; and nothing is touched."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import SHIPPED_POLICIES, Cli, until
from tests.e2e.serving import datadog, serving, with_alerts

COLUMNS = ("at", "kind", "name", "value", "source", "monitor", "cycle", "priority", "tags", "authenticated", "text")
NINE = datetime(2026, 11, 23, 14, tzinfo=UTC)
MONITOR = "485476"


def rows() -> Iterator[dict[str, Any]]:
    """A made-up outage: a third of all requests fail from 8:58 on; the alert fires at 9:00, a person needs 25 minutes
    to find the switch, and brings it all back at 10:40, ten minutes before the fault is really gone."""

    def row(minutes: float, kind: str, name: str = "", value: object = "", **more: object) -> dict[str, Any]:
        return {
            "at": (NINE + timedelta(minutes=minutes)).isoformat(),
            "kind": kind,
            "name": name,
            "value": value,
            **more,
        }

    sender = {"source": "datadog", "monitor": MONITOR, "cycle": "c-1", "priority": "P1", "tags": "env:eks-prod"}
    yield row(-30, "flag", "audience", 100)
    yield row(0, "alert", "fired", **sender)
    yield row(3, "note", text="somebody looks")
    yield row(25, "disable", "a.responder", authenticated="os", text="non-200 above tolerance")
    yield row(25.2, "flag", "exposure", 0)
    yield row(70, "deploy", "api 4.11")
    yield row(95, "fix", "4be11aa")
    yield row(96, "alert", "recovered", **sender)
    yield row(100, "enable", "a.responder", authenticated="os", text="looks good")
    yield row(100.5, "flag", "exposure", 100)
    yield row(104, "disable", "a.responder", authenticated="os", text="it is not")
    yield row(104.2, "flag", "exposure", 0)
    yield row(112, "fix", "5c0ffee")
    yield row(115, "enable", "a.responder", authenticated="os", text="now it is")
    yield row(115.2, "flag", "exposure", 100)
    for second in range(-600, 10 * 3600, 10):
        broken = -120 <= second < 110 * 60
        for number, metric in enumerate(("folders", "inbox-threads")):
            yield row(second / 60, "probe", metric, int(broken and (second // 10 + number) % 3 == 0))


@pytest.fixture
def incident(tmp_path: Path) -> Path:
    file = tmp_path / "outage.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows())
    return file


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A machine with the shipped policies and no server at all."""
    return Cli(tmp_path / "here", None, SHIPPED_POLICIES, {"SM_DATADOG_MONITOR": MONITOR})


def steps(document: Any, *whats: str) -> list[float]:
    return [step["seconds"] for step in document["steps"] if step["what"] in whats]


@pytest.mark.slow
def test_a_hand_written_incident_is_told_beside_what_the_policy_would_have_done(cli: Cli, incident: Path) -> None:
    told = cli.run("policy", "replay", str(incident), "--feature", "sm", "--json").expect(0).json
    (would,), done = told["policies"], told["done"]
    assert told["feature"] == "secure-messaging"
    assert steps(would, "off_written")[0] == 0
    assert (done["figures"]["seconds_to_off"], would["figures"]["seconds_to_off"]) == (25 * 60 + 12, 0)
    assert would["figures"]["minutes_of_harm"] < 0.1 < 5 < done["figures"]["minutes_of_harm"]
    assert (done["figures"]["false_returns"], would["figures"]["false_returns"]) == (1, 0)
    assert not [at for at in steps(would, "step_raised", "returned_in_full") if at < 110 * 60], "not while it is broken"
    assert steps(would, "returned_in_full"), "and back when it is not"
    assert any("exposure that did not happen" in line for line in told["cannot_know"])
    assert not (cli.folder / "rollback.db").exists()
    assert not cli.journal.exists()


def test_for_people_it_is_a_table_with_seconds_and_hours(cli: Cli, incident: Path) -> None:
    said = cli.run("policy", "replay", str(incident), "--feature", "sm").expect(0).out
    assert "what was done" in said
    line = next(line for line in said.splitlines() if "turn off: by a.responder: non-200" in line)
    assert line.split()[:2] == ["+1500", "+0.42"]
    assert "What a replay cannot know:" in said
    assert "\x1b" not in said, "no colour where nobody looks at a terminal"


def test_two_policies_on_one_incident_are_compared(cli: Cli, incident: Path, tmp_path: Path) -> None:
    other = tmp_path / "stricter"
    shutil.copytree(SHIPPED_POLICIES, other)
    critical = other / "critical.yaml"
    text = critical.read_text()
    assert text.count("minimum_soak: 10m") == 1
    critical.write_text(text.replace("minimum_soak: 10m", "minimum_soak: 90m"))
    words = ("policy", "replay", str(incident), "--feature", "sm", "--compare", str(other), "--json")
    shipped, stricter = cli.run(*words).expect(0).json["policies"]
    assert stricter["folder"] == str(other)
    raised = [steps(one, "step_raised", "returned_in_full") for one in (shipped, stricter)]
    assert raised[0]
    assert not raised[1] or raised[1][0] > raised[0][0]
    assert stricter["figures"]["minutes_off"] > shipped["figures"]["minutes_off"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("at,kind\nyesterday,note\n", "bad.csv:2: at must be RFC 3339"),
        ("", "the file is empty"),
        ("[]", "nothing in it is about"),
    ],
)
def test_a_bad_file_is_exit_2_with_the_line(cli: Cli, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    answer = cli.run("policy", "replay", str(file), "--feature", "sm", "--json").expect(2).json
    assert says in answer["error"]["message"]
    assert cli.run("policy", "replay", str(file), "--feature", "sm").expect(2).out == ""


def test_an_unknown_feature_and_a_missing_file_are_exit_2(cli: Cli, incident: Path) -> None:
    unknown = cli.run("policy", "replay", str(incident), "--feature", "nothing").expect(2)
    assert "no feature is called 'nothing'" in unknown.err
    missing = cli.run("policy", "replay", "nowhere.csv", "--feature", "sm").expect(2)
    assert "cannot be read" in missing.err


@pytest.mark.slow
def test_what_the_program_wrote_agrees_with_its_own_policy(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world("v2")
    with_alerts(world.cli.policies)
    with serving(world.cli) as server:
        assert server.send(datadog()).status_code == 202
        until(lambda: server.cli.status()["state"] == "disabled", what="a proven off")
        world.mend()
        assert server.send(datadog("Recovered")).status_code == 202
        until(lambda: "alerts_recovered" in server.names(), what="the recovery")
        world.cli.run("enable", "sm", "--reason", "fixed", "--fix", "600df1x").expect(0)
    history = tmp_path / "history.json"
    history.write_text(world.cli.run("history", "sm", "--json").expect(0).out)
    told = world.cli.run("policy", "replay", str(history), "--feature", "sm", "--json").expect(0).json
    (same,) = told["policies"]
    assert same["apart"] == []
    assert same["agrees"] is True
    assert same["ends_in"] == "resolved"
    assert steps(same, "off_written")
    assert json.loads(history.read_text()), "and the history is as it was"
    said = world.cli.run("policy", "replay", str(history), "--feature", "sm").expect(0).out
    assert "the same steps as were taken" in said
