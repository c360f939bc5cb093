"""The models of policies: what they refuse, what they hide, and what a case pins."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollback.core.flag import FlagRef, Polarity
from rollback.core.model import Severity
from rollback.core.policy import (
    Assertion,
    Client,
    EffectCheck,
    Endpoint,
    FeaturePolicy,
    Gate,
    Mitigation,
    PolicyModel,
    SeverityPolicy,
    plain,
    policy_hash,
)
from rollback.core.scalars import format_duration, parse_boolean, parse_duration

SECRET = "do-not-show-me-81364"


def critical(**changes: Any) -> dict[str, Any]:
    return {
        "severity": "critical",
        "summary": "Off for all.",
        "mitigation": "off",
        "gate": {"minimum_soak": "10m", "deadline": "2h"},
        "ladder": [
            {"percent": 10, "minimum_soak": "15m", "deadline": "2h"},
            {"percent": 100, "minimum_soak": "15m", "deadline": "2h"},
        ],
        "monitoring": {"duration": "1d"},
    } | changes


def feature(**changes: Any) -> dict[str, Any]:
    return {
        "feature": "sm",
        "name": "SM",
        "production": True,
        "flag": {"namespace": "mhv", "key": "sm"},
    } | changes


def refusal(model: type[PolicyModel], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return str(caught.value)


# -- durations and truth values ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (" 7 s ", 7),
        ("120", 120),
        (120, 120),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "-5s", "5 weeks", "1e3", "nan", "1h30m", "inf", True, None, [], -1, float("nan"), 1e12, "99999d"],
)
def test_what_is_no_duration_is_refused_with_what_is_expected(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@given(st.timedeltas(timedelta(0), timedelta(days=3000)))
def test_a_duration_survives_being_written(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_a_duration_from_code_is_itself() -> None:
    assert parse_duration(timedelta(minutes=3)) == timedelta(minutes=3)


@pytest.mark.parametrize("duration", [timedelta(seconds=-1), timedelta(days=4000)])
def test_a_duration_from_code_has_the_same_bounds(duration: timedelta) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        parse_duration(duration)


@pytest.mark.parametrize("value", ["on", "off", "yes", "no", "1", 0, 1, None, "", "tRue"])
def test_words_that_mean_yes_to_some_readers_alone_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        parse_boolean(value)


def test_true_and_false_are_read_also_as_text() -> None:
    assert [parse_boolean(value) for value in (True, "true", "TRUE", False, "False")] == [
        True,
        True,
        True,
        False,
        False,
    ]


# -- severities --------------------------------------------------------------------------------


def test_a_severity_has_the_defaults_of_the_design() -> None:
    policy = SeverityPolicy.model_validate(critical())
    assert (policy.gate.p0, policy.gate.alpha, policy.gate.harm_alpha) == (0.02, 0.01, 0.01)
    assert policy.gate.interval == timedelta(seconds=1)
    assert (policy.force.default, policy.force.maximum) == (timedelta(hours=1), timedelta(hours=8))
    assert policy.percents == (10, 100)


@pytest.mark.parametrize(
    ("severity", "mitigation"), [("critical", "leave"), ("critical", "reduce"), ("high", "off"), ("low", "off")]
)
def test_no_file_can_change_what_a_severity_means(severity: str, mitigation: str) -> None:
    assert "mitigation must be" in refusal(SeverityPolicy, critical(severity=severity, mitigation=mitigation))


def test_low_has_no_ladder_because_nothing_may_change_its_exposure() -> None:
    low = critical(severity="low", mitigation="leave")
    assert "ladder must be empty" in refusal(SeverityPolicy, low)
    assert SeverityPolicy.model_validate(low | {"ladder": []}).mitigation is Mitigation.LEAVE


def test_reduce_to_is_there_at_high_and_only_there() -> None:
    high = critical(severity="high", mitigation="reduce")
    assert "reduce_to belongs to severity high" in refusal(SeverityPolicy, high)
    assert "reduce_to belongs to severity high" in refusal(SeverityPolicy, critical(reduce_to=10))
    assert SeverityPolicy.model_validate(high | {"reduce_to": 10}).reduce_to == 10


@pytest.mark.parametrize("percents", [[], [10], [50, 10, 100], [10, 10, 100], [0, 100], [100, 101]])
def test_a_ladder_rises_to_full_exposure(percents: list[int]) -> None:
    ladder = [{"percent": percent, "minimum_soak": "1m", "deadline": "1h"} for percent in percents]
    assert "ladder" in refusal(SeverityPolicy, critical(ladder=ladder))


def test_force_never_lasts_longer_than_a_working_day() -> None:
    assert "force.maximum" in refusal(SeverityPolicy, critical(force={"maximum": "9h"}))
    assert "default must not be longer" in refusal(SeverityPolicy, critical(force={"default": "2h", "maximum": "1h"}))


def test_a_soak_that_outlasts_the_deadline_can_never_pass() -> None:
    assert "it can never pass" in refusal(Gate, {"minimum_soak": "1h", "deadline": "1h"})


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"gate": {"minimum_soak": "1s", "deadline": "1h", "beta": 1}}])
def test_a_field_that_nobody_knows_is_refused(changes: dict[str, Any]) -> None:
    assert "Extra inputs are not permitted" in refusal(SeverityPolicy, critical(**changes))


# -- features ----------------------------------------------------------------------------------


def test_a_feature_says_where_its_flag_is_and_what_on_means() -> None:
    policy = FeaturePolicy.model_validate(feature(flag={"namespace": "mhv", "key": "down", "on": False}))
    assert policy.flag_ref == FlagRef("default", "mhv", "down")
    assert policy.polarity == Polarity(on_value=False)
    variants = FeaturePolicy.model_validate(feature(flag={"namespace": "m", "key": "k", "on_variants": ["a", "b"]}))
    assert variants.polarity == Polarity(on_variants=frozenset({"a", "b"}))


def test_two_polarities_at_once_are_refused() -> None:
    flag = {"namespace": "m", "key": "k", "on": False, "on_variants": ["a"]}
    assert "give one of the two" in refusal(FeaturePolicy, feature(flag=flag))


@pytest.mark.parametrize("key", ["", "a b", "a/b", "ä", "'x'", "x\n", "$(id)", "../x"])
def test_a_key_that_could_be_something_else_in_a_url_or_a_shell_is_refused(key: str) -> None:
    assert "flag.key" in refusal(FeaturePolicy, feature(flag={"namespace": "m", "key": key}))


def test_the_longest_poll_counts_and_the_proof_has_time_for_it() -> None:
    clients = [
        {"name": "web", "kind": "polling", "interval": "120s"},
        {"name": "jobs", "kind": "polling", "interval": 10},
        {"name": "edge", "kind": "streaming"},
    ]
    policy = FeaturePolicy.model_validate(feature(clients=clients, replica_lag="60s"))
    assert policy.poll_interval == timedelta(seconds=120)
    assert policy.proof_time == timedelta(seconds=210)
    assert policy.follow_seconds == 180
    assert policy.streaming
    assert FeaturePolicy.model_validate(feature(clients=clients, prove_within="5m")).proof_time == timedelta(minutes=5)


def test_without_any_client_the_default_poll_of_the_sdks_is_assumed() -> None:
    assert FeaturePolicy.model_validate(feature()).proof_time == timedelta(seconds=150)


def test_an_interval_of_zero_is_an_interval() -> None:
    client = {"name": "w", "kind": "polling", "interval": 0}
    assert FeaturePolicy.model_validate(feature(clients=[client])).poll_interval == timedelta(0)


@pytest.mark.parametrize(
    ("client", "why"),
    [
        ({"name": "w", "kind": "polling"}, "needs interval"),
        ({"name": "w", "kind": "streaming", "interval": "1s"}, "has no interval"),
        ({"name": "w", "kind": "telepathy"}, "polling"),
    ],
)
def test_a_client_says_how_long_it_may_lag_if_it_polls_and_only_then(client: dict[str, Any], why: str) -> None:
    assert why in refusal(Client, client)


def test_surfaces_that_the_flag_does_not_reach_are_named() -> None:
    surfaces = [
        {"name": "web", "reached": True, "because": "asks"},
        {"name": "mobile", "reached": False, "because": "another switch"},
    ]
    assert [one.name for one in FeaturePolicy.model_validate(feature(surfaces=surfaces)).not_covered] == ["mobile"]


def test_production_must_be_said() -> None:
    data = feature()
    del data["production"]
    assert "production" in refusal(FeaturePolicy, data)


def test_each_severity_finds_its_policy_by_name() -> None:
    policy = FeaturePolicy.model_validate(feature(policies={"high": "high-careful"}))
    assert [policy.policies.of(severity) for severity in Severity] == ["low", "high-careful", "critical"]


# -- endpoints ---------------------------------------------------------------------------------


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint.model_validate({"name": "folders", "url": "https://sm.example.gov/folders"} | changes)


def test_the_statuses_of_a_good_answer_are_numbers_and_classes() -> None:
    asked = endpoint(expected_statuses=[204, "3xx"])
    assert [asked.expects(status) for status in (200, 204, 302, 404)] == [False, True, True, False]
    assert [endpoint().expects(status) for status in (199, 200, 299, 300)] == [False, True, True, False]


@pytest.mark.parametrize("status", ["2x", "6xx", 99, 1000, True, "all"])
def test_what_is_no_status_is_refused(status: object) -> None:
    assert "expected_statuses" in refusal(Endpoint, {"name": "a", "expected_statuses": [status]})


@pytest.mark.parametrize(
    "url",
    [
        "sm.example.gov",
        "ftp://x/y",
        "https://",
        "https:///x",
        "https://u:p@x/y",
        "https://x/a b",
        "https://x/\n",
        "https://x:y/",
    ],
)
def test_what_is_no_address_to_probe_is_refused(url: str) -> None:
    assert "url" in refusal(Endpoint, {"name": "a", "url": url})


def test_a_probe_can_only_read() -> None:
    assert "method" in refusal(Endpoint, {"name": "a", "method": "POST"})


def test_a_latency_limit_beyond_the_timeout_would_never_be_noticed() -> None:
    assert "latency_limit" in refusal(Endpoint, {"name": "a", "latency_limit": "11s", "timeout": "10s"})


def test_two_endpoints_of_one_name_would_be_one_metric() -> None:
    health = {"control": {"name": "a"}, "endpoints": [{"name": "b"}, {"name": "a"}]}
    assert "a is there twice" in refusal(FeaturePolicy, feature(health=health))


def test_a_target_whose_address_or_header_is_not_known_says_so() -> None:
    assert endpoint().unknown_because is None
    assert "address" in (endpoint(url=None).unknown_because or "")
    assert "Authorization" in (endpoint(headers={"Authorization": None}).unknown_because or "")
    assert endpoint(bypass_headers={"X-Bypass": None}).unknown_because is None


def test_a_header_without_value_is_not_sent() -> None:
    asked = endpoint(headers={"A": SECRET, "B": ""}, bypass_headers={"X": None, "Y": "y"})
    assert asked.sent_headers() == {"A": SECRET, "Y": "y"}


def test_an_effect_check_without_assertions_would_take_every_answer_for_off() -> None:
    assert "give assertions" in refusal(EffectCheck, {"url": "https://x.example.gov/flags"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "data[0].on", "equals": False}, "data[0].on equals false"),
        ({"path": "data", "equals": None}, "data equals null"),
        ({"path": "", "not_equals": "x"}, 'the document not_equals "x"'),
        ({"path": "a", "exists": "false"}, "a does not exist"),
        ({"path": "a", "contains": 1}, "a contains 1"),
        ({"path": "a", "in": [1, "b"]}, 'a in [1, "b"]'),
        ({"path": "a", "lt": 3}, "a lt 3.0"),
        ({"path": "a", "gt": "3"}, "a gt 3.0"),
    ],
)
def test_an_assertion_is_the_one_that_was_written(given: dict[str, Any], words: str) -> None:
    assertion = Assertion.model_validate(given)
    assert str(assertion.as_json_assertion()) == words
    assert str(Assertion.model_validate(plain(assertion)).as_json_assertion()) == words


@pytest.mark.parametrize(
    "given",
    [{"path": "a"}, {"path": "a", "equals": 1, "gt": 0}, {"path": "a[", "exists": True}, {"path": "a", "in": 1}],
)
def test_an_assertion_that_says_nothing_or_too_much_is_refused(given: dict[str, Any]) -> None:
    refusal(Assertion, given)


# -- what a case pins, and what nobody sees ----------------------------------------------------


def with_secret(value: str | None) -> FeaturePolicy:
    headers = {"Authorization": value}
    effect = {"url": "https://x.example.gov", "headers": headers, "assertions": [{"path": "a", "equals": False}]}
    health = {"endpoints": [{"name": "a", "headers": headers, "bypass_headers": {"X": value}}]}
    return FeaturePolicy.model_validate(feature(health=health, effect_check=effect))


def test_a_secret_is_in_no_text_of_a_policy() -> None:
    policy = with_secret(SECRET)
    texts = [repr(policy), str(policy), json.dumps(plain(policy)), policy.model_dump_json()]
    assert not [text for text in texts if SECRET in text]


def test_a_new_token_is_no_new_policy_and_a_missing_one_is() -> None:
    assert policy_hash(with_secret(SECRET)) == policy_hash(with_secret("another"))
    assert policy_hash(with_secret(SECRET)) != policy_hash(with_secret(None))


def test_the_same_policy_in_other_words_has_the_same_hash() -> None:
    gate = {"deadline": 7200, "minimum_soak": "600s", "p0": 0.02}
    assert policy_hash(SeverityPolicy.model_validate(critical(gate=gate))) == policy_hash(
        SeverityPolicy.model_validate(critical())
    )


def test_the_hash_changes_with_what_the_policy_says() -> None:
    base = SeverityPolicy.model_validate(critical())
    other = SeverityPolicy.model_validate(critical(gate={"minimum_soak": "10m", "deadline": "2h", "p0": 0.03}))
    assert policy_hash(base) != policy_hash(other)
    assert len(policy_hash(base)) == 64


def test_a_wrong_value_is_not_repeated_in_the_error() -> None:
    assert SECRET not in refusal(Endpoint, {"name": "a", "headers": {"A": [SECRET]}, "url": SECRET})


def test_a_policy_cannot_be_changed_after_it_was_read() -> None:
    policy = SeverityPolicy.model_validate(critical())
    with pytest.raises(ValidationError):
        policy.mitigation = Mitigation.LEAVE


def all_models(model: type[PolicyModel]) -> list[type[PolicyModel]]:
    return [model, *(deeper for one in model.__subclasses__() for deeper in all_models(one))]


@pytest.mark.parametrize("model", all_models(PolicyModel), ids=lambda model: str(model.__name__))
def test_every_field_is_documented(model: type[PolicyModel]) -> None:
    assert model.__doc__
    assert [name for name, field in model.model_fields.items() if not field.description] == []
