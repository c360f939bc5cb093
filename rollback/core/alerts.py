"""What other systems say about a feature: alerts, their edges and cycles, as parsers hand them in.

Vendor words end here: a parser maps each sender's fields to these. Everything in an `Alert` is untrusted text that was
cut and redacted by the parser; rules match on its structured fields, never on its title.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Edge(StrEnum):
    """What an alert says of its cycle. Only `FIRED` may lower exposure; `RECOVERED` never changes any."""

    FIRED = "fired"
    """The cycle begins: the condition turned bad."""
    REPEATED = "repeated"
    """A reminder that the cycle is still firing (Datadog's Renotify, PagerDuty's escalation)."""
    RECOVERED = "recovered"
    """The cycle is over."""
    UNCLEAR = "unclear"
    """No data, a warning, muted, acknowledged: neither harm nor health. Recorded, acted on never."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One edge of one alert cycle.

    `source` is the configured name of the sender. `monitor` is the sender's id of what watches (a monitor, a service,
    an alert rule); `cycle` is the same from trigger to recovery and different for the next trigger.
    `occurred_at` is when the sender says that this edge happened, aware UTC; None when it does not say: then its age is
    not known, and nothing is done by itself. `priority` is the sender's word in upper case (`P1`, `CRITICAL`; empty:
    none). `tags` are sorted and unique, `name:value` or plain words. `title` and `link` are for people alone.
    """

    source: str
    monitor: str
    cycle: str
    edge: Edge
    occurred_at: datetime | None
    priority: str = ""
    tags: tuple[str, ...] = ()
    title: str = ""
    link: str = ""


class ReadingKind(StrEnum):
    """What a delivery turned out to be."""

    ALERTS = "alerts"
    """It carries at least one alert."""
    TEST = "test"
    """A test notification, known by a structured field of the sender: answered, recorded, does nothing."""
    IGNORED = "ignored"
    """Understood, and of no concern here (a service was renamed)."""
    UNKNOWN = "unknown"
    """Not understood: kept for reading, cut and redacted."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A parser's verdict on one delivery; parsers never raise.

    `key` is equal for each redelivery of the same message and different for every other message of the source: the
    sender's own delivery id where it has one, else made of the content's identifying fields, else a hash of the body.
    `why` says in one sentence why it is no alert; empty for `ALERTS`.
    """

    kind: ReadingKind
    key: str
    alerts: tuple[Alert, ...] = ()
    why: str = ""


class Age(StrEnum):
    """Whether an alert is recent enough to be acted on by itself."""

    FRESH = "fresh"
    OLD = "old"
    """Older than the source allows: recorded and told, never acted on."""
    AHEAD = "ahead"
    """From the future by more than clocks may differ."""
    NOT_SAID = "not_said"
    """The sender gave no time."""
