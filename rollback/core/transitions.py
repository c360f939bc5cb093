"""The transition table. Everything that changes an incident's state is listed here, and nothing else changes one.

`TABLE[severity][state][event]` is the new state. A pair that is not listed is refused and changes nothing; facts, which
leave every open state as it is, are listed once in `FACTS`. The order protects: `disabling` lasts until off is proven,
harm and a lost watcher lead down, and only evidence leads up. A severity that was raised leaves its case `triggered`
under the new severity's rows; so the rows of `critical` also name the states that a case has from its milder time.
"""

from __future__ import annotations

from collections.abc import Mapping

from rollback.core import events as e
from rollback.core.events import Event
from rollback.core.model import Severity, State

_Row = Mapping[type[Event], State]

FACTS: frozenset[type[Event]] = frozenset(
    {
        e.FixDeployed,
        e.CodeChanged,
        e.GateMeasured,
        e.BlindGateAccepted,
        e.KeptOff,
        e.Released,
        e.NoteAdded,
        e.HumanCalled,
        e.WatchHandedOver,
        e.AlertsAttached,
        e.AlertsRecovered,
        e.ApprovalAsked,
        e.ApprovalGiven,
        e.ApprovalWithdrawn,
        e.SwitchLifted,
    }
)
"""Facts on the incident: allowed in every open state, which they leave as it is."""

OPENING: _Row = {e.CaseOpened: State.TRIGGERED, e.Adopted: State.DISABLING}
"""From `normal`."""

_CRITICAL: Mapping[State, _Row] = {
    State.TRIGGERED: {e.DisableCommanded: State.DISABLING},
    State.FIXING: {e.DisableCommanded: State.DISABLING},
    State.REDUCING: {e.DisableCommanded: State.DISABLING},
    State.REDUCED: {e.DisableCommanded: State.DISABLING},
    State.DISABLING: {
        e.DisableCommanded: State.DISABLING,
        e.OffWritten: State.DISABLING,
        e.OffUnsettled: State.DISABLING,
        e.OffNotProven: State.DISABLING,
        e.OffProven: State.DISABLED,
        e.DriftSeen: State.DISABLING,
        e.DisableUndone: State.RAMPING,
    },
    State.DISABLED: {
        e.DisableCommanded: State.DISABLING,
        e.DriftSeen: State.DISABLING,
        e.OffWritten: State.DISABLING,
        e.OffUnsettled: State.DISABLED,
        e.OffNotProven: State.DISABLING,
        e.OffProven: State.DISABLED,
        e.ReturnStarted: State.VERIFYING,
        e.FalseAlarmDeclared: State.DISABLED,
        e.DisableUndone: State.RAMPING,
    },
    State.VERIFYING: {
        e.DisableCommanded: State.DISABLING,
        e.DriftSeen: State.DISABLING,
        e.GatePassed: State.RAMPING,
        e.StepApproved: State.VERIFYING,
        e.HarmSeen: State.DISABLED,
        e.EvidenceEnded: State.DISABLED,
        e.WatchStopped: State.DISABLED,
    },
    State.RAMPING: {
        e.DisableCommanded: State.DISABLING,
        e.DriftSeen: State.DISABLING,
        e.GatePassed: State.RAMPING,
        e.StepApproved: State.RAMPING,
        e.StepRaised: State.RAMPING,
        e.ReturnedInFull: State.MONITORING,
        e.HarmSeen: State.DISABLING,
        e.EvidenceEnded: State.RAMPING,
        e.WatchStopped: State.DISABLING,
    },
    State.MONITORING: {
        e.DisableCommanded: State.DISABLING,
        e.HarmSeen: State.DISABLING,
        e.WatchStopped: State.DISABLING,
        e.ReturnStarted: State.MONITORING,
        e.MonitoringEnded: State.RESOLVED,
        e.SeverityLowered: State.MONITORING,
    },
}

