"""What happened, in the past tense. Frozen data; `machine.decide` says what follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rollback.core.approvals import Permit
from rollback.core.history import Actor
from rollback.core.model import Severity, Watcher


@dataclass(frozen=True, slots=True)
class CaseOpened:
    """Somebody, or an alert, called the feature broken. `sensitive` marks a security or privacy case.

    `held` is, for a high case, how many buckets the reduction is to hold off: whoever settles after a crash needs it.
    """

    incident_id: str
    feature: str
    severity: Severity
    by: str = ""
    reason: str = ""
    policy_hash: str = ""
    sensitive: bool = False
    held: int | None = None


@dataclass(frozen=True, slots=True)
class SeverityRaised:
    """The open case is worse than it was called. `held` as in `CaseOpened`."""

    severity: Severity
    held: int | None = None


@dataclass(frozen=True, slots=True)
class SeverityLowered:
    """A person lowered the severity; only while the feature is on."""

    severity: Severity
    by: Actor


@dataclass(frozen=True, slots=True)
class DisableCommanded:
    """Off for all, now: by a person, or by an alert under a policy. `key` names the kill that is put in front.

    `by` may take it back within a moment; empty: the one who opened the case.
    """

    key: str
    epoch: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class OffWritten:
    """The store acknowledged the kill at `at` (None: now). `audience` is what was open before, without ours; None
    when unknown.

    `was_off` is True when nobody was served before either: then the feature is off for longer than this. `clock`: see
    `Incident.turned_clock`.
    """

    key: str
    audience: int | None
    was_off: bool = False
    at: datetime | None = None
    clock: float | None = None


@dataclass(frozen=True, slots=True)
class OffUnsettled:
    """The kill was sent, or could not be sent, and is not known to be there: it stays pending."""

    why: str


@dataclass(frozen=True, slots=True)
class OffProven:
    """Everything that the proof asks for was seen."""


@dataclass(frozen=True, slots=True)
class OffNotProven:
    """The proof was not complete when its time was up."""

    missing: str


@dataclass(frozen=True, slots=True)
class ReduceCommanded:
    """Stay on, reduced. `held` is the number of buckets that the kill holds off."""

    key: str
    epoch: int
    held: int


@dataclass(frozen=True, slots=True)
class ReduceSettled:
    """The store acknowledged the reduction, and the exposure read back is no larger."""

    key: str
    held: int
    audience: int | None


@dataclass(frozen=True, slots=True)
class FixingStarted:
    """A low case: a fix is prioritised and worked on; nothing touches the flag."""


@dataclass(frozen=True, slots=True)
class FixDeployed:
    """A fix was deployed through CI/CD, or linked by a responder. The same commit again is no new attempt.

    `by` is who says so; empty: not known.
    """

    commit: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class CodeChanged:
    """A pipeline deployed another commit than the one that ran, or was taken to run, until now."""

    commit: str


@dataclass(frozen=True, slots=True)
class GateMeasured:
    """The gate was asked once when the case opened. `green` is None when it had no data."""

    green: bool | None


@dataclass(frozen=True, slots=True)
class BlindGateAccepted:
    """A person takes it upon themselves that the gate could not see this fault."""

    by: Actor


@dataclass(frozen=True, slots=True)
class ReturnStarted:
    """Somebody wants the feature back: the gate opens its ears. `forced_until` skips the gate, never the monitor.

    `kills` are the keys of our kills on the flag at that moment: the return knows these, and stops at any other.
    """

    watcher: Watcher
    by: Actor
    kills: tuple[str, ...] = ()
    forced_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class WatchHandedOver:
    """The watching process ends by choice: somebody (`to`) has to go on watching what is exposed."""

    to: str


@dataclass(frozen=True, slots=True)
class GatePassed:
    """There is enough evidence of health for the next rung. `held` is what the kill will hold off then (0: full).

    `permit` is what the policy wants beside the evidence; None: nothing.
    """

    held: int
    permit: Permit | None = None


@dataclass(frozen=True, slots=True)
class StepRaised:
    """The store acknowledged the rung, and it was read back."""

    held: int


@dataclass(frozen=True, slots=True)
class ReturnedInFull:
    """Ours is taken out: the flag is as it would be without us."""


@dataclass(frozen=True, slots=True)
class HarmSeen:
    """The evidence says that the feature is harmful now."""

    why: str


@dataclass(frozen=True, slots=True)
class EvidenceEnded:
    """The deadline passed without enough evidence, one way or the other."""

    why: str


@dataclass(frozen=True, slots=True)
class WatchStopped:
    """The watching process was interrupted, or is found dead."""

    why: str


@dataclass(frozen=True, slots=True)
class MonitoringEnded:
    """The policy's monitoring time is over, without harm."""


