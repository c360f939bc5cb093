"""What `approve` does: a person permits a return, takes that back, judges a step, or says that a switch is lifted.

Nothing here raises anything, and no off ever waits for it. Who acts is who was authenticated: a name that was merely
typed approves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rollback import bootstrap
from rollback.commands.cases import Command
from rollback.core import approvals
from rollback.core import events as e
from rollback.core.approvals import ApprovalRule
from rollback.core.machine import decide
from rollback.core.model import Severity, State
from rollback.errors import ConfigurationError, PolicyRefused
from rollback.raising import audience_grown, view
from rollback.words import when

if TYPE_CHECKING:
    from rollback.core.history import Actor
    from rollback.core.model import Incident
    from rollback.core.policy import SeverityPolicy
    from rollback.output import Output
    from rollback.raising import FlagView


@dataclass(frozen=True, slots=True)
class Request:
    """The command's words. One of `withdraw`, `step` and `switch` at most; none of them: an approval is given.

    `actor` is a name that somebody typed, or somebody whom the caller has authenticated (with the role of their token);
    None: this process's account.
    """

    feature: str
    reason: str
    withdraw: bool = False
    step: bool = False
    switch: str | None = None
    actor: str | Actor | None = None
    dry_run: bool = False


def run(request: Request, output: Output) -> int:
    """Runs the command; returns its exit code. Raises `PolicyRefused` when this person may not say that."""
    if request.withdraw + request.step + (request.switch is not None) > 1:
        raise ConfigurationError("--withdraw, --step and --switch are three different things: say one of them.")
    command = _Approving(request.feature, request.reason, request.actor, request.dry_run, output)
    if request.withdraw:
        return command.withdraw()
    if request.step:
        return command.judge_step()
    if request.switch is not None:
        return command.lift(request.switch)
    return command.approve()


class _Approving(Command):
    """One word of a person on the open case."""

    def approve(self) -> int:
        """Binds it to the case's fix and to the flag as it is now, and shows both."""
        incident = self.controller.require()
        rule = self._rule(incident, self._policy(incident))
        if incident.state is State.MONITORING:
            raise PolicyRefused(
                f"{self.session.feature} is back in full, so there is nothing to approve.",
                next=f"See where it stands: rollback status {self.session.feature}",
            )
        actor = self.session.actor
        if why := approvals.why_not(rule, incident, actor):
            raise PolicyRefused(why, next="Somebody else gives it, from their own account or with their own token.")
        role = approvals.role_of(rule, incident, actor)
        assert role is not None  # or there would be a reason why not
        flag = view(self.session)
        until = self.session.clock.now() + rule.valid_for
        event = e.ApprovalGiven(actor, role, incident.fix, flag.digest, incident.epoch, until)
        self._show(incident, flag)
        after = decide(incident, event, now=self.session.clock.now(), nonce="").incident
        lacking = approvals.missing(rule, after, flag.digest, self.session.clock.now())
        self.output.line(f"  good until {when(until)}, for one return; another fix or an edit of the flag voids it")
        if lacking:
            self.output.line(f"  then still: {lacking}")
        return self._event(event, f"Approved by {actor.name} ({role}).")

    def withdraw(self) -> int:
        """No step up is taken on it any more; what is exposed stays, and is watched."""
        name = self.session.actor.name
        if all(one.by != name for one in self.controller.require().approvals):
            raise PolicyRefused(f"{name} has given no approval in this case, so there is none to take back.")
        return self._event(e.ApprovalWithdrawn(self.session.actor), f"{name}'s approval is withdrawn.")

    def judge_step(self) -> int:
        """A person judges the step that is exposed; the evidence has to be there all the same."""
        incident = self.controller.require()
        policy = self._policy(incident)
        if all(step.judgement != "human" for step in policy.ladder):
            raise PolicyRefused(
                f"No step of the {incident.severity} policy waits for a person: the evidence decides.",
                next=f"See where it stands: rollback status {self.session.feature}",
            )
        if policy.approvals is not None:
            alone = replace(policy.approvals.as_rule(), four_eyes=False)
            if why := approvals.why_not(alone, incident, self.session.actor):
                raise PolicyRefused(why)
        return self._event(e.StepApproved(self.session.actor), "The step is judged well; evidence decides the rest.")

    def lift(self, name: str) -> int:
        """A person says that a switch no longer stands in the way; one that reads as up is still believed to be up."""
        incident = self.controller.require()
        known = [switch.name for switch in self._policy(incident).switches]
        if name not in known:
            raise ConfigurationError(
                f"The {incident.severity} policy has no switch {name!r}.", next=f"known: {', '.join(known) or 'none'}"
            )
        return self._event(e.SwitchLifted(name, self.session.actor), f"The switch {name} is lifted, says a person.")

    # -- small things -----------------------------------------------------------------------------------------------

    def _policy(self, incident: Incident) -> SeverityPolicy:
        _, policy = bootstrap.policies(self.session, incident.severity)
        return policy

    def _rule(self, incident: Incident, policy: SeverityPolicy) -> ApprovalRule:
        if policy.approvals is None or incident.severity is Severity.LOW:
            raise PolicyRefused(
                f"A {incident.severity} case needs no approval here: evidence alone brings it back.",
                next=f"Bring it back: rollback enable {self.session.feature} --reason R",
            )
        return policy.approvals.as_rule()

    def _show(self, incident: Incident, flag: FlagView) -> None:
        by = f", deployed by {incident.fixed_by}" if incident.fixed_by else ""
        before = "unknown" if incident.audience is None else str(incident.audience)
        lines = [
            f"To be approved for case {incident.incident_id} ({incident.severity}, {incident.state}):",
            f"  the fix {incident.fix}{by}" if incident.fix else "  no fix is recorded",
            f"  the flag: without us {flag.base.percent} of 100 buckets would be open (before the incident: {before})",
            *(f"    {why}" for why in flag.base.why),
        ]
        if why := audience_grown(incident, flag):
            lines.append(f"  beside the approval somebody has to release that: {why}")
        for line in lines:
            self.output.line(line)

    def _document(self, said: str, code: int) -> dict[str, Any]:
        incident = self.controller.incident
        told = [
            {"by": one.by, "role": one.role, "fix": one.fix, "digest": one.digest, "until": one.expires_at.isoformat()}
            for one in (incident.approvals if incident else ())
        ]
        lifted = list(incident.switches_lifted) if incident else []
        return {**super()._document(said, code), "approvals": told, "switches_lifted": lifted}
