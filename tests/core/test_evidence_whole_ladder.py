"""The promise over a whole case, computed and not drawn: all steps, all fixes, whatever the fault does.

A gate's fate depends on the number of failed samples alone, so the chance of each number can be followed sample by
sample, even when the chance to fail follows the clock, the past, or the gate itself. No random number, no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollback.core.detector import HealthDetector
from rollback.core.evidence import Evidence, HarmEvidence, MetricEvidence, Verdict, judge, step_alpha
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.severity_policy import SeverityPolicy
from rollback.evidence_book import EvidenceBook, Stage
from rollback.policy_files import load_severity
from rollback.ports import Measurement

POLICIES = Path(__file__).resolve().parents[2] / "policies"
P0 = 0.02
ALPHA = 0.01
HORIZON = 3000
FIXES = 5

Rate = Callable[[int, int], float]
"""The chance that a sample fails, from its place and the number of failed ones before it."""


@cache
def clean_needed(bad: int, alpha: float, p0: float = P0) -> int:
    """How many clean samples make `bad` failed ones pass."""
    return Evidence.from_counts(p0, bad, bad).clean_samples_missing(alpha)


def chance_to_pass(rate: Rate, alpha: float, *, first: int = 1, samples: int = HORIZON, p0: float = P0) -> float:
    """The exact probability that one gate, looked at after each sample from `first` on, ever passes."""
    chances, passed = {0: 1.0}, 0.0
    for place in range(1, samples + 1):
        moved: dict[int, float] = {}
        for bad, chance in chances.items():
            fails = rate(place - 1, bad)
            moved[bad] = moved.get(bad, 0.0) + chance * (1 - fails)
            moved[bad + 1] = moved.get(bad + 1, 0.0) + chance * fails
        for bad in [one for one, chance in moved.items() if chance < 1e-15]:
            passed += moved.pop(bad)  # too rare to follow: counted as if it passed
        if place >= first:
            for bad in [bad for bad in moved if place - bad >= clean_needed(bad, alpha, p0)]:
                passed += moved.pop(bad)
        chances = moved
    return passed


def at_p0(_place: int, _bad: int) -> float:
    return P0


@cache
def worst(alpha: float, samples: int = HORIZON) -> float:
    """What the hardest fault reaches at one gate: p0 at each sample, no soak."""
    return chance_to_pass(at_p0, alpha, samples=samples)


@cache
def policy(name: str) -> SeverityPolicy:
    return load_severity(POLICIES / f"{name}.yaml", {}).policy


def test_the_exact_chance_is_that_of_a_gate_that_is_followed_through_every_stream() -> None:
    """Every stream of ten samples, each with its own chance, against a fault that gets louder once something failed."""
    p0, alpha = 0.4, 0.45
    expected, passing = 0.0, set()

    def rate(_place: int, bad: int) -> float:
        return 0.5 if bad else 0.3

    for stream in product((0, 1), repeat=10):
        evidence, chance = Evidence.start(p0), 1.0
        passed = False
        for x in stream:
            fails = rate(evidence.samples, evidence.bad)
            chance *= fails if x else 1 - fails
            evidence = evidence.observe(x)
            passed |= evidence.passes(alpha)
        expected += chance * passed
        passing |= {sum(stream)} if passed else set()
    assert len(passing) > 2, "streams with several failures pass as well"
    assert chance_to_pass(rate, alpha, samples=10, p0=p0) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_all_steps_of_all_fixes_together_let_a_broken_feature_in_with_alpha_at_most(steps: int) -> None:
    """The hardest case: each step of each fix is a chance of its own, none ends the case."""
    total = sum(steps * worst(step_alpha(ALPHA, steps, attempt)) for attempt in range(1, FIXES + 1))
    rest = ALPHA / (FIXES + 1)  # what all later fixes may spend together: the sum of 1/(k(k+1)) from there on
    assert total + rest <= ALPHA
    assert total >= ALPHA / 3, "a gate that hardly ever errs at the limit would need too many samples"


def test_five_false_fixes_in_a_row_would_break_the_promise_if_each_spent_as_much_as_the_first_alone() -> None:
    split = sum(worst(step_alpha(ALPHA, 1, attempt)) for attempt in range(1, FIXES + 1))
    assert split <= ALPHA * FIXES / (FIXES + 1)
    assert FIXES * worst(ALPHA) > ALPHA


@pytest.mark.parametrize("name", ["critical", "high"])
def test_the_shipped_ladders_keep_to_alpha_with_their_own_numbers(name: str) -> None:
    shipped = policy(name)
    assert (shipped.gate.p0, shipped.gate.alpha) == (P0, ALPHA)
    steps = len(shipped.ladder) + shipped.use_cohort  # with testers there is one step more
    shares = [step_alpha(shipped.gate.alpha, steps, attempt) for attempt in range(1, 1000)]
    assert steps * sum(shares) < shipped.gate.alpha
    soak = int(shipped.gate.minimum_soak / shipped.gate.interval)
    assert chance_to_pass(at_p0, shares[0], first=soak + 1) <= worst(shares[0]) <= shares[0], "a soak only takes away"


@pytest.mark.slow
@settings(max_examples=40)
@given(
    pieces=st.lists(st.tuples(st.integers(1, 400), st.floats(P0, 1.0)), min_size=1, max_size=6),
    extra=st.floats(0, 0.5),
    patience=st.integers(0, 30),
)
@example(pieces=[(400, P0)], extra=0.0, patience=0)
@example(pieces=[(300, 0.5), (400, P0)], extra=0.0, patience=0)
def test_no_fault_that_is_p0_or_more_at_every_sample_does_better_than_p0_itself(
    pieces: list[tuple[int, float]], extra: float, patience: int
) -> None:
    """Pieces follow the clock. The fault also knows how many samples failed, and is louder while they are few."""
    alpha = step_alpha(ALPHA, 1, 1)
    clock = [rate for length, rate in pieces for _ in range(length)]

    def rate(place: int, bad: int) -> float:
        return min(1.0, clock[place % len(clock)] + (extra if bad < patience else 0.0))

    samples = 900
    assert chance_to_pass(rate, alpha, samples=samples) <= worst(alpha, samples) + 1e-9


def test_a_fault_below_p0_in_its_quiet_times_is_outside_the_promise() -> None:
    """On average 2 %: fifteen minutes without a failure, then one with 32 %."""
    share = step_alpha(ALPHA, 3, 1)
    assert chance_to_pass(lambda place, _bad: 0.0 if place % 960 < 900 else 0.32, share) == pytest.approx(1.0)


# -- the same fix again --------------------------------------------------------------------------------------

AT = datetime(2026, 1, 5, tzinfo=UTC)


class Case:
    """One case's history, and its first step's evidence as each new run of the command finds it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def run(self, fix: str = "abc", attempt: int = 1, basis: str = "policy:flag") -> EvidenceBook:
        stage = Stage(0, 3, attempt, fix, basis)
        book = EvidenceBook.for_gate(stage, policy("critical").gate, self._record)
        book.expect(["web"])
        book.resume(self.entries, "case-1")
        return book

    def _record(self, name: str, data: Mapping[str, Any]) -> None:
        number = str(len(self.entries))
        self.entries.append(
            Entry(number, AT, "sm", EntryKind.FACT, name, Actor("ci"), incident="case-1", data=dict(data))
        )


