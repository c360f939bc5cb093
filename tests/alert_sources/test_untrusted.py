"""JSON that somebody else wrote does no harm and is never misread."""

from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.alert_sources.untrusted import (
    MAX_BODY,
    MAX_TAGS,
    TAGS_CUT,
    Fields,
    Unreadable,
    json_object,
    split_tags,
    tags,
)
from rollback.redaction import MASK


def refusal(body: bytes, *, lenient: bool = False, content_type: str = "application/json") -> str:
    with pytest.raises(Unreadable) as caught:
        json_object({"content-type": content_type}, body, lenient=lenient)
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not valid JSON"),
        (b"null", "no object"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b'{"a": NaN}', "a number that is none"),
        (b'{"a": -Infinity}', "a number that is none"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": [{"a": 1, "\\u0061": 1}]}', "twice"),
        (b'{"a": "line\nbreak"}', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "deeper than 32"),
        (b"[" * 500_000, "deeper than 32"),
        (b'{"a":' * 150_000, "deeper than 32"),
        (b'{"a": "' + b"x" * MAX_BODY + b'"}', "larger than 1 MB"),
    ],
)
def test_a_body_that_is_no_plain_object_is_refused_in_one_sentence(body: bytes, why: str) -> None:
    assert why in refusal(body)


def test_a_form_is_named_as_what_it_is() -> None:
    why = refusal(b"id=1&alert_id=2", content_type="application/x-www-form-urlencoded")
    assert "switch form encoding off" in why
    assert json_object({"content-type": "application/x-www-form-urlencoded"}, b'{"a": 1}').word("a") == "1"


def test_a_byte_order_mark_and_brackets_in_texts_do_no_harm() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"a": "[" * 100 + '"' + "\\" + "{" * 100}).encode()
    assert json_object({}, body).word("a").startswith("[")


def test_a_reader_near_the_end_of_its_stack_is_told_and_not_broken() -> None:
    body = b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}"

    def descend() -> Fields | str:
        try:
            return descend()
        except RecursionError:
            try:
                return json_object({}, body)
            except (Unreadable, RecursionError) as error:
                return type(error).__name__

    limit = sys.getrecursionlimit()
    assert isinstance(descend(), (Fields, str))
    assert sys.getrecursionlimit() == limit
    assert json_object({}, body).many("a")


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "1", "b": [1, 2, ], }',
        b'{"a": "1", "b": [1, 2\n,\n]\n,\n}\n',
        b'{"a": "1", "b": [1, 2], "c": ",]", "d": ",}", "e": "\\",}",}',
        b'{"a": "1", "b": [1, 2], "c": "two\nlines"}',
    ],
)
def test_lenient_reading_mends_commas_at_the_end_and_line_breaks(body: bytes) -> None:
    fields = json_object({}, body, lenient=True)
    assert fields.word("a") == "1"
    assert fields.many("b") == [1, 2]
    assert fields.word("c") in ("", ",]", "two\nlines")
    assert fields.word("d") in ("", ",}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "1",, "b": 2}',
        b'{, "a": "1"}',
        b'{"a": "he said "no" to it"}',
        b'{"a": "1" "b": 2}',
        b"{'a': 1}",
        b'{"a": "1", "name": "x", "a": "2",}',
    ],
)
def test_lenient_reading_mends_nothing_else(body: bytes) -> None:
    assert refusal(body, lenient=True)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 500_000,
        b'{"a": "' + b"\\" * 500_001,
        b"," * 1_000_000,
        (b"," + b" " * 999) * 1000,
        b'{"a": ' + b'"",' * 300_000,
        b'{"a": "' + b"@" * 1_000_000 + b'"}',
        b'{"a": "' + b"token=" * 150_000 + b'"}',
    ],
)
def test_no_body_costs_more_than_a_moment(body: bytes) -> None:
    begun = time.process_time()
    for lenient in (False, True):
        try:
            Fields(json_object({}, body, lenient=lenient).values).text("a")
        except Unreadable:
            continue
    assert time.process_time() - begun < 5


