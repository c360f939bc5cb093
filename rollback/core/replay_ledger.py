"""The history that this program wrote, as a recording. Pure: entries in, a recording out.

What people did, what alerts came in, and what probes said is taken as it was; what the policy made of it (the gate, the
steps, the retreats) is not, because that is what a replay finds out. It is kept as what was done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollback.core import events as e
from rollback.core.alerts import Age, Alert, Edge
from rollback.core.events import Event
from rollback.core.exposure import opened_by
from rollback.core.flag import BUCKETS
from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.model import Severity, State, Watcher
from rollback.core.replay_case import POLARITY, flag_of
from rollback.core.replay_recording import (
    AlertHeard,
    Counts,
    Disabled,
    Enabled,
    HeldBack,
    Item,
    Lowering,
    Mark,
    Opened,
    Recording,
    Sampled,
    Told,
)

_COMMANDS = frozenset({"disable_commanded", "harm_seen", "watch_stopped", "drift_seen", "reduce_commanded"})
_WATCHER = Watcher("recorded", 0, "")


def recording_of(entries: Sequence[Entry], feature: str) -> Recording:
    """The recording of one feature. Raises ValueError for an entry that this program cannot have written."""
    own = sorted((entry for entry in entries if entry.feature == feature), key=lambda entry: entry.at)
    reader = _Reader(feature, {str(entry.key): entry.at for entry in own if _is_intent(entry)})
    for entry in own:
        try:
            reader.read(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"entry {entry.entry_id} ({entry.name}): {error}") from error
    return reader.recording()


def is_alert(actor: Actor) -> bool:
    """Whether an alert acted, and no person: its name is `alert-SOURCE`, and it is not merely claimed."""
    return actor.name.startswith("alert-") and not actor.is_claimed


def _is_intent(entry: Entry) -> bool:
    return entry.kind is EntryKind.INTENT and entry.name == "lower_exposure" and entry.key is not None


@dataclass(slots=True)
class _Command:
    """A lowering that was commanded, and what came of it."""

    at: datetime
    written_at: datetime | None = None
    looks: list[tuple[timedelta, bool]] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    feature: str
    intents: Mapping[str, datetime]
    items: list[Item] = field(default_factory=list)
    done: list[Mark] = field(default_factory=list)
    offs: list[_Command] = field(default_factory=list)
    reductions: list[_Command] = field(default_factory=list)
    audience: int | None = None
    exposure: int | None = None
    measured: bool = False
    acted: dict[str, datetime] = field(default_factory=dict)
    seen: set[tuple[Any, ...]] = field(default_factory=set)
    last: Mapping[str, Any] = field(default_factory=dict)
    is_called: bool = False
    adopted: bool = False
    notes: list[str] = field(default_factory=list)

    def recording(self) -> Recording:
        items = sorted(self.items, key=lambda item: item.at)
        lowerings = tuple(
            Lowering(None if one.written_at is None else one.written_at - one.at, tuple(one.looks)) for one in self.offs
        )
        return Recording(
            self.feature,
            tuple(items),
            tuple(sorted(self.done, key=lambda mark: mark.at)),
            lowerings,
            tuple(one.written_at - one.at for one in self.reductions if one.written_at is not None),
            self.audience,
            self.measured,
            is_ledger=True,
            notes=tuple(self.notes),
        )

    def read(self, entry: Entry) -> None:
        if is_alert(entry.actor):
            self.acted.setdefault(entry.actor.name.removeprefix("alert-"), entry.at)
        match entry.kind, entry.name:
            case EntryKind.TRANSITION, _:
                self._transition(entry)
            case EntryKind.FACT, "evidence":
                self.items.append(_sampled(entry))
            case EntryKind.FACT, "alerts_decided":
                self._alerts(entry)
            case EntryKind.FACT, "note_added":
                self._tell(entry, e.NoteAdded(str(entry.data.get("text", ""))))
            case EntryKind.FACT, "automation_held":
                until = _time(entry.data["until"])
                self.items.append(HeldBack(entry.at, until, str(entry.data.get("what", ""))))
            case EntryKind.FACT, "automation_released":
                self.items.append(HeldBack(entry.at, None))
            case _:
                pass

    # -- transitions ------------------------------------------------------------------------------------------------

    def _transition(self, entry: Entry) -> None:
        after = entry.after or {}
        if self.audience is None and after.get("audience") is not None:
            self.audience = int(after["audience"])
        if not self.last and entry.name not in ("case_opened", "adopted"):
            self.notes.append("The recording begins in the middle of a case, which a replay does not have.")
        self._lowered(entry, after)
        self._input(entry, after)
        self.exposure = self._exposure(entry, after)
        self.done.append(Mark(entry.at, entry.name, _text(entry), str(after.get("state", "")), self.exposure))
        if entry.name == "evidence_ended" and after.get("state") == State.RAMPING.value:
            self.is_called = True
        elif entry.name in ("step_raised", "returned_in_full", "return_started"):
            self.is_called = False
        self.last = after

    def _lowered(self, entry: Entry, after: Mapping[str, Any]) -> None:
        """Which lowering was commanded when, when it was written, and when somebody looked whether it is off."""
        name, state = entry.name, after.get("state")
        if name in _COMMANDS and state in (State.DISABLING.value, State.REDUCING.value):
            began = self.intents.get(str(entry.key), entry.at)
            (self.offs if state == State.DISABLING.value else self.reductions).append(_Command(min(began, entry.at)))
            self.adopted = False
        elif name == "off_written" and self.offs and self.offs[-1].written_at is None:
            self.offs[-1].written_at = entry.at
        elif name == "reduce_settled" and self.reductions and self.reductions[-1].written_at is None:
            self.reductions[-1].written_at = entry.at
        elif name in ("off_proven", "off_not_proven"):
            written = self.offs[-1].written_at if self.offs else None
            if written is not None and not self.adopted:
                self.offs[-1].looks.append((entry.at - written, name == "off_proven"))

    def _exposure(self, entry: Entry, after: Mapping[str, Any]) -> int | None:
        """How many buckets are open after the transition; a cohort counts as nobody."""
        held = after.get("settled_held")
        match entry.name:
            case "off_written":
                return 0
            case "step_raised" | "returned_in_full" if held != BUCKETS:
                said = entry.data.get("exposure")
                return said if isinstance(said, int) else self._opened(held)
            case "reduce_settled" | "adopted":
                return self._opened(held)
            case _:
                return self.audience if self.exposure is None else self.exposure

    def _opened(self, held: object) -> int | None:
        if self.audience is None or not isinstance(held, int):
            return None
        return opened_by(flag_of(self.audience), POLARITY, held)

    def _input(self, entry: Entry, after: Mapping[str, Any]) -> None:
        """What a person did; what alerts did is in their decisions."""
        if is_alert(entry.actor):
            return
        by, at, reason = entry.actor, entry.at, entry.reason
        match entry.name:
            case "disable_commanded":
                self.items.append(Disabled(min(at, self.intents.get(str(entry.key), at)), by, reason))
            case "case_opened" | "severity_raised" if after.get("severity") != Severity.CRITICAL.value:
                self.items.append(Opened(at, Severity(after["severity"]), by, reason))
            case "return_started":
                was_forced = self.last.get("forced_until")
                until = after.get("forced_until")
                forced = None if until is None or until == was_forced else _time(until)
                self.items.append(Enabled(at, by, reason, forced))
            case "watch_stopped" if self._was_by_policy(entry):
                pass
            case _:
                self._facts(entry, after)

    def _was_by_policy(self, entry: Entry) -> bool:
        """Whether the policy itself ended the watch: nobody decided in time, or a forced return expired."""
        forced = self.last.get("forced_until")
        return self.is_called or (forced is not None and entry.at >= _time(forced))

    def _facts(self, entry: Entry, after: Mapping[str, Any]) -> None:
        event = _event(entry, after)
        if entry.name == "gate_measured":
            self.measured = True
        if entry.name == "adopted":
            self.adopted = True
        if entry.name == "off_proven" and not self.adopted:
            return
        if event is not None:
            self._tell(entry, event)

    def _tell(self, entry: Entry, event: Event) -> None:
        self.items.append(Told(entry.at, event, entry.actor))
        if entry.kind is EntryKind.FACT:
            self.done.append(Mark(entry.at, entry.name, _text(entry), exposure=self.exposure))

    # -- alerts -------------------------------------------------------------------------------------------------------

    def _alerts(self, entry: Entry) -> None:
        """Each alert once, at the time at which it was first acted on or decided."""
        for told in entry.data["decisions"]:
            evidence = told["evidence"]
            alert = _alert(evidence)
            source = alert.source[: 64 - len("alert-")]
            at = min(entry.at, self.acted.get(source, entry.at))
            action = str(told["action"]).replace("_", " ")
            shown = f"{alert.edge} {alert.source} {alert.monitor}: {action}. {told['why']}"
            self.done.append(Mark(at, "alert", shown, exposure=self.exposure))
            key = (told["delivery"], alert.source, alert.monitor, alert.cycle, alert.edge)
            if key not in self.seen:
                self.seen.add(key)
                self.items.append(AlertHeard(at, alert, Age(evidence["age"])))
        missing = sum(entry.data.get("counts", {}).values()) - len(entry.data["decisions"])
        if missing > 0:
            self.notes.append(f"{missing} alerts of {entry.at.isoformat()} were only counted in the record: left out.")
        self.acted.clear()


def _event(entry: Entry, after: Mapping[str, Any]) -> Event | None:
    """The fact or the person's decision that the transition records; None for what the policy did."""
    made: dict[str, Any] = {
        "fix_deployed": lambda: e.FixDeployed(str(after["fix"])),
        "code_changed": lambda: e.CodeChanged(str(after["deployed"])),
        "gate_measured": lambda: e.GateMeasured(after["gate_blind"]),
        "blind_gate_accepted": lambda: e.BlindGateAccepted(entry.actor),
        "kept_off": e.KeptOff,
        "released": lambda: e.Released(str(after.get("accepted_digest", ""))),
        "note_added": lambda: e.NoteAdded(str(entry.data.get("text", ""))),
        "false_alarm_declared": lambda: e.FalseAlarmDeclared(entry.actor),
        "disable_undone": lambda: e.DisableUndone(entry.actor, _WATCHER),
        "severity_lowered": lambda: e.SeverityLowered(Severity(after["severity"]), entry.actor),
        "drift_seen": lambda: e.DriftSeen(str(entry.key), int(after["epoch"]), "somebody edited the flag"),
        "watch_stopped": lambda: e.WatchStopped("as recorded"),
        "watch_handed_over": lambda: e.WatchHandedOver("as recorded"),
        "off_unsettled": lambda: e.OffUnsettled("as recorded"),
        "off_proven": e.OffProven,
        "approval_given": lambda: e.ApprovalGiven(entry.actor, "", "", "", int(after["epoch"]), entry.at),
        "approval_withdrawn": lambda: e.ApprovalWithdrawn(entry.actor),
        "step_approved": lambda: e.StepApproved(entry.actor),
        "switch_lifted": lambda: e.SwitchLifted(str(after["switches_lifted"][-1]), entry.actor),
        "adopted": lambda: e.Adopted(
            str(after["incident_id"]), entry.feature, int(after["epoch"]), int(after["settled_held"]), ()
        ),
    }
    maker = made.get(entry.name)
    event: Event | None = maker() if maker else None
    return event


