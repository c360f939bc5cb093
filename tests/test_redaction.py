"""What people and systems send is kept without what identifies anybody or opens anything."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.redaction import MASK, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        ("veteran jane.doe+sm@example.gov cannot log in", "jane.doe", "cannot log in"),
        ("mail to <Jane_Doe@mail.example.gov>, please", "Jane_Doe", "please"),
        ("ssn 123-45-6789 seen", "6789", "seen"),
        ("ssn 123 45 6789 seen", "6789", "seen"),
        ("ssn 123456789 seen", "123456789", "seen"),
        ("icn 1012345678V123456 seen", "1012345678", "seen"),
        ("icn1012345678v123456", "1012345678", ""),
        ("edipi=1234567890,", "1234567890", "edipi"),
        ("call (202) 555-0123 now", "0123", "now"),
        ("call 202-555-0123 now", "0123", "now"),
        ("card 4111 1111 1111 1111 used", "1111", "used"),
        ("Authorization: Bearer abcdefgh12345678 failed", "abcdefgh", "failed"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "authorization"),
        ("sent bearer abc.def-ghi_jkl= to it", "abc.def", "to it"),
        (f"got {JWT} back", "eyJ", "back"),
        ("https://admin:hunter2@flipt.example.gov/api failed", "hunter2", "flipt.example.gov/api failed"),
        ("https://ghs_sometoken@github.example/x", "sometoken", "github.example"),
        ("GET /x?token=abc123&page=2 failed", "abc123", "&page=2 failed"),
        ("GET /x?api_key=abc123;y=1", "abc123", ";y=1"),
        ("GET /x?client-secret=abc123", "abc123", "client-secret"),
        ("sessionToken=abc123 sent", "abc123", "sent"),
        ('{"password": "hunter 2", "user": 5}', "hunter", '"user": 5}'),
        ("password: hunter2", "hunter2", "password"),
        ("PASSWD='hunter 2' set", "hunter", "set"),
        ("Cookie: session=abc; other=def", "abc", "Cookie"),
        ("key ghp_abcdefghijklmnop1234 leaked", "abcdefghijkl", "leaked"),
        ("xoxb-1234-abcdefghijkl leaked", "abcdefghijkl", "leaked"),
        ("AKIAIOSFODNN7EXAMPLE leaked", "IOSFODNN7", "leaked"),
        ("jane.doe\u200b@exam\u00adple.gov cannot", "jane", "cannot"),
        ("123-\u200b45-6789", "6789", ""),
    ],
)
def test_secrets_and_personal_numbers_are_masked(text: str, secret: str, kept: str) -> None:
    clean = redact(text)
    assert secret not in clean
    assert MASK in clean
    assert kept in clean


@pytest.mark.parametrize(
    "text",
    [
        "error rate 12.5 % since 2026-11-23T08:43:00.123456Z, 1 of 100 buckets",
        "since 2026-11-23 08:43 ET; monitor 485476; PR 12345; SEV-2 at 10.120.200.14:8080",
        "fixed by 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "keyboard and monkey=3 are no secrets",
        "tokens expired, keys rotated",
        "größere Störung – „Nachrichten“ ✓ 日本",
        "deploy v2.17.3, see https://example.gov/runbook?page=2#top",
    ],
)
def test_what_people_need_to_read_stays(text: str) -> None:
    assert redact(text) == text


def test_control_characters_and_line_breaks_cannot_forge_a_line() -> None:
    assert redact("off\r\n\x1b[2Jon\x00\u2028x\u202e y\ud800") == "off [2Jon x y"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert redact("x " * 600, 500).endswith("…")
    assert len(redact("x " * 600, 500)) == 500
    assert redact("short", 5) == "short"
    assert redact("longer", 5) == "long…"
    assert redact("text", 1) == "…"
    assert redact("text", 0) == ""


def test_a_secret_across_the_place_where_a_very_long_text_is_cut_first_is_not_half_shown() -> None:
    before = ("password=" + "a" * 290 + " ") * 10  # shrinks to little when masked
    for shift in range(0, 40, 3):
        text = before[: 3000 - 20 - shift] + " jane.doe@example.gov"
        assert "jane" not in redact(text, 500)


@given(st.text(max_size=600), st.integers(0, 200))
def test_the_length_is_kept_and_the_text_is_one_printable_line(text: str, max_length: int) -> None:
    clean = redact(text, max_length)
    assert len(clean) <= max_length
    assert clean.splitlines() in ([], [clean])
    clean.encode()


@given(st.text(st.sampled_from("a1 @.:/=-\"'tokenpassword?&"), max_size=80))
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize("piece", ["a", "1", "a1", "a.", "@", "x=", "token=", "://", "-", "(", "eyJa.", " 123"])
def test_no_text_takes_long(piece: str) -> None:
    started = time.process_time()
    redact(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 0.25
