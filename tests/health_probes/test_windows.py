"""Each window counts once, when it is complete, and only time decides which ones are read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollback.adapters.health_probes.windows import REVISED, NoAnswer, WindowedHealthProbe
from rollback.core.metric_verdict import Counts, Rule
from rollback.core.metric_window import PATIENCE, Window, first_window
from rollback.ports import HealthProbe, Measurement
from tests.health_probes.metric_benches import MINUTE, ScriptedSource
from tests.health_probes.stand_ins import StillClock

RULE = Rule("web-errors", minimum_volume=20, cap=100)
DELAY = timedelta(seconds=30)


class Bench:
    def __init__(self, *, revisable: bool = True, rule: Rule = RULE, unknown: str | None = None) -> None:
        self.clock = StillClock()
        self.source = ScriptedSource(revisable=revisable)
        self.probe = WindowedHealthProbe(
            self.source, rule, length=MINUTE, delay=DELAY, clock=self.clock, unknown=unknown
        )
        self.first = first_window(self.clock.now(), MINUTE)

    def at(self, seconds: float) -> list[Measurement]:
        """A round so many seconds after the probe was made."""
        self.clock.passed = seconds
        return self.probe.measure()

    def told(self, until: int, *, every: int = 1) -> list[Measurement]:
        return [one for second in range(0, until, every) for one in self.at(second) if not one.waiting]


def bounds(found: list[Measurement]) -> list[tuple[object, object]]:
    return [(one.begins, one.ends) for one in found]


def test_it_is_a_health_probe() -> None:
    probe: HealthProbe = Bench().probe
    assert probe.metrics == ("web-errors",)


def test_the_first_round_is_a_sign_of_life_and_about_the_time_before() -> None:
    bench = Bench()
    (found,) = bench.at(0)
    assert (found.harm, found.bad, found.total) == (0.0, 0, 50)
    assert found.ends is not None
    assert found.ends <= bench.clock.now()
    assert not found.waiting


def test_every_window_is_measured_once_in_order_and_without_overlap() -> None:
    bench = Bench()
    found = bench.told(600)[1:]
    window, expected = bench.first, []
    for _ in found:
        expected.append((window.begins, window.ends))
        window = window.after
    assert bounds(found) == expected
    assert len(found) == 8  # of ten minutes: half a minute's delay, and the last window is read once only


def test_nothing_is_asked_before_a_window_has_had_its_delay() -> None:
    bench = Bench()
    bench.at(0)
    bench.at(89)
    assert len(bench.source.asked) == 1
    assert all(one.waiting and one.harm is None for one in bench.at(89.9))
    bench.at(90)
    assert bench.source.asked[-1] == (bench.first,)


def test_a_window_counts_only_when_it_reads_the_same_a_window_later() -> None:
    bench = Bench()
    bench.at(0)
    assert bench.at(90)[0].waiting
    (found,) = bench.at(150)
    assert bench.source.asked[-1] == (bench.first, bench.first.after)
    assert (found.begins, found.total) == (bench.first.begins, 50)


@pytest.mark.parametrize("later", [{"": Counts(1, 50)}, {"": Counts(0, 51)}, {}, {"web": Counts(0, 50)}])
def test_a_revised_window_is_missing_also_when_the_revision_looks_good(later: dict[str, Counts]) -> None:
    bench = Bench()
    bench.at(0)
    bench.at(90)
    bench.source.windows[bench.first] = later
    (found,) = bench.at(150)
    assert (found.harm, found.total, found.detail) == (None, None, REVISED)
    (after,) = bench.at(210)
    assert (after.begins, after.total) == (bench.first.ends, 50)


def test_what_is_a_state_and_cannot_be_revised_counts_at_once() -> None:
    bench = Bench(revisable=False)
    bench.at(0)
    (found,) = bench.at(90)
    assert (found.begins, found.total) == (bench.first.begins, 50)


def test_a_source_that_does_not_answer_is_missing_and_asked_again_soon() -> None:
    bench = Bench()
    bench.at(0)
    bench.source.failure = NoAnswer("Datadog asks us to wait")
    (found,) = bench.at(90)
    assert (found.harm, found.detail, found.waiting) == (None, "Datadog asks us to wait", False)
    assert bench.at(91)[0].waiting
    assert len(bench.source.asked) == 2
    bench.source.failure = None
    bench.at(105)
    (found,) = bench.at(150)
    assert (found.begins, found.total) == (bench.first.begins, 50)


def test_a_window_that_nobody_could_read_in_time_is_missing_and_the_newest_one_is_next() -> None:
    bench = Bench()
    bench.at(0)
    bench.source.failure = NoAnswer("nothing")
    bench.at(90)
    (found,) = bench.at(90 + 60 * PATIENCE)
    assert (found.begins, found.harm) == (bench.first.begins, None)
    bench.source.failure = None
    asked = bench.at(91 + 60 * PATIENCE)
    assert asked[0].waiting
    assert bench.source.asked[-1][-1].begins > bench.first.ends


def test_after_a_long_sleep_old_windows_are_not_made_up_for() -> None:
    bench = Bench()
    bench.at(0)
    assert bench.at(7200)[0].harm is None
    later = bench.told(7500, every=60)
    assert sum(one.total or 0 for one in later) <= 50 * 5


def test_a_fault_of_ours_is_missing_and_its_text_is_not_told() -> None:
    bench = Bench()
    bench.source.failure = RuntimeError("secret-0001")
    (found,) = bench.at(0)
    assert found.harm is None
    assert "secret-0001" not in found.detail


def test_a_source_that_leaves_a_window_out_gives_no_data() -> None:
    bench = Bench()
    bench.source.usual = {}
    assert {one.harm for one in bench.told(600)} == {None}


def test_what_is_unknown_is_never_asked_and_always_missing() -> None:
    bench = Bench(unknown="DATADOG_API_KEY is not set")
    for second in (0, 90, 150):
        (found,) = bench.at(second)
        assert (found.harm, found.waiting) == (None, False)
        assert "DATADOG_API_KEY is not set" in found.detail
    assert bench.source.asked == []
    assert bench.probe.unknown == {"web-errors": "DATADOG_API_KEY is not set"}


def test_after_closing_everything_is_missing() -> None:
    bench = Bench()
    bench.at(0)
    bench.probe.close()
    bench.probe.close()
    assert bench.source.closed
    assert [(one.harm, one.waiting) for one in bench.at(150)] == [(None, False)]
    assert len(bench.source.asked) == 1


def test_parts_that_were_seen_are_missed_when_they_are_gone() -> None:
    bench = Bench(rule=Rule("web-errors", 20, 100, tag="app", own=5))
    bench.source.usual = {"web": Counts(0, 50), "mobile": Counts(0, 50)}
    bench.at(0)
    assert bench.probe.metrics == ("web-errors", "web-errors[app:mobile]", "web-errors[app:web]")
    bench.source.usual = {"web": Counts(0, 50)}
    bench.at(90)
    found = {one.metric: one.total for one in bench.at(150)}
    assert found == {"web-errors": 50, "web-errors[app:mobile]": None, "web-errors[app:web]": 50}


def test_two_processes_one_after_the_other_share_no_window_that_counts() -> None:
    bench = Bench()
    read = {one.begins for one in bench.told(300)[1:]}
    second = WindowedHealthProbe(bench.source, RULE, length=MINUTE, delay=DELAY, clock=bench.clock)
    began, again = bench.clock.now(), set()
    for at in range(300, 700):
        bench.clock.passed = at
        again |= {one.begins for one in second.measure() if one.total and one.begins and one.begins >= began}
    assert read
    assert again
    assert not read & again


def test_windows_begin_after_the_probe_was_made() -> None:
    bench = Bench()
    bench.clock.passed = 20
    probe = WindowedHealthProbe(bench.source, RULE, length=MINUTE, delay=DELAY, clock=bench.clock)
    made = bench.clock.now()
    found = []
    for second in range(20, 400):
        bench.clock.passed = second
        found += [one for one in probe.measure() if not one.waiting]
    assert all(one.begins is not None and one.begins >= made for one in found[1:])
    assert Window(found[1].begins, found[1].ends) == first_window(made, MINUTE)  # type: ignore[arg-type]
