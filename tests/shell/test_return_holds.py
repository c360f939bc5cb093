"""A freeze, a person's go, a switch beside the flag, requests that have to be seen: what waits is watched."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback.core import events as e
from rollback.core.model import State
from rollback.core.policy import SeverityPolicy
from rollback.core.proof import ProofPart, Status, effect_part
from rollback.errors import ConfigurationError
from rollback.ports import Measurement
from rollback.return_holds import Holds, SwitchSight
from rollback.return_watch import ReturnWatch
from tests.fakes.commands import Person, person
from tests.fakes.policies import critical, gate, low, step
from tests.fakes.world import BOB, HALF, World

LONG = {"duration": "5m", "interval": "500ms", "false_alarms_per_year": 365}
NOON_TO_ONE = {"hours": "12:00-12:01 UTC"}
"""The fake clock begins at noon."""


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def bob(world: World) -> Person:
    return person(world, session=world.session(BOB))


def since_start(world: World, name: str, place: int = 0) -> float:
    return (world.entries(name)[place].at - world.entries("return_started")[0].at).total_seconds()


# -- freeze ----------------------------------------------------------------------------------------------------------


def test_nothing_is_raised_while_releases_are_frozen_and_the_return_waits_for_the_end(off: World) -> None:
    alice = person(off, policy=critical(freeze=NOON_TO_ONE))
    assert alice.enable().exit_code == 0
    assert off.entries("step_raised")[0].at >= datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
    assert "from 12:00 to 12:01 there are no releases" in alice.progress.text


def test_a_freeze_that_begins_on_the_way_holds_the_next_step_and_takes_nothing_back(off: World) -> None:
    slow = [step(percent, minimum_soak="40s", deadline="2m") for percent in (10, 50, 100)]
    seen: list[int] = []
    off.at(100.0, lambda: seen.append(off.open_buckets))
    late = {"hours": "12:01-12:03 UTC"}
    alice = person(off, policy=critical(freeze=late, ladder=slow))
    assert alice.enable().exit_code == 0
    assert seen == [25], "two steps before a minute past noon, and none while it is frozen"
    assert off.entries("returned_in_full")[0].at >= datetime(2026, 11, 23, 12, 3, tzinfo=UTC)


def test_harm_in_a_freeze_goes_down_and_waits_for_nothing(off: World) -> None:
    slow = [step(percent, minimum_soak="40s", deadline="2m") for percent in (10, 50, 100)]
    off.at(90.0, lambda: off.probe.say("folders", 1.0))
    outcome = person(off, policy=critical(freeze={"hours": "12:01-23:59 UTC"}, ladder=slow)).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (4, State.DISABLED, 0)
    assert off.clock.elapsed < 120


def test_a_disable_in_a_freeze_is_done_at_once(off: World) -> None:
    off.at(30.0, lambda: bob(off).disable())
    outcome = person(off, policy=critical(freeze={"hours": "11:00-23:59 UTC"})).enable()
    assert outcome.exit_code == 4
    assert (off.last.epoch, off.open_buckets) == (2, 0)


def test_a_zone_that_this_machine_does_not_know_refuses_the_return_before_it_begins(off: World) -> None:
    with pytest.raises(ConfigurationError, match="Atlantis"):
        person(off, policy=critical(freeze={"hours": "09:00-17:00 Atlantis/Capital"})).enable()
    assert off.entries("return_started") == []
    assert off.probe.rounds == 0


# -- a person's go ---------------------------------------------------------------------------------------------------


def judged(*, percents: tuple[int, ...] = (10, 50, 100), human: int = 0) -> SeverityPolicy:
    """A person judges the step at this place."""
    fields: list[dict[str, object]] = [{"judgement": "human"} if n == human else {} for n in range(len(percents))]
    return critical(ladder=[step(percent, **more) for percent, more in zip(percents, fields, strict=True)])


def test_a_step_that_a_person_judges_is_left_only_after_the_go(off: World) -> None:
    off.at(50.0, lambda: bob(off).say(e.StepApproved(BOB)))
    alice = person(off, policy=judged())
    assert alice.enable().exit_code == 0
    assert since_start(off, "step_raised", 0) < 5
    assert since_start(off, "step_raised", 1) >= 49, "ten percent were open for that long, watched"
    assert since_start(off, "returned_in_full") < 55, "and only that step waits"
    assert "a person has to say go" in alice.progress.text
    assert len(off.entries("human_called")) == 1


def test_a_go_is_no_evidence(off: World) -> None:
    off.probe.say("folders", lambda _round: None if off.open_buckets == 5 else 0.0)
    off.at(3.0, lambda: bob(off).say(e.StepApproved(BOB)))
    slow = [step(10, judgement="human", deadline="5s"), step(50), step(100)]
    outcome = person(off, policy=critical(ladder=slow)).enable()
    assert (outcome.exit_code, off.open_buckets) == (4, 0)
    assert len(off.entries("step_raised")) == 1


def test_a_step_that_is_skipped_on_this_flag_is_judged_all_the_same(tmp_path: Path) -> None:
    """One percent of fifty buckets is nobody: without a go it would come back to everybody at once."""
    world = World(tmp_path, HALF)
    person(world).disable()
    seen: list[int] = []
    world.at(20.0, lambda: seen.append(world.open_buckets))
    world.at(21.0, lambda: bob(world).say(e.StepApproved(BOB)))
    assert person(world, policy=judged(percents=(1, 100))).enable().exit_code == 0
    assert seen == [0]


def test_a_false_alarm_was_judged_by_who_declared_it(off: World) -> None:
    somebody = person(off, policy=judged())
    somebody.say(e.FalseAlarmDeclared(BOB))
    assert somebody.enable().exit_code == 0


# -- switches --------------------------------------------------------------------------------------------------------


class Window:
    """A maintenance window that can be read; `status` is what a look says."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.looks = 0

    def look(self, _deadline: float) -> ProofPart:
        self.looks += 1
        return effect_part(self.status, "scripted", datetime(2026, 11, 23, tzinfo=UTC))

    def sight(self) -> SwitchSight:
        return SwitchSight("window", "the operations team", self.look)


