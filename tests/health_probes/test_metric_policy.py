"""The policy of metrics: what is refused, what is remarked on, and what cannot be asked here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollback.core.metric_sources import MOST_STRATA
from rollback.core.metric_verdict import Rule
from rollback.core.policy import Health, plain, policy_hash
from rollback.policy_files import load_policies
from rollback.policy_findings import Finding
from rollback.policy_lint import lint
from tests.health_probes.metric_benches import ENVIRON, counted, health, probing
from tests.health_probes.stand_ins import StillClock

POLICIES = Path(__file__).parents[2] / "policies"
SITE = "https://api.ddog-gov.com"
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
  metrics:
    - kind: datadog_metrics
      name: web-errors
      fires: true
      url: https://api.ddog-gov.com
      requests: sum:requests{*}.as_count()
      successes: sum:successes{*}.as_count()
      window: 1m
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "policies"
    shutil.copytree(POLICIES, target)
    return target


def remarks(folder: Path, *changes: tuple[str, str], environ: dict[str, str] | None = None) -> list[Finding]:
    """What lint says about the feature, with some of its text changed."""
    text = FEATURE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "features" / "extra.yaml").write_text(text)
    found = lint(load_policies(folder, {**SET, **(environ or {})}))
    return [one for one in found if one.file.name == "extra.yaml"]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


# -- lint --------------------------------------------------------------------------------------------------------------


def test_a_feature_with_metrics_has_nothing_to_remark(folder: Path) -> None:
    assert remarks(folder) == []


def test_the_shipped_example_can_be_taken_as_it_is(folder: Path) -> None:
    path = folder / "features" / "secure-messaging.yaml"
    text = path.read_text()
    begins = text.index("  # metrics:")
    ends = text.index("\npolicies:", begins)
    example = "\n".join(line.replace("  # ", "  ", 1) for line in text[begins:ends].splitlines())
    path.write_text(text[:begins] + example + text[ends:])
    assert [one for one in lint(load_policies(folder, SET)) if one.file == path] == []
    section = load_policies(folder, SET).feature("sm").policy.health
    assert [one.name for one in section.metrics] == ["web-errors"]
    assert section.version is not None
    assert section.maintenance is not None
    with probing(section, StillClock(), environ={}) as probe:
        assert probe.unknown["web-errors"] == "DATADOG_API_KEY, DATADOG_APPLICATION_KEY is not set"


def test_nothing_that_fires_is_a_warning(folder: Path) -> None:
    found = only(remarks(folder, ("      fires: true\n", "")))
    assert (found.level, "fires: true" in found.message) == ("warning", True)


@pytest.mark.parametrize(
    ("before", "after", "level", "words"),
    [
        ("window: 1m", "window: 1m\n      minimum_volume: 0", "warning", "minimum_volume 0"),
        ("window: 1m", "window: 1m\n      by_tag: {tag: app}", "warning", "has no maximum"),
        ("window: 1m", "window: 30s", "error", "no multiple of its resolution"),
        ("window: 1m", "window: 90s", "error", "no multiple of its resolution"),
        (
            "successes: sum:successes{*}.as_count()",
            "errors: e\n      absent_errors: zero",
            "warning",
            "renamed counter",
        ),
        ("window: 1m", "window: 1m\n      expected_volume: 5", "error", "fewer requests than its minimum_volume"),
        ("window: 1m", "window: 1m\n      counts_from: 0", "error", "a feature that is off has none"),
    ],
)
def test_what_cannot_work_is_said_with_its_line(folder: Path, before: str, after: str, level: str, words: str) -> None:
    found = [one for one in remarks(folder, (before, after)) if words in one.message]
    assert only(found).level == level
    line = (folder / "features" / "extra.yaml").read_text().splitlines()[found[0].line - 1]
    assert any(word in line for word in ("metrics", "window", "volume", "by_tag", "absent", "counts_from", "- kind"))


def test_a_deadline_that_is_too_short_for_the_windows_is_an_error(folder: Path) -> None:
    slow = ("window: 1m", "window: 1h\n      maximum_samples_per_window: 20")
    found = only([one for one in remarks(folder, slow) if "needs" in one.message and "critical" in one.message])
    assert found.level == "error"
    assert "step 10 % at severity critical has a deadline of 2h" in found.message
    assert "windows of 1h at least" in found.message


def test_a_declared_volume_decides_how_many_windows_are_needed(folder: Path) -> None:
    few = ("window: 1m", "window: 5m\n      expected_volume: 20\n      minimum_volume: 10")
    assert any("20 a window" in one.message for one in remarks(folder, few))
    many = ("window: 1m", "window: 5m\n      expected_volume: 1000")
    assert remarks(folder, many) == []


def test_a_prometheus_window_below_four_scrapes_is_an_error(folder: Path) -> None:
    found = remarks(
        folder,
        ("kind: datadog_metrics", "kind: prometheus"),
        ("https://api.ddog-gov.com", "https://prometheus.example.org"),
        ("sum:requests{*}.as_count()", "sum(increase(r[window]))"),
        ("sum:successes{*}.as_count()", "sum(increase(s[window]))"),
        ("window: 1m", "window: 30s"),
    )
    assert any("fewer than 4 scrapes" in one.message and one.level == "error" for one in found)


def test_metrics_of_users_alone_can_never_open_a_gate(folder: Path) -> None:
    found = remarks(folder, ("  endpoints: [{name: a, url: https://extra.example.gov/a}]\n", ""))
    assert any("nothing is asked while the feature is off" in one.message and one.level == "error" for one in found)


def test_an_address_that_hangs_on_a_variable_is_unknown_and_said(folder: Path) -> None:
    found = only(remarks(folder, ("url: https://api.ddog-gov.com", "url: ${EXTRA_DATADOG}")))
    assert "EXTRA_DATADOG is not set here, so the health of web-errors is unknown" in found.message
    loaded = load_policies(folder, SET).feature("extra")
    with probing(loaded.policy.health, StillClock(), defaulted=loaded.defaulted, unset=loaded.unset) as probe:
        assert probe.unknown["web-errors"] == "EXTRA_DATADOG is not set"


def test_an_address_that_fell_back_to_a_default_is_never_asked(folder: Path) -> None:
    found = remarks(folder, ("url: https://api.ddog-gov.com", f"url: ${{EXTRA_DATADOG:-{SITE}}}"))
    assert any("falls back to a default" in one.message for one in found)
    loaded = load_policies(folder, SET).feature("extra")
    assert loaded.policy.health.metrics[0].url is None  # type: ignore[union-attr]
    with probing(loaded.policy.health, StillClock(), defaulted=loaded.defaulted, unset=loaded.unset) as probe:
        assert probe.unknown["web-errors"] == "its address fell back to a default"


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ("datadog_metrics", {"errors": None}, "give one of errors and successes"),
        ("datadog_metrics", {"successes": "x"}, "give one of errors and successes"),
        ("datadog_metrics", {"errors": None, "successes": "x", "absent_errors": "zero"}, "absent_errors belongs to"),
        ("datadog_metrics", {"window": "2h"}, "less than or equal"),
        ("datadog_metrics", {"maximum_samples_per_window": 0}, "greater than or equal"),
        ("datadog_metrics", {"minimum_volume": -1}, "greater than or equal"),
        ("datadog_metrics", {"by_tag": {"tag": "a b"}}, "match pattern"),
        ("datadog_metrics", {"url": "api.ddog-gov.com"}, "full address"),
        ("datadog_metrics", {"credentials": {"api_key": "not a name"}}, "match pattern"),
        ("datadog_metrics", {"credentials": {"token": "X"}}, "not permitted"),
        ("datadog_metrics", {"treshold": 5}, "not permitted"),
        ("prometheus", {"errors": "sum(increase(x[5m]))"}, r"must hold \[window\]"),
        ("prometheus", {"errors": "increase(x[window]) + increase(y[5m])"}, "a range, offset or @ of its own"),
        ("prometheus", {"errors": "increase(x[window] offset 5m)"}, "a range, offset or @ of its own"),
        ("prometheus", {"errors": "increase(x[window] @ 1700000000)"}, "a range, offset or @ of its own"),
        ("prometheus", {"credentials": {"user": "U"}}, "bearer, or user and password"),
        ("prometheus", {"credentials": {"bearer": "B", "user": "U", "password": "P"}}, "bearer, or user and password"),
        ("graphite", {}, "does not match any of the expected tags"),
    ],
)
def test_a_source_that_cannot_be_right_is_refused(kind: str, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Health.model_validate({"metrics": [{**counted(kind, SITE), **fields}]})


def test_names_are_unique_among_endpoints_and_metrics() -> None:
    one = counted("datadog_metrics", SITE)
    with pytest.raises(ValidationError, match="web-errors is there twice"):
        health(one, endpoints=[{"name": "web-errors", "url": SITE}])
    with pytest.raises(ValidationError, match="web-errors is there twice"):
        health(one, one)


def test_a_window_without_a_request_never_counts_whatever_the_policy_says() -> None:
    section = health(counted("datadog_metrics", SITE, minimum_volume=0))
    assert section.metrics[0].rule == Rule("web-errors", 1, 100)


def test_a_cap_on_parts_is_there_also_without_one_in_the_policy() -> None:
    section = health(counted("datadog_metrics", SITE, by_tag={"tag": "app"}))
    assert section.metrics[0].rule.own == MOST_STRATA


def test_another_query_is_another_policy_and_secrets_are_no_part_of_it() -> None:
    one, other = (health(counted("datadog_metrics", SITE, errors=query)) for query in ("a", "b"))
    assert policy_hash(one) != policy_hash(other)
    assert not any(secret in str(plain(one)) for secret in ENVIRON.values())


# -- what cannot be asked here -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "environ", "why"),
    [
        (counted("datadog_metrics", SITE), {}, "DATADOG_API_KEY, DATADOG_APPLICATION_KEY is not set"),
        (counted("datadog_metrics", SITE), {**ENVIRON, "DATADOG_API_KEY": " "}, "DATADOG_API_KEY is not set"),
        (counted("datadog_metrics", None), ENVIRON, "its address is not known"),
        (counted("datadog_metrics", "https://metrics.example.org"), ENVIRON, "is not a site of Datadog"),
        (counted("prometheus", "http://prometheus.example.org"), ENVIRON, "http://"),
        (counted("prometheus", None), ENVIRON, "its address is not known"),
        (counted("prometheus", SITE, credentials={"bearer": "NO_TOKEN"}), ENVIRON, "NO_TOKEN is not set"),
    ],
)
def test_what_cannot_be_asked_is_unknown_and_nothing_raises(source: Any, environ: dict[str, str], why: str) -> None:
    with probing(health(source), StillClock(), environ=environ) as probe:
        assert why in probe.unknown["web-errors"]
        for _ in range(3):
            (found,) = probe.measure()
            assert (found.harm, found.waiting) == (None, False)


def test_without_anything_to_ask_there_is_no_metric() -> None:
    with probing(health(), StillClock()) as probe:
        assert (probe.metrics, list(probe.measure())) == ((), [])
