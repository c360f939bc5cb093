"""The simulated gate and watch say what the program says, at the same sample of the same stream."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from rollback.core.detector import HealthDetector
from rollback.core.evidence import Evidence, Verdict, step_alpha
from rollback.core.severity_policy import Gate
from rollback.evidence_book import Alarms, EvidenceBook, Stage
from rollback.policy_files import load_severity
from rollback.ports import Measurement
from tests.figures.climb import chance_to_pass, climb, one_gate, rules
from tests.figures.gate import Bools, Counts, Ending, Rule, rule_for, run_samples, run_streaks
from tests.figures.intervals import clopper_pearson
from tests.figures.monitor import Detector, delays, false_alarms, first_alarm
from tests.figures.numbers import ROOT, GateLimits, Numbers, numbers_of, shipped
from tests.figures.services import Bursts, by_the_clock, constant, drifting, two_moods

AT = datetime(2026, 1, 5, tzinfo=UTC)
P0, ALPHA, HARM_ALPHA = 0.1, 0.02, 0.05
SHORT = GateLimits(first=61, last=400)


def book(steps: int = 3, attempt: int = 2) -> EvidenceBook:
    """The program's own evidence of one stage, which nobody writes down."""
    gate = Gate(
        p0=P0, alpha=ALPHA, harm_alpha=HARM_ALPHA, minimum_soak=timedelta(seconds=60), deadline=timedelta(minutes=6)
    )
    found = EvidenceBook.for_gate(Stage(0, steps, attempt, "abc", "basis"), gate, lambda _name, _data: None)
    found.expect(["web"])
    return found


def said_by_the_program(bad: Bools, limits: GateLimits) -> tuple[Ending, int]:
    """Looks at each sample as the return does: sample n is taken n - 1 intervals after the first."""
    evidence = book()
    for place, failed in enumerate(bad[: limits.last], start=1):
        evidence.observe([Measurement("web", AT, float(failed), "")])
        judgement = evidence.judge(soaked=place >= limits.first, expired=place >= limits.last)
        if judgement.verdict is Verdict.HEALTHY:
            return Ending.PASSED, place
        if judgement.verdict is Verdict.UNHEALTHY:
            return Ending.HARMED, place
    return Ending.EXPIRED, limits.last


def short_rule() -> Rule:
    return rule_for(P0, step_alpha(ALPHA, 3, 2), HARM_ALPHA, SHORT)


def streams() -> list[Bools]:
    """Streams of all kinds: healthy, at p0, harmful, drifting, in clusters, and a first sample that fails."""
    rng = np.random.default_rng(11)
    rates = [0.0, 0.005, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.3, 1.0]
    found = [np.asarray(rng.random(SHORT.last) < rate) for rate in rates for _ in range(2)]
    began = np.zeros(3)
    clustered = two_moods("", 0.01, 0.5, 60, 10).draw(rng, began, SHORT.last, 1.0)
    rising = drifting("", lambda t: 0.02 + t / 1000).draw(rng, began, SHORT.last, 1.0)
    alone = np.zeros(SHORT.last, bool)
    alone[0] = True
    return [*found, *clustered, *rising, alone]


def test_the_simulated_gate_gives_the_programs_verdict_at_the_programs_sample() -> None:
    samples = np.array(streams())
    simulated = run_samples(short_rule(), samples)
    said = [said_by_the_program(stream, SHORT) for stream in samples]
    assert list(zip(simulated.ending.tolist(), simulated.at.tolist(), strict=True)) == said
    assert {ending for ending, _ in said} == set(Ending)


def test_the_fast_way_for_failures_in_a_row_gives_the_same_verdict_at_the_same_sample() -> None:
    rng = np.random.default_rng(12)
    rule = short_rule()
    endings = set()
    for length, begin in [(1, 0), (1, 1), (2, 0), (3, 2), (8, 5), (30, 0)]:
        for rate in (0.01, 0.05, 0.1):
            gaps = rng.geometric(rate / length, 500) - 1
            drawn: Iterator[int] = iter(gaps.tolist())
            fast = run_streaks(rule, np.array([begin]), lambda n: np.array([next(drawn) for _ in range(n)]), length)  # noqa: B023
            rows = [np.ones(begin, bool)]
            for gap in gaps:
                rows += [np.zeros(gap, bool), np.ones(length, bool)]
            samples = np.concatenate(rows)[None, : SHORT.last]
            slow = run_samples(rule, np.asarray(samples))
            assert (fast.ending[0], fast.at[0]) == (slow.ending[0], slow.at[0])
            endings.add(int(fast.ending[0]))
    assert endings == set(Ending)


def test_tables_of_a_real_gate_are_the_ones_the_program_prints() -> None:
    numbers = shipped()
    for attempt in (1, 2, 5):
        share = numbers.shares[0]
        alpha = Stage(0, numbers.steps, attempt, "abc", "basis", share).may_spend(numbers.alpha)
        needed = rules(numbers, attempt)[0].needed
        for bad in (0, 1, 7, 30):
            assert needed[bad] == Evidence.from_counts(numbers.p0, bad, bad).clean_samples_missing(alpha)


