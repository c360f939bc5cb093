"""The manual steps: what they say names this feature alone, and what they tell people to type really works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback.core import marker
from rollback.core.model import Severity
from rollback.core.policy import FeaturePolicy
from rollback.flag_reference import FlagReference, parse_direct, read_flag_reference
from rollback.policy_files import Policies, load_policies
from rollback.runbook import BY_HAND, manual_steps, runbook_markdown
from rollback.sandbox import FliptServer
from tests.requires import require_program

POLICIES = Path(__file__).parent.parent / "policies"
TOKEN = "by-hand"
SEGMENT: dict[str, Any] = {
    "key": "veterans",
    "name": "Veterans",
    "match_type": "ANY_MATCH_TYPE",
    "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}],
}


def sm() -> FlagReference:
    return read_flag_reference(POLICIES, "sm", {})


def inverted() -> FlagReference:
    return parse_direct("default/mhv/secure-messaging")._replace(polarity=sm().polarity.__class__(on_value=False))


def variant() -> FlagReference:
    return sm()._replace(polarity=sm().polarity.__class__(on_variants=frozenset({"new"})))


def loaded() -> tuple[Policies, FeaturePolicy]:
    policies = load_policies(POLICIES, {})
    return policies, policies.feature("sm").policy


@contextmanager
def flipt(api: str, flag: dict[str, Any]) -> Iterator[FliptServer]:
    namespace = {"segments": [SEGMENT], "flags": [{"key": "secure-messaging", "name": "SM", **flag}, {"key": "other"}]}
    with FliptServer(api, seed={"namespaces": {"mhv": namespace}}, token=TOKEN) as server:
        yield server


def boolean(*, on: bool = True) -> dict[str, Any]:
    segment = {"segment": {"key": "veterans", "value": on}}
    half = {"description": "ours", "threshold": {"percentage": 50, "value": on}}
    return {"type": "BOOLEAN_FLAG_TYPE", "enabled": not on, "rollouts": [segment, half]}


def values(server: FliptServer) -> set[bool]:
    """What a hundred users get, veterans and others."""
    contexts: list[dict[str, str]] = [{}, {"role": "veteran"}]
    return {
        server.evaluate_boolean("mhv", "secure-messaging", f"user-{number}", context)
        for number in range(100)
        for context in contexts
    }


def typed(step: str, folder: Path) -> str:
    """Runs a step's commands as a person would paste them, and returns what they print."""
    for program in ("curl", "jq"):
        require_program(program)
    ran = subprocess.run(
        ["/bin/sh", "-c", step.partition("\n")[2]],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
        env={**os.environ, "ROLLBACK_FLIPT_TOKEN": TOKEN, "no_proxy": "*"},
    )
    return ran.stdout + ran.stderr


def step_about(steps: list[str], begin: str) -> str:
    (found,) = [step for step in steps if step.startswith(begin)]
    return found


# -- following them turns the flag off ---------------------------------------------------------


def test_the_v2_commands_turn_the_flag_off_and_keep_everything_else(tmp_path: Path) -> None:
    with flipt("v2", boolean()) as server:
        assert values(server) == {True, False}
        steps = manual_steps(sm(), [server.url], "v2")
        assert "HTTP 200" in typed(step_about(steps, "Flipt v2"), tmp_path)
        assert values(server) == {False}
        rollouts = server.flag("mhv", "secure-messaging").rollouts
        assert [rollout.description for rollout in rollouts] == [str(BY_HAND), "", "ours"]
        assert (tmp_path / "secure-messaging-before.json").read_text()
        assert '{"false":100}' in typed(step_about(steps, "Check a"), tmp_path)


def test_the_v1_command_turns_the_flag_off(tmp_path: Path) -> None:
    with flipt("v1", boolean()) as server:
        assert values(server) == {True, False}
        steps = manual_steps(sm(), [server.url], "v1")
        assert "HTTP 200" in typed(step_about(steps, "Flipt v1"), tmp_path)
        assert values(server) == {False}
        assert len(server.flag("mhv", "secure-messaging").rollouts) == 3
        assert '{"false":100}' in typed(step_about(steps, "Check a"), tmp_path)


def test_where_rank_0_is_taken_the_next_step_moves_the_kill_to_the_front(tmp_path: Path) -> None:
    with flipt("v1", boolean()) as server:
        rollouts = "/api/v1/namespaces/mhv/flags/secure-messaging/rollouts"
        first = {"rank": 0, "description": "theirs", "threshold": {"percentage": 30, "value": True}}
        assert server.carry_out("POST", rollouts, first).status == 200
        steps = manual_steps(sm(), [server.url], "v1")
        assert "rank number: 0 already exists" in typed(step_about(steps, "Flipt v1"), tmp_path)
        assert values(server) == {True, False}
        assert typed(step_about(steps, "Only if"), tmp_path).count("HTTP 200") == 2
        assert values(server) == {False}
        descriptions = [rollout.description for rollout in server.flag("mhv", "secure-messaging").rollouts]
        assert descriptions == [str(BY_HAND), "theirs", "", "ours"]


