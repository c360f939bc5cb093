"""Stand-ins: a channel that keeps what it is given, and an outbox's memory that ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollback.alert_ports import Notice
from rollback.notice_ports import LEASE, Claim, Ending, Waiting


class MemoryNoticeChannel:
    """A `NoticeChannel` that keeps notices in `told`. `before` is called with each first; what it raises comes out of
    `send`, and the notice is not kept; it may also wait, like a channel that hangs."""

    def __init__(self, name: str = "memory", before: Callable[[Notice], None] | None = None) -> None:
        self.name = name
        self.told: list[Notice] = []
        self.closed = False
        self.before = before

    @property
    def texts(self) -> list[str]:
        """What was told, in order."""
        return [notice.text for notice in self.told]

    def send(self, notice: Notice) -> None:
        """Keeps it."""
        if self.before is not None:
            self.before(notice)
        self.told.append(notice)

    def close(self) -> None:
        """Idempotent."""
        self.closed = True


@dataclass(slots=True)
class _Delivery:
    begun: bool = False
    claimed_until: datetime | None = None
    claimed_by: object = None
    ending: Ending | None = None


@dataclass(slots=True)
class _Kept:
    notice: Notice
    at: datetime
    channels: dict[str, _Delivery] = field(default_factory=dict)


class MemoryOutboxStore:
    """An `OutboxStore` without a disk. `another()` is the view of another process on the same memory."""

    def __init__(self, *, lease: timedelta = LEASE) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def another(self) -> MemoryOutboxStore:
        """The same memory, as another process sees it."""
        other = MemoryOutboxStore(lease=self._lease)
        other._lock, other._kept = self._lock, self._kept
        return other

    def seen(self, key: str) -> bool:
        """Whether the key was ever remembered."""
        with self._lock:
            return key in self._kept

    def remember(self, notice: Notice, channels: Sequence[str], at: datetime) -> bool:
        """Keeps it for the channels; False when its key was seen."""
        with self._lock:
            if notice.key in self._kept:
                return False
            self._kept[notice.key] = _Kept(notice, at, {name: _Delivery() for name in channels})
            return True

    def waiting(self, channel: str, limit: int, but: Sequence[str] = ()) -> list[Waiting]:
        """What the channel has to tell, oldest first."""
        with self._lock:
            found = [
                Waiting(kept.notice, kept.at, kept.channels[channel].begun)
                for key, kept in self._kept.items()
                if key not in but and channel in kept.channels and kept.channels[channel].ending is None
            ]
        return sorted(found, key=lambda one: one.at)[:limit]

    def begin(self, key: str, channel: str, at: datetime) -> Claim:
        """Claims it for `lease`."""
        with self._lock:
            kept = self._kept.get(key)
            delivery = kept.channels.get(channel) if kept else None
            if delivery is None or delivery.ending is not None:
                return Claim.OVER
            held = delivery.claimed_until is not None and delivery.claimed_until > at
            if held and delivery.claimed_by is not self:
                return Claim.THEIRS
            delivery.begun, delivery.claimed_by, delivery.claimed_until = True, self, at + self._lease
            return Claim.OURS

    def end(self, key: str, channel: str, at: datetime, ending: Ending) -> None:  # noqa: ARG002
        """Says what came of it."""
        with self._lock:
            kept = self._kept.get(key)
            delivery = kept.channels.get(channel) if kept else None
            if delivery is None or delivery.ending is not None:
                return
            delivery.claimed_until = None
            if ending is Ending.NOT_SENT:
                delivery.begun = False
            elif ending is not Ending.UNKNOWN:
                delivery.ending = ending

    def prune(self, before: datetime) -> int:
        """Forgets what was handed in before that time."""
        with self._lock:
            old = [key for key, kept in self._kept.items() if kept.at < before]
            for key in old:
                del self._kept[key]
            return len(old)

    def close(self) -> None:
        """Nothing is open."""