def test_while_a_switch_is_up_nothing_is_counted_and_nothing_is_raised(off: World) -> None:
    window = Window(Status.OPEN)
    off.at(35.0, lambda: setattr(window, "status", Status.PROVEN))
    alice = person(off, policy=critical(gate=gate(deadline="5s")))
    assert alice.enable(switches=(window.sight(),)).exit_code == 0
    assert "the switch window is up; the operations team ends it" in alice.progress.text
    blind = [
        j for title, j in alice.progress.judgements if "now: off" in title and j.reasons[0].startswith("the switch")
    ]
    assert blind
    assert {judgement.metrics[0].samples for judgement in blind} == {0}
    assert since_start(off, "step_raised") >= 40 - 1, "noticed at the next look"
    assert window.looks < 20, "looked at now and then, not at each round"


def test_an_answer_of_the_time_in_which_it_was_up_never_counts_also_when_it_was_good(off: World) -> None:
    window = Window(Status.OPEN)
    alice = person(off, policy=critical())
    alice.interrupted = lambda: off.clock.elapsed > 60
    assert alice.enable(switches=(window.sight(),)).exit_code == 130
    assert off.open_buckets == 0
    kept = [entry.data for entry in off.entries("evidence")]
    assert kept == []


@pytest.mark.parametrize("status", [Status.UNKNOWN, None], ids=["no answer", "nothing to read"])
def test_a_switch_that_cannot_be_read_waits_for_a_person(off: World, status: Status | None) -> None:
    window = SwitchSight("window", "ops") if status is None else Window(status).sight()
    off.at(30.0, lambda: bob(off).say(e.SwitchLifted("window", BOB)))
    alice = person(off, policy=critical())
    assert alice.enable(switches=(window,)).exit_code == 0
    assert since_start(off, "step_raised") >= 29
    assert "--switch window" in alice.progress.text


def test_a_switch_that_says_that_it_is_up_is_believed_more_than_a_person(off: World) -> None:
    bob(off).say(e.SwitchLifted("window", BOB))
    alice = person(off, policy=critical())
    alice.interrupted = lambda: off.clock.elapsed > 30
    assert alice.enable(switches=(Window(Status.OPEN).sight(),)).exit_code == 130
    assert off.open_buckets == 0


def once_open(world: World, buckets: int, act: Callable[[], object]) -> None:
    done: list[bool] = []

    def on_round(_number: int) -> None:
        if world.open_buckets == buckets and not done:
            done.append(True)
            act()

    world.probe.on_round = on_round


def test_a_switch_that_goes_up_while_something_is_exposed_calls_a_person_and_holds(off: World) -> None:
    window = Window(Status.PROVEN)
    once_open(off, 5, lambda: setattr(window, "status", Status.OPEN))
    off.at(60.0, lambda: setattr(window, "status", Status.PROVEN))
    seen: list[int] = []
    off.at(50.0, lambda: seen.append(off.open_buckets))
    slow = [step(percent, minimum_soak="20s", deadline="60s") for percent in (10, 50, 100)]
    assert person(off, policy=critical(ladder=slow)).enable(switches=(window.sight(),)).exit_code == 0
    assert seen == [5]
    called = [(entry.after or {})["needs_human"]["what"] for entry in off.entries("human_called")]
    assert len(called) == 1
    assert "nothing can be seen" in called[0]


