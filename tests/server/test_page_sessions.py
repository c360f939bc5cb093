"""Sessions in memory, and where a request comes from: both without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.server.page import origin
from rollback.server.page.sessions import LASTS_SECONDS, SESSIONS_KEPT, Sessions, csrf_of, is_csrf_of, name_of

SECRET = "rb_" + "s" * 43


class Time:
    """Seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_memory_alone_opens_nothing() -> None:
    sessions = Sessions(Time())
    cookie = sessions.open(SECRET)
    held = repr(sessions._known)
    assert sessions.secret(cookie) == SECRET
    for known in (SECRET, SECRET[3:20], cookie, csrf_of(cookie)):
        assert known not in held
    assert cookie not in csrf_of(cookie)
    assert name_of(cookie) not in csrf_of(cookie)


@given(st.text(max_size=100))
def test_no_other_id_is_a_session(guess: str) -> None:
    sessions = Sessions(Time())
    cookie = sessions.open(SECRET)
    if guess != cookie:
        assert sessions.secret(guess) is None
        assert not is_csrf_of(cookie, guess)
    assert is_csrf_of(cookie, csrf_of(cookie))


@given(st.text(min_size=1, max_size=200, alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_comes_back_as_it_was(secret: str) -> None:
    sessions = Sessions(Time())
    assert sessions.secret(sessions.open(secret)) == secret


def test_each_session_is_its_own_and_ends_alone() -> None:
    sessions = Sessions(Time())
    one, other = sessions.open(SECRET), sessions.open(SECRET)
    assert one != other
    sessions.end(one)
    sessions.end("never there")
    assert (sessions.secret(one), sessions.secret(other)) == (None, SECRET)


def test_a_session_ends_after_its_time_for_good() -> None:
    time = Time()
    sessions = Sessions(time)
    cookie = sessions.open(SECRET)
    time.now = LASTS_SECONDS - 1
    assert sessions.secret(cookie) == SECRET
    time.now = LASTS_SECONDS
    assert sessions.secret(cookie) is None
    time.now = 0.0
    assert sessions.secret(cookie) is None


def test_sessions_cannot_fill_the_memory() -> None:
    sessions = Sessions(Time())
    cookies = [sessions.open(SECRET) for _ in range(SESSIONS_KEPT + 2)]
    assert [sessions.secret(cookie) is None for cookie in cookies[:3]] == [True, True, False]
    assert sessions.secret(cookies[-1]) == SECRET


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("127.9.9.9", True),
        ("[::1]:8080", True),
        ("rollback.localhost", True),
        ("localhost.evil.example.org", False),
        ("127.0.0.1.evil.example.org", False),
        ("10.0.0.1", False),
        ("evil.example.org@127.0.0.1", False),
        ("", False),
        ("[::1", False),
        ("[", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, is_here: bool) -> None:
    assert origin.is_loopback({"host": host}) is is_here


OURS = {"host": "rollback.example.org", "origin": "https://rollback.example.org"}


@pytest.mark.parametrize(
    "headers",
    [
        OURS,
        {**OURS, "sec-fetch-site": "same-origin"},
        {"host": "localhost:8080", "origin": "http://localhost:8080"},
        {"host": "Rollback.Example.org", "origin": "https://rollback.example.org"},
    ],
    ids=str,
)
def test_our_own_page_is_known(headers: dict[str, str]) -> None:
    assert origin.why_foreign(headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "", "origin": ""},
        {"host": "rollback.example.org"},
        {**OURS, "origin": "https://rollback.example.org:8443"},
        {**OURS, "origin": "https://rollback.example.org.evil.example.org"},
        {**OURS, "origin": "https://evil.example.org"},
        {**OURS, "origin": "null"},
        {**OURS, "origin": "file://rollback.example.org"},
        {**OURS, "origin": "https://["},
        {**OURS, "origin": "rollback.example.org"},
        {**OURS, "sec-fetch-site": "same-site"},
        {**OURS, "sec-fetch-site": "none"},
        {**OURS, "sec-fetch-site": "same-origin, cross-site"},
    ],
    ids=str,
)
def test_every_other_page_is_foreign(headers: dict[str, str]) -> None:
    assert origin.why_foreign(headers)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_the_check(host: str, sent: str) -> None:
    headers = {"host": host, "origin": sent}
    origin.is_loopback(headers)
    origin.is_secure(headers)
    if not origin.why_foreign(headers):
        assert sent.lower().startswith(("http://", "https://"))
        assert host
