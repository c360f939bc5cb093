"""Asking Datadog: all pages, within its limits, with the right keys, and for what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollback.adapters.alert_pollers.datadog import parse_query
from rollback.adapters.alert_pollers.datadog_reading import mentions
from rollback.adapters.datadog_sites import SITES
from rollback.core.alerts import Edge
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from rollback.sandbox.monitoring_datadog import DatadogApi
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.alert_pollers.benches import DatadogBench, edges, other_datadog

FIRED, UNCLEAR, RECOVERED = Edge.FIRED, Edge.UNCLEAR, Edge.RECOVERED


@pytest.fixture
def bench() -> Iterator[DatadogBench]:
    made = DatadogBench()
    yield made
    made.close()


# -- pages, limits, keys -----------------------------------------------------------------------------------------


def test_all_pages_are_read(bench: DatadogBench) -> None:
    other_datadog(bench, page_size=2)
    for number in range(200, 207):
        bench.api.datadog.add(number, "More")
    bench.fire("206")
    assert edges(bench.poll()) == [("206", FIRED)]


def test_a_list_that_fills_its_pages_exactly_is_read_to_its_end(bench: DatadogBench) -> None:
    other_datadog(bench, page_size=1)
    bench.fire("102")
    assert edges(bench.poll()) == [("102", FIRED)]


@pytest.mark.parametrize("short", [[], [{"id": 1, "name": "x", "overall_state": "OK"}]])
def test_a_page_that_is_empty_or_short_in_the_middle_is_an_error(bench: DatadogBench, short: list[Any]) -> None:
    other_datadog(bench, page_size=2)
    for number in range(200, 207):
        bench.api.datadog.add(number, "More")
    bench.fire("206")
    bench.api.fault = lambda request: json_answer(short) if request.query.get("page") == "1" else None
    with pytest.raises(StoreUnreachable, match="not full, and then more"):
        bench.poll()
    bench.work()
    assert edges(bench.poll()) == [("206", FIRED)]


def test_a_list_without_end_is_refused(bench: DatadogBench) -> None:
    other_datadog(bench, page_size=1)
    page = [{"id": 1, "name": "x", "overall_state": "OK"}]
    bench.api.fault = lambda _: json_answer(page)
    with pytest.raises(StoreRefused, match="more than 20 monitors"):
        bench.poll()


def test_no_monitor_at_all_is_no_health(bench: DatadogBench) -> None:
    """A query with a typing error, or an answer that is empty by mistake, would else look well for ever."""
    bench.fire("101")
    bench.poll()
    bench.api.fault = lambda _: json_answer([])
    with pytest.raises(StoreRefused, match="nothing is watched"):
        bench.poll()


NO_LISTS: list[Any] = [{}, {"errors": []}, None, 1, "x", [1], [{}], [{"id": None}], [{"id": -1}], [{"id": True}]]


@pytest.mark.parametrize("document", NO_LISTS, ids=str)
def test_what_is_no_list_of_monitors_is_refused(bench: DatadogBench, document: Any) -> None:
    bench.api.fault = lambda _: json_answer(document)
    with pytest.raises(StoreRefused, match="no list of monitors"):
        bench.poll()


def test_the_rate_limit_is_kept_before_it_is_hit(bench: DatadogBench) -> None:
    bench.api.datadog.limit = 4
    bench.poll()  # two pages
    bench.poll(later=0)
    asked = len(bench.api.log.all())
    with pytest.raises(StoreUnreachable) as failed:
        bench.poll(later=0)
    assert failed.value.retry_after == 30, "the period ends at the full minute"
    assert len(bench.api.log.all()) == asked
    assert {entry.status for entry in bench.api.log.all()} == {200}
    bench.fire("101")
    assert edges(bench.poll(later=30)) == [("101", FIRED)]


def test_a_limit_that_others_used_up_is_waited_for(bench: DatadogBench) -> None:
    bench.api.datadog.limit = 0
    with pytest.raises(StoreUnreachable) as failed:
        bench.poll()
    assert failed.value.retry_after == 30
    asked = len(bench.api.log.all())
    with pytest.raises(StoreUnreachable):
        bench.poll(later=10)
    assert len(bench.api.log.all()) == asked


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"api_key": lambda: "0" * 32}, "API key"), ({"application_key": lambda: "1" * 40}, "application key")],
)
def test_a_wrong_key_is_named_and_not_shown(bench: DatadogBench, wrong: dict[str, Any], said: str) -> None:
    poller = other_datadog(bench, **wrong)
    with pytest.raises(StoreRefused, match=f"the {said} of watch") as failed:
        bench.poll()
    told = f"{failed.value} {failed.value.next} {failed.value!r} {poller!r} {vars(poller)!r}"
    for key in (DatadogApi.API_KEY, DatadogApi.APPLICATION_KEY, "0" * 32, "1" * 40):
        assert key not in told


@pytest.mark.parametrize(
    ("validate", "said"),
    [(json_answer({"valid": False}), "is not valid"), (json_answer({}, 500), "a key"), (json_answer([]), "not valid")],
)
def test_a_refusal_that_cannot_be_told_apart_is_still_a_refusal(
    bench: DatadogBench, validate: Answer, said: str
) -> None:
    def fault(request: Request) -> Answer:
        return validate if request.path == "/api/v1/validate" else json_answer({"errors": ["Forbidden"]}, 403)

    bench.api.fault = fault
    with pytest.raises(StoreRefused, match=said):
        bench.poll()


def test_only_monitors_of_the_query_are_asked_for(bench: DatadogBench) -> None:
    bench.api.datadog.add(300, "Elsewhere", tags=["service:other"])
    bench.fire("300")
    bench.fire("101")
    other_datadog(bench, name="sm", monitor_tags=["env:prod", "service:sm"])
    assert edges(bench.poll()) == [("101", FIRED)]


@pytest.mark.parametrize(
    ("query", "parsed"),
    [
        ("MHV Secure Messag", ("MHV Secure Messag", ())),
        ("sm tag:env:prod tag:service:sm", ("sm", ("env:prod", "service:sm"))),
        ('tag:"env:prod"', ("", ("env:prod",))),
        ("", ("", ())),
    ],
)
def test_a_query_reads_as_in_the_monitor_search(query: str, parsed: tuple[str, tuple[str, ...]]) -> None:
    assert parse_query(query) == parsed


@pytest.mark.parametrize("query", ["status:alert", "sm type:metric", "tag:"])
def test_a_part_of_a_query_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(ConfigurationError, match="not understood"):
        parse_query(query)


@pytest.mark.parametrize(
    "site",
    [
        "",
        "ddog-gov.co",
        "https://api.ddog-gov.co",
        "https://example.org",
        "ddog-gov.com.example.org",
        "http://api.ddog-gov.com",
    ],
)
def test_keys_are_sent_to_no_unknown_site(bench: DatadogBench, site: str) -> None:
    with pytest.raises(ConfigurationError, match="not a site of Datadog; known: ddog-gov"):
        other_datadog(bench, site=site)


@pytest.mark.parametrize("site", sorted(SITES))
def test_each_site_may_be_given_by_name_or_address(bench: DatadogBench, site: str) -> None:
    for given in (site, f"https://api.{site}", f"https://api.{site}/"):
        poller = other_datadog(bench, site=given)
        assert poller._http.base_url == f"https://api.{site}"


def test_a_page_size_that_datadog_does_not_have_is_refused(bench: DatadogBench) -> None:
    with pytest.raises(ConfigurationError, match="1 to 1000"):
        other_datadog(bench, page_size=1001)


# -- monitors ----------------------------------------------------------------------------------------------------


def test_a_monitor_says_whom_it_tells(bench: DatadogBench) -> None:
    message = "{{#is_alert}} Errors! @slack-sm-alerts @webhook-rollback, @someone@example.org. {{/is_alert}} a@b"
    bench.api.datadog.monitors[101].message = message
    (state,) = bench.poller.monitors(["101"], bench.clock.now())
    assert state.notifies == ("@[redacted]", "@slack-sm-alerts", "@webhook-rollback")
    assert (state.name, state.tags) == ("SM errors", ("env:prod", "service:sm"))
    assert mentions(None) == ()


def test_ids_that_no_monitor_has_are_not_asked_for(bench: DatadogBench) -> None:
    assert list(bench.poller.monitors(["../1", "", "1" * 50, "\uff11"], bench.clock.now())) == []
    assert bench.api.log.all() == []


def test_a_monitor_that_cannot_be_read_is_refused(bench: DatadogBench) -> None:
    bench.api.fault = lambda _: json_answer([])
    with pytest.raises(StoreRefused, match="no monitor"):
        bench.poller.monitors(["101"], bench.clock.now())
