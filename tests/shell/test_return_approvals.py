"""A return that a person has to permit: it waits while it observes, calls the next one, and never takes a word for
evidence. An off waits for nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.flag import Rollout
from rollback.core.history import Actor
from rollback.core.model import State
from rollback.core.policy import SeverityPolicy
from tests.fakes.commands import Person, person
from tests.fakes.policies import critical, gate, high, step
from tests.fakes.world import BOB, HALF, World

CAROL = Actor("carol", "os")
APPROVALS = {"escalate_after": "20s", "escalate_to": ["approver", "owner"], "roles_of": {"carol": ["owner"]}}
LONG = {"duration": "5m", "interval": "500ms", "false_alarms_per_year": 365}


@pytest.fixture
def off(tmp_path: Path) -> World:
    """Half of everybody had it; it is off."""
    world = World(tmp_path, HALF)
    person(world).disable()
    return world


def wanting(**fields: Any) -> SeverityPolicy:
    """A policy that wants an approval."""
    return critical(**{"approvals": APPROVALS, "monitoring": LONG, **fields})


def bob(world: World) -> Person:
    return person(world, session=world.session(BOB))


def once(world: World, condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Once, at the first round of probes in which the condition holds."""
    done: list[bool] = []

    def on_round(_number: int) -> None:
        if not done and condition():
            done.append(True)
            act()

    world.probe.on_round = on_round


def waited(somebody: Person) -> str:
    return next((line for line in somebody.progress.lines if line.startswith("Waiting")), "")


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_the_return_waits_for_the_approval_and_goes_on_observing(off: World) -> None:
    off.at(15.0, lambda: bob(off).approve())
    alice = person(off, policy=wanting())
    assert alice.enable().exit_code == 0
    first = off.entries("step_raised")[0]
    assert first.at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 15.0
    assert "an approval is missing (approver may give it, but not alice)" in waited(alice)
    _, before_the_raise = alice.progress.judgements[-1]
    rounds = [judgement for title, judgement in alice.progress.judgements if "now: off" in title]
    assert rounds[-1].metrics[0].samples > 100, "evidence went on while nobody answered"
    assert before_the_raise.metrics[0].passed
    assert off.open_buckets == 50


def test_an_approval_that_is_there_already_costs_no_time(off: World) -> None:
    bob(off).approve()
    alice = person(off, policy=wanting())
    assert alice.enable().exit_code == 0
    assert waited(alice) == ""
    assert off.entries("approval_asked") == []


def test_without_any_answer_nothing_is_ever_raised_and_each_role_is_called_once(off: World) -> None:
    alice = person(off, policy=wanting(gate=gate(deadline="5s")))
    alice.interrupted = lambda: off.clock.elapsed > 120
    outcome = alice.enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (130, State.DISABLED, 0)
    asked = [(entry.after or {})["needs_human"]["role"] for entry in off.entries("approval_asked")]
    assert asked == ["approver", "owner"]
    first, second = off.entries("approval_asked")
    assert 20 <= (second.at - first.at).total_seconds() < 21
    assert "raise_exposure" not in {entry.name for entry in off.entries()}


def test_the_deadline_is_for_evidence_and_not_for_people(off: World) -> None:
    off.at(60.0, lambda: bob(off).approve())
    alice = person(off, policy=wanting(gate=gate(deadline="5s")))
    assert alice.enable().exit_code == 0, "twelve times the deadline, with the evidence there all the while"


def test_an_approval_is_no_evidence(off: World) -> None:
    bob(off).approve()
    off.probe.say("folders", None)
    outcome = person(off, policy=wanting(gate=gate(deadline="5s"))).enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (4, State.DISABLED, 0)


