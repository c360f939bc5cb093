"""`policy lint` on the way back: states that nobody can reach, gates that are none, and what could delay an off."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback.policy_findings import Finding
from tests.test_policy_lint import changed, findings, folder, only, with_feature

__all__ = ["folder"]  # the fixture

METRIC = """\
  metrics:
    - kind: prometheus
      name: sends
      url: https://prometheus.example.gov
      requests: "sum by (flag) (increase(sends_total[window]))"
      errors: "sum by (flag) (increase(sends_failed_total[window]))"
      maximum_samples_per_window: CAP
      by_tag: {tag: flag, maximum: 2}
"""


def added(folder: Path, text: str, name: str = "critical.yaml") -> list[Finding]:
    """What is said of a severity's file with these lines added to it."""
    path = folder / name
    path.write_text(f"{path.read_text()}\n{text}\n")
    return [one for one in findings(folder) if one.file.name == name]


def stepped(folder: Path, fields: str, step: str = "percent: 10") -> list[Finding]:
    """What is said of the critical policy with these fields in one of its steps."""
    return changed(folder, "critical.yaml", (f"{{{step},", f"{{{step}, {fields},"))


def errors(found: list[Finding]) -> list[str]:
    return [one.message for one in found if one.level == "error"]


# -- nothing may delay an off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "approvals: {roles: [approver], off: true}",
        "approvals: {roles: [approver], applies_to: [enable, disable]}",
        "freeze: {weekdays: [sat], time_zone: America/New_York, lowering: true}",
        "switches: [{name: window, by: ops, disable: true}]",
    ],
)
def test_whatever_could_delay_an_off_is_an_error(folder: Path, text: str) -> None:
    assert "turning off and reducing are never held back" in only(added(folder, text)).message


def test_a_severity_file_that_is_broken_so_delays_no_off_either(folder: Path) -> None:
    """The section `flag` of the feature is all that an off needs."""
    assert errors(added(folder, "approvals: {off: true}"))
    from rollback.flag_reference import read_flag_reference

    assert read_flag_reference(str(folder), "sm", {}).feature == "secure-messaging"


# -- a path to on without a gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("judgement", ["", "judgement: human, "])
def test_a_gate_that_a_few_samples_open_is_none_also_where_a_person_says_go(folder: Path, judgement: str) -> None:
    found = changed(
        folder,
        "critical.yaml",
        ("alpha: 0.01 ", "alpha: 0.9 "),
        ("  p0: 0.02 ", "  p0: 0.9 "),
        ("{percent: 10,", f"{{percent: 10, {judgement}"),
    )
    assert any("a path to on without a gate" in message for message in errors(found))


def test_force_without_evidence_and_without_approval_is_remarked(folder: Path) -> None:
    found = only(added(folder, "approvals: {force_needs_approval: false}"))
    assert (found.level, "one person alone" in found.message) == ("warning", True)


# -- shares and deadlines --------------------------------------------------------------------------------------------


def test_shares_of_alpha_above_one_are_an_error(folder: Path) -> None:
    halves = [(f"percent: {percent},", f"percent: {percent}, alpha_share: 0.5,") for percent in (10, 50, 100)]
    found = changed(folder, "critical.yaml", *halves)
    assert any("the shares of alpha add up to 1.5" in message for message in errors(found))


def test_a_step_with_a_small_share_needs_more_samples_and_a_longer_deadline(folder: Path) -> None:
    """The share of a step is spent on going up to it, so the stage before it has to be long enough."""
    before = "{percent: 10, minimum_soak: 15m, deadline: 2h}"
    found = changed(
        folder,
        "critical.yaml",
        (before, "{percent: 10, minimum_soak: 10m, deadline: 14m}"),
        ("{percent: 50,", "{percent: 50, alpha_share: 0.001,"),
    )
    assert "the deadline 14m is too short" in only([one for one in found if one.level == "error"]).message
    assert "percent: 10" in (folder / "critical.yaml").read_text().splitlines()[found[0].line - 1]


