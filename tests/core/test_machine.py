"""The guards and the facts that ride on a case: what the table of transitions alone does not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollback.core import events as e
from rollback.core.effects import CallHuman, LowerExposure, ProveOff, RaiseExposure, WatchExposure
from rollback.core.events import Event
from rollback.core.machine import RAISE_EXPIRES_AFTER, Decision
from rollback.core.model import Incident, NeedsHuman, Severity, State
from tests.core.cases import ALEX, NOW, RETURN, TYPED, WATCHER, critical, disabled, high, low, refused, run, step

# -- off -----------------------------------------------------------------------------------------------------


def test_a_case_keeps_what_it_was_opened_with() -> None:
    opened = e.CaseOpened("sm-1", "sm", Severity.LOW, "alex", "typo", "hash", sensitive=True)
    incident = step(None, opened).incident
    assert (incident.incident_id, incident.feature, incident.severity) == ("sm-1", "sm", Severity.LOW)
    assert (incident.opened_by, incident.reason, incident.policy_hash) == ("alex", "typo", "hash")
    assert (incident.sensitive, incident.opened_at, incident.since, incident.epoch) == (True, NOW, NOW, 0)


def test_an_off_is_pending_until_it_is_written_and_claimed_only_when_it_is_proven() -> None:
    opened = run(None, e.CaseOpened("sm-1", "sm", Severity.CRITICAL, by="alex"))
    commanded = step(opened, e.DisableCommanded("kill-1-ab", 1))
    assert commanded.effects == (LowerExposure("kill-1-ab", 1, 100),)
    assert (commanded.incident.pending_off_since, commanded.incident.safe_held) == (NOW, 100)
    written = step(commanded.incident, e.OffWritten("kill-1-ab", 80))
    assert written.effects == (ProveOff(1),)
    assert (written.incident.pending_off_since, written.incident.settled_held) == (None, 100)
    assert (written.incident.turned_at, written.incident.proven_at, written.incident.audience) == (NOW, None, 80)
    proven = run(written.incident, e.OffProven())
    assert (proven.state, proven.proven_at, proven.kills) == (State.DISABLED, NOW, ("kill-1-ab",))


def test_an_off_that_is_not_settled_stays_pending_since_it_was_meant_and_calls_a_human() -> None:
    later = NOW + timedelta(minutes=1)
    commanded = run(critical(State.TRIGGERED, epoch=0), e.DisableCommanded("kill-1-ab", 1))
    decision = step(commanded, e.OffUnsettled("no answer"), later)
    assert decision.effects == (CallHuman("no answer", "responder"),)
    assert decision.incident.pending_off_since == NOW
    assert decision.incident.needs_human == NeedsHuman("no answer", "responder", later)
    assert step(critical(State.DISABLED), e.OffUnsettled("no answer")).incident.pending_off_since == NOW


def test_a_claim_of_off_that_cannot_be_repeated_is_withdrawn() -> None:
    decision = step(disabled(), e.OffNotProven("polling"))
    assert (decision.incident.state, decision.incident.proven_at) == (State.DISABLING, None)
    assert decision.effects == (CallHuman("off is not proven: polling", "responder"),)


def test_turned_at_is_when_it_went_off_and_not_when_a_second_kill_was_put_in_front() -> None:
    first, second = NOW - timedelta(minutes=9), NOW - timedelta(minutes=1)
    off = run(critical(State.DISABLING), e.OffWritten("kill-1-ab", 80, at=first))
    assert off.turned_at == first
    assert run(off, e.OffWritten("kill-2-ab", 0, was_off=True, at=second)).turned_at == first
    assert run(off, e.OffWritten("kill-2-ab", 0, was_off=False, at=second)).turned_at == second
    assert run(critical(State.DISABLING), e.OffWritten("kill-1-ab", 80, was_off=True)).turned_at == NOW


def test_the_audience_is_what_was_open_before_the_case_first_lowered_exposure() -> None:
    assert run(disabled(), e.DisableCommanded("kill-2-ab", 2), e.OffWritten("kill-2-ab", 30)).audience == 80
    reduced = run(high(State.REDUCING), e.ReduceSettled("kill-1-ab", 90, 70))
    assert (reduced.audience, reduced.settled_held, reduced.turned_at) == (70, 90, NOW)
    assert run(reduced, e.ReduceCommanded("kill-2-ab", 2, 95), e.ReduceSettled("kill-2-ab", 95, 10)).audience == 70


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (critical(State.MONITORING), e.DisableCommanded("kill-2-ab", 2)),
        (high(State.REDUCED), e.ReduceCommanded("kill-2-ab", 2, 95)),
        (critical(State.DISABLED), e.DriftSeen("kill-2-ab", 2, "x")),
        (critical(State.RAMPING), e.HarmSeen("x")),
        (high(State.MONITORING), e.WatchStopped("x")),
    ],
)
def test_each_lowering_raises_the_epoch_and_ends_what_came_before(before: Incident, event: Event) -> None:
    until = NOW + timedelta(hours=1)
    before = replace(before, watcher=WATCHER, forced_until=until, proven_at=NOW, one_step=True, kills=("kill-1-ab",))
    before = replace(before, undo_by="alex", undo_until=until)
    decision = step(before, event)
    (lowered,) = (effect for effect in decision.effects if isinstance(effect, LowerExposure))
    after = decision.incident
    assert (after.epoch, lowered.epoch) == (2, 2)
    assert after.kills == ("kill-1-ab", lowered.key)
    assert (after.watcher, after.forced_until, after.proven_at, after.one_step) == (None, None, None, False)
    assert (after.undo_by, after.undo_until) == ("", None)
    assert (after.pending_off_since == NOW) == (lowered.held == 100)


def test_a_late_disable_of_an_older_epoch_never_lowers_the_epoch() -> None:
    late = run(critical(State.DISABLED, epoch=7, kills=("kill-7-ab",)), e.DisableCommanded("kill-3-ab", 3))
    assert (late.epoch, late.kills) == (7, ("kill-7-ab", "kill-3-ab"))
    assert run(late, e.DisableCommanded("kill-3-ab", 3)).kills == late.kills, "the same kill is known once"


def test_the_first_lowering_stays_pending_since_then() -> None:
    early = NOW - timedelta(minutes=3)
    again = run(critical(State.DISABLING, pending_off_since=early), e.DisableCommanded("kill-2-ab", 2))
    assert again.pending_off_since == early


@pytest.mark.parametrize("held", [0, 100, -1, 101])
def test_a_reduction_that_is_off_or_nothing_is_refused(held: int) -> None:
    refused(high(State.TRIGGERED), e.ReduceCommanded("kill-2-ab", 2, held), "is no reduction")


# -- severity ------------------------------------------------------------------------------------------------


def test_a_severity_is_raised_and_acted_on_under_its_own_rows() -> None:
    raised = run(low(State.MONITORING, watcher=WATCHER), e.SeverityRaised(Severity.HIGH))
    assert (raised.severity, raised.state, raised.watcher) == (Severity.HIGH, State.TRIGGERED, None)
    reduced = step(raised, e.ReduceCommanded("kill-2-ab", 2, 90))
    assert reduced.effects == (LowerExposure("kill-2-ab", 2, 90),)
    assert reduced.incident.safe_held == 90


@pytest.mark.parametrize("severity", [Severity.LOW, Severity.HIGH])
def test_no_event_but_lowering_makes_a_severity_milder(severity: Severity) -> None:
    refused(high(State.REDUCED), e.SeverityRaised(severity), "is not above it")


def test_only_an_authenticated_person_lowers_a_severity_and_only_to_a_lower_one() -> None:
    monitored = critical(State.MONITORING)
    refused(monitored, e.SeverityLowered(Severity.LOW, TYPED), "authenticated person")
    refused(monitored, e.SeverityLowered(Severity.CRITICAL, ALEX), "to a lower one")
    refused(critical(State.DISABLED), e.SeverityLowered(Severity.LOW, ALEX), "not possible while sm is disabled")
    lowered = run(monitored, e.SeverityLowered(Severity.LOW, ALEX))
    assert (lowered.severity, lowered.safe_held) == (Severity.LOW, None)
    assert step(lowered, e.HarmSeen("errors")).effects == ()


@pytest.mark.parametrize("event", [e.HarmSeen("errors"), e.WatchStopped("died")])
def test_a_high_case_that_was_critical_has_no_reduced_level_so_its_retreat_is_off_and_critical(event: Event) -> None:
    lowered = run(critical(State.MONITORING), e.SeverityLowered(Severity.HIGH, ALEX))
    decision = step(lowered, event)
    assert (decision.incident.severity, decision.incident.state) == (Severity.CRITICAL, State.DISABLING)
    assert decision.effects == (LowerExposure("kill-2-ff", 2, 100),)


# -- the return ----------------------------------------------------------------------------------------------

RETURNS = [
    (critical(State.DISABLED), RETURN),
    (critical(State.DISABLED), e.FalseAlarmDeclared(ALEX)),
    (critical(State.VERIFYING), e.GatePassed(50)),
    (critical(State.RAMPING), e.GatePassed(0)),
    (high(State.REDUCED), RETURN),
    (high(State.VERIFYING), e.GatePassed(50)),
]


@pytest.mark.parametrize(("before", "event"), RETURNS)
def test_nothing_goes_up_while_it_is_kept_off_pending_blind_or_sensitive(before: Incident, event: Event) -> None:
    refused(run(before, e.KeptOff()), event, "kept off until somebody lifts")
    refused(replace(before, pending_off_since=NOW), event, "still pending since")
    refused(run(before, e.GateMeasured(True)), event, "has a blind gate")
    refused(replace(before, sensitive=True), event, "security or privacy case")
    step(run(before, e.KeptOff(), e.Released("digest")), event)
    for closed in (replace(before, gate_blind=True), replace(before, sensitive=True)):
        refused(closed, e.BlindGateAccepted(TYPED), "merely claimed")
        accepted = run(closed, e.BlindGateAccepted(ALEX))
        assert accepted.blind_accepted_by == "alex"
        step(accepted, event)


def test_a_low_case_is_on_so_a_blind_gate_keeps_it_from_being_called_a_false_alarm_alone() -> None:
    for state, event in ((State.FIXING, RETURN), (State.VERIFYING, e.GatePassed(0))):
        assert step(low(state, sensitive=True, gate_blind=True), event).effects == (WatchExposure(1),)
    refused(low(State.FIXING, gate_blind=True), e.FalseAlarmDeclared(ALEX), "has a blind gate")
    assert run(low(State.FIXING), e.FalseAlarmDeclared(ALEX)).state is State.RESOLVED


@pytest.mark.parametrize(("green", "blind"), [(True, True), (False, False), (None, None)])
def test_a_gate_that_was_green_while_it_was_called_broken_is_blind(green: bool | None, blind: bool | None) -> None:
    assert run(disabled(), e.GateMeasured(green)).gate_blind is blind


def test_a_gate_is_measured_once_and_a_later_look_does_not_make_it_see() -> None:
    assert run(disabled(), e.GateMeasured(True), e.GateMeasured(False)).gate_blind is True
    assert run(disabled(), e.GateMeasured(None), e.GateMeasured(True)).gate_blind is True


def test_a_false_alarm_is_declared_by_an_authenticated_person_and_comes_back_in_one_watched_step() -> None:
    refused(disabled(), e.FalseAlarmDeclared(TYPED), "authenticated person")
    declared = run(disabled(), e.FalseAlarmDeclared(ALEX))
    assert (declared.state, declared.one_step) == (State.DISABLED, True)
    verifying = run(declared, RETURN)
    assert verifying.one_step
    assert not run(verifying, e.HarmSeen("errors")).one_step, "it was none, so the next return climbs the ladder"


def test_a_return_has_a_watcher_and_knows_the_kills_that_are_there() -> None:
    asleep = replace(disabled(), needs_human=NeedsHuman("look", "owner", NOW))
    decision = step(asleep, e.ReturnStarted(WATCHER, ALEX, ("kill-1-ab", "kill-5-cd")))
    begun = decision.incident
    assert decision.effects == (WatchExposure(1),)
    assert (begun.watcher, begun.kills, begun.needs_human) == (WATCHER, ("kill-1-ab", "kill-5-cd"), None)
    assert (begun.attempt, begun.forced_until, begun.review) == (1, None, ())


def test_a_raise_carries_its_epoch_and_expires() -> None:
    decision = step(critical(State.VERIFYING, epoch=4), e.GatePassed(50))
    assert decision.effects == (RaiseExposure(4, 50, NOW + RAISE_EXPIRES_AFTER),)
    raised = run(decision.incident, e.StepRaised(50))
    assert (raised.state, raised.settled_held, raised.proven_at) == (State.RAMPING, 50, None)
    full = run(replace(raised, kills=("kill-1-ab",)), e.ReturnedInFull())
    assert (full.state, full.settled_held, full.kills) == (State.MONITORING, 0, ())
    over = run(full, e.MonitoringEnded())
    assert (over.state, over.watcher, over.is_open) == (State.RESOLVED, None, False)


def test_a_force_expires_and_leaves_a_review_and_lasts_no_longer_when_the_watch_is_taken_up_again() -> None:
    until = NOW + timedelta(hours=1)
    forced = run(disabled(), e.ReturnStarted(WATCHER, ALEX, (), until))
    assert (forced.forced_until, forced.review) == (until, ("forced return: review it",))
    back = run(forced, e.GatePassed(0), e.ReturnedInFull(), e.WatchHandedOver("serve"), RETURN)
    assert (back.state, back.forced_until, back.watcher) == (State.MONITORING, until, WATCHER)
    later = until + timedelta(hours=1)
    assert run(back, e.ReturnStarted(WATCHER, ALEX, (), later)).forced_until == later
    assert run(forced, e.WatchStopped("died"), RETURN).forced_until is None


def test_the_watch_of_what_is_exposed_is_taken_up_whatever_would_stop_a_return() -> None:
    exposed = critical(State.MONITORING, keep_off=True, sensitive=True, gate_blind=True)
    assert step(exposed, RETURN).effects == (WatchExposure(1),)


def test_the_same_fix_counts_once_and_each_other_one_is_an_attempt() -> None:
    first = run(disabled(), e.FixDeployed("aaa"), e.FixDeployed("aaa"))
    assert (first.fix, first.attempt) == ("aaa", 1)
    verifying = run(first, RETURN, e.FixDeployed("aaa"))
    assert (verifying.attempt, verifying.state) == (1, State.VERIFYING)
    assert run(verifying, e.FixDeployed("bbb")).attempt == 2
    assert run(disabled(), RETURN, e.EvidenceEnded("x"), RETURN).attempt == 1, "no fix: the same attempt goes on"


# -- facts ---------------------------------------------------------------------------------------------------


def test_facts_change_what_they_say_and_nothing_else() -> None:
    off = disabled()
    assert step(off, e.NoteAdded("text")) == Decision(off)
    called = replace(off, needs_human=NeedsHuman("look", "owner", NOW))
    assert run(called, e.Released("abc")) == replace(off, accepted_digest="abc")
    refused(off, e.CaseOpened("sm-2", "sm", Severity.CRITICAL), "already has the open case sm-1")
    refused(off, e.FixingStarted(), "FixingStarted is not possible while sm is disabled")
