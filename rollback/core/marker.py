"""The marker: the text by which our rollouts are known on any machine.

`rollback:<incident>:<key>` followed by who, when and the ledger's head, in a rollout's description, or for a
variant flag, which has no free text elsewhere, as the last line of the flag's own description.
Kill path: standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_MARKER = re.compile(
    r"rollback:(?P<incident>[A-Za-z0-9][A-Za-z0-9.,_-]*):(?P<key>(?P<role>kill|cohort)-(?P<epoch>[0-9]{1,15})-[a-z0-9]+)"
    r"(?: by (?P<actor>\S+))?(?: at (?P<at>\S+))?(?: head (?P<head>\S+))?(?: was (?P<was>\S*))?"
)


@dataclass(frozen=True, slots=True)
class Marker:
    """Who put a rollout there, for which incident, and the ledger's head at that time.

    `key` is the effect's key, `kill-<epoch>-<random>` or `cohort-<epoch>-<random>`. `was` is used by variant
    flags alone: what `enabled` and the default variant were, as `enabled=true,default=on`.
    """

    incident: str
    key: str
    actor: str = ""
    at: str = ""
    head: str = ""
    was: str = ""

    @property
    def role(self) -> str:
        """`kill` or `cohort`."""
        return self.key.split("-", 1)[0]

    @property
    def epoch(self) -> int:
        """The case's epoch when this was written; a newer `disable` has a higher one."""
        return int(self.key.split("-", 2)[1])

    @property
    def written_at(self) -> datetime | None:
        """When it was written, `None` when the marker does not say or says it wrongly."""
        try:
            at = datetime.fromisoformat(self.at)
        except ValueError:
            return None
        return at if at.tzinfo else None

    def __str__(self) -> str:
        text = f"rollback:{self.incident}:{self.key}"
        for word, value in (("by", self.actor), ("at", self.at), ("head", self.head), ("was", self.was)):
            if value:
                text += f" {word} {'-'.join(value.split())}"  # a blank would end the word for whoever reads it
        return text


def parse(text: str) -> Marker | None:
    """The marker in a description, `None` when there is none (then the rollout is somebody else's)."""
    found = _MARKER.search(text)
    if found is None:
        return None
    return Marker(
        incident=found["incident"],
        key=found["key"],
        actor=found["actor"] or "",
        at=found["at"] or "",
        head=found["head"] or "",
        was=found["was"] or "",
    )


def strip(text: str) -> str:
    """A flag's description without any line of ours, as it would be had we never written."""
    while (found := _MARKER.search(text)) is not None:
        text = text[: found.start()].removesuffix("\n") + text[found.end() :]
    return text