def test_the_cohort_of_a_feature_counts_as_a_stage_of_its_own(folder: Path) -> None:
    changes = ("deadline: 2h\n\n#", "deadline: 835s\n\n#")
    assert changed(folder, "critical.yaml", changes) == []
    extra = folder / "features" / "extra.yaml"
    assert with_feature(folder) == []
    extra.write_text(extra.read_text() + "cohort: {segments: [testers]}\n")
    found = only([one for one in findings(folder) if one.file.name == "critical.yaml"])
    assert "too short" in found.message
    short = changed(
        folder,
        "critical.yaml",
        ("deadline: 835s", "deadline: 2h"),
        ("cohort: {minimum_soak: 15m, deadline: 2h}", "cohort: {minimum_soak: 5m, deadline: 6m}"),
    )
    assert "cohort" in (folder / "critical.yaml").read_text().splitlines()[only(short).line - 1]


def test_a_cohort_without_a_step_of_its_own_is_watched_as_the_gate_says(folder: Path) -> None:
    with_feature(folder, ("name: Extra", "name: Extra\ncohort: {segments: [testers]}"))
    assert changed(folder, "critical.yaml", ("cohort: {minimum_soak: 15m, deadline: 2h}\n", "")) == []


def test_a_cohort_that_does_not_soak_is_remarked(folder: Path) -> None:
    found = changed(folder, "critical.yaml", ("cohort: {minimum_soak: 15m", "cohort: {minimum_soak: 0"))
    assert "bursts" in only(found).message


def test_what_is_asked_of_the_last_step_is_asked_of_nobody(folder: Path) -> None:
    human = only(stepped(folder, "judgement: human", "percent: 100"))
    assert (human.level, "put it on the step before" in human.message) == ("error", True)


def test_a_judgement_on_another_step_is_nothing_to_remark(folder: Path) -> None:
    assert stepped(folder, "judgement: human") == []


# -- freeze ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "word"),
    [
        ("{hours: '09:00-17:00 Atlantis/Capital'}", "Atlantis/Capital"),
        ("{weekdays: [sat], time_zone: Atlantis}", "Atlantis"),
        ("{weekdays: [mon, tue, wed, thu, fri, sat, sun], time_zone: UTC}", "the freeze never ends, so ramping"),
        ("{weekdays: [sat]}", "say the time zone"),
    ],
)
def test_a_freeze_that_cannot_be_read_or_never_ends_is_an_error(folder: Path, freeze: str, word: str) -> None:
    found = only(added(folder, f"freeze: {freeze}"))
    assert (found.level, word in found.message) == ("error", True)


def test_a_freeze_that_ends_is_nothing_to_remark(folder: Path) -> None:
    text = "freeze: {days: [2026-11-26], weekdays: [sat, sun], hours: '17:00-09:00 America/New_York'}"
    assert added(folder, text) == []


# -- approvals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approvals", "level", "word"),
    [
        ("{roles: [owner]}", "error", "nobody can give one, so ramping, monitoring and resolved can never be reached"),
        ("{roles: [owner], required: 2, roles_of: {lead: [owner]}}", "error", "1 of them can give one"),
        ("{roles: [owner], roles_of: {lead: [owner]}}", "warning", "when one of them turned it off, nobody can"),
        ("{roles: [approver, owner]}", "warning", "nobody has the role owner"),
        ("{roles: [ci]}", "error", "nobody can give one"),
        ("{escalate_to: [ci]}", "error", "approves nothing"),
        ("{escalate_after: 5m}", "warning", "before the gate can open at all (10m)"),
        ("{valid_for: 5m}", "warning", "void by then"),
    ],
)
def test_approvals_that_nobody_can_give_or_that_come_to_nothing(
    folder: Path, approvals: str, level: str, word: str
) -> None:
    found = [one for one in added(folder, f"approvals: {approvals}") if one.level == level]
    assert any(word in one.message for one in found), found


