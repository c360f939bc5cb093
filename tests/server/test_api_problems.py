"""Every failure is a problem document (RFC 9457) in the command line's own words, and nothing else of an exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback import errors
from rollback.errors import RollbackError
from rollback.server.problems import STATUSES, problem_in, problem_of
from tests.e2e.worlds import served
from tests.server.api_world import ApiWorld, api_world

MEMBERS = ["type", "title", "status", "detail", "code", "next", "exit"]
CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RollbackError) and kind is not RollbackError
]
BY_EXIT = {
    2: {404, 503},
    3: {409},
    4: {422},
    5: {409, 504},
    6: {409, 502},
    7: {503},
    8: {507},
    130: {503},
}
"""Exit codes and the statuses that may stand for them."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    with api_world(tmp_path_factory.mktemp("problems")) as world:
        yield world


def check(problem: Any, status: int, code: str, exit_code: int) -> None:
    assert list(problem)[:7] == MEMBERS
    assert (problem["status"], problem["code"], problem["exit"]) == (status, code, exit_code)
    assert problem["detail"]
    assert "Traceback" not in str(problem)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_keeps_its_words(kind: type[RollbackError]) -> None:
    assert kind.code in STATUSES
    problem = problem_of(kind("It is so.", next="Do that."))
    told = problem.document()
    check(told, STATUSES[kind.code], kind.code, kind.exit_code)
    assert told["status"] in BY_EXIT[kind.exit_code]
    assert (told["detail"], told["next"], told["type"]) == ("It is so.", "Do that.", "about:blank")
    answer = problem.response()
    assert (answer.status_code, answer.media_type) == (told["status"], "application/problem+json")


def test_of_an_error_that_nobody_expected_only_the_type_is_told() -> None:
    problem = problem_of(ValueError("password=hunter2 in /srv/secret"))
    told = problem.document()
    check(told, 500, "unexpected", 1)
    assert "hunter2" not in str(told)
    assert "ValueError" in told["detail"]


def test_a_commands_own_error_document_keeps_what_else_it_tells() -> None:
    document = {
        "error": {"code": "store_unreachable", "message": "No answer.", "next": "By hand.", "manual_steps": ["one"]},
        "exit": 6,
        "exposure": None,
        "status": "not to be taken for the status",
    }
    problem = problem_in(document)
    assert problem is not None
    told = problem.document()
    check(told, 502, "store_unreachable", 6)
    assert (told["manual_steps"], told["exposure"]) == (["one"], None)
    assert problem_in({"exit": 0}) is None


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/features/sm/open", {"severity": "critical", "reason": "r"}, "severity"),
        ("/features/sm/open", {"severity": "low"}, "reason"),
        ("/features/sm/open", {"severity": "low", "reason": " "}, "reason"),
        ("/features/sm/note", {"text": "t" * 2001}, "text"),
        ("/features/sm/note", {"txt": "secret-value"}, "txt"),
        ("/features/sm/fix", {"commit": "c" * 81}, "commit"),
        ("/features/sm/enable", {"reason": "r", "force_for": "2h"}, "force"),
        ("/features/sm/enable", {"reason": "r", "force": True, "force_for": "soon"}, "force_for"),
        ("/features/sm/enable", {"reason": "r", "until": "tomorrow"}, "until"),
        ("/features/sm/hold", {"reason": "r", "until": "2030-01-01T00:00:00"}, "until"),
        ("/features/sm/approve", {"reason": "r", "step": True, "withdraw": True}, "three different things"),
        ("/features/sm/disable", {"timeout": 601}, "timeout"),
        ("/features/sm/disable", {"timeout": "NaN"}, "timeout"),
        ("/features/sm/disable", {"reasn": "x"}, "reasn"),
    ],
    ids=str,
)
def test_a_wrong_body_is_refused_with_where_and_why_and_without_what_was_sent(
    world: ApiWorld, path: str, body: dict[str, Any], said: str
) -> None:
    answer = world.post(path, body, role="approver")
    assert answer.headers["content-type"] == "application/problem+json"
    check(answer.json(), 400, "usage", 2)
    assert said in answer.json()["detail"]
    assert "secret-value" not in answer.text
    assert world.world.writes == 0


