"""The ports of the automatic trigger, each contract in prose. Not on the kill path of the command line.

Errors of a port are the types of `rollback.errors`, and `Unkeepable`; nothing else leaves an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rollback.core.alerts import Alert, Reading, ReadingKind
from rollback.errors import HistoryUnwritable


class AlertParser(Protocol):
    """Reads one sender's deliveries. Pure: no I/O, no clock. Never raises, whatever the bytes are.

    `headers` have lower-case names. The signature was verified over these very bytes before.
    """

    def __call__(self, source: str, headers: Mapping[str, str], body: bytes) -> Reading: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One authentic delivery, as the inbox keeps it. `key` is `Reading.key`.

    `excerpt` is the body, cut and redacted, for deliveries that are no alerts; empty for those that are.
    """

    source: str
    key: str
    received_at: datetime
    kind: ReadingKind
    alerts: tuple[Alert, ...] = ()
    why: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Kept(Delivery):
    """A delivery in the inbox. `number` rises in the order of arrival; `attempts` counts how often it was begun."""

    number: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Cycle:
    """What the inbox knows of one alert cycle of one source. Times are the sender's; None: that edge was never seen.

    `decided` are the features, sorted, that decided on its firing for good, each with the rank of the worst severity it
    decided under: firing again later is a repeated notice for them, unless it has become worse.
    `is_firing` follows from the latest edge by the sender's time, so that order of arrival does not matter.
    """

    source: str
    monitor: str
    cycle: str
    fired_at: datetime | None = None
    recovered_at: datetime | None = None
    decided: tuple[tuple[str, int], ...] = ()

    def decided_rank(self, feature: str) -> int:
        """The rank of the worst severity under which the feature decided on it; -1: it has not."""
        return dict(self.decided).get(feature, -1)

    @property
    def is_firing(self) -> bool:
        """True when the newest edge known is a firing one; at the same moment, recovery is the later one."""
        return self.fired_at is not None and (self.recovered_at is None or self.fired_at > self.recovered_at)


class Unkeepable(HistoryUnwritable):
    """Deliveries that an inbox can never keep as they are; nothing was written. `positions` are theirs in the batch."""

    code = "unkeepable"

    def __init__(self, reasons: dict[int, str]) -> None:
        first = next(iter(reasons.values()), "")
        super().__init__(f"a delivery cannot be kept: {first}", next="this is an error in its parser: report it")
        self.positions = tuple(reasons)
        self.reasons = reasons


class Inbox(Protocol):
    """Where authentic deliveries wait, durably, until they are settled. Usable from several threads and processes.

    `put` keeps deliveries in one durable (synced) transaction and returns each as kept, None for one whose (source,
    key) is there already: that one is counted, and nothing else. When it returns, a crash loses nothing of it.
    `begin` counts an attempt before it is worked on, so that what kills its worker can be known as poison.
    `settle` ends deliveries with the words for the record; `set_aside` ends one that cannot be processed.
    `pending` gives what is not ended, oldest first.
    `see` folds the edges of alerts into their cycles and returns the cycles as they are then, in the same order;
    folding the same edge twice, or in another order, gives the same cycle. `decided` marks a cycle as decided by one
    feature under a severity of this rank (`Severity.rank`); the worst one stays.
    `reserve_off` takes one of `limit` places in a window that began at `since` for turning `feature` off by itself, and
    is False when none is left (invariant 15); a feature that holds a place in the window needs no second one.
    A place that lies after `at` was taken by a clock that was ahead, and counts from `at` on.
    `count` adds to a named counter that survives restarts; `counts` gives all of them.
    Raises `HistoryUnwritable` when the database cannot be used, and `put` and `see` `Unkeepable`.
    """

    def put(self, deliveries: Sequence[Delivery]) -> list[Kept | None]: ...
    def pending(self, limit: int) -> list[Kept]: ...
    def begin(self, number: int) -> int: ...
    def settle(self, outcomes: Mapping[int, str], at: datetime) -> None: ...
    def set_aside(self, number: int, why: str, at: datetime) -> None: ...
    def see(self, alerts: Sequence[Alert]) -> list[Cycle]: ...
    def decided(self, feature: str, cycles: Sequence[tuple[Cycle, int]]) -> None: ...
    def firing(self) -> list[Cycle]: ...
    def reserve_off(self, feature: str, at: datetime, since: datetime, limit: int) -> bool: ...
    def count(self, name: str, by: int = 1) -> None: ...
    def counts(self) -> dict[str, int]: ...
    def recent(self, limit: int) -> list[tuple[Kept, str]]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MonitorState:
    """A monitor as its system describes it now. `state` is `ok`, `alert`, or `unknown` (no data, muted, stale: never
    health); `why` says why it is unknown. `notifies` are the recipients that it tells, as the system writes them."""

    monitor: str
    name: str
    state: str
    why: str = ""
    muted: bool = False
    notifies: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()


class AlertPoller(Protocol):
    """Asks a system for the alerts that are firing there now (pull, for teams with read access alone).

    `poll` gives one `Reading` per monitor that changed or fires; the keys make a second poll of the same state the same
    delivery. Raises `StoreUnreachable` (with `retry_after` when the system asked to wait) and `StoreRefused`.
    `monitors` describes monitors by id; one that does not exist is left out. `remember` names the cycles that were
    firing when an earlier process ended, so that their recovery is told too.
    """

    source: str

    def remember(self, cycles: Iterable[Cycle]) -> None: ...
    def poll(self, now: datetime) -> Sequence[Reading]: ...
    def monitors(self, ids: Sequence[str], now: datetime) -> Sequence[MonitorState]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people are told, once per `key`. `urgency` is `call` (somebody has to act), `tell` or `record`.

    `text` is redacted already and may hold several lines; its first line is the headline.
    """

    key: str
    feature: str | None
    incident: str | None
    urgency: str
    text: str
    role: str = ""


class NoticeChannel(Protocol):
    """One way to people. `send` blocks and raises `StoreUnreachable` (try again) or `StoreRefused` (never again)."""

    name: str

    def send(self, notice: Notice) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Who a token belongs to. `role` is viewer, responder, approver or ci."""

    name: str
    role: str
    expires_at: datetime | None = None


class Tokens(Protocol):
    """The tokens of the programs' interface, hashed at rest.

    `issue` returns the secret, the only time it can be seen. `holder` is None for one that is unknown, revoked or
    expired; it compares hashes. Raises `HistoryUnwritable` when they cannot be read or kept.
    """

    def issue(self, name: str, role: str, expires_at: datetime | None, now: datetime) -> str: ...
    def revoke(self, name: str, now: datetime) -> bool: ...
    def holder(self, secret: str, now: datetime) -> TokenHolder | None: ...
    def all(self) -> list[tuple[TokenHolder, datetime, datetime | None]]: ...
