"""Which feature a call is about, and what the history says of its cases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rollback import bootstrap, log
from rollback.core.history import Entry, EntryKind
from rollback.core.model import Incident, State
from rollback.errors import ConfigurationError
from rollback.feature_files import feature_paths, find_feature_file
from rollback.flag_reference import read_flag_reference
from rollback.incident_codec import incident_from_json
from rollback.kill_settings import read_settings
from rollback.server.problems import Problem, Refused

INCIDENT = re.compile(r"(?P<feature>.+)-\d{8}T\d{6}Z-[0-9a-f]{4}")
"""What a case is called (`disable.new_incident_id`)."""


def key_of(name: str) -> str:
    """The key of the feature called `name` (key, alias, or a case of it). Raises `Refused` (404) when there is none."""
    require_known(name)
    settings = read_settings(os.environ, forgiving=True)
    return read_flag_reference(settings.policies, _without_case(name), bootstrap.environment()).feature


def require_known(name: str) -> None:
    """Raises `Refused` (404) when the policies can be read, and no feature is called so."""
    folder = Path(read_settings(os.environ, forgiving=True).policies)
    feature_paths(folder / "features")  # raises `ConfigurationError` when it cannot be read: then nobody can tell
    try:
        find_feature_file(folder, _without_case(name))
    except ConfigurationError as error:
        raise Refused(Problem(error.code, error.message, error.exit_code, error.next, status=404)) from error


def _without_case(name: str) -> str:
    case = INCIDENT.fullmatch(name)
    return case["feature"] if case else name


def rows_of(feature: str | None) -> tuple[list[dict[str, Any]], str]:
    """The rows of the history, oldest first, and why that may not be all (empty: it is)."""
    _, history = bootstrap.open_history(_log)
    found = history.entries(feature)
    return bootstrap.history_rows(found), found.trouble


def incidents_of(feature: str) -> tuple[list[dict[str, Any]], str]:
    """The feature's cases, newest first, and why that may not be all."""
    _, history = bootstrap.open_history(_log)
    found = history.entries(feature)
    return summaries(found.entries), found.trouble


def summaries(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Each case by its newest image, newest case first. An image that cannot be read is left out (`verify` names it).

    A case is as its highest epoch says, and there as its latest entry says: a late entry of an older epoch is history.
    One that was opened a moment too late, and attached to the one before it (`Controller.open_case`), is none.
    """
    newest: dict[str, tuple[int, Entry, Incident]] = {}
    too_late: set[str] = set()
    for entry in entries:
        if entry.kind is EntryKind.FACT and entry.name == "case_attached":
            too_late.add(str(entry.data.get("was")))
        if entry.kind is not EntryKind.TRANSITION or entry.incident is None:
            continue
        try:
            image = incident_from_json(entry.after or {})
        except ValueError:
            continue
        known = newest.get(image.incident_id)
        if known is None or image.epoch >= known[0]:
            newest[image.incident_id] = (image.epoch, entry, image)
    told = [_summary(entry, image) for name, (_, entry, image) in newest.items() if name not in too_late]
    return sorted(told, key=lambda case: str(case["opened_at"]), reverse=True)


def _summary(entry: Entry, image: Incident) -> dict[str, Any]:
    human = image.needs_human
    return {
        "incident": image.incident_id,
        "feature": image.feature,
        "severity": image.severity.value,
        "state": image.state.value,
        "opened_at": _time(image.opened_at),
        "since": _time(image.since),
        "ended_at": _time(entry.at) if image.state is State.RESOLVED else None,
        "opened_by": image.opened_by,
        "reason": image.reason,
        "epoch": image.epoch,
        "off_since": _time(image.turned_at),
        "proven_at": _time(image.proven_at),
        "fix": image.fix or None,
        "gate_blind": image.gate_blind,
        "sensitive": image.sensitive,
        "kept_off": image.keep_off,
        "needs_human": {"what": human.what, "role": human.role, "since": _time(human.since)} if human else None,
        "review": list(image.review),
    }


def _time(moment: Any) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _log(sentence: str) -> None:
    log.event("record_trouble", why=sentence)
