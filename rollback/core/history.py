"""One entry of the history, as the journal writes it and the ledger keeps it. Kill path: standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class EntryKind(StrEnum):
    """What an entry is: something meant, something that came of it, a change of state, or a plain fact."""

    INTENT = "intent"
    OUTCOME = "outcome"
    TRANSITION = "transition"
    FACT = "fact"


PEOPLE = frozenset({"os", "token"})
"""How we know a person: the account on a terminal, or a person's own token.

A CI job runs under some account too, and has a token: whoever acts for one says `ci` or `oidc`, and is no person.
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted. `authenticated` names how we know (`os`, `token`, `oidc`); empty means that it was merely claimed.

    `role` is what a token was issued for; empty where nothing gives one. It decides at this moment, and is no part of
    who somebody is: the history does not keep it, and two actors who differ in it alone are the same.
    """

    name: str
    authenticated: str = ""
    role: str = field(default="", compare=False)

    @property
    def is_claimed(self) -> bool:
        """True when nobody but the actor itself says who it is."""
        return not self.authenticated

    @property
    def is_person(self) -> bool:
        """True for an authenticated person; not for a CI job, automation, or somebody who is merely claimed."""
        return self.authenticated in PEOPLE


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to one feature.

    `entry_id` is unique; the ledger keeps each once. `at` is UTC. `key` joins an intent to its outcome.
    `epoch` is the case's epoch when it was written: a change of state from an older epoch is history only.
    `before`, `after` and `data` hold JSON values (no floats that are NaN or infinite). A transition's `after`
    is the whole image of the incident (`codec.incident_to_json`).
    """

    entry_id: str
    at: datetime
    feature: str
    kind: EntryKind
    name: str
    actor: Actor
    reason: str = ""
    incident: str | None = None
    epoch: int = 0
    key: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
