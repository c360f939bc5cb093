"""Random events in random order: what must hold of a case whatever happens to it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollback.core import events as e
from rollback.core.approvals import ApprovalRule, Permit, missing
from rollback.core.effects import CallHuman, LowerExposure, RaiseExposure
from rollback.core.events import Event
from rollback.core.history import Actor
from rollback.core.machine import Decision, decide
from rollback.core.model import Incident, Severity, State
from rollback.core.transitions import next_state
from rollback.errors import PolicyRefused
from rollback.incident_codec import incident_from_json, incident_to_json
from tests.core.cases import NOW, WATCHER

ACTORS = st.sampled_from([Actor("alex", "os"), Actor("alex"), Actor("sam", "token")])
EPOCHS = st.integers(0, 9)
KEYS = st.sampled_from([f"kill-{number}-ab" for number in range(6)])
HELD = st.sampled_from([0, 25, 50, 90, 100])
AUDIENCE = st.none() | st.integers(0, 100)
SEVERITIES = st.sampled_from(list(Severity))
TEXT = st.sampled_from(["x", "y"])
ROLES = st.sampled_from(["approver", "owner"])
DIGESTS = st.sampled_from(["d1", "d2"])
RULES = st.builds(
    ApprovalRule,
    required=st.integers(1, 2),
    four_eyes=st.booleans(),
    escalate_to=st.sampled_from([(), ("approver", "owner")]),
)
PERMITS = st.none() | st.builds(Permit, st.none() | RULES, DIGESTS, st.booleans())
CYCLES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple)

EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    e.CaseOpened: st.builds(e.CaseOpened, st.just("sm-2"), st.just("sm"), SEVERITIES, sensitive=st.booleans()),
    e.SeverityRaised: st.builds(e.SeverityRaised, SEVERITIES),
    e.SeverityLowered: st.builds(e.SeverityLowered, SEVERITIES, ACTORS),
    e.DisableCommanded: st.builds(e.DisableCommanded, KEYS, EPOCHS, st.sampled_from(["alex", "sam", ""])),
    e.OffWritten: st.builds(e.OffWritten, KEYS, AUDIENCE, st.booleans()),
    e.OffUnsettled: st.builds(e.OffUnsettled, TEXT),
    e.OffProven: st.just(e.OffProven()),
    e.OffNotProven: st.builds(e.OffNotProven, TEXT),
    e.ReduceCommanded: st.builds(e.ReduceCommanded, KEYS, EPOCHS, HELD),
    e.ReduceSettled: st.builds(e.ReduceSettled, KEYS, HELD, AUDIENCE),
    e.FixingStarted: st.just(e.FixingStarted()),
    e.CodeChanged: st.builds(e.CodeChanged, TEXT),
    e.FixDeployed: st.builds(e.FixDeployed, TEXT, st.sampled_from(["", "alex", "sam"])),
    e.GateMeasured: st.builds(e.GateMeasured, st.none() | st.booleans()),
    e.BlindGateAccepted: st.builds(e.BlindGateAccepted, ACTORS),
    e.ReturnStarted: st.builds(
        e.ReturnStarted, st.just(WATCHER), ACTORS, st.lists(KEYS, max_size=2).map(tuple), st.none() | st.just(NOW)
    ),
    e.WatchHandedOver: st.builds(e.WatchHandedOver, TEXT),
    e.GatePassed: st.builds(e.GatePassed, HELD, PERMITS),
    e.StepRaised: st.builds(e.StepRaised, HELD),
    e.ReturnedInFull: st.just(e.ReturnedInFull()),
    e.HarmSeen: st.builds(e.HarmSeen, TEXT),
    e.EvidenceEnded: st.builds(e.EvidenceEnded, TEXT),
    e.WatchStopped: st.builds(e.WatchStopped, TEXT),
    e.MonitoringEnded: st.just(e.MonitoringEnded()),
    e.DriftSeen: st.builds(e.DriftSeen, KEYS, EPOCHS, TEXT),
    e.FalseAlarmDeclared: st.builds(e.FalseAlarmDeclared, ACTORS),
    e.DisableUndone: st.builds(e.DisableUndone, ACTORS, st.just(WATCHER)),
    e.KeptOff: st.just(e.KeptOff()),
    e.Released: st.builds(e.Released, TEXT),
    e.Adopted: st.builds(e.Adopted, st.just("sm-3"), st.just("sm"), EPOCHS, HELD, st.lists(KEYS).map(tuple)),
    e.NoteAdded: st.builds(e.NoteAdded, TEXT),
    e.HumanCalled: st.builds(e.HumanCalled, TEXT),
    e.AlertsAttached: st.builds(e.AlertsAttached, CYCLES, SEVERITIES, st.just("datadog")),
    e.AlertsRecovered: st.builds(e.AlertsRecovered, CYCLES),
    e.ApprovalAsked: st.builds(e.ApprovalAsked, ROLES, st.just("an approval is missing"), DIGESTS),
    e.ApprovalGiven: st.builds(
        e.ApprovalGiven,
        ACTORS,
        ROLES,
        st.sampled_from(["", "x", "y"]),
        DIGESTS,
        EPOCHS,
        st.sampled_from([NOW + timedelta(minutes=5), NOW + timedelta(hours=9)]),
    ),
    e.ApprovalWithdrawn: st.builds(e.ApprovalWithdrawn, ACTORS),
    e.StepApproved: st.builds(e.StepApproved, ACTORS),
    e.SwitchLifted: st.builds(e.SwitchLifted, TEXT, ACTORS),
}
"""One strategy an event; a resolved case is left alone unless a new one opens."""


class AnyCase(RuleBasedStateMachine):
    """One feature, whose case is handed whatever the strategies think of."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.incident: Incident | None = None

    @initialize(event=EVENTS[e.CaseOpened])
    def open(self, event: Event) -> None:
        self.hand(event)

    @rule(event=st.one_of(*EVENTS.values()))
    def anything(self, event: Event) -> None:
        self.hand(event)

    @precondition(lambda self: self.incident and self.incident.is_open)
    @rule(data=st.data())
    def something_that_the_table_allows(self, data: st.DataObject) -> None:
        """Otherwise most events would be refused, and few cases would get far."""
        assert self.incident
        severity, state = self.incident.severity, self.incident.state
        allowed = [strategy for event, strategy in EVENTS.items() if next_state(severity, state, event) is not None]
        self.hand(data.draw(st.one_of(allowed)))

    @rule(minutes=st.integers(0, 20))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def hand(self, event: Event) -> None:
        before = self.incident
        try:
            decision = decide(before, event, now=self.now, nonce="ff")
        except PolicyRefused:
            is_open = before is not None and before.is_open
            assert not (is_open and isinstance(event, e.DisableCommanded)), "an off was refused"
            if is_open and isinstance(event, e.HarmSeen | e.WatchStopped | e.ReduceCommanded | e.DriftSeen):
                assert before is not None
                check_refused_lowering(before, event)
            return
        self.incident = decision.incident
        if before is None or not before.is_open:
            assert isinstance(event, e.CaseOpened | e.Adopted), "a closed case was opened again"
            return
        check_what_never_falls(before, event, decision.incident)
        check_effects(before, event, decision)
        check_firing(before, event, decision.incident)
        check_permitted(before, event, decision, self.now)
        check_disable(event, decision.incident)

    @invariant()
    def its_image_is_lossless(self) -> None:
        if self.incident:
            assert incident_from_json(json.loads(json.dumps(incident_to_json(self.incident)))) == self.incident

    @invariant()
    def a_watcher_is_named_only_where_something_is_watched(self) -> None:
        if self.incident and self.incident.watcher:
            assert self.incident.state in (State.VERIFYING, State.RAMPING, State.MONITORING)

    @invariant()
    def a_retreat_has_somewhere_to_go(self) -> None:
        incident = self.incident
        if incident and incident.severity is Severity.HIGH and incident.state is not State.TRIGGERED:
            assert incident.safe_held is not None


