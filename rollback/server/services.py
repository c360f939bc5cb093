"""What the server's parts work with. Built by `bootstrap`, given to `create_app`; there are no globals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rollback.alert_ports import Delivery, Inbox, Kept, Notice, Tokens
from rollback.alerting.right_of_way import RightOfWay
from rollback.ports import Clock
from rollback.server.limits import Limits
from rollback.server.metrics import Meters
from rollback.server.sources import AlertSource

if TYPE_CHECKING:
    from rollback.adapters.idempotency.port import Idempotency
    from rollback.notice_worker import Standing
    from rollback.oidc import Verifier
    from rollback.server.api_services import Holds
    from rollback.server.operations import Operations
    from rollback.server.record import ServerRecord


class Keeper(Protocol):
    """The durable way into the inbox, for many callers at once.

    `submit` returns at once. The future's result is the delivery as kept, or None for a redelivery; when it is there,
    a crash loses nothing of it. Both `submit` and the future raise errors of `rollback.errors`: `submit` at once when
    too many wait already. `close` commits or fails what was submitted.
    """

    def submit(self, delivery: Delivery) -> Future[Kept | None]: ...
    def close(self) -> None: ...


class Dispatcher(Protocol):
    """Works on what the inbox keeps.

    `accept` may be called from any thread, returns at once, and is called after the delivery is durable: what it
    forgets is found in the inbox again. `stop` returns True when nothing is under way any more. `is_well` is empty, or
    says in one sentence why nothing is worked on.
    """

    def start(self) -> None: ...
    def accept(self, kept: Kept) -> None: ...
    def stop(self, seconds: float) -> bool: ...

    @property
    def is_well(self) -> str: ...


class Supervisor(Protocol):
    """Watches over what is open while the server lives; `stop` returns True when all of it was handed over."""

    def start(self) -> None: ...
    def stop(self, seconds: float) -> bool: ...


class Notices(Protocol):
    """Telling people (`rollback.notices.Outbox`). `tell` never blocks and never raises; `standing` says how each
    channel does; `close` flushes until `deadline`, monotonic seconds, and returns how many are left."""

    def tell(self, notice: Notice) -> None: ...
    def standing(self) -> Sequence[Standing]: ...
    def close(self, deadline: float) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that the application needs.

    `sources` are all configured senders by name, the closed ones too. `worlds` are the lines that say on which flag
    stores this server acts (invariant 4). `policies` reads the policies and says why that fails, empty: it does not.
    `pipelines` knows jobs by the tokens of their own systems; None: the policy names no pipeline. `workers` gives each
    thread that must live, by name, and whether it does. `stopping` is set once the server is told to end: long answers
    look at it.
    """

    clock: Clock
    sources: Mapping[str, AlertSource]
    inbox: Inbox
    keeper: Keeper
    dispatcher: Dispatcher
    supervisor: Supervisor
    notices: Notices
    tokens: Tokens
    holds: Holds
    operations: Operations
    record: ServerRecord
    idempotency: Idempotency
    policies: Callable[[], str]
    workers: Callable[[], Mapping[str, bool]]
    limits: Limits = field(default_factory=Limits)
    meters: Meters = field(default_factory=Meters)
    pipelines: Verifier | None = None
    worlds: tuple[str, ...] = ()
    way: RightOfWay = field(default_factory=RightOfWay)
    stopping: threading.Event = field(default_factory=threading.Event)
