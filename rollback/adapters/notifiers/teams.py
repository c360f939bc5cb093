"""Microsoft Teams, by a workflow that begins "when a Teams webhook request is received".

Office 365 connectors and their message cards are retired; workflows take Adaptive Cards alone
(learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using).
"""

from __future__ import annotations

import ssl
from typing import Any

from rollback.adapters.notifiers.sending import Post, json_bytes
from rollback.alert_ports import Notice
from rollback.notice_ports import PerhapsTold
from rollback.notice_text import cut, lines
from rollback.ports import Clock

MAX_BYTES = 24_000
"""Of the whole message: Teams refuses more than 28 KB, and counts more than what is sent
(learn.microsoft.com/microsoftteams/limits-specifications-teams)."""

MAX_HEADLINE = 250
MAX_TEXT = 1000
"""Characters of one line."""

_COLORS = {"call": "Attention", "tell": "Default", "record": "Default"}


class TeamsChannel:
    """A `NoticeChannel` to whatever the workflow posts to. `url` is a secret: its `sig` is the right to post.

    202 says that the workflow took the message, not that it was posted: a workflow whose connection has expired fails
    afterwards, and only its owner is told. So Teams should not be the only channel. Raises `ConfigurationError`.
    """

    def __init__(
        self, name: str, url: str, *, clock: Clock, seconds: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._post = Post(f"Teams channel {name!r}", url, clock=clock, seconds=seconds, tls=tls)

    def send(self, notice: Notice) -> None:
        """Posts it. 202 is success, any other 2xx too (a workflow may answer by itself); a page is none."""
        answer = self._post.send(json_bytes(teams_message(notice)))
        if "html" in answer.headers.get("content-type", "").lower():
            raise PerhapsTold(f"{self._post.what} answered {answer.status} with a page, not as a workflow does.")

    def close(self) -> None:
        """Nothing stays open between notices."""


def teams_message(notice: Notice) -> dict[str, Any]:
    """The envelope with one Adaptive Card (version 1.4). Pure.

    All words stand in `RichTextBlock`s: unlike a `TextBlock` they know no Markdown, so nothing in a notice becomes a
    link or a format (adaptivecards.io/explorer/RichTextBlock.html). Escaping with backslashes, the other way, shows the
    backslashes on telephones (github.com/microsoft/AdaptiveCards/issues/5590). Without `msteams.entities` there are no
    mentions.
    """
    headline, *rest = lines(notice.text)
    body = [_block(cut(headline, MAX_HEADLINE), weight="Bolder", size="Large", color=_COLORS.get(notice.urgency, ""))]
    if len(headline) > MAX_HEADLINE:
        rest = [headline, *rest]
    if notice.role:
        body.append(_block(cut(f"Asked: {notice.role}", MAX_HEADLINE), weight="Bolder"))
    for line in rest:
        body.append(_block(cut(line, MAX_TEXT) if line.strip() else " "))
        if len(json_bytes(_envelope(body))) > MAX_BYTES:
            body[-1] = _block("…")
            break
    return _envelope(body)


def literal(text: str) -> str:
    """The text without Adaptive Cards' own functions: `{{DATE(…)}}` and `{{TIME(…)}}` are replaced anywhere
    (learn.microsoft.com/adaptive-cards/authoring-cards/text-features), so two braces never stand together."""
    return text.replace("{{", "{\u2060{").replace("{{", "{\u2060{")


def _block(text: str, **style: str) -> dict[str, Any]:
    run: dict[str, Any] = {"type": "TextRun", "text": literal(text)}
    run.update({name: value for name, value in style.items() if value})
    return {"type": "RichTextBlock", "inlines": [run]}


def _envelope(body: list[dict[str, Any]]) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}
