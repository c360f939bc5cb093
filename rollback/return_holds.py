"""What holds a raise back although the evidence is there: an approval, a person's go, a freeze, a switch.

None of it is evidence, and none of it is ever asked for an off. Whoever waits for it goes on watching.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollback.core import approvals
from rollback.core import events as e
from rollback.core.approvals import GO, ApprovalRule, Permit
from rollback.core.model import Severity
from rollback.core.proof import Status
from rollback.release_calendar import ReleaseCalendar

if TYPE_CHECKING:
    from datetime import datetime

    from rollback.core.proof import ProofPart
    from rollback.ports import Measurement
    from rollback.return_watch import ReturnWatch

READ_SWITCH_EVERY = 10.0
"""Seconds between two looks at a switch: people end a maintenance window once, and its read-back is no load then."""

READ_SWITCH_WITHIN = 2.0
"""Seconds for one look. While something is exposed nothing may keep the watch from its next round for long."""


@dataclass(frozen=True, slots=True)
class SwitchSight:
    """A switch beside the flag. `look` reads it until a time (monotonic); None: only a person knows.

    The part that it gives is proven when the switch is lifted, open when it is up, and unknown otherwise.
    """

    name: str
    by: str
    look: Callable[[float], ProofPart] | None = None


@dataclass(slots=True)
class Holds:
    """Everything that may hold one return back. Raises ConfigurationError for a freeze in an unknown time zone."""

    watch: ReturnWatch
    switches: Sequence[SwitchSight] = ()
    forced: bool = False
    _rule: ApprovalRule | None = field(init=False)
    _calendar: ReleaseCalendar | None = field(init=False)
    _up: tuple[str, ...] = ()
    _read_at: float = float("-inf")
    _lifted_at: datetime | None = None

    def __post_init__(self) -> None:
        policy = self.watch.policy
        wanted = policy.approvals
        if wanted is not None and self.forced and not wanted.force_needs_approval:
            wanted = None
        self._rule = wanted.as_rule() if wanted is not None else None
        self._calendar = ReleaseCalendar(policy.freeze) if policy.freeze is not None else None

    # -- the raise --------------------------------------------------------------------------------------------------

    def permit(self, *, go: bool) -> Permit | None:
        """What the machine looks at once more at the moment of the raise; None when the policy wants nothing."""
        return Permit(self._rule, self.watch.digest, go) if self._rule is not None or go else None

    def standing(self, *, go: bool) -> tuple[str, ...]:
        """What stands in the way of a raise now, in words. `go`: this step needs a person's judgement."""
        watch = self.watch
        if watch.incident.severity is Severity.LOW:  # nothing is raised
            return self.up()
        now, found = watch.session.clock.now(), []
        if self._rule is not None:
            found.append(approvals.missing(self._rule, watch.incident, watch.digest, now))
        if go and not watch.incident.step_go:
            found.append(f"{GO} (rollback approve {watch.session.feature} --step)")
        if self._calendar is not None:
            found.append(self._calendar.words(now))
        return (*(words for words in found if words), *self.up())

    # -- calling people ---------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Calls whoever may give an approval that is missing, and the next role when the last one did not answer."""
        watch, now = self.watch, self.watch.session.clock.now()
        if self._rule is None or watch.incident.severity is Severity.LOW:
            return
        words = approvals.missing(self._rule, watch.incident, watch.digest, now)
        role = approvals.next_role(self._rule, watch.incident, watch.digest, now) if words else None
        if role is None:
            return
        what = f"{words}, {role}: rollback approve {watch.session.feature} --reason R"
        watch.handle(e.ApprovalAsked(role, what, watch.digest))
        watch.progress.say(f"Asked: {what}")

    def ask_for_go(self, title: str) -> None:
        """Calls somebody to judge the step that is exposed, once."""
        human = self.watch.incident.needs_human
        if self.watch.incident.step_go or (human is not None and human.what.startswith(GO)):
            return
        roles = self._rule.roles if self._rule is not None else ("responder",)
        what = f"{GO}: {title} has its evidence: rollback approve {self.watch.session.feature} --step --reason R"
        self.watch.handle(e.HumanCalled(what, roles[0]))

    # -- switches ---------------------------------------------------------------------------------------------------

    def up(self) -> tuple[str, ...]:
        """The switches that are up, or not known to be lifted, in words. While there is one, no evidence counts."""
        clock = self.watch.session.clock
        if self.switches and clock.monotonic() - self._read_at >= READ_SWITCH_EVERY:
            self._up = tuple(words for switch in self.switches if (words := self._read(switch)))
            self._read_at = clock.monotonic()
        return self._up

    def counting(self, measured: Sequence[Measurement]) -> Sequence[Measurement]:
        """What counts of a round: nothing while a switch is up, and afterwards no window that began while it was."""
        if self.up():
            self._lifted_at = self.watch.session.clock.now()  # not before the next look
            return ()
        since = self._lifted_at
        return [one for one in measured if since is None or one.begins is None or one.begins >= since]

    def _read(self, switch: SwitchSight) -> str:
        """A switch that says that it is up is believed; one that does not answer, only when no person knows better."""
        confirmed = switch.name in self.watch.incident.switches_lifted
        if switch.look is None:
            return "" if confirmed else self._by_a_person(switch, "only a person can say that it is lifted")
        part = switch.look(self.watch.session.clock.monotonic() + READ_SWITCH_WITHIN)
        match part.status:
            case Status.PROVEN:
                return ""
            case Status.OPEN:
                return f"the switch {switch.name} is up; {switch.by} ends it"
            case _:
                return "" if confirmed else self._by_a_person(switch, f"it cannot be read: {part.detail}")

    def _by_a_person(self, switch: SwitchSight, why: str) -> str:
        say = f"rollback approve {self.watch.session.feature} --switch {switch.name}"
        return f"the switch {switch.name} is not known to be lifted ({why}); {switch.by} ends it, then: {say}"
