"""`policy lint` on alerts: rules that can never act or act on a stranger's word, and `automation.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback.policy_files import load_policies
from rollback.policy_lint import Finding, lint
from tests.test_policy_lint import FEATURE, POLICIES, SET, TOKEN, only

RULE: dict[str, Any] = {"name": "errors", "source": "datadog", "monitors": ["17"], "severity": "critical"}
OWNER = {"role": "team", "reach": "Slack"}
SOURCES: dict[str, Any] = {
    "datadog": {"kind": "datadog", "authentication": "secret_header", "secrets": ["DATADOG_SECRET"]},
    "pagerduty": {"kind": "pagerduty", "authentication": "pagerduty_signature", "secrets": ["PAGERDUTY_SECRET"]},
    "appdynamics": {"kind": "appdynamics", "authentication": "bearer", "secrets": ["APPDYNAMICS_SECRET"]},
    "homemade": {"kind": "generic", "authentication": "bearer", "secrets": ["HOMEMADE_SECRET"]},
}
USED = [{**RULE, "name": name, "source": name, "severity": "low"} for name in SOURCES]
"""A rule of each source, so that none is unused."""
AUTOMATION: dict[str, Any] = {
    "sources": SOURCES,
    "heartbeat": {"url": "${ROLLBACK_HEARTBEAT_URL}"},
    "notices": {"slack": {"kind": "slack", "url_variable": "SLACK_URL"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("critical", "high", "low"):
        (tmp_path / f"{name}.yaml").write_text((POLICIES / f"{name}.yaml").read_text())
    (tmp_path / "features").mkdir()
    return tmp_path


def write(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def lint_rules(folder: Path, *rules: dict[str, Any], owner: Any = OWNER, **more: Any) -> list[Finding]:
    """The findings on a feature with these rules, beside a file with nothing to remark."""
    write(folder / "automation.yaml", AUTOMATION)
    feature = yaml.safe_load(FEATURE)
    used = {**feature, "feature": "used", "flag": {"namespace": "mhv", "key": "used"}, "alerts": USED, "owner": OWNER}
    write(folder / "features" / "used.yaml", used)
    with_alerts = {**feature, "alerts": list(rules), "owner": owner, **more}
    write(folder / "features" / "extra.yaml", {name: value for name, value in with_alerts.items() if value is not None})
    found = lint(load_policies(folder, SET))
    assert {one.file.name for one in found} <= {"extra.yaml"}, "\n".join(map(str, found))
    return found


def lint_file(folder: Path, environ: dict[str, str] | None = None, **changes: Any) -> list[Finding]:
    """The findings on `automation.yaml` with these changes."""
    lint_rules(folder, RULE)
    write(folder / "automation.yaml", {**AUTOMATION, **changes})
    found = lint(load_policies(folder, SET if environ is None else environ))
    return [one for one in found if one.file.name == "automation.yaml"]


def guard(*by: str) -> dict[str, Any]:
    return {"guard": {"within": "60s", "by": list(by)}}


# -- a feature's rules -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"monitors": [], "tags": ["env:prod"]},
        {"monitors": [], "tags": ["environment:prod"]},
        {"source": "pagerduty"},
        {"source": "homemade", "severity": "low"},
        {"source": "appdynamics", **guard("probes")},
        {"source": "appdynamics", **guard("datadog", "probes")},
        {"severity": None, "heartbeat_every": "1d"},
        {"source": "homemade", "severity": None, "heartbeat_every": "1d"},
    ],
)
def test_rules_with_nothing_to_remark(folder: Path, fields: dict[str, Any]) -> None:
    other = {**RULE, "name": "other", "severity": "low"}
    assert lint_rules(folder, other, {**RULE, **fields}) == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"monitors": []}, "names neither a monitor nor an environment"),
        ({"monitors": [], "tags": ["service:sm"], "severity": "low"}, "names neither a monitor nor an environment"),
        ({"source": "nagios"}, "automation.yaml has no source nagios; known: appdynamics, datadog, homemade"),
        ({"source": "probes"}, "write `probing` for continuous probes"),
        ({"source": "appdynamics"}, "appdynamics is a weak sender (appdynamics)"),
        ({"source": "homemade", "severity": "high"}, "homemade is a weak sender (generic)"),
        (guard("pagerduty"), "no rule of this feature has the source pagerduty"),
        (guard("datadog"), "datadog would agree with itself"),
        ({"heartbeat_every": "1d"}, "is a heartbeat, which does nothing"),
        ({"heartbeat_every": "1d", "severity": None, **guard("probes")}, "is a heartbeat, which does nothing"),
    ],
)
def test_a_rule_that_fails_when_it_is_needed_is_one_error(folder: Path, fields: dict[str, Any], word: str) -> None:
    found = only(lint_rules(folder, {**RULE, **fields}))
    assert (found.level, word in found.message) == ("error", True), found


def test_a_remark_names_the_line_of_its_rule(folder: Path) -> None:
    found = only(lint_rules(folder, RULE, {**RULE, "name": "other", "source": "nagios"}))
    lines = found.file.read_text().splitlines()
    assert lines[found.line - 1].strip() == "source: nagios"


def test_two_rules_of_one_name_are_an_error_each(folder: Path) -> None:
    found = lint_rules(folder, RULE, {**RULE, "severity": "low"})
    assert [one.level for one in found] == ["error", "error"]
    assert all("two rules are called errors" in one.message for one in found)
    running = {"probing": {"enabled": True, "severity": "low"}}
    assert "two rules are called probes" in only(lint_rules(folder, {**RULE, "name": "probes"}, **running)).message


def test_a_heartbeat_cannot_agree(folder: Path) -> None:
    alive = {**RULE, "name": "alive", "source": "pagerduty", "severity": None, "heartbeat_every": "1d"}
    found = only(lint_rules(folder, alive, {**RULE, **guard("pagerduty")}))
    assert "it can never agree" in found.message


def test_probes_cannot_agree_where_there_are_none_or_none_can_be_asked(folder: Path) -> None:
    rule = {**RULE, **guard("probes")}
    found = lint_rules(folder, rule, health={"endpoints": []})
    assert any("probes can never agree" in one.message and one.level == "error" for one in found)
    control = {"name": "control", "url": "https://control.example.gov"}
    unknown = {"control": control, "endpoints": [{"name": "a", "url": "${NOT_SET}/a"}]}
    found = lint_rules(folder, rule, health=unknown)
    assert {one.level for one in found} == {"warning"}
    assert any("no endpoint can be asked here" in one.message for one in found)


@pytest.mark.parametrize(
    ("monitors", "word"),
    [(["${A_MONITOR}", "${B_MONITOR}"], "A_MONITOR and B_MONITOR is not set here"), ([""], "monitors are all empty")],
)
def test_a_rule_whose_monitors_are_not_set_here_is_remarked(folder: Path, monitors: list[str], word: str) -> None:
    found = only(lint_rules(folder, {**RULE, "monitors": monitors}))
    assert (found.level, word in found.message) == ("warning", True)
    assert "matches no alert" in found.message


def test_a_feature_that_nobody_owns_is_remarked_when_alerts_can_turn_it_off(folder: Path) -> None:
    assert "no owner is named" in only(lint_rules(folder, RULE, owner=None)).message
    assert lint_rules(folder, RULE, owner=None, production=False) == []
    assert lint_rules(folder, owner=None) == []


def test_continuous_probes_need_a_control_target_and_endpoints(folder: Path) -> None:
    running = {"enabled": True, "severity": "critical"}
    assert lint_rules(folder, probing=running) == []
    endpoint = {"name": "a", "url": "https://extra.example.gov/a"}
    found = lint_rules(folder, probing=running, health={"endpoints": [endpoint]})
    assert [one.level for one in found] == ["warning", "error"]
    assert "probing needs a control target" in found[1].message
    assert lint_rules(folder, probing={**running, "enabled": False}, health={"endpoints": [endpoint]})[1:] == []
    control = {"name": "control", "url": "https://control.example.gov"}
    empty = lint_rules(folder, probing=running, health={"control": control, "endpoints": []})
    assert any("probing has no endpoints to ask" in one.message for one in empty)


def test_a_shadow_flag_that_is_another_features_is_an_error(folder: Path) -> None:
    assert lint_rules(folder, shadow_flag="nobody-reads-this") == []
    assert "the shadow flag is the flag of used" in only(lint_rules(folder, shadow_flag="used")).message


# -- automation.yaml ---------------------------------------------------------------------------


def test_a_file_with_nothing_to_remark(folder: Path) -> None:
    assert lint_file(folder) == []


def test_a_file_that_only_sets_the_brake_asks_for_nobody_to_tell(folder: Path) -> None:
    lint_rules(folder)
    (folder / "features" / "used.yaml").unlink()
    write(folder / "automation.yaml", {"storm_brake": {"features": 1, "window": "1h"}})
    assert lint(load_policies(folder, SET)) == []


def test_the_example_in_the_readme_is_a_rule_that_works(folder: Path) -> None:
    blocks = (POLICIES / "README.md").read_text().split("```yaml\n")[1:]
    told = [yaml.safe_load(block.partition("```")[0]) for block in blocks]
    feature, alerts = told[0], next(one for one in told if "alerts" in one)
    assert feature["feature"] == "prescriptions"
    health = yaml.safe_load(FEATURE)["health"]
    assert lint_rules(folder, *alerts.pop("alerts"), health=health, **alerts) == []


def changed(name: str, **fields: Any) -> dict[str, Any]:
    return {"sources": {**SOURCES, name: {**SOURCES[name], **fields}}}


@pytest.mark.parametrize(
    ("changes", "level", "word"),
    [
        (changed("datadog", secrets=[]), "error", "datadog has no secrets, so every delivery is turned away"),
        (changed("datadog", maximum_age="2h"), "warning", "may be 2h old and still turn a feature off"),
        (changed("datadog", secrets=["AKIAIOSFODNN7EXAMPLE"]), "error", "looks like a secret"),
        (changed("datadog", secrets=["B7K2M9QX4T8WZ3R6"]), "error", "looks like a secret"),
        (changed("datadog", secrets=["PAGERDUTY_SECRET"]), "warning", "datadog and pagerduty share PAGERDUTY_SECRET"),
        ({"heartbeat": None}, "warning", "nobody notices when automation dies"),
        ({"heartbeat": {"url": "${NOT_SET}"}}, "warning", "nobody notices when automation dies"),
        ({"heartbeat": {"url": "https://alive.example.org/1"}}, "error", "the heartbeat's address is a secret"),
        ({"notices": {}}, "warning", "only the log says what automation did"),
        (
            {"sources": {**SOURCES, "spare": {**SOURCES["homemade"], "secrets": ["SPARE_SECRET"]}}},
            "warning",
            "no rule of any feature has the source spare",
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_one_remark(
    folder: Path, changes: dict[str, Any], level: str, word: str
) -> None:
    found = only(lint_file(folder, **changes))
    assert (found.level, word in found.message) == (level, True), found


def poll(**fields: Any) -> dict[str, Any]:
    keys = {"api_key": "DD_API_KEY", "application_key": "DD_APP_KEY"}
    given = {"kind": "datadog", "url": "https://api.example.gov", "query": "sm", "credentials": keys, **fields}
    return {"polls": {"datadog": given}}


@pytest.mark.parametrize(
    ("changes", "level", "word"),
    [
        (poll(url="${NOT_SET}"), "warning", "the address of datadog is not set here, so it is not asked"),
        (poll(url="http://api.example.gov"), "error", "not https"),
        (poll(query=None), "warning", "asks for every monitor"),
        (poll(kind="prometheus", credentials={}), "error", "a source of datadog and a poll of prometheus"),
    ],
)
def test_what_is_wrong_with_a_poll_is_one_remark(folder: Path, changes: dict[str, Any], level: str, word: str) -> None:
    found = only(lint_file(folder, **changes))
    assert (found.level, word in found.message) == (level, True), found


def test_a_poll_of_this_very_machine_may_be_plain(folder: Path) -> None:
    assert lint_file(folder, **poll(url="http://127.0.0.1:9093")) == []


def test_probes_is_no_name_for_a_sender(folder: Path) -> None:
    twice = [one.message for one in lint_file(folder, sources={**SOURCES, "probes": SOURCES["homemade"]})]
    assert any("what our own probes are called" in one for one in twice)
    polled = poll()["polls"]["datadog"]
    found = [one.message for one in lint_file(folder, polls={"probes": polled})]
    assert any("what our own probes are called" in one for one in found)


def test_a_token_anywhere_in_the_file_is_an_error_that_does_not_show_it(folder: Path) -> None:
    found = lint_file(folder, **poll(query=f"name {TOKEN}"))
    assert "looks like a secret" in only(found).message
    assert TOKEN not in str(found)


def test_a_secret_in_place_of_its_name_is_refused_without_being_shown(folder: Path) -> None:
    for secret in ("hunter2-hunter2", "${A_SECRET}"):
        found = lint_file(folder, {**SET, "A_SECRET": "hunter2-hunter2"}, **changed("datadog", secrets=[secret]))
        assert found[0].level == "error"
        assert "NAMES of the environment variables" in found[0].message
        assert "hunter2" not in "\n".join(map(str, found))


def test_a_broken_file_is_told_by_itself_and_says_what_would_be_known(folder: Path) -> None:
    found = lint_file(folder, **changed("datadog", kindd="x"))
    assert "unknown field `sources.datadog.kindd`; did you mean kind?" in only(found).message
    everything = lint(load_policies(folder, SET))
    assert {one.file.name for one in everything} == {"automation.yaml"}, "rules are not blamed for it"


def test_a_broken_feature_makes_no_source_unused(folder: Path) -> None:
    lint_rules(folder, RULE)
    (folder / "features" / "used.yaml").write_text("feature: [\n")
    assert {one.file.name for one in lint(load_policies(folder, SET))} == {"used.yaml"}


def test_without_the_file_no_rule_has_a_source(folder: Path) -> None:
    lint_rules(folder, RULE)
    (folder / "automation.yaml").unlink()
    found = lint(load_policies(folder, SET))
    assert all("has no source" in one.message for one in found)
    assert {one.file.name for one in found} == {"extra.yaml", "used.yaml"}