def test_the_evidence_has_to_be_there_when_the_approval_comes_and_not_only_before(off: World) -> None:
    """It was healthy for a minute; then nothing is heard of it any more, and then somebody approves."""
    off.at(60.0, lambda: off.probe.say("folders", None))
    off.at(180.0, lambda: bob(off).approve())
    off.at(240.0, lambda: off.probe.say("folders", 0.0))
    alice = person(off, policy=wanting(gate=gate(deadline="10m")))
    assert alice.enable().exit_code == 0
    first = off.entries("step_raised")[0]
    assert first.at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 240.0 - 1
    heard = [judgement.reasons for title, judgement in alice.progress.judgements if "now: off" in title]
    assert any("nothing was heard of it for" in reason for reasons in heard for reason in reasons)


def test_harm_that_begins_while_a_person_is_waited_for_is_found_in_spite_of_a_long_good_past(off: World) -> None:
    off.at(300.0, lambda: off.probe.say("folders", 1.0))
    alice = person(off, policy=wanting())
    alice.interrupted = lambda: off.clock.elapsed > 600
    outcome = alice.enable()
    assert (outcome.exit_code, outcome.state, off.open_buckets) == (4, State.DISABLED, 0)
    assert "became harmful" in outcome.message
    assert off.clock.elapsed < 310, "3,000 clean samples do not hide it"


# -- what makes it void ----------------------------------------------------------------------------------------------


def test_one_who_is_barred_does_not_permit_it(off: World) -> None:
    person(off).approve()  # alice, who turned it off
    alice = person(off, session=off.session(BOB), policy=wanting())
    alice.interrupted = lambda: off.clock.elapsed > 30
    assert alice.enable().exit_code == 130
    assert off.open_buckets == 0


def test_an_off_by_an_alert_bars_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    person(world, session=world.session(Actor("alert-datadog", "signature"))).disable()
    person(world).approve()
    assert person(world, session=world.session(BOB), policy=wanting()).enable().exit_code == 0


def test_another_fix_makes_it_void_and_asks_again(off: World) -> None:
    bob(off).approve()
    off.at(0.3, lambda: person(off).controller.handle(e.FixDeployed("5ec0nd")))
    alice = person(off, policy=wanting(gate=gate(minimum_soak="2s")))
    alice.interrupted = lambda: off.clock.elapsed > 30
    assert alice.enable().exit_code == 130
    assert len(off.entries("approval_asked")) == 2
    assert off.open_buckets == 0


def test_an_edit_of_the_flag_makes_it_void(off: World) -> None:
    bob(off).approve()
    words = Rollout(value=False, percentage=0.0, description="somebody's words")
    off.at(0.3, lambda: off.put_in_front(words) if not off.open_buckets else None)
    alice = person(off, policy=wanting(gate=gate(minimum_soak="2s")))
    alice.interrupted = lambda: off.clock.elapsed > 30
    assert alice.enable().exit_code == 130
    assert off.open_buckets == 0
    assert words in off.flag.rollouts


def test_one_that_expires_before_the_gate_opens_lets_nothing_begin(off: World) -> None:
    bob(off).approve(valid_for=timedelta(seconds=3))
    alice = person(off, policy=wanting(gate=gate(minimum_soak="5s")))
    alice.interrupted = lambda: off.clock.elapsed > 30
    assert alice.enable().exit_code == 130
    assert off.open_buckets == 0


def test_one_that_let_the_return_begin_lasts_to_its_end_however_long_the_ladder(off: World) -> None:
    bob(off).approve(valid_for=timedelta(seconds=3))
    slow = [step(percent, minimum_soak="60s", deadline="5m") for percent in (10, 50, 100)]
    assert person(off, policy=wanting(ladder=slow)).enable().exit_code == 0
    assert off.open_buckets == 50


