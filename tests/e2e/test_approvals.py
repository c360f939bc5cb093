"""`rollback approve`, as people use it: one terminal brings the feature back and waits, another one permits it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.conftest import MakeWorld, on_v2
from tests.e2e.harness import Running
from tests.e2e.worlds import World, served

ALICE, CAROL = "alice", "carol"
"""Names that were merely typed: they can turn off and bring back, and only the account itself can approve."""

APPROVE = ("approve", "sm", "--reason", "looked at it")
ENABLE = ("enable", "sm", "--reason", "fixed", "--fix", "abc1234")


def ask_for(world: World, text: str) -> World:
    """The same world, whose critical policy says this as well."""
    path = world.cli.policies / "critical.yaml"
    path.write_text(path.read_text() + text + "\n")
    return world


@pytest.fixture
def careful(make_world: MakeWorld, api: str) -> World:
    """A world in which a return of a critical case has to be approved; the feature is off, and mended."""
    world = ask_for(make_world(api), "approvals: {escalate_to: [approver, owner]}")
    world.cli.run("disable", "sm", ROLLBACK_ACTOR=ALICE).expect(0)
    world.mend()
    return world


def waiting(world: World) -> Running:
    """The return of somebody else, once it waits."""
    returning = world.cli.start(*ENABLE, ROLLBACK_ACTOR=CAROL)
    returning.said("Asked: an approval is missing")
    return returning


@pytest.mark.slow
def test_the_return_waits_until_somebody_else_permits_it(careful: World) -> None:
    before = served(careful.flipt.url)
    assert before == 0
    returning = waiting(careful)
    returning.said("Waiting, and watching: an approval is missing (approver may give it, but not alice, carol)")
    assert served(careful.flipt.url) == 0
    human = careful.cli.status()["needs_human"]
    assert (human["role"], "rollback approve" in human["what"]) == ("approver", True)
    done = careful.cli.run(*APPROVE).expect(0)
    assert "the fix abc1234, deployed by carol" in done.out
    assert "without us 100 of 100 buckets would be open" in done.out
    assert returning.result().expect(0).code == 0
    assert served(careful.flipt.url) > 0
    names = [row["name"] for row in careful.cli.history()]
    assert names.index("approval_asked") < names.index("approval_given") < names.index("step_raised")
    careful.cli.run("verify").expect(0)


@on_v2
def test_a_typed_name_and_the_one_who_turned_it_off_approve_nothing(make_world: MakeWorld, api: str) -> None:
    world = ask_for(make_world(api), "approvals: {}")
    world.cli.run("disable", "sm").expect(0)  # by the account itself
    entries = len(world.cli.history())
    own = world.cli.run(*APPROVE).expect(3)
    assert "Four eyes" in own.err
    typed = world.cli.run(*APPROVE, "--actor", "bob").expect(3)
    assert "authenticated person" in typed.err
    assert len(world.cli.history()) == entries, "what was refused is no approval, and no entry"


@on_v2
def test_what_would_be_approved_is_shown_and_nothing_is_written_in_a_dry_run(careful: World) -> None:
    entries, writes = len(careful.cli.history()), careful.writes
    told = careful.cli.run(*APPROVE, "--dry-run", "--json").expect(0).json
    assert (told["dry_run"], "Approved by" in told["would"]) == (True, True)
    climb = careful.cli.run("enable", "sm", "--reason", "x", "--dry-run").expect(0)
    assert "before the first step: an approval is missing" in climb.out
    assert (len(careful.cli.history()), careful.writes) == (entries, writes)


@on_v2
def test_an_approval_is_told_as_json_and_can_be_taken_back(careful: World) -> None:
    told = careful.cli.run(*APPROVE, "--json").expect(0).json
    [given] = told["approvals"]
    assert (given["role"], given["fix"], told["exit"]) == ("approver", "", 0)
    back = careful.cli.run("approve", "sm", "--withdraw", "--reason", "looked again", "--json").expect(0).json
    assert back["approvals"] == []
    again = careful.cli.run("approve", "sm", "--withdraw", "--reason", "x").expect(3)
    assert "has given no approval" in again.err


@on_v2
def test_words_that_do_not_go_together_or_name_nothing_are_refused(careful: World) -> None:
    both = careful.cli.run("approve", "sm", "--step", "--withdraw", "--reason", "x").expect(2)
    assert "say one of them" in both.err
    unknown = careful.cli.run("approve", "sm", "--switch", "window", "--reason", "x").expect(2)
    assert "known: none" in unknown.err
    nothing = careful.cli.run("approve", "sm", "--step", "--reason", "x").expect(3)
    assert "No step of the critical policy waits for a person" in nothing.err


@on_v2
def test_where_the_policy_wants_no_approval_there_is_none_to_give(make_world: MakeWorld, api: str) -> None:
    world = make_world(api)
    assert "no open case" in world.cli.run(*APPROVE).expect(3).err
    world.cli.run("disable", "sm", ROLLBACK_ACTOR=ALICE).expect(0)
    assert "needs no approval here" in world.cli.run(*APPROVE).expect(3).err


@pytest.mark.slow
@on_v2
def test_a_disable_waits_for_nobody_while_a_return_waits_for_an_approval(careful: World) -> None:
    returning = waiting(careful)
    careful.cli.run("disable", "sm").expect(0)
    assert "was disabled again" in returning.result().expect(4).all
    assert served(careful.flipt.url) == 0


# -- a person's go, and a switch -------------------------------------------------------------------------------------


class Window:
    """A status page that says whether a maintenance window is up."""

    def __init__(self) -> None:
        self.up = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"window": {"up": outer.up}}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
                """Nothing of it belongs into the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/status"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def window() -> Iterator[Window]:
    page = Window()
    yield page
    page.close()


