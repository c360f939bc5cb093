"""What Slack is given: literal words, within its limits, with a mention only where one was asked for."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.notifiers.slack import MAX_HEADER, MAX_SECTION, SlackChannel, escaped, slack_message
from rollback.errors import ConfigurationError, StoreRefused
from rollback.sandbox.wire import text_answer
from tests.fakes.clock import FakeClock
from tests.notifiers.stand_ins import a_notice, people

JOINER = "\u2060"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("plain words", "plain words"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<!here>", "&lt;!here&gt;"),
        ("<!channel>", "&lt;!channel&gt;"),
        ("<!subteam^S123|@team>", "&lt;!subteam^S123|@team&gt;"),
        ("<@U123>", "&lt;@U123&gt;"),
        ("<https://evil.example.org|the dashboard>", "&lt;https://evil.example.org|the dashboard&gt;"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
        ("@channel look", f"@{JOINER}channel look"),
        ("@Here @EVERYONE", f"@{JOINER}Here @{JOINER}EVERYONE"),
        ("@channels are fine", "@channels are fine"),
        ("*bold* _it_ `code` ~no~", "*bold* _it_ `code` ~no~"),
    ],
)
def test_words_from_outside_are_shown_and_mean_nothing(words: str, shown: str) -> None:
    assert escaped(words, 200) == shown


@given(text=st.text(alphabet=st.sampled_from("<>&@hereabc \n*"), max_size=60), length=st.integers(1, 40))
def test_escaping_never_exceeds_its_length_nor_cuts_inside_an_entity(text: str, length: int) -> None:
    shown = escaped(text, length)
    assert len(shown) <= length
    assert "<" not in shown
    assert ">" not in shown
    whole = html.unescape(shown).replace(JOINER, "")
    assert whole == text if whole == text or not shown.endswith("…") else text.startswith(whole.removesuffix("…"))


@given(text=st.text(max_size=300), lines=st.integers(1, 60))
def test_every_message_is_within_slacks_limits(text: str, lines: int) -> None:
    message = slack_message(a_notice(text="\n".join([text + "<&>"] * lines), urgency="call", role=text), "<!here>")
    blocks = message["blocks"]
    assert 1 <= len(blocks) <= 50
    assert 1 <= len(blocks[0]["text"]["text"]) <= MAX_HEADER
    for block in blocks[1:]:
        assert 1 <= len(block["text"]["text"]) <= MAX_SECTION
    assert sum(len(block["text"]["text"]) for block in blocks) < 13_000
    assert len(message["text"]) <= 3000


def test_the_first_line_is_the_header_and_the_others_follow() -> None:
    message = slack_message(a_notice(text="Off for all.\nproven by reasoning\n\nnext: debug"))
    assert message["blocks"][0] == {
        "type": "header",
        "text": {"type": "plain_text", "text": "Off for all.", "emoji": False},
    }
    assert message["blocks"][1]["text"]["text"] == "proven by reasoning\n\nnext: debug"
    assert message["text"] == "Off for all.\nproven by reasoning\n\nnext: debug"


def test_a_headline_that_the_header_has_to_cut_is_there_in_full_below() -> None:
    headline = "x" * 400
    header, section = slack_message(a_notice(text=headline))["blocks"]
    assert header["text"]["text"] == "x" * 149 + "…"
    assert section["text"]["text"] == headline


def test_what_does_not_fit_ends_in_one_sign() -> None:
    blocks = slack_message(a_notice(text="head\n" + "\n".join(f"{n} " + "x" * 990 for n in range(40))))["blocks"]
    assert len(blocks) == 4
    assert blocks[-1]["text"]["text"].endswith("\n…")


def test_nothing_is_unfurled_and_no_name_becomes_a_link() -> None:
    message = slack_message(a_notice(text="see https://example.org/x #general"))
    assert (message["unfurl_links"], message["unfurl_media"], message["link_names"]) == (False, False, False)
    assert "mrkdwn" not in json.dumps(message)


def texts(message: dict[str, Any]) -> str:
    return json.dumps(message["blocks"], ensure_ascii=False)


def test_somebody_is_mentioned_only_in_a_call_and_only_as_configured() -> None:
    for urgency in ("tell", "record"):
        assert "<!" not in texts(slack_message(a_notice(urgency=urgency, role="Watch Officer"), "<!here>"))
    called = slack_message(a_notice(text="<!channel> @channel", urgency="call", role="<!channel>"), "<!here>")
    last = called["blocks"][-1]["text"]
    assert last == {"type": "mrkdwn", "text": "<!here> Asked: &lt;!channel&gt;", "verbatim": True}
    assert texts(called).count("<!") == 1
    assert "<" not in called["text"]


@pytest.mark.parametrize(
    ("mention", "written"),
    [("here", "<!here>"), ("channel", "<!channel>"), ("S0123ABC", "<!subteam^S0123ABC>"), ("U0123ABC", "<@U0123ABC>")],
)
def test_a_configured_mention_arrives_in_slacks_writing(mention: str, written: str) -> None:
    with people() as server:
        SlackChannel("s", server.url, clock=FakeClock(), mention=mention).send(a_notice(urgency="call"))
        (document,) = server.documents
    assert document["blocks"][-1]["text"]["text"] == written


@pytest.mark.parametrize("mention", ["everyone", "<!here>", "@here", "s0123", "C0123ABC", "here channel", "S1>"])
def test_a_mention_that_slack_does_not_know_is_refused(mention: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot mention"):
        SlackChannel("s", "https://hooks.example.org/x", clock=FakeClock(), mention=mention)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "invalid_payload"),
        (403, "action_prohibited"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ],
)
def test_slacks_own_word_says_why_it_will_never_take_a_notice(status: int, word: str) -> None:
    with people(text_answer(word, status)) as server, pytest.raises(StoreRefused) as caught:
        SlackChannel("on-call", server.url, clock=FakeClock()).send(a_notice())
    assert caught.value.message == f"Slack channel 'on-call' answered {status} ({word})."