def test_one_that_is_taken_back_on_the_way_stops_the_climb_and_not_the_watch(off: World) -> None:
    bob(off).approve()
    slow = [step(percent, minimum_soak="5s", deadline="60s") for percent in (10, 50, 100)]
    seen: list[int] = []
    once(off, lambda: off.open_buckets == 5, lambda: bob(off).say(e.ApprovalWithdrawn(BOB)))
    off.at(40.0, lambda: seen.append(off.open_buckets))
    off.at(41.0, lambda: bob(off).approve())
    assert person(off, policy=wanting(ladder=slow)).enable().exit_code == 0
    assert seen == [5], "no step up, and none down"
    assert off.open_buckets == 50


def test_the_next_return_needs_an_approval_of_its_own(off: World) -> None:
    bob(off).approve()
    off.probe.say("folders", lambda _round: 1.0 if off.open_buckets else 0.0)
    assert person(off, policy=wanting()).enable().exit_code == 4
    assert off.last.approvals == ()


# -- beside it -------------------------------------------------------------------------------------------------------


def test_a_role_further_up_that_was_called_may_answer(off: World) -> None:
    off.at(25.0, lambda: person(off, session=off.session(CAROL)).approve(role="owner"))
    assert person(off, policy=wanting()).enable().exit_code == 0


def test_two_people_have_to_approve_where_two_are_wanted(off: World) -> None:
    two = wanting(approvals={"required": 2})
    off.at(5.0, lambda: bob(off).approve())
    off.at(30.0, lambda: person(off, session=off.session(CAROL)).approve())
    alice = person(off, policy=two)
    assert alice.enable().exit_code == 0
    first = off.entries("step_raised")[0]
    assert first.at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 30.0 - 1
    assert "2 approvals are missing" in waited(alice)


def test_force_skips_the_gate_and_not_the_approval(off: World) -> None:
    off.probe.say("folders", None)
    until = off.clock.now() + timedelta(minutes=10)
    off.at(20.0, lambda: bob(off).approve())
    off.at(21.0, lambda: off.probe.say("folders", 0.0))
    alice = person(off, policy=wanting(monitoring={**LONG, "duration": "3s"}))
    assert alice.enable(forced_until=until).exit_code == 0
    assert off.entries("returned_in_full")[0].at.timestamp() - off.entries("return_started")[0].at.timestamp() >= 19
    assert "an approval is missing" in waited(alice)


def test_a_force_that_nobody_approves_expires_without_anything_raised(off: World) -> None:
    until = off.clock.now() + timedelta(seconds=30)
    outcome = person(off, policy=wanting()).enable(forced_until=until)
    assert (outcome.exit_code, off.open_buckets) == (4, 0)
    assert "expired while it waited" in outcome.message


def test_force_needs_no_approval_where_the_policy_says_so(off: World) -> None:
    until = off.clock.now() + timedelta(minutes=10)
    free = wanting(approvals={"force_needs_approval": False}, monitoring={**LONG, "duration": "3s"})
    assert person(off, policy=free).enable(forced_until=until).exit_code == 0
    assert off.entries("approval_asked") == []


def test_a_high_case_waits_at_its_reduced_level(tmp_path: Path) -> None:
    world = World(tmp_path, HALF)
    policy = high((50, 100), approvals=APPROVALS)
    person(world, policy=policy).open_high(20.0)
    seen: list[int] = []
    world.at(19.0, lambda: seen.append(world.open_buckets))
    world.at(20.0, lambda: bob(world).approve())
    assert person(world, policy=policy).enable().exit_code == 0
    assert (seen, world.open_buckets) == ([10], 50)


@pytest.mark.parametrize("moment", [5.0, 30.0])
def test_a_disable_is_done_at_once_while_a_return_waits_for_an_approval(off: World, moment: float) -> None:
    proofs: list[bool] = []
    off.at(moment, lambda: proofs.append(person(off, session=off.session(BOB)).disable().proven))
    outcome = person(off, policy=wanting()).enable()
    assert outcome.exit_code == 4
    assert proofs == [True]
    assert off.last.epoch == 2
    assert exposures.exposure(off.flag, off.reference.polarity).is_off
