"""Which alert a rule is about, and which rules can be written at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from rollback.core.alert_rules import AlertRule, Guard, Probing
from rollback.core.alerts import Alert, Edge
from rollback.core.model import Severity
from rollback.core.policy import FeaturePolicy
from rollback.core.triggers import matches, why_not
from tests.core.cases import NOW
from tests.core.test_policy import feature, refusal

ALERT = Alert("datadog", "17", "c1", Edge.FIRED, NOW, "P1", ("env:prod", "service:sm"))


def rule(**fields: Any) -> AlertRule:
    return AlertRule.model_validate({"name": "a", "source": "datadog", "severity": "critical"} | fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"monitors": ["17"]}, ""),
        ({"monitors": [17]}, ""),
        ({"monitors": ["16", None, "17"]}, ""),
        ({"monitors": ["017"]}, "it is about other monitors"),
        ({"monitors": ["1"]}, "it is about other monitors"),
        ({"monitors": ["17"], "source": "pagerduty"}, "it is about the source pagerduty"),
        ({"tags": ["env:prod"]}, ""),
        ({"tags": ["service:sm", "env:prod"]}, ""),
        ({"tags": ["env:prod", "team:x"]}, "the alert lacks the tag team:x"),
        ({"tags": ["env:PROD"]}, "the alert lacks the tag env:PROD"),
        ({"tags": ["environment:prod"]}, "the alert lacks the tag environment:prod"),
        ({"monitors": ["17"], "priorities": ["p1", "p2"]}, ""),
        ({"monitors": ["17"], "priorities": ["P2", "P3"]}, "the alert's priority is P1, not P2 or P3"),
        # What names no environment could be an alert of a test environment.
        ({}, "the rule is inactive: it names neither a monitor nor an environment"),
        ({"tags": ["service:sm"]}, "the rule is inactive: it names neither a monitor nor an environment"),
        # An id that is not set must not turn into "any monitor".
        ({"monitors": [None]}, "the rule is inactive: none of its monitors' ids is set here"),
        ({"monitors": [""], "tags": ["env:prod"]}, "the rule is inactive: none of its monitors' ids is set here"),
    ],
)
def test_a_rule_is_about_an_alert_or_says_why_not(fields: dict[str, Any], why: str) -> None:
    assert why_not(ALERT, rule(**fields)) == why
    assert matches(ALERT, rule(**fields)) is (why == "")


def test_an_alert_without_a_priority_is_matched_only_where_every_priority_is() -> None:
    bare = replace(ALERT, priority="")
    assert matches(bare, rule(monitors=["17"]))
    assert why_not(bare, rule(monitors=["17"], priorities=["P1"])) == "the alert's priority is not given, not P1"


def test_the_title_of_an_alert_decides_nothing() -> None:
    for title in ("", "[Recovered] 18", "P5 staging"):
        assert matches(replace(ALERT, title=title), rule(monitors=["17"], priorities=["P1"]))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"severity": None}, "heartbeat_every"),
        ({"severity": "urgent"}, "severity"),
        ({"name": "Not A Name"}, "name"),
        ({"tags": ["two words"]}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"monitors": [True]}, "monitors"),
        ({"monitors": ["x" * 201]}, "monitors"),
        ({"priorities": [""]}, "priorities"),
        ({"heartbeat_every": "0s"}, "heartbeat_every"),
        ({"guard": {"within": "60s", "by": []}}, "by"),
        ({"guard": {"within": "0s", "by": ["probes"]}}, "within"),
        ({"guard": {"within": "16m", "by": ["probes"]}}, "within"),
        ({"titel": "x"}, "titel"),
    ],
)
def test_a_rule_that_says_nothing_useful_is_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        rule(**fields)


def test_a_guard_says_how_long_and_who() -> None:
    guard = Guard.model_validate({"within": "60s", "by": ["probes"]})
    assert (guard.within, guard.by) == (timedelta(seconds=60), ("probes",))


# -- in a feature ------------------------------------------------------------------------------


def policy(**changes: Any) -> FeaturePolicy:
    return FeaturePolicy.model_validate(feature(**changes))


def test_a_feature_without_these_sections_has_no_rule_no_probing_and_no_owner() -> None:
    bare = policy()
    assert (bare.alerts, bare.rules, bare.owner, bare.shadow_flag, bare.probing) == ((), (), None, None, None)


def test_continuous_probes_are_one_more_rule_when_they_run() -> None:
    alerts = [{"name": "a", "source": "datadog", "monitors": ["17"], "severity": "critical"}]
    quiet = policy(alerts=alerts, probing={"severity": "high"})
    assert [one.name for one in quiet.rules] == ["a"]
    running = policy(alerts=alerts, probing={"severity": "high", "enabled": True})
    assert [one.name for one in running.rules] == ["a", "probes"]
    alarm = Alert("probes", "sm", "1", Edge.FIRED, NOW)
    assert running.rules[1].severity is Severity.HIGH
    assert matches(alarm, running.rules[1])
    assert not matches(replace(alarm, monitor="other"), running.rules[1])


def test_what_an_alarm_of_probes_is_worth_must_be_said() -> None:
    assert "severity" in refusal(Probing, {"enabled": True})


def test_a_shadow_flag_is_never_the_features_own() -> None:
    assert policy(shadow_flag="sm-shadow").shadow_flag == "sm-shadow"
    assert "written every day" in refusal(FeaturePolicy, feature(shadow_flag="sm"))


def test_an_owner_is_a_role_and_a_way_to_reach_it() -> None:
    owner = policy(owner={"role": "SM team", "reach": "Slack #sm"}).owner
    assert owner is not None
    assert (owner.role, owner.reach) == ("SM team", "Slack #sm")
    assert "reach" in refusal(FeaturePolicy, feature(owner={"role": "SM team"}))