def test_on_v1_the_next_step_also_works_where_there_is_no_rollout_at_all(tmp_path: Path) -> None:
    with flipt("v1", {"type": "BOOLEAN_FLAG_TYPE", "enabled": True}) as server:
        typed(step_about(manual_steps(sm(), [server.url], "v1"), "Only if"), tmp_path)
        assert values(server) == {False}


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_flag_that_takes_the_feature_down_is_turned_the_other_way(tmp_path: Path, api: str) -> None:
    with flipt(api, boolean(on=False)) as server:
        assert values(server) == {True, False}
        steps = manual_steps(inverted(), [server.url], api)
        typed(step_about(steps, f"Flipt {api}"), tmp_path)
        assert values(server) == {True}
        assert '{"true":100}' in typed(step_about(steps, "Check a"), tmp_path)
        assert 'each must answer {"true":100}' in step_about(steps, "Check a")


VARIANT_FLAG: dict[str, Any] = {
    "type": "VARIANT_FLAG_TYPE",
    "enabled": True,
    "description": "kept",
    "variants": [{"key": "new", "name": "New", "default": True}, {"key": "old", "name": "Old"}],
    "rules": [{"segment": "veterans", "distributions": [{"variant": "new", "rollout": 100}]}],
}


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_variant_flag_is_disabled_and_loses_its_default(tmp_path: Path, api: str) -> None:
    with flipt(api, VARIANT_FLAG) as server:
        steps = manual_steps(variant(), [server.url], api)
        assert '{"new":100}' in typed(step_about(steps, "Check a"), tmp_path)
        assert "HTTP 200" in typed(step_about(steps, f"Flipt {api}"), tmp_path)
        assert '{"":100}' in typed(step_about(steps, "Check a"), tmp_path)
        flag = server.flag("mhv", "secure-messaging")
        assert (flag.enabled, flag.description, len(flag.variants), len(flag.rules)) == (False, "kept", 2, 1)


@pytest.mark.parametrize(("api", "answer"), [("v1", "404 page not found"), ("v2", '"revision"')])
def test_the_version_can_be_told_apart(tmp_path: Path, api: str, answer: str) -> None:
    with flipt(api, boolean()) as server:
        steps = manual_steps(sm(), [server.url])
        assert answer in typed(step_about(steps, "See which Flipt"), tmp_path)


def test_a_v2_write_between_ours_is_not_undone(tmp_path: Path) -> None:
    with flipt("v2", boolean()) as server:
        step = step_about(manual_steps(sm(), [server.url], "v2"), "Flipt v2")
        *before, put = step.partition("\n")[2].split(" \\\n  && ")
        typed("\n" + " && ".join(before), tmp_path)
        server.edit_flag("mhv", "other", name="edited meanwhile")
        assert "HTTP 409" in typed("\n" + put, tmp_path)
        assert server.flag("mhv", "other").name == "edited meanwhile"
        assert "HTTP 200" in typed(step, tmp_path)
        assert server.flag("mhv", "other").name == "edited meanwhile"
        assert values(server) == {False}


def test_without_a_token_nothing_is_written(tmp_path: Path) -> None:
    with FliptServer("v2", seed={"namespaces": {"mhv": {"flags": []}}}, token="another") as server:
        said = typed(step_about(manual_steps(sm(), [server.url], "v2"), "Flipt v2"), tmp_path)
        assert "401" in said
        assert server.count("PUT") == 0


def test_the_file_edit_is_what_flipt_reads(tmp_path: Path) -> None:
    file = tmp_path / "features.yml"
    step = step_about(manual_steps(sm(), [f"file:{file}"]), "Edit ")
    (flag,) = yaml.safe_load(step.partition("\n")[2])
    flag |= {"name": "SM", "type": "BOOLEAN_FLAG_TYPE", "enabled": True}
    file.write_text(yaml.safe_dump({"version": "1.4", "namespace": "mhv", "flags": [flag]}))
    with FliptServer(file=file) as server:
        assert values(server) == {False}


