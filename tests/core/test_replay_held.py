"""What holds a replayed return back beside the evidence: people, calendars, switches, cohorts, metrics of users."""

from __future__ import annotations

from datetime import timedelta

from rollback.core import events as e
from rollback.core.alerts import Edge
from rollback.core.history import Actor
from rollback.core.model import Severity, Watcher
from rollback.core.replay_recording import Counts, Deployed, FlagSeen, Lowering, Opened, Sampled, SwitchSeen, Told
from tests.core.replays import ALEX, STORY, Items, alert, at, course, disabled, enabled, policy, probes, told
from tests.fakes.policies import critical, gate, low, step

BOB = Actor("bob", "os")
THE_END = Deployed(at(300), "the end")


def approved(seconds: float, by: Actor = BOB) -> Told:
    return Told(at(seconds), e.ApprovalGiven(by, "", "", "", 0, at(seconds)))


def test_a_forced_return_skips_the_gate_and_not_the_watch() -> None:
    watched = critical(monitoring={"duration": "10s", "interval": "100ms", "false_alarms_per_year": 365})
    forced = enabled(10, forced_until=at(15))
    found = course(disabled(0), forced, probes(10, 15.2, None), under=policy(watched))
    assert dict(told(found))["returned_in_full"] == 10
    assert dict(told(found))["watch_stopped"] == 15, "no evidence came in"
    kept = course(disabled(0), forced, probes(10, 30), under=policy(watched))
    assert kept.ends_in == "resolved"


def test_what_people_and_calendars_hold_back_waits_watched_and_does_not_cost_the_deadline() -> None:
    asked = policy(critical(approvals={"required": 1, "valid_for": "1h"}))
    waiting = course(*STORY, under=asked)
    assert waiting.first("step_raised") is None
    assert waiting.first("approval_asked") is not None
    assert waiting.first("evidence_ended") is None
    bob = Actor("bob", "os")
    approved = course(*STORY, Told(at(20), e.ApprovalGiven(bob, "", "", "", 0, at(20))), under=asked)
    raised = approved.first("step_raised")
    assert raised is not None
    assert raised.at >= at(20)
    own = course(*STORY, Told(at(20), e.ApprovalGiven(ALEX, "", "", "", 0, at(20))), under=asked)
    assert own.first("step_raised") is None, "four eyes"
    harmed = course(*STORY[:-1], probes(10, 12), probes(12, 30, 1.0), under=asked)
    assert harmed.first("harm_seen") is not None, "whoever waits goes on watching"


def test_a_freeze_holds_raises_and_never_an_off() -> None:
    frozen = policy(frozen={Severity.CRITICAL: lambda now: "a holiday" if now < at(25) else ""})
    found = course(*STORY, under=frozen)
    assert dict(told(found))["off_written"] == 0
    raised = found.first("step_raised")
    assert raised is not None
    assert raised.at >= at(25)


def test_a_step_that_a_person_judges_waits_for_the_go() -> None:
    ladder = [step(50, judgement="human"), step(100)]
    waits = policy(critical(ladder=ladder))
    found = course(*STORY, under=waits)
    assert [mark.exposure for mark in found.marks if mark.what == "step_raised"] == [50]
    assert found.first("returned_in_full") is None
    gone = course(*STORY, Told(at(20), e.StepApproved(ALEX)), under=waits)
    full = gone.first("returned_in_full")
    assert full is not None
    assert full.at >= at(20)


def test_while_a_switch_beside_the_flag_is_up_no_evidence_counts() -> None:
    beside = policy(critical(switches=[{"name": "window", "by": "the platform team"}]))
    assert course(*STORY, under=beside).first("gate_passed") is None, "not known to be lifted"
    up: Items = [SwitchSeen(at(5), "window", True), SwitchSeen(at(20), "window", False)]
    found = course(*STORY, up, under=beside)
    raised = found.first("step_raised")
    assert raised is not None
    assert raised.at >= at(20.4)
    assert dict(found.unused)["a switch was up, or not known to be lifted"] >= 99


