"""What the interface for programs needs of the server, structurally: `services.Services` has these attributes."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rollback.adapters.idempotency.port import Idempotency
    from rollback.alert_ports import Inbox, Tokens
    from rollback.core.history import Actor
    from rollback.oidc import Verifier
    from rollback.ports import Clock
    from rollback.server.operations import Operations
    from rollback.server.record import ServerRecord


class Holds(Protocol):
    """Holds automation back for a feature until a time; None: it may act again. `what` says in words what is held.

    A person's `disable` never is. Raises errors of `rollback.errors`.
    """

    def hold(self, feature: str, until: datetime | None, what: str, actor: Actor, reason: str) -> object: ...


class ApiServices(Protocol):
    """The parts that `api.router` uses: `Operations()`, `ServerRecord(clock)`, and what `bootstrap` builds.

    `stopping` is set once the server is told to end: answers that take long end then.
    """

    @property
    def tokens(self) -> Tokens: ...
    @property
    def inbox(self) -> Inbox: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def holds(self) -> Holds: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def record(self) -> ServerRecord: ...
    @property
    def idempotency(self) -> Idempotency: ...
    @property
    def pipelines(self) -> Verifier | None: ...
    @property
    def stopping(self) -> threading.Event: ...