# -- what they say -----------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["auto", "v1", "v2"])
def test_every_command_names_this_feature_and_this_server(api: str) -> None:
    steps = manual_steps(sm(), ["https://flipt.example.gov"], api)
    writes = [step for step in steps if "-X P" in step]
    assert writes
    for step in writes:
        assert "https://flipt.example.gov/api/" in step
        assert "mhv" in step
        assert "secure-messaging" in step
    assert any("v1/namespaces" in step for step in writes) is (api != "v2")
    assert any("v2/environments/default" in step for step in writes) is (api != "v1")


def test_what_must_not_be_done_is_said_before_the_checks() -> None:
    steps = manual_steps(sm(), ["https://flipt.example.gov"])
    never = step_about(steps, "Do NOT")
    assert "enabled: false" in never
    assert "rank -1" in never
    assert steps.index(never) < steps.index(step_about(steps, "Check a"))


def test_each_replica_is_checked_and_the_first_is_written_to() -> None:
    steps = manual_steps(sm(), ["https://a.example.gov", "https://b.example.gov"])
    check = step_about(steps, "Check a")
    assert "https://a.example.gov/evaluate" in check
    assert "https://b.example.gov/evaluate" in check
    assert "https://b.example.gov/api" not in "\n".join(steps)


def test_another_environment_is_asked_for_by_its_header() -> None:
    staging = parse_direct("staging/mhv/secure-messaging")
    check = step_about(manual_steps(staging, ["https://a.example.gov"]), "Check a")
    assert "X-Flipt-Environment: staging" in check
    assert "X-Flipt" not in step_about(manual_steps(sm(), ["https://a.example.gov"]), "Check a")


def test_without_an_address_the_commands_take_it_from_the_shell() -> None:
    assert '"$ROLLBACK_FLIPT_URL/api/v1/' in "\n".join(manual_steps(sm(), [], "v1"))


def test_the_token_is_never_in_the_text() -> None:
    text = "\n".join(manual_steps(sm(), ["https://flipt.example.gov"]))
    assert "$ROLLBACK_FLIPT_TOKEN" in text
    assert TOKEN not in text.replace("byhand", "")


def test_how_soon_users_follow_and_what_is_not_reached_is_said() -> None:
    last = manual_steps(sm(), ["https://flipt.example.gov"])[-1]
    assert "within 120 s" in last
    assert "mobile app" in last
    _, feature = loaded()
    assert manual_steps(feature, ["https://flipt.example.gov"])[-1] == last


def test_a_kill_by_hand_is_known_as_ours_later() -> None:
    found = marker.parse(str(BY_HAND))
    assert found == BY_HAND
    assert found is not None
    assert (found.role, found.epoch) == ("kill", 0)


# -- the page ----------------------------------------------------------------------------------


def page(urls: tuple[str, ...] = ("https://flipt.example.gov",)) -> str:
    policies, feature = loaded()
    severities = [policies.severity(feature, severity).policy for severity in reversed(Severity)]
    return runbook_markdown(feature, severities, urls)


def test_the_page_has_what_the_teams_runbook_has() -> None:
    text = page()
    for expected in (
        "# Secure Messaging on VA.gov: incident response",
        "https://vagov.ddog-gov.com/dashboard/5r5-ra2-qga/mhv-secure-messaging",
        "https://vagov.ddog-gov.com/dashboard/39q-93p-ftw/mhv-secure-messaging-metrics",
        "https://appdynprd.aac.va.gov/",
        "https://dsva.pagerduty.com/service-directory/P7LKM9I",
        "OCTO Health team",
        "SM on va.gov team",
        "MHV SM Patient API team",
        "SM Patient API (mhv-sm-patient-api)",
        '`rollback disable sm --reason "…"`',
        "`rollback open sm --severity low",
        "Debugging starts immediately",
        "normal CI/CD practices",
        "no interruption to feature uptime",
        "| flag | off | reduced to 10 % | leave |",
        "rank -1",
    ):
        assert expected in text, expected


def test_the_page_has_every_manual_step() -> None:
    _, feature = loaded()
    text = page()
    for step in manual_steps(feature, ["https://flipt.example.gov"]):
        first, _, commands = step.partition("\n")
        assert first in text
        assert all(f"   {line}" in text for line in commands.split("\n"))


def test_tables_survive_a_bar_in_a_text_and_sections_without_content_are_left_out() -> None:
    policies, feature = loaded()
    surfaces = (feature.surfaces[0].model_copy(update={"because": "a|b"}),)
    bare = FeaturePolicy(feature="x", name="X", production=False, flag=feature.flag, surfaces=surfaces)
    severities = [policies.severity(feature, Severity.LOW).policy]
    text = runbook_markdown(bare, severities)
    assert "a\\|b" in text
    assert "PagerDuty" not in text
    assert "## Contacts" not in text
    assert "`rollback status x`" in text
