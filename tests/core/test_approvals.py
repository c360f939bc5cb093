"""Who may permit a return: roles, four eyes, what an approval is bound to, and what makes it void."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.core import approvals
from rollback.core import events as e
from rollback.core.approvals import GO, ApprovalRule, Permit
from rollback.core.effects import CallHuman, LowerExposure, RaiseExposure
from rollback.core.history import Actor
from rollback.core.model import Approval, Incident, NeedsHuman, Severity, State
from tests.core.cases import ALEX, NOW, RETURN, TYPED, WATCHER, critical, disabled, high, refused, run, step

SAM, KIM = Actor("sam", "os"), Actor("kim", "os")
RULE = ApprovalRule()
HOUR = timedelta(hours=1)
FLAG, EDITED = "d1", "d2"
CLIMBING = (e.ReturnStarted(WATCHER, KIM),)


def given_by(
    actor: Actor, *, fix: str = "", digest: str = FLAG, epoch: int = 1, until: datetime = NOW + HOUR, role: str = ""
) -> e.ApprovalGiven:
    return e.ApprovalGiven(actor, role or "approver", fix, digest, epoch, until)


def gate(held: int = 50, digest: str = FLAG, *, go: bool = False, rule: ApprovalRule | None = RULE) -> e.GatePassed:
    return e.GatePassed(held, Permit(rule, digest, go))


# -- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "roles"),
    [
        (Actor("alex", "os"), ("approver",)),
        (Actor("sam", "os"), ("owner", "responder")),
        (Actor("alex", "token", "approver"), ("approver",)),
        (Actor("alex", "token", "viewer"), ("viewer",)),
        (Actor("alex", "token"), ()),
        (Actor("sam", "token", "viewer"), ("viewer",)),
        (Actor("alex"), ()),
        (Actor("deploy", "ci", "approver"), ()),
        (Actor("deploy", "oidc", "approver"), ()),
        (Actor("rollback", "process", "approver"), ()),
    ],
)
def test_an_account_has_the_roles_of_the_policy_and_a_token_its_own_alone(actor: Actor, roles: tuple[str, ...]) -> None:
    rule = ApprovalRule(roles_of={"sam": ("owner", "responder")})
    assert approvals.roles_held(rule, actor) == roles


def test_a_role_is_no_part_of_who_somebody_is() -> None:
    assert Actor("alex", "token", "approver") == Actor("alex", "token")
    assert hash(Actor("alex", "token", "approver")) == hash(Actor("alex", "token"))


def test_who_may_not_approve_is_told_why() -> None:
    case = disabled("kim")
    assert approvals.why_not(RULE, case, SAM) == ""
    assert "authenticated person" in approvals.why_not(RULE, case, TYPED)
    assert "Four eyes: kim turned it off" in approvals.why_not(RULE, case, KIM)
    assert approvals.role_of(RULE, case, KIM) is None
    owners = ApprovalRule(roles=("owner", "lead"))
    assert approvals.why_not(owners, case, SAM) == "sam has approver, and owner or lead may approve."
    nothing = approvals.why_not(owners, case, Actor("sam", "token"))
    assert nothing == "sam has no role, and owner or lead may approve."


def test_a_role_further_up_may_approve_once_it_was_called() -> None:
    rule = ApprovalRule(escalate_to=("approver", "owner"), roles_of={"sam": ("owner",)})
    case = disabled("kim")
    assert approvals.role_of(rule, case, SAM) is None
    called = run(case, e.ApprovalAsked("approver", "x", FLAG), e.ApprovalAsked("owner", "y", FLAG))
    assert approvals.role_of(rule, called, SAM) == "owner"
    other = run(case, e.ApprovalAsked("plumber", "x", FLAG))
    assert approvals.allowed_roles(rule, other) == ("approver",), "who is not in the policy gains nothing by a call"


# -- four eyes -------------------------------------------------------------------------------------------------------


def test_whoever_turned_it_off_deployed_the_fix_or_brings_it_back_does_not_approve_it() -> None:
    case = run(disabled("alex"), e.FixDeployed("f1", "sam"), *CLIMBING)
    assert approvals.barred(RULE, case) == {
        "alex": "turned it off",
        "sam": "deployed the fix",
        "kim": "brings it back",
    }
    assert approvals.barred(replace(RULE, four_eyes=False), case) == {}


def test_all_who_turned_it_off_are_barred_and_not_only_the_last_one() -> None:
    twice = run(disabled("alex"), e.DisableCommanded("kill-2-ab", 2, "sam"), e.DisableCommanded("kill-3-ab", 3, "alex"))
    assert twice.disabled_by == ("sam", "alex")
    assert set(approvals.barred(RULE, twice)) == {"alex", "sam"}


def test_an_off_by_an_alert_bars_nobody() -> None:
    by_alert = disabled("alert-datadog")
    assert by_alert.disabled_by == ()
    assert approvals.barred(RULE, by_alert) == {}
    then_sam = run(by_alert, e.DisableCommanded("kill-2-ab", 2, "sam"))
    assert set(approvals.barred(RULE, then_sam)) == {"sam"}


def test_who_opened_a_case_that_was_never_off_is_barred_instead() -> None:
    reduced = replace(high(State.REDUCED), opened_by="sam")
    assert approvals.barred(RULE, reduced) == {"sam": "opened the case"}
    assert approvals.barred(RULE, replace(reduced, opened_by="")) == {}


def test_an_approval_by_somebody_who_later_becomes_one_of_them_no_longer_counts() -> None:
    case = run(disabled("alex"), given_by(SAM))
    assert approvals.missing(RULE, case, FLAG, NOW) == ""
    started = run(case, e.ReturnStarted(WATCHER, SAM))
    assert "an approval is missing" in approvals.missing(RULE, started, FLAG, NOW)
    refused(started, gate(), match="an approval is missing")


def test_who_takes_the_watch_over_brings_nothing_back() -> None:
    back = critical(State.MONITORING, returned_by="kim")
    assert run(back, e.ReturnStarted(WATCHER, Actor("rollback", "process"))).returned_by == "kim"


# -- what an approval is bound to ------------------------------------------------------------------------------------


def test_an_approval_is_for_this_fix_on_this_flag_until_its_time() -> None:
    case = run(disabled("alex"), e.FixDeployed("f1"), given_by(SAM, fix="f1"))
    assert case.approvals == (Approval("sam", "approver", "f1", FLAG, NOW, NOW + HOUR),)
    assert approvals.missing(RULE, case, FLAG, NOW + HOUR - timedelta(seconds=1)) == ""
    assert approvals.missing(RULE, case, FLAG, NOW + HOUR), "it has expired"
    assert approvals.missing(RULE, case, EDITED, NOW), "somebody edited the flag"
    assert run(case, e.FixDeployed("f1")).approvals == case.approvals, "the same fix again is no other fix"
    assert run(case, e.FixDeployed("f2")).approvals == ()


def test_the_words_say_how_many_are_missing_and_who_may_give_them() -> None:
    two = ApprovalRule(required=2)
    case = disabled("alex")
    assert approvals.missing(two, case, FLAG, NOW) == ("2 approvals are missing (approver may give it, but not alex)")
    once = run(case, given_by(SAM), given_by(SAM))
    assert approvals.missing(two, once, FLAG, NOW).startswith("an approval is missing"), "one person counts once"
    assert approvals.missing(two, run(once, given_by(KIM)), FLAG, NOW) == ""
    assert approvals.missing(RULE, disabled(""), FLAG, NOW) == "an approval is missing (approver may give it)"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (given_by(SAM, fix="f0"), "another fix was deployed"),
        (given_by(SAM, epoch=0), "it was turned off again"),
        (given_by(TYPED), "Only an authenticated person"),
        (given_by(Actor("deploy", "ci", "approver")), "Only an authenticated person"),
    ],
)
def test_an_approval_of_what_is_no_longer_so_or_by_nobody_is_refused(event: e.ApprovalGiven, why: str) -> None:
    refused(disabled("alex"), event, match=why)


def test_a_withdrawn_approval_is_gone_and_only_ones_own_can_be_withdrawn() -> None:
    case = run(disabled("alex"), given_by(SAM), given_by(KIM))
    left = run(case, e.ApprovalWithdrawn(Actor("sam")))
    assert [one.by for one in left.approvals] == ["kim"]
    assert run(left, e.ApprovalWithdrawn(ALEX)) == left


# -- at the raise ----------------------------------------------------------------------------------------------------


def test_no_step_up_without_the_approval_and_one_with_it() -> None:
    verifying = run(disabled("alex"), *CLIMBING)
    refused(verifying, gate(), match="takes no step up: an approval is missing")
    raised = step(run(verifying, given_by(SAM)), gate())
    assert any(isinstance(effect, RaiseExposure) for effect in raised.effects)
    assert raised.incident.approvals[0].used


def test_an_approval_that_has_let_the_return_begin_lasts_for_all_of_it() -> None:
    ramping = run(disabled("alex"), *CLIMBING, given_by(SAM), gate(), e.StepRaised(50))
    later = NOW + 9 * HOUR
    assert step(ramping, gate(0), later).effects
    refused(ramping, gate(0, EDITED), match="an approval is missing", at=later)
    refused(run(ramping, e.ApprovalWithdrawn(SAM)), gate(0), match="an approval is missing", at=later)


def test_one_that_has_expired_before_the_first_step_lets_nothing_begin() -> None:
    verifying = run(disabled("alex"), *CLIMBING, given_by(SAM))
    refused(verifying, gate(), match="an approval is missing", at=NOW + HOUR)


def test_approvals_that_do_not_count_are_not_used_up() -> None:
    verifying = run(disabled("alex"), *CLIMBING, given_by(SAM, digest=EDITED), given_by(Actor("lee", "os")))
    raised = run(verifying, gate())
    assert [(one.by, one.used) for one in raised.approvals] == [("sam", False), ("lee", True)]


@pytest.mark.parametrize(
    "event",
    [
        e.HarmSeen("errors"),
        e.WatchStopped("interrupted"),
        e.DisableCommanded("kill-2-ab", 2, "sam"),
        e.DriftSeen("kill-2-ab", 2, "an edit"),
        e.ReturnedInFull(),
    ],
)
def test_the_next_return_needs_an_approval_of_its_own(event: e.Event) -> None:
    ramping = run(disabled("alex"), *CLIMBING, e.ApprovalAsked("approver", "x", FLAG), given_by(SAM), gate())
    ramping = run(ramping, e.StepRaised(50), e.StepApproved(SAM), e.SwitchLifted("window", SAM))
    after = run(ramping, event)
    assert (after.approvals, after.approval_request, after.step_go) == ((), None, False)
    assert after.switches_lifted == (("window",) if isinstance(event, e.ReturnedInFull) else ())


def test_harm_before_anything_was_raised_voids_an_approval_too() -> None:
    verifying = run(disabled("alex"), *CLIMBING, given_by(SAM))
    assert run(verifying, e.HarmSeen("errors")).approvals == ()
    assert run(verifying, e.EvidenceEnded("deadline")).approvals != (), "nothing was found against it"


def test_a_policy_without_approvals_asks_for_none() -> None:
    verifying = run(disabled("alex"), *CLIMBING)
    assert step(verifying, gate(rule=None)).effects
    assert step(verifying, e.GatePassed(50)).effects


# -- a person's go ---------------------------------------------------------------------------------------------------


def test_a_step_that_a_person_judges_waits_for_the_go_and_each_step_for_its_own() -> None:
    ramping = run(disabled("alex"), *CLIMBING, e.GatePassed(90), e.StepRaised(90))
    refused(ramping, gate(50, go=True, rule=None), match="before a person has judged this one")
    judged = run(ramping, e.StepApproved(SAM))
    climbed = run(judged, gate(50, go=True, rule=None), e.StepRaised(50))
    refused(climbed, gate(0, go=True, rule=None), match="before a person has judged this one")


def test_only_an_authenticated_person_judges_a_step_or_a_switch() -> None:
    ramping = critical(State.RAMPING)
    for event in (e.StepApproved(TYPED), e.SwitchLifted("window", Actor("deploy", "ci"))):
        refused(ramping, event, match="Only an authenticated person can say that")
    refused(critical(State.MONITORING), e.StepApproved(SAM), match="not possible while")


def test_the_call_for_a_judgement_ends_with_the_judgement_and_another_call_does_not() -> None:
    asked = run(critical(State.RAMPING), e.HumanCalled(f"{GO}: step 10 %"))
    assert run(asked, e.StepApproved(SAM)).needs_human is None
    other = critical(State.RAMPING, needs_human=NeedsHuman("off is not proven", "responder", NOW))
    assert run(other, e.StepApproved(SAM)).needs_human is not None


def test_switches_of_which_a_person_says_that_they_are_lifted_are_kept_once() -> None:
    case = run(
        disabled("alex"), e.SwitchLifted("window", SAM), e.SwitchLifted("gate", SAM), e.SwitchLifted("window", SAM)
    )
    assert case.switches_lifted == ("window", "gate")


# -- who is called ---------------------------------------------------------------------------------------------------

LADDER = ApprovalRule(escalate_to=("approver", "owner"), escalate_after=timedelta(minutes=30))


def test_the_roles_are_called_one_after_the_other_and_each_once() -> None:
    case = disabled("alex")
    assert approvals.next_role(LADDER, case, FLAG, NOW) == "approver"
    first = step(case, e.ApprovalAsked("approver", "please", FLAG))
    assert first.effects == (CallHuman("please", "approver"),)
    asked = first.incident
    assert approvals.next_role(LADDER, asked, FLAG, NOW + timedelta(minutes=29)) is None
    assert approvals.next_role(LADDER, asked, FLAG, NOW + timedelta(minutes=30)) == "owner"
    both = run(asked, e.ApprovalAsked("owner", "please, owner", FLAG))
    assert approvals.next_role(LADDER, both, FLAG, NOW + 99 * HOUR) is None
    assert both.approval_request is not None
    assert (both.approval_request.since, both.approval_request.roles) == (NOW, ("approver", "owner"))


def test_without_an_order_those_who_may_give_it_are_called() -> None:
    assert approvals.next_role(ApprovalRule(roles=("lead",)), disabled("alex"), FLAG, NOW) == "lead"


def test_an_edit_of_the_flag_begins_the_calls_anew() -> None:
    asked = run(disabled("alex"), e.ApprovalAsked("approver", "x", FLAG), e.ApprovalAsked("owner", "y", FLAG))
    assert approvals.next_role(LADDER, asked, EDITED, NOW) == "approver"
    again = run(asked, e.ApprovalAsked("approver", "z", EDITED))
    assert again.approval_request is not None
    assert again.approval_request.roles == ("approver",)


def test_whoever_was_called_has_answered_once_the_step_is_taken() -> None:
    asked = run(disabled("alex"), *CLIMBING, e.ApprovalAsked("approver", "please", FLAG), given_by(SAM))
    assert asked.needs_human == NeedsHuman("please", "approver", NOW)
    assert run(asked, gate()).needs_human is None
    other = replace(asked, needs_human=NeedsHuman("something else", "responder", NOW))
    assert run(other, gate()).needs_human is not None
    nobody_asked = run(disabled("alex"), *CLIMBING, given_by(SAM), gate())
    assert nobody_asked.approvals[0].used


# -- what never depends on it ----------------------------------------------------------------------------------------

names = st.sampled_from(["alex", "sam", "kim", "alert-datadog"])
given_approvals = st.lists(
    st.builds(
        Approval, names, st.just("approver"), st.just(""), st.sampled_from([FLAG, EDITED]), st.just(NOW), st.just(NOW)
    ),
    max_size=3,
).map(tuple)


@given(
    st.sampled_from([state for state in State if state not in (State.NORMAL, State.RESOLVED)]),
    st.sampled_from(list(Severity)),
    given_approvals,
    st.booleans(),
    st.lists(names, max_size=3).map(tuple),
    names,
    st.sampled_from(["", "f1"]),
)
def test_nothing_that_people_have_said_or_not_said_ever_refuses_or_delays_an_off(
    state: State,
    severity: Severity,
    approved: tuple[Approval, ...],
    go: bool,
    lifted: tuple[str, ...],
    by: str,
    fix: str,
) -> None:
    held = {Severity.CRITICAL: 100, Severity.HIGH: 90, Severity.LOW: None}[severity]
    before = Incident(
        "sm-1",
        "sm",
        severity,
        state,
        NOW,
        NOW,
        epoch=1,
        safe_held=held,
        fix=fix,
        approvals=approved,
        step_go=go,
        switches_lifted=lifted,
        disabled_by=lifted,
        returned_by=by,
        fixed_by=by,
    )
    decision = step(before, e.DisableCommanded("kill-2-ab", 2, by))
    assert decision.effects == (LowerExposure("kill-2-ab", 2, 100),)
    assert (decision.incident.state, decision.incident.approvals) == (State.DISABLING, ())


@given(st.lists(given_approvals, min_size=1, max_size=1), st.integers(1, 3), st.booleans())
def test_one_person_never_counts_twice(found: list[tuple[Approval, ...]], required: int, four_eyes: bool) -> None:
    case = disabled("kim")
    for one in found[0]:
        case = run(case, given_by(Actor(one.by, "os"), digest=one.digest))
    rule = ApprovalRule(required=required, four_eyes=four_eyes)
    count = approvals.counted(rule, case, FLAG, NOW)
    assert len({one.by for one in count}) == len(count)
    assert bool(approvals.missing(rule, case, FLAG, NOW)) is (len(count) < required)
    assert not four_eyes or all(one.by != "kim" for one in count)


def test_the_return_of_a_case_without_any_word_about_approvals_is_as_it_was() -> None:
    assert step(run(disabled(), RETURN), e.GatePassed(50)).effects