def _alert(evidence: Mapping[str, Any]) -> Alert:
    occurred = evidence["occurred_at"]
    return Alert(
        source=str(evidence["source"]),
        monitor=str(evidence["monitor"]),
        cycle=str(evidence["cycle"]),
        edge=Edge(evidence["edge"]),
        occurred_at=None if occurred is None else _time(occurred),
        priority=str(evidence["priority"]),
        tags=tuple(str(tag) for tag in evidence["tags"]),
    )


def _sampled(entry: Entry) -> Sampled:
    """A batch of evidence. Of its basis (`policy:flag`) the flag alone matters: the policy is the replay's own."""
    metrics = {
        str(name): Counts(
            int(counts["bad"]), int(counts["total"]), int(counts.get("missing", 0)), is_window="until" in counts
        )
        for name, counts in entry.data["metrics"].items()
    }
    flag = (*str(entry.data.get("basis", "")).split(":"), "")[1]
    return Sampled(_time(entry.data["to"]), _time(entry.data["from"]), metrics, flag, is_batch=True)


def _time(text: object) -> datetime:
    at = datetime.fromisoformat(str(text))
    if at.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return at


def _text(entry: Entry) -> str:
    """Why, and by whom."""
    said = str(entry.data.get("text") or entry.reason or "")
    who = f"by {entry.actor.name}" if entry.actor.name else ""
    return ": ".join(part for part in (who, said) if part)
