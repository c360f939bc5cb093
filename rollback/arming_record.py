"""The checks behind `armed` in the record: one fact on the feature's chain when something changed, or once a day.

So a restart knows what was well, and a command in another process can tell what `rollback serve` has found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rollback.core.arming import Armed, Check, CheckState
from rollback.facts import record_fact

if TYPE_CHECKING:
    from rollback.core.history import Entry
    from rollback.history import History
    from rollback.ports import Clock

CHECKED = "armed_checked"

RECORD_EVERY = timedelta(days=1)

RECORD_LATE = RECORD_EVERY + timedelta(hours=2)
"""Who checks writes at least once a day; two hours more, and nobody does any more."""

NEVER = "nobody has checked it: `rollback serve` or `rollback watch` does, while it runs"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The last verdict in the record. `since` is from when it has been the same, `at` when it was written down."""

    at: datetime
    since: datetime
    verdict: Armed
    checks: tuple[Check, ...]


def write_checked(
    history: History, clock: Clock, feature: str, verdict: Armed, since: datetime, checks: Sequence[Check]
) -> None:
    """Never raises; what the journal does not take is said by the history."""
    data = {
        "armed": verdict.is_armed,
        "since": since.isoformat(),
        "not_armed": list(verdict.why),
        "remarks": list(verdict.remarks),
        "checks": [_plain(check) for check in checks],
    }
    record_fact(history, clock, feature, CHECKED, data=data)
    history.feed()


def read_checked(history: History, feature: str) -> Recorded | None:
    """The last one; None when nothing was ever checked. Raises `HistoryUnwritable` when the record cannot be read."""
    entries = history.facts(feature, (CHECKED,))
    return _recorded(entries[-1]) if entries else None


def status_from_record(history: History, feature: str, now: datetime) -> Armed:
    """What another process than the one that checks can say: the last verdict, unless it is older than a day.

    Raises `HistoryUnwritable`.
    """
    last = read_checked(history, feature)
    if last is None:
        return Armed(False, (NEVER,))
    if now - last.at > RECORD_LATE:
        return Armed(False, (f"nobody has checked it since {last.at:%Y-%m-%d %H:%M} UTC; does `rollback serve` run?",))
    return last.verdict


def _plain(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "state": check.state.value,
        "why": check.why,
        "at": check.at.isoformat() if check.at else None,
        "renew_by": check.renew_by.isoformat() if check.renew_by else None,
        "needed": check.needed,
    }


def _recorded(entry: Entry) -> Recorded:
    """Lenient: a damaged field of an old entry must not hide the verdict."""
    told = entry.data
    why, remarks = (tuple(str(one) for one in _list(told.get(name))) for name in ("not_armed", "remarks"))
    is_armed = told.get("armed") is True and not why
    verdict = Armed(is_armed, why or (() if is_armed else ("the record does not say why",)), remarks)
    checks = tuple(check for one in _list(told.get("checks")) if (check := _check(one)) is not None)
    return Recorded(entry.at, _moment(told.get("since")) or entry.at, verdict, checks)


def _check(told: Any) -> Check | None:
    if not isinstance(told, Mapping) or told.get("state") not in {state.value for state in CheckState}:
        return None
    return Check(
        name=str(told.get("name", "")),
        state=CheckState(told["state"]),
        why=str(told.get("why", "")),
        at=_moment(told.get("at")),
        renew_by=_moment(told.get("renew_by")),
        needed=told.get("needed") is not False,
    )


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
