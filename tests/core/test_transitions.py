"""Every severity × state × event, against a table that was written from the design and not from the code."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from rollback.core import events as e
from rollback.core.effects import CallHuman, LowerExposure, ProveOff, RaiseExposure, WatchExposure
from rollback.core.events import Event
from rollback.core.history import Actor
from rollback.core.machine import Decision, decide
from rollback.core.model import Incident, Severity, State, Watcher
from rollback.core.transitions import FACTS, mermaid, next_state
from rollback.errors import PolicyRefused
from rollback.states_page import states_page

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ALEX = Actor("alex", authenticated="os")
WATCHER = Watcher("host", 4711, "boot:1")
OPEN_STATES = [state for state in State if state not in (State.NORMAL, State.RESOLVED)]

# A fact is accepted in every open state and leaves it as it is.
FACT_NAMES = [
    "FixDeployed",
    "CodeChanged",
    "GateMeasured",
    "BlindGateAccepted",
    "KeptOff",
    "Released",
    "NoteAdded",
    "HumanCalled",
    "WatchHandedOver",
    "AlertsAttached",
    "AlertsRecovered",
    "ApprovalAsked",
    "ApprovalGiven",
    "ApprovalWithdrawn",
    "SwitchLifted",
]

# Everything else, a line a state: event>state. `DisableCommanded` is accepted in every open state of every severity
# (invariant 1) and makes the case critical, so it stands in no line.
CRITICAL = """
triggered:
# "disabling lasts until off is proven"; what a kill came to is reported there; taken back within ten minutes (undo)
disabling: OffWritten>disabling OffUnsettled>disabling OffNotProven>disabling OffProven>disabled
disabling: DriftSeen>disabling DisableUndone>ramping
# two disables may run at once: what came of the second kill is told after the first was proven. A kill that was
# written is proven again, a claim that could not be repeated is withdrawn (invariant 2), a drift put right (16)
disabled: OffProven>disabled OffWritten>disabling OffNotProven>disabling OffUnsettled>disabled DriftSeen>disabling
disabled: ReturnStarted>verifying FalseAlarmDeclared>disabled DisableUndone>ramping
# "harm while verifying leaves exposure as it is": it is off there
verifying: GatePassed>ramping HarmSeen>disabled EvidenceEnded>disabled WatchStopped>disabled DriftSeen>disabling
# a step that opens nothing of this flag is passed before anything is exposed, and a person judges it all the same
verifying: StepApproved>verifying
# "harm while ramping or monitoring: critical → disabling"; inconclusive leaves exposure where it is (invariant 6);
# a lost watcher leads down (invariant 9)
ramping: GatePassed>ramping StepRaised>ramping ReturnedInFull>monitoring EvidenceEnded>ramping
ramping: HarmSeen>disabling WatchStopped>disabling DriftSeen>disabling StepApproved>ramping
# "only a person lowers it, and only while the feature is on"; the watch may be taken up again by another process
monitoring: HarmSeen>disabling WatchStopped>disabling ReturnStarted>monitoring MonitoringEnded>resolved
monitoring: SeverityLowered>monitoring
"""

HIGH = """
triggered: ReduceCommanded>reducing SeverityRaised>triggered
# "lowering exposure may be repeated by anyone at any time" (invariant 10), drift below the reduced level included
reducing: ReduceCommanded>reducing ReduceSettled>reduced DriftSeen>reducing SeverityRaised>triggered
reduced: ReduceCommanded>reducing DriftSeen>reducing ReturnStarted>verifying FalseAlarmDeclared>reduced
reduced: SeverityRaised>triggered
verifying: ReduceCommanded>reducing DriftSeen>reducing GatePassed>ramping SeverityRaised>triggered
verifying: HarmSeen>reduced EvidenceEnded>reduced WatchStopped>reduced StepApproved>verifying
ramping: ReduceCommanded>reducing DriftSeen>reducing GatePassed>ramping StepRaised>ramping ReturnedInFull>monitoring
ramping: EvidenceEnded>ramping HarmSeen>reducing WatchStopped>reducing SeverityRaised>triggered StepApproved>ramping
monitoring: ReduceCommanded>reducing HarmSeen>reducing WatchStopped>reducing ReturnStarted>monitoring
monitoring: MonitoringEnded>resolved SeverityLowered>monitoring SeverityRaised>triggered
"""

LOW = """
triggered: FixingStarted>fixing SeverityRaised>triggered
fixing: ReturnStarted>verifying FalseAlarmDeclared>resolved SeverityRaised>triggered
# the flag is never touched (invariant 12): straight from the check to monitoring, and back to fixing
verifying: GatePassed>monitoring HarmSeen>fixing EvidenceEnded>fixing WatchStopped>fixing SeverityRaised>triggered
monitoring: HarmSeen>fixing WatchStopped>fixing ReturnStarted>monitoring MonitoringEnded>resolved
monitoring: SeverityRaised>triggered
"""

Table = dict[tuple[Severity, State], dict[str, State]]


def read_tables() -> Table:
    table: Table = {(severity, state): {} for severity in Severity for state in OPEN_STATES}
    for severity, text in ((Severity.CRITICAL, CRITICAL), (Severity.HIGH, HIGH), (Severity.LOW, LOW)):
        for line in text.strip().splitlines():
            if not line.startswith("#"):
                state, _, pairs = line.partition(":")
                for name, target in (pair.split(">") for pair in pairs.split()):
                    table[severity, State(state)][name] = State(target)
    for (_, state), row in table.items():
        row["DisableCommanded"] = State.DISABLING
        row.update(dict.fromkeys(FACT_NAMES, state))
    return table


EXPECTED = read_tables()
EVENTS: dict[str, type[Event]] = {event.__name__: event for event in get_args(Event)}

EXAMPLES: list[Event] = [
    e.CaseOpened("sm-2", "sm", Severity.CRITICAL),
    e.SeverityRaised(Severity.CRITICAL),
    e.SeverityLowered(Severity.LOW, ALEX),
    e.DisableCommanded("kill-2-ab", 2),
    e.OffWritten("kill-1-ab", 100),
    e.OffUnsettled("no answer"),
    e.OffProven(),
    e.OffNotProven("polling"),
    e.ReduceCommanded("kill-2-ab", 2, 90),
    e.ReduceSettled("kill-1-ab", 90, 100),
    e.FixingStarted(),
    e.FixDeployed("3f2c1ab"),
    e.CodeChanged("b7d1f00"),
    e.GateMeasured(False),
    e.BlindGateAccepted(ALEX),
    e.ReturnStarted(WATCHER, ALEX),
    e.WatchHandedOver("serve"),
    e.GatePassed(50),
    e.StepRaised(50),
    e.ReturnedInFull(),
    e.HarmSeen("errors"),
    e.EvidenceEnded("deadline"),
    e.WatchStopped("interrupted"),
    e.MonitoringEnded(),
    e.DriftSeen("kill-2-ab", 2, "somebody's rollout"),
    e.FalseAlarmDeclared(ALEX),
    e.DisableUndone(ALEX, WATCHER),
    e.KeptOff(),
    e.Released("digest"),
    e.Adopted("sm-2", "sm", 3, 100, ("kill-3-ab",)),
    e.NoteAdded("text"),
    e.HumanCalled("look"),
    e.AlertsAttached(("datadog:1",), Severity.CRITICAL, "datadog"),
    e.AlertsRecovered(("datadog:1",)),
    e.ApprovalAsked("approver", "an approval is missing", "d1"),
    e.ApprovalGiven(ALEX, "approver", "", "d1", 1, NOW + timedelta(hours=1)),
    e.ApprovalWithdrawn(ALEX),
    e.StepApproved(ALEX),
    e.SwitchLifted("window", ALEX),
]


def incident(severity: Severity, state: State) -> Incident:
    """One that no guard stands in the way of: only the table decides."""
    return Incident(
        "sm-1",
        "sm",
        severity,
        state,
        opened_at=NOW - timedelta(minutes=5),
        since=NOW - timedelta(minutes=1),
        epoch=1,
        opened_by="alex",
        safe_held={Severity.CRITICAL: 100, Severity.HIGH: 90, Severity.LOW: None}[severity],
        undo_by="alex",
        undo_until=NOW + timedelta(minutes=5),
        kills=("kill-1-ab",),
    )


def after(before: Incident | None, event: Event) -> Decision | None:
    try:
        return decide(before, event, now=NOW, nonce="ff")
    except PolicyRefused:
        return None


def test_the_examples_and_the_table_name_every_event() -> None:
    assert [type(event) for event in EXAMPLES] == list(get_args(Event))
    assert {name for row in EXPECTED.values() for name in row} <= set(EVENTS)
    assert {fact.__name__ for fact in FACTS} == set(FACT_NAMES)


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("severity", list(Severity))
def test_every_event_leads_where_the_design_says_or_is_refused_and_changes_nothing(
    severity: Severity, state: State
) -> None:
    row = EXPECTED[severity, state]
    for event in EXAMPLES:
        name = type(event).__name__
        before = incident(severity, state)
        decision = after(before, event)
        assert (decision.incident.state if decision else None) == row.get(name), name
        assert before == incident(severity, state), f"{name} changed what it was given"
        if decision and row[name] is not state:
            assert decision.incident.since == NOW
        elif decision:
            assert decision.incident.since == before.since


@pytest.mark.parametrize("closed", [None, State.RESOLVED, State.NORMAL])
def test_without_an_open_case_only_two_events_begin_one(closed: State | None) -> None:
    before = incident(Severity.CRITICAL, closed) if closed else None
    for event in EXAMPLES:
        decision = after(before, event)
        expected = {e.CaseOpened: State.TRIGGERED, e.Adopted: State.DISABLING}.get(type(event))
        assert (decision.incident.state if decision else None) == expected, type(event).__name__
        assert next_state(Severity.LOW, closed or State.NORMAL, type(event)) == expected


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("severity", list(Severity))
def test_a_disable_is_accepted_in_every_open_state_and_makes_the_case_critical(
    severity: Severity, state: State
) -> None:
    decision = after(incident(severity, state), e.DisableCommanded("kill-2-ab", 2))
    assert decision is not None
    assert (decision.incident.severity, decision.incident.state) == (Severity.CRITICAL, State.DISABLING)
    assert decision.effects == (LowerExposure("kill-2-ab", 2, 100),)


@pytest.mark.parametrize("state", OPEN_STATES)
def test_low_severity_never_touches_the_flag(state: State) -> None:
    for event in EXAMPLES:
        decision = after(incident(Severity.LOW, state), event)
        touching = (
            [one for one in decision.effects if not isinstance(one, WatchExposure | CallHuman)] if decision else []
        )
        assert bool(touching) == (type(event) is e.DisableCommanded), event
        assert not touching or (decision and decision.incident.severity is Severity.CRITICAL)


def test_exposure_is_raised_by_a_passed_gate_or_an_undo_and_by_nothing_else() -> None:
    raising = set()
    for severity in Severity:
        for state in OPEN_STATES:
            for event in EXAMPLES:
                decision = after(incident(severity, state), event)
                if decision and any(isinstance(effect, RaiseExposure) for effect in decision.effects):
                    raising.add(type(event))
    assert raising == {e.GatePassed, e.DisableUndone}


# -- paths ---------------------------------------------------------------------------------------------------

Node = tuple[Severity, State]


def steps_from(node: Node) -> list[tuple[str, Node]]:
    """Every event that is accepted there, with where it leads; each severity that one can raise to or lower to."""
    found = []
    events = [event for event in EXAMPLES if not isinstance(event, e.SeverityRaised | e.SeverityLowered)]
    changes = [
        make for severity in Severity for make in (e.SeverityRaised(severity), e.SeverityLowered(severity, ALEX))
    ]
    for event in (*events, *changes):
        decision = after(incident(*node), event)
        if decision:
            found.append((type(event).__name__, (decision.incident.severity, decision.incident.state)))
    return found


def reachable(start: Node, without: frozenset[str] = frozenset()) -> set[Node]:
    seen, queue = {start}, deque([start])
    while queue:
        node = queue.popleft()
        if node[1] is not State.RESOLVED:
            for name, target in steps_from(node):
                if name not in without and target not in seen:
                    seen.add(target)
                    queue.append(target)
    return seen


OPENINGS = [(severity, State.TRIGGERED) for severity in Severity]


def test_every_state_that_a_case_can_get_into_can_reach_resolved() -> None:
    cases = set().union(*(reachable(opening) for opening in OPENINGS))
    assert {state for _, state in cases} == {*OPEN_STATES, State.RESOLVED}
    for case in cases:
        assert State.RESOLVED in {state for _, state in reachable(case)}, case


def test_every_line_of_the_table_is_about_a_state_that_a_case_of_that_severity_can_be_in() -> None:
    cases = set().union(*(reachable(opening) for opening in OPENINGS))
    written = {node for node, row in EXPECTED.items() if set(row) - {"DisableCommanded", *FACT_NAMES}}
    assert written <= cases


@pytest.mark.parametrize("state", [State.DISABLING, State.DISABLED, State.VERIFYING])
def test_off_leads_back_on_only_through_evidence_or_an_undo(state: State) -> None:
    back_on = {State.RAMPING, State.MONITORING, State.RESOLVED}
    quietly = reachable((Severity.CRITICAL, state), without=frozenset({"GatePassed", "DisableUndone"}))
    assert not back_on & {found for _, found in quietly}
    assert back_on <= {found for _, found in reachable((Severity.CRITICAL, state))}


# -- the page ------------------------------------------------------------------------------------------------


def test_the_page_in_docs_is_the_table_of_today() -> None:
    page = Path(__file__).parents[2] / "docs" / "states.md"
    assert page.read_text() == states_page(), "draw it anew: make diagram"


def test_the_diagrams_draw_every_transition_and_name_the_facts() -> None:
    blocks = dict(zip(("critical", "high", "low"), mermaid().split("```mermaid")[1:], strict=True))
    for (severity, state), row in EXPECTED.items():
        for name, target in row.items():
            drawn = any(
                line.strip().startswith(f"{state} --> {target}: ") and name in line.replace(",", "").split()
                for line in blocks[severity].splitlines()
            )
            assert drawn == (name not in FACT_NAMES and (name != "DisableCommanded" or severity is Severity.CRITICAL))
    assert "[*] --> disabling: Adopted" in blocks["critical"]
    assert "Adopted" not in blocks["high"] + blocks["low"]
    assert all(fact in states_page() for fact in FACT_NAMES)


def test_an_adopted_case_is_proven_before_it_is_called_off() -> None:
    decision = after(None, e.Adopted("sm-9", "sm", 3, 60, ("kill-3-ab",)))
    assert decision is not None
    assert decision.effects == (ProveOff(3),)
    taken = decision.incident
    assert (taken.severity, taken.epoch, taken.settled_held, taken.safe_held) == (Severity.CRITICAL, 3, 60, 100)
    assert taken.kills == ("kill-3-ab",)
    assert taken.proven_at is None
