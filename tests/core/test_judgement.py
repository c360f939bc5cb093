"""What the gate makes of the evidence: health only from all metrics together, never from silence."""

from __future__ import annotations

import math

import pytest

from rollback.core.evidence import Evidence, HarmEvidence, MetricEvidence, Verdict, judge

P0 = 0.02
ALPHA = 0.01


def metric(name: str, bad: int, total: int) -> MetricEvidence:
    return MetricEvidence.start(name, P0).observe_counts(bad, total)


def verdict(*metrics: MetricEvidence, soaked: bool = True, expired: bool = False) -> tuple[Verdict, bool]:
    judgement = judge(metrics, alpha=ALPHA, harm_alpha=ALPHA, soaked=soaked, expired=expired)
    return judgement.verdict, judgement.final


healthy, short, harmed, unseen = (
    metric("healthy", 0, 315),
    metric("short", 0, 314),
    metric("harmed", 20, 60),
    metric("unseen", 0, 0),
)


def test_health_needs_every_metric_and_the_whole_soak() -> None:
    assert verdict(healthy) == (Verdict.HEALTHY, True)
    assert verdict(healthy, metric("also", 0, 400)) == (Verdict.HEALTHY, True)
    assert verdict(healthy, short) == (Verdict.INCONCLUSIVE, False)
    assert verdict(healthy, soaked=False) == (Verdict.INCONCLUSIVE, False)


def test_evidence_that_is_complete_at_the_deadline_still_counts() -> None:
    assert verdict(healthy, expired=True) == (Verdict.HEALTHY, True)


def test_harm_in_one_metric_outweighs_everything_else() -> None:
    for soaked in (True, False):
        for expired in (True, False):
            found = verdict(healthy, harmed, unseen, soaked=soaked, expired=expired)
            assert found == (Verdict.UNHEALTHY, True)


def test_harm_needs_its_own_alpha() -> None:
    strict = judge([harmed], alpha=ALPHA, harm_alpha=1e-30, soaked=True, expired=False)
    assert strict.verdict is Verdict.INCONCLUSIVE
    assert not strict.metrics[0].harm_found


@pytest.mark.parametrize("expired", [False, True])
def test_the_deadline_makes_a_lack_of_evidence_final_and_never_health(expired: bool) -> None:
    assert verdict(short, expired=expired) == (Verdict.INCONCLUSIVE, expired)
    assert verdict(healthy, soaked=False, expired=expired) == (Verdict.INCONCLUSIVE, expired)
    assert verdict(healthy, unseen, expired=expired) == (Verdict.NO_DATA, expired)
    assert verdict(expired=expired) == (Verdict.NO_DATA, expired)


def test_readings_without_data_are_counted_and_change_no_test() -> None:
    silent = healthy.miss().miss()
    assert (silent.health, silent.harm, silent.missing) == (healthy.health, healthy.harm, 2)
    only_silence = metric("probe", 0, 0).miss()
    judgement = judge([only_silence], alpha=ALPHA, harm_alpha=ALPHA, soaked=True, expired=True)
    assert judgement.verdict is Verdict.NO_DATA
    assert judgement.reasons == (
        "probe: no samples; readings without data: 1; clean samples still needed: 315",
        "the deadline has passed",
    )


def test_both_tests_see_the_same_samples() -> None:
    both = metric("probe", 1, 3).observe(0.5).observe(0)
    assert both.health == Evidence.from_counts(P0, 1, 3).observe(0.5).observe(0)
    assert both.harm == HarmEvidence.from_counts(P0, 1, 3).observe(0.5).observe(0)


def test_reasons_say_what_is_missing_or_why() -> None:
    def reasons(*metrics: MetricEvidence, soaked: bool = True) -> tuple[str, ...]:
        return judge(metrics, alpha=ALPHA, harm_alpha=ALPHA, soaked=soaked, expired=False).reasons

    assert reasons(healthy) == ("healthy: harm in 0 of 315 samples; enough evidence of health",)
    assert reasons(healthy, short) == ("short: harm in 0 of 314 samples; clean samples still needed: 1",)
    assert reasons(healthy, harmed) == ("harmed: harm in 20 of 60 samples; more than a healthy feature has",)
    assert reasons(healthy, soaked=False) == ("the soak time is not over",)
    assert reasons() == ("no metric is configured",)


def test_figures_for_the_screen_agree_with_the_tests() -> None:
    (figures,) = judge([short], alpha=ALPHA, harm_alpha=ALPHA, soaked=True, expired=False).metrics
    assert (figures.name, figures.samples, figures.harm, figures.missing) == ("short", 314, 0, 0)
    assert figures.bound == pytest.approx(100)
    assert math.exp(figures.log_e) < figures.bound
    assert figures.log_e == short.health.log_e
    assert figures.harm_log_e == short.harm.log_e
    assert (figures.clean_samples_missing, figures.passed, figures.harm_found) == (1, False, False)
