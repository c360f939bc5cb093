"""A recorded incident through a policy: off when the alert comes in, back only on samples that are there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rollback.core import events as e
from rollback.core.alerts import Edge
from rollback.core.history import Actor
from rollback.core.model import Severity
from rollback.core.replay import CANNOT_KNOW, replay
from rollback.core.replay_recording import (
    Deployed,
    FlagSeen,
    HeldBack,
    Item,
    Lowering,
    Opened,
    Told,
)
from tests.core.replays import (
    ALEX,
    FEATURE,
    STORY,
    Items,
    alert,
    at,
    course,
    disabled,
    enabled,
    policy,
    probes,
    recording,
    sample,
    told,
)
from tests.fakes.policies import critical, gate, high, low


def test_a_whole_incident_off_at_the_alert_and_back_step_by_step_on_its_evidence() -> None:
    found = course(*STORY)
    whats = [what for what, _ in told(found)]
    assert whats == [
        *("case_opened", "disable_commanded", "off_written", "off_proven", "return_started"),
        *("gate_passed", "step_raised", "gate_passed", "step_raised", "gate_passed", "returned_in_full"),
        "monitoring_ended",
    ]
    assert dict(told(found))["off_written"] == 0
    assert [mark.exposure for mark in found.marks if mark.what in ("step_raised", "returned_in_full")] == [10, 50, 100]
    assert found.ends_in == "resolved"
    assert found.figures.false_returns == 0


def test_nothing_is_raised_before_its_soak_and_all_its_samples_are_there() -> None:
    under = policy(critical((50, 100), gate=gate(minimum_soak="5s")))
    first = course(*STORY, under=under).first("step_raised")
    assert first is not None
    assert first.at >= at(15)
    few = course(*STORY[:-1], probes(10, 10.4), under=policy(critical((50, 100), gate=gate(minimum_soak="100ms"))))
    assert few.first("step_raised") is None


def test_where_the_recording_has_no_sample_nothing_passes() -> None:
    silent = course(*STORY[:-1], probes(10, 30, None))
    assert silent.first("gate_passed") is None
    assert silent.ends_in == "verifying"
    stops = course(*STORY[:-1], probes(10, 10.3), Deployed(at(100), "something else"))
    assert stops.first("gate_passed") is None, "old evidence is no evidence of later"
    assert stops.first("evidence_ended") is not None
    assert stops.ends_in == "disabled"


def test_without_anything_at_all_nothing_comes_back() -> None:
    found = course(alert(0), enabled(10), Deployed(at(500), "the end"))
    assert found.first("gate_passed") is None
    assert found.ends_in == "disabled"


def test_a_metric_that_falls_silent_holds_the_gate_although_its_past_was_good() -> None:
    under = policy(
        metrics={"folders": 0, "threads": 0}, critical=critical(gate=gate(minimum_soak="90s", deadline="200s"))
    )
    both = [*probes(10, 12), *probes(10, 120, name="threads", every=0.5)]
    found = course(alert(0), enabled(10), both, under=under)
    assert found.first("gate_passed") is None


def test_harm_on_the_way_back_retreats_and_counts_as_a_false_return() -> None:
    found = course(*STORY[:-1], probes(10, 10.8), probes(10.8, 14, 1.0), probes(14, 30))
    assert [what for what, _ in told(found)][-3:] == ["harm_seen", "off_written", "off_proven"]
    assert found.figures.false_returns == 1
    assert found.ends_in == "disabled"


def test_harm_after_the_return_turns_it_off_again() -> None:
    watched = critical(monitoring={"duration": "60s", "interval": "100ms", "false_alarms_per_year": 365})
    found = course(*STORY[:-1], probes(10, 20), probes(20, 40, 1.0), under=policy(watched))
    harm = found.first("harm_seen")
    assert harm is not None
    assert at(20) <= harm.at <= at(25)
    assert "monitored" in harm.text
    assert found.ends_in == "disabled"


def test_an_alert_that_is_too_old_turns_nothing_off() -> None:
    found = course(alert(0, occurred=-3600), probes(0, 5, 1.0))
    assert told(found) == []
    assert found.marks[0].what == "alert"
    assert "older" in found.marks[0].text


def test_an_alert_that_fires_holds_every_step_until_it_recovers() -> None:
    still: Items = [alert(0), enabled(10), probes(10, 30)]
    assert course(still).first("gate_passed") is None
    raised = course(still, alert(20, Edge.RECOVERED)).first("step_raised")
    assert raised is not None
    assert raised.at >= at(20)


def test_a_new_alert_while_it_climbs_turns_it_off_again() -> None:
    found = course(*STORY, alert(10.9, cycle="c2"))
    offs = [seconds for what, seconds in told(found) if what == "off_written"]
    assert offs == [0, 10.9]
    assert found.figures.false_returns == 1


def test_without_automation_nothing_happens_by_itself_and_a_person_still_can() -> None:
    found = course(alert(0), probes(0, 5, 1.0), disabled(4), under=policy(auto=False))
    assert dict(told(found))["off_written"] == 4


def test_a_hold_delays_the_alert_until_it_ends_and_never_a_person() -> None:
    held = HeldBack(at(-1), at(60), "by alex")
    found = course(held, alert(0), Deployed(at(100), "the end"))
    assert dict(told(found))["off_written"] == 60
    assert dict(told(course(held, alert(0), disabled(5), Deployed(at(50), "the end"))))["off_written"] == 5


def test_a_high_alert_reduces_and_a_low_one_leaves_the_flag_alone() -> None:
    reduced = course(alert(0, monitor="4712"), Deployed(at(10), "the end"))
    assert reduced.marks[-2].what in ("reduce_settled", "alerts_attached")
    assert [mark.exposure for mark in reduced.marks if mark.what == "reduce_settled"] == [10]
    lightly = course(alert(0, monitor="4713"), Deployed(at(10), "the end"))
    assert [what for what, _ in told(lightly)] == ["case_opened", "fixing_started"]
    assert {mark.exposure for mark in lightly.marks} == {100}


def test_a_low_case_is_checked_while_it_stays_on() -> None:
    found = course(Opened(at(0), Severity.LOW, ALEX, "a typo"), enabled(10), probes(10, 30), under=policy(low=low()))
    assert [what for what, _ in told(found)] == [
        *("case_opened", "fixing_started", "return_started", "gate_passed", "monitoring_ended")
    ]
    assert {mark.exposure for mark in found.marks} == {100}


def test_a_high_case_comes_back_from_its_reduced_level() -> None:
    found = course(Opened(at(0), Severity.HIGH, ALEX), enabled(10), probes(10, 30), under=policy(high=high((50, 100))))
    assert [mark.exposure for mark in found.marks if mark.what in ("reduce_settled", "step_raised")] == [10, 50]


def test_an_enable_before_the_proof_waits_for_it() -> None:
    found = course(disabled(0), enabled(1), probes(1, 30), under=policy(proof=8))
    assert dict(told(found))["return_started"] == 8
    assert found.first("waits") is not None


def test_an_enable_without_a_case_and_a_second_one_while_it_climbs_are_refused() -> None:
    nothing = course(enabled(0), probes(0, 5))
    assert told(nothing) == []
    assert nothing.first("refused") is not None
    twice = course(*STORY, enabled(10.2))
    refused = twice.first("refused")
    assert refused is not None
    assert "already" in refused.text


def test_a_gate_that_was_green_while_it_was_broken_opens_nothing_by_itself() -> None:
    blind: Items = [disabled(0), probes(1, 70, every=1), enabled(70), probes(70, 100)]
    found = course(blind, measured=False)
    measured = found.first("gate_measured")
    assert measured is not None
    assert "cannot see" in measured.text
    assert found.first("return_started") is None
    accepted = course(blind, Told(at(69), e.BlindGateAccepted(ALEX)), measured=False)
    assert accepted.first("returned_in_full") is not None


def test_the_budget_of_returns_and_the_cool_down_are_those_of_the_policy() -> None:
    typed = Actor("ci-job", "ci")
    strict = policy(critical(returns={"budget": 2, "window": "1d", "cool_down": "30m"}))
    broken: Items = [probes(10, 10.3), probes(10.3, 20, 1.0)]
    found = course(disabled(0), enabled(10, typed), broken, enabled(60, typed), probes(60, 90), under=strict)
    refused = found.first("refused")
    assert refused is not None
    assert "cools down" in refused.text
    person = course(disabled(0), enabled(10), broken, enabled(60), probes(60, 90), under=strict)
    assert person.first("returned_in_full") is not None


def test_another_fix_and_a_foreign_edit_begin_the_evidence_again() -> None:
    for item in (
        Told(at(10.4), e.FixDeployed("an0ther")),
        Told(at(10.4), e.CodeChanged("b7d1f00")),
        FlagSeen(at(10.4), edited=True),
    ):
        found = course(*STORY, item)
        assert found.first("evidence_restarted") is not None
        raised = found.first("step_raised")
        assert raised is not None
        assert raised.at >= at(10.9)


def test_evidence_of_the_same_fix_goes_on_where_it_stopped() -> None:
    under = policy(critical((100,), gate=gate(alpha=0.05, minimum_soak="200ms")))
    stopped: Items = [disabled(0), enabled(10), probes(10, 10.6), Told(at(10.65), e.WatchStopped("interrupted"))]
    again: Items = [enabled(20), probes(20, 20.6)]
    assert course(stopped, again, under=under).first("returned_in_full") is not None
    other: Items = [Told(at(15), e.FixDeployed("an0ther")), *again]
    assert course(stopped, other, under=under).first("returned_in_full") is None


def test_a_step_of_a_smaller_audience_opens_its_part_of_it() -> None:
    found = course(*STORY, audience=50)
    assert [mark.exposure for mark in found.marks if mark.what in ("step_raised", "returned_in_full")] == [5, 25, 50]


def test_a_larger_audience_than_before_is_a_persons_decision() -> None:
    found = course(disabled(0), FlagSeen(at(5), audience=100), enabled(10), probes(10, 30), audience=50)
    refused = found.first("refused")
    assert refused is not None
    assert "100 of 100" in refused.text
    assert found.first("return_started") is None
    seen = Told(at(8), e.Released("as it is"))
    accepted = course(disabled(0), FlagSeen(at(5), audience=100), seen, enabled(10), probes(10, 30), audience=50)
    assert accepted.first("returned_in_full") is not None


def test_an_audience_that_grows_while_it_climbs_takes_it_down() -> None:
    grows = FlagSeen(at(10.7), audience=100)
    found = course(disabled(0), enabled(10), probes(10, 30), grows, audience=50)
    assert [what for what, _ in told(found)][-3:] == ["watch_stopped", "off_written", "off_proven"]
    early = FlagSeen(at(10.2), audience=100)
    verifying = course(disabled(0), enabled(10), probes(10, 30), early, audience=50)
    assert verifying.first("evidence_ended") is not None
    assert verifying.first("step_raised") is None


def test_a_write_and_a_proof_take_as_long_as_the_recorded_ones() -> None:
    slow = (Lowering(timedelta(seconds=3), ((timedelta(seconds=4), False), (timedelta(seconds=9), True))),)
    found = course(alert(0), Deployed(at(60), "the end"), lowerings=slow)
    assert [(what, when) for what, when in told(found) if what.startswith("off_")] == [
        ("off_written", 3),
        ("off_proven", 12),
    ]
    assert found.first("off_not_proven") is not None
    never = course(alert(0), Deployed(at(60), "the end"), lowerings=(Lowering(None),))
    assert never.first("off_written") is None
    assert never.ends_in == "disabling"


def test_a_deploy_changes_nothing_and_a_note_is_only_shown() -> None:
    facts: Items = [Deployed(at(9), "web 1.2"), Told(at(9.5), e.NoteAdded("the vendor says so"))]
    assert told(course(*STORY, facts)) == told(course(*STORY))


def test_nothing_happens_after_the_end_of_the_recording() -> None:
    found = course(*STORY[:-1], probes(10, 12.5))
    assert found.ends_in in ("ramping", "monitoring")
    assert max(mark.at for mark in found.marks) <= at(12.5)


def test_every_replay_says_what_it_cannot_know() -> None:
    assert any("exposure that did not happen" in line for line in CANNOT_KNOW)
    assert any("missing, never healthy" in line for line in CANNOT_KNOW)


def test_a_stop_that_was_recorded_where_nothing_is_watched_changes_nothing() -> None:
    found = course(disabled(0), Told(at(5), e.WatchStopped("as recorded")), Deployed(at(9), "the end"))
    assert found.first("watch_stopped") is None
    assert found.ends_in == "disabled"


def test_what_was_seen_of_the_flag_does_not_change_the_replays_own_exposure() -> None:
    seen = [FlagSeen(at(1), exposure=70), FlagSeen(at(2), edited=True), FlagSeen(at(3), audience=100)]
    found = course(seen, disabled(5), Deployed(at(9), "the end"))
    assert [mark.exposure for mark in found.marks if mark.what == "off_written"] == [0]
    assert found.marks[0].exposure == 100


def test_a_case_that_was_closed_before_its_gate_was_asked_is_not_asked() -> None:
    short = critical((100,), gate=gate(minimum_soak="100ms"), monitoring={"duration": "1s", "interval": "100ms"})
    found = course(disabled(0), enabled(5), probes(5, 90), measured=False, under=policy(short))
    assert found.ends_in == "resolved"
    assert found.first("gate_measured") is None


def test_a_gate_that_was_asked_is_not_asked_again_by_another_off() -> None:
    items: Items = [disabled(0), probes(1, 50, 1.0, every=1), disabled(40), probes(50, 130, every=1)]
    found = course(items, measured=False)
    assert [mark.text for mark in found.marks if mark.what == "gate_measured"] == ["it sees the harm"]
    nothing = course(disabled(0), Deployed(at(90), "the end"), measured=False)
    assert [mark.text for mark in nothing.marks if mark.what == "gate_measured"] == ["no data"]


# -- properties ------------------------------------------------------------------------------------------------------

harms = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, None]), min_size=1, max_size=60)


def incident(script: list[float | None], second: bool) -> list[Item]:
    items: list[Item] = [disabled(0), enabled(10), *(sample(10 + n / 10, harm) for n, harm in enumerate(script))]
    return [*items, *([enabled(30), *probes(30, 34)] if second else [])]


@given(script=harms, second=st.booleans())
def test_the_same_recording_under_the_same_policy_is_the_same_course(script: list[float | None], second: bool) -> None:
    items = incident(script, second)
    assert course(items) == course(items)


@given(
    script=harms,
    second=st.booleans(),
    alpha=st.floats(0.01, 0.5),
    soak=st.integers(0, 3000),
)
def test_a_stricter_gate_never_lets_anybody_in_earlier(
    script: list[float | None], second: bool, alpha: float, soak: int
) -> None:
    items = incident(script, second)
    mild = course(items, under=policy(critical(gate=gate(alpha=0.5, minimum_soak="0s")))).first("step_raised")
    strict = course(items, under=policy(critical(gate=gate(alpha=alpha, minimum_soak=f"{soak}ms")))).first(
        "step_raised"
    )
    if strict is not None:
        assert mild is not None
        assert mild.at <= strict.at


@given(script=harms, seed=st.integers(0, 5))
def test_whatever_the_samples_off_comes_at_the_alert_and_nothing_is_open_before_a_gate_passed(
    script: list[float | None], seed: int
) -> None:
    items: list[Item] = [alert(0), *incident(script, seed % 2 == 0)[1:]]
    found = replay(replace(recording(items), feature=FEATURE), policy())
    exposures = [(mark.what, mark.exposure) for mark in found.marks]
    off = next(i for i, (what, _) in enumerate(exposures) if what == "off_written")
    passed = next((i for i, (what, _) in enumerate(exposures) if what == "gate_passed"), len(exposures))
    assert found.marks[off].at == at(0)
    assert all(exposure == 0 for _, exposure in exposures[off:passed])
