"""The doctor of automation: what is configured, whether features are armed, and test events through a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.alert_sources import PARSERS
from rollback.adapters.alert_sources.authenticity import authenticity
from rollback.adapters.alert_sources.test_events import trial_body, trial_headers
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.arming_record import write_checked
from rollback.clock import SystemClock
from rollback.core.alerts import ReadingKind
from rollback.core.arming import Check, CheckState, armed
from rollback.errors import ConfigurationError
from rollback.history import History
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Running
from tests.e2e.worlds import FEATURE, World, seen_of, write_policies

SECRET = "long-enough-secret-that-never-shows"
AUTOMATION = """\
sources:
  datadog: {kind: datadog, authentication: secret_header, header: X-Ours, secrets: [DD_SECRET, DD_OLD]}
  pagerduty: {kind: pagerduty, authentication: pagerduty_signature, secrets: [PD_SECRET]}
  alertmanager: {kind: alertmanager, authentication: bearer, secrets: [AM_SECRET]}
  appdynamics: {kind: appdynamics, authentication: basic, user: rollback, secrets: [AD_SECRET]}
  generic: {kind: generic, authentication: secret_header, secrets: [OWN_SECRET]}
  closed: {kind: generic, authentication: bearer, secrets: [ROLLBACK_NEVER_SET]}
notices:
  slack: {kind: slack, url_variable: ROLLBACK_SLACK_URL}
heartbeat: {url: "${ROLLBACK_HEARTBEAT_URL}"}
"""
SECRETS = ("DD_SECRET", "PD_SECRET", "AM_SECRET", "AD_SECRET", "OWN_SECRET")
RULES = """\
alerts:
  - {name: sm-errors, source: datadog, monitors: ["rollback-doctor"], severity: critical}
  - {name: sm-own, source: generic, tags: ["env:prod"], severity: critical}
