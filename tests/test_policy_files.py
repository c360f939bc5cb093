"""The strict reader of the policies' folder: what a file means, and everything that is wrong with it at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rollback.policy_errors import PolicyFileError
from rollback.policy_files import load_feature, load_severity
from rollback.policy_values import expand_values
from rollback.policy_yaml import NotYaml, dotted, read, salvage

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


def feature_file(folder: Path, text: str, name: str = "sm.yaml") -> Path:
    path = folder / "features" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(PolicyFileError) as caught:
        load_feature(path, environ or {})
    assert caught.value.exit_code == 2
    return [str(one).removeprefix(f"{path}:") for one in caught.value.located]


# -- YAML --------------------------------------------------------------------------------------


def test_words_that_are_booleans_in_yaml_1_1_are_text(tmp_path: Path) -> None:
    path = tmp_path / "critical.yaml"
    path.write_text(SEVERITY)
    assert load_severity(path, {}).policy.mitigation == "off"
    document = read("on: true\noff: no\nyes: [y, n, 012, 0o17, 1_000, 1:30, 2026-01-02, ~, 1e3, .5]\n")
    assert document.data == {
        "on": True,
        "off": "no",
        "yes": ["y", "n", 12, 15, "1_000", "1:30", "2026-01-02", None, 1000.0, 0.5],
    }


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert read("404: a\ntrue: b\n~: c\n").data == {"404": "a", "true": "b", "~": "c"}


def test_quotes_and_a_tag_make_text() -> None:
    assert read("a: '12'\nb: !!str 12\nc: !!str true\n").data == {"a": "12", "b": "12", "c": "true"}


def test_special_floats_are_read_and_then_refused_by_the_model(tmp_path: Path) -> None:
    assert read("a: .inf\nb: -.Inf\n").data == {"a": float("inf"), "b": float("-inf")}
    path = tmp_path / "critical.yaml"
    path.write_text(SEVERITY.replace("{minimum_soak", "{p0: .nan, minimum_soak"))
    with pytest.raises(PolicyFileError, match=r"gate\.p0"):
        load_severity(path, {})


def test_what_is_said_twice_is_an_error_with_both_lines(tmp_path: Path) -> None:
    path = feature_file(tmp_path, FEATURE + "name: Other\ntier: 1\ntier: 2\n")
    assert complaints(path) == [
        "5: `name` is here twice, first in line 2; keep one of them",
        "7: `tier` is here twice, first in line 6; keep one of them",
    ]


def test_tags_that_make_objects_make_nothing(tmp_path: Path) -> None:
    path = feature_file(tmp_path, FEATURE + "access: [!!python/object/apply:os.getcwd []]\n")
    assert any("means nothing here" in one for one in complaints(path))
    assert read("a: !!int x\nb: !!set {a}\nd: !x y\n? [c]\n: 1\n").problems[-1].message == "a key must be text"


def bomb() -> str:
    """Six lines that would be a million values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for previous, name in zip("abcde", "bcdef", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{previous}'] * 10)}]")
    return "\n".join(lines)


NOT_YAML = {
    "unclosed": "a: [",
    "two documents": "a: 1\n---\nb: 2",
    "tab": "a:\n\t- b",
    "unknown alias": "x: *nope",
    "recursive": "&a [*a]",
    "deep": "[" * 200 + "]" * 200,
    "deep enough to crash a parser": "[" * 400_000,
    "deep in dashes": "- " * 200_000,
    "control character": "a: \x00",
    "colons": "a: b: c",
    "many values": f"a: [{', '.join('x' * 30_000)}]",
    "long": "# " + "x" * 1_000_001,
    "bomb": bomb(),
}


@pytest.mark.parametrize("text", NOT_YAML.values(), ids=NOT_YAML.keys())
def test_what_is_not_one_sensible_document_is_refused(text: str) -> None:
    with pytest.raises(NotYaml) as caught:
        read(text)
    assert caught.value.problem.message
    assert caught.value.problem.next


def test_after_a_syntax_error_the_other_sections_can_still_be_read() -> None:
    text = "a: 1\nb: [1,\n'c': {d: 2}\n---\nlist:\n- x\na: 2\n"
    document = salvage(text)
    assert document.data == {"a": 1, "c": {"d": 2}, "list": ["x"]}
    assert document.line_of(("list", 0)) == 6
    assert [problem.line for problem in document.problems if problem.path == ("a",)] == [7]


def test_a_document_that_is_whole_is_not_taken_apart() -> None:
    assert salvage("a: |\n  text\n\n  b: 1\nc: 3\n").data == {"a": "text\n\nb: 1\n", "c": 3}


def test_a_path_reads_as_people_write_it() -> None:
    assert dotted(("health", "endpoints", 0, "url")) == "health.endpoints[0].url"


def test_neither_a_document_nor_its_values_show_their_content() -> None:
    document = read(f"a: {SECRET}")
    assert SECRET not in repr(document)
    assert SECRET not in repr(expand_values(document.data, {}))


# -- errors ------------------------------------------------------------------------------------


def test_all_errors_of_a_file_are_told_at_once_with_file_line_and_what_to_do(tmp_path: Path) -> None:
    text = """\
feature: sm
production: on
flag: {namespace: mhv, kye: sm, on: maybe}
clients:
- {name: web, kind: polling}
- {name: edge, kind: streeming}
health:
  endpoints:
  - {name: a, expected_statuses: [2xx, 900], timeout: soon}
replica_lag: -1s
helth: {}
"""
    told = complaints(feature_file(tmp_path, text))
    assert [line.split(";")[0] for line in told] == [
        "1: `name` is missing",
        "2: `production`: write true or false, not 'on'",
        "3: `flag.key` is missing",
        "3: `flag.on`: write true or false, not 'maybe'",
        "3: unknown field `flag.kye`",
        "5: `clients[0]`: a polling client needs interval, the longest time between two polls",
        "6: `clients[1].kind`: input should be 'polling', 'streaming' or 'server_side'",
        "9: `health.endpoints[0].expected_statuses[1]`: string should match pattern '^[1-5](\\d\\d|xx)$'",
        f"9: `health.endpoints[0].timeout`: {DURATION}, not 'soon'",
        f"10: `replica_lag`: {DURATION}, not '-1s'",
        "11: unknown field `helth`",
    ]
    assert told[4].endswith("did you mean key?")
    assert told[10].endswith("did you mean health?")
    assert all("; " in line for line in told)


def test_a_field_near_nothing_is_answered_with_what_is_known(tmp_path: Path) -> None:
    told = complaints(feature_file(tmp_path, FEATURE + "pagerduty: {service: P1, url: 'https://x.y', zzz: 1}\n"))
    assert told == ["5: unknown field `pagerduty.zzz`; known here: service, url"]


def test_several_readings_of_one_value_are_one_error(tmp_path: Path) -> None:
    health = "health: {endpoints: [{name: a, assertions: [{path: a, equals: [1]}]}]}\n"
    assert len(complaints(feature_file(tmp_path, FEATURE + health))) == 1


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [(FEATURE + "a: [\n", "6", "not YAML"), ("", "1", "no fields"), ("- a\n", "1", "no fields")],
)
def test_a_file_that_is_no_policy_at_all(tmp_path: Path, text: str, line: str, word: str) -> None:
    (only,) = complaints(feature_file(tmp_path, text))
    assert only.startswith(f"{line}: ")
    assert word in only


