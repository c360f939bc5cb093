"""What one command works with: one feature, its flag's store, the history, a clock and an actor. Kill path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollback.core.history import Actor
    from rollback.flag_reference import FlagReference
    from rollback.history import History
    from rollback.kill_settings import KillSettings
    from rollback.ports import Clock, FlagStore


@dataclass(frozen=True, slots=True)
class Session:
    """Built by `bootstrap`; `warn` takes one sentence for the person who runs the command."""

    settings: KillSettings
    reference: FlagReference
    store: FlagStore
    history: History
    clock: Clock
    actor: Actor
    warn: Callable[[str], None]

    @property
    def feature(self) -> str:
        """The feature's key, under which its history is kept."""
        return self.reference.feature

    @property
    def world(self) -> dict[str, str]:
        """Where this command acts (invariant 4): store, URL, environment, namespace, flag."""
        ref = self.reference.ref
        return {
            "store": self.store.where,
            "url": self.settings.flipt_url,
            "environment": ref.environment,
            "namespace": ref.namespace,
            "flag": ref.flag_key,
        }


def nonce() -> str:
    """A few random digits for keys; `secrets` would cost the kill path 5 ms of imports."""
    return os.urandom(4).hex()
