"""The kill path's reader: it gives a flag whatever else is wrong, and never a flag that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback.core.flag import FlagRef, Polarity
from rollback.core.policy import EffectCheck
from rollback.errors import ConfigurationError
from rollback.flag_reference import parse_direct, read_by_flag, read_flag_reference

POLICIES = Path(__file__).parent.parent / "policies"
SECRET = "s3cret-value-4711"
BY_HAND = "rollback disable --flag"

SM = """\
feature: secure-messaging
name: Secure Messaging
aliases: [sm]
production: true
flag:
  namespace: mhv
  key: secure-messaging
"""


def written(folder: Path, text: str, name: str = "secure-messaging.yaml") -> Path:
    (folder / "features").mkdir(exist_ok=True)
    (folder / "features" / name).write_text(text, encoding="utf-8")
    return folder


def refusal(folder: Path, name: str = "sm", environ: dict[str, str] | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_flag_reference(folder, name, environ or {})
    assert BY_HAND in caught.value.next, "the way without policies must be named"
    return caught.value


def test_the_shipped_feature_is_what_the_design_says() -> None:
    found = read_flag_reference(POLICIES, "sm", {})
    assert found.feature == "secure-messaging"
    assert found.ref == FlagRef("default", "mhv", "secure-messaging")
    assert found.polarity == Polarity(on_value=True)
    assert found.production
    assert found.aliases == ("sm",)
    assert (found.poll_interval_seconds, found.prove_within_seconds) == (120.0, 150.0)
    assert found.clients_known
    assert [surface.name for surface in found.not_covered if "mobile" in surface.name] != []
    assert "#mhv-secure-messaging-alerts" in found.channels
    assert found.problems == ()


@pytest.mark.parametrize(
    "sections",
    [
        "alerts: [{name: a, source: datadog, monitors: ['17'], severity: low}]\nowner: {role: team, reach: Slack}\n",
        "alerts: [{name: a, severity: urgent}, 5]\nshadow_flag: secure-messaging\nprobing: often\nowner: nobody\n",
        "alerts: '${NOT_SET}'\nprobing: {enabled: maybe}\n",
    ],
)
def test_rules_of_alerts_right_or_wrong_never_stand_in_the_way_of_off(tmp_path: Path, sections: str) -> None:
    found = read_flag_reference(written(tmp_path, SM + sections), "sm", {})
    assert (found.ref, found.production) == (FlagRef("default", "mhv", "secure-messaging"), True)


@pytest.mark.parametrize("seconds", ["0", "1", "30"])
def test_the_shipped_poll_interval_comes_from_the_environment(seconds: str) -> None:
    found = read_flag_reference(POLICIES, "SM", {"SM_CLIENT_POLL_SECONDS": seconds})
    assert found.poll_interval_seconds == float(seconds)
    assert found.follow_seconds == float(seconds)
    assert found.prove_within_seconds == float(seconds) + 30


# -- errors elsewhere do not stand in the way --------------------------------------------------

BROKEN = {
    "a health section that is no section": "health: 12\n",
    "an unknown field": "colour: red\n",
    "a field twice": "tier: 1\ntier: 2\n",
    "broken YAML below": "health:\n  endpoints: [{name: a\nsurfaces: []\n",
    "a tab": "health:\n\tcontrol: x\n",
    "an open quote at the end": 'links: ["x\n',
    "a second document": "---\nmore: 1\n",
    "an object tag": "health: !!python/object:x {}\n",
    "an unknown alias": "health: *there\n",
    "a control character": "health: \x07\n",
    "a variable that is not set": "replica_lag: ${NOT_SET}\n",
    "a variable that cannot be read": "replica_lag: ${NOT-A-NAME}\n",
    "a duration that is none": "replica_lag: soon\nprove_within: [1]\n",
    "surfaces that are none": "surfaces: [1, {name: x}, {reached: maybe, name: y}]\n",
    "a list that is none": "surfaces: {}\nchannels: x\ncohort: 3\n",
    "an effect check without address": "effect_check: {url: '${NOT_SET}'}\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_an_error_outside_the_flags_own_reference_is_told_and_stops_nothing(tmp_path: Path, text: str) -> None:
    clients = "clients: [{name: web, kind: polling, interval: 10}]\n"
    found = read_flag_reference(written(tmp_path, SM + clients + text), "sm", {})
    assert found.ref == FlagRef("default", "mhv", "secure-messaging")
    assert found.polarity == Polarity()
    assert found.poll_interval_seconds == 10
    assert found.production
    assert all(str(tmp_path) in problem for problem in found.problems)
    assert bool(found.problems) is (text not in UNNOTICED)


UNNOTICED = {BROKEN["a health section that is no section"], BROKEN["an unknown field"]}
"""What off has no use for, so that only the strict reader looks."""


def test_a_file_that_breaks_above_the_flag_still_gives_it(tmp_path: Path) -> None:
    found = read_flag_reference(written(tmp_path, "health: {a: [\n" + SM), "sm", {})
    assert found.ref == FlagRef("default", "mhv", "secure-messaging")


def test_what_is_missing_is_taken_from_the_safe_side(tmp_path: Path) -> None:
    text = "flag: {namespace: mhv, key: secure-messaging}\n"
    found = read_flag_reference(written(tmp_path, text), "secure-messaging", {})
    assert found.production, "a production feature never falls back to a file"
    assert not found.clients_known, "nobody may claim that all readers follow"
    assert found.poll_interval_seconds == 120
    assert found.prove_within_seconds == 150
    assert len(found.problems) == 4


@pytest.mark.parametrize("said", ["off", "'no'", "0", "~", "maybe"])
def test_only_false_is_no_production(tmp_path: Path, said: str) -> None:
    text = SM.replace("production: true", f"production: {said}")
    assert read_flag_reference(written(tmp_path, text), "sm", {}).production
    text = SM.replace("production: true", "production: ${P:-false}")
    assert not read_flag_reference(written(tmp_path, text), "sm", {}).production


@pytest.mark.parametrize("broken", ["{kind: polling}", "{kind: smoke}", "7", "{kind: polling, interval: soon}"])
def test_one_client_that_cannot_be_read_leaves_readers_unknown(tmp_path: Path, broken: str) -> None:
    clients = f"clients: [{{name: a, kind: polling, interval: 300}}, {broken}]\n"
    found = read_flag_reference(written(tmp_path, SM + clients), "sm", {})
    assert not found.clients_known
    assert found.poll_interval_seconds == 300


def test_a_feature_that_nobody_polls_has_no_interval(tmp_path: Path) -> None:
    clients = "clients: [{name: a, kind: streaming}, {name: b, kind: server_side}]\nreplica_lag: 1m\n"
    found = read_flag_reference(written(tmp_path, SM + clients), "sm", {})
    assert found.poll_interval_seconds is None
    assert (found.streaming, found.server_side, found.clients_known) == (True, True, True)
    assert found.prove_within_seconds == 90


def test_the_effect_check_is_given_with_its_variables_and_hidden(tmp_path: Path) -> None:
    text = SM + (
        "effect_check:\n  url: ${APP}/flags\n  headers: {Authorization: '${T}'}\n"
        "  assertions: [{path: on, equals: false}]\n"
    )
    found = read_flag_reference(written(tmp_path, text), "sm", {"APP": "https://app.example.gov", "T": SECRET})
    assert found.effect_check is not None
    check = EffectCheck.model_validate(found.effect_check)
    assert check.url == "https://app.example.gov/flags"
    assert check.sent_headers() == {"Authorization": SECRET}
    assert SECRET not in f"{found!r} {found}"


@pytest.mark.parametrize("environ", [{}, {"APP": "https://app.example.gov"}])
def test_an_effect_check_that_would_ask_somebody_else_is_no_check(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "effect_check: {url: '${APP:-https://else.example.gov}', headers: {A: '${T}'}}\n"
    assert read_flag_reference(written(tmp_path, SM + text), "sm", environ).effect_check is None


# -- errors in the flag's own reference ---------------------------------------------------------

OWN = {
    "no flag": ("", "missing"),
    "no key": ("flag: {namespace: mhv}", "flag.key"),
    "a key that is a number": ("flag: {namespace: mhv, key: 12}", "flag.key"),
    "a key that is a path": ("flag: {namespace: mhv, key: a/b}", "flag.key"),
    "a key with a line end": ('flag: {namespace: mhv, key: "a\\n"}', "flag.key"),
    "an unknown field": ("flag: {namespace: mhv, key: k, inverted: true}", "flag.inverted"),
    "a polarity that is unclear": ("flag: {namespace: mhv, key: k, on: off}", "flag.on"),
    "a polarity twice": ("flag: {namespace: mhv, key: k, on: true, on: false}", "here twice"),
    "two flags": ("flag: {namespace: mhv, key: k}\nflag: {namespace: mhv, key: other}", "here twice"),
    "two flags in a broken file": ("flag: {namespace: a, key: k}\nx: [\nflag: {namespace: b, key: k}", "here twice"),
    "both polarities": ("flag: {namespace: mhv, key: k, on: false, on_variants: [a]}", "flag.on"),
    "variants that are none": ("flag: {namespace: mhv, key: k, on_variants: a}", "flag.on_variants"),
    "a variable that is not set": ("flag: {namespace: '${SPACE}', key: k}", "SPACE"),
    "a variable that cannot be read": ("flag: {namespace: '${SP-ACE}', key: k}", "flag.namespace"),
    "broken YAML in the flag": ("flag: {namespace: mhv, key: [}", "cannot be read"),
    "text": ("flag: mhv/k", "cannot be read"),
}


@pytest.mark.parametrize(("text", "word"), OWN.values(), ids=OWN.keys())
def test_an_unclear_flag_is_refused_with_file_line_and_the_way_around(tmp_path: Path, text: str, word: str) -> None:
    error = refusal(written(tmp_path, f"feature: sm\n{text}\n", "sm.yaml"))
    assert word in error.message
    assert f"{tmp_path / 'features' / 'sm.yaml'}:" in error.message


def test_the_flag_may_come_from_variables(tmp_path: Path) -> None:
    flag = "flag: {environment: '${E:-default}', namespace: '${N}', key: sm, on: '${ON:-false}'}\n"
    found = read_flag_reference(written(tmp_path, f"feature: sm\n{flag}", "sm.yaml"), "sm", {"N": "mhv"})
    assert (found.ref, found.polarity) == (FlagRef("default", "mhv", "sm"), Polarity(on_value=False))


# -- finding the file ---------------------------------------------------------------------------


def test_a_broken_neighbour_is_in_nobodys_way(tmp_path: Path) -> None:
    written(tmp_path, "feature: [sm\n", "a-broken.yaml")
    (tmp_path / "features" / "b-folder.yaml").mkdir()
    (tmp_path / "features" / "c-dangling.yaml").symlink_to(tmp_path / "nowhere")
    assert read_flag_reference(written(tmp_path, SM), "sm", {}).feature == "secure-messaging"


def test_a_copy_that_is_not_renamed_yet_is_in_nobodys_way(tmp_path: Path) -> None:
    written(tmp_path, SM.replace("key: secure", "key: in-the-making"), "a-copy.yaml")
    for name in ("sm", "secure-messaging"):
        assert read_flag_reference(written(tmp_path, SM), name, {}).ref.flag_key == "secure-messaging"


def test_a_name_of_two_features_turns_none_of_them_off(tmp_path: Path) -> None:
    for key in ("one", "two"):
        written(tmp_path, SM.replace("secure-messaging", key), f"{key}.yaml")
    assert "one.yaml, two.yaml" in refusal(tmp_path).message


def test_a_key_goes_before_anothers_alias(tmp_path: Path) -> None:
    written(tmp_path, SM)
    written(tmp_path, SM.replace("secure-messaging", "sm").replace("[sm]", "[]"), "sm.yaml")
    assert read_flag_reference(tmp_path, "sm", {}).ref.flag_key == "sm"


def test_a_file_is_not_believed_for_its_name_alone(tmp_path: Path) -> None:
    written(tmp_path, SM.replace("secure-messaging", "one").replace("[sm]", "[]"), "two.yaml")
    written(tmp_path, SM.replace("secure-messaging", "two").replace("[sm]", "[]"), "one.yml")
    assert read_flag_reference(tmp_path, "two", {}).ref.flag_key == "two"
    assert read_flag_reference(tmp_path, "ONE", {}).ref.flag_key == "one"


def test_a_near_miss_is_answered_with_a_suggestion(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, SM), "secure-mesaging")
    assert "did you mean secure-messaging?" in error.next


def test_a_name_that_a_file_with_a_syntax_error_mentions_is_found_there(tmp_path: Path) -> None:
    found = read_flag_reference(written(tmp_path, SM + "health: [\n", "other.yaml"), "sm", {})
    assert (found.feature, found.ref.flag_key) == ("secure-messaging", "secure-messaging")


def test_a_file_that_cannot_be_opened_has_no_flag(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "locked.yaml").symlink_to("locked.yaml")
    assert "no feature is called" in refusal(tmp_path, "locked").message


@pytest.mark.parametrize("name", ["../features/secure-messaging", "", "*", "secure-messaging.yaml"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    refusal(written(tmp_path, SM), name)


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path).message


# -- without a policy ---------------------------------------------------------------------------


def test_a_flag_can_be_named_without_any_policy() -> None:
    found = parse_direct("default/mhv/secure-messaging")
    assert found.ref == FlagRef("default", "mhv", "secure-messaging")
    assert (found.feature, found.production, found.clients_known) == ("secure-messaging", True, False)
    assert found.problems
    assert parse_direct("default/mhv/k", feature="sm").feature == "sm"


@pytest.mark.parametrize("text", ["", "k", "mhv/k", "a/b/c/d", "a//c", "a/b/c d", "a/b/../c", "a/b/c\n"])
def test_what_names_no_flag_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="does not name a flag"):
        parse_direct(text)


def test_a_flag_named_by_hand_keeps_the_polarity_that_its_policy_says(tmp_path: Path) -> None:
    written(tmp_path, "flag: [\n", "a.yaml")
    written(tmp_path, SM + "  on: false\n")
    found = read_by_flag(tmp_path, "default/mhv/secure-messaging", {})
    assert (found.feature, found.polarity) == ("secure-messaging", Polarity(on_value=False))
    assert read_by_flag(tmp_path, "default/mhv/other", {}) == parse_direct("default/mhv/other")
    assert read_by_flag(tmp_path / "none", "default/mhv/x", {}) == parse_direct("default/mhv/x")