def check_what_never_falls(before: Incident, event: Event, after: Incident) -> None:
    assert after.incident_id == before.incident_id
    assert after.epoch >= before.epoch
    assert after.attempt >= before.attempt
    assert set(before.review) <= set(after.review)
    assert before.audience is None or after.audience == before.audience
    if after.severity.rank < before.severity.rank:
        assert isinstance(event, e.SeverityLowered)
        assert not event.by.is_claimed
        assert before.state is State.MONITORING, "lowered while it was not on"
    if before.gate_blind and not isinstance(event, e.BlindGateAccepted):
        assert after.gate_blind


def check_effects(before: Incident, event: Event, decision: Decision) -> None:
    after = decision.incident
    for effect in decision.effects:
        match effect:
            case RaiseExposure(epoch=epoch):
                assert isinstance(event, e.GatePassed | e.DisableUndone)
                assert after.severity is not Severity.LOW
                assert not before.keep_off
                assert not before.firing, "a step up while an alert fires"
                assert before.pending_off_since is None
                is_closed = before.sensitive or before.gate_blind
                assert not is_closed or before.blind_accepted_by or isinstance(event, e.DisableUndone)
                assert epoch == after.epoch
            case LowerExposure(key=key, held=held):
                assert after.severity is not Severity.LOW
                assert key in after.kills
                assert after.proven_at is None
                assert after.state is (State.DISABLING if held == 100 else State.REDUCING)
                assert held < 100 or after.pending_off_since is not None
            case CallHuman(what=what):
                assert after.needs_human
                assert after.needs_human.what == what
            case _:
                pass


