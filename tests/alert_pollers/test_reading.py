"""Times, tags, links and memory, out of untrusted documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollback.adapters.alert_pollers import seen as seen_module
from rollback.adapters.alert_pollers.reading import moment, rfc3339, seconds, tags, web_link
from rollback.adapters.alert_pollers.seen import Seen, over
from rollback.core.alerts import Alert, Edge
from tests.alert_pollers.benches import NOON


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23T07:00:00-05:00", NOON),
        ("2026-11-23T12:00:00+0000", NOON),
        ("2026-11-23t12:00:00.000000999z", NOON),
        ("2026-11-23T12:00:00.25Z", NOON + timedelta(milliseconds=250)),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-45T12:00:00Z", None),
        ("2026-11-23T12:00:00+99:99", None),
        ("2026-11-23T12:00:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("2026-11-23", None),
        ("x" * 100, None),
        ("", None),
        (None, None),
        (5, None),
        (["2026-11-23T12:00:00Z"], None),
    ],
)
def test_a_time_is_a_time_in_its_zone_or_none(value: Any, at: datetime | None) -> None:
    assert rfc3339(value) == at


@pytest.mark.parametrize("value", [0, -1, 1, 10**30, 1e300, float("nan"), float("inf"), True, "1795435200", None, []])
def test_numbers_that_are_no_time_are_none(value: Any) -> None:
    assert seconds(value) is None
    assert moment(value) is None


def test_numbers_that_are_a_time() -> None:
    assert seconds(1795435200) == seconds(1795435200.9) == 1795435200
    assert moment(1795435200000, per_second=1000) == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_tags_are_sorted_unique_cut_and_without_secrets() -> None:
    assert tags(["b:2", "a:1", "b:2", "", 5, None]) == ("a:1", "b:2")
    assert tags(["password:hunter2", "mail:someone@example.org"]) == ("mail:[redacted]", "password:[redacted]")
    assert len(tags(f"t:{number}" for number in range(500))) == 64
    assert len(tags(["x" * 1000])[0]) == 200


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "ftp://example.org", "https://", "/x", "", None, 5, "https://a b"]
)
def test_only_web_links_are_kept(link: Any) -> None:
    assert web_link(link) == ""


def test_a_web_link_is_kept() -> None:
    assert web_link("https://example.org/x?a=1#b") == "https://example.org/x?a=1#b"


def test_memory_is_bounded_and_what_it_lost_never_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "MOST", 3)
    seen = Seen("watch")
    fired = [Alert("watch", "m", f"c{number}", Edge.FIRED, NOON) for number in range(5)]
    assert len(seen.keep(fired, NOON)) == 5, "all of them are told"
    told = seen.keep([over(one, NOON + timedelta(minutes=1)) for one in fired], NOON + timedelta(minutes=1))
    assert [one.cycle for one in told] == ["c2", "c3", "c4"]