def see(book: EvidenceBook, harms: Sequence[int]) -> Verdict:
    """Observes so many samples, writes them down, and judges after the soak."""
    for harm in harms:
        book.observe([Measurement("web", AT, float(harm), "")])
    book.flush(AT, always=True)
    return book.judge(soaked=True, expired=False).verdict


def test_a_run_that_is_started_again_goes_on_where_the_last_one_stopped() -> None:
    case, whole = Case(), Case().run()
    stream = ([0] * 150 + [1] + [0] * 150) * 2
    verdicts = [see(case.run(), stream[begin : begin + 100]) for begin in range(0, len(stream), 100)]
    assert verdicts[-1] is see(whole, stream) is Verdict.INCONCLUSIVE
    again = case.run().metrics["web"].health
    assert again == whole.metrics["web"].health
    missing = again.clean_samples_missing(step_alpha(ALPHA, 3, 1))
    assert see(case.run(), [0] * (missing - 1)) is Verdict.INCONCLUSIVE
    assert see(case.run(), [0]) is Verdict.HEALTHY


def test_harm_that_was_found_stays_found_for_the_same_fix() -> None:
    case = Case()
    assert see(case.run(), [1] * 5) is Verdict.UNHEALTHY
    assert see(case.run(), []) is Verdict.UNHEALTHY
    assert see(case.run(fix="def", attempt=2), []) is Verdict.NO_DATA, "another fix has a gate of its own"


def test_another_fix_needs_more_and_inherits_nothing() -> None:
    case = Case()
    assert see(case.run(), [0] * clean_needed(0, step_alpha(ALPHA, 3, 1))) is Verdict.HEALTHY
    second = case.run(fix="def", attempt=2)
    assert see(second, [0] * clean_needed(0, step_alpha(ALPHA, 3, 1))) is Verdict.INCONCLUSIVE
    assert see(second, [0] * clean_needed(0, step_alpha(ALPHA, 3, 2))) is Verdict.HEALTHY


def test_trying_the_same_fix_again_and_again_keeps_to_its_share_only_because_the_evidence_is_kept() -> None:
    share = step_alpha(ALPHA, 3, 1)
    once = chance_to_pass(at_p0, share, samples=HORIZON // 5)
    assert chance_to_pass(at_p0, share, samples=HORIZON) <= share
    assert 1 - (1 - once) ** 5 > share, "five runs that forget what they saw would spend more than one may"


def test_every_metric_must_pass_so_one_broken_metric_holds_back_any_number_of_good_ones() -> None:
    share = step_alpha(ALPHA, 3, 1)
    good = MetricEvidence.start("good", P0).observe_counts(0, 5000)
    broken = MetricEvidence.start("broken", P0).observe_counts(1, clean_needed(1, share))
    before = judge([good, broken], alpha=share, harm_alpha=ALPHA, soaked=True, expired=False)
    after = judge([good, broken.observe(0)], alpha=share, harm_alpha=ALPHA, soaked=True, expired=False)
    assert (before.verdict, after.verdict) == (Verdict.INCONCLUSIVE, Verdict.HEALTHY)


def test_the_harm_test_forgets_its_stakes_in_a_long_quiet_time() -> None:
    """Why a long soak alone does not catch bursts: twenty failures are harm at first, and not after ten minutes."""
    assert HarmEvidence.from_counts(P0, 20, 620).rejects(ALPHA) is False
    assert HarmEvidence.from_counts(P0, 20, 60).rejects(ALPHA)
    detector = HealthDetector.start(P0).observe_counts(0, 3600)
    for _ in range(5):
        detector = detector.observe(1)
    assert detector.alarm(ALPHA / 7200), "the watch after the return has no such memory"
