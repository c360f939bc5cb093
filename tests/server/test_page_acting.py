"""Acting by the page: what the role allows, asked for by the page itself, and never by looking at something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from rollback.server.health import Health
from rollback.server.page.routes import OFFERED, router
from tests.e2e.harness import until
from tests.e2e.worlds import served
from tests.server.api_world import ROLES, ApiWorld, api_world
from tests.server.page_world import browser, signed_in
from tests.server.test_api_roles import BODIES, WHO


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    """For what changes nothing."""
    with api_world(tmp_path_factory.mktemp("acting")) as world:
        yield world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path) as world:
        yield world


def routes(world: ApiWorld) -> list[APIRoute]:
    found = router(world.server.services, Health(world.server.services, lambda: "")).routes
    return [route for route in found if isinstance(route, APIRoute)]


def test_no_get_of_any_route_acts(shared: ApiWorld) -> None:
    history, flag, held = len(shared.history()), shared.world.flag, list(shared.holds.held)
    found = routes(shared)
    assert len(found) > 12
    with signed_in(shared, "approver") as somebody:
        headers = {"origin": somebody.address, "x-rollback-csrf": somebody.csrf}
        for route in found:
            path = route.path.replace("{feature}", "sm")
            if path == "/page/events":
                continue  # it is read elsewhere; this loop would wait for its end
            status = somebody.http.get(path, headers=headers, params={"reason": "r", "csrf": somebody.csrf}).status_code
            assert status == (200 if "GET" in (route.methods or ()) else 405), path
        assert somebody.http.get("/page/state").status_code == 200, "and nobody was signed out"
    assert (len(shared.history()), shared.world.flag, shared.holds.held) == (history, flag, held)
    assert {route.path for route in found if "POST" in (route.methods or ())} == {
        "/page/sign-in",
        "/page/sign-out",
        *(f"/page/features/{{feature}}/{name}" for name in OFFERED),
    }


@pytest.mark.parametrize("command", sorted(OFFERED))
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_what_the_table_says(shared: ApiWorld, role: str, command: str) -> None:
    with signed_in(shared, role) as somebody:
        answer = somebody.act("sm", command, BODIES[command])
    if role in WHO[command]:
        assert answer.status_code != 403, answer.text
    else:
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"


FOREIGN: list[dict[str, str | None]] = [
    {"x-rollback-csrf": None},
    {"x-rollback-csrf": "0" * 64},
    {"x-rollback-csrf": ""},
    {"origin": None},
    {"origin": "null"},
    {"origin": "https://evil.example.org"},
    {"origin": "http://127.0.0.1:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("command", sorted(OFFERED))
def test_what_another_page_sends_with_the_cookie_does_nothing(
    shared: ApiWorld, command: str, headers: dict[str, str | None]
) -> None:
    before = (len(shared.history()), shared.world.flag)
    body = {name: value for name, value in BODIES[command].items() if name != "dry_run"}
    with signed_in(shared, "approver") as victim:
        answer = victim.act("sm", command, body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (len(shared.history()), shared.world.flag) == before


def test_the_word_of_one_session_does_not_count_in_another(shared: ApiWorld) -> None:
    with signed_in(shared, "approver") as one, signed_in(shared, "approver") as other:
        assert one.csrf != other.csrf
        assert one.act("sm", "note", {"text": "t", "dry_run": True}, x_rollback_csrf=other.csrf).status_code == 403
        assert one.act("sm", "note", {"text": "t", "dry_run": True}).status_code == 200


@pytest.mark.parametrize("command", sorted(OFFERED))
def test_a_token_in_a_header_is_no_session(shared: ApiWorld, command: str) -> None:
    with browser(shared.server.address) as program:
        bearer = {"authorization": f"Bearer {shared.secrets['approver']}"}
        assert program.act("sm", command, BODIES[command], **bearer).status_code == 401
        assert program.http.get("/page/state", headers=bearer).status_code == 401


def test_the_page_has_no_way_to_bring_a_feature_back(shared: ApiWorld) -> None:
    with signed_in(shared, "approver") as somebody:
        for command in ("enable", "undo", "false-alarm", "close", "fix", "raise"):
            assert somebody.act("sm", command, {"reason": "r"}).status_code == 404


def test_a_disable_by_the_page_is_an_off_in_the_persons_own_name(world: ApiWorld) -> None:
    with signed_in(world) as somebody:
        until(lambda: somebody.card()["kind"] == "on", what="the first look")
        answer = somebody.act(
            "secure-messaging", "disable", {"reason": "users see errors"}, accept="application/x-ndjson"
        )
        assert answer.status_code == 200
        events = [line for line in answer.text.splitlines() if '"line"' in line]
        assert any("OFF" in line or "off" in line for line in events), "the command's own lines"
        assert '{"exit":0}' in answer.text
        assert served(world.world.flipt.url) == 0
        until(lambda: somebody.card()["word"] == "OFF proven", what="the card")
        card = somebody.card()
        assert card["severity"] == "critical"
        assert card["case"]["opened_by"] == "a-responder"
        assert "users see errors" in str(card["timeline"])
    opened = next(row for row in world.history() if row["name"] == "case_opened")
    assert (opened["actor"], opened["authenticated"]) == ("a-responder", "token")


def test_a_disable_needs_nothing_of_what_the_page_shows(tmp_path: Path) -> None:
    with api_world(tmp_path) as world, signed_in(world) as somebody:
        for policy in (world.world.cli.policies).glob("*.yaml"):
            policy.write_text("{{{ no policy")
        assert somebody.act("sm", "disable").status_code in (200, 202)
        assert served(world.world.flipt.url) == 0


def test_a_hold_and_its_end_are_the_persons(world: ApiWorld) -> None:
    with signed_in(world) as somebody:
        body = {"reason": "load test", "until": "2030-01-01T00:00:00Z"}
        assert somebody.act("sm", "hold", body).status_code == 200
        assert somebody.act("sm", "hold", {"reason": "over", "until": None}).status_code == 200
    assert [(key, until_when is None, who.name) for key, until_when, _, who, _ in world.holds.held] == [
        ("secure-messaging", False, "a-responder"),
        ("secure-messaging", True, "a-responder"),
    ]


def test_the_same_note_sent_twice_is_kept_once(world: ApiWorld) -> None:
    with signed_in(world) as somebody:
        for _ in range(2):
            assert somebody.act("sm", "note", {"text": "paged the vendor"}, idempotency_key="k-1").status_code == 200
    assert [row["name"] for row in world.history()].count("note_added") == 1
