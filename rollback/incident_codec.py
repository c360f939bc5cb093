"""An incident to and from JSON values: the image that each transition carries. Lossless."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from rollback.core.model import Approval, ApprovalRequest, Incident, NeedsHuman, Severity, State, Watcher


def incident_to_json(incident: Incident) -> dict[str, Any]:
    """Every field by its name; times as ISO 8601, tuples as lists."""
    return _fields_to_json(incident)


def _fields_to_json(record: Incident | NeedsHuman | Watcher | Approval | ApprovalRequest) -> dict[str, Any]:
    return {field.name: _to_json(getattr(record, field.name)) for field in fields(record)}


def _to_json(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case NeedsHuman() | Watcher() | Approval() | ApprovalRequest():
            return _fields_to_json(value)
        case tuple():
            return [_to_json(one) for one in value]
        case Severity() | State():
            return value.value
        case _:
            return value


def incident_from_json(image: Mapping[str, Any]) -> Incident:
    """The incident of an image. Fields that this version does not know are dropped; raises ValueError when one is bad.

    A field that is missing has its default; a value of another type is refused here, before it can trip up a kill.
    """
    if not isinstance(image, Mapping):
        raise ValueError("not the image of an incident: no object")
    values: dict[str, Any] = {}
    for field in fields(Incident):
        if field.name in image:
            try:
                values[field.name] = _READERS.get(field.name, _text)(image[field.name])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"not the image of an incident: {field.name}: {error}") from error
    try:
        return Incident(**values)
    except TypeError as error:
        raise ValueError(f"not the image of an incident: {error}") from error


_Reader = Callable[[Any], Any]


def _exactly(kind: type) -> _Reader:
    """Only this type: in JSON `true` is no number, though Python's bool is an int."""

    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r:.40} is not of type {kind.__name__}")
        return value

    return read


def _or_none(reader: _Reader) -> _Reader:
    return lambda value: None if value is None else reader(value)


_text, _number, _yes_or_no = _exactly(str), _exactly(int), _exactly(bool)


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _time(text: Any) -> datetime:
    """A time without an offset cannot be compared with any other here, so it is refused."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return at


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.40} is no list")
    return tuple(_text(one) for one in value)


def _human(value: Any) -> NeedsHuman:
    by = _or_none(_time)(_object(value).get("by"))
    return NeedsHuman(_text(value["what"]), _text(value["role"]), _time(value["since"]), by)


def _watcher(value: Any) -> Watcher:
    return Watcher(_text(value["host"]), _number(value["pid"]), _text(value["started"]))


def _approval(value: Any) -> Approval:
    image = _object(value)
    by, role, fix, digest = (_text(image[name]) for name in ("by", "role", "fix", "digest"))
    used = _yes_or_no(image["used"])
    return Approval(by, role, fix, digest, _time(image["at"]), _time(image["expires_at"]), used)


def _approvals(value: Any) -> tuple[Approval, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.40} is no list")
    return tuple(_approval(one) for one in value)


def _request(value: Any) -> ApprovalRequest:
    image = _object(value)
    return ApprovalRequest(_text(image["digest"]), _time(image["since"]), _texts(image["roles"]), _text(image["what"]))


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r:.40} is no object")
    return value


_READERS: Mapping[str, _Reader] = {
    "severity": Severity,
    "state": State,
    **dict.fromkeys(("opened_at", "since"), _time),
    **dict.fromkeys(
        ("turned_at", "proven_at", "pending_off_since", "forced_until", "undo_until"),
        _or_none(_time),
    ),
    **dict.fromkeys(("epoch", "attempt", "code_changes", "drift_repairs"), _number),
    **dict.fromkeys(("settled_held", "safe_held", "audience"), _or_none(_number)),
    **dict.fromkeys(("sensitive", "one_step", "keep_off", "firing_unkept", "step_go", "drift_left"), _yes_or_no),
    "turned_clock": _or_none(_real),
    "gate_blind": _or_none(_yes_or_no),
    **dict.fromkeys(("review", "kills", "firing", "disabled_by", "switches_lifted"), _texts),
    "approvals": _approvals,
    "approval_request": _or_none(_request),
    "needs_human": _or_none(_human),
    "watcher": _or_none(_watcher),
    "extra": _object,
}
"""How each field that is not text is read."""