@pytest.mark.slow
@on_v2
def test_the_ladder_waits_for_a_switch_that_others_lift_and_for_a_persons_go(
    make_world: MakeWorld, api: str, window: Window
) -> None:
    read_back = f"{{url: '{window.url}', assertions: [{{path: window.up, equals: false}}]}}"
    world = ask_for(make_world(api), f"switches: [{{name: window, by: operations, read_back: {read_back}}}]")
    path = world.cli.policies / "critical.yaml"
    path.write_text(path.read_text().replace("{percent: 10,", "{percent: 10, judgement: human,"))
    world.cli.run("disable", "sm", ROLLBACK_ACTOR=ALICE).expect(0)
    world.mend()
    returning = world.cli.start(*ENABLE, ROLLBACK_ACTOR=CAROL)
    returning.said("the switch window is up; operations ends it")
    assert served(world.flipt.url) == 0
    window.up = False
    returning.said("step 10 %: ")
    returning.said("a person has to say go")
    few = served(world.flipt.url)
    assert 0 < few < 2000
    world.cli.run("approve", "sm", "--step", "--reason", "support has heard nothing", ROLLBACK_ACTOR=CAROL).expect(3)
    world.cli.run("approve", "sm", "--step", "--reason", "support has heard nothing").expect(0)
    returning.result().expect(0)
    assert served(world.flipt.url) > few


@pytest.mark.slow
@on_v2
def test_a_switch_that_cannot_be_read_is_lifted_by_a_persons_word(make_world: MakeWorld, api: str) -> None:
    world = ask_for(make_world(api), "switches: [{name: window, by: operations}]")
    world.cli.run("disable", "sm", ROLLBACK_ACTOR=ALICE).expect(0)
    world.mend()
    returning = world.cli.start(*ENABLE, ROLLBACK_ACTOR=CAROL)
    returning.said("rollback approve secure-messaging --switch window")
    told = world.cli.run("approve", "sm", "--switch", "window", "--reason", "it has ended", "--json").expect(0).json
    assert told["switches_lifted"] == ["window"]
    returning.result().expect(0)
    assert served(world.flipt.url) > 0
