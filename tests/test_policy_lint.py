"""`policy lint`: what is allowed in a file and yet cannot work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rollback.core.policy import Gate
from rollback.policy_files import load_policies
from rollback.policy_lint import Finding, lint, samples_needed
from rollback.policy_lint_features import is_loopback

POLICIES = Path(__file__).parent.parent / "policies"
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
SET = {
    "SM_API_URL": "https://sm.example.gov",
    "SM_CONTROL_URL": "https://control.example.gov",
    "SM_DATADOG_MONITOR": "4711",
    "SM_APPDYNAMICS_HEALTH_RULE": "12",
    "ROLLBACK_HEARTBEAT_URL": "https://alive.example.org/ping",
}

FEATURE = """\
feature: extra
name: Extra
production: true
flag: {namespace: mhv, key: extra}
clients: [{name: web, kind: polling, interval: 60s}]
surfaces: [{name: web, reached: true, because: it asks}]
contacts: [{role: team, reach: Slack}]
health:
  control: {name: control, url: https://control.example.gov}
  endpoints: [{name: a, url: https://extra.example.gov/a}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "policies"
    shutil.copytree(POLICIES, target)
    return target


def findings(folder: Path, environ: dict[str, str] | None = None) -> list[Finding]:
    return lint(load_policies(folder, SET if environ is None else environ))


def changed(folder: Path, name: str, *changes: tuple[str, str]) -> list[Finding]:
    path = folder / name
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    return findings(folder)


def with_feature(folder: Path, *changes: tuple[str, str], environ: dict[str, str] | None = None) -> list[Finding]:
    text = FEATURE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "features" / "extra.yaml").write_text(text)
    return [one for one in findings(folder, environ) if one.file.name == "extra.yaml"]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


# -- what is shipped ---------------------------------------------------------------------------


def test_the_shipped_policies_have_nothing_to_remark_when_their_variables_are_set() -> None:
    assert findings(POLICIES) == []


def test_without_their_variables_the_shipped_policies_have_warnings_alone() -> None:
    found = findings(POLICIES, {})
    assert {one.level for one in found} == {"warning"}
    words = "\n".join(one.message for one in found)
    assert "SM_CONTROL_URL is not set here" in words
    assert "the health of folders, inbox-threads is unknown" in words
    assert "SM_DATADOG_MONITOR is not set here, so the rule sm-web-errors matches no alert" in words
    assert "nobody notices when automation dies" in words


def test_a_feature_with_everything_has_nothing_to_remark(folder: Path) -> None:
    assert with_feature(folder) == []


# -- gates -------------------------------------------------------------------------------------


def test_the_samples_are_those_of_the_design() -> None:
    gate = Gate.model_validate({"minimum_soak": "1m", "deadline": "1h"})
    assert samples_needed(gate, steps=0) == samples_needed(gate, steps=1) == 354
    assert samples_needed(gate, steps=3) == 416


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("deadline: 2h\n\n#", "deadline: 831s\n\n#", "deadline: 831s"),
        ("percent: 50, minimum_soak: 15m, deadline: 2h", "percent: 50, minimum_soak: 1m, deadline: 13m", "percent: 50"),
    ],
)
def test_a_deadline_under_twice_what_the_samples_need_is_an_error(
    folder: Path, before: str, after: str, line: str
) -> None:
    found = only([one for one in changed(folder, "critical.yaml", (before, after)) if one.level == "error"])
    assert "416 clean samples, one every 1s, take 7m at least; give it 14m or more" in found.message
    assert line in (folder / "critical.yaml").read_text().splitlines()[found.line - 1]


def test_twice_is_enough(folder: Path) -> None:
    assert changed(folder, "critical.yaml", ("deadline: 2h\n\n#", "deadline: 832s\n\n#")) == []


def test_a_slow_probe_makes_every_deadline_too_short(folder: Path) -> None:
    found = changed(folder, "high.yaml", ("interval: 1s", "interval: 30s"))
    assert len(found) == 4
    assert {one.level for one in found} == {"error"}


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("p0: 0.02", "p0: 0.3", "p0 0.3"),
        ("alpha: 0.01 ", "alpha: 0.2 ", "alpha 0.2"),
        ("harm_alpha: 0.01", "harm_alpha: 0.00001", "harm_alpha 1e-05"),
    ],
)
def test_chances_outside_of_what_makes_sense_are_remarked(folder: Path, before: str, after: str, word: str) -> None:
    found = only(changed(folder, "critical.yaml", (before, after)))
    assert (found.level, word in found.message) == ("warning", True)


