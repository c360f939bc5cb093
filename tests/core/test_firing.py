"""Alerts on a case: they are facts, and while one fires there is no step up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollback.core import events as e
from rollback.core.effects import RaiseExposure
from rollback.core.machine import firing_words
from rollback.core.model import FIRING_KEPT, Incident, Severity, State
from tests.core.cases import ALEX, NOW, RETURN, WATCHER, critical, disabled, high, low, refused, run, step


def attached(*cycles: str) -> e.AlertsAttached:
    return e.AlertsAttached(cycles, Severity.CRITICAL, "datadog")


MANY = tuple(f"datadog:{number}" for number in range(FIRING_KEPT + 1))


def test_alerts_join_the_case_once_and_leave_it_when_they_recover() -> None:
    firing = run(disabled(), attached("a", "b"), attached("b", "c"))
    assert firing.firing == ("a", "b", "c")
    assert run(firing, e.AlertsRecovered(("b", "unknown"))).firing == ("a", "c")
    assert run(firing, e.AlertsRecovered(("a", "b", "c"))).firing == ()


def test_an_alert_that_joins_or_recovers_changes_nothing_else_and_has_no_effect() -> None:
    before = disabled()
    joined = step(before, attached("a"))
    assert (joined.incident, joined.effects) == (replace(before, firing=("a",)), ())
    over = step(joined.incident, e.AlertsRecovered(("a",)))
    assert (over.incident, over.effects) == (before, ())


@pytest.mark.parametrize(
    "incident",
    [critical(State.VERIFYING), critical(State.RAMPING), high(State.VERIFYING), high(State.RAMPING)],
    ids=lambda incident: f"{incident.severity}-{incident.state}",
)
def test_no_step_up_happens_while_an_attached_alert_fires(incident: Incident) -> None:
    firing = run(incident, attached("datadog:a"))
    refused(firing, e.GatePassed(50), match="takes no step up while the alert datadog:a fires")
    over = step(run(firing, e.AlertsRecovered(("datadog:a",))), e.GatePassed(50))
    assert over.effects == (RaiseExposure(1, 50, NOW + timedelta(seconds=30)),)


def test_a_low_case_is_not_found_healthy_while_its_alert_fires() -> None:
    firing = run(low(State.VERIFYING), attached("a"))
    refused(firing, e.GatePassed(0), match="the alert a fires")
    assert run(firing, e.AlertsRecovered(("a",)), e.GatePassed(0)).state is State.MONITORING


def test_a_forced_return_takes_no_step_up_either() -> None:
    forced = run(disabled(), e.ReturnStarted(WATCHER, ALEX, (), NOW + timedelta(hours=1)), attached("a"))
    refused(forced, e.GatePassed(0), match="takes no step up")


def test_a_disable_is_not_undone_while_an_alert_fires() -> None:
    refused(run(disabled(), attached("a")), e.DisableUndone(ALEX, WATCHER), match="takes no step up")
    assert run(disabled(), e.DisableUndone(ALEX, WATCHER)).state is State.RAMPING


def test_a_disable_is_never_refused_and_forgets_no_alert() -> None:
    again = run(critical(State.RAMPING, firing=MANY[:3], firing_unkept=True), e.DisableCommanded("kill-2-ab", 2))
    assert (again.state, again.firing, again.firing_unkept) == (State.DISABLING, MANY[:3], True)


def test_more_alerts_than_are_kept_stand_in_the_way_until_a_person_releases_the_case() -> None:
    full = run(disabled(), attached(*MANY))
    assert (full.firing, full.firing_unkept) == (MANY[:FIRING_KEPT], True)
    emptied = run(full, e.AlertsRecovered(MANY))
    assert (emptied.firing, emptied.firing_unkept) == ((), True)
    refused(run(emptied, RETURN), e.GatePassed(50), match=f"more than {FIRING_KEPT} alerts were attached")
    released = run(emptied, e.Released("digest"), RETURN)
    assert step(released, e.GatePassed(50)).effects


def test_exactly_as_many_as_are_kept_are_all_known() -> None:
    full = run(disabled(), attached(*MANY[:FIRING_KEPT]))
    assert not full.firing_unkept
    assert run(full, attached(MANY[0])) == full
    assert not run(full, e.AlertsRecovered(MANY)).firing_unkept


def test_a_person_who_releases_the_case_lifts_what_fires() -> None:
    assert run(disabled(), attached("a"), e.Released("digest")).firing == ()


@pytest.mark.parametrize(
    ("cycles", "words"),
    [
        ((), ""),
        (("a",), "the alert a fires"),
        (("a", "b", "c"), "3 alerts fire: a, b, c"),
        (("a", "b", "c", "d", "e"), "5 alerts fire: a, b, c and 2 more"),
    ],
)
def test_what_fires_is_said_in_few_words(cycles: tuple[str, ...], words: str) -> None:
    assert firing_words(critical(State.DISABLED, firing=cycles)) == words