def test_a_cohort_goes_first_and_counts_as_nobody() -> None:
    under = policy(critical(use_cohort=True, cohort={"minimum_soak": "3s", "deadline": "30s"}), has_cohort=True)
    found = course(*STORY, under=under)
    steps = [(mark.text, mark.exposure) for mark in found.marks if mark.what == "step_raised"]
    assert steps[0] == ("the cohort is let in", 0)
    first, second = (seconds for what, seconds in told(found) if what == "step_raised") if len(steps) == 2 else (0, 9)
    assert [exposure for _, exposure in steps] == [0, 10, 50]
    assert second - first >= 3


def test_a_metric_of_users_is_waited_for_only_where_there_are_users() -> None:
    under = policy(metrics={"folders": 0, "errors": 1})
    alone = course(*STORY, under=under)
    assert [mark.exposure for mark in alone.marks if mark.what == "step_raised"] == [10], "off has no users to count"
    served = course(*STORY, probes(10, 30, name="errors"), under=under)
    assert served.first("returned_in_full") is not None


def test_a_stratum_of_a_metric_counts_by_itself() -> None:
    under = policy(metrics={"errors": 0})
    clean = probes(10, 30, name="errors")
    assert course(*STORY[:-1], clean, under=under).first("returned_in_full") is not None
    part = probes(10, 30, 1.0, name="errors[version:new]")
    harm = course(*STORY[:-1], clean, part, under=under).first("harm_seen")
    assert harm is not None
    assert "errors[version:new]" in harm.text


def test_two_arms_of_one_metric_are_compared_for_harm() -> None:
    compare = {"metric": "errors", "with": "new", "without": "old", "alpha": 0.01}
    under = policy(critical(gate=gate(p0=0.9, harm_alpha=0.0001), compare=compare))
    both: Items = [
        Sampled(
            at(10 + n / 10),
            at(10 + n / 10 - 0.05),
            {"errors[version:new]": Counts(30, 100), "errors[version:old]": Counts(2, 100)},
        )
        for n in range(100)
    ]
    harm = course(*STORY, both, under=under).first("harm_seen")
    assert harm is not None
    assert "worse with the feature than without" in harm.text


def test_an_approval_that_nobody_asked_for_and_one_without_a_case_are_only_shown() -> None:
    found = course(approved(-5), *STORY, approved(9))
    noted = found.first("note")
    assert noted is not None
    assert noted.text.startswith("approved by bob")
    assert found.first("returned_in_full") is not None


def test_the_next_role_is_called_and_may_approve_then() -> None:
    asked = {"required": 1, "roles": ["owner"], "escalate_after": "2s", "escalate_to": ["owner", "approver"]}
    under = policy(critical(approvals={**asked, "roles_of": {"carol": ["owner"]}}))
    early = course(*STORY, approved(10.05), under=under)
    assert early.first("refused") is not None, "bob is no owner, and the approvers were not called yet"
    assert early.first("step_raised") is None
    called = course(*STORY, approved(13), under=under)
    assert len([mark for mark in called.marks if mark.what == "approval_asked"]) == 2
    assert called.first("step_raised") is not None


def test_an_approval_of_another_state_of_the_flag_is_void() -> None:
    under = policy(critical(approvals={"required": 1}))
    found = course(*STORY, approved(9), FlagSeen(at(10.1), edited=True), under=under)
    assert found.first("step_raised") is None


def test_a_forced_return_waits_for_its_approval_and_expires_over_it() -> None:
    asked = policy(critical(approvals={"required": 1}))
    forced = enabled(10, forced_until=at(15))
    found = course(disabled(0), forced, probes(10, 20), under=asked)
    assert found.first("returned_in_full") is None
    assert dict(told(found))["watch_stopped"] == 15
    unseen = course(disabled(0), forced, THE_END, under=asked)
    assert dict(told(unseen))["watch_stopped"] == 15, "also when nobody measures anything"
    given = course(disabled(0), forced, approved(12), probes(10, 20), under=asked)
    assert dict(told(given))["returned_in_full"] == 12
    free = policy(critical(approvals={"required": 1, "force_needs_approval": False}))
    assert dict(told(course(disabled(0), forced, probes(10, 20), under=free)))["returned_in_full"] == 10


