"""What an evidence book makes of windows: counted once, also across restarts; silence at the end is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollback.core.evidence import Verdict
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.policy import Monitoring
from rollback.evidence_book import Alarms, EvidenceBook, Stage
from rollback.gate_measure import measure_once
from rollback.ports import Measurement
from tests.health_probes.stand_ins import StillClock

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
STAGE = Stage(1, 3, 1, "abc1234", "basis")


def window(minute: int, bad: int | None = 0, total: int = 100, name: str = "errors") -> Measurement:
    begins = START + timedelta(minutes=minute)
    ends = begins + timedelta(minutes=1)
    at = ends + timedelta(minutes=2)
    if bad is None:
        return Measurement(name, at, None, "no data", begins=begins, ends=ends)
    return Measurement(name, at, bad / total, "counted", bad=bad, total=total, begins=begins, ends=ends)


def waiting(at: datetime = START, name: str = "errors") -> Measurement:
    return Measurement(name, at, None, "no new window yet", waiting=True)


class Bench:
    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.kept: list[Mapping[str, Any]] = []
        self.book = EvidenceBook(STAGE, 0.02, 0.01, 0.01, lambda _name, data: self.kept.append(data))
        self.book.expect(["errors"])
        self.book.resume(entries or [], "sm-1")

    def samples(self, name: str = "errors") -> tuple[int, float, int]:
        one = self.book.metrics[name]
        return one.health.samples, one.health.harm, one.missing

    def entries(self) -> list[Entry]:
        self.book.flush(START + timedelta(hours=1), always=True)
        return [_entry(number, data) for number, data in enumerate(self.kept)]


def _entry(number: int, data: Mapping[str, Any]) -> Entry:
    return Entry(f"e{number}", START, "sm", EntryKind.FACT, "evidence", Actor("test"), incident="sm-1", data=dict(data))


def test_the_samples_of_a_window_are_counted_and_not_one() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    bench.book.observe([window(0, 3)])
    assert bench.samples() == (100, 3, 0)


def test_a_window_is_counted_once_however_often_it_is_given() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    for _ in range(3):
        bench.book.observe([window(0)])
    bench.book.observe([window(1)])
    assert bench.samples() == (200, 0, 0)


def test_a_window_that_overlaps_a_counted_one_is_not_counted() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    bench.book.observe([window(1)])
    bench.book.observe([window(0)])
    assert bench.samples() == (100, 0, 0)


def test_a_window_that_began_before_the_stage_says_nothing_about_it() -> None:
    bench = Bench()
    bench.book.observe([waiting(START + timedelta(seconds=61))])
    bench.book.observe([window(0)])
    bench.book.observe([window(1)])
    assert bench.samples() == (0, 0, 0)
    bench.book.observe([window(2)])
    assert bench.samples() == (100, 0, 0)


def test_waiting_is_neither_a_sample_nor_missing() -> None:
    bench = Bench()
    for _ in range(100):
        bench.book.observe([waiting()])
    assert bench.samples() == (0, 0, 0)
    assert bench.book.judge(soaked=True, expired=False).verdict is Verdict.NO_DATA


def test_a_restarted_job_does_not_count_a_window_twice() -> None:
    first = Bench()
    first.book.observe([waiting()])
    first.book.observe([window(0)])
    second = Bench(first.entries())
    assert second.samples() == (100, 0, 0)
    second.book.observe([waiting(START)])  # a clock that was set back: the book knows all the same
    second.book.observe([window(0)])
    assert second.samples() == (100, 0, 0)
    second.book.observe([window(1)])
    assert second.samples() == (200, 0, 0)


def test_what_an_older_version_kept_is_still_taken_up() -> None:
    data = {**STAGE.key(), "metrics": {"folders": {"total": 10, "bad": 1, "missing": 0}}, "from": "", "to": ""}
    bench = Bench([_entry(1, data)])
    assert bench.samples("folders") == (10, 1, 0)


def test_a_metric_that_passed_before_the_restart_has_to_be_heard_again() -> None:
    first = Bench()
    first.book.observe([waiting()])
    for minute in range(6):
        first.book.observe([window(minute)])
    assert first.book.judge(soaked=True, expired=False).verdict is Verdict.HEALTHY
    second = Bench(first.entries())
    found = second.book.judge(soaked=True, expired=False)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not seen in this run" in found.reasons[0]
    second.book.observe([waiting()])
    second.book.observe([window(6)])
    assert second.book.judge(soaked=True, expired=False).verdict is Verdict.HEALTHY


def test_a_metric_that_has_gone_silent_is_not_healthy_however_much_it_said_before() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    for minute in range(6):
        bench.book.observe([window(minute)])
    bench.book.observe([window(6, None)])
    found = bench.book.judge(soaked=True, expired=False)
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, False)
    assert bench.samples() == (600, 0, 1)
    bench.book.observe([waiting()])
    assert bench.book.judge(soaked=True, expired=False).verdict is Verdict.INCONCLUSIVE


def test_a_source_that_stops_answering_after_its_windows_is_silent_too() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    for minute in range(6):
        bench.book.observe([window(minute)])
    bench.book.observe([Measurement("errors", START, None, "status 403")])
    assert bench.book.judge(soaked=True, expired=False).verdict is Verdict.INCONCLUSIVE


def test_silence_never_hides_harm() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    for minute in range(3):
        bench.book.observe([window(minute, 50)])
    bench.book.observe([window(3, None)])
    assert bench.book.judge(soaked=False, expired=False).verdict is Verdict.UNHEALTHY


def test_a_part_that_appears_later_has_to_pass_as_well() -> None:
    bench = Bench()
    bench.book.observe([waiting()])
    for minute in range(6):
        bench.book.observe([window(minute), window(minute, 0, 10, "errors[app:mobile]")])
    assert bench.book.judge(soaked=True, expired=False).verdict is Verdict.INCONCLUSIVE


# -- the watch after the return ----------------------------------------------------------------------------------------


def alarms() -> Alarms:
    return Alarms(["errors"], 0.02, Monitoring.model_validate({"duration": "24h", "interval": "5s"}))


def test_the_watch_finds_harm_in_windows() -> None:
    watch = alarms()
    watch.observe([waiting()])
    found = [watch.observe([window(minute, 30)]) for minute in range(5)]
    assert found[-1] == ["errors"]


def test_the_watch_counts_no_window_twice_and_is_not_alarmed_by_the_usual() -> None:
    watch = alarms()
    watch.observe([waiting()])
    for minute in range(500):
        for _ in range(3):
            assert watch.observe([window(minute, 1)]) == []


def test_the_watch_takes_on_a_part_that_appears_later() -> None:
    watch = alarms()
    watch.observe([waiting()])
    found: list[str] = []
    for minute in range(8):
        found = watch.observe([window(minute, 0), window(minute, 40, name="errors[app:mobile]")])
    assert found == ["errors[app:mobile]"]


# -- the look when a case opens ----------------------------------------------------------------------------------------


class Once:
    metrics = ("errors",)

    def __init__(self, one: Measurement) -> None:
        self._one = one

    def measure(self) -> list[Measurement]:
        return [self._one]

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("bad", "p0", "seen"),
    [(1, 0.02, True), (2, 0.02, False), (60, 0.02, False), (None, 0.02, None), (60, None, None), (0, None, None)],
)
def test_a_gate_on_users_requests_is_blind_unless_more_fail_than_allowed(
    bad: int | None, p0: float | None, seen: bool | None
) -> None:
    assert measure_once(Once(window(0, bad)), StillClock(), within_seconds=1, samples=2, p0=p0) is seen
