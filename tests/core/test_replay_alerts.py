"""Guards in a replay: nothing is turned off on one weak word alone, and a second signal is believed at once."""

from __future__ import annotations

from rollback.core.alert_rules import AlertRule
from rollback.core.alerts import Age, Edge
from rollback.core.replay_recording import AlertHeard, Deployed, HeldBack
from tests.core.replays import alert, at, course, policy, probes, told

THE_END = Deployed(at(200), "the end")


def weak(seconds: float, cycle: str = "w1") -> AlertHeard:
    return alert(seconds, monitor="77", source="appdynamics", cycle=cycle)


def off_at(*items: object) -> float | None:
    return dict(told(course(*items, THE_END))).get("off_written")  # type: ignore[arg-type]


def test_a_weak_alert_alone_turns_nothing_off_and_a_person_is_called() -> None:
    found = course(weak(0), THE_END)
    assert told(found) == []
    texts = [mark.text for mark in found.marks if mark.what == "alert"]
    assert "waits" in texts[0]
    assert "agreed in time" in texts[-1]


def test_another_source_that_fires_agrees_before_and_after() -> None:
    assert off_at(weak(0), alert(20, monitor="4713")) == 20
    assert off_at(alert(0, monitor="4713"), weak(20)) == 20
    assert off_at(weak(0), alert(100, monitor="4713")) is None, "too late"


def test_a_second_signal_that_recovered_does_not_agree() -> None:
    assert off_at(alert(0, monitor="4713"), alert(5, Edge.RECOVERED, "4713"), weak(20)) is None


def test_our_own_probes_agree_when_they_say_harm_after_they_were_asked() -> None:
    assert off_at(probes(-20, 0, 1.0), weak(0)) is None, "what was measured before is not asked"
    agreed = off_at(weak(0), probes(1, 20, 1.0))
    assert agreed is not None
    assert 1 < agreed < 5
    assert off_at(weak(0), probes(1, 20, 0.0)) is None
    assert off_at(weak(0), probes(1, 20, None)) is None, "missing is no harm"


def test_a_repeated_notice_of_a_known_cycle_does_not_turn_off_again() -> None:
    again = [alert(0), alert(30, Edge.REPEATED), alert(60, Edge.FIRED)]
    assert [what for what, _ in told(course(again, THE_END))].count("off_written") == 1


def test_an_unclear_edge_and_an_unknown_monitor_do_nothing() -> None:
    found = course(alert(0, Edge.UNCLEAR), alert(1, monitor="9"), THE_END)
    assert told(found) == []
    assert "No rule" in found.marks[1].text


def test_an_age_that_was_recorded_counts_and_not_the_replays_own_clock() -> None:
    old = alert(0)
    assert off_at(AlertHeard(old.at, old.alert, Age.OLD)) is None
    late = alert(0, occurred=-3600)
    assert off_at(AlertHeard(late.at, late.alert, Age.FRESH)) == 0


def test_a_recovery_alone_brings_nothing_back() -> None:
    found = course(alert(0), alert(30, Edge.RECOVERED), probes(31, 60))
    assert found.ends_in == "disabled"
    assert found.first("return_started") is None


def test_a_milder_rule_of_the_same_monitor_acts_in_the_place_of_a_guard() -> None:
    guarded = AlertRule.model_validate(
        {"name": "g", "source": "datadog", "monitors": ["1"], "severity": "critical"}
        | {"guard": {"within": "60s", "by": ["probes"]}}
    )
    mild = AlertRule.model_validate({"name": "m", "source": "datadog", "monitors": ["1"], "severity": "low"})
    found = course(alert(0, monitor="1"), probes(1, 20, 1.0), THE_END, under=policy(rules=(guarded, mild)))
    assert [what for what, _ in told(found)][:2] == ["case_opened", "fixing_started"]
    assert "off_written" in dict(told(found)), "and the guard's agreement makes it critical"


def test_what_probes_said_to_an_earlier_question_is_no_answer_to_the_next() -> None:
    first = [weak(0), probes(1, 1.3, 1.0)]
    assert off_at(*first) is None
    second = [weak(100, "w2"), probes(101, 101.3, 1.0)]
    assert off_at(*first, *second) is None


def test_an_alert_that_waits_for_the_end_of_a_hold_is_not_answered_by_probes() -> None:
    held = HeldBack(at(-1), at(60), "by alex")
    assert off_at(held, alert(0), probes(1, 20, 1.0)) == 60
    assert off_at(held, weak(0), weak(1, "w2"), probes(61, 80, 1.0)) is None, "its guard's time is over by then"
