"""Deliveries that are turned away: with which answer, so that the sender does the right thing, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from rollback import log
from rollback.alert_ports import Notice

if TYPE_CHECKING:
    from rollback.server.services import Services

RETRY_AFTER_SECONDS = 5
"""What a sender is asked to wait when there is too much at once: a batch is on the disk within milliseconds."""

RETRY_WHEN_MENDED_SECONDS = 60
"""What it is asked to wait for something that a person has to mend."""

TOLD_EVERY_SECONDS = 3600.0

NO_SOURCE = "(unknown)"
"""The label of deliveries to sources that do not exist: no source can have this name, and nobody can make labels up."""


class Why(StrEnum):
    """The words of the counter. Senders see them too; they tell a forger nothing that the status does not."""

    UNKNOWN_SOURCE = "unknown_source"
    CLOSED = "closed"
    NO_CREDENTIALS = "no_credentials"
    MALFORMED_CREDENTIALS = "malformed_credentials"
    WRONG_CREDENTIALS = "wrong_credentials"
    NO_LENGTH = "no_length"
    TOO_LARGE = "too_large"
    ENCODED = "encoded"
    TOO_SLOW = "too_slow"
    BROKEN_OFF = "broken_off"
    OVERLOADED = "overloaded"
    INBOX = "inbox"


class Refusal(Exception):
    """A delivery that is not kept. `status` decides what its sender does next:

    * PagerDuty drops an event for good at any 4xx but 429, and switches the subscription off for a day after three
      (PagerDuty/developer-docs, docs/webhooks/02-Behavior.md); Datadog sends again at 5xx alone
      (docs.datadoghq.com/integrations/webhooks). So what may be our own fault, or passes, is a 503 and never a 4xx:
      too much at once, an inbox that cannot be written, a body that comes too slowly, a secret that is not set here.
    * 429 is never used: Datadog would not send again.
    * What a sender can never get through is a 4xx, so that it does not queue later alerts behind it: wrong
      credentials, too large, no length, compressed, a source that does not exist.
    * 500 is never an answer to what somebody sent.
    """

    def __init__(self, status: HTTPStatus, why: Why, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why.value)
        self.status = status
        self.why = why
        self.headers = dict(headers or {})


def passing(why: Why, seconds: int = RETRY_AFTER_SECONDS) -> Refusal:
    """A refusal after which the sender is to try again."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, why, {"Retry-After": str(seconds)})


_WORDS = {
    Why.CLOSED: "its secret is not set here, so each is turned away, and sent again for as long as its sender tries",
    Why.WRONG_CREDENTIALS: "its credentials are wrong; perhaps a secret was changed on one side alone, or it is forged",
    Why.INBOX: "the inbox cannot be written, so each is turned away, and sent again for as long as its sender tries",
}
"""The refusals that people hear of, and what the sentence says."""

UNREAD = "unread"
UNKEPT = "unkept"
_FAULTS = {
    UNREAD: "its parser failed on one; it is kept as unknown, and did nothing",
    UNKEPT: "one could not be kept as what it is; it is kept as unknown, and did nothing",
}
"""Errors of this program, by which an alert may have been missed."""


class RefusalDesk:
    """Counts every refusal by source and word, and tells people of some, at most once an hour per source and word.

    Only for the event loop's thread. Nothing of a request is counted, told or logged.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._told_at: dict[tuple[str, str], float] = {}

    def refused(self, source: str, why: Why) -> None:
        """One delivery was turned away; `source` is a configured name or `NO_SOURCE`."""
        self._services.meters.refused(source, why)
        if why in _WORDS:
            urgency = "tell" if why is Why.WRONG_CREDENTIALS else "call"
            self._tell(source, why.value, urgency, _WORDS[why])

    def fault(self, source: str, word: str, detail: str) -> None:
        """This program failed on an authentic delivery; `word` is `UNREAD` or `UNKEPT`, `detail` a type of error."""
        log.event("delivery_not_understood", source=source, why=word, detail=detail)
        self._tell(source, word, "call", _FAULTS[word])

    def _tell(self, source: str, word: str, urgency: str, words: str) -> None:
        now = self._services.clock.monotonic()
        told_at = self._told_at.get((source, word))
        if told_at is not None and now - told_at < TOLD_EVERY_SECONDS:
            return
        self._told_at[source, word] = now
        hour = f"{self._services.clock.now():%Y%m%dT%H}"  # a restart within the hour does not tell it again
        text = f"Deliveries from the source {source} arrive, and {words}."
        self._services.notices.tell(Notice(f"receiver:{source}:{word}:{hour}", None, None, urgency, text))
        log.event("receiver_trouble", source=source, why=word)