def test_identifiers_are_refused_and_never_cut() -> None:
    long = "x" * 200
    assert Fields({"a": long}).identifier("a") == long
    assert Fields({"a": 4711}).identifier("a") == "4711"
    assert Fields({"a": " 4711 "}).identifier("a") == "4711"
    for empty in ({}, {"a": None}, {"a": ""}, {"a": "  "}):
        assert Fields(empty).identifier("a") == ""
    bad_values: list[object] = [
        long + "y", True, 1.5, [], {}, "a\nb", "a\u200bb", "a\u202eb", "a\x00b", "\ud800", 10**300
    ]  # fmt: skip
    for bad in bad_values:
        with pytest.raises(Unreadable, match="field a"):
            Fields({"a": bad}).identifier("a")


def test_texts_for_people_are_redacted_cut_and_on_one_line() -> None:
    text = Fields({"a": f"call jane@example.gov\r\n\x1b[31mnow\u202e password=hunter2 {'x' * 300}"}).text("a")
    assert "jane" not in text
    assert "hunter2" not in text
    assert MASK in text
    assert len(text) <= 200
    assert text.isprintable()
    assert Fields({"a": ["no text"]}).text("a") == ""


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://app.example.org/monitors/1", "https://app.example.org/monitors/1"),
        ("HTTP://app.example.org", "HTTP://app.example.org"),
        ("javascript:alert(1)", ""),
        ("ftp://example.org", ""),
        ("//example.org", ""),
        ("https://", ""),
        ("https:// example.org", ""),
        ("https://example.org/\njavascript:x", ""),
        ("https://example.org/\u202e", ""),
        ("data:text/html,https://example.org", ""),
        (f"https://example.org/a?{'q' * 300}#{'f' * 300}", "https://example.org/a"),
        ("https://user:hunter2@example.org/a", f"https://{MASK}@example.org/a"),
        ("https://example.org/?token=abcdef", f"https://example.org/?token={MASK}"),
    ],
)
def test_only_addresses_that_are_safe_to_follow_are_kept(link: str, kept: str) -> None:
    assert Fields({"a": link}).link("a") == kept


def test_too_many_tags_leave_those_that_rules_pin_and_say_that_some_are_gone() -> None:
    many = [f"host:h{number:04d}" for number in range(500)]
    kept = tags([*many, "service:sm", "env:prod", "zone:z", " ", "env:prod"])
    assert len(kept) == MAX_TAGS
    assert {"service:sm", "env:prod", TAGS_CUT} <= set(kept)
    assert "zone:z" not in kept
    assert TAGS_CUT not in tags(many[:MAX_TAGS])
    assert len(tags(many[:MAX_TAGS])) == MAX_TAGS


def test_tags_are_redacted_and_two_long_ones_match_no_rule() -> None:
    kept = tags(["owner:jane@example.gov", "api_key:abcdef", "x" * 250, "x" * 200, "two\nlines"])
    assert "two lines" in kept
    assert "x" * 200 in kept
    assert not any("jane" in tag or "abcdef" in tag for tag in kept)
    assert any(tag.endswith("…") for tag in kept)


@given(st.lists(st.text(max_size=30), max_size=100), st.lists(st.sampled_from(["note:1", "note:2"]), max_size=2))
def test_tags_are_sorted_and_unique_in_whatever_order_they_came(words: list[str], notes: list[str]) -> None:
    kept = tags(words, notes)
    assert kept == tags(reversed(words), reversed(notes))
    assert list(kept) == sorted(set(kept))
    assert len(kept) <= MAX_TAGS
    assert set(notes) <= set(kept)


def test_tags_come_as_a_text_or_a_list() -> None:
    assert split_tags("a:b, c") == ["a:b", " c"]
    assert split_tags(["a:b", 1, None, "c"]) == ["a:b", "c"]
    assert split_tags(None) == split_tags(5) == []