def test_a_file_that_is_not_utf_8_says_in_which_line(tmp_path: Path) -> None:
    path = feature_file(tmp_path, "")
    path.write_bytes(b"feature: sm\nname: \xff\n")
    assert complaints(path) == ["2: this is not UTF-8; save the file as UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = feature_file(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + FEATURE.replace("\n", "\r\n").encode())
    assert load_feature(path, {}).policy.name == "SM"


def test_a_file_that_cannot_be_read_is_an_error_of_that_file(tmp_path: Path) -> None:
    path = tmp_path / "features" / "sm.yaml"
    path.mkdir(parents=True)
    assert "cannot be read" in complaints(path)[0]


def test_a_file_is_named_after_its_feature(tmp_path: Path) -> None:
    (only,) = complaints(feature_file(tmp_path, "# comment\n" + FEATURE, "other.yaml"))
    assert only.startswith("2: `feature` is sm, and the file is called other.yaml; call the file sm.yaml")


# -- variables ---------------------------------------------------------------------------------

WITH_VARIABLES = (
    FEATURE
    + """\
clients: [{name: web, kind: polling, interval: '${POLL:-120}'}]
tier: ${TIER:-1}
replica_lag: ${LAG:-5s}
health:
  control: {name: control, url: '${CONTROL}'}
  endpoints:
  - {name: a, url: '${API}/a', headers: {Authorization: 'Bearer ${TOKEN:-}'}}
  - {name: b, url: '${API_B:-https://b.example.gov}/b'}
  - {name: c, url: 'https://c.example.gov', headers: {Authorization: '${C_TOKEN}'}}
"""
)


def test_a_variable_becomes_a_number_or_a_duration_where_one_belongs(tmp_path: Path) -> None:
    path = feature_file(tmp_path, WITH_VARIABLES)
    policy = load_feature(path, {"POLL": "1", "TIER": "2"}).policy
    assert policy.poll_interval == timedelta(seconds=1)
    assert (policy.tier, policy.replica_lag) == (2, timedelta(seconds=5))
    assert load_feature(path, {"POLL": "0"}).policy.poll_interval == timedelta(0)


def test_a_target_that_is_unset_defaulted_or_without_its_header_is_unknown(tmp_path: Path) -> None:
    loaded = load_feature(feature_file(tmp_path, WITH_VARIABLES), {"API": "https://a.example.gov"})
    health = loaded.policy.health
    assert health.control is not None
    assert [health.control.url, *(one.url for one in health.endpoints)] == [None, "https://a.example.gov/a", None, None]
    assert "health.endpoints[1].url" in loaded.defaulted
    assert loaded.unset == {
        "health.control.url": ("CONTROL",),
        "health.endpoints[2].headers.Authorization": ("C_TOKEN",),
    }


def test_a_target_whose_variables_are_all_set_is_known(tmp_path: Path) -> None:
    environ = {"API": "https://a.example.gov", "API_B": "https://bb.example.gov", "C_TOKEN": "t", "TOKEN": SECRET}
    loaded = load_feature(feature_file(tmp_path, WITH_VARIABLES), environ)
    assert [one.url for one in loaded.policy.health.endpoints] == [
        "https://a.example.gov/a",
        "https://bb.example.gov/b",
        "https://c.example.gov",
    ]
    assert loaded.policy.health.endpoints[0].sent_headers() == {"Authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(loaded)


def test_a_variable_that_is_missing_where_a_value_must_be_is_named(tmp_path: Path) -> None:
    text = FEATURE.replace("namespace: mhv", "namespace: '${SPACE}'")
    assert complaints(feature_file(tmp_path, text)) == [
        "4: `flag.namespace` needs the variable SPACE, which is not set; set SPACE, or give it a default"
    ]


def test_a_value_cannot_inject_yaml(tmp_path: Path) -> None:
    path = feature_file(tmp_path, FEATURE.replace("name: SM", "name: ${NAME}"))
    evil = "x\nproduction: false\nflag: {key: other}"
    loaded = load_feature(path, {"NAME": evil}).policy
    assert (loaded.name, loaded.production, loaded.flag.key) == (evil, True, "sm")


def test_a_reference_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    (only,) = complaints(feature_file(tmp_path, FEATURE.replace("name: SM", "name: ${NA-ME}")))
    assert only.startswith("2: `name`: '${NA-ME}' is not ${NAME}")


def test_a_wrong_value_from_a_variable_is_not_repeated(tmp_path: Path) -> None:
    path = feature_file(tmp_path, FEATURE + "health: {endpoints: [{name: a, url: '${API}'}]}\n")
    assert SECRET not in "\n".join(complaints(path, {"API": SECRET}))


def test_a_features_name_is_the_same_on_every_machine(tmp_path: Path) -> None:
    told = complaints(feature_file(tmp_path, FEATURE + "aliases: ['${ALIAS:-x}']\n"), {"ALIAS": "y"})
    assert told[0].startswith("5: `aliases[0]`")