def test_time_in_which_a_switch_is_up_is_not_monitored(off: World) -> None:
    window = Window(Status.PROVEN)
    once_open(off, 50, lambda: setattr(window, "status", Status.OPEN))
    off.at(60.0, lambda: setattr(window, "status", Status.PROVEN))
    watch = {"duration": "20s", "interval": "500ms", "false_alarms_per_year": 365}
    assert person(off, policy=critical(monitoring=watch)).enable(switches=(window.sight(),)).exit_code == 0
    assert off.clock.elapsed >= 60 + 5


def test_a_low_case_is_checked_only_while_no_switch_is_up(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    policy = low(gate=gate(deadline="5s"))
    person(world, policy=policy).open_low()
    window = Window(Status.OPEN)
    world.at(35.0, lambda: setattr(window, "status", Status.PROVEN))
    assert person(world, policy=policy).enable(switches=(window.sight(),)).exit_code == 0
    assert world.clock.elapsed >= 35
    assert world.store.writes == 0


# -- requests that have to be seen -----------------------------------------------------------------------------------


def test_a_step_by_users_waits_until_so_many_requests_were_seen(off: World) -> None:
    counted = [step(10, minimum_users=200, users_metric="folders"), step(50), step(100)]
    alice = person(off, policy=critical(ladder=counted))
    assert alice.enable().exit_code == 0
    second = since_start(off, "step_raised", 1) - since_start(off, "step_raised", 0)
    assert second >= 19, "one request every 100 ms"
    reasons = [reason for _, judgement in alice.progress.judgements for reason in judgement.reasons]
    assert any("of 200 requests were seen at this step" in reason for reason in reasons)


def test_a_metric_that_never_comes_passes_no_step_by_users(off: World) -> None:
    counted = [step(10, minimum_users=5, users_metric="sends", deadline="5s"), step(50), step(100)]
    outcome = person(off, policy=critical(ladder=counted)).enable()
    assert (outcome.exit_code, off.open_buckets) == (4, 0)
    assert off.clock.elapsed < 60


# -- the cohort's own step -------------------------------------------------------------------------------------------


def test_a_cohort_is_watched_as_its_own_step_says(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    person(world).disable()
    policy = critical((50, 100), use_cohort=True, cohort={"minimum_soak": "25s", "deadline": "60s", "alpha_share": 0.2})
    assert person(world, policy=policy).enable(cohort=("veterans",)).exit_code == 0
    let_in, first = world.entries("step_raised")
    assert (first.at - let_in.at) >= timedelta(seconds=25)
    assert since_start(world, "step_raised") < 5, "before it the gate's own times hold"


def test_what_fails_in_a_maintenance_window_is_no_harm_either_while_it_is_monitored(off: World) -> None:
    window = Window(Status.PROVEN)

    def begins() -> None:
        window.status = Status.OPEN
        off.at(15.0, lambda: off.probe.say("folders", 1.0))  # noticed by then
        off.at(60.0, lambda: off.probe.say("folders", 0.0))
        off.at(61.0, lambda: setattr(window, "status", Status.PROVEN))

    once_open(off, 50, begins)
    assert person(off, policy=critical(monitoring=LONG)).enable(switches=(window.sight(),)).exit_code == 0
    assert off.open_buckets == 50
    assert sum(entry.data["metrics"]["folders"]["bad"] for entry in off.entries("evidence")) == 0


def test_a_window_of_a_metric_that_began_while_the_switch_was_up_is_not_counted_afterwards(off: World) -> None:
    """What it says is partly of the time in which nothing could be seen."""
    window = Window(Status.OPEN)
    somebody = person(off)
    watch = ReturnWatch(
        somebody.session,
        somebody.controller,
        critical(),
        off.probe,
        somebody.progress,
        lambda: False,
        lambda: False,
        "fixed",
    )
    holds = Holds(watch, (window.sight(),))
    now = off.clock.now()

    def of_a_minute(begins: datetime) -> Measurement:
        return Measurement("sends", off.clock.now(), 0.0, "", None, 0, 9, begins, begins + timedelta(minutes=1))

    assert holds.counting([of_a_minute(now)]) == ()
    window.status = Status.PROVEN
    off.clock.elapsed += 5.0
    assert holds.counting([of_a_minute(now)]) == (), "the switch is not looked at in every round"
    off.clock.elapsed += 60.0
    after = of_a_minute(off.clock.now())
    probe = Measurement("folders", off.clock.now(), 0.0, "")
    assert holds.counting([of_a_minute(now), after, probe]) == [after, probe]
