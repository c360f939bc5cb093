"""The watch after the return: taken over without a gap in what is known, and not over while an alert fires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollback.core import events as e
from rollback.core.history import Actor
from rollback.core.model import Severity, State
from rollback.errors import PolicyRefused
from rollback.flapping import check_budget
from tests.fakes.commands import Person, person
from tests.fakes.policies import critical, low
from tests.fakes.world import BOB, HALF, World

WATCH = {"duration": "2m", "interval": "500ms", "false_alarms_per_year": 365}
ROBOT = Actor("rollback", "process")


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def watching(world: World, actor: Actor | None = None, **fields: Any) -> Person:
    session = world.session(actor) if actor else world.session()
    return person(world, session=session, policy=critical(monitoring={**WATCH, **fields}))


def attach(world: World, *cycles: str) -> None:
    person(world).say(e.AlertsAttached(cycles, Severity.CRITICAL, "datadog"))


def handed_over(world: World, after: float) -> float:
    """Somebody brings it back, watches for so many seconds, and leaves the watch to `serve`; when that was."""
    somebody = watching(world)
    stopped: list[float] = []

    def interrupted() -> bool:
        back = world.entries("returned_in_full")
        if back and (world.clock.now() - back[0].at).total_seconds() >= after:
            stopped.append(world.clock.elapsed)
        return bool(stopped)

    somebody.interrupted = interrupted
    outcome = somebody.enable(hand_over=lambda: True)
    assert (outcome.exit_code, outcome.state) == (130, State.MONITORING)
    assert world.last.watcher is None
    return stopped[0]


# -- before the return ------------------------------------------------------------------------------------------------


def test_a_return_says_which_alert_it_waits_for_and_goes_on_once_that_is_over(off: World) -> None:
    attach(off, "datadog:4711:c1")
    off.at(30.0, lambda: person(off).say(e.AlertsRecovered(("datadog:4711:c1",))))
    somebody = watching(off)
    assert somebody.enable().exit_code == 0
    assert somebody.progress.text.count("Waiting, and watching: the alert datadog:4711:c1 fires.") == 1
    started, raised = off.entries("return_started")[0].at, off.entries("step_raised")[0].at
    assert (raised - started).total_seconds() >= 29


# -- handed over -----------------------------------------------------------------------------------------------------


def test_who_takes_the_watch_over_watches_for_what_is_left_of_the_time(off: World) -> None:
    left_at = handed_over(off, after=90.0)
    off.clock.elapsed += 3600.0  # nobody watched in that hour, so it does not count
    began = off.clock.elapsed
    serve = watching(off, ROBOT)
    assert serve.enable().exit_code == 0
    assert 25 <= off.clock.elapsed - began <= 35
    assert off.clock.elapsed - left_at > 3600
    assert "are over already" in serve.progress.text
    assert off.incident is None


def test_the_evidence_of_the_watch_goes_on_after_it_was_handed_over(off: World) -> None:
    handed_over(off, after=90.0)
    serve = watching(off, ROBOT)
    assert serve.enable().exit_code == 0
    assert serve.progress.watched[0].metrics[0].samples > 170, "those of the one before"
    stages = {(entry.data["stage"], entry.data["basis"]) for entry in off.entries("evidence")}
    assert len([stage for stage, _ in stages if stage == 99]) == 1, "one book for both of them"


def test_the_detector_goes_on_where_it_was(off: World) -> None:
    """Four of five probes fail, against a limit of a half: that takes a while to be sure of."""
    off.probe.say("folders", lambda number: float(number % 5 < 4) if off.open_buckets == 50 else 0.0)
    alone = watching(off)
    assert alone.enable().exit_code == 4
    [harmed] = off.entries("harm_seen")
    [back] = off.entries("returned_in_full")
    needed = (harmed.at - back.at).total_seconds()

    (off.folder / "second").mkdir()
    second = World(off.folder / "second", HALF)
    person(second).disable()
    second.probe.say("folders", lambda number: float(number % 5 < 4) if second.open_buckets == 50 else 0.0)
    handed_over(second, after=needed * 0.6)
    began = second.clock.elapsed
    assert watching(second, ROBOT).enable().exit_code == 4
    assert second.clock.elapsed - began < needed * 0.75, "what was seen before counts"
    assert second.open_buckets == 0


def test_what_was_monitored_before_another_off_does_not_count_for_the_next_return(off: World) -> None:
    handed_over(off, after=90.0)
    person(off).disable()
    began = off.clock.elapsed
    somebody = watching(off)
    assert somebody.enable().exit_code == 0
    back = off.entries("returned_in_full")[-1]
    assert off.clock.elapsed - began >= 120
    assert (off.clock.now() - back.at).total_seconds() >= 119
    assert "are over already" not in somebody.progress.text


def test_a_low_case_that_is_handed_over_is_watched_for_what_is_left(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    policy = low(monitoring=WATCH)
    person(world, policy=policy).open_low()
    first = person(world, policy=policy)
    first.interrupted = lambda: world.state() is State.MONITORING and world.clock.elapsed > 90
    assert first.enable(hand_over=lambda: True).exit_code == 130
    began = world.clock.elapsed
    assert person(world, policy=policy).enable().exit_code == 0
    assert world.clock.elapsed - began < 50
    assert world.store.writes == 0


# -- an alert that fires ---------------------------------------------------------------------------------------------


def test_the_watch_is_not_over_while_an_alert_fires_and_a_person_is_called_once(off: World) -> None:
    off.at(60.0, lambda: attach(off, "datadog:1"))
    off.at(600.0, lambda: person(off).say(e.AlertsRecovered(("datadog:1",))))
    somebody = watching(off)
    assert somebody.enable().exit_code == 0
    assert 600 <= off.clock.elapsed <= 602
    called = off.entries("human_called")
    assert len(called) == 1
    assert 120 <= (called[0].at - off.entries("returned_in_full")[0].at).total_seconds() <= 125, "when its time is over"
    assert "not resolved: the alert datadog:1 fires" in (called[0].after or {})["needs_human"]["what"]
    assert off.open_buckets == 50, "an alert that was known takes nothing down"


def test_an_alert_that_recovers_in_time_calls_nobody(off: World) -> None:
    off.at(60.0, lambda: attach(off, "datadog:1"))
    off.at(90.0, lambda: person(off).say(e.AlertsRecovered(("datadog:1",))))
    assert watching(off).enable().exit_code == 0
    assert off.entries("human_called") == []


def test_whoever_takes_over_after_the_time_calls_nobody_a_second_time(off: World) -> None:
    off.at(60.0, lambda: attach(off, "datadog:1"))
    handed_over(off, after=200.0)
    off.at(50.0, lambda: person(off).say(e.AlertsRecovered(("datadog:1",))))
    assert watching(off, ROBOT).enable().exit_code == 0
    called = [(entry.after or {})["needs_human"]["what"] for entry in off.entries("human_called")]
    assert len(called) == 2, "handing over calls for a watcher in between, so it is said once more after that"


def test_harm_in_the_watch_is_not_kept_up_by_an_alert(off: World) -> None:
    off.at(60.0, lambda: attach(off, "datadog:1"))
    off.at(300.0, lambda: off.probe.say("folders", 1.0))
    outcome = watching(off).enable()
    assert (outcome.exit_code, off.open_buckets) == (4, 0)


# -- the budget ------------------------------------------------------------------------------------------------------

BUDGET = {"budget": 2, "window": "1d", "cool_down": "0s"}


def fails(world: World, *, harm: bool) -> None:
    """A person brings it back; it is harmful at the first step, or the person goes away."""
    somebody = person(world)
    if harm:
        world.probe.say("folders", lambda _round: float(world.open_buckets > 0))
    else:
        somebody.interrupted = lambda: world.open_buckets > 0
    somebody.enable()
    assert world.open_buckets == 0
    world.probe.say("folders", 0.0)


def refusal(world: World, actor: Actor) -> str:
    try:
        check_budget(world.session(actor), critical(returns=BUDGET))
    except PolicyRefused as error:
        return error.message
    return ""


@pytest.mark.parametrize("harm", [True, False], ids=["harm", "watch stopped"])
def test_returns_of_people_that_failed_use_up_the_budget_of_automation(off: World, harm: bool) -> None:
    fails(off, harm=harm)
    assert refusal(off, ROBOT) == ""
    fails(off, harm=harm)
    assert "begun by themselves or failed" in refusal(off, ROBOT)
    assert refusal(off, BOB) == "", "a person is not limited"


def test_a_return_of_a_person_that_went_well_uses_up_nothing(off: World) -> None:
    for _ in range(3):
        assert person(off).enable().exit_code == 0
        person(off).disable()
    assert refusal(off, ROBOT) == ""


def test_a_return_of_automation_counts_once_whether_it_fails_or_not(off: World) -> None:
    off.probe.say("folders", lambda _round: float(off.open_buckets > 0))
    assert person(off, session=off.session(ROBOT)).enable().exit_code == 4
    assert refusal(off, ROBOT) == ""
    off.probe.say("folders", 0.0)
    assert person(off, session=off.session(ROBOT)).enable().exit_code == 0
    assert refusal(off, ROBOT) != ""


def test_taking_a_watch_over_is_no_return(off: World) -> None:
    handed_over(off, after=10.0)
    for _ in range(2):
        serve = watching(off, ROBOT)
        serve.interrupted = lambda: True
        assert serve.enable(hand_over=lambda: True).exit_code == 130
    assert refusal(off, ROBOT) == ""


def test_harm_in_the_watch_counts_as_a_return_that_failed(off: World) -> None:
    for _ in range(2):
        off.probe.say("folders", lambda _round: float(off.open_buckets == 50))
        assert watching(off).enable().exit_code == 4
        off.probe.say("folders", 0.0)
    assert refusal(off, ROBOT) != ""
