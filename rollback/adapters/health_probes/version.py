"""Which version answers: evidence belongs to a fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rollback.adapters.health_probes.reading_back import Endpoint, Unread
from rollback.core.health_policy import VersionCheck
from rollback.core.json_assertions import select

LEAST = 7
"""Digits of a commit that tell it from others."""

_COMMIT = re.compile(rf"[0-9a-f]{{{LEAST},64}}")


def is_same_commit(one: str, other: str) -> bool | None:
    """Whether both name one commit, by their first digits, at least 7. None when one of them is no commit."""
    short, long = sorted((one.strip().lower(), other.strip().lower()), key=len)
    if not (_COMMIT.fullmatch(short) and _COMMIT.fullmatch(long)):
        return None
    return long.startswith(short)


class VersionWatch:
    """Says, look by look, why what is measured now cannot be about the fix; None when it can.

    `expects` gives the case's fix, empty while there is none: then every look has to give the version of the look
    before. A version that cannot be read, or a fix that is no commit, counts as wrong where the policy requires one.
    """

    def __init__(self, check: VersionCheck, endpoint: Endpoint, expects: Callable[[], str]) -> None:
        self.steady_seconds = check.steady_for.total_seconds()
        self.every_seconds = 0.0
        self._check, self._endpoint, self._expects = check, endpoint, expects
        self._last = ""

    def look(self) -> str | None:
        """Asks once."""
        try:
            told = self._told(self._endpoint.read())
        except Unread as error:
            return f"the version is not known: {error.why}" if self._check.required else None
        wanted = self._expects()
        last, self._last = self._last, told
        if wanted:
            same = is_same_commit(wanted, told)
            if same is None:
                return "the fix cannot be compared with the version that answers" if self._check.required else None
            return None if same else "another version answers than the fix"
        return None if last in ("", told) else "two versions answer"

    def close(self) -> None:
        """Closes the connection."""
        self._endpoint.close()

    def _told(self, document: Any) -> str:
        found = select(document, self._check.path)
        if len(found) != 1 or not isinstance(found[0], str) or not found[0].strip() or len(found[0]) > 200:
            raise Unread(f"nothing of use is at {self._check.path}")
        return found[0].strip().lower()