def test_a_step_waits_for_so_many_requests_of_real_users() -> None:
    ladder = [step(50, minimum_users=60, users_metric="errors"), step(100)]
    under = policy(critical(ladder=ladder), metrics={"folders": 0, "errors": 1})
    few = course(*STORY, probes(10, 12, name="errors", every=0.5), under=under)
    assert [mark.exposure for mark in few.marks if mark.what == "step_raised"] == [50]
    assert few.first("returned_in_full") is None
    many = course(*STORY, probes(10, 30, name="errors"), under=under)
    full = many.first("returned_in_full")
    assert full is not None
    assert full.at >= at(16)


def test_a_window_without_data_silences_its_metric() -> None:
    def window(seconds: float, bad: int, total: int) -> Sampled:
        counts = Counts(bad, total, int(total == 0), is_window=True)
        return Sampled(at(seconds), at(seconds - 1), {"errors": counts})

    under = policy(critical(gate=gate(minimum_soak="4s", deadline="60s")), metrics={"errors": 0})
    good = [window(11 + n, 0, 50) for n in range(3)]
    silent = [window(14 + n, 0, 0) for n in range(20)]
    assert course(*STORY[:-1], good, silent, under=under).first("gate_passed") is None
    again = [window(34, 0, 50)]
    passed = course(*STORY[:-1], good, silent, again, under=under).first("gate_passed")
    assert passed is not None
    assert passed.at == at(34)


def test_a_window_is_one_observation_of_the_watch_after_the_return() -> None:
    watched = critical((100,), monitoring={"duration": "60s", "interval": "1s", "false_alarms_per_year": 365})
    bad = [Sampled(at(20 + n), at(19 + n), {"folders": Counts(50, 50, is_window=True)}) for n in range(5)]
    harm = course(*STORY[:-1], probes(10, 19), bad, under=policy(watched)).first("harm_seen")
    assert harm is not None
    assert harm.at == at(20)


def test_a_watch_that_is_handed_over_goes_on_where_it_was_left() -> None:
    watched = critical((100,), monitoring={"duration": "10s", "interval": "100ms", "false_alarms_per_year": 365})
    over = Told(at(14), e.WatchHandedOver("serve"))
    found = course(*STORY, over, enabled(18), under=policy(watched))
    ended = found.first("monitoring_ended")
    full = found.first("returned_in_full")
    assert ended is not None
    assert full is not None
    watched_before = at(14) - full.at
    assert abs((ended.at - at(18)).total_seconds() - (10 - watched_before.total_seconds())) < 0.3


def test_what_cannot_be_seen_is_not_watched() -> None:
    beside = critical(
        (100,),
        switches=[{"name": "window", "by": "the platform team"}],
        monitoring={"duration": "5s", "interval": "100ms", "false_alarms_per_year": 365},
    )
    seen = [SwitchSeen(at(5), "window", False), SwitchSeen(at(12), "window", True), SwitchSeen(at(20), "window", False)]
    found = course(*STORY, seen, under=policy(beside))
    full, ended = found.first("returned_in_full"), found.first("monitoring_ended")
    assert full is not None
    assert ended is not None
    assert (ended.at - full.at).total_seconds() > 12


def test_an_edit_of_the_flag_does_not_matter_to_a_low_case_and_another_fix_does() -> None:
    opened: Items = [Opened(at(0), Severity.LOW, ALEX), enabled(10), probes(10, 30)]
    under = policy(low=low(gate=gate(minimum_soak="5s")))
    edited = course(opened, FlagSeen(at(12), edited=True), under=under)
    assert edited.first("evidence_restarted") is None
    fixed = course(opened, Told(at(12), e.FixDeployed("an0ther")), under=under)
    passed = fixed.first("gate_passed")
    assert passed is not None
    assert passed.at >= at(17)


def test_what_the_case_forbids_ends_the_return() -> None:
    found = course(*STORY, Told(at(10.2), e.KeptOff()))
    assert found.first("step_raised") is None
    assert [mark.what for mark in found.marks if mark.what in ("refused", "watch_stopped")] == [
        "refused",
        "watch_stopped",
    ]
    low_case: Items = [Opened(at(0), Severity.LOW, ALEX), enabled(10), alert(10.1, monitor="4713"), probes(10, 15)]
    assert course(low_case, THE_END).first("monitoring_ended") is None


