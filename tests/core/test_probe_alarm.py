"""Our own probes: soon an alarm, seldom a false one, and an end only on evidence."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.core.alerts import Alert, Edge, ReadingKind
from rollback.core.detector import SECONDS_PER_YEAR, HealthDetector
from rollback.core.probe_alarm import ProbeAlarm, ProbeRule, RecoveryTest, reading_of

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RULE = ProbeRule(p0=0.02, interval=timedelta(seconds=5), false_alarms_per_year=1.0)


def watch(*metrics: str, rule: ProbeRule = RULE, open_cycles: Sequence[str] = ()) -> ProbeAlarm:
    return ProbeAlarm.start("sm", metrics or ("folders",), rule, open_cycles=open_cycles)


def fed(alarm: ProbeAlarm, *harms: float | None, begin: int = 0) -> tuple[ProbeAlarm, list[Alert]]:
    """The watch after one sample of every metric in each round, and all edges."""
    told: list[Alert] = []
    for number, harm in enumerate(harms):
        at = NOON + timedelta(seconds=5 * (begin + number))
        alarm, edges = alarm.observe(dict.fromkeys(alarm.detectors, harm), at)
        told += edges
    return alarm, told


def rounds_until_alarm(alarm: ProbeAlarm, rate: float, source: random.Random, most: int = 2000) -> int:
    for number in range(1, most + 1):
        alarm, told = fed(alarm, float(source.random() < rate))
        if told:
            return number
    return most


# -- the alarm ---------------------------------------------------------------------------------------------------


def test_a_feature_that_fails_completely_raises_the_alarm_within_twenty_samples(
    record_property: Callable[[str, object], None],
) -> None:
    for metrics in (("folders",), ("folders", "threads", "recipients")):
        for good in (0, 5000):
            calm, nothing = fed(watch(*metrics), *[0.0] * good)
            assert nothing == []
            needed = rounds_until_alarm(calm, 1.0, random.Random(1))
            print(f"{len(metrics)} metrics, {good} good rounds before: {needed} failed rounds")
            record_property("rounds", needed)
            assert needed <= 20


def test_a_feature_that_fails_in_every_fifth_request_is_found_within_minutes() -> None:
    source = random.Random(2)
    found = [rounds_until_alarm(watch(), 0.2, source) for _ in range(40)]
    print(f"20 % harm: median {statistics.median(found)} samples")
    assert statistics.median(found) * 5 <= 600


def test_one_failed_probe_is_no_alarm() -> None:
    assert fed(watch(), 1.0)[1] == []


def test_the_alarm_is_one_alert_of_the_source_probes() -> None:
    alarm, told = fed(watch(), *[1.0] * 30)
    assert [one.edge for one in told] == [Edge.FIRED], "an alarm that lasts is told once"
    (fired,) = told
    assert (fired.source, fired.monitor) == ("probes", "sm")
    assert fired.tags == ("metric:folders",)
    assert fired.occurred_at is not None
    assert fired.cycle == f"sm@{fired.occurred_at:%Y-%m-%dT%H:%M:%S}.000Z"
    assert "folders" in fired.title
    assert alarm.cycles == (fired.cycle,)


def test_only_the_harmful_metrics_are_named() -> None:
    alarm = watch("folders", "threads")
    told: tuple[Alert, ...] = ()
    while not told:
        alarm, told = alarm.observe({"folders": 0.0, "threads": 1.0}, NOON)
    assert told[0].tags == ("metric:threads",)
    assert "folders" not in told[0].title


def test_missing_rounds_and_unknown_metrics_change_nothing() -> None:
    before, _ = fed(watch(), 1.0, 0.0)
    for harms in ({}, {"folders": None}, {"elsewhere": 1.0}):
        assert before.observe(harms, NOON) == (before, ())
    alarmed, _ = fed(watch(), *[1.0] * 20)
    assert alarmed.observe({"folders": None}, NOON) == (alarmed, ())


def test_a_missing_metric_beside_one_with_data_is_neither_harm_nor_health() -> None:
    alarm, _ = watch("folders", "threads").observe({"folders": 0.0, "threads": None}, NOON)
    assert (alarm.detectors["folders"].samples, alarm.detectors["threads"].samples) == (1, 0)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_harm_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        watch().observe({"folders": wrong}, NOON)


def test_there_is_nothing_to_watch_without_metrics() -> None:
    with pytest.raises(ValueError, match="nothing to probe"):
        ProbeAlarm.start("sm", (), RULE)


@pytest.mark.parametrize(
    "fields",
    [
        {"p0": 0.0},
        {"interval": timedelta(0)},
        {"interval": timedelta(seconds=-5)},
        {"false_alarms_per_year": 0.0},
        {"false_alarms_per_year": math.inf},
        {"recovery_alpha": 0.0},
        {"recovery_alpha": 1.0},
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    settings: dict[str, object] = {"p0": 0.02, "interval": timedelta(seconds=5), **fields}
    with pytest.raises(ValueError, match=r"."):
        ProbeRule(**settings)  # type: ignore[arg-type]


def test_several_metrics_share_the_false_alarms() -> None:
    assert RULE.beta(4) == pytest.approx(RULE.beta(1) / 4)
    assert RULE.beta(1) == pytest.approx(5 / SECONDS_PER_YEAR)


def false_alarms(rule: ProbeRule, years: float, rate: float, source: random.Random) -> int:
    """How often the detector of one metric alarms in so many simulated years, at so many errors.

    A run of clean samples is one batch here, which is exact: after it every bet is lifted to 1 or is above it, in the
    batch as sample by sample.
    """
    detector, left, alarms = (
        HealthDetector.start(rule.p0),
        int(years * SECONDS_PER_YEAR / rule.interval.total_seconds()),
        0,
    )
    while left > 0:
        clean = int(math.log(1 - source.random()) / math.log(1 - rate))
        left -= clean + 1
        detector = detector.observe_counts(0, clean).observe(1)
        if detector.alarm(rule.beta(1)):
            alarms, detector = alarms + 1, HealthDetector.start(rule.p0)
    return alarms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interval", "per_year", "years"),
    [(timedelta(seconds=5), 1.0, 1.0), (timedelta(minutes=1), 1.0, 5.0), (timedelta(minutes=10), 365.0, 20.0)],
    ids=["as shipped", "each minute", "the most that a policy may allow"],
)
def test_a_healthy_feature_raises_fewer_false_alarms_a_year_than_the_policy_allows(
    interval: timedelta, per_year: float, years: float, record_property: Callable[[str, object], None]
) -> None:
    rule = ProbeRule(p0=0.02, interval=interval, false_alarms_per_year=per_year)
    found = false_alarms(rule, years, 0.005, random.Random(3))
    print(f"{found / years:g} false alarms a year at 0.5 % errors, allowed {per_year:g}")
    record_property("false alarms a year", found / years)
    assert found / years <= per_year


def test_a_batch_of_clean_samples_is_exact_for_the_detector() -> None:
    """What the simulation above relies on."""
    source, singly, batched = random.Random(6), HealthDetector.start(0.02), HealthDetector.start(0.02)
    for _ in range(200):
        clean = source.randrange(1, 60)
        for _ in range(clean):
            singly = singly.observe(0)
        singly, batched = singly.observe(1), batched.observe_counts(0, clean).observe(1)
        assert batched.log_m == pytest.approx(singly.log_m)


# -- the end -----------------------------------------------------------------------------------------------------


def clean_until_recovered(alarm: ProbeAlarm, most: int = 5000) -> int:
    for number in range(1, most + 1):
        alarm, told = fed(alarm, 0.0)
        if told:
            assert [one.edge for one in told] == [Edge.RECOVERED]
            return number
    return most


def test_it_recovers_on_as_many_clean_samples_as_the_gate_asks_for() -> None:
    alarm, _ = fed(watch(), *[1.0] * 20)
    needed = clean_until_recovered(alarm)
    print(f"recovered after {needed} clean samples")
    assert 315 <= needed <= 400, "315 clean samples pass alpha = 1 %; the first of its part of alpha is half of it"


def test_a_long_outage_does_not_put_recovery_off() -> None:
    short, _ = fed(watch(), *[1.0] * 20)
    long, _ = fed(watch(), *[1.0] * 5000)
    assert clean_until_recovered(long) == clean_until_recovered(short)


def test_recovery_ends_the_cycle_that_fired_and_the_next_alarm_is_another() -> None:
    alarm, (fired,) = fed(watch(), *[1.0] * 20)
    alarm, (over,) = fed(alarm, *[0.0] * 400, begin=100)
    assert over.cycle == fired.cycle
    assert over.occurred_at is not None
    assert fired.occurred_at is not None
    assert over.occurred_at > fired.occurred_at
    assert alarm.cycles == ()
    _, (again,) = fed(alarm, *[1.0] * 20, begin=600)
    assert again.cycle != fired.cycle


def test_all_metrics_have_to_recover() -> None:
    alarm = watch("folders", "threads")
    for _ in range(20):
        alarm, _ = alarm.observe({"folders": 1.0, "threads": 1.0}, NOON)
    for _ in range(1000):
        alarm, told = alarm.observe({"folders": 0.0, "threads": None}, NOON)
        assert told == (), "a metric without data is not healthy"


def test_alarms_of_an_earlier_process_are_ended_too() -> None:
    alarm = watch(open_cycles=("sm@1", "sm@2"))
    assert fed(alarm, *[1.0] * 30)[1] == [], "they are told already"
    _, told = fed(alarm, *[0.0] * 400)
    assert [(one.cycle, one.edge) for one in told] == [("sm@1", Edge.RECOVERED), ("sm@2", Edge.RECOVERED)]


@pytest.mark.slow
def test_what_stays_broken_is_seldom_called_recovered() -> None:
    """At exactly p0, the hardest case, for 2000 samples: at most alpha, here 10 %, in 100 runs."""
    source, recovered = random.Random(5), 0
    for _ in range(100):
        test = RecoveryTest(0.02)
        for _ in range(2000):
            test = test.observe(float(source.random() < 0.02))
            if test.passes(0.1):
                recovered += 1
                break
    print(f"called recovered in {recovered} of 100 runs")
    assert recovered <= 10 + 3 * math.sqrt(100 * 0.1 * 0.9)


def test_a_test_that_lost_ends_and_the_next_may_spend_less() -> None:
    test = RecoveryTest(0.02)
    assert not test.passes(0.5)
    assert test.observe(1.0) == test, "it begins after a clean sample"
    test = test.observe(0.0)
    assert (test.started, test.running is not None) == (1, True)
    test = test.observe(1.0)
    assert (test.started, test.running) == (1, None)
    for _ in range(315):
        test = test.observe(0.0)
    assert test.started == 2
    assert not test.passes(0.01)


samples = st.lists(st.sampled_from([0.0, 1.0, None, 0.5]), max_size=60)


@settings(max_examples=25)
@given(samples)
def test_edges_alternate_whatever_is_measured(harms: list[float | None]) -> None:
    _, told = fed(watch(), *harms, *[1.0] * 25, *[0.0] * 1200)
    assert [one.edge for one in told] == [Edge.FIRED, Edge.RECOVERED]


def test_an_edge_is_one_delivery() -> None:
    _, (fired,) = fed(watch(), *[1.0] * 20)
    reading = reading_of(fired)
    assert (reading.kind, reading.alerts) == (ReadingKind.ALERTS, (fired,))
    assert reading.key == f"{fired.cycle}:fired"
