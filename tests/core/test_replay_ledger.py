"""A history that the real program wrote, replayed under the policy it was written under: the same steps, at the same
times. That is what makes a replay under another policy worth believing."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.core import events as e
from rollback.core.alerts import Age, Edge
from rollback.core.flag import Rollout
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.policy import SeverityPolicy
from rollback.core.replay import ReplayPolicy, replay
from rollback.core.replay_course import Course, differences, event_word
from rollback.core.replay_ledger import recording_of
from rollback.core.replay_recording import AlertHeard, HeldBack, Recording, Told
from tests.core.replays import T0, policy
from tests.fakes.commands import person
from tests.fakes.policies import critical, gate, high, low
from tests.fakes.world import FEATURE, HALF, SHIPPED, World

EXACTLY = timedelta(milliseconds=1)
Story = Callable[[World], object]


def replayed(world: World, under: ReplayPolicy) -> tuple[Recording, Course]:
    recording = recording_of(world.entries(), FEATURE)
    return recording, replay(recording, under)


def is_the_same(world: World, under: ReplayPolicy) -> Course:
    """Fails unless the replay takes the very steps that were taken, in the same moments, with the same exposures."""
    recording, course = replayed(world, under)
    assert differences(recording.done, course.marks, EXACTLY) == []
    for what in ("step_raised", "returned_in_full", "reduce_settled", "off_written"):
        done = [mark.exposure for mark in recording.done if mark.what == what]
        assert [mark.exposure for mark in course.marks if mark.what == what] == done, what
    assert course.ends_in == world.state().value
    return course


# -- stories ------------------------------------------------------------------------------------------------------


def comes_back(world: World) -> None:
    person(world).disable()
    person(world).enable(fix="600df1x")


def is_harmed_while_it_climbs(world: World) -> None:
    person(world).disable()
    world.at(0.8, lambda: world.probe.say("folders", 1.0))
    person(world).enable(fix="600df1x")


def comes_back_the_second_time(world: World) -> None:
    is_harmed_while_it_climbs(world)
    world.clock.sleep(4000)
    world.probe.say("folders", 0.0)
    person(world).enable(fix="an0ther")


def has_no_data(world: World) -> None:
    person(world).disable()
    world.probe.say("folders", None)
    person(world).enable()


def loses_its_data_while_it_climbs(world: World) -> None:
    person(world).disable()
    world.at(0.7, lambda: world.probe.say("folders", None))
    person(world).enable()


def gets_another_fix_meanwhile(world: World) -> None:
    person(world).disable()
    world.at(0.7, lambda: person(world).controller.handle(e.FixDeployed("an0ther")))
    person(world).enable(fix="600df1x")


def is_disabled_again_meanwhile(world: World) -> None:
    person(world).disable()
    world.at(0.7, lambda: person(world).disable("again", wait=False))
    person(world).enable()


def is_edited_meanwhile(world: World) -> None:
    person(world).disable()
    narrower = Rollout(value=False, percentage=7.0)
    edit = lambda config: replace(config, rollouts=(*config.rollouts, narrower))  # noqa: E731
    world.at(0.7, lambda: world.edit(edit))
    person(world).enable()


def is_interrupted(world: World) -> None:
    person(world).disable()
    somebody = person(world)
    somebody.interrupted = lambda: world.clock.elapsed > 0.7
    somebody.enable()
    person(world).enable()


def is_reduced_and_comes_back(world: World) -> None:
    person(world).open_high()
    person(world, policy=high()).enable()


def stays_on_and_is_checked(world: World) -> None:
    person(world).open_low()
    person(world, policy=low()).enable()


def is_noted(world: World) -> None:
    person(world).note("before any case")
    person(world).disable()
    person(world).note("the vendor says: an hour")
    person(world).enable()


STORIES = [
    comes_back,
    is_harmed_while_it_climbs,
    comes_back_the_second_time,
    has_no_data,
    loses_its_data_while_it_climbs,
    gets_another_fix_meanwhile,
    is_disabled_again_meanwhile,
    is_edited_meanwhile,
    is_interrupted,
    is_reduced_and_comes_back,
    stays_on_and_is_checked,
    is_noted,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("flag", [SHIPPED, HALF], ids=["all", "half"])
def test_under_the_same_policy_the_same_happens_again(tmp_path: Path, story: Story, flag: Any) -> None:
    world = World(tmp_path, flag)
    story(world)
    is_the_same(world, policy(rules=()))


def long_watch() -> SeverityPolicy:
    watch = {"duration": "600s", "interval": "500ms", "false_alarms_per_year": 365}
    return critical(monitoring=watch, gate=gate(minimum_soak="500ms"))


def test_harm_after_the_return_is_found_when_the_program_found_it(tmp_path: Path) -> None:
    world, under = World(tmp_path), long_watch()
    person(world).disable()
    world.at(90, lambda: world.probe.say("folders", 1.0))
    person(world, policy=under).enable()
    course = is_the_same(world, policy(under, rules=()))
    assert course.first("harm_seen") is not None
    assert course.ends_in == "disabled"


outcomes = st.lists(st.sampled_from([0.0] * 6 + [1.0, None]), min_size=1, max_size=80)


@settings(max_examples=25)
@given(script=outcomes, percents=st.sampled_from([(100,), (50, 100), (10, 50, 100)]), soak=st.integers(0, 20))
def test_whatever_the_probes_say_the_replay_takes_the_steps_that_were_taken(
    script: list[float | None], percents: tuple[float, ...], soak: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        under = critical(percents, gate=gate(minimum_soak=f"{soak * 100}ms"))
        world.probe.say("folders", itertools.chain(script, itertools.repeat(0.0)))
        person(world).disable()
        person(world, policy=under).enable(fix="600df1x")
        is_the_same(world, policy(under, rules=()))


@settings(max_examples=15)
@given(script=outcomes, alpha=st.floats(0.001, 0.4), soak=st.integers(6, 40))
def test_a_stricter_gate_on_the_same_history_lets_nobody_in_earlier(
    script: list[float | None], alpha: float, soak: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world, under = World(Path(folder)), critical()
        world.probe.say("folders", itertools.chain(script, itertools.repeat(0.0)))
        person(world).disable()
        person(world, policy=under).enable()
        recording, course = replayed(world, policy(under, rules=()))
        strict = critical(gate=gate(alpha=alpha, minimum_soak=f"{soak * 100}ms"))
        stricter = replay(recording, policy(strict, rules=())).first("step_raised")
        mild = course.first("step_raised")
    assert stricter is None or (mild is not None and mild.at <= stricter.at)


# -- single entries ---------------------------------------------------------------------------------------------------

ALERTING = Actor("alert-datadog", "secret_header")


def entry(seconds: float, kind: EntryKind, name: str, **fields: Any) -> Entry:
    given: dict[str, Any] = {"actor": Actor("alex", "os"), **fields}
    at = T0 + timedelta(seconds=seconds)
    return Entry(f"{seconds}-{name}-{fields.get('key')}", at, FEATURE, kind, name, **given)


def decided(seconds: float, action: str = "turn_off", **fields: Any) -> Entry:
    occurred = (T0 - timedelta(seconds=5)).isoformat()
    evidence = {
        "source": "datadog",
        "monitor": "4711",
        "cycle": "c1",
        "edge": "fired",
        "occurred_at": occurred,
        "priority": "P1",
        "tags": ["env:eks-prod"],
        "age": "fresh",
        "new": True,
        "firing": True,
        **fields,
    }
    told = {"delivery": 7, "action": action, "rule": "errors", "why": "It fired.", "evidence": evidence}
    return entry(seconds, EntryKind.FACT, "alerts_decided", data={"decisions": [told], "counts": {action: 1}})


def test_an_alert_is_heard_when_its_off_was_meant_and_only_once() -> None:
    intent = entry(1, EntryKind.INTENT, "lower_exposure", key="kill-1", actor=ALERTING)
    found = recording_of([intent, decided(3), decided(40, "attach")], FEATURE)
    (heard,) = (item for item in found.items if isinstance(item, AlertHeard))
    assert heard.at == T0 + timedelta(seconds=1)
    assert (heard.age, heard.alert.edge, heard.alert.tags) == (Age.FRESH, Edge.FIRED, ("env:eks-prod",))
    assert len([mark for mark in found.done if mark.what == "alert"]) == 2


def test_what_an_alert_did_is_no_act_of_a_person() -> None:
    after = {"state": "disabling", "severity": "critical", "epoch": 1}
    moved = [
        entry(1, EntryKind.INTENT, "lower_exposure", key="kill-1", actor=ALERTING),
        entry(1.1, EntryKind.TRANSITION, "case_opened", actor=ALERTING, after={**after, "state": "triggered"}),
        entry(1.2, EntryKind.TRANSITION, "disable_commanded", key="kill-1", actor=ALERTING, after=after),
        entry(1.5, EntryKind.TRANSITION, "off_written", key="kill-1", actor=ALERTING, after={**after, "audience": 60}),
        entry(9, EntryKind.TRANSITION, "off_proven", actor=ALERTING, after={**after, "state": "disabled"}),
        decided(2),
    ]
    found = recording_of(moved, FEATURE)
    assert [type(item) for item in found.items] == [AlertHeard]
    assert found.audience == 60
    (lowering,) = found.lowerings
    assert lowering.written_after == timedelta(seconds=0.5)
    assert lowering.looks == ((timedelta(seconds=7.5), True),)
    course = replay(found, policy())
    assert differences(found.done, course.marks, timedelta(seconds=1)) == []


def test_a_claimed_name_that_looks_like_an_alert_is_a_person() -> None:
    claimed = Actor("alert-datadog")
    after = {"state": "disabling", "severity": "critical", "epoch": 1}
    found = recording_of([entry(1, EntryKind.TRANSITION, "disable_commanded", actor=claimed, after=after)], FEATURE)
    assert len(found.items) == 1
    assert not isinstance(found.items[0], AlertHeard)
    assert "middle of a case" in found.notes[0]


def test_holds_and_alerts_that_were_only_counted_are_told() -> None:
    until = (T0 + timedelta(hours=1)).isoformat()
    held = entry(0, EntryKind.FACT, "automation_held", data={"until": until, "what": "all alerts"})
    ended = entry(5, EntryKind.FACT, "automation_released")
    storm = decided(1)
    storm = replace(storm, data={**storm.data, "counts": {"turn_off": 80}})
    found = recording_of([held, ended, storm], FEATURE)
    assert [item.until is None for item in found.items if isinstance(item, HeldBack)] == [False, True]
    assert "79 alerts" in found.notes[0]


def test_other_features_are_left_out() -> None:
    other = replace(decided(1), feature="another")
    found = recording_of([other], FEATURE)
    assert found.items == ()


@pytest.mark.parametrize(
    "broken",
    [
        entry(1, EntryKind.FACT, "alerts_decided", data={}),
        entry(1, EntryKind.FACT, "evidence", data={"metrics": {}, "from": "yesterday", "to": "today"}),
        entry(1, EntryKind.FACT, "evidence", data={"metrics": {}, "from": "x", "to": "2026-01-01T00:00:00"}),
        entry(1, EntryKind.FACT, "automation_held", data={}),
        decided(1, edge="sideways"),
    ],
    ids=lambda one: one.name,
)
def test_an_entry_that_this_program_cannot_have_written_is_refused_by_its_name(broken: Entry) -> None:
    with pytest.raises(ValueError, match=broken.entry_id):
        recording_of([broken], FEATURE)


def moved(seconds: float, name: str, **fields: Any) -> Entry:
    after = {"state": "disabled", "severity": "critical", "epoch": 1, "settled_held": 100, "audience": 60}
    given = {"after": {**after, **fields.pop("after", {})}, **fields}
    return entry(seconds, EntryKind.TRANSITION, name, **given)


def test_what_people_decided_is_taken_as_it_was_decided() -> None:
    entries = [
        moved(0, "adopted", after={"incident_id": "sm-1", "epoch": 3}),
        moved(1, "off_proven"),
        moved(2, "gate_measured", after={"gate_blind": True}),
        moved(3, "blind_gate_accepted"),
        moved(4, "kept_off"),
        moved(5, "released", after={"accepted_digest": "abc"}),
        moved(6, "approval_given"),
        moved(7, "approval_withdrawn"),
        moved(8, "switch_lifted", after={"switches_lifted": ["window"]}),
        moved(9, "severity_lowered", after={"severity": "high"}),
        moved(10, "false_alarm_declared"),
        moved(11, "drift_seen", key="kill-2", after={"state": "disabling", "epoch": 2}),
        moved(12, "off_unsettled", after={"state": "disabling"}),
        moved(13, "watch_handed_over", after={"state": "monitoring"}),
        moved(14, "human_called"),
        moved(15, "disable_undone"),
        moved(16, "step_approved"),
    ]
    found = recording_of(entries, FEATURE)
    words = [event_word(item.event) for item in found.items if isinstance(item, Told)]
    assert words == [one.name for one in entries if one.name != "human_called"]
    assert found.measured
    assert found.notes == ()
    assert (found.audience, found.done[0].exposure) == (60, 0)


def test_a_watch_that_the_policy_ended_is_no_act_of_a_person() -> None:
    until = (T0 + timedelta(seconds=5)).isoformat()
    forced = [
        moved(0, "case_opened", after={"state": "triggered"}),
        moved(1, "return_started", after={"forced_until": until, "state": "verifying"}),
        moved(6, "watch_stopped", after={"state": "disabling"}),
    ]
    assert not [item for item in recording_of(forced, FEATURE).items if isinstance(item, Told)]
    early = [*forced[:2], moved(3, "watch_stopped", after={"state": "disabling"})]
    (told,) = (item for item in recording_of(early, FEATURE).items if isinstance(item, Told))
    assert told.event == e.WatchStopped("as recorded")


def test_an_exposure_that_the_record_does_not_say_is_worked_out_or_not_known() -> None:
    silent = moved(2, "step_raised", after={"settled_held": 90, "audience": None})
    assert recording_of([silent], FEATURE).done[0].exposure is None
    counted = moved(2, "step_raised", after={"settled_held": 54})
    assert recording_of([counted], FEATURE).done[0].exposure == 6
    cohort = [moved(1, "off_written"), moved(2, "step_raised", data={"exposure": 100})]
    assert recording_of(cohort, FEATURE).done[1].exposure == 0, "a cohort counts as nobody"
