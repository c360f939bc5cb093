"""The application's own word on its toggles, as vets-api gives it: GET /v0/feature_toggles?features=a,b.

Asked without a user: `true` means fully on for everybody, `false` only that it is not (a toggle at half reads false).
So it is a read-back of full on, and contradicts full off; in between it says nothing. Names are in snake case: the
answer to a camelCase name comes from another look-up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from rollback.adapters.health_probes.reading_back import Endpoint, Unread
from rollback.errors import ConfigurationError

SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Toggle(Enum):
    """What is known of one toggle."""

    FULLY_ON = "fully on"
    NOT_FULLY_ON = "not fully on"
    UNKNOWN = "unknown"


class Agreement(Enum):
    """Whether what is read agrees with what it should be."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNKNOWN = "unknown"


class FeatureToggles:
    """Reads toggles back. Raises `ConfigurationError` for names that are not in snake case, or none."""

    def __init__(self, endpoint: Endpoint, names: Sequence[str]) -> None:
        odd = [name for name in names if not SNAKE.fullmatch(name)]
        if odd or not names:
            raise ConfigurationError(
                f"{', '.join(odd) or 'no name'} cannot be read back from feature toggles.",
                next="Name the toggles in snake_case, as in features.yml.",
            )
        self._endpoint, self._names = endpoint, tuple(dict.fromkeys(names))

    def look(self) -> Mapping[str, Toggle]:
        """Each toggle now; unknown when it is not told, or not clearly. Never raises."""
        try:
            told = _told(self._endpoint.read(("features", ",".join(self._names))))
        except Unread:
            told = {}
        return {name: told.get(name, Toggle.UNKNOWN) for name in self._names}

    def agree(self, percent: float) -> Agreement:
        """Whether all toggles agree with an exposure in percent; `UNKNOWN` between off and full, and in doubt."""
        found = set(self.look().values())
        if percent not in (0, 100) or Toggle.UNKNOWN in found:
            return Agreement.UNKNOWN
        wanted = Toggle.FULLY_ON if percent == 100 else Toggle.NOT_FULLY_ON
        return Agreement.AGREES if found == {wanted} else Agreement.DISAGREES

    def close(self) -> None:
        """Closes the connection."""
        self._endpoint.close()


def _told(document: Any) -> dict[str, Toggle]:
    data = document.get("data") if isinstance(document, dict) else None
    features = data.get("features") if isinstance(data, dict) else None
    found: dict[str, Toggle] = {}
    for entry in features if isinstance(features, list) else []:
        name, value = (entry.get("name"), entry.get("value")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str):
            continue
        says = {True: Toggle.FULLY_ON, False: Toggle.NOT_FULLY_ON}.get(value) if isinstance(value, bool) else None
        twice = name in found and found[name] is not says
        found[name] = Toggle.UNKNOWN if says is None or twice else says
    return found
