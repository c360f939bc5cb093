"""Automation held back and the inbox looked at, from the command line: hold, source, inbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rollback.adapters.inboxes import sqlite
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Delivery
from rollback.commands import inbox as inbox_command
from rollback.commands.holding import parse_until
from rollback.core.alerts import Alert, Edge, ReadingKind
from rollback.errors import ConfigurationError
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import World, write_policies

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = "long-enough-secret-that-never-shows"
AUTOMATION = """\
sources:
  datadog: {kind: datadog, authentication: secret_header, secrets: [DD_SECRET], heartbeat: {monitor: "9", every: 1d}}
  pagerduty: {kind: pagerduty, authentication: pagerduty_signature, secrets: [PD_SECRET]}
polls:
  metrics: {kind: prometheus, url: "https://metrics.example.org", credentials: {bearer: METRICS_TOKEN}}
"""
RULES = """\
owner: {role: SM team, reach: the channel}
alerts:
  - {name: sm-errors, source: datadog, monitors: ["17"], severity: critical}
  - {name: sm-incident, source: pagerduty, monitors: [P7], severity: low}
  - {name: alive, source: pagerduty, monitors: [P8], heartbeat_every: 25h}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Cli:
    """A machine with policies, rules and sources, and a flag store that nobody answers for."""
    policies = write_policies(tmp_path / "policies")
    with (policies / "features" / "secure-messaging.yaml").open("a") as file:
        file.write(RULES)
    (policies / "automation.yaml").write_text(AUTOMATION)
    settings: dict[str, str | None] = {"DD_SECRET": SECRET, "ROLLBACK_STATE": str(tmp_path / "state.db")}
    return Cli(tmp_path / "machine", "http://127.0.0.1:9", policies, settings)


def alert(**fields: Any) -> Alert:
    given = {
        "monitor": "17",
        "cycle": "c1",
        "edge": Edge.FIRED,
        "occurred_at": NOON,
        "title": "it fails",
        "tags": ("a",),
    }
    return Alert(source="datadog", **{**given, **fields})


def deliver(machine: Cli, *deliveries: Delivery) -> SqliteInbox:
    inbox = SqliteInbox(str(machine.settings["ROLLBACK_STATE"]))
    assert None not in inbox.put(deliveries)
    return inbox


def some(machine: Cli) -> None:
    """Four deliveries: one that waits, one that ended, one that was set aside, and one that nobody understood."""
    inbox = deliver(
        machine,
        Delivery("datadog", "k1", NOON, ReadingKind.ALERTS, (alert(),)),
        Delivery("datadog", "k2", NOON + timedelta(minutes=1), ReadingKind.ALERTS, (alert(monitor="9"),)),
        Delivery("pagerduty", "k3", NOON, ReadingKind.ALERTS, (alert(monitor="P7"),)),
        Delivery("pagerduty", "k4", NOON, ReadingKind.UNKNOWN, (), "not JSON", 'half an "excerpt"'),
    )
    inbox.settle({2: "it is a heartbeat", 4: "not JSON"}, NOON)
    inbox.set_aside(3, "poison", NOON)
    inbox.put([Delivery("datadog", "k1", NOON, ReadingKind.ALERTS, (alert(),))])
    inbox.close()


# -- until when --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2h", NOON + timedelta(hours=2)),
        ("30m", NOON + timedelta(minutes=30)),
        ("1d", NOON + timedelta(days=1)),
        ("24h", NOON + timedelta(days=1)),
        ("2026-11-23T18:00:00+00:00", NOON + timedelta(hours=6)),
        ("2026-11-23T18:00:00Z", NOON + timedelta(hours=6)),
        ("2026-11-23T13:00:00-05:00", NOON + timedelta(hours=6)),
    ],
)
def test_a_duration_or_a_time_says_until_when(text: str, until: datetime) -> None:
    assert parse_until(text, NOON) == until


