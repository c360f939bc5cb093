"""Incidents and their states. Kill path: standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad; each has a policy. An incident's severity is the highest ever raised."""

    LOW = "low"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low, 1 for high, 2 for critical."""
        return (Severity.LOW, Severity.HIGH, Severity.CRITICAL).index(self)


class State(StrEnum):
    """An incident's states; `normal` is the absence of a case."""

    NORMAL = "normal"
    TRIGGERED = "triggered"
    DISABLING = "disabling"
    DISABLED = "disabled"
    REDUCING = "reducing"
    REDUCED = "reduced"
    FIXING = "fixing"
    VERIFYING = "verifying"
    RAMPING = "ramping"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class NeedsHuman:
    """What a person has to do or decide, since when; `role` is who the policy asks, `by` the latest sensible time."""

    what: str
    role: str
    since: datetime
    by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Watcher:
    """The process that watches an exposure: enough to tell whether that very process still lives."""

    host: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that the fix may come back on the flag as it was when they looked.

    It is for this `fix` and this `digest` of everybody else's configuration of the flag alone, and void from
    `expires_at` on; one that is `used` has permitted a raise, and lasts to the end of that return.
    """

    by: str
    role: str
    fix: str
    digest: str
    at: datetime
    expires_at: datetime
    used: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """Who was asked for an approval of the flag with this digest: the roles in order, and since when."""

    digest: str
    since: datetime
    roles: tuple[str, ...]
    what: str


NAMES_KEPT = 50
"""How many names of those who turned it off a case keeps."""

FIRING_KEPT = 200
"""How many firing alert cycles a case keeps: its image is written with each entry, also on the kill path."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One open matter of one feature.

    `epoch` rises with each disable; a return that began under an older one stops. `settled_held` is the number of
    buckets that our kill holds off at the last settled step (100: off, 0: nothing of ours), `None` before anything was
    written. `safe_held` is where a retreat ends: 100 for critical, the reduced level for high, `None` for low.
    `audience` is how many buckets were open without us when the case first lowered exposure, `None` when unknown.
    `turned_at` is when the store acknowledged the last lowering; `proven_at` when off was proven. `turned_clock` is by
    how many seconds the wall clock was ahead of the monotonic one of the process that turned it, `None` when unknown:
    where the two still lie as far apart, time has passed as the wall clock says.
    `gate_blind` is True when the gate was green while the feature was called broken, `None` when nothing was measured.
    `deployed` is the commit that a pipeline deployed last in this case, empty when none did, and `code_changes` counts
    how often that was another one than before: evidence is about what runs.
    `attempt` counts the fixes that were tried: the k-th spends α/(k(k+1)). `one_step` makes the ladder one rung.
    `kills` are the keys of our rollouts that this case knows of. `policy_hash` is of the policy the case pins.
    `disabled_by` are the people who turned it off, `fixed_by` deployed the fix, and `returned_by` began the last
    return: with four eyes none of them approves it. `switches_lifted` are switches beside the flag of which a person
    says that they are lifted; `step_go` is True once a person has said that the step that is exposed is well.
    `drift_left` is True while a second foreign edit that lets users in is left to people (invariant 16).
    `undo_by` may take the disable back until `undo_until`; empty when nobody may (any more).
    `firing` are references of the alert cycles that are attached and fire, oldest first, `FIRING_KEPT` at most;
    `firing_unkept` is True when more were attached: what is not kept cannot recover, so a person has to release it.
    """

    incident_id: str
    feature: str
    severity: Severity
    state: State
    opened_at: datetime
    since: datetime
    epoch: int = 0
    reason: str = ""
    opened_by: str = ""
    policy_hash: str = ""
    settled_held: int | None = None
    safe_held: int | None = None
    audience: int | None = None
    turned_at: datetime | None = None
    turned_clock: float | None = None
    proven_at: datetime | None = None
    gate_blind: bool | None = None
    blind_accepted_by: str = ""
    sensitive: bool = False
    fix: str = ""
    deployed: str = ""
    code_changes: int = 0
    attempt: int = 0
    one_step: bool = False
    keep_off: bool = False
    accepted_digest: str = ""
    pending_off_since: datetime | None = None
    drift_repairs: int = 0
    drift_left: bool = False
    forced_until: datetime | None = None
    undo_by: str = ""
    undo_until: datetime | None = None
    review: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()
    needs_human: NeedsHuman | None = None
    watcher: Watcher | None = None
    firing: tuple[str, ...] = ()
    firing_unkept: bool = False
    disabled_by: tuple[str, ...] = ()
    fixed_by: str = ""
    returned_by: str = ""
    approvals: tuple[Approval, ...] = ()
    approval_request: ApprovalRequest | None = None
    step_go: bool = False
    switches_lifted: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> tuple[str, int]:
        """What evidence is about: the fix, and how often other code came in beside it."""
        return self.fix, self.code_changes

    @property
    def is_open(self) -> bool:
        """False once resolved."""
        return self.state not in (State.RESOLVED, State.NORMAL)
