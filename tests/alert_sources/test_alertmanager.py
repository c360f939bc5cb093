"""Alertmanager's groups: each alert is one of its own, and the same state again is the same delivery."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rollback.core.alert_cycles import alertmanager_cycle
from rollback.core.alerts import Alert, Edge, ReadingKind
from tests.alert_sources.payloads import DROP, SOURCE, alertmanager, am_alert, read, the_alert

STARTED = datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)
ENDED = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
OTHER = am_alert(fingerprint="ffffffffffffffff")


def test_an_alert_says_what_watches_which_cycle_and_when() -> None:
    assert the_alert(read("alertmanager", alertmanager())) == Alert(
        source=SOURCE,
        monitor="MessagesFail",
        cycle=alertmanager_cycle("a1b2c3d4e5f60718", STARTED),
        edge=Edge.FIRED,
        occurred_at=STARTED,
        priority="CRITICAL",
        tags=("alertname:MessagesFail", "env:prod", "service:mhv-messaging", "severity:critical"),
        title="Messages fail",
        link="https://prometheus.example.org/graph?g0.expr=up",
    )


def test_recovery_is_of_the_same_cycle_at_its_end() -> None:
    fired, recovered = (
        the_alert(read("alertmanager", alertmanager(am_alert(word)))) for word in ("firing", "resolved")
    )
    assert recovered.cycle == fired.cycle
    assert recovered.edge is Edge.RECOVERED
    assert recovered.occurred_at == ENDED
    unended = alertmanager(am_alert("resolved", endsAt="0001-01-01T00:00:00Z"))
    assert the_alert(read("alertmanager", unended)).occurred_at is None


def test_each_alert_of_a_group_counts() -> None:
    reading = read("alertmanager", alertmanager(am_alert(), OTHER, am_alert("resolved", fingerprint="0000")))
    assert [alert.edge for alert in reading.alerts] == [Edge.FIRED, Edge.FIRED, Edge.RECOVERED]
    assert len({alert.cycle for alert in reading.alerts}) == 3


def test_the_same_state_again_is_the_same_delivery_in_whatever_order() -> None:
    first = read("alertmanager", alertmanager(am_alert(), OTHER))
    assert read("alertmanager", alertmanager(OTHER, am_alert())).key == first.key
    utc = am_alert(startsAt="2026-03-01T09:00:00.123Z")
    assert read("alertmanager", alertmanager(utc, OTHER)).key == first.key
    later = am_alert(annotations={"summary": "Messages fail: 7 %"}, endsAt="2026-03-01T12:00:00Z")
    assert read("alertmanager", alertmanager(later, OTHER)).key == first.key


@pytest.mark.parametrize(
    "other",
    [
        alertmanager(am_alert(), OTHER),
        alertmanager(am_alert("resolved")),
        alertmanager(am_alert(startsAt="2026-03-01T10:00:01Z")),
        alertmanager(am_alert(fingerprint="a1b2c3d4e5f60719")),
        alertmanager(am_alert(), groupKey="{}:{}"),
        alertmanager(am_alert(), truncatedAlerts=1),
        alertmanager(am_alert(), am_alert(fingerprint=None)),
    ],
)
def test_another_state_has_another_key(other: object) -> None:
    assert read("alertmanager", other).key != read("alertmanager", alertmanager()).key


def test_a_second_recovery_is_another_delivery() -> None:
    first, second = (alertmanager(am_alert("resolved", endsAt=f"2026-03-01T1{hour}:00:00Z")) for hour in (1, 2))
    assert read("alertmanager", first).key != read("alertmanager", second).key


def test_an_alert_with_the_test_label_is_left_out_of_its_group() -> None:
    rehearsal = am_alert(labels={"alertname": "MessagesFail", "rollback_test": "true"}, fingerprint="eeee")
    alone = read("alertmanager", alertmanager(rehearsal))
    assert alone.kind is ReadingKind.TEST
    mixed = read("alertmanager", alertmanager(rehearsal, am_alert()))
    assert [alert.cycle for alert in mixed.alerts] == [alertmanager_cycle("a1b2c3d4e5f60718", STARTED)]
    real = am_alert(labels={"alertname": "MessagesFail", "rollback_test": "false"})
    assert read("alertmanager", alertmanager(real)).kind is ReadingKind.ALERTS


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "alert",
        am_alert("pending"),
        am_alert(status=DROP),
        am_alert(labels=DROP),
        am_alert(labels={"severity": "critical"}),
        am_alert(labels={"alertname": ["x"]}),
        am_alert(labels={"alertname": "x" * 201}),
        am_alert(fingerprint=DROP),
        am_alert(fingerprint="a\u200bb"),
        am_alert(startsAt=DROP),
        am_alert(startsAt="0001-01-01T00:00:00Z"),
    ],
)
def test_one_alert_that_cannot_be_read_does_not_lose_the_others(bad: object) -> None:
    alone = read("alertmanager", alertmanager(bad))
    assert alone.kind is ReadingKind.UNKNOWN
    assert alone.why.startswith(("One of its alerts", "The field"))
    beside = the_alert(read("alertmanager", alertmanager(bad, am_alert())))
    assert beside.cycle == alertmanager_cycle("a1b2c3d4e5f60718", STARTED)
    assert "rollback_unreadable_alerts:1" in beside.tags


@pytest.mark.parametrize("truncated", [1, 17, "3"])
def test_alerts_that_were_cut_off_are_said(truncated: object) -> None:
    alert = the_alert(read("alertmanager", alertmanager(truncatedAlerts=truncated)))
    assert f"rollback_truncated_alerts:{truncated}" in alert.tags


@pytest.mark.parametrize("truncated", [DROP, None, 0, "0", "many", [], -1, 10**30, "²"])
def test_nothing_is_said_of_alerts_that_were_not_cut_off(truncated: object) -> None:
    alert = the_alert(read("alertmanager", alertmanager(truncatedAlerts=truncated)))
    assert not [tag for tag in alert.tags if tag.startswith("rollback_")]


@pytest.mark.parametrize(
    "document",
    [
        {},
        alertmanager(version="3"),
        alertmanager(version="5"),
        alertmanager(version=DROP),
        alertmanager(alerts=[]),
        alertmanager(alerts=None),
        alertmanager(alerts={"0": am_alert()}),
    ],
)
def test_what_is_no_group_of_version_4_is_not_understood(document: object) -> None:
    assert read("alertmanager", document).kind is ReadingKind.UNKNOWN


@pytest.mark.parametrize(
    ("labels", "priority"),
    [
        ({"severity": "page"}, "PAGE"),
        ({"priority": "p1"}, "P1"),
        ({"severity": "critical", "priority": "p1"}, "CRITICAL"),
        ({}, ""),
    ],
)
def test_the_priority_is_the_severity_or_the_priority(labels: dict[str, str], priority: str) -> None:
    document = alertmanager(am_alert(labels={"alertname": "MessagesFail", **labels}))
    assert the_alert(read("alertmanager", document)).priority == priority


def test_what_only_people_read_may_be_missing() -> None:
    bare = am_alert(annotations=None, generatorURL="", labels={"alertname": "MessagesFail", "empty": ""})
    alert = the_alert(read("alertmanager", alertmanager(bare, externalURL=None)))
    assert alert.title == "MessagesFail"
    assert alert.link == ""
    assert alert.tags == ("alertname:MessagesFail",)
