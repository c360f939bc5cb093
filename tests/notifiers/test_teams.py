"""What Teams is given: an Adaptive Card whose words are literal, and that is never too large."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.notifiers.sending import json_bytes
from rollback.adapters.notifiers.teams import MAX_BYTES, TeamsChannel, literal, teams_message
from rollback.sandbox.wire import Answer
from tests.fakes.clock import FakeClock
from tests.notifiers.stand_ins import a_notice, people


def card(message: dict[str, Any]) -> dict[str, Any]:
    (attachment,) = message["attachments"]
    content: dict[str, Any] = attachment["content"]
    return content


def words(message: dict[str, Any]) -> list[str]:
    return ["".join(run["text"] for run in block["inlines"]) for block in card(message)["body"]]


def test_the_envelope_is_the_one_that_workflows_take() -> None:
    message = teams_message(a_notice())
    assert message["type"] == "message"
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    assert (card(message)["type"], card(message)["version"]) == ("AdaptiveCard", "1.4")


def test_each_line_is_a_block_and_the_first_one_stands_out() -> None:
    message = teams_message(a_notice(text="Off for all.\nproven\n\nnext", urgency="call", role="Watch Officer"))
    assert words(message) == ["Off for all.", "Asked: Watch Officer", "proven", " ", "next"]
    headline = card(message)["body"][0]["inlines"][0]
    assert (headline["weight"], headline["size"], headline["color"]) == ("Bolder", "Large", "Attention")


@pytest.mark.parametrize(
    "text",
    [
        "**bold** _it_ ~~no~~ `code`",
        "[the dashboard](https://evil.example.org)",
        "- item\r- item",
        "<at>Everyone</at>",
        "# head | table |",
        "![picture](https://evil.example.org/p.png)",
        "\\*already\\*",
    ],
)
def test_markdown_and_mentions_are_words(text: str) -> None:
    message = teams_message(a_notice(text=f"head\n{text}"))
    assert "\n".join(words(message)[1:]) == text.replace("\r", "\n")
    # Only a TextBlock (or a fact) knows Markdown, and only entities make a mention.
    assert {block["type"] for block in card(message)["body"]} == {"RichTextBlock"}
    assert card(message)["msteams"] == {"width": "Full"}


@given(st.text(alphabet="{}DATE() x", max_size=30))
def test_no_function_of_adaptive_cards_is_called(text: str) -> None:
    shown = literal(text)
    assert "{{" not in shown
    assert shown.replace("\u2060", "") == text


@given(text=st.text(max_size=500), lines=st.integers(1, 110))
def test_every_card_is_small_enough(text: str, lines: int) -> None:
    message = teams_message(a_notice(text="\n".join([text + "\u2603"] * lines), role=text))
    assert len(json_bytes(message)) <= MAX_BYTES + 200
    assert len(words(message)) >= 1


def test_a_card_that_is_cut_says_so() -> None:
    shown = words(teams_message(a_notice(text="\n".join(f"{n} " + "x" * 990 for n in range(60)))))
    assert shown[-1] == "…"
    assert shown[0].startswith("0 ")


def test_a_long_headline_is_there_in_full_below() -> None:
    shown = words(teams_message(a_notice(text="y" * 400)))
    assert shown == ["y" * 249 + "…", "y" * 400]


@pytest.mark.parametrize("answer", [Answer(202), Answer(200), Answer(200, b'{"ok":1}'), Answer(204)])
def test_a_workflow_that_took_it_or_answers_by_itself_is_success(answer: Answer) -> None:
    with people(answer) as server:
        TeamsChannel("t", server.url, clock=FakeClock()).send(a_notice())
        assert len(server.documents) == 1
