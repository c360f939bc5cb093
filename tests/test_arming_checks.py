"""The checks that look at the world: real writes on the shadow flag alone, and the monitors that rules name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from rollback.alert_ports import MonitorState
from rollback.arming_checks import Lookup, check_monitors, check_write, lookups
from rollback.core import exposure as exposures
from rollback.core.arming import Check, CheckState
from rollback.core.automation_policy import AutomationPolicy
from rollback.core.flag import FlagConfig, FlagType, Rollout
from rollback.core.marker import Marker
from rollback.errors import StoreUnreachable, Unsettled
from tests.fakes.arming import DARK, OURS, REFUSED, SHADOW, Bench, Monitors, a_bench, policy
from tests.fakes.clock import NOON
from tests.fakes.flag_store import CONFLICT, LOST_AFTER, LOST_BEFORE, UNREACHABLE, MemoryFlagStore, Mishap
from tests.fakes.world import ALL, FEATURE, SM


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return a_bench(tmp_path)


def write(bench: Bench) -> Check:
    return check_write(bench.world.session(), policy(), needed=True)


# -- the write check ---------------------------------------------------------------------------------------------------


def test_the_write_check_turns_the_shadow_flag_off_and_leaves_it_and_the_real_one_as_they_were(bench: Bench) -> None:
    store = bench.world.store
    real, shadow, states = store.config(SM), store.config(SHADOW), []
    store.edit(SHADOW, lambda config: replace(config, enabled=True))
    store.on_call = lambda what: states.append(store.config(SHADOW)) if what == "write done" else None
    check = write(bench)
    assert check.state is CheckState.OK
    assert "was off after" in check.why
    assert [exposures.exposure(one, policy().polarity).is_off for one in states] == [True, False]
    assert store.config(SM) == real
    assert store.config(SHADOW) == replace(shadow, enabled=True)


@pytest.mark.parametrize(
    "shadow", [DARK, replace(DARK, enabled=True, rollouts=(Rollout(value=True, percentage=40.0),))]
)
@pytest.mark.parametrize("revisions", [True, False])
def test_it_works_on_any_shadow_flag_with_and_without_revisions(
    bench: Bench, shadow: FlagConfig, revisions: bool
) -> None:
    bench.world.store = MemoryFlagStore(bench.world.clock, {SM: ALL, SHADOW: shadow}, revisions=revisions)
    assert write(bench).state is CheckState.OK
    assert bench.world.store.config(SHADOW) == shadow
    assert bench.world.store.writes == 2


def test_a_variant_shadow_flag_is_left_as_it_was(bench: Bench) -> None:
    shadow = FlagConfig(SHADOW.flag_key, FlagType.VARIANT, True, variants=("on",), default_variant="on")
    bench.world.store = MemoryFlagStore(bench.world.clock, {SM: ALL, SHADOW: shadow})
    assert write(bench).state is CheckState.OK
    assert bench.world.store.config(SHADOW) == shadow


def test_a_missing_shadow_flag_says_what_to_create_and_where(bench: Bench) -> None:
    bench.world.store.remove(SHADOW)
    check = write(bench)
    assert check.state is CheckState.FAILED
    assert "default/mhv/sm-shadow does not exist: create it" in check.why
    assert bench.world.store.writes == 0


def test_without_a_shadow_flag_nothing_is_known_and_nothing_is_touched(bench: Bench) -> None:
    check = check_write(bench.world.session(), policy(shadow_flag=None), needed=True)
    assert check.state is CheckState.NOT_CONFIGURED
    assert check.counts_against
    assert bench.world.store.reads == bench.world.store.writes == 0


def test_a_token_that_may_read_and_not_write_is_found(bench: Bench) -> None:
    bench.world.store.always("write", REFUSED)
    check = write(bench)
    assert check.state is CheckState.FAILED
    assert "may not write" in check.why
    assert bench.world.store.config(SHADOW) == DARK


def test_no_answer_is_for_the_caller_to_judge_and_nothing_is_left(bench: Bench) -> None:
    bench.world.store.always("write", UNREACHABLE)
    with pytest.raises(StoreUnreachable):
        write(bench)
    assert bench.world.store.config(SHADOW) == DARK


def test_somebody_who_writes_in_between_is_no_failure(bench: Bench) -> None:
    bench.world.store.next("write", CONFLICT)
    assert write(bench).state is CheckState.OK


@pytest.mark.parametrize("lost", [LOST_AFTER, LOST_BEFORE])
def test_a_write_whose_fate_is_unknown_has_failed_and_is_cleaned_up(bench: Bench, lost: Mishap) -> None:
    bench.world.store.next("write", lost)
    check = write(bench)
    assert check.state is CheckState.FAILED
    assert bench.world.store.config(SHADOW) == DARK


def test_taking_it_out_is_tried_again_when_the_answer_is_lost(bench: Bench) -> None:
    bench.world.store.next("write", Mishap(), LOST_BEFORE, UNREACHABLE)
    assert write(bench).state is CheckState.OK
    assert bench.world.store.config(SHADOW) == DARK


def test_what_could_not_be_taken_out_is_said_and_the_next_check_takes_it_out(bench: Bench) -> None:
    lost = Mishap(error=Unsettled("lost"))
    bench.world.store.next("write", Mishap(), lost, lost, lost)
    check = write(bench)
    assert check.state is CheckState.FAILED
    assert "not taken back" in check.why
    assert bench.world.store.config(SHADOW) != DARK
    bench.world.clock.sleep(600)
    assert write(bench).state is CheckState.OK
    assert bench.world.store.config(SHADOW) == DARK


def test_the_kill_of_another_machines_check_is_left_to_it(bench: Bench) -> None:
    theirs = Marker(f"{FEATURE}-write-check", "kill-1-other", "them", f"{NOON:%Y-%m-%dT%H:%M:%SZ}")
    bench.world.store.edit(SHADOW, lambda config: exposures.kill(config, policy().polarity, theirs))
    before = bench.world.store.config(SHADOW)
    assert write(bench).state is CheckState.OK
    assert bench.world.store.config(SHADOW) == before


def test_the_write_check_never_asks_for_the_real_flag(bench: Bench) -> None:
    bench.world.store.remove(SM)
    assert write(bench).state is CheckState.OK


# -- monitors ----------------------------------------------------------------------------------------------------------


def monitors(lookup: Lookup, *ids: str, has_heartbeat: bool = False) -> Check:
    return check_monitors("datadog", ids or ("17",), lookup, NOON, has_heartbeat=has_heartbeat)


def test_a_monitor_that_exists_and_tells_us_is_well(bench: Bench) -> None:
    assert monitors(bench.lookup()).state is CheckState.OK


def test_a_monitor_in_alert_is_well_too(bench: Bench) -> None:
    bench.monitors.fire("17", NOON)
    assert monitors(bench.lookup()).state is CheckState.OK


def test_a_monitor_that_is_gone_muted_or_tells_somebody_else_has_failed(bench: Bench) -> None:
    assert "18 does not exist" in monitors(bench.lookup(), "17", "18").why
    bench.monitors.told = ("@slack-somewhere",)
    assert f"17 does not notify {OURS}" in monitors(bench.lookup()).why
    bench.monitors.told = (f"{OURS}-staging",)
    assert monitors(bench.lookup()).state is CheckState.FAILED
    bench.monitors.mute("17")
    assert "17 is muted" in monitors(bench.lookup()).why


def test_a_monitor_without_data_is_unknown_never_well() -> None:
    class Silent(Monitors):
        def monitors(self, ids: Sequence[str], now: datetime) -> list[MonitorState]:
            return [replace(one, state="unknown", why="no data") for one in super().monitors(ids, now)]

    check = monitors(Lookup(Silent("17"), OURS, lists_recipients=True))
    assert (check.state, check.counts_against) == (CheckState.UNKNOWN, True)
    assert check.why == "17: no data"


def test_without_a_poll_it_is_unknown_and_a_heartbeat_makes_up_for_it() -> None:
    check = monitors(Lookup())
    assert (check.state, check.counts_against) == (CheckState.UNKNOWN, True)
    assert not monitors(Lookup(), has_heartbeat=True).counts_against


def test_a_source_whose_deliveries_are_turned_away_has_failed() -> None:
    check = monitors(Lookup(closed="S not set"), has_heartbeat=True)
    assert check.state is CheckState.FAILED
    assert "S not set" in check.why


def test_a_source_that_is_only_asked_need_not_notify_us(bench: Bench) -> None:
    bench.monitors.told = ()
    asked = replace(bench.lookup(), is_pushed=False)
    assert monitors(asked).state is CheckState.OK


def test_a_recipient_that_is_not_configured_is_said(bench: Bench) -> None:
    check = monitors(replace(bench.lookup(), recipient=""))
    assert check.state is CheckState.OK
    assert "no recipient" in check.why


def test_what_alertmanager_does_not_show_may_exist() -> None:
    check = monitors(Lookup(Monitors(), knows_all=False))
    assert check.state is CheckState.UNKNOWN


def test_more_monitors_than_a_poller_describes_at_once_are_all_asked_for(bench: Bench) -> None:
    ids = [str(number) for number in range(120)]
    bench.monitors = Monitors(*ids[:-1])
    check = monitors(bench.lookup(), *ids)
    assert check.why == "119 does not exist"


def test_lookups_follow_the_policy() -> None:
    given = {
        "sources": {
            "datadog": {"kind": "datadog", "authentication": "bearer", "secrets": ["S"], "recipient": OURS},
            "pagerduty": {"kind": "pagerduty", "authentication": "bearer", "secrets": ["P"]},
        },
        "polls": {
            "datadog": {
                "kind": "datadog",
                "url": "https://api.example.gov",
                "credentials": {"api_key": "A", "application_key": "B"},
            },
            "alerts": {"kind": "alertmanager", "url": "https://alerts.example.gov"},
        },
    }
    poller = Monitors("17")
    found = lookups(AutomationPolicy.model_validate(given), {"datadog": poller}, {"pagerduty": "P not set"})
    assert found["datadog"] == Lookup(poller, OURS, lists_recipients=True)
    assert found["pagerduty"] == Lookup(closed="P not set")
    assert found["alerts"] == Lookup(is_pushed=False, knows_all=False)
