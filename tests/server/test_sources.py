"""Which senders are open, and that a receiver that would turn everything away does not start."""

from __future__ import annotations

from typing import Any

import pytest

from rollback.adapters.alert_sources import PARSERS
from rollback.adapters.alert_sources.authenticity import authenticity
from rollback.core.automation_policy import AutomationPolicy
from rollback.errors import ConfigurationError
from rollback.server.sources import AlertSource, open_sources

SECRET = "0123456789abcdef-secret"


def opened(environ: dict[str, str], parsers: Any = PARSERS, **sources: dict[str, Any]) -> dict[str, AlertSource]:
    base = {"kind": "datadog", "authentication": "secret_header", "secrets": ["NEW", "OLD"]}
    policy = AutomationPolicy.model_validate({"sources": {name: {**base, **one} for name, one in sources.items()}})
    return open_sources(policy, environ, parsers, authenticity)


@pytest.mark.parametrize("environ", [{"NEW": SECRET}, {"OLD": SECRET}, {"NEW": SECRET, "OLD": ""}])
def test_while_a_secret_is_changed_one_of_the_two_is_enough(environ: dict[str, str]) -> None:
    source = opened(environ, datadog={})["datadog"]
    assert source.closed == ""
    assert source.authenticity is not None
    assert source.authenticity.check({"x-rollback-secret": SECRET}, b"") is None
    assert source.authenticity.check({"x-rollback-secret": ""}, b"") == "no_credentials"


def test_a_source_without_its_secret_is_closed_and_says_which_variable_is_missing() -> None:
    sources = opened({"NEW": SECRET}, datadog={}, other={"secrets": ["A", "B"]}, none={"secrets": []})
    assert sources["other"].authenticity is None
    assert sources["other"].closed == "A and B not set"
    assert sources["none"].closed == "it names no secret"
    assert sources["datadog"].closed == ""


@pytest.mark.parametrize("secret", ["too-few-letters", "line-break-at-the-end-of-it\n", "ünicode-in-a-secret-of-ours"])
def test_a_secret_that_cannot_be_used_closes_its_source_alone_and_is_not_shown(secret: str) -> None:
    sources = opened({"NEW": SECRET, "BAD": secret}, datadog={}, other={"secrets": ["BAD"]})
    assert sources["other"].authenticity is None
    assert sources["other"].closed
    assert secret.strip() not in sources["other"].closed
    assert secret not in repr(sources["other"])


def test_a_receiver_without_any_open_source_is_refused_with_the_reason() -> None:
    with pytest.raises(
        ConfigurationError, match=r"No source of alerts is open \(datadog: NEW and OLD not set\)"
    ) as raised:
        opened({"NEW": ""}, datadog={})
    assert raised.value.exit_code == 2
    assert "secrets" in raised.value.next
    with pytest.raises(ConfigurationError, match="none is configured"):
        opened({"NEW": SECRET})


def test_a_kind_that_nothing_reads_is_refused_with_the_kinds_that_are_known() -> None:
    parsers = {name: parser for name, parser in PARSERS.items() if name != "datadog"}
    with pytest.raises(ConfigurationError, match="datadog") as raised:
        opened({"NEW": SECRET}, parsers, dog={})
    assert "pagerduty" in raised.value.next


def test_no_secret_shows_in_what_is_known_of_a_source() -> None:
    basic = {"kind": "appdynamics", "authentication": "basic", "user": "appd"}
    for source in opened({"NEW": SECRET, "OLD": SECRET[::-1]}, datadog={}, appd=basic).values():
        assert SECRET not in repr(source)
        assert SECRET[::-1] not in repr(source)
