"""Events in, decide, transitions recorded: the one path by which a case changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rollback import log
from rollback.core import events as e
from rollback.core.events import Event
from rollback.core.history import Entry, EntryKind
from rollback.core.machine import Decision, decide
from rollback.core.model import Incident, State
from rollback.disable import new_incident_id
from rollback.errors import PolicyRefused
from rollback.incident_codec import incident_from_json, incident_to_json
from rollback.session import Session, nonce
from rollback.turn import turn

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class Controller:
    """The case of one feature: reads its image from the history, hands events to `decide`, records what came of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._incident = self._read()

    @property
    def incident(self) -> Incident | None:
        """The open case as last read or written here; None when there is none."""
        return self._incident if self._incident and self._incident.is_open else None

    def reload(self) -> Incident | None:
        """Reads the image again: another process may have written a newer one.

        When the history cannot be read for sure, what is known here stays, unless a newer epoch is found.
        """
        latest = self.session.history.latest(self.session.feature)
        found = self._standing(latest.entry)
        known = self._incident
        if latest.uncertain and known is not None and (found is None or found.epoch <= known.epoch):
            return self.incident
        self._incident = found
        return self.incident

    def require(self) -> Incident:
        """The open case; raises `PolicyRefused` when there is none."""
        if self.incident is None:
            decide(None, e.NoteAdded(""), now=self.session.clock.now(), nonce="")
        assert self.incident is not None
        return self.incident

    def handle(
        self, event: Event, *, reason: str = "", data: Mapping[str, Any] | None = None, strict: bool = False
    ) -> Decision:
        """Decides and records. `strict` (returns) raises `HistoryUnwritable` when it cannot be recorded."""
        with turn(self.session.history.journal.path, self.session.feature):
            before = self.reload()
            decision = decide(before, event, now=self.session.clock.now(), nonce=nonce())
            self._record(before, decision.incident, event, reason, data or {}, strict)
            self._incident = decision.incident
        return decision

    def fact(self, name: str, *, reason: str = "", data: Mapping[str, Any] | None = None, strict: bool = False) -> None:
        """Records something that changes no case."""
        entry = self._entry(EntryKind.FACT, name, reason, self._incident)
        self.session.history.record(replace(entry, data=data or {}), strict=strict)

    def open_case(self, event: e.CaseOpened, *, reason: str = "") -> bool:
        """Opens a case, or attaches to one that is open already. True when it was opened here.

        Two processes may open one at the same moment, without a lock between them: the one that stands first in the
        journal wins, and the other attaches (one open incident per feature, invariant 14).
        """
        if self.reload() is not None:
            return False
        if event.incident_id in self._closed_cases():
            # Its images would outrank those of a new case of the same name.
            event = replace(event, incident_id=new_incident_id(self.session))
        try:
            self.handle(event, reason=reason)
        except PolicyRefused:
            if self.incident is None:
                raise
            return False  # opened by another process since we looked
        winner = self._first_open_case()
        if winner is None or winner.incident_id == event.incident_id:
            return True
        self.fact("case_attached", reason=reason, data={"to": winner.incident_id, "was": event.incident_id})
        self._incident = winner
        return False

    def _first_open_case(self) -> Incident | None:
        """The case that was opened first and is still open, by the order of the journal, which all processes share."""
        first: Incident | None = None
        for entry in self.session.history.recent(self.session.feature):
            image = self._image(entry) if entry.kind is EntryKind.TRANSITION else None
            if image is None:
                continue
            if first is not None and (image.incident_id != first.incident_id or image.epoch < first.epoch):
                continue
            first = image if image.is_open else None
        return first

    def _closed_cases(self) -> set[str]:
        """Names of cases that came to their end, as far as the journal still knows them."""
        entries = self.session.history.recent(self.session.feature)
        known = {str(entry.incident) for entry in entries if entry.kind is EntryKind.TRANSITION}
        return known | ({self._incident.incident_id} if self._incident else set())

    def _read(self) -> Incident | None:
        latest = self.session.history.latest(self.session.feature)
        if latest.uncertain:
            self.session.warn(f"What is known of the case may not be the newest: {latest.why}.")
        return self._standing(latest.entry)

    def _standing(self, newest: Entry | None) -> Incident | None:
        """The case that the newest image belongs to; when that was opened a moment too late, the one before it."""
        image = self._image(newest) if newest else None
        if image is None or image.state is not State.TRIGGERED:
            return image
        return self._first_open_case() or image

    def _image(self, entry: Entry) -> Incident | None:
        try:
            return incident_from_json(entry.after or {})
        except ValueError as error:
            self.session.warn(f"The last image of the case cannot be read ({error}); it is treated as having no case.")
            return None

    def _record(
        self,
        before: Incident | None,
        after: Incident,
        event: Event,
        reason: str,
        data: Mapping[str, Any],
        strict: bool,
    ) -> None:
        entry = self._entry(EntryKind.TRANSITION, event_name(event), reason, after)
        told = {"state": before.state.value, "severity": before.severity.value} if before else {"state": "normal"}
        log.event(entry.name, feature=after.feature, incident=after.incident_id, state=after.state.value)
        self.session.history.record(
            replace(entry, key=getattr(event, "key", None), before=told, after=incident_to_json(after), data=data),
            strict=strict,
        )

    def _entry(self, kind: EntryKind, name: str, reason: str, incident: Incident | None) -> Entry:
        now = self.session.clock.now()
        return Entry(
            entry_id=f"{now:%Y%m%dT%H%M%S%f}-{nonce()}",
            at=now,
            feature=self.session.feature,
            kind=kind,
            name=name,
            actor=self.session.actor,
            reason=reason,
            incident=incident.incident_id if incident else None,
            epoch=incident.epoch if incident else 0,
        )


def event_name(event: Event) -> str:
    """`OffProven` → `off_proven`."""
    return _WORDS.sub("_", type(event).__name__).lower()
