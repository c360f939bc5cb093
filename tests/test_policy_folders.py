"""Whole folders of policies: the shipped ones, looking features up, broken neighbours, and the schemas."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollback.core.model import Severity
from rollback.core.policy import policy_hash
from rollback.errors import ConfigurationError
from rollback.policy_errors import PolicyFileError
from rollback.policy_files import load_policies
from rollback.policy_schema import policy_schema, schema_text, write_schemas
from tests.test_policy_files import feature_file

POLICIES = Path(__file__).parent.parent / "policies"
DURATION = "a duration is text such as 30s, 5m, 2h, 1d or a number of seconds"
SECRET = "s3cret-value-4711"

FEATURE = """\
feature: sm
name: SM
production: true
flag: {namespace: mhv, key: sm}
"""

SEVERITY = """\
severity: critical
summary: Off.
mitigation: off
gate: {minimum_soak: 10m, deadline: 2h}
ladder:
- {percent: 100, minimum_soak: 10m, deadline: 2h}
monitoring: {duration: 1d}
"""


# -- the folder --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "policies"
    shutil.copytree(POLICIES, target)
    return target


def test_the_shipped_policies_load_with_nothing_set() -> None:
    policies = load_policies(POLICIES, {})
    assert policies.broken_features == policies.broken_severities == ()
    assert set(policies.severities) == {"critical", "high", "low"}
    sm = policies.feature("sm").policy
    assert str(sm.flag_ref) == "default/mhv/secure-messaging"
    assert sm.polarity.on_value
    assert sm.production
    assert sm.aliases == ("sm",)
    assert sm.poll_interval == timedelta(seconds=120)
    assert [one.url for one in sm.health.endpoints] == [None, None]
    assert [surface.name for surface in sm.not_covered if "mobile" in surface.name] != []


def test_the_shipped_probes_go_where_the_environment_says() -> None:
    environ = {"SM_API_URL": "https://sm.example.gov", "SM_CLIENT_POLL_SECONDS": "1", "SM_BYPASS_HEADER": "let-me-in"}
    sm = load_policies(POLICIES, environ).feature("secure-messaging").policy
    assert sm.poll_interval == timedelta(seconds=1)
    assert [one.url for one in sm.health.endpoints] == [
        "https://sm.example.gov/my_health/v1/messaging/folders",
        "https://sm.example.gov/my_health/v1/messaging/folders/0/threads",
    ]
    assert sm.health.endpoints[0].sent_headers() == {"X-Bypass": "let-me-in"}


@pytest.mark.parametrize(("severity", "mitigation"), [("critical", "off"), ("high", "reduce"), ("low", "leave")])
def test_each_severity_of_the_shipped_feature_has_its_policy(severity: str, mitigation: str) -> None:
    policies = load_policies(POLICIES, {})
    loaded = policies.severity(policies.feature("sm").policy, Severity(severity))
    assert loaded.policy.mitigation == mitigation


def test_a_feature_is_found_by_key_and_alias_in_any_case(folder: Path) -> None:
    policies = load_policies(folder, {})
    found = {policies.feature(name).policy.feature for name in ("sm", "SM", " Secure-Messaging ")}
    assert found == {"secure-messaging"}


def test_a_near_miss_is_answered_with_a_suggestion(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no feature is called 'secure-mesaging'") as caught:
        load_policies(folder, {}).feature("secure-mesaging")
    assert caught.value.next == "did you mean secure-messaging? known: secure-messaging"


@pytest.mark.parametrize("text", ["feature: [\n", FEATURE.replace("sm", "broken") + "aliases: [bad]\nx: 1\n"])
def test_a_broken_file_hides_no_other_and_is_told_when_it_is_asked_for(folder: Path, text: str) -> None:
    feature_file(folder, text, "broken.yaml")
    policies = load_policies(folder, {})
    assert policies.feature("sm").policy.feature == "secure-messaging"
    for name in ["broken", *(["bad"] if "bad" in text else [])]:
        with pytest.raises(PolicyFileError, match=r"broken\.yaml:"):
            policies.feature(name)


def test_a_broken_severity_is_told_when_it_is_needed(folder: Path) -> None:
    (folder / "high.yaml").write_text("severity: high\n")
    policies = load_policies(folder, {})
    sm = policies.feature("sm").policy
    assert policies.severity(sm, Severity.CRITICAL).policy.severity is Severity.CRITICAL
    with pytest.raises(PolicyFileError, match=r"high\.yaml:1: `summary` is missing"):
        policies.severity(sm, Severity.HIGH)


def test_a_severity_that_is_missing_or_for_something_else_is_refused(folder: Path) -> None:
    (folder / "high.yaml").unlink()
    (folder / "low.yaml").write_text((folder / "critical.yaml").read_text())
    policies = load_policies(folder, {})
    sm = policies.feature("sm").policy
    with pytest.raises(ConfigurationError, match="has none"):
        policies.severity(sm, Severity.HIGH)
    with pytest.raises(ConfigurationError, match="it is for critical"):
        policies.severity(sm, Severity.LOW)


def test_an_alias_of_two_features_names_none_of_them(folder: Path) -> None:
    for key in ("one", "two"):
        feature_file(folder, FEATURE.replace("sm", key) + "aliases: [both]\n", f"{key}.yaml")
    with pytest.raises(ConfigurationError, match="alias of more than one feature: one, two"):
        load_policies(folder, {}).feature("both")


def test_a_key_goes_before_an_alias(folder: Path) -> None:
    feature_file(folder, FEATURE, "sm.yaml")
    assert load_policies(folder, {}).feature("sm").policy.feature == "sm"


def test_two_files_of_one_name_are_not_chosen_from_silently(folder: Path) -> None:
    feature_file(folder, FEATURE, "sm.yaml")
    feature_file(folder, FEATURE, "sm.yml")
    with pytest.raises(PolicyFileError, match="has the same name"):
        load_policies(folder, {}).feature("sm")


def test_a_folder_that_is_not_there_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_policies(tmp_path / "none", {})
    assert "ROLLBACK_POLICIES" in caught.value.next
    assert dict(load_policies(tmp_path, {}).features) == {}


def test_what_a_case_pins_does_not_depend_on_the_token(folder: Path) -> None:
    def pinned(environ: dict[str, str]) -> str:
        return policy_hash(load_policies(folder, environ).feature("sm").policy)

    assert pinned({"SM_PROBE_AUTHORIZATION": "a"}) == pinned({"SM_PROBE_AUTHORIZATION": "b"})
    assert pinned({}) != pinned({"SM_CLIENT_POLL_SECONDS": "30"})


# -- automation.yaml ---------------------------------------------------------------------------


def test_the_shipped_automation_is_no_severity_and_holds_no_secret() -> None:
    policies = load_policies(POLICIES, {"ROLLBACK_DATADOG_SECRET": SECRET})
    assert set(policies.severities) == {"critical", "high", "low"}
    assert set(policies.automation.sources) == {"datadog", "pagerduty", "appdynamics"}
    assert policies.automation.sources["datadog"].secrets[0] == "ROLLBACK_DATADOG_SECRET"
    assert SECRET not in repr(policies.automation)


def test_the_shipped_rules_that_need_an_id_are_inactive_until_it_is_set() -> None:
    inactive = {one.name for one in load_policies(POLICIES, {}).feature("sm").policy.rules if one.inactive_because}
    assert inactive == {"sm-web-errors", "sm-web-errors-mild", "sm-appdynamics"}
    environ = {"SM_DATADOG_MONITOR": "4711", "SM_APPDYNAMICS_HEALTH_RULE": "12"}
    rules = load_policies(POLICIES, environ).feature("sm").policy.rules
    assert [one.name for one in rules if one.inactive_because] == []
    assert rules[0].known_monitors == ("4711",)


def test_without_the_file_nobody_may_deliver_anything(folder: Path) -> None:
    (folder / "automation.yaml").unlink()
    policies = load_policies(folder, {})
    assert policies.automation_file is None
    assert policies.automation.source_names == frozenset()


@pytest.mark.parametrize("text", ["sources: {a: {kind: datadog}}\n", "sources: [\n", "sorces: {}\n"])
def test_a_broken_automation_is_told_when_it_is_needed_and_breaks_nothing_else(folder: Path, text: str) -> None:
    (folder / "automation.yaml").write_text(text)
    policies = load_policies(folder, {})
    assert policies.broken_severities == policies.broken_features == ()
    assert policies.severity(policies.feature("sm").policy, Severity.CRITICAL).policy.mitigation == "off"
    assert policies.automation_file is None
    with pytest.raises(PolicyFileError, match=r"automation\.yaml:[12]: "):
        _ = policies.automation


def test_two_files_of_automation_are_not_chosen_from_silently(folder: Path) -> None:
    (folder / "automation.yml").write_text("storm_brake: {features: 999}\n")
    policies = load_policies(folder, {})
    assert policies.automation_file is None
    with pytest.raises(PolicyFileError, match="has the same name"):
        _ = policies.automation


def test_what_is_wrong_below_a_name_is_explained_by_the_field_there(folder: Path) -> None:
    (folder / "automation.yaml").write_text("sources:\n  a:\n    kind: nagios\n    authentication: bearer\n")
    with pytest.raises(
        PolicyFileError, match=r"automation\.yaml:3: `sources\.a\.kind`: .*; Whose deliveries these are"
    ):
        _ = load_policies(folder, {}).automation


# -- the schema --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["feature", "severity", "automation", "release"])
def test_the_committed_schema_is_the_models(name: str) -> None:
    committed = (POLICIES / "schema" / f"{name}.json").read_text(encoding="utf-8")
    assert committed == schema_text(policy_schema()[name]), "run: rollback policy schema --write policies/schema"


def test_the_schemas_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    written = write_schemas(tmp_path / "new" / "schema")
    assert [path.name for path in written] == ["feature.json", "severity.json", "automation.json", "release.json"]
    assert written[0].read_bytes() == (POLICIES / "schema" / "feature.json").read_bytes()


def properties(schema: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        return [found for item in schema for found in properties(item)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("properties")
    here = list(own.items()) if isinstance(own, dict) else []
    return here + [found for value in schema.values() for found in properties(value)]


@pytest.mark.parametrize("name", ["feature", "severity", "automation", "release"])
def test_every_property_of_the_schema_is_described(name: str) -> None:
    found = properties(policy_schema()[name])
    assert len(found) > 20
    assert [name for name, schema in found if not schema.get("description")] == []
    assert "PT" not in json.dumps([schema.get("default") for _, schema in found])


def test_the_schema_allows_variables_in_place_of_numbers_but_not_of_a_features_name() -> None:
    schema = policy_schema()["feature"]["properties"]
    assert "${" in json.dumps(schema["tier"]).replace("\\", "")
    assert "${" not in json.dumps(schema["feature"]).replace("\\", "")


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: str(path.name))
def test_each_shipped_file_names_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).is_file()
