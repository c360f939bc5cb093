"""What is asked of metric systems, with which keys, and what of it is told."""

from __future__ import annotations

import json

import pytest

from rollback.sandbox.metrics_api import Traffic
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.health_probes.metric_benches import KINDS, counted, health, probing, standing_in
from tests.health_probes.stand_ins import StillClock


class Asked:
    """Keeps the requests that came in."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> None:
        self.requests.append(request)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_asked_for_closed_and_disjoint(kind: str) -> None:
    asked, clock = Asked(), StillClock()
    with standing_in(fault=asked) as api, probing(health(counted(kind, api.url)), clock) as probe:
        probe.measure()
        asked.requests.clear()
        for _ in range(3):
            clock.passed += 60
            probe.measure()
            now = int(clock.now().timestamp())
            last = asked.requests[-1].query
            if kind == "prometheus":
                assert (int(last["end"]), last["step"]) == (now, "60")
                assert "[60s]" in last["query"]
                assert "[window]" not in last["query"]
            else:
                assert int(last["to"]) == now
                assert int(last["from"]) in (now - 60, now - 120)


def test_datadog_gets_its_keys_and_prometheus_its_token_and_neither_shows_in_what_is_told() -> None:
    keys = ("api-key-of-the-test-0001", "application-key-of-the-test-0002")
    clock = StillClock()
    with standing_in(keys=keys) as api, probing(health(counted("datadog_metrics", api.url)), clock) as probe:
        assert probe.measure()[0].total == 100
    token = "token-of-the-test-0003"
    access = {"credentials": {"bearer": "PROMETHEUS_TOKEN"}}
    with standing_in(token=token) as api, probing(health(counted("prometheus", api.url, **access)), clock) as probe:
        assert probe.measure()[0].total == 100
    with (
        standing_in(keys=("other", "keys")) as api,
        probing(health(counted("datadog_metrics", api.url)), clock) as probe,
    ):
        told = repr(probe.measure()) + repr(probe.unknown) + repr(vars(probe))
    assert "status 403" in told
    assert not any(secret in told for secret in (*keys, token))


def test_a_stratum_with_an_odd_or_private_name_is_named_by_its_hash() -> None:
    traffic = {"someone@example.org": Traffic(100, 0), "rest": Traffic(100, 0), "web": Traffic(100, 0)}
    clock = StillClock()
    with standing_in(traffic=traffic) as api:
        policy = counted("prometheus", api.url, by_tag={"tag": "app", "maximum": 5})
        with probing(health(policy), clock) as probe:
            probe.measure()
            names = probe.metrics
    assert len(names) == 4
    assert "web-errors[app:web]" in names
    assert not any("example.org" in name or name.endswith(":rest]") for name in names)
    assert json.dumps(names).count("other-") == 2


def test_successes_that_are_absent_are_missing_and_those_that_are_there_count() -> None:
    clock = StillClock()
    with standing_in(traffic={"web": Traffic(100, 3)}) as api:
        policy = counted("datadog_metrics", api.url, errors=None, successes="sum:sm.successes{*}.as_count()")
        with probing(health(policy), clock) as probe:
            assert (probe.measure()[0].bad, probe.measure()[0].total) == (3, None)
        lost = counted("datadog_metrics", api.url, errors=None, successes="sum:sm.successes{*}.as_count()")
        api.edit = lambda document: {**document, "series": []} if "successes" in document["query"] else document
        with probing(health(lost), clock) as probe:
            (found,) = probe.measure()
    assert (found.harm, found.detail) == (None, "no successes")


def test_a_quiet_time_is_kept_when_datadog_asks_for_it() -> None:
    asked, clock = Asked(), StillClock()

    def limited(request: Request) -> Answer:
        asked(request)
        return json_answer({"errors": ["Rate limit"]}, 429, x_ratelimit_reset="300")

    with standing_in(fault=limited) as api, probing(health(counted("datadog_metrics", api.url)), clock) as probe:
        probe.measure()
        for _ in range(3):
            clock.passed += 60
            (found,) = probe.measure()
            assert found.detail == "Datadog asks us to wait"
    assert len(asked.requests) == 1