def test_the_numbers_are_those_of_the_policy_with_one_gate_before_each_raise() -> None:
    policy = load_severity(ROOT / "policies" / "critical.yaml", {}).policy
    numbers = numbers_of(policy)
    assert numbers.steps == len(policy.ladder) == len(numbers.shares)
    assert sum(numbers.shares) == pytest.approx(1)
    soaks = [policy.gate.minimum_soak, *(step.minimum_soak for step in policy.ladder[:-1])]
    assert [timedelta(seconds=(gate.first - 1) * numbers.interval) for gate in numbers.gates] == soaks


def test_simulated_and_exact_probabilities_agree() -> None:
    rule = rule_for(P0, 0.05, HARM_ALPHA, GateLimits(1, 600))
    for rate in (0.08, 0.1, 0.12):
        exact, runs = chance_to_pass(rule, rate), 20_000
        service = constant(rate).run(np.random.default_rng(13), rule, np.zeros(runs), 1.0)
        drawn = drifting("", lambda t, rate=rate: np.full_like(t, rate)).run(  # type: ignore[misc]
            np.random.default_rng(14), rule, np.zeros(runs // 4), 1.0
        )
        for found in (service, drawn):
            spread = (exact * (1 - exact) / found.ending.size) ** 0.5
            assert found.passed.mean() == pytest.approx(exact, abs=4.5 * spread)
    assert 0.01 < chance_to_pass(rule, P0) <= 0.05


def test_bursts_fail_as_often_as_they_say_and_a_clock_follows_the_time_of_day() -> None:
    rule = Rule(GateLimits(1, 4000), np.array([1 << 30]), np.array([-1]))
    seen: list[int] = []

    def gap(n: int) -> Counts:
        found = np.random.default_rng(len(seen)).geometric(0.1 / (0.1 + 5 * 0.9), n) - 1
        seen.append(int(found.sum()))
        return np.asarray(found)

    run_streaks(rule, np.zeros(200, np.int64), gap, 5)
    assert 5 * 200 * len(seen) / sum(seen) > 0.1, "nobody ends early, so each round adds five failures to a gap"
    night = by_the_clock("", 0.0, 1.0, 7200.0, 60.0).draw(np.random.default_rng(1), np.array([7190.0, 0.0]), 120, 1.0)
    assert np.flatnonzero(night[0]).tolist() == list(range(10, 70))
    assert not night[1].any()


def test_the_simulated_watch_alarms_at_the_sample_at_which_the_program_alarms() -> None:
    numbers = shipped()
    policy = load_severity(ROOT / "policies" / "critical.yaml", {}).policy
    bad = np.asarray(np.random.default_rng(15).random((4, 400)) < np.array([[0.0], [0.1], [0.3], [1.0]]))
    said = []
    for stream in bad:
        alarms = Alarms(["web"], policy.gate.p0, policy.monitoring)
        looks = (alarms.observe([Measurement("web", AT, float(failed), "")]) for failed in stream)
        said.append(next((at for at, alarmed in enumerate(looks, 1) if alarmed), -1))
    assert first_alarm(Detector.of(numbers), bad).tolist() == said
    assert said[0] == -1
    assert said[3] == 5


def test_the_steps_from_failure_to_failure_are_the_detectors_own() -> None:
    detector = Detector.at_level(P0, 1e-4)
    state, program = detector.start(1), HealthDetector.start(P0)
    for clean in (0, 0, 3, 40, 1, 0, 200, 5):
        state = detector.after(state, np.array([clean]))
        for x in [0.0] * clean + [1.0]:
            program = program.observe(x)
        assert state[0] == pytest.approx(np.array(program.log_detectors))
        assert bool(detector.alarms(state)[0]) == program.alarm(1e-4)


def test_false_alarms_are_counted_and_a_louder_harm_is_found_sooner() -> None:
    detector = Detector.at_level(0.02, 0.01)
    rng = np.random.default_rng(16)
    alarms = false_alarms(rng, detector, 0.02, watches=50, samples=20_000)
    assert 0 < alarms <= 50 * 20_000 * 0.01
    found = [np.median(delays(rng, detector, rate, 200, 5000)) for rate in (0.05, 0.2, 1.0)]
    assert found[0] > found[1] > found[2] >= 1


def test_a_return_ends_at_the_first_gate_that_does_not_pass() -> None:
    numbers = shipped()
    broken_later = climb(np.random.default_rng(17), [constant(0.0), constant(0.2)], numbers, np.zeros(50))
    assert broken_later.raises.tolist() == [1] * 50, "let in by the first gate, held by the second"
    assert not broken_later.returned.any()
    assert broken_later.gates[2].ending.size == 0
    healthy = climb(np.random.default_rng(17), [constant(0.0)], numbers, np.zeros(5))
    assert healthy.returned.all()
    assert healthy.seconds.tolist() == [sum(gate.first - 1 for gate in numbers.gates) * numbers.interval] * 5


def test_what_fails_all_the_time_is_harm_at_once_and_never_passes() -> None:
    numbers: Numbers = shipped()
    gate = one_gate(numbers, 0.01, GateLimits(1, 1000))
    found = Bursts("", 1.0).run(np.random.default_rng(18), gate, np.zeros(10), 1.0)
    assert found.ending.tolist() == [int(Ending.HARMED)] * 10
    assert clopper_pearson(int(found.passed.sum()), 10) == pytest.approx(0.3085, abs=1e-4)
