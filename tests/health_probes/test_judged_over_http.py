"""From real answers to the gate's verdict: the whole way that evidence takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollback.adapters.health_probes.http import HttpHealthProbe
from rollback.core.evidence import Judgement, MetricEvidence, Verdict, judge
from rollback.sandbox import SmApi
from rollback.sandbox.wire import Answer
from tests.health_probes.stand_ins import CONTROL, FOLDERS, answering, endpoint, health, probing

P0, ALPHA = 0.02, 0.01
NEEDED = 315
"""Clean samples from nothing, for this p0 and alpha (design, "The gate")."""

ASSERTIONS = [{"path": "errors", "exists": False}, {"path": "data[0].type", "equals": "folders"}]


@pytest.fixture
def api() -> Iterator[SmApi]:
    with SmApi() as running:
        yield running


def judgements(probe: HttpHealthProbe, rounds: int) -> Iterator[Judgement]:
    """The judgement after each round, until it is final."""
    metrics = {name: MetricEvidence.start(name, P0) for name in probe.metrics}
    for _ in range(rounds):
        for each in probe.measure():
            kept = metrics[each.metric]
            metrics[each.metric] = kept.miss() if each.harm is None else kept.observe(each.harm)
        judgement = judge(list(metrics.values()), alpha=ALPHA, harm_alpha=ALPHA, soaked=True, expired=False)
        yield judgement
        if judgement.final:
            return


def test_a_healthy_api_is_healthy_after_as_many_answers_as_the_formula_says(api: SmApi) -> None:
    with probing(health(endpoint(api.url + FOLDERS, assertions=ASSERTIONS), control=api.url + CONTROL)) as probe:
        *before, last = judgements(probe, 2 * NEEDED)
    assert {each.verdict for each in before} == {Verdict.INCONCLUSIVE}
    assert last.verdict is Verdict.HEALTHY
    assert last.metrics[0].samples == NEEDED
    assert api.count("GET", FOLDERS) == NEEDED


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_api_with_a_fifth_of_errors_is_never_healthy_and_soon_unhealthy(api: SmApi, seed: int) -> None:
    api.behave(error_rate=0.2, seed=seed)
    with probing(health(endpoint(api.url + FOLDERS, assertions=ASSERTIONS), control=api.url + CONTROL)) as probe:
        found = list(judgements(probe, 300))
    assert Verdict.HEALTHY not in {each.verdict for each in found}
    assert found[-1].verdict is Verdict.UNHEALTHY


def test_one_broken_endpoint_of_two_holds_the_gate_shut(api: SmApi) -> None:
    checks = health(endpoint(api.url + FOLDERS, "works"), endpoint(api.url + "/broken", "broken"))
    with probing(checks) as probe:
        found = list(judgements(probe, 300))
    assert Verdict.HEALTHY not in {each.verdict for each in found}


@pytest.mark.parametrize("error_rate", [0.0, 0.2])
def test_a_control_target_that_is_down_lets_no_evidence_through(api: SmApi, error_rate: float) -> None:
    """With errors at a fifth, the good four fifths alone would pass the gate after 315 of them."""
    api.behave(error_rate=error_rate)
    with (
        answering(lambda _: Answer(503)) as control,
        probing(health(endpoint(api.url + FOLDERS), control=control)) as probe,
    ):
        found = list(judgements(probe, NEEDED + 85))
    assert {each.verdict for each in found} == {Verdict.NO_DATA}
    assert found[-1].metrics[0].missing == NEEDED + 85


def test_a_feature_that_says_it_is_disabled_gives_no_data(api: SmApi) -> None:
    api.behave(mode="disabled")
    with probing(health(endpoint(api.url + FOLDERS, assertions=ASSERTIONS), control=api.url + CONTROL)) as probe:
        assert {each.verdict for each in judgements(probe, NEEDED + 5)} == {Verdict.NO_DATA}