"""


@pytest.fixture
def automated(make_world: MakeWorld) -> World:
    """A world with automation, whose rules would even match the monitor that test events name."""
    world = make_world("v2")
    world.mend()
    write_policies(world.cli.policies, production=False)
    with (world.cli.policies / "features" / f"{FEATURE}.yaml").open("a") as file:
        file.write(RULES)
    (world.cli.policies / "automation.yaml").write_text(AUTOMATION)
    world.cli.settings |= {name: f"{SECRET}-{name}" for name in SECRETS}
    world.cli.settings["ROLLBACK_STATE"] = str(world.folder / "state.db")
    return world


def findings(world: World, *words: str, code: int, **more: Any) -> dict[str, dict[str, Any]]:
    told = world.cli.run("doctor", *words, "--json", **more).expect(code)
    assert SECRET not in told.all
    return {one["what"]: one for one in told.json["findings"]}


@contextmanager
def serving(world: World) -> Iterator[str]:
    """`rollback serve` as a process; its address."""
    server = world.cli.start("serve", "--port", "0")
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", server.said("Ready"))
        assert found is not None
        yield found[0]
    finally:
        _end(server)


def _end(server: Running) -> None:
    server.signal()
    server.result()


# -- what each kind sends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PARSERS))
def test_every_kind_has_a_test_event_that_its_own_parser_reads_as_one(kind: str) -> None:
    at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    one, other = (PARSERS[kind](kind, {}, trial_body(kind, at, word)) for word in ("w1", "w2"))
    assert one.kind is other.kind is ReadingKind.TEST
    assert one.alerts == ()
    assert one.key != other.key


@pytest.mark.parametrize("scheme", ["secret_header", "basic", "bearer", "pagerduty_signature"])
def test_test_events_prove_their_sender_as_the_receiver_checks_it(scheme: str) -> None:
    check = authenticity(scheme, [SECRET], header="X-Ours", user="rollback")
    headers = trial_headers(scheme, SECRET, b"{}", header="X-Ours", user="rollback")
    assert check.check({name.lower(): value for name, value in headers.items()}, b"{}") is None
    wrong = trial_headers(scheme, f"{SECRET}-wrong", b"{}", header="X-Ours", user="rollback")
    assert check.check({name.lower(): value for name, value in wrong.items()}, b"{}") is not None


def test_unknown_kinds_and_schemes_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as kind:
        trial_body("nagios", datetime.now(UTC), "w")
    assert "pagerduty" in kind.value.next
    with pytest.raises(ConfigurationError) as scheme:
        trial_headers("none", SECRET, b"")
    assert "bearer" in scheme.value.next


# -- what is configured ------------------------------------------------------------------------------------------------


def test_the_doctor_says_of_each_source_and_way_whether_it_is_open(automated: World) -> None:
    found = findings(automated, code=2)
    assert found["automation"]["ok"]
    assert found["source datadog"]["ok"]
    assert "ROLLBACK_NEVER_SET not set" in found["source closed"]["detail"]
    assert not found["notices slack"]["ok"]
    assert not found["heartbeat"]["ok"]
    assert found["state database"]["ok"]
    assert automated.writes == 0


def test_variables_that_the_policies_name_are_no_unknown_settings(automated: World) -> None:
    found = findings(automated, code=2, ROLLBACK_SLACK_URL="https://hooks.example.org/x", ROLLBACK_STRANGE="1")
    assert "ROLLBACK_STRANGE" in found["settings"]["detail"]
    assert "ROLLBACK_SLACK_URL" not in found["settings"]["detail"]
    assert found["notices slack"]["ok"]


def test_a_state_database_that_cannot_be_written_is_found(automated: World) -> None:
    found = findings(automated, code=2, ROLLBACK_STATE=str(automated.folder / "nowhere" / "state.db"))
    assert not found["state database"]["ok"]


def test_a_broken_automation_yaml_is_told_by_its_line(automated: World) -> None:
    (automated.cli.policies / "automation.yaml").write_text("sources: {x: {kind: nagios}}\n")
    found = findings(automated, code=2)
    assert "automation.yaml:1" in found["automation"]["detail"]
    assert "state database" not in found


def test_a_feature_that_nobody_checks_is_not_armed(automated: World) -> None:
    assert "nobody has checked it" in findings(automated, code=2)[f"{FEATURE}: armed"]["detail"]


@pytest.mark.parametrize("is_well", [True, False])
def test_the_doctor_tells_what_the_server_has_found(automated: World, is_well: bool) -> None:
    cli, clock = automated.cli, SystemClock()
    history = History(cli.journal, f"sqlite:///{cli.ledger}", lambda _: None)
    state = CheckState.OK if is_well else CheckState.FAILED
    checks = [Check("write", state, "tried", clock.now(), clock.now() + timedelta(days=1))]
    write_checked(history, clock, FEATURE, armed(checks, clock.now()), clock.now(), checks)
    finding = findings(automated, code=2)[f"{FEATURE}: armed"]
    assert finding["ok"] is is_well
    assert is_well or "write: failed: tried" in finding["detail"]


# -- through a real server ---------------------------------------------------------------------------------------------


def test_each_open_source_is_tried_through_the_server_recorded_and_nothing_happens(automated: World) -> None:
    before, flag = automated.writes, seen_of(automated.flipt)
    with serving(automated) as url:
        found = findings(automated, "--send-test-events", "--server", url, code=2)
    for name in ("datadog", "pagerduty", "alertmanager", "appdynamics", "generic"):
        finding = found[f"test event {name}"]
        assert finding["ok"], finding
        assert "recorded as a test, did nothing" in finding["detail"]
    assert "not sent" in found["test event closed"]["detail"]
    inbox = SqliteInbox(str(automated.cli.settings["ROLLBACK_STATE"]))
    kept = [one for one, outcome in inbox.recent(100) if outcome]
    inbox.close()
    assert {one.source for one in kept} == {"datadog", "pagerduty", "alertmanager", "appdynamics", "generic"}
    assert all(one.kind is ReadingKind.TEST and one.alerts == () for one in kept)
    assert automated.writes == before
    assert seen_of(automated.flipt) == flag
    assert automated.cli.status()["incident"] is None


def test_a_secret_that_differs_from_the_servers_is_found(automated: World) -> None:
    with serving(automated) as url:
        found = findings(automated, "--send-test-events", "--server", url, code=2, DD_SECRET=f"{SECRET}-another")
    assert not found["test event datadog"]["ok"]
    assert "answered 401" in found["test event datadog"]["detail"]
    assert found["test event pagerduty"]["ok"]


def test_a_server_that_is_not_there_is_told_and_nothing_is_recorded(automated: World) -> None:
    found = findings(automated, "--send-test-events", "--server", "http://127.0.0.1:9", code=2)
    assert "cannot be reached" in found["test event datadog"]["detail"]
    inbox = SqliteInbox(str(automated.cli.settings["ROLLBACK_STATE"]))
    assert inbox.recent(10) == []
    inbox.close()


@pytest.mark.parametrize("url", ["http://rollback.example.org", "ftp://127.0.0.1", "rollback.example.org"])
def test_secrets_are_sent_nowhere_in_the_clear(automated: World, url: str) -> None:
    told = automated.cli.run("doctor", "--send-test-events", "--server", url, "--json")
    told.expect(2)
    assert "cannot be used" in json.loads(told.out)["error"]["message"]


def test_a_server_alone_is_a_usage_error(automated: World) -> None:
    automated.cli.run("doctor", "--server", "http://127.0.0.1:1").expect(2)


def test_without_automation_the_doctor_is_as_before(automated: World) -> None:
    Path(automated.cli.policies / "automation.yaml").unlink()
    feature = automated.cli.policies / "features" / f"{FEATURE}.yaml"
    feature.write_text(feature.read_text().replace(RULES, ""))
    found = findings(automated, code=0)
    assert len(found) == 6