_HIGH: Mapping[State, _Row] = {
    State.TRIGGERED: {e.ReduceCommanded: State.REDUCING, e.SeverityRaised: State.TRIGGERED},
    State.REDUCING: {
        e.ReduceCommanded: State.REDUCING,
        e.ReduceSettled: State.REDUCED,
        e.DriftSeen: State.REDUCING,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.REDUCED: {
        e.ReduceCommanded: State.REDUCING,
        e.DriftSeen: State.REDUCING,
        e.ReturnStarted: State.VERIFYING,
        e.FalseAlarmDeclared: State.REDUCED,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.VERIFYING: {
        e.ReduceCommanded: State.REDUCING,
        e.DriftSeen: State.REDUCING,
        e.GatePassed: State.RAMPING,
        e.StepApproved: State.VERIFYING,
        e.HarmSeen: State.REDUCED,
        e.EvidenceEnded: State.REDUCED,
        e.WatchStopped: State.REDUCED,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.RAMPING: {
        e.ReduceCommanded: State.REDUCING,
        e.DriftSeen: State.REDUCING,
        e.GatePassed: State.RAMPING,
        e.StepApproved: State.RAMPING,
        e.StepRaised: State.RAMPING,
        e.ReturnedInFull: State.MONITORING,
        e.HarmSeen: State.REDUCING,
        e.EvidenceEnded: State.RAMPING,
        e.WatchStopped: State.REDUCING,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.MONITORING: {
        e.ReduceCommanded: State.REDUCING,
        e.HarmSeen: State.REDUCING,
        e.WatchStopped: State.REDUCING,
        e.ReturnStarted: State.MONITORING,
        e.MonitoringEnded: State.RESOLVED,
        e.SeverityLowered: State.MONITORING,
        e.SeverityRaised: State.TRIGGERED,
    },
}

_LOW: Mapping[State, _Row] = {
    State.TRIGGERED: {e.FixingStarted: State.FIXING, e.SeverityRaised: State.TRIGGERED},
    State.FIXING: {
        e.ReturnStarted: State.VERIFYING,
        e.FalseAlarmDeclared: State.RESOLVED,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.VERIFYING: {
        e.GatePassed: State.MONITORING,
        e.HarmSeen: State.FIXING,
        e.EvidenceEnded: State.FIXING,
        e.WatchStopped: State.FIXING,
        e.SeverityRaised: State.TRIGGERED,
    },
    State.MONITORING: {
        e.HarmSeen: State.FIXING,
        e.WatchStopped: State.FIXING,
        e.ReturnStarted: State.MONITORING,
        e.MonitoringEnded: State.RESOLVED,
        e.SeverityRaised: State.TRIGGERED,
    },
}

TABLE: Mapping[Severity, Mapping[State, _Row]] = {
    Severity.CRITICAL: _CRITICAL,
    Severity.HIGH: _HIGH,
    Severity.LOW: _LOW,
}


def next_state(severity: Severity, state: State, event: type[Event]) -> State | None:
    """The state after `event`, `None` when it is refused there."""
    if state is State.NORMAL or state is State.RESOLVED:
        return OPENING.get(event)
    if event in FACTS:
        return state
    return TABLE[severity].get(state, {}).get(event)


def mermaid() -> str:
    """The table as a Mermaid state diagram, one per severity, in the order of the table."""
    blocks = []
    for severity, rows in TABLE.items():
        lines = ["```mermaid", "stateDiagram-v2"]
        for opening, first in OPENING.items():
            if opening is e.CaseOpened or severity is Severity.CRITICAL:  # a case is adopted as a critical one
                lines.append(f"    [*] --> {first}: {opening.__name__}")
        for state, row in rows.items():
            by_target: dict[State, list[str]] = {}
            for event, target in row.items():
                by_target.setdefault(target, []).append(event.__name__)
            lines += [f"    {state} --> {target}: {', '.join(names)}" for target, names in by_target.items()]
        lines += ["    resolved --> [*]", "```"]
        blocks.append(f"## {severity}\n\n" + "\n".join(lines))
    return "\n\n".join(blocks) + "\n"
