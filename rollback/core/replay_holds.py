"""What holds a replayed raise back although the evidence is there: approvals, a person's go, a freeze, switches.

The words and the rules are those of a return; what people said, and when, is what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rollback.core import approvals
from rollback.core import events as e
from rollback.core.approvals import GO, ApprovalRule, Permit
from rollback.core.model import Severity
from rollback.core.replay_case import ReplayedCase
from rollback.core.severity_policy import SeverityPolicy

Frozen = Callable[[datetime], str]
"""Why nothing is raised at a time, in words; empty when no freeze stands in the way."""


@dataclass(slots=True)
class ReplayedHolds:
    """Everything that may hold one return back. `switches` are the recorded sights: True up, False lifted."""

    case: ReplayedCase
    policy: SeverityPolicy
    switches: dict[str, bool]
    frozen: Frozen | None = None
    forced: bool = False
    _rule: ApprovalRule | None = field(init=False)

    def __post_init__(self) -> None:
        wanted = self.policy.approvals
        if wanted is not None and self.forced and not wanted.force_needs_approval:
            wanted = None
        self._rule = wanted.as_rule() if wanted is not None else None

    def permit(self, digest: str, *, go: bool) -> Permit | None:
        """What the machine looks at once more; None when the policy wants nothing."""
        return Permit(self._rule, digest, go) if self._rule is not None or go else None

    def standing(self, now: datetime, digest: str, *, go: bool) -> tuple[str, ...]:
        """What stands in the way of a raise now, in words. `go`: this step needs a person's judgement."""
        incident = self.case.case
        if incident is None or incident.severity is Severity.LOW:
            return self.up()
        found = []
        if self._rule is not None:
            found.append(approvals.missing(self._rule, incident, digest, now))
        if go and not incident.step_go:
            found.append(GO)
        if self.frozen is not None:
            found.append(self.frozen(now))
        return (*(words for words in found if words), *self.up())

    def ask(self, now: datetime, digest: str) -> None:
        """Calls whoever may give an approval that is missing, and the next role when the last one did not answer."""
        incident = self.case.case
        if self._rule is None or incident is None or incident.severity is Severity.LOW:
            return
        words = approvals.missing(self._rule, incident, digest, now)
        role = approvals.next_role(self._rule, incident, digest, now) if words else None
        if role is not None:
            self.case.tell(e.ApprovalAsked(role, f"{words}, {role}", digest), now, f"{role}: {words}")

    def up(self) -> tuple[str, ...]:
        """The switches that are up, or not known to be lifted. While there is one, no evidence counts."""
        incident = self.case.case
        lifted = incident.switches_lifted if incident is not None else ()
        found = []
        for switch in self.policy.switches:
            seen = self.switches.get(switch.name)
            if seen is True:
                found.append(f"the switch {switch.name} is up; {switch.by} ends it")
            elif seen is None and switch.name not in lifted:
                found.append(f"the switch {switch.name} is not known to be lifted")
        return tuple(found)
