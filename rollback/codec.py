"""Entries as JSON and back, without loss. Kill path: standard library only.

What this accepts is exactly what both the journal and the canonical form of the ledger (RFC 8785) can hold, so
an entry that has reached the journal never gets stuck on its way to the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rollback.core.history import Actor, Entry, EntryKind

VERSION = 1
# I-JSON (RFC 7493, section 2.2): beyond this an integer is not the same in every reader.
SAFE_INTEGER = 2**53 - 1
_DEPTH = 50
_OBJECTS = ("before", "after", "data")
_FIELDS = frozenset(
    ("v", "entry_id", "at", "feature", "kind", "name", "actor", "reason", "incident", "epoch", "key", *_OBJECTS)
)


def time_to_text(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds and `Z`. Raises `ValueError` for a time without an offset."""
    if at.utcoffset() is None:
        raise ValueError("at: a time without an offset")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_from_text(text: object) -> datetime:
    """The time that `time_to_text` wrote. Raises `ValueError` for any other form."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or time_to_text(at) != text:
        raise ValueError(f"at: {text!r:.60} is not a UTC time with microseconds and Z")
    return at.astimezone(UTC)


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """The entry as a JSON object with `v`. Raises `ValueError` naming the field that JSON cannot hold."""
    return {
        "v": VERSION,
        "entry_id": _text(entry.entry_id, "entry_id", needed=True),
        "at": time_to_text(entry.at),
        "feature": _text(entry.feature, "feature", needed=True),
        "kind": EntryKind(entry.kind).value,
        "name": _text(entry.name, "name", needed=True),
        "actor": {
            "name": _text(entry.actor.name, "actor.name"),
            "authenticated": _text(entry.actor.authenticated, "actor.authenticated"),
        },
        "reason": _text(entry.reason, "reason"),
        "incident": None if entry.incident is None else _text(entry.incident, "incident"),
        "epoch": _count(entry.epoch, "epoch"),
        "key": None if entry.key is None else _text(entry.key, "key"),
        "before": None if entry.before is None else _object(entry.before, "before"),
        "after": None if entry.after is None else _object(entry.after, "after"),
        "data": _object(entry.data, "data"),
    }


def entry_from_json(value: object) -> Entry:
    """The entry that `entry_to_json` wrote. Raises `ValueError` naming the field.

    A field that version 1 does not have is refused: `Entry` could not keep it, and dropping it would lose history.
    """
    if not isinstance(value, Mapping):
        raise ValueError("an entry must be a JSON object")
    version = value.get("v")
    if isinstance(version, bool) or version != VERSION:
        raise ValueError(f"v: version {version!r:.40} is unknown, this program writes {VERSION}")
    if value.keys() != _FIELDS:
        odd = [f"{field}: missing" for field in _FIELDS - value.keys()]
        odd += [f"{field!s:.40}: unknown" for field in value.keys() - _FIELDS]
        raise ValueError("; ".join(sorted(odd)))
    actor = value["actor"]
    if not isinstance(actor, Mapping) or actor.keys() != {"name", "authenticated"}:
        raise ValueError("actor: must have name and authenticated, and nothing else")
    try:
        kind = EntryKind(value["kind"])
    except ValueError:
        raise ValueError(f"kind: {value['kind']!r:.40} is unknown") from None
    return Entry(
        entry_id=_text(value["entry_id"], "entry_id", needed=True),
        at=time_from_text(value["at"]),
        feature=_text(value["feature"], "feature", needed=True),
        kind=kind,
        name=_text(value["name"], "name", needed=True),
        actor=Actor(_text(actor["name"], "actor.name"), _text(actor["authenticated"], "actor.authenticated")),
        reason=_text(value["reason"], "reason"),
        incident=None if value["incident"] is None else _text(value["incident"], "incident"),
        epoch=_count(value["epoch"], "epoch"),
        key=None if value["key"] is None else _text(value["key"], "key"),
        before=None if value["before"] is None else _object(value["before"], "before"),
        after=None if value["after"] is None else _object(value["after"], "after"),
        data=_object(value["data"], "data"),
    )


def repaired(entry: Entry) -> Entry:
    """The entry with everything that JSON cannot hold turned into text that it can.

    For the kill path: an odd byte in a reason must neither stop a kill nor cost the history the entry.
    """
    return replace(
        entry,
        entry_id=_mended_text(entry.entry_id) or "unknown",
        at=entry.at if entry.at.utcoffset() is not None else entry.at.replace(tzinfo=UTC),
        feature=_mended_text(entry.feature) or "unknown",
        name=_mended_text(entry.name) or "unknown",
        actor=Actor(_mended_text(entry.actor.name), _mended_text(entry.actor.authenticated)),
        reason=_mended_text(entry.reason),
        incident=None if entry.incident is None else _mended_text(entry.incident),
        epoch=min(max(int(entry.epoch), 0), SAFE_INTEGER),
        key=None if entry.key is None else _mended_text(entry.key),
        before=None if entry.before is None else _mended_object(entry.before),
        after=None if entry.after is None else _mended_object(entry.after),
        data=_mended_object(entry.data),
    )


def _text(value: object, field: str, *, needed: bool = False) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field}: must be text, not {type(value).__name__}")
    if needed and not value:
        raise ValueError(f"{field}: must not be empty")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{field}: holds half a character (a lone surrogate)") from None
    return str(value)


def _count(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SAFE_INTEGER:
        raise ValueError(f"{field}: must be a whole number from 0 to 2^53 - 1")
    return value


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{field}: must be a JSON object, not {type(value).__name__}")
    plain = _plain(value, field, 0)
    assert isinstance(plain, dict)
    return plain


def _plain(value: object, field: str, depth: int) -> Any:
    """A deep copy made of plain JSON types; a tuple becomes a list."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, field)
    if isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            raise ValueError(f"{field}: an integer beyond 2^53 - 1")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{field}: {value} is not a JSON number")
        return float(value)
    if depth >= _DEPTH:
        raise ValueError(f"{field}: nested more than {_DEPTH} deep")
    if isinstance(value, Mapping):
        return {
            _text(name, f"{field} (a name)"): _plain(item, f"{field}.{name}", depth + 1) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ValueError(f"{field}: {type(value).__name__} is not a JSON value")


def _mended_text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _mended_object(value: object) -> dict[str, Any]:
    mended = _mended(value, 0)
    return mended if isinstance(mended, dict) else {"value": mended}


def _mended(value: object, depth: int) -> Any:
    try:
        return _plain(value, "", _DEPTH if isinstance(value, Mapping | list | tuple) else 0)
    except ValueError:
        pass
    if depth < _DEPTH and isinstance(value, Mapping):
        return {_mended_text(key): _mended(item, depth + 1) for key, item in value.items()}
    if depth < _DEPTH and isinstance(value, list | tuple):
        return [_mended(item, depth + 1) for item in value]
    if isinstance(value, Mapping | list | tuple):
        return "(nested too deep)"
    return _mended_text(value)[:500]