@dataclass(frozen=True, slots=True)
class DriftSeen:
    """Somebody else's edit lets users in while the feature should be off. `key` names the kill that puts it right."""

    key: str
    epoch: int
    what: str


@dataclass(frozen=True, slots=True)
class FalseAlarmDeclared:
    """A person says that there was nothing; the feature goes back in one watched step."""

    by: Actor


@dataclass(frozen=True, slots=True)
class DisableUndone:
    """The person who disabled it a moment ago takes that back."""

    by: Actor
    watcher: Watcher


@dataclass(frozen=True, slots=True)
class KeptOff:
    """Off until lifted: no return may start."""


@dataclass(frozen=True, slots=True)
class Released:
    """A person lifts what kept the return back, and accepts the flag as it now is (`digest` of what was accepted)."""

    digest: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """A case that another machine left on the flag is taken over. `held` is what its kill holds off."""

    incident_id: str
    feature: str
    epoch: int
    held: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoteAdded:
    """A fact for the record."""

    text: str


@dataclass(frozen=True, slots=True)
class HumanCalled:
    """Somebody has to look, or decide."""

    what: str
    role: str = "responder"


@dataclass(frozen=True, slots=True)
class AlertsAttached:
    """Alert cycles that fire joined the case. `cycles` are their references (`triggers.cycle_reference`).

    `highest` is the most severe of them, `source` who sent them; both for the record alone.
    """

    cycles: tuple[str, ...]
    highest: Severity
    source: str


@dataclass(frozen=True, slots=True)
class AlertsRecovered:
    """Alert cycles are over. That never flips anything; it only stops standing in the way of a return."""

    cycles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """Those who hold `role` were asked for an approval of the flag with this digest; `what` says so to them."""

    role: str
    what: str
    digest: str


@dataclass(frozen=True, slots=True)
class ApprovalGiven:
    """A person, who holds `role`, permits that `fix` comes back on the flag with this digest, until `expires_at`.

    `epoch` is the case's when they looked: whoever looked before another disable has approved something else.
    """

    by: Actor
    role: str
    fix: str
    digest: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalWithdrawn:
    """Somebody takes their own approval back. That only holds back, so whoever is merely claimed may do it too."""

    by: Actor


@dataclass(frozen=True, slots=True)
class StepApproved:
    """A person judges that the step that is exposed is well, as the policy wants it."""

    by: Actor


@dataclass(frozen=True, slots=True)
class SwitchLifted:
    """A person says that a switch beside the flag no longer stands in the way."""

    name: str
    by: Actor


Event = (
    CaseOpened
    | SeverityRaised
    | SeverityLowered
    | DisableCommanded
    | OffWritten
    | OffUnsettled
    | OffProven
    | OffNotProven
    | ReduceCommanded
    | ReduceSettled
    | FixingStarted
    | FixDeployed
    | CodeChanged
    | GateMeasured
    | BlindGateAccepted
    | ReturnStarted
    | WatchHandedOver
    | GatePassed
    | StepRaised
    | ReturnedInFull
    | HarmSeen
    | EvidenceEnded
    | WatchStopped
    | MonitoringEnded
    | DriftSeen
    | FalseAlarmDeclared
    | DisableUndone
    | KeptOff
    | Released
    | Adopted
    | NoteAdded
    | HumanCalled
    | AlertsAttached
    | AlertsRecovered
    | ApprovalAsked
    | ApprovalGiven
    | ApprovalWithdrawn
    | StepApproved
    | SwitchLifted
)
