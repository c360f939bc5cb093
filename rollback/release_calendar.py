"""What time it is where releases are frozen: the edge between `core.calendar` and the machine's time zones."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rollback.core.calendar import ends, frozen
from rollback.errors import ConfigurationError
from rollback.words import when

if TYPE_CHECKING:
    from rollback.core.policy import ReleaseFreeze


def zone_of(rule: ReleaseFreeze) -> tzinfo:
    """The time zone of a freeze. Raises ConfigurationError for one that this machine does not know."""
    try:
        return ZoneInfo(rule.zone)
    except (KeyError, OSError, ValueError) as error:  # not found, a folder of the database, a path out of it
        raise ConfigurationError(
            f"The freeze's time zone {rule.zone!r} is not known on this machine.",
            next="Name one of the tz database, e.g. America/New_York, or install tzdata.",
        ) from error


class ReleaseCalendar:
    """One policy's freeze. Raises ConfigurationError for a zone that is not known here: nothing is raised by guess."""

    def __init__(self, rule: ReleaseFreeze) -> None:
        self._freeze = rule.as_freeze()
        self._zone = zone_of(rule)

    def words(self, now: datetime) -> str:
        """Why nothing is raised at `now` and until when, in a few words; empty when nothing stands in the way."""
        local = now.astimezone(self._zone)
        why = frozen(self._freeze, local)
        if not why:
            return ""
        end = ends(self._freeze, local)
        return f"{why} (until {when(end)})" if end is not None else f"{why} (and it does not end)"