def test_a_time_of_day_is_the_next_one_of_this_machine() -> None:
    for hour in range(24):
        until = parse_until(f"{hour}:30", NOON)
        assert NOON < until <= NOON + timedelta(days=1)
        assert until.astimezone().strftime("%H:%M") == f"{hour:02}:30"
    assert parse_until("12:00", NOON.astimezone(ZoneInfo("UTC"))) > NOON


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("25h", "more than 24 hours"),
        ("2d", "more than 24 hours"),
        ("999999999d", "more than 24 hours"),
        ("0s", "over already"),
        ("2026-11-23T11:59:00Z", "over already"),
        ("2026-11-23T18:00:00", "time zone"),
        ("24:00", "no time"),
        ("tomorrow", "no time"),
        ("", "no time"),
        ("2", "no time"),
        ("-2h", "no time"),
    ],
)
def test_what_is_no_time_or_too_long_is_refused(text: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        parse_until(text, NOON)


# -- hold --------------------------------------------------------------------------------------------------------------


def test_a_hold_names_what_it_holds_and_is_in_the_record(machine: Cli) -> None:
    told = machine.run("hold", "sm", "--until", "2h", "--reason", "load test", "--json").expect(0).json
    assert told["feature"] == "secure-messaging"
    assert told["what"] == "alerts of sm-errors, sm-incident"
    assert told["world"]["flag"] == "secure-messaging"
    entry = machine.history()[-1]
    assert entry["name"] == "automation_held"
    assert entry["data"] == {"until": told["until"].replace("Z", "+00:00"), "what": told["what"]}
    assert entry["reason"] == "load test"


def test_a_hold_needs_no_flag_store_and_no_whole_policy(machine: Cli) -> None:
    (machine.policies / "critical.yaml").write_text("severity: nonsense\n")
    feature = machine.policies / "features" / "secure-messaging.yaml"
    feature.write_text(feature.read_text() + "surprise: true\n")
    told = machine.run("hold", "sm", "--until", "30m").expect(0)
    assert "all alerts do nothing" in told.out


def test_a_hold_ends_by_a_release_and_a_second_release_changes_nothing(machine: Cli) -> None:
    machine.run("hold", "sm", "--until", "2h").expect(0)
    assert machine.run("hold", "sm", "--release", "--json").expect(0).json["was_held"]
    assert not machine.run("hold", "sm", "--release", "--json").expect(0).json["was_held"]
    assert [row["name"] for row in machine.history()] == ["automation_held", "automation_released"]


def test_a_dry_run_of_each_writes_nothing(machine: Cli) -> None:
    for words in (
        ("hold", "sm", "--until", "2h"),
        ("hold", "sm", "--release"),
        ("source", "mute", "datadog", "--until", "2h", "--reason", "r"),
        ("source", "unmute", "datadog"),
    ):
        assert machine.run(*words, "--dry-run", "--json").expect(0).json["dry_run"]
    assert machine.history() == []


@pytest.mark.parametrize(
    "words",
    [
        ("hold", "sm"),
        ("hold", "sm", "--until", "2h", "--release"),
        ("hold", "sm", "--until", "3d"),
        ("hold", "unknown", "--until", "2h"),
        ("source", "mute", "nobody", "--until", "2h", "--reason", "r"),
        ("source", "mute", "datadog", "--until", "2h"),
        ("source", "unmute", "nobody"),
        ("inbox", "show", "1"),
        ("inbox", "show", "0"),
    ],
)
def test_wrong_words_are_one_sentence_and_change_nothing(machine: Cli, words: tuple[str, ...]) -> None:
    machine.run(*words).expect(2)
    assert machine.history() == []


def test_what_does_not_exist_is_answered_with_what_does(machine: Cli) -> None:
    assert "datadog, metrics, pagerduty, probes" in machine.run("source", "unmute", "nobody").expect(2).err
    assert "secure-messaging" in machine.run("hold", "smm", "--until", "2h").expect(2).err


# -- sources -----------------------------------------------------------------------------------------------------------


def rows(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["way"]): row for row in result.expect(0).json["sources"]}


def test_sources_say_how_they_prove_themselves_and_why_they_are_closed_and_never_a_secret(machine: Cli) -> None:
    result = machine.run("source", "list", "--json")
    found = rows(result)
    assert found["datadog", "delivers"]["open"]
    assert found["datadog", "delivers"]["proves_itself_by"] == "secret_header"
    assert found["pagerduty", "delivers"]["closed_because"] == "PD_SECRET not set"
    assert found["metrics", "is asked"]["closed_because"] == "METRICS_TOKEN not set"
    in_words = machine.run("source", "list").expect(0)
    assert "CLOSED" in in_words.out
    assert SECRET not in result.all + in_words.all
    assert not Path(str(machine.settings["ROLLBACK_STATE"])).exists()


def test_a_short_secret_closes_a_source_without_being_shown(machine: Cli) -> None:
    found = rows(machine.run("source", "list", "--json", PD_SECRET="tooshort"))
    assert "shorter than" in found["pagerduty", "delivers"]["closed_because"]
    assert "tooshort" not in str(found)


