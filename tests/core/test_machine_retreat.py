"""Down again: harm, lost watchers, drift; and the disable that is taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollback.core import events as e
from rollback.core.effects import CallHuman, LowerExposure, RaiseExposure
from rollback.core.events import Event
from rollback.core.history import Actor
from rollback.core.machine import RAISE_EXPIRES_AFTER, UNDO_WITHIN
from rollback.core.model import NeedsHuman, Severity, State
from tests.core.cases import ALEX, NOW, TYPED, WATCHER, critical, disabled, high, low, refused, run, step

# -- harm and lost watchers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [e.HarmSeen("errors"), e.WatchStopped("died")])
@pytest.mark.parametrize("state", [State.RAMPING, State.MONITORING])
def test_a_retreat_ends_where_it_was_proven_safe(state: State, event: Event) -> None:
    off = step(critical(state, safe_held=None), event)
    assert (off.incident.state, off.effects) == (State.DISABLING, (LowerExposure("kill-2-ff", 2, 100),))
    assert (off.incident.safe_held, off.incident.pending_off_since) == (100, NOW)
    assert step(critical(state, safe_held=90), event).effects == off.effects, "critical is off, and never less"
    down = step(high(state), event)
    assert (down.incident.state, down.effects) == (State.REDUCING, (LowerExposure("kill-2-ff", 2, 90),))
    assert (down.incident.safe_held, down.incident.pending_off_since) == (90, None)
    if state is State.MONITORING:
        stays = step(low(state, watcher=WATCHER), event)
        assert (stays.incident.state, stays.incident.watcher, stays.effects) == (State.FIXING, None, ())


@pytest.mark.parametrize(("before", "state"), [(critical, State.DISABLED), (high, State.REDUCED), (low, State.FIXING)])
def test_harm_while_verifying_leaves_exposure_as_it_is_and_asks_for_a_human(before: Any, state: State) -> None:
    decision = step(before(State.VERIFYING, watcher=WATCHER), e.HarmSeen("5 % fail"))
    assert (decision.incident.state, decision.incident.watcher, decision.effects) == (state, None, ())
    assert decision.incident.needs_human is not None
    assert "5 % fail" in decision.incident.needs_human.what


def test_inconclusive_evidence_leaves_exposure_where_it_is_and_calls_a_human() -> None:
    called = (CallHuman("deadline", "responder"),)
    ramping = step(critical(State.RAMPING, watcher=WATCHER), e.EvidenceEnded("deadline"))
    assert (ramping.incident.state, ramping.incident.watcher, ramping.effects) == (State.RAMPING, WATCHER, called)
    verifying = step(critical(State.VERIFYING, watcher=WATCHER), e.EvidenceEnded("deadline"))
    assert (verifying.incident.state, verifying.incident.watcher, verifying.effects) == (State.DISABLED, None, called)


def test_who_was_called_first_is_still_waiting_since_then() -> None:
    first = run(disabled(), e.HumanCalled("look", "owner"))
    assert first.needs_human == NeedsHuman("look", "owner", NOW)
    later = NOW + timedelta(hours=1)
    again = step(first, e.HumanCalled("look", "owner"), later)
    assert again.effects == (CallHuman("look", "owner"),)
    assert again.incident.needs_human == first.needs_human
    other = step(first, e.HumanCalled("decide", "owner"), later).incident.needs_human
    assert other == NeedsHuman("decide", "owner", later)


def test_a_watch_that_is_handed_over_names_who_has_to_watch() -> None:
    decision = step(critical(State.MONITORING, watcher=WATCHER), e.WatchHandedOver("serve"))
    assert decision.incident.watcher is None
    assert decision.effects == (CallHuman("nobody watches what is exposed; serve has to", "serve"),)


# -- drift ---------------------------------------------------------------------------------------------------

DRIFT = e.DriftSeen("kill-2-ab", 2, "rollout 1 of somebody")


def test_drift_is_put_right_once_and_then_a_human_decides() -> None:
    first = step(disabled(), DRIFT)
    assert first.effects == (LowerExposure("kill-2-ab", 2, 100),)
    assert (first.incident.state, first.incident.drift_repairs) == (State.DISABLING, 1)
    off = run(first.incident, e.OffWritten("kill-2-ab", 100), e.OffProven())
    second = step(off, replace(DRIFT, key="kill-3-ab", epoch=3))
    assert second.effects == (CallHuman("a second foreign edit lets users in: rollout 1 of somebody", "responder"),)
    after = second.incident
    assert (after.state, after.proven_at, after.settled_held) == (State.DISABLING, None, None)
    assert (after.epoch, after.kills) == (2, ("kill-1-ab", "kill-2-ab"))
    assert after.drift_left
    assert not off.drift_left
    assert not run(after, e.DisableCommanded("kill-4-ab", 4)).drift_left
    released = run(after, e.Released("digest"))
    assert (released.drift_repairs, released.drift_left) == (0, False)


def test_drift_of_a_reduced_feature_is_put_right_at_its_reduced_level() -> None:
    decision = step(high(State.VERIFYING, watcher=WATCHER), DRIFT)
    assert decision.effects == (LowerExposure("kill-2-ab", 2, 90),)
    assert (decision.incident.state, decision.incident.watcher) == (State.REDUCING, None)


def test_a_return_whose_kill_is_taken_out_a_second_time_retreats_and_calls_a_human() -> None:
    decision = step(critical(State.RAMPING, drift_repairs=1, watcher=WATCHER), DRIFT)
    lowered, called = decision.effects
    assert lowered == LowerExposure("kill-2-ab", 2, 100)
    assert isinstance(called, CallHuman)
    assert decision.incident.needs_human is not None
    assert decision.incident.watcher is None


# -- undo ----------------------------------------------------------------------------------------------------

UNDO = e.DisableUndone(ALEX, WATCHER)


def test_a_wrong_disable_is_taken_back_by_the_one_who_made_it() -> None:
    decision = step(disabled(), UNDO, NOW + UNDO_WITHIN)
    assert decision.effects == (RaiseExposure(1, 0, NOW + UNDO_WITHIN + RAISE_EXPIRES_AFTER),)
    undone = decision.incident
    assert (undone.state, undone.one_step, undone.watcher, undone.undo_by) == (State.RAMPING, True, WATCHER, "")


def test_an_undo_counts_from_the_disable_and_belongs_to_who_made_it_and_not_to_who_opened_the_case() -> None:
    opened = run(None, e.CaseOpened("sm-1", "sm", Severity.LOW, by="sam"), e.FixingStarted())
    later = NOW + timedelta(hours=2)
    off = step(opened, e.DisableCommanded("kill-9-ab", 9, by="alex"), later).incident
    off = step(off, e.OffWritten("kill-9-ab", 100), later).incident
    refused(off, e.DisableUndone(Actor("sam", "os"), WATCHER), "Only alex", later)
    assert step(off, UNDO, later + timedelta(minutes=9)).incident.state is State.RAMPING


def test_an_undo_by_another_or_late_or_after_a_second_lowering_is_refused() -> None:
    off = disabled()
    refused(off, e.DisableUndone(Actor("sam", "os"), WATCHER), "Only alex, authenticated")
    refused(off, e.DisableUndone(TYPED, WATCHER), "Only alex, authenticated")
    refused(off, UNDO, "within 10 minutes", NOW + UNDO_WITHIN + timedelta(seconds=1))
    again = run(off, e.DisableCommanded("kill-2-ab", 2, by="alex"), e.OffWritten("kill-2-ab", 0))
    refused(again, UNDO, "only when it is the case's only one")
    refused(disabled(by=""), e.DisableUndone(Actor("", "os"), WATCHER), "within 10 minutes")
    refused(run(off, UNDO, e.HarmSeen("errors"), e.OffWritten("kill-2-ff", 0)), UNDO, "within 10 minutes")


def test_an_undo_is_refused_while_it_is_kept_off_or_the_kill_may_still_arrive() -> None:
    refused(run(disabled(), e.KeptOff()), UNDO, "kept off")
    meant = run(None, e.CaseOpened("sm-1", "sm", Severity.CRITICAL, by="alex"), e.DisableCommanded("kill-1-ab", 1))
    refused(meant, UNDO, "still pending")
