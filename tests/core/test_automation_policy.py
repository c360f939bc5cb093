"""`automation.yaml` as a model: safe defaults, what it refuses, and what it never holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from rollback.core.automation_policy import AutomationPolicy, Limits, NoticeRoute, Poll, Source
from rollback.core.policy import plain
from rollback.core.severity_policy import Remind, Returns
from rollback.core.triggers import Urgency
from tests.core.test_policy import refusal

PING = "https://alive.example.org/ping/do-not-show-me-4711"


def source(**fields: Any) -> dict[str, Any]:
    return {"kind": "datadog", "authentication": "secret_header", "secrets": ["A_SECRET"]} | fields


def poll(**fields: Any) -> dict[str, Any]:
    keys = {"api_key": "DD_API_KEY", "application_key": "DD_APP_KEY"}
    return {"kind": "datadog", "url": "https://api.example.gov", "credentials": keys} | fields


def test_without_the_file_nobody_may_deliver_and_the_brake_is_on() -> None:
    policy = AutomationPolicy()
    assert (policy.sources, policy.polls, policy.notices, policy.heartbeat) == ({}, {}, {}, None)
    assert policy.source_names == frozenset()
    assert (policy.storm_brake.features, policy.storm_brake.window) == (3, timedelta(minutes=10))
    assert policy.limits("anybody") == Limits()
    assert policy.arming.write_check_every == timedelta(days=1)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"kind": "nagios"}, "kind"),
        ({"authentication": "none"}, "authentication"),
        ({"secrets": ["s3cret value"]}, "secrets"),
        ({"secrets": ["lower_case"]}, "secrets"),
        ({"secrets": ["A", "B", "C"]}, "secrets"),
        ({"authentication": "pagerduty_signature"}, "nobody else signs that way"),
        ({"authentication": "basic"}, "user belongs to basic"),
        ({"user": "rollback"}, "user belongs to basic"),
        ({"header": "two words"}, "header"),
        ({"maximum_age": "0s"}, "maximum_age"),
        ({"maximum_age": "25h"}, "maximum_age"),
        ({"clock_skew": "2h"}, "clock_skew"),
        ({"heartbeat": {"monitor": "1"}}, "every"),
        ({"heartbeat": {"monitor": "", "every": "1d"}}, "monitor"),
        ({"secret": "A_SECRET"}, "secret"),
    ],
)
def test_a_source_that_cannot_be_trusted_as_written_is_refused(fields: dict[str, Any], word: str) -> None:
    assert word in refusal(Source, source(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "pagerduty", "authentication": "pagerduty_signature"},
        {"authentication": "basic", "user": "rollback"},
        {"authentication": "bearer", "secrets": ["NEW_ONE", "OLD_ONE"]},
        {"heartbeat": {"monitor": "12", "every": "25h"}},
    ],
)
def test_sources_that_can_be_written(fields: dict[str, Any]) -> None:
    assert Source.model_validate(source(**fields)).maximum_age == timedelta(minutes=15)


def test_what_a_wrong_secret_holds_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        AutomationPolicy.model_validate({"sources": {"datadog": source(secrets=["do-not-show-me-4711"])}})
    assert "do-not-show-me" not in str(caught.value)


def test_only_some_senders_are_strong_enough_alone_and_one_signs() -> None:
    kinds = ("datadog", "pagerduty", "alertmanager", "appdynamics", "generic")
    sources = {kind: Source.model_validate(source(kind=kind)) for kind in kinds}
    assert {kind for kind, one in sources.items() if one.is_weak} == {"appdynamics", "generic"}
    assert not any(one.signs_body for one in sources.values())
    assert Source.model_validate(source(kind="pagerduty", authentication="pagerduty_signature")).signs_body


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"credentials": {}}, "credentials of datadog are api_key and application_key"),
        ({"credentials": {"api_key": "A"}}, "api_key and application_key"),
        ({"credentials": {"api_key": "a value", "application_key": "B"}}, "credentials"),
        ({"kind": "prometheus"}, "credentials of prometheus are none, or bearer, or password and user"),
        ({"kind": "appdynamics", "credentials": {"user": "U", "password": "P"}}, "must name the application"),
        ({"url": "ftp://x.example.org"}, "https://"),
        ({"interval": "1s"}, "interval"),
    ],
)
def test_a_poll_that_cannot_work_is_refused(fields: dict[str, Any], word: str) -> None:
    assert word in refusal(Poll, poll(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"url": None},
        {"kind": "alertmanager", "credentials": {}},
        {"kind": "prometheus", "credentials": {"bearer": "T"}},
        {"kind": "appdynamics", "credentials": {"client_id": "I", "client_secret": "S"}, "query": "SM"},
    ],
)
def test_polls_that_can_be_written(fields: dict[str, Any]) -> None:
    assert Poll.model_validate(poll(**fields)).interval == timedelta(seconds=30)


def test_how_old_an_alert_may_be_is_its_sources_word_before_the_polls() -> None:
    policy = AutomationPolicy.model_validate(
        {
            "sources": {"a": source(maximum_age="5m")},
            "polls": {"a": poll(maximum_age="6m"), "b": poll(maximum_age="7m")},
        }
    )
    found = [policy.limits(name).maximum_age for name in ("a", "b", "c")]
    assert found == [timedelta(minutes=5), timedelta(minutes=7), timedelta(minutes=15)]
    assert policy.source_names == {"a", "b"}


def test_the_address_of_the_sign_of_life_is_never_shown() -> None:
    policy = AutomationPolicy.model_validate({"heartbeat": {"url": PING}})
    assert policy.heartbeat is not None
    assert policy.heartbeat.url is not None
    assert policy.heartbeat.url.get_secret_value() == PING
    assert "do-not-show-me" not in f"{policy!r} {plain(policy)}"
    assert "do-not-show-me" not in refusal(AutomationPolicy, {"heartbeat": {"url": "do-not-show-me"}})
    unset = AutomationPolicy.model_validate({"heartbeat": {"url": None}})
    assert unset.heartbeat is not None
    assert unset.heartbeat.url is None


def test_a_way_to_people_takes_what_is_urgent_enough() -> None:
    route = NoticeRoute.model_validate({"kind": "slack", "url_variable": "SLACK_URL"})
    assert [route.takes(urgency) for urgency in Urgency] == [True, True, False]
    assert NoticeRoute.model_validate({"kind": "webhook", "url_variable": "U", "secret_variable": "S"}).secret_variable
    unsigned = {"kind": "teams", "url_variable": "U", "secret_variable": "S"}
    assert "take no signature" in refusal(NoticeRoute, unsigned)
    assert "url_variable" in refusal(NoticeRoute, {"kind": "slack", "url_variable": "https://hooks.example.org/x"})


@pytest.mark.parametrize(
    "fields", [{"storm_brake": {"features": 0}}, {"sources": {"Data Dog": source()}}, {"source": {}}, {"heartbeat": {}}]
)
def test_what_nobody_could_mean_is_refused(fields: dict[str, Any]) -> None:
    assert refusal(AutomationPolicy, fields)


def test_returns_and_reminders_have_sensible_defaults_and_bounds() -> None:
    assert (Returns().budget, Returns().window, Returns().cool_down) == (10, timedelta(days=1), timedelta(0))
    assert (Remind().after, Remind().then_every) == ((timedelta(hours=1), timedelta(hours=4)), timedelta(hours=1))
    assert Remind.model_validate({"after": [], "then_every": None}).after == ()
    for after in (["4h", "1h"], ["1h", "1h"], ["0s", "1h"]):
        assert "must rise" in refusal(Remind, {"after": after})
    assert "then_every" in refusal(Remind, {"then_every": "1m"})
    assert "budget" in refusal(Returns, {"budget": -1})
