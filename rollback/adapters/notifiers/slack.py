"""Slack, by an incoming webhook (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""

from __future__ import annotations

import re
import ssl
from typing import Any

from rollback.adapters.notifiers.sending import Post, json_bytes
from rollback.alert_ports import Notice
from rollback.errors import ConfigurationError
from rollback.notice_ports import PerhapsTold
from rollback.notice_text import lines
from rollback.ports import Clock

MAX_HEADER = 150
"""Characters of a header block (docs.slack.dev/reference/block-kit/blocks/header-block)."""

MAX_SECTION = 3000
"""Characters of a section's text (docs.slack.dev/reference/block-kit/blocks/section-block)."""

MAX_SECTIONS = 3
"""Sections of one message: with more than about 13,000 characters in all blocks Slack refuses the message
(`msg_blocks_too_long`), although each block is within its own limit."""

MAX_FALLBACK = 3000
"""Characters of `text`, which notifications show; Slack cuts at 40,000 and advises 4,000."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
"""The only three characters that Slack wants escaped (docs.slack.dev/messaging/formatting-message-text)."""

_MENTION = re.compile(r"@(?=(?:here|channel|everyone|group)\b)", re.IGNORECASE)
_MENTIONS = {"here": "<!here>", "channel": "<!channel>"}


class SlackChannel:
    """A `NoticeChannel` to the one Slack channel that the webhook belongs to. `url` is a secret.

    Notices arrive as plain text: nothing in them is formatting, a link or a mention, whoever wrote it. `mention` is who
    is mentioned when somebody has to act (urgency `call`): `here`, `channel`, the id of a user group (`S…`) or of a
    user (`U…`, `W…`); empty: nobody. An incoming webhook does not tell which message it made, so notices of one case
    cannot go into one thread: each names its case instead. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        clock: Clock,
        mention: str = "",
        seconds: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._mention = _checked_mention(name, mention)
        self._post = Post(f"Slack channel {name!r}", url, clock=clock, seconds=seconds, tls=tls)

    def send(self, notice: Notice) -> None:
        """Posts it. 429 says how long to wait; 400, 403, 404 and 410 are final (`invalid_payload`, `no_service`,
        `channel_is_archived`, …). An answer that is not Slack's `ok`, such as a login page's, is none."""
        answer = self._post.send(json_bytes(slack_message(notice, self._mention)))
        if answer.body.strip() != b"ok":
            raise PerhapsTold(f"{self._post.what} answered {answer.status}, but not as Slack does.")

    def close(self) -> None:
        """Nothing stays open between notices."""


def slack_message(notice: Notice, mention: str = "") -> dict[str, Any]:
    """The message: a header with the headline, the other lines as plain text, who is asked at the end. Pure.

    `mention` is in Slack's own writing, e.g. `<!here>`. `text` is what notifications and screen readers get.
    """
    headline, *rest = lines(notice.text)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(escaped(headline, MAX_HEADER))}]
    if len(headline) > MAX_HEADER - 20:  # cut in the header, or nearly: it is there in full below
        rest = [headline, *rest]
    blocks.extend({"type": "section", "text": _plain(part)} for part in _sections(rest))
    asked = f"Asked: {notice.role}" if notice.role else ""
    if mention and notice.urgency == "call":
        text = f"{mention} {escaped(asked, MAX_HEADER)}".rstrip()
        # The only text with a meaning to Slack; `verbatim` keeps it from seeing links and names in the role.
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}})
    elif asked:
        blocks.append({"type": "context", "elements": [_plain(escaped(asked, MAX_HEADER))]})
    fallback = escaped("\n".join([headline, *rest]), MAX_FALLBACK)
    return {
        "text": fallback,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
        "link_names": False,
    }


def escaped(text: str, length: int) -> str:
    """The text as Slack shows it literally, at most `length` characters after escaping, never cut inside an entity.

    A word joiner comes behind the @ of `@here`, `@channel`, `@everyone` and `@group`: older webhooks make mentions of
    them. What is cut off ends in `…`.
    """
    parts: list[str] = []
    left = length
    for letter in _MENTION.sub("@\u2060", text):
        part = _ENTITIES.get(letter, letter)
        if len(part) > left:
            while left < 1:
                left += len(parts.pop())
            return "".join(parts) + "…"
        parts.append(part)
        left -= len(part)
    return "".join(parts)


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _sections(rest: list[str]) -> list[str]:
    """The lines in as few sections as they fit into; lines that do not fit end in one `…`."""
    sections: list[str] = []
    for line in rest:
        shown = escaped(line, MAX_SECTION - 2)
        if sections and len(sections[-1]) + len(shown) + 3 <= MAX_SECTION:
            sections[-1] += f"\n{shown}"
        elif len(sections) < MAX_SECTIONS:
            sections.append(shown)
        else:
            sections[-1] += "\n…"
            break
    return [section if section.strip() else "…" for section in sections]  # Slack takes no empty text


def _checked_mention(name: str, mention: str) -> str:
    if not mention:
        return ""
    if mention in _MENTIONS:
        return _MENTIONS[mention]
    if re.fullmatch(r"S[A-Z0-9]{2,20}", mention):
        return f"<!subteam^{mention}>"
    if re.fullmatch(r"[UW][A-Z0-9]{2,20}", mention):
        return f"<@{mention}>"
    raise ConfigurationError(
        f"The Slack channel {name!r} cannot mention {mention!r:.40}.",
        next="Write here, channel, the id of a user group (S…) or of a user (U… or W…).",
    )
