"""What holds automation back: a hold of one feature for a time, a muted source. Facts of the record, read back from it.

Neither has a say in what a person does, and none delays an off that a person asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rollback.core.verdicts import Hold
from rollback.facts import AUTOMATION, record_fact

if TYPE_CHECKING:
    from rollback.core.history import Actor, Entry
    from rollback.history import History
    from rollback.ports import Clock

HELD, UNHELD = "automation_held", "automation_released"
MUTED, UNMUTED = "source_muted", "source_unmuted"


@dataclass(frozen=True, slots=True)
class Restraints:
    """What held automation back when it was read; whether it still does is for whoever asks at a later moment."""

    holds: Mapping[str, Hold] = field(default_factory=dict)
    mutes: Mapping[str, datetime] = field(default_factory=dict)

    def differ(self, later: Restraints, feature: str) -> bool:
        """Whether something that was held back of this feature no longer is, or until another time."""
        lifted = any(later.mutes.get(source) != until for source, until in self.mutes.items())
        return lifted or (feature in self.holds and later.holds.get(feature) != self.holds[feature])


def read_restraints(history: History, features: Iterable[str]) -> Restraints:
    """From the record. Raises `HistoryUnwritable` when it cannot be read."""
    holds = {feature: hold for feature in features if (hold := held(history, feature))}
    mutes: dict[str, datetime] = {}
    for entry in history.facts(AUTOMATION, (MUTED, UNMUTED)):
        source = str(entry.data.get("source", ""))
        if entry.name == MUTED and (until := _until(entry)):
            mutes[source] = until
        else:
            mutes.pop(source, None)
    return Restraints(holds, mutes)


def held(history: History, feature: str) -> Hold | None:
    """The feature's last hold, also one that is over by now; None when it was released, or never held."""
    entries = history.facts(feature, (HELD, UNHELD))
    if not entries or entries[-1].name == UNHELD:
        return None
    last = entries[-1]
    until = _until(last)
    who = f"by {last.actor.name}" + (f": {last.reason}" if last.reason else "")
    return None if until is None else Hold(until, f"{last.data.get('what', 'all alerts')}, {who}")


def hold(history: History, clock: Clock, feature: str, until: datetime, what: str, actor: Actor, reason: str) -> None:
    """Automation leaves the feature alone until then. Raises `HistoryUnwritable`: a hold that nobody knows is none."""
    data = {"until": until.isoformat(), "what": what}
    record_fact(history, clock, feature, HELD, actor=actor, reason=reason, data=data, strict=True)


def unhold(history: History, clock: Clock, feature: str, actor: Actor, reason: str) -> None:
    """Automation may act again. Raises `HistoryUnwritable`."""
    record_fact(history, clock, feature, UNHELD, actor=actor, reason=reason, strict=True)


def mute(history: History, clock: Clock, source: str, until: datetime, actor: Actor, reason: str) -> None:
    """What this source says is kept, told, and not acted on until then. Raises `HistoryUnwritable`."""
    data = {"source": source, "until": until.isoformat()}
    record_fact(history, clock, AUTOMATION, MUTED, actor=actor, reason=reason, data=data, strict=True)


def unmute(history: History, clock: Clock, source: str, actor: Actor, reason: str) -> None:
    """The source counts again. Raises `HistoryUnwritable`."""
    record_fact(history, clock, AUTOMATION, UNMUTED, actor=actor, reason=reason, data={"source": source}, strict=True)


def _until(entry: Entry) -> datetime | None:
    """The time in the entry; None for one that was written by hand and has none."""
    try:
        until = datetime.fromisoformat(str(entry.data.get("until")))
    except ValueError:
        return None
    return until if until.tzinfo else None