def test_a_gate_that_does_not_soak_is_remarked(folder: Path) -> None:
    assert "bursts" in only(changed(folder, "critical.yaml", ("minimum_soak: 10m", "minimum_soak: 0"))).message


def dead(found: list[Finding]) -> list[str]:
    return [one.message.partition(":")[0] for one in found if one.level == "error"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["0.4"], ["step 0.4 % opens no new bucket"]),
        (["10", "10.5"], ["step 10.5 % opens no new bucket"]),
        (["0.4", "10", "10.5", "50"], ["step 0.4 % opens no new bucket", "step 10.5 % opens no new bucket"]),
        (["1", "99"], []),
    ],
)
def test_steps_that_open_no_new_bucket_are_errors(folder: Path, steps: list[str], expected: list[str]) -> None:
    rows = "\n".join(f"  - {{percent: {step}, minimum_soak: 15m, deadline: 2h}}" for step in steps)
    before = "  - {percent: 10, minimum_soak: 15m, deadline: 2h}\n  - {percent: 50, minimum_soak: 15m, deadline: 2h}"
    assert dead(changed(folder, "critical.yaml", (before, rows))) == expected


def test_a_step_below_what_high_leaves_open_is_dead(folder: Path) -> None:
    found = changed(folder, "high.yaml", ("reduce_to: 10 ", "reduce_to: 25 "))
    assert dead(found) == ["step 25 % opens nothing"]


def test_a_reduction_to_nobody_is_off_under_another_name(folder: Path) -> None:
    assert "off under another name" in only(changed(folder, "high.yaml", ("reduce_to: 10 ", "reduce_to: 0.5 "))).message


def test_a_watch_without_a_single_round_is_an_error(folder: Path) -> None:
    found = changed(folder, "low.yaml", ("duration: 24h", "duration: 20s"))
    assert [one.level for one in found] == ["warning", "error"]
    assert "shorter than the gate's deadline" in found[0].message
    assert "no round of probes" in found[1].message


def test_a_case_that_nobody_is_reminded_of_is_remarked(folder: Path) -> None:
    found = only(changed(folder, "low.yaml", ("needs_human_after: 7d", "needs_human_after: ~")))
    assert "can be forgotten" in found.message


# -- features ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "level", "word"),
    [
        ("https://extra.example.gov/a", "http://localhost:3000/a", "error", "this machine's own"),
        ("https://extra.example.gov/a", "https://127.0.0.1/a", "error", "this machine's own"),
        ("https://extra.example.gov/a", "http://extra.example.gov/a", "warning", "not https"),
        ("https://extra.example.gov/a", "'${API:-https://x.example.gov}/a'", "error", "falls back to a default"),
        ("https://extra.example.gov/a", "'${API}/a'", "warning", "API is not set here, so the health of a is unknown"),
        ("/a}]", "/a, headers: {A: '${T}'}}]", "warning", "T is not set here, so the health of a is unknown"),
        ("  control: {name: control, url: https://control.example.gov}\n", "", "warning", "no control target"),
        ("  endpoints: [{name: a, url: https://extra.example.gov/a}]\n", "", "error", "can never pass"),
        ("clients: [{name: web, kind: polling, interval: 60s}]\n", "", "error", "can never be proven"),
        ("surfaces: [{name: web, reached: true, because: it asks}]\n", "", "warning", "no surfaces"),
        ("contacts: [{role: team, reach: Slack}]\n", "", "warning", "nobody to call"),
        ("name: Extra", "name: Extra\nprove_within: 60s", "error", "no proof is in time"),
        ("name: Extra", "name: Extra\naliases: [sm]", "error", "a name of secure-messaging too"),
        ("name: Extra", "name: Extra\naliases: [secure-messaging]", "error", "a name of secure-messaging too"),
        ("name: Extra", "name: Extra\naliases: [extra]", "warning", "here twice"),
        ("key: extra}", "key: secure-messaging}", "warning", "turning one off turns off both"),
        ("key: extra}", "key: extra, on_variants: [new]}", "warning", "cannot reduce it"),
        ("name: Extra", "name: Extra\npolicies: {high: critical}", "error", "it is for critical"),
        ("name: Extra", "name: Extra\npolicies: {low: relaxed}", "error", "'relaxed'"),
    ],
)
def test_what_a_feature_lacks_is_one_remark(folder: Path, before: str, after: str, level: str, word: str) -> None:
    found = only(with_feature(folder, (before, after)))
    assert found.level == level
    assert word in found.message