def test_without_metrics_no_return_begins() -> None:
    found = course(*STORY, under=policy(metrics={}))
    refused = found.first("refused")
    assert refused is not None
    assert "no evidence" in refused.text


def test_what_was_undone_or_adopted_or_edited_by_others_is_replayed_as_it_was() -> None:
    undone = course(disabled(0), Told(at(5), e.DisableUndone(ALEX, Watcher("h", 1, ""))), THE_END)
    assert [mark.exposure for mark in undone.marks if mark.what == "returned_in_full"] == [100]
    refused = course(Told(at(5), e.DisableUndone(ALEX, Watcher("h", 1, ""))), THE_END)
    assert refused.first("returned_in_full") is None
    adopted = course(Told(at(0), e.Adopted("sm-1", "sm", 4, 100, ("kill-4-ab",))), Told(at(3), e.OffProven()), THE_END)
    assert adopted.ends_in == "disabled"
    assert adopted.marks[0].exposure == 0
    drift = course(disabled(0), Told(at(5), e.DriftSeen("kill-9-xy", 9, "somebody let users in")), THE_END)
    assert [what for what, _ in told(drift)].count("off_written") == 2


def test_a_case_that_is_open_is_not_opened_again_and_a_low_one_can_be_raised() -> None:
    twice = course(Opened(at(0), Severity.LOW, ALEX), Opened(at(5), Severity.LOW, ALEX), THE_END)
    assert twice.first("refused") is not None
    raised = course(Opened(at(0), Severity.LOW, ALEX), Opened(at(5), Severity.HIGH, ALEX), THE_END)
    assert [mark.exposure for mark in raised.marks if mark.what == "reduce_settled"] == [10]
    nobody = course(Opened(at(0), Severity.HIGH, ALEX), THE_END, audience=5)
    assert "leave nobody" in nobody.marks[0].text


def test_a_newer_off_leaves_the_older_one_behind() -> None:
    slow = Lowering(timedelta(seconds=30), ((timedelta(seconds=5), True),))
    quick = Lowering(timedelta(seconds=1), ((timedelta(seconds=5), True),))
    found = course(disabled(0), disabled(10), THE_END, lowerings=(slow, quick))
    assert [seconds for what, seconds in told(found) if what == "off_written"] == [11]
    proven = course(disabled(0), disabled(3), THE_END, lowerings=(quick, quick))
    assert [seconds for what, seconds in told(proven) if what == "off_proven"] == [9]


def test_a_high_alert_reduces_an_open_high_case_again_and_an_off_overtakes_a_reduction() -> None:
    climbing: Items = [alert(0, monitor="4712"), alert(5, Edge.RECOVERED, "4712"), enabled(10), probes(10, 14)]
    found = course(climbing, alert(10.7, monitor="4712", cycle="c2"), THE_END)
    assert [mark.exposure for mark in found.marks if mark.what == "reduce_settled"] == [10, 10]
    overtaken = course(alert(0, monitor="4712"), disabled(1), THE_END, reductions=(timedelta(seconds=5),))
    assert [mark.exposure for mark in overtaken.marks if mark.what == "reduce_settled"] == []
    assert overtaken.ends_in == "disabled"


def test_a_return_that_succeeded_is_not_counted_as_failed_later() -> None:
    once = {"budget": 1, "window": "1d", "cool_down": "0s"}
    ci = Actor("pipeline", "ci")
    first: Items = [disabled(0), enabled(10), probes(10, 20)]
    second: Items = [disabled(40), enabled(50, ci), probes(50, 60)]
    assert course(first, second, under=policy(critical(returns=once))).ends_in == "resolved"
    third: Items = [disabled(70), enabled(80, ci), probes(80, 90)]
    refused = course(first, second, third, under=policy(critical(returns=once))).first("refused")
    assert refused is not None
    assert "budget is 1" in refused.text