def test_what_is_no_json_is_refused(world: ApiWorld) -> None:
    headers = {"authorization": f"Bearer {world.secrets['responder']}", "content-type": "application/json"}
    for body in (b"{", b"[]", b'"text"', b"\xff", b"null"):
        answer = world.http.post("/api/v1/features/sm/note", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "usage"), body


@pytest.mark.parametrize("name", ["nosuch", "no such", "%2e%2e%5cetc", "sm%00", "s" * 150, "‮ms"])
def test_a_feature_that_is_not_there_is_404_everywhere(world: ApiWorld, name: str) -> None:
    for method, path, body in (
        ("GET", f"/features/{name}", None),
        ("GET", f"/features/{name}/incidents", None),
        ("GET", f"/features/{name}/transitions", None),
        ("POST", f"/features/{name}/disable", None),
        ("POST", f"/features/{name}/note", {"text": "t"}),
        ("POST", f"/features/{name}/enable", {"reason": "r"}),
        ("POST", f"/features/{name}/hold", {"reason": "r", "until": "2030-01-01T00:00:00Z"}),
    ):
        answer = world.call(method, path, body)
        assert (answer.status_code, answer.json()["exit"]) == (404, 2), (path, answer.text)
    assert world.world.writes == 0


def test_unknown_places_and_methods_are_problems_too(world: ApiWorld) -> None:
    check(world.get("/nosuch").json(), 404, "not_found", 2)
    check(world.get("/operations/nosuch").json(), 404, "not_found", 2)
    check(world.get("/incidents/nosuch").json(), 404, "not_found", 2)
    check(world.get("/incidents/sm-20260101T000000Z-abcd").json(), 404, "not_found", 2)
    wrong = world.call("PUT", "/features/sm")
    check(wrong.json(), 405, "usage", 2)
    assert "GET" in wrong.headers["allow"]


def test_nothing_to_act_on_is_409(world: ApiWorld) -> None:
    for name, body in (
        ("fix", {"commit": "abc"}),
        ("keep-off", {"reason": "r"}),
        ("raise", {"reason": "r", "severity": "high"}),
        ("adopt", None),
    ):
        check(world.post(f"/features/sm/{name}", body).json(), 409, "refused", 3)


def test_a_server_that_is_set_up_wrongly_is_503_and_not_the_callers_fault(tmp_path: Path) -> None:
    with api_world(tmp_path) as world:
        policy = world.world.folder / "policies" / "features" / "secure-messaging.yaml"
        policy.write_text(policy.read_text().replace("key: secure-messaging", "key: ''"))
        answer = world.post("/features/sm/disable")
        check(answer.json(), 503, "configuration", 2)


def test_a_flag_that_is_missing_is_404_and_never_off(tmp_path: Path) -> None:
    with api_world(tmp_path, flag=None) as world:
        answer = world.post("/features/sm/disable")
        told = answer.json()
        check(told, 404, "flag_missing", 2)
        assert (told["off_proven"], told["exposure"]) == (False, None)
        assert world.get("/features/sm").json()["code"] == "flag_missing"


def test_a_store_out_of_reach_is_502_with_the_steps_by_hand(tmp_path: Path) -> None:
    with api_world(tmp_path) as world:
        world.world.flipt.stop()
        answer = world.post("/features/sm/disable", {"timeout": 0.1})
        told = answer.json()
        check(told, 502, "store_unreachable", 6)
        assert any("secure-messaging" in step for step in told["manual_steps"])
        assert told["off_proven"] is False
        standing = world.get("/features/sm").json()
        check(standing, 502, "store_unreachable", 6)
        assert standing["exposure"] is None, "unknown is not off"


def test_an_unhealthy_feature_does_not_come_back_and_says_so(tmp_path: Path) -> None:
    with api_world(tmp_path) as world:
        world.post("/features/sm/disable").raise_for_status()
        checked = world.get("/features/sm/check").json()
        assert (checked["verdict"], checked["exit"]) == ("unhealthy", 4)
        events = world.stream("POST", "/features/sm/enable", {"reason": "hope"})
        assert events[-1] == {"exit": 4}
        assert served(world.world.flipt.url) == 0