def test_clients_that_follow_later_than_a_step_is_judged_are_remarked_at_each_severity(folder: Path) -> None:
    found = with_feature(folder, ("interval: 60s", "interval: 20m"))
    assert [one.level for one in found] == ["warning", "warning"]
    assert all("before they were all served" in one.message for one in found)


def test_a_feature_that_is_no_production_may_be_on_this_machine(folder: Path) -> None:
    changes = ("production: true", "production: false"), ("https://extra.example.gov/a", "http://localhost/a")
    assert with_feature(folder, *changes) == []
    defaulted = with_feature(folder, changes[0], ("https://extra.example.gov/a", "'${API:-http://localhost/a}'"))
    assert only(defaulted).level == "warning"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost/x", True),
        ("https://app.localhost:8/", True),
        ("http://127.8.8.8/", True),
        ("http://[::1]:9/", True),
        ("http://0.0.0.0/", True),
        ("https://10.0.0.1/", False),
        ("https://localhost.example.gov/", False),
    ],
)
def test_addresses_of_this_machine_are_known(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    "endpoint",
    [
        f"headers: {{Authorization: {TOKEN}}}",
        "headers: {Authorization: Basic dXNlcjpwYXNzd29yZA==}",
        "headers: {X-Api-Key: short}",
        "bypass_headers: {X-Bypass: let-me-in}",
        "bypass_headers: {X-Other: 3f6c0c4e9d1b4a7f8e2d}",
        f"headers: {{Authorization: '${{T:-{TOKEN}}}'}}",
        f"summary: 'use {TOKEN}'",
    ],
)
def test_a_secret_in_a_file_is_an_error_that_does_not_show_it(folder: Path, endpoint: str) -> None:
    found = only(with_feature(folder, ("/a}]", f"/a, {endpoint}}}]")))
    assert found.level == "error"
    assert "looks like a secret" in found.message
    assert not any(word in found.message for word in (TOKEN, "short", "let-me-in", "dXNl", "3f6c"))


def test_a_secret_in_a_query_is_an_error_that_does_not_show_it(folder: Path) -> None:
    found = only(with_feature(folder, ("/a}]", "/a?api_key=hidden}]")))
    assert "secret in its query" in found.message
    assert "hidden" not in found.message


@pytest.mark.parametrize(
    "endpoint",
    [
        "headers: {Accept: application/json, X-Source: rollback}",
        "headers: {Authorization: 'Bearer ${T}'}",
        "headers: {Authorization: '${T:-}'}",
        "bypass_headers: {X-Bypass: '${T:-}'}",
        "summary: 'The Token endpoint answers; Basic health only'",
        "assertions: [{path: token, exists: true}]",
    ],
)
def test_what_is_no_secret_is_not_remarked(folder: Path, endpoint: str) -> None:
    assert with_feature(folder, ("/a}]", f"/a, {endpoint}}}]"), environ=SET | {"T": TOKEN}) == []


# -- broken files ------------------------------------------------------------------------------


def test_a_broken_file_is_told_with_all_its_errors_beside_the_others(folder: Path) -> None:
    (folder / "low.yaml").write_text("severity: low\nsumary: x\n")
    (folder / "features" / "extra.yaml").write_text("feature: [\n")
    found = findings(folder)
    assert {one.file.name for one in found} == {"low.yaml", "extra.yaml", "secure-messaging.yaml"}
    assert all(one.level == "error" for one in found)
    assert "did you mean summary?" in "\n".join(map(str, found))


def test_a_finding_reads_like_a_compilers(folder: Path) -> None:
    found = only(with_feature(folder, ("name: Extra", "name: Extra\naliases: [sm]")))
    message = "sm is a name of secure-messaging too, so nobody can say it; choose another"
    assert str(found) == f"{folder}/features/extra.yaml:3: error: {message}"


def test_a_clash_of_aliases_is_remarked_in_both_files(folder: Path) -> None:
    with_feature(folder, ("name: Extra", "name: Extra\naliases: [sm]"))
    clashes = [one.file.name for one in findings(folder) if "nobody can say it" in one.message]
    assert clashes == ["extra.yaml", "secure-messaging.yaml"]
