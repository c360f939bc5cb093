"""Each feature is armed or says why not: when checks are renewed, what is told and recorded, and restarts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.alert_ports import Kept, MonitorState
from rollback.arming import LOOK_EVERY, UNANSWERED
from rollback.arming_record import RECORD_LATE, read_checked, status_from_record
from rollback.arming_watch import FIRST_AFTER, FIRST_SPREAD, WRITE_GAP
from rollback.core.alerts import Alert, Edge, ReadingKind
from rollback.core.arming import CheckState
from rollback.core.events import CaseOpened
from rollback.core.model import Severity
from rollback.errors import StoreUnreachable
from tests.fakes.arming import REFUSED, Bench, Monitors, a_bench, automation, policy
from tests.fakes.clock import NOON
from tests.fakes.commands import person
from tests.fakes.flag_store import UNREACHABLE
from tests.fakes.policies import critical
from tests.fakes.world import FEATURE


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return a_bench(tmp_path)


# -- the loop ----------------------------------------------------------------------------------------------------------

SOON = timedelta(seconds=FIRST_AFTER + FIRST_SPREAD + 1)
DAY = timedelta(days=1)


def test_nothing_is_armed_before_everything_was_checked_and_nobody_is_told(bench: Bench) -> None:
    loop = bench.loop()
    loop.step()
    assert not loop.status(FEATURE).is_armed
    assert bench.told == []
    assert bench.measured == [False]
    assert bench.world.store.writes == 0


def test_soon_after_the_start_it_is_armed_and_the_record_says_so(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, SOON)
    assert loop.status(FEATURE).is_armed
    assert bench.measured[-1]
    assert bench.told == []
    assert [entry.data["armed"] for entry in bench.world.entries("armed_checked")] == [True]
    assert status_from_record(bench.world.history(), FEATURE, bench.world.clock.now()).is_armed


def test_an_unchanged_verdict_is_recorded_once_a_day(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, 3 * DAY)
    assert loop.status(FEATURE).is_armed
    assert len(bench.world.entries("armed_checked")) in (3, 4)
    assert bench.world.store.writes in (6, 8)


def test_who_is_not_armed_any_more_is_told_once_and_again_when_it_is(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, SOON)
    bench.world.store.always("write", REFUSED)
    bench.passes(loop, 2 * DAY)
    assert len(bench.told) == 1
    assert "NOT ARMED" in bench.told[0].text
    assert "may not write" in bench.told[0].text
    assert (bench.told[0].urgency, bench.told[0].role) == ("call", "SM team")
    assert not loop.status(FEATURE).is_armed
    bench.world.store.always("write", None)
    bench.passes(loop, timedelta(minutes=6))
    assert [notice.urgency for notice in bench.told] == ["call", "tell"]
    assert "armed again" in bench.told[1].text
    assert loop.status(FEATURE).is_armed


def test_a_further_reason_is_told_too(bench: Bench) -> None:
    loop = bench.loop()
    bench.monitors.mute("17")
    bench.passes(loop, SOON)
    assert len(bench.told) == 1
    bench.world.store.always("write", REFUSED)
    bench.passes(loop, 2 * DAY)
    assert len(bench.told) == 2
    assert "write: failed" in bench.told[1].text
    assert len({notice.key for notice in bench.told}) == 2


def test_a_restart_tells_nobody_again(bench: Bench) -> None:
    bench.monitors.mute("17")
    bench.passes(bench.loop(), SOON)
    assert len(bench.told) == 1
    again = bench.loop()
    bench.passes(again, SOON)
    assert len(bench.told) == 1
    bench.monitors.mute("17", muted=False)
    bench.passes(again, timedelta(minutes=6))
    assert "armed again" in bench.told[1].text


def test_until_all_is_checked_the_verdict_of_the_process_before_stands(bench: Bench) -> None:
    bench.passes(bench.loop(), SOON)
    assert bench.loop().status(FEATURE).is_armed
    bench.world.clock.sleep(2 * DAY.total_seconds())
    assert not bench.loop().status(FEATURE).is_armed


def test_a_restart_loop_is_no_storm_of_writes(bench: Bench) -> None:
    bench.passes(bench.loop(), SOON)
    assert bench.world.store.writes == 2
    for _ in range(5):
        bench.passes(bench.loop(), SOON)
    assert bench.world.store.writes == 2
    bench.passes(bench.loop(), WRITE_GAP)
    assert bench.world.store.writes == 4


def test_the_write_check_of_another_shadow_flag_counts_for_nothing(bench: Bench) -> None:
    bench.passes(bench.loop(), SOON)
    other = bench.loop(policy(shadow_flag="sm-shado"))
    bench.passes(other, SOON)
    assert "sm-shado does not exist" in bench.checks(other)["write"].why


def test_one_look_without_an_answer_changes_nothing_and_two_do(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, SOON)
    bench.world.store.always("write", UNREACHABLE)
    bench.monitors.failing = StoreUnreachable("no answer from the monitors")
    bench.passes(loop, timedelta(minutes=58))
    assert loop.status(FEATURE).is_armed
    bench.passes(loop, timedelta(minutes=15))
    assert bench.checks(loop)["monitors:datadog"].state is CheckState.UNKNOWN
    assert UNANSWERED == 2
    bench.passes(loop, DAY + timedelta(hours=3))
    assert bench.checks(loop)["write"].state is CheckState.FAILED
    assert bench.told


def test_what_fails_on_our_side_is_unknown_and_ends_no_thread(bench: Bench) -> None:
    class Broken(Monitors):
        def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
            raise KeyError(ids, now)

    bench.monitors = Broken("17")
    loop = bench.loop()
    bench.passes(loop, SOON)
    assert bench.checks(loop)["monitors:datadog"].why == "failed on this side: KeyError"
    assert bench.checks(loop)["write"].state is CheckState.OK


def test_a_thread_that_stands_still_leaves_late_checks_behind(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, SOON)
    bench.world.clock.sleep(3 * 3600)
    assert not loop.status(FEATURE).is_armed
    assert any("late" in why for why in loop.status(FEATURE).why)


def test_automation_that_is_off_arms_nothing(bench: Bench) -> None:
    loop = bench.loop(auto=False)
    bench.passes(loop, SOON)
    assert loop.status(FEATURE).why[0].startswith("automation: failed")


def test_a_feature_without_rules_is_not_armed_and_nobody_is_told(bench: Bench) -> None:
    loop = bench.loop(policy(alerts=[]))
    bench.passes(loop, DAY)
    assert not loop.status(FEATURE).is_armed
    assert bench.told == []


def test_a_feature_that_is_not_checked_here_is_not_armed(bench: Bench) -> None:
    assert not bench.loop().status("another").is_armed
    assert bench.loop().checks("another") == ()


# -- probes ------------------------------------------------------------------------------------------------------------


def test_probes_that_fail_while_all_is_well_disarm_it(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, SOON)
    bench.world.probe.say("folders", 1.0)
    bench.passes(loop, timedelta(hours=2))
    assert bench.checks(loop)["baseline"].state is CheckState.FAILED
    assert bench.told[-1].urgency == "call"


def test_a_few_failures_in_a_day_are_usual(bench: Bench) -> None:
    bench.world.probe.say("folders", lambda number: 1.0 if number % 10 == 3 else 0.0)
    loop = bench.loop()
    bench.passes(loop, DAY)
    assert loop.status(FEATURE).is_armed
    assert bench.told == []


def test_probes_that_fall_silent_are_unknown_whatever_they_said_before(bench: Bench) -> None:
    loop = bench.loop()
    bench.passes(loop, timedelta(hours=5))
    bench.world.probe.say("folders", None)
    bench.passes(loop, timedelta(hours=2))
    assert bench.checks(loop)["baseline"].state is CheckState.UNKNOWN
    assert not loop.status(FEATURE).is_armed


def test_without_endpoints_it_counts_only_where_probes_are_needed(bench: Bench) -> None:
    loop = bench.loop(probe=None)
    bench.passes(loop, SOON)
    assert loop.status(FEATURE).is_armed
    assert any(remark.startswith("baseline: not configured") for remark in loop.status(FEATURE).remarks)
    guarded = [{**policy().model_dump(mode="json")["alerts"][0], "guard": {"within": "2m", "by": ["probes"]}}]
    guarded_loop = bench.loop(policy(alerts=guarded), probe=MemoryHealthProbe({}, clock=bench.world.clock))
    bench.passes(guarded_loop, SOON)
    assert not guarded_loop.status(FEATURE).is_armed


def test_while_a_case_is_open_the_probes_say_nothing_of_the_usual(bench: Bench) -> None:
    person(bench.world, policy=critical()).controller.open_case(CaseOpened("sm-1", FEATURE, Severity.CRITICAL))
    bench.world.probe.say("folders", 1.0)
    loop = bench.loop()
    bench.passes(loop, timedelta(hours=2))
    check = bench.checks(loop)["baseline"]
    assert (check.state, check.counts_against) == (CheckState.UNKNOWN, False)
    assert bench.world.probe.rounds == 0
    assert loop.status(FEATURE).is_armed


def test_a_restart_does_not_make_a_bad_baseline_good(bench: Bench) -> None:
    bench.world.probe.say("folders", 1.0)
    bench.passes(bench.loop(), timedelta(hours=1))
    bench.world.probe.say("folders", 0.0)
    again = bench.loop()
    bench.passes(again, SOON)
    assert bench.checks(again)["baseline"].state is CheckState.FAILED
    bench.passes(again, timedelta(hours=2))
    assert bench.checks(again)["baseline"].state is CheckState.OK


# -- heartbeats --------------------------------------------------------------------------------------------------------

BEATING = {"heartbeat": {"monitor": "99", "every": "1h"}}


def test_a_heartbeat_that_stays_away_is_told_and_one_that_comes_ends_it(bench: Bench) -> None:
    loop = bench.loop(automation=automation(**BEATING))
    loop.heard("datadog", "99", bench.world.clock.now())
    bench.passes(loop, timedelta(minutes=59))
    assert loop.status(FEATURE).is_armed
    bench.passes(loop, timedelta(minutes=2))
    assert [notice.urgency for notice in bench.told] == ["call"]
    assert "heartbeat:datadog: late" in bench.told[0].text
    loop.heard("datadog", "99", bench.world.clock.now())
    bench.passes(loop, timedelta(seconds=1))
    assert len(bench.told) == 2


def test_only_the_heartbeats_monitor_of_its_source_is_one(bench: Bench) -> None:
    loop = bench.loop(automation=automation(**BEATING))
    loop.heard("datadog", "98", bench.world.clock.now())
    loop.heard("pagerduty", "99", bench.world.clock.now())
    bench.passes(loop, SOON)
    assert bench.checks(loop)["heartbeat:datadog"].at is None
    assert not loop.status(FEATURE).is_armed


def test_a_delivery_counts_by_its_receipt(bench: Bench) -> None:
    loop = bench.loop(automation=automation(**BEATING))
    alert = Alert("datadog", "99", "c", Edge.FIRED, NOON - timedelta(days=9))
    loop.heard_delivery(Kept("datadog", "k", NOON, ReadingKind.ALERTS, (alert,)))
    assert bench.checks(loop)["heartbeat:datadog"].at == NOON
    loop.heard("datadog", "99", NOON - timedelta(hours=5))
    assert bench.checks(loop)["heartbeat:datadog"].at == NOON


def test_a_rule_that_is_a_heartbeat_is_checked_by_its_own_name(bench: Bench) -> None:
    rules = [
        {"name": "errors", "source": "datadog", "monitors": ["17"], "severity": "critical"},
        {"name": "alive", "source": "datadog", "tags": ["env:prod"], "heartbeat_every": "1h"},
    ]
    loop = bench.loop(policy(alerts=rules))
    assert bench.checks(loop)["heartbeat:alive"].at is None
    loop.heard("datadog", "any monitor of it", bench.world.clock.now())
    bench.passes(loop, SOON)
    assert loop.status(FEATURE).is_armed


def test_a_heartbeat_is_remembered_over_a_restart(bench: Bench) -> None:
    loop = bench.loop(automation=automation(**BEATING))
    bench.passes(loop, SOON)
    loop.heard("datadog", "99", bench.world.clock.now())
    assert loop.stop(5)
    again = bench.loop(automation=automation(**BEATING))
    assert bench.checks(again)["heartbeat:datadog"].state is CheckState.OK
    assert bench.world.probe.closed
    assert bench.monitors.closed


# -- the record, and the thread ----------------------------------------------------------------------------------------


def test_another_process_says_when_nobody_checks_any_more(bench: Bench) -> None:
    history = bench.world.history()
    assert not status_from_record(history, FEATURE, NOON).is_armed
    bench.passes(bench.loop(), SOON)
    later = bench.world.clock.now() + RECORD_LATE + timedelta(minutes=1)
    assert not status_from_record(history, FEATURE, later).is_armed
    assert "nobody has checked it since" in status_from_record(history, FEATURE, later).why[0]


def test_the_record_holds_each_check(bench: Bench) -> None:
    bench.passes(bench.loop(), SOON)
    last = read_checked(bench.world.history(), FEATURE)
    assert last is not None
    assert {check.name for check in last.checks} == {"automation", "rules", "write", "monitors:datadog", "baseline"}
    assert all(check.state is CheckState.OK for check in last.checks)


def test_the_thread_checks_and_ends(bench: Bench) -> None:
    done = threading.Event()
    world = bench.world
    world.store.on_call = lambda what: done.set() if what == "write done" else None
    loop = bench.loop(jitter=lambda: -FIRST_AFTER / FIRST_SPREAD)
    loop.start()
    assert loop.is_alive
    assert done.wait(10)
    assert loop.stop(10)
    assert not loop.is_alive


def test_the_thread_never_sleeps_past_a_look(bench: Bench) -> None:
    loop = bench.loop()
    assert 0 < loop.step() <= LOOK_EVERY
