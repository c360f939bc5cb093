"""What an alert does to a feature, against tables that were written from the design and not from the code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core.alert_rules import AlertRule, Guard
from rollback.core.alerts import Age, Alert, Edge
from rollback.core.model import Incident, Severity, State
from rollback.core.triggers import (
    ACTING,
    Action,
    GuardState,
    Hold,
    Situation,
    Urgency,
    age,
    cycle_reference,
    decide_alert,
    decide_rules,
)
from tests.core.cases import NOW, case, critical, high, low

MINUTE = timedelta(minutes=1)
ALERT = Alert("datadog", "17", "c1", Edge.FIRED, NOW - MINUTE, "P1", ("env:prod", "service:sm"))
FRESH = Situation(NOW, Age.FRESH, is_new_cycle=True, is_firing=True)
OPEN_STATES = [state for state in State if state not in (State.NORMAL, State.RESOLVED)]


def rule(severity: Severity = Severity.CRITICAL, **fields: object) -> AlertRule:
    given_fields = {"name": f"sm-{severity}", "source": "datadog", "monitors": ("17",), "severity": severity, **fields}
    return AlertRule.model_validate(given_fields)


GUARD = Guard(within=timedelta(seconds=60), by=("probes", "appdynamics"))
GUARDED = rule(name="guarded", guard=GUARD)
HEARTBEAT = AlertRule(name="alive", source="datadog", monitors=("17",), heartbeat_every=timedelta(hours=25))


def action(severity: Severity, incident: Incident | None, alert: Alert = ALERT) -> Action:
    return decide_alert(alert, rule(severity), replace(FRESH, incident=incident)).action


# -- what an alert asks for --------------------------------------------------------------------

# A line a severity of the case; what is not named is the line's last word.
ASKED = {
    (Severity.CRITICAL, None): {"": "turn_off"},
    (Severity.CRITICAL, Severity.LOW): {"": "turn_off"},
    (Severity.CRITICAL, Severity.HIGH): {"": "turn_off"},
    (Severity.CRITICAL, Severity.CRITICAL): {
        "disabling": "attach",
        "disabled": "attach",
        "verifying": "attach",
        "": "turn_off",
    },
    (Severity.HIGH, None): {"": "reduce"},
    (Severity.HIGH, Severity.LOW): {"": "reduce"},
    (Severity.HIGH, Severity.HIGH): {"reducing": "attach", "reduced": "attach", "verifying": "attach", "": "reduce"},
    # A critical case has no reduced level that was proven safe: its retreat is off.
    (Severity.HIGH, Severity.CRITICAL): {
        "disabling": "attach",
        "disabled": "attach",
        "verifying": "attach",
        "": "turn_off",
    },
    (Severity.LOW, None): {"": "open_low"},
    (Severity.LOW, Severity.LOW): {"": "attach"},
    (Severity.LOW, Severity.HIGH): {"": "attach"},
    (Severity.LOW, Severity.CRITICAL): {"": "attach"},
}


@pytest.mark.parametrize(("severity", "of_case"), list(ASKED))
def test_a_fresh_new_cycle_does_what_the_table_says_in_every_state(
    severity: Severity, of_case: Severity | None
) -> None:
    row = ASKED[severity, of_case]
    for state in OPEN_STATES:
        incident = case(of_case, state) if of_case else None
        assert action(severity, incident).value == row.get(state.value, row[""]), state


@pytest.mark.parametrize("severity", list(Severity))
def test_a_closed_case_is_none(severity: Severity) -> None:
    assert action(severity, critical(State.RESOLVED)) is action(severity, None)
    assert (
        decide_alert(ALERT, rule(severity), replace(FRESH, incident=critical(State.RESOLVED))).evidence["case"] is None
    )


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_critical_alert_never_finds_a_feature_on_and_leaves_it_on(state: State) -> None:
    """Whatever the case says, only a state in which nobody is served may take an alert without turning off."""
    for severity in Severity:
        if action(Severity.CRITICAL, case(severity, state)) is Action.ATTACH:
            assert severity is Severity.CRITICAL
            assert state in (State.DISABLING, State.DISABLED, State.VERIFYING)


def test_keep_off_has_no_say_in_an_off() -> None:
    assert action(Severity.CRITICAL, critical(State.MONITORING, keep_off=True)) is Action.TURN_OFF


def test_each_verdict_tells_its_rule_its_reason_and_what_it_rests_on() -> None:
    verdict = decide_alert(ALERT, rule(), replace(FRESH, incident=low(State.FIXING)))
    assert (verdict.rule, verdict.severity, verdict.tell) == ("sm-critical", Severity.CRITICAL, Urgency.CALL)
    assert verdict.why == "A critical alert raises the low case, and turns the feature off."
    assert verdict.evidence["tags"] == ["env:prod", "service:sm"]
    assert (verdict.evidence["case"], verdict.evidence["state"]) == ("sm-1", "fixing")
    assert (verdict.evidence["monitor"], verdict.evidence["age"], verdict.evidence["edge"]) == ("17", "fresh", "fired")
    assert (verdict.attaches, verdict.decides, verdict.again_at) == (True, True, None)


# -- edges and cycles --------------------------------------------------------------------------

# edge, new cycle, firing, put off before → with a critical case at rest, without a case
EDGES = """
unclear   new   firing -    ignore  ignore
unclear   known over   -    ignore  ignore
recovered new   over   -    recover ignore
recovered known over   -    recover ignore
recovered new   firing -    ignore  ignore
recovered known firing -    ignore  ignore
fired     new   firing -    attach  turn_off
fired     new   over   -    attach  turn_off
fired     new   firing put  attach  turn_off
fired     new   over   put  ignore  ignore
fired     known firing -    attach  tell
fired     known over   -    attach  ignore
repeated  new   firing -    attach  turn_off
repeated  new   over   -    ignore  ignore
repeated  new   firing put  attach  turn_off
repeated  known firing -    attach  tell
repeated  known over   -    attach  ignore
"""


@pytest.mark.parametrize("line", EDGES.strip().splitlines())
def test_each_edge_does_what_its_cycle_allows(line: str) -> None:
    edge, new, firing, put, with_case, without = line.split()
    alert = replace(ALERT, edge=Edge(edge))
    here = replace(FRESH, is_new_cycle=new == "new", is_firing=firing == "firing", put_off=put == "put")
    assert decide_alert(alert, rule(), here).action.value == without
    verdict = decide_alert(alert, rule(), replace(here, incident=critical(State.DISABLED)))
    assert verdict.action.value == with_case
    assert not verdict.attaches or here.is_firing, "what is over would never be heard to recover"


@pytest.mark.parametrize("state", OPEN_STATES)
def test_recovered_and_repeated_alerts_never_flip_anything(state: State) -> None:
    quiet = {Action.RECOVER, Action.ATTACH, Action.IGNORE, Action.TELL}
    for edge, firing, of_rule, of_case in product(Edge, (True, False), Severity, Severity):
        here = replace(FRESH, is_firing=firing, is_new_cycle=False, incident=case(of_case, state))
        assert decide_alert(replace(ALERT, edge=edge), rule(of_rule), here).action in quiet
        recovered = replace(here, is_new_cycle=True)
        assert decide_alert(replace(ALERT, edge=Edge.RECOVERED), rule(of_rule), recovered).action in quiet


def test_a_cycle_that_still_fires_after_its_case_was_closed_is_told() -> None:
    verdict = decide_alert(ALERT, rule(), replace(FRESH, is_new_cycle=False))
    assert (verdict.action, verdict.tell, verdict.attaches) == (Action.TELL, Urgency.TELL, False)


def test_a_heartbeat_does_nothing_whatever_else_its_rule_says() -> None:
    odd = AlertRule.model_validate(HEARTBEAT.model_dump() | {"severity": "critical"})
    for one in (HEARTBEAT, odd):
        assert decide_alert(ALERT, one, FRESH).action is Action.IGNORE


# -- what stands in the way --------------------------------------------------------------------


@pytest.mark.parametrize("how_old", [Age.OLD, Age.AHEAD, Age.NOT_SAID])
@pytest.mark.parametrize("severity", list(Severity))
def test_an_alert_that_is_not_fresh_acts_never_and_calls_somebody(how_old: Age, severity: Severity) -> None:
    verdict = decide_alert(ALERT, rule(severity), replace(FRESH, age=how_old))
    assert (verdict.action, verdict.tell, verdict.decides) == (Action.TELL, Urgency.CALL, False)
    assert "nothing is done by itself" in verdict.why


def test_an_old_alert_of_a_feature_that_is_off_joins_its_case() -> None:
    here = replace(FRESH, age=Age.OLD, incident=critical(State.DISABLED))
    assert decide_alert(ALERT, rule(), here).action is Action.ATTACH


@pytest.mark.parametrize("severity", list(Severity))
def test_with_automation_off_nothing_acts_and_it_is_told(severity: Severity) -> None:
    verdict = decide_alert(ALERT, rule(severity), replace(FRESH, auto=False))
    assert (verdict.action, verdict.decides, verdict.again_at) == (Action.SUPPRESS, False, None)
    assert verdict.tell is (Urgency.TELL if severity is Severity.LOW else Urgency.CALL)


def test_a_hold_suppresses_until_it_ends_and_then_what_still_fires_acts() -> None:
    held = replace(FRESH, hold=Hold(NOW + MINUTE, "alex: load test"))
    verdict = decide_alert(ALERT, rule(), held)
    assert (verdict.action, verdict.tell, verdict.again_at) == (Action.SUPPRESS, Urgency.TELL, NOW + MINUTE)
    assert (verdict.decides, verdict.evidence["held"]) == (False, "alex: load test")
    after = replace(held, now=NOW + MINUTE, put_off=True)
    assert decide_alert(ALERT, rule(), after).action is Action.TURN_OFF
    assert decide_alert(ALERT, rule(), replace(after, is_firing=False)).action is Action.IGNORE


def test_a_muted_source_is_suppressed_until_it_is_heard_again() -> None:
    muted = replace(FRESH, muted_until=NOW + MINUTE, hold=Hold(NOW + 2 * MINUTE))
    verdict = decide_alert(ALERT, rule(), muted)
    assert (verdict.action, verdict.again_at) == (Action.SUPPRESS, NOW + MINUTE)
    assert "datadog is muted" in verdict.why
    assert decide_alert(ALERT, rule(), replace(muted, now=NOW + MINUTE)).again_at == NOW + 2 * MINUTE


def test_a_guarded_rule_waits_for_its_second_signal_and_acts_when_one_agrees() -> None:
    waiting = decide_alert(ALERT, GUARDED, FRESH)
    assert (waiting.action, waiting.again_at, waiting.decides) == (Action.WAIT_FOR_GUARD, NOW + MINUTE, False)
    begun = replace(FRESH, guard=GuardState(NOW + timedelta(seconds=10)), put_off=True)
    assert decide_alert(ALERT, GUARDED, begun).again_at == NOW + timedelta(seconds=10)
    agreed = decide_alert(ALERT, GUARDED, replace(begun, guard=GuardState(NOW, "probes")))
    assert (agreed.action, agreed.evidence["agreed_by"]) == (Action.TURN_OFF, "probes")
    assert "probes agrees" in agreed.why


def test_when_nobody_agrees_in_time_a_person_is_called_and_nothing_is_turned_off() -> None:
    late = replace(FRESH, guard=GuardState(NOW), put_off=True)
    verdict = decide_alert(ALERT, GUARDED, late)
    assert (verdict.action, verdict.tell, verdict.decides) == (Action.TELL, Urgency.CALL, False)
    assert "Neither of probes or appdynamics agreed in time; it would turn off." in verdict.why


# -- several rules -----------------------------------------------------------------------------


def test_of_several_rules_the_most_severe_decides_and_unguarded_goes_before_guarded() -> None:
    rules = [HEARTBEAT, rule(Severity.LOW), GUARDED, rule(Severity.CRITICAL), rule(Severity.HIGH)]
    for order in (rules, rules[::-1]):
        verdict = decide_rules(ALERT, order, FRESH)
        assert (verdict.action, verdict.rule) == (Action.TURN_OFF, "sm-critical")


def test_while_the_guard_has_not_agreed_a_milder_rule_acts_and_the_cycle_stays_undecided() -> None:
    rules = [GUARDED, rule(Severity.HIGH), rule(Severity.LOW)]
    verdict = decide_rules(ALERT, rules, FRESH)
    assert (verdict.action, verdict.rule) == (Action.REDUCE, "sm-high")
    assert (verdict.again_at, verdict.decides) == (NOW + MINUTE, False)
    agreed = replace(FRESH, incident=high(State.REDUCED), guard=GuardState(NOW + MINUTE, "probes"), put_off=True)
    assert decide_rules(ALERT, rules, agreed).action is Action.TURN_OFF
    late = decide_rules(ALERT, rules, replace(FRESH, guard=GuardState(NOW)))
    assert (late.action, late.decides) == (Action.REDUCE, True)
    assert "agreed in time" in late.why


def test_without_a_milder_rule_the_guard_is_waited_for() -> None:
    assert decide_rules(ALERT, [GUARDED, HEARTBEAT], FRESH).action is Action.WAIT_FOR_GUARD
    old = replace(FRESH, age=Age.OLD)
    assert decide_rules(ALERT, [GUARDED, rule(Severity.LOW)], old).rule == "guarded"


def test_when_no_rule_matches_the_record_says_why_each_did_not() -> None:
    other = replace(ALERT, monitor="18")
    verdict = decide_rules(other, [rule(), rule(name="tagged", monitors=(), tags=("env:dev",))], FRESH)
    assert (verdict.action, verdict.rule, verdict.severity) == (Action.IGNORE, "", None)
    assert verdict.evidence["why_not"] == {
        "sm-critical": "it is about other monitors",
        "tagged": "the alert lacks the tag env:dev",
    }


def test_the_record_of_a_decision_says_why_the_other_rules_had_no_say() -> None:
    verdict = decide_rules(ALERT, [rule(), rule(name="mild", priorities=("P3",), severity=Severity.LOW)], FRESH)
    assert verdict.evidence["why_not"] == {"mild": "the alert's priority is P1, not P3"}


# -- age and names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (timedelta(0), Age.FRESH),
        (timedelta(minutes=15), Age.FRESH),
        (timedelta(minutes=15, microseconds=1), Age.OLD),
        (timedelta(minutes=-2), Age.FRESH),
        (timedelta(minutes=-2, microseconds=-1), Age.AHEAD),
        (None, Age.NOT_SAID),
    ],
)
def test_the_age_of_an_alert_is_judged_at_its_edges(ago: timedelta | None, expected: Age) -> None:
    alert = replace(ALERT, occurred_at=None if ago is None else NOW - ago)
    assert age(alert, NOW, timedelta(minutes=15), timedelta(minutes=2)) is expected


def test_two_cycles_never_share_a_reference_and_one_always_has_the_same() -> None:
    assert cycle_reference("a", "b:c", "d") != cycle_reference("a", "b", "c:d")
    assert cycle_reference("a", "b", "c" * 5000) == cycle_reference("a", "b", "c" * 5000)
    assert len(cycle_reference("s" * 5000, "b", "c" * 5000)) == 65
    assert cycle_reference("datadog", "\ud800", "c").startswith("datadog:")


# -- whatever comes ----------------------------------------------------------------------------

moments = st.integers(-90, 90).map(lambda minutes: NOW + minutes * MINUTE)
alerts = st.builds(
    Alert,
    source=st.sampled_from(["datadog", "pagerduty"]),
    monitor=st.sampled_from(["17", "18", ""]),
    cycle=st.sampled_from(["c1", "c2"]),
    edge=st.sampled_from(list(Edge)),
    occurred_at=st.none() | moments,
    priority=st.sampled_from(["", "P1", "p1", "P2"]),
    tags=st.sampled_from([(), ("env:prod",), ("env:prod", "service:sm")]),
)
incidents = st.none() | st.builds(
    case, st.sampled_from(list(Severity)), st.sampled_from(list(State)), keep_off=st.booleans()
)
situations = st.builds(
    Situation,
    now=st.just(NOW),
    age=st.sampled_from(list(Age)),
    is_new_cycle=st.booleans(),
    is_firing=st.booleans(),
    incident=incidents,
    hold=st.none() | moments.map(lambda until: Hold(until, "x")),
    muted_until=st.none() | moments,
    auto=st.booleans(),
    guard=st.none() | st.builds(GuardState, moments, st.sampled_from(["", "probes"])),
    put_off=st.booleans(),
)
SOME_RULES = [
    rule(),
    GUARDED,
    rule(Severity.HIGH, monitors=("17", "18")),
    rule(Severity.LOW, monitors=(), tags=("env:prod",)),
    rule(name="p1", source="pagerduty", monitors=("18",), priorities=("p1",)),
    HEARTBEAT,
]


@given(alerts, st.permutations(SOME_RULES), situations)
def test_no_alert_in_no_situation_raises_exposure_or_trips_the_decision(
    alert: Alert, rules: list[AlertRule], here: Situation
) -> None:
    verdict = decide_rules(alert, rules, here)
    assert verdict.why.endswith(".")
    assert verdict == decide_rules(alert, SOME_RULES, here), "the order of rules must not matter"
    if verdict.action in ACTING:
        assert alert.edge in (Edge.FIRED, Edge.REPEATED)
        assert here.age is Age.FRESH
        assert here.auto
        assert here.is_new_cycle
    if verdict.action is Action.OPEN_LOW:
        assert here.case is None
    if verdict.again_at is not None:
        assert verdict.again_at > here.now
        assert not verdict.decides
    assert not verdict.attaches or (here.is_firing and (here.case is not None or verdict.action in ACTING))


@given(alerts, st.sampled_from(SOME_RULES), situations, st.booleans())
def test_what_is_decided_on_a_new_cycle_does_not_depend_on_its_recovery_coming_in_first(
    alert: Alert, one: AlertRule, here: Situation, firing: bool
) -> None:
    alert = replace(alert, edge=Edge.FIRED)
    here = replace(here, is_new_cycle=True, put_off=False)
    first = decide_alert(alert, one, replace(here, is_firing=firing))
    assert first.action is decide_alert(alert, one, replace(here, is_firing=not firing)).action


@given(st.lists(st.sampled_from([Severity.CRITICAL, Severity.HIGH, Severity.LOW]), min_size=1, max_size=6))
def test_however_alerts_are_ordered_the_feature_ends_at_the_most_severe(severities: list[Severity]) -> None:
    """Each verdict is carried out as the shell does; the case ends where the worst alert alone would lead."""
    incident: Incident | None = None
    for number, severity in enumerate(severities):
        alert = replace(ALERT, cycle=f"c{number}")
        incident = _carried_out(decide_alert(alert, rule(severity), replace(FRESH, incident=incident)).action, incident)
    assert incident is not None
    worst = max(severities, key=lambda one: one.rank)
    at_rest = {Severity.CRITICAL: State.DISABLED, Severity.HIGH: State.REDUCED, Severity.LOW: State.FIXING}
    assert (incident.severity, incident.state) == (worst, at_rest[worst])


def _carried_out(what: Action, incident: Incident | None) -> Incident | None:
    match what:
        case Action.TURN_OFF:
            return critical(State.DISABLED)
        case Action.REDUCE:
            return high(State.REDUCED)
        case Action.OPEN_LOW:
            return low(State.FIXING)
        case _:
            return incident


def test_urgencies_are_ordered() -> None:
    assert sorted(Urgency, key=lambda one: one.rank) == [Urgency.RECORD, Urgency.TELL, Urgency.CALL]
