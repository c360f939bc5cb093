"""Release plans as policies: they load, lint clean, and say the plans' own numbers, which stand here a second time."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollback.core.release_criteria import LIMITS, Criterion, Escalation
from rollback.core.release_policy import ReleasePolicy, Stage, TakeBack, Users, Window
from rollback.errors import ConfigurationError
from rollback.policy_errors import PolicyFileError
from rollback.policy_files import Policies, load_policies
from rollback.policy_lint import lint
from tests.e2e.harness import SHIPPED_POLICIES, Cli

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ROOT = Path(__file__).parent.parent

TOGGLES: dict[str, tuple[str, ...]] = {
    "vsp-release-plan-template": (),
    "veteran-status-card": ("cve_veteran_status_new_service", "veteranStatusCardUpdate"),
    "champva-10-7959c": (),
    "travel-pay-smoc": (
        "travel_pay_power_switch",
        "travel_pay_submit_mileage_expense",
        "travel_pay_view_claim_details",
    ),
    "686c-674-v2": ("va_dependents_v2",),
    "decision-letter-push": ("event_bus_gateway_letter_ready_push_notifications",),
    "526-confirmation-review": ("disability_526_show_confirmation_review",),
    "526-toxic-exposure": ("disability_526_toxic_exposure",),
    "direct-deposit": ("profile_lighthouse_direct_deposit",),
    "10-10ezr": ("ezr_prod_enabled",),
    "10-10ez-ezr-outage-procedure": (),
    "sm-rx-renewal": ("mhv_secure_messaging_medications_renewal_request",),
    "mhv-medications": (),
    "medical-records-phase1": (),
    "va-mobile-crash-play": (),
}
"""Every plan, and its flags."""

PERCENTS: dict[str, tuple[float, ...]] = {
    "vsp-release-plan-template": (10, 25, 50, 75, 100),
    "veteran-status-card": (5, 25, 50, 100),
    "champva-10-7959c": (10, 50, 100),
    "travel-pay-smoc": (10, 25, 50, 100),
    "686c-674-v2": (1, 25, 50, 100),
    "decision-letter-push": (2, 25, 50, 75, 100),
    "526-confirmation-review": (1, 25, 50, 75, 100),
    "526-toxic-exposure": (5, 10, 25, 50, 75, 100),
    "direct-deposit": (5, 10, 25, 50, 100),
    "10-10ezr": (10, 25, 75, 100),
    "medical-records-phase1": (1, 100),
}
"""The stages by percent; the other plans have none."""

HOLDS: dict[str, list[timedelta | None]] = {
    "vsp-release-plan-template": [2 * HOUR] * 5,
    "veteran-status-card": [None] * 4,
    "champva-10-7959c": [DAY, 2 * DAY, 2 * HOUR],
    "travel-pay-smoc": [timedelta(minutes=30), None, DAY, 14 * DAY, DAY, 14 * DAY],
    "decision-letter-push": [None, 4 * HOUR, 8 * HOUR, 8 * HOUR, 8 * HOUR, 8 * HOUR],
    "526-confirmation-review": [None] * 5,
    "526-toxic-exposure": [3 * DAY, 7 * DAY, 7 * DAY, 2 * DAY, 5 * DAY, None],
    "direct-deposit": [7 * DAY] * 5,
}
"""How long each stage lasts at least; None: the plan gives no duration."""

STARTS: dict[str, list[date]] = {
    "veteran-status-card": [date(2026, 3, day) for day in (24, 25, 26, 30)],
    "champva-10-7959c": [date(2025, 2, 25)],
    "decision-letter-push": [date(2026, 1, 15)],
    "direct-deposit": [date(2023, 8, 7)],
    "10-10ezr": [date(2023, 12, 18), date(2024, 1, 2), date(2024, 1, 8), date(2024, 1, 11)],
}
"""The days that plans name for the beginnings of stages."""

CRITERIA: dict[str, dict[str, Any]] = {
    "vsp-release-plan-template": {
        "abandonment-rate": ("below", 0.20),
        "contact-center-calls": ("below", 2),
        "error-rate": ("below", 0.05),
    },
    "veteran-status-card": {
        "service-failure-rate": ("below", 0.01),
        "confirmed-mobile": ("above", 0.87),
        "confirmed-web": ("above", 0.75),
    },
    "champva-10-7959c": {
        "upload-error-rate": ("below", 0.05),
        "silent-failures": ("at_most", 0),
        "callback-error-rate": ("below", 0.01),
    },
    "travel-pay-smoc": {
        "claim-submission-error-rate": ("below", 0.05),
        "manual-review-adjudicated": ("at_least", 0.10),
        "critical-bugs-open": ("at_most", 0),
    },
    "686c-674-v2": {
        "manual-routing": ("at_most", 0.35),
        "backup-pathway": ("at_most", 0.015),
        "silent-failures": ("at_most", 0),
        "error-rate": ("at_most", 0.33),
        "alerts-422-500": ("at_most", 0),
    },
    "decision-letter-push": {"datadog-errors": ("below", 0.05), "email-errors": ("than", "before the release")},
    "526-toxic-exposure": {
        "error-rate": ("below", 0.01),
        "backup-path": ("than", "how it is now"),
        "issues": ("times", 2),
    },
    "direct-deposit": {"new-against-old": ("than", "the old API")},
    "10-10ezr": {"submission-failures": ("at_most", 0), "validation-errors": ("at_most", 0)},
}
"""The criteria of each plan; the others have none."""


@pytest.fixture(scope="module")
def policies() -> Policies:
    return load_policies(SHIPPED_POLICIES, {})


def plan(policies: Policies, name: str) -> ReleasePolicy:
    found = policies.release(name)
    assert found is not None
    return found.policy


# -- the plans ----------------------------------------------------------------------------------------------------


def test_every_plan_is_there_and_none_is_broken(policies: Policies) -> None:
    assert policies.broken_releases == ()
    assert sorted(policies.releases) == sorted(TOGGLES)
    assert not set(policies.releases) & set(policies.features)


@pytest.mark.parametrize("name", TOGGLES)
def test_a_plans_numbers_are_those_of_the_plan(policies: Policies, name: str) -> None:
    found = plan(policies, name)
    assert tuple(toggle.key for toggle in found.toggles) == TOGGLES[name]
    assert found.percents == PERCENTS.get(name, ())
    if name in HOLDS:
        assert [stage.hold_for for stage in found.stages] == HOLDS[name]
    assert [stage.starts for stage in found.stages if stage.starts] == STARTS.get(name, [])
    assert {criterion.name: _limit(criterion) for criterion in found.criteria} == CRITERIA.get(name, {})


def _limit(criterion: Criterion) -> tuple[str, Any]:
    for word in ("times", *LIMITS, "than"):
        if getattr(criterion, word) is not None:
            return word, getattr(criterion, word)
    raise AssertionError(criterion)


def test_what_only_one_plan_has(policies: Policies) -> None:
    template = plan(policies, "vsp-release-plan-template")
    assert template.follow_up == (7 * DAY, 30 * DAY)
    assert template.stages[0].users == Users(most=500)
    assert plan(policies, "veteran-status-card").judged_at == "10:00 America/New_York"
    assert plan(policies, "champva-10-7959c").stages[0].hold_at_most == 48 * HOUR

    smoc = plan(policies, "travel-pay-smoc")
    assert [(stage.percent, stage.probe) for stage in smoc.stages[:3]] == [(5, True), (100, True), (10, False)]
    assert [(one.of, one.at_least) for one in smoc.stages[1].samples] == [("unique users", 50)]
    assert "7 of 67" in (smoc.stages[1].note or "")
    assert (smoc.business_hours, smoc.take_back and smoc.take_back.by_severity) == (True, True)
    assert ["503" in (toggle.off_means or "") for toggle in smoc.toggles] == [True, True, False]

    dependents = plan(policies, "686c-674-v2")
    assert [stage.business_days for stage in dependents.stages] == [None, 2, 2, 2, None]
    assert [(one.of, one.at_least) for one in dependents.stages[0].samples] == [("validated submissions", 10)]
    assert dependents.take_back is not None
    assert len(dependents.take_back.when) == 5

    letters = plan(policies, "decision-letter-push")
    assert letters.window == Window(first=date(2026, 1, 19), last=date(2026, 1, 30))
    assert [stage.users for stage in letters.stages[:2]] == [Users(least=1, most=1), Users(least=150, most=200)]
    assert letters.take_back == TakeBack(to_percent=0)

    review = plan(policies, "526-confirmation-review")
    assert [stage.optional for stage in review.stages] == [False, False, True, True, False]
    assert [stage.length_in_words for stage in review.stages[:2]] == ["a few days", "a few days"]
    assert review.take_back is not None
    assert review.take_back.monitors == ("485476", "474722", "489345")
    assert review.take_back.by == "engineering lead, immediately"

    exposure = plan(policies, "526-toxic-exposure")
    assert exposure.take_back is not None
    assert not exposure.take_back.reversible_per_user
    assert exposure.stages[0].stop_at is not None
    assert exposure.stages[0].stop_at.count == 50
    assert "106" in (exposure.stages[0].note or "")

    health = plan(policies, "10-10ezr")
    assert [stage.ends for stage in health.stages] == [
        *(date(2024, 1, 2), date(2024, 1, 7), date(2024, 1, 10)),
        None,
    ]
    renewal = plan(policies, "sm-rx-renewal")
    assert (renewal.stages, renewal.judgement) == ((), True)
    assert renewal.take_back is not None
    assert renewal.take_back.by_severity

    medications = plan(policies, "mhv-medications")
    assert [stage.name for stage in medications.stages] == [f"phase {number}" for number in range(5)]
    assert medications.stages[0].users == Users(least=200, most=300)
    assert [(one.of, one.at_least) for one in medications.stages[0].samples] == [
        ("page viewers", 25),
        ("refill requests", 5),
    ]
    records = plan(policies, "medical-records-phase1")
    assert [(stage.month, stage.decision) for stage in records.stages] == [("2024-09", False), ("2024-11", True)]


def test_the_rules_of_incidents_are_those_of_their_procedures(policies: Policies) -> None:
    owners, window, unknown, centre = plan(policies, "10-10ez-ezr-outage-procedure").escalations
    assert (owners.after, owners.rate_above, owners.judged) == (HOUR, 0.10, "several submissions fail")
    assert (window.judged, window.again_every) == ("it is severe", HOUR)
    assert (unknown.judged, unknown.within, unknown.again_every) == ("its cause is unknown", 2 * HOUR, HOUR)
    assert (centre.after, centre.rate_above, centre.by) == (4 * HOUR, 0.10, "somebody of OCTO")
    (crash,) = plan(policies, "va-mobile-crash-play").escalations
    assert crash.rate_above == 0.03


@pytest.mark.parametrize("name", TOGGLES)
def test_each_file_says_what_it_cannot_express_and_the_docs_have_a_line(name: str) -> None:
    lines = (SHIPPED_POLICIES / "releases" / f"{name}.yaml").read_text("utf-8").splitlines()
    comment = " ".join(line for line in lines if line.startswith("#"))
    assert "Not expressed:" in comment
    docs = (ROOT / "docs" / "releases.md").read_text("utf-8")
    assert len([line for line in docs.splitlines() if line.startswith(f"| `{name}` |")]) == 1


def test_the_plans_lint_without_a_remark(policies: Policies) -> None:
    assert [finding for finding in lint(policies) if "releases" in str(finding.file)] == []


# -- what is no plan ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stages: [{percent: 50}, {percent: 25}]", "must rise"),
        ("stages: [{percent: 5, starts: 2026-02-02}, {percent: 6, starts: 2026-02-01}]", "dates must rise"),
        ("stages: [{percent: 5, hold_for: 2h, hold_at_most: 1h}]", "not be longer"),
        ("stages: [{percent: 5, starts: 2026-02-02, ends: 2026-02-01}]", "ends must not be before"),
        ("stages: [{hold_for: 1h}]", "sized by percent"),
        ("stages: [{users: {}}]", "say least, most"),
        ("stages: [{users: {least: 3, most: 2}}]", "least must not be above"),
        ("criteria: [{name: a, what: b}]", "exactly one of"),
        ("criteria: [{name: a, what: b, below: 1, above: 0}]", "exactly one of"),
        ("criteria: [{name: a, what: b, below: 5}]", "5 % is 0.05"),
        ("criteria: [{name: a, what: b, than: c, below: 0.1}]", "no limit of its own"),
        ("criteria: [{name: a, what: b, below: 0.1, times: 2}]", "needs `than`"),
        ("criteria: [{name: a, what: b, unit: count, at_most: 0.5}]", "whole number"),
        ("criteria: [{name: a, what: b, below: 0.1}, {name: a, what: b, below: 0.1}]", "there twice"),
        ("escalations: [{tell: somebody}]", "say when"),
        ("escalations: [{tell: somebody, rate_above: 0.1}]", "belong together"),
        ("window: {first: 2026-02-02, last: 2026-02-01}\njudgement: true", "last must not be before"),
        ("judgement: true", "says nothing"),
        ("speed: 5", "unknown field"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    folder = tmp_path / "releases"
    folder.mkdir()
    (folder / "mine.yaml").write_text(f"release: mine\ntitle: Mine\n{text}\n")
    policies = load_policies(tmp_path, {})
    with pytest.raises(PolicyFileError) as caught:
        policies.release("mine")
    assert says in caught.value.message
    assert "mine.yaml:" in caught.value.message
    assert [finding.level for finding in lint(policies)] == ["error"]


def test_a_plan_has_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "mine.yaml").write_text("release: yours\ntitle: T\nstages: [{percent: 100}]\n")
    with pytest.raises(ConfigurationError, match=r"call the file yours\.yaml"):
        load_policies(tmp_path, {}).release("mine")


def test_lint_finds_stages_that_a_flag_cannot_have_and_dates_outside_of_the_window(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "mine.yaml").write_text(
        "release: mine\ntitle: T\nwindow: {first: 2026-01-01, last: 2026-01-31}\n"
        "stages:\n  - {percent: 0.5}\n  - {percent: 10, starts: 2026-02-01}\n"
    )
    found = [(one.level, one.line, one.message) for one in lint(load_policies(tmp_path, {}))]
    assert [(level, line) for level, line, _ in found] == [("warning", 4), ("error", 5), ("error", 6)]
    assert "whole number" in found[1][2]
    assert "outside of the window" in found[2][2]


def test_a_criterion_that_tolerates_none_is_known_as_one() -> None:
    none = Criterion(name="a", what="b", unit="count", at_most=0)
    assert none.tolerates_none
    assert not Criterion(name="a", what="b", unit="count", at_most=1).tolerates_none
    assert not Criterion(name="a", what="b", below=0.05).tolerates_none


def test_a_plan_is_frozen_and_knows_how_long_it_takes() -> None:
    found = ReleasePolicy(release="mine", title="T", stages=(Stage(percent=5, hold_for=DAY), Stage(percent=100)))
    assert found.shortest == DAY
    with pytest.raises(ValidationError):
        found.title = "another"
    with pytest.raises(ValidationError):
        Escalation.model_validate({"tell": "x", "after": "0s"})


def test_show_tells_a_plan_and_lint_knows_the_folder(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "here", None, SHIPPED_POLICIES)
    told = cli.run("policy", "show", "Direct-Deposit", "--json").expect(0).json
    assert (
        told["release"]["stages"][0] | {"percent": 5.0, "hold_for": "7d", "starts": "2023-08-07"}
        == (told["release"]["stages"][0])
    )
    assert "releases" not in cli.run("policy", "lint").expect(0).out
    assert "no feature is called" in cli.run("policy", "show", "nothing").expect(2).err