@pytest.mark.parametrize(
    "approvals",
    [
        "{}",
        "{required: 2, escalate_to: [approver, owner]}",
        "{roles: [responder]}",
        "{roles: [owner], roles_of: {one: [owner], two: [owner]}}",
        "{roles: [owner], roles_of: {one: [owner]}, four_eyes: false}",
    ],
)
def test_approvals_that_somebody_can_give_are_nothing_to_remark(folder: Path, approvals: str) -> None:
    assert added(folder, f"approvals: {approvals}") == []


# -- switches and metrics --------------------------------------------------------------------------------------------

READ_BACK = "{url: '${%s}', assertions: [{path: up, equals: false}]}"


def test_a_switch_whose_address_is_not_known_here_waits_for_a_person(folder: Path) -> None:
    found = only(added(folder, f"switches: [{{name: window, by: ops, read_back: {READ_BACK % 'WINDOW_URL'}}}]"))
    assert (found.level, "only a person can say that window is lifted" in found.message) == ("warning", True)


def test_a_switch_that_would_be_read_at_a_default_address_is_an_error(folder: Path) -> None:
    url = "WINDOW_URL:-https://status.example.gov"
    found = only(added(folder, f"switches: [{{name: window, by: ops, read_back: {READ_BACK % url}}}]"))
    assert (found.level, "counts as unknown" in found.message) == ("error", True)


def test_a_switch_that_only_a_person_knows_is_nothing_to_remark(folder: Path) -> None:
    assert added(folder, "switches: [{name: window, by: ops}]") == []


def test_users_are_counted_by_a_metric_and_not_by_our_own_probes(folder: Path) -> None:
    probes = stepped(folder, "minimum_users: 50, users_metric: folders")
    assert "folders of secure-messaging is a probe of ours" in only(probes).message


def test_a_metric_that_a_feature_has_not_is_an_error(folder: Path) -> None:
    found = stepped(folder, "minimum_users: 50, users_metric: sends")
    assert "has no metric sends, so this step is never passed" in only(found).message


def test_nobody_is_counted_at_the_last_step(folder: Path) -> None:
    found = stepped(folder, "minimum_users: 50, users_metric: sends", "percent: 100")
    assert "nobody is counted at this step" in "\n".join(one.message for one in found)


def test_a_comparison_of_a_metric_that_is_not_there_is_an_error(folder: Path) -> None:
    found = only(added(folder, "compare: {metric: sends, with: 'on', without: 'off'}"))
    assert (found.level, "nothing is compared" in found.message) == ("error", True)


@pytest.mark.parametrize(("cap", "remarks"), [("100", 1), ("10000", 0)])
def test_arms_that_are_scaled_down_by_themselves_are_remarked(folder: Path, cap: str, remarks: int) -> None:
    """The shipped feature has no such metric, so it alone may be asked about the comparison."""
    with_feature(folder)
    (folder / "features" / "secure-messaging.yaml").unlink()
    extra = folder / "features" / "extra.yaml"
    extra.write_text(extra.read_text() + METRIC.replace("CAP", cap))
    found = added(folder, "compare: {metric: sends, with: 'on', without: 'off'}")
    assert ["rounded against health" in one.message for one in found] == [True] * remarks
    plain = added(folder, "", "high.yaml")
    assert plain == []


def test_a_metric_without_strata_has_nothing_to_compare(folder: Path) -> None:
    with_feature(folder)
    (folder / "features" / "secure-messaging.yaml").unlink()
    extra = folder / "features" / "extra.yaml"
    text = METRIC.replace("CAP", "10000").replace("      by_tag: {tag: flag, maximum: 2}\n", "")
    extra.write_text(extra.read_text() + text)
    assert "no strata" in only(added(folder, "compare: {metric: sends, with: 'on', without: 'off'}")).message


def test_a_comparison_in_one_step_compares_nothing(folder: Path) -> None:
    path = folder / "critical.yaml"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if "{percent: 10," not in line and "{percent: 50," not in line]
    path.write_text("\n".join(kept).replace("use_cohort: true", "use_cohort: false").replace("cohort: {min", "# {min"))
    found = added(folder, "compare: {metric: sends, with: 'on', without: 'off'}")
    assert any("never does a part alone have the feature" in one.message for one in found)
