"""The ports of telling people: which channels there are, and where notices wait until they were told.

Errors of a port are the types of `rollback.errors`, and `PerhapsTold`; nothing else leaves an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from rollback.alert_ports import Notice, NoticeChannel
from rollback.errors import ConfigurationError, StoreUnreachable

LEASE = timedelta(seconds=20)
"""How long a claim holds when nobody ends it. Above the longest sending (15 s), so that only a dead process's claim
runs out; and short, because what that process was sending waits for it."""

URGENCIES = ("call", "tell", "record")
"""The urgencies of a `Notice`, the most urgent first."""


def rank(urgency: str) -> int:
    """0 for `call`, 1 for `tell`, 2 for `record`. A word that is not known counts as `call`: better loud than lost."""
    return URGENCIES.index(urgency) if urgency in URGENCIES else 0


class PerhapsTold(StoreUnreachable):
    """It was sent, and no answer says whether it arrived. Sent again, it is marked as a repeat."""


@dataclass(frozen=True, slots=True)
class Route:
    """A channel, and what goes there: notices of at least the urgency `least` (`record`: all of them).

    `every_seconds` is the shortest time between two messages. 1 s: what Slack allows a webhook
    (docs.slack.dev/apis/web-api/rate-limits); Teams takes four a second. Raises `ConfigurationError`.
    """

    channel: NoticeChannel
    least: str = "tell"
    every_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.least not in URGENCIES:
            raise ConfigurationError(
                f"The notice channel {self.channel.name!r} has the least urgency {self.least!r:.40}.",
                next=f"Write one of {', '.join(URGENCIES)}.",
            )

    def takes(self, notice: Notice) -> bool:
        """Whether the notice is urgent enough for this channel."""
        return rank(notice.urgency) <= rank(self.least)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that a channel has not told yet. `at` is when it was handed in, aware UTC.

    `begun` is True when an earlier sending of it may have arrived, e.g. because the process died in the middle.
    """

    notice: Notice
    at: datetime
    begun: bool = False


class Claim(StrEnum):
    """What came of asking to send a notice that waits."""

    OURS = "ours"
    """Nobody else sends it for now."""
    THEIRS = "theirs"
    """Another process is sending it."""
    OVER = "over"
    """It was told, or given up."""


class Ending(StrEnum):
    """How sending a notice to one channel ended."""

    TOLD = "told"
    REFUSED = "refused"
    """The channel will never take it."""
    TOO_OLD = "too_old"
    """It could not be told for so long that nobody needs it any more."""
    NOT_SENT = "not_sent"
    """It certainly did not arrive: it waits again."""
    UNKNOWN = "unknown"
    """It may have arrived: it waits again, and is marked as a repeat then."""


class OutboxStore(Protocol):
    """Remembers which notices were handed in, and which of them wait, durably. For several threads and processes.

    `seen` is True for a key that was ever remembered (and is not pruned). `remember` keeps a notice for the channels
    with these names, in one synced transaction; False, with nothing changed, when its key was seen. `waiting` gives
    what one channel has to tell, oldest first, at most `limit`; `but` are keys to leave out. `begin` claims one
    notice for a time, before it is sent, so that after a crash it is known that it may have been. `end` says what came
    of it; the first three endings are final. `prune` forgets what was handed in before a time.
    All raise `HistoryUnwritable` when the database cannot be used.
    """

    def seen(self, key: str) -> bool: ...
    def remember(self, notice: Notice, channels: Sequence[str], at: datetime) -> bool: ...
    def waiting(self, channel: str, limit: int, but: Sequence[str] = ()) -> list[Waiting]: ...
    def begin(self, key: str, channel: str, at: datetime) -> Claim: ...
    def end(self, key: str, channel: str, at: datetime, ending: Ending) -> None: ...
    def prune(self, before: datetime) -> int: ...
    def close(self) -> None: ...