def check_firing(before: Incident, event: Event, after: Incident) -> None:
    """Only a recovery or a person takes away what fires, and an alert changes nothing else."""
    if not isinstance(event, e.AlertsRecovered | e.Released):
        assert set(before.firing) <= set(after.firing)
    if isinstance(event, e.AlertsAttached | e.AlertsRecovered):
        assert replace(after, firing=before.firing) == before


def check_refused_lowering(before: Incident, event: Event) -> None:
    """Only the table, or a reduction that is none, refuses to go down: never something that people say or have not."""
    is_no_reduction = isinstance(event, e.ReduceCommanded) and not 0 < event.held < 100
    assert is_no_reduction or next_state(before.severity, before.state, type(event)) is None


def check_permitted(before: Incident, event: Event, decision: Decision, now: datetime) -> None:
    """No step up without what the policy wants of people; what they said is void with the next off and fix."""
    after = decision.incident
    if isinstance(event, e.GatePassed) and event.permit is not None:
        permit = event.permit
        assert permit.rule is None or not missing(permit.rule, before, permit.digest, now)
        assert not permit.go or before.step_go
    if any(isinstance(effect, LowerExposure) for effect in decision.effects):
        assert (after.approvals, after.approval_request, after.step_go, after.switches_lifted) == ((), None, False, ())
    assert all(one.fix == after.fix for one in after.approvals), "an approval of another fix"


def check_disable(event: Event, after: Incident) -> None:
    if isinstance(event, e.DisableCommanded):
        assert (after.severity, after.state, after.safe_held) == (Severity.CRITICAL, State.DISABLING, 100)
        assert event.key in after.kills


def test_every_event_takes_part() -> None:
    assert set(EVENTS) == set(get_args(Event))


def test_what_must_hold_holds_after_any_events() -> None:
    run_state_machine_as_test(AnyCase, settings=settings(max_examples=40, stateful_step_count=40))


@pytest.mark.fuzz
def test_what_must_hold_holds_after_very_many_events() -> None:
    run_state_machine_as_test(AnyCase, settings=settings(max_examples=500, stateful_step_count=80))
