"""An incident to and from JSON values: the image that each transition carries. Lossless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from rollback.core.model import Incident, NeedsHuman, Severity, State, Watcher

_TIMES = frozenset({"opened_at", "since", "turned_at", "proven_at", "pending_off_since", "forced_until"})


def incident_to_json(incident: Incident) -> dict[str, Any]:
    """Every field by its name; times as ISO 8601, tuples as lists."""
    image: dict[str, Any] = {}
    for field in fields(incident):
        value = getattr(incident, field.name)
        match value:
            case datetime():
                value = value.isoformat()
            case NeedsHuman(what, role, since, by):
                value = {
                    "what": what,
                    "role": role,
                    "since": since.isoformat(),
                    "by": by.isoformat() if by else None,
                }
            case Watcher(host, pid, started):
                value = {"host": host, "pid": pid, "started": started}
            case tuple():
                value = list(value)
            case Severity() | State():
                value = value.value
            case _:
                pass
        image[field.name] = value
    return image


def incident_from_json(image: Mapping[str, Any]) -> Incident:
    """The incident of an image. Fields that this version does not know are dropped. Raises ValueError for a bad one."""
    known = {field.name for field in fields(Incident)}
    values: dict[str, Any] = {name: value for name, value in image.items() if name in known}
    try:
        for name in _TIMES & values.keys():
            values[name] = _time(values[name])
        values["severity"] = Severity(values["severity"])
        values["state"] = State(values["state"])
        values["review"] = tuple(values.get("review") or ())
        values["kills"] = tuple(values.get("kills") or ())
        if human := values.get("needs_human"):
            since = datetime.fromisoformat(human["since"])
            values["needs_human"] = NeedsHuman(human["what"], human["role"], since, _time(human.get("by")))
        if watcher := values.get("watcher"):
            values["watcher"] = Watcher(watcher["host"], watcher["pid"], watcher["started"])
        return Incident(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the image of an incident: {error}") from error


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
