"""Signing in to the page: by a token alone, over nothing that can be read, and for no longer than the token lives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import httpx
import pytest

from rollback.clock import SystemClock
from rollback.server.page.sessions import LASTS_SECONDS
from rollback.server.page.signing_in import TOLD_FROM
from tests.server.api_world import ROLES, ApiWorld, api_world
from tests.server.page_world import browser, signed_in


class Shifted(SystemClock):
    """The real clock, moved on by hand."""

    by = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.by


@pytest.fixture(scope="module")
def clock() -> Shifted:
    return Shifted()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, clock: Shifted) -> Iterator[ApiWorld]:
    with api_world(tmp_path_factory.mktemp("sign-in"), clock=clock) as world:
        yield world


CLOSED = ["/page/page.js", "/page/dom.js", "/page/cards.js", "/page/actions.js", "/page/state", "/page/events"]


@pytest.mark.parametrize("path", CLOSED)
def test_without_a_session_there_is_the_form_and_nothing_else(world: ApiWorld, path: str) -> None:
    with browser(world.server.address) as nobody:
        page = nobody.http.get("/")
        assert (page.status_code, nobody.http.get(path).status_code) == (200, 401)
    assert 'type="password"' in page.text
    assert "<script" not in page.text
    assert "secure-messaging" not in page.text
    assert nobody.http.cookies.jar is not None
    assert not list(nobody.http.cookies.jar), "no session before there is a token"


@pytest.mark.parametrize("role", ROLES)
def test_a_token_opens_the_page_with_its_own_name_and_role(world: ApiWorld, role: str) -> None:
    with signed_in(world, role) as somebody:
        text = somebody.http.get("/").text
        assert f"a-{role}" in text
        assert world.secrets[role] not in text
        assert all(somebody.http.get(path).status_code == 200 for path in CLOSED if path != "/page/events")


def cookie_of(answer: httpx.Response) -> tuple[str, SimpleCookie]:
    [header] = answer.headers.get_list("set-cookie")
    return header, SimpleCookie(header)


def test_the_cookie_is_for_no_script_no_other_site_and_no_open_wire(world: ApiWorld) -> None:
    with browser(world.server.address) as somebody:
        header, here = cookie_of(somebody.sign_in(world.secrets["viewer"]))
        assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(LASTS_SECONDS)}"} <= set(header.split("; "))
        assert "Secure" not in header, "this machine alone hears it"
        assert len(here["rollback"].value) == 43
        tls = {"host": "rollback.example.org", "origin": "https://rollback.example.org"}
        header, there = cookie_of(
            somebody.http.post("/page/sign-in", data={"token": world.secrets["viewer"]}, headers=tls)
        )
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(header.split("; "))
    assert "__Host-rollback" in there
    assert there["__Host-rollback"].value != here["rollback"].value


def test_a_token_is_not_taken_over_a_wire_that_others_can_read(world: ApiWorld) -> None:
    plain = {"host": "rollback.example.org", "origin": "http://rollback.example.org"}
    with browser(world.server.address) as somebody:
        answer = somebody.http.post("/page/sign-in", data={"token": world.secrets["viewer"]}, headers=plain)
    assert answer.status_code == 403
    assert "https" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.org"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_another_site_cannot_sign_somebody_in_as_somebody_else(world: ApiWorld, headers: dict[str, str]) -> None:
    with browser(world.server.address) as somebody:
        answer = somebody.sign_in(world.secrets["viewer"], **headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "token", ["", "rb_" + "x" * 43, "<img src=x onerror=alert(1)>", "{{csrf}}", "y" * 100_000, "\udcff"]
)
def test_a_wrong_token_is_refused_and_shown_nowhere(world: ApiWorld, token: str) -> None:
    with browser(world.server.address) as somebody:
        answer = somebody.sign_in(token.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert len(answer.content) < 4000
    assert not token or token not in answer.text


def test_wrong_tokens_are_counted_and_told_and_keep_nobody_out(world: ApiWorld) -> None:
    before = set(world.server.notices.told)
    with browser(world.server.address) as guesser:
        for _ in range(2 * TOLD_FROM):
            assert guesser.sign_in("rb_" + "g" * 43).status_code == 401
        assert guesser.sign_in(world.secrets["viewer"]).status_code == 303, "no lockout"
    told = {key: notice for key, notice in world.server.notices.told.items() if key not in before}
    assert len([key for key in told if key.startswith("page:wrong-tokens:")]) <= 1
    assert any(key.startswith("page:wrong-tokens:") for key in world.server.notices.told)


def test_a_revoked_token_ends_its_sessions_at_once(world: ApiWorld) -> None:
    secret = world.tokens.issue("leaves-today", "responder", None, datetime.now(UTC))
    with browser(world.server.address) as somebody:
        assert somebody.sign_in(secret).status_code == 303
        assert somebody.http.get("/page/state").status_code == 200
        writes = world.world.writes
        assert world.tokens.revoke("leaves-today", datetime.now(UTC))
        assert somebody.http.get("/page/state").status_code == 401
        assert somebody.act("sm", "disable").status_code == 401
        assert 'type="password"' in somebody.http.get("/").text
    assert world.world.writes == writes


def test_a_stream_ends_when_its_token_is_revoked(world: ApiWorld) -> None:
    secret = world.tokens.issue("watches", "viewer", None, datetime.now(UTC))
    with browser(world.server.address) as somebody:
        assert somebody.sign_in(secret).status_code == 303
        with somebody.events() as events:
            assert next(events)[0] == "state"
            world.tokens.revoke("watches", datetime.now(UTC))
            names = [name for name, _ in events]
    assert names[-1] == "ended"


def test_a_token_that_expires_takes_its_session_with_it(world: ApiWorld) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    secret = world.tokens.issue("short", "viewer", soon, datetime.now(UTC))
    with browser(world.server.address) as somebody:
        assert somebody.sign_in(secret).status_code == 303
        with somebody.events() as events:
            assert [name for name, _ in events][-1] == "ended"
        assert somebody.http.get("/page/state").status_code == 401


def test_a_session_lasts_twelve_hours_at_most(world: ApiWorld, clock: Shifted) -> None:
    with signed_in(world, "viewer") as somebody:
        clock.by += LASTS_SECONDS - 60
        assert somebody.http.get("/page/state").status_code == 200
        clock.by += 61
        assert somebody.http.get("/page/state").status_code == 401


def test_signing_out_ends_the_session_and_no_other_site_can_do_it(world: ApiWorld) -> None:
    with signed_in(world, "viewer") as somebody:
        cookies = dict(somebody.http.cookies)
        ours = {"origin": somebody.address}
        for body, headers in (
            ({"csrf": "0" * 64}, ours),
            ({}, ours),
            ({"csrf": somebody.csrf}, {"origin": "https://evil.example.org"}),
        ):
            assert somebody.http.post("/page/sign-out", data=body, headers=headers).status_code == 403
        assert somebody.http.get("/page/state").status_code == 200
        answer = somebody.http.post("/page/sign-out", data={"csrf": somebody.csrf}, headers=ours)
        assert answer.status_code == 303
        assert httpx.get(f"{somebody.address}/page/state", cookies=cookies).status_code == 401, "not only forgotten"


def test_who_follows_a_link_to_the_page_is_not_asked_to_sign_in_again(world: ApiWorld) -> None:
    """Browsers leave a strict cookie out then; the page calls itself, and they send it."""
    with browser(world.server.address) as somebody:
        linked = somebody.http.get("/", headers={"sec-fetch-site": "cross-site"})
        assert 'http-equiv="refresh"' in linked.text
        assert "<form" not in linked.text
        assert "<form" in somebody.http.get("/", headers={"sec-fetch-site": "same-origin"}).text, "no endless loop"