def test_sources_say_when_they_were_heard_and_when_their_heartbeat_came(machine: Cli) -> None:
    some(machine)
    found = rows(machine.run("source", "list", "--json"))
    heard = found["datadog", "delivers"]
    assert heard["last_heard"] == heard["last_heartbeat"] == "2026-11-23T12:01:00Z"
    assert found["pagerduty", "delivers"]["heartbeat"]
    assert found["pagerduty", "delivers"]["last_heartbeat"] is None
    assert found["metrics", "is asked"]["last_heard"] is None
    assert "never" in machine.run("source", "list").expect(0).out


def test_a_muted_source_says_until_when_and_counts_again(machine: Cli) -> None:
    told = machine.run("source", "mute", "datadog", "--until", "1h", "--reason", "rehearsal", "--json").expect(0).json
    assert rows(machine.run("source", "list", "--json"))["datadog", "delivers"]["muted_until"] == told["until"]
    assert machine.run("source", "unmute", "datadog", "--json").expect(0).json["was_muted"]
    assert not machine.run("source", "unmute", "datadog", "--json").expect(0).json["was_muted"]
    assert rows(machine.run("source", "list", "--json"))["datadog", "delivers"]["muted_until"] is None


def test_without_automation_yaml_there_are_no_sources(machine: Cli) -> None:
    (machine.policies / "automation.yaml").unlink()
    assert "No source is configured" in machine.run("source", "list").expect(0).out


# -- the inbox ---------------------------------------------------------------------------------------------------------


def test_the_word_for_what_was_set_aside_is_the_inboxes_own() -> None:
    assert inbox_command.SET_ASIDE == sqlite.SET_ASIDE


def test_the_inbox_tells_what_waits_and_what_was_set_aside(machine: Cli) -> None:
    some(machine)
    told = machine.run("inbox", "list", "--json").expect(0).json["deliveries"]
    assert [(row["number"], row["state"]) for row in told] == [
        (4, "settled"),
        (3, "set aside"),
        (2, "settled"),
        (1, "pending"),
    ]
    assert told[1]["outcome"] == "set aside: poison"
    in_words = machine.run("inbox", "list").expect(0).out
    assert "SET ASIDE" in in_words
    assert "PENDING" in in_words
    assert len(machine.run("inbox", "list", "--limit", "1", "--json").expect(0).json["deliveries"]) == 1


def test_one_delivery_shows_its_alerts_or_its_excerpt(machine: Cli) -> None:
    some(machine)
    first = machine.run("inbox", "show", "1", "--json").expect(0).json
    assert first["alerts"][0]["monitor"] == "17"
    assert first["state"] == "pending"
    assert "it fails" in machine.run("inbox", "show", "1").expect(0).out
    assert 'half an "excerpt"' in machine.run("inbox", "show", "4").expect(0).out
    assert "the newest is 4" in machine.run("inbox", "show", "5").expect(2).err


def test_counts_are_told(machine: Cli) -> None:
    some(machine)
    assert machine.run("inbox", "counts", "--json").expect(0).json["counts"] == {"duplicate:datadog": 1}
    assert "duplicate:datadog" in machine.run("inbox", "counts").expect(0).out


def test_looking_at_an_inbox_that_is_not_there_makes_none(machine: Cli) -> None:
    assert machine.run("inbox", "list", "--json").expect(0).json["deliveries"] == []
    assert machine.run("inbox", "counts", "--json").expect(0).json["counts"] == {}
    assert "Nothing has come in" in machine.run("inbox", "list").expect(0).out
    assert not Path(str(machine.settings["ROLLBACK_STATE"])).exists()


def test_text_from_outside_cannot_write_on_the_terminal(machine: Cli) -> None:
    evil = "\x1b[2Jgone[bold]"
    deliver(machine, Delivery("datadog", "k", NOON, ReadingKind.ALERTS, (alert(monitor=evil, title=evil),))).close()
    told = machine.run("inbox", "list").expect(0).out + machine.run("inbox", "show", "1").expect(0).out
    assert "\x1b[2J" not in told
    assert "gone[bold]" in told


def test_a_held_feature_is_still_turned_off_by_a_person(world: World) -> None:
    world.cli.run("hold", "sm", "--until", "1h").expect(0)
    world.cli.run("disable", "sm").expect(0)
    assert world.cli.status()["exposure"] == 0
