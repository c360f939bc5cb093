"""A store that says no: at once, with what to do instead, and without ever showing the token."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rollback.sandbox import Fault, FliptServer
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import MANAGEMENT, WRITES, World, served

TOKEN, OTHER_TOKEN = "flipt-s3cr3t-0123456789-abcdef", "flipt-0th3r-9876543210-fedcba"


def test_read_only_storage_is_exit_6_at_once_with_what_to_do(make_world: MakeWorld) -> None:
    world = make_world("v1", read_only=True)
    before = world.flag
    done = world.cli.run("disable", "sm", "--json").expect(6)
    assert time.time() - world.flipt.log.all()[0].at < 2, "from the first request on; it does not try for 60 seconds"
    assert world.writes == 1, "what is refused for good is not tried again"
    assert done.json["error"]["code"] == "store_refused"
    assert "read-only" in done.json["error"]["message"]
    assert done.json["error"]["next"]
    assert done.json["error"]["manual_steps"]
    assert done.json["off_proven"] is False
    assert world.flag == before


def test_read_only_storage_tells_people_to_edit_the_files(make_world: MakeWorld) -> None:
    world = make_world("v1", read_only=True)
    done = world.cli.run("disable", "sm").expect(6)
    assert "certainly nothing changed" in done.out
    assert "file" in done.err.lower()
    assert "1. " in done.out


@pytest.mark.parametrize("given", [None, OTHER_TOKEN], ids=["none", "wrong"])
def test_without_the_right_token_it_is_exit_6_and_says_so(make_world: MakeWorld, api: str, given: str | None) -> None:
    world = make_world(api, token=TOKEN)
    done = world.cli.run("disable", "sm", "--json", ROLLBACK_FLIPT_TOKEN=given).expect(6)
    assert done.json["error"]["code"] == "store_refused"
    assert "token" in done.json["error"]["message"] + done.json["error"]["next"]
    assert done.json["off_proven"] is False
    keeps_secret(world.cli, done)


def test_a_token_file_that_is_rotated_between_two_commands_is_read_anew(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, token=TOKEN)
    kept = token_file(world, TOKEN)
    cli = world.machine("first", ROLLBACK_FLIPT_TOKEN_FILE=str(kept))
    first = cli.run("disable", "sm").expect(0)
    world.flipt.token = OTHER_TOKEN
    assert cli.run("disable", "sm", "--json").expect(6).json["error"]["code"] == "store_refused"
    kept.write_text(f"{OTHER_TOKEN}\n")
    second = cli.run("disable", "sm").expect(0)
    keeps_secret(cli, first, second)


def test_a_token_that_is_rotated_in_the_middle_of_a_disable_does_not_stop_it(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, token=TOKEN)
    kept = token_file(world, TOKEN)

    def rotate(server: FliptServer) -> None:
        server.token = OTHER_TOKEN
        kept.write_text(OTHER_TOKEN)

    world.flipt.faults.add(Fault.edit(WRITES, MANAGEMENT, edit=rotate))
    cli = world.machine("first", ROLLBACK_FLIPT_TOKEN_FILE=str(kept))
    done = cli.run("disable", "sm").expect(0)
    assert_off(world)
    keeps_secret(cli, done)


@pytest.mark.slow
def test_the_token_is_in_no_output_no_journal_and_no_ledger(make_world: MakeWorld, api: str) -> None:
    world = make_world(api, token=TOKEN)
    script = world.folder / "print-token"
    script.write_text(f"#!/bin/sh\necho {TOKEN}\n")
    script.chmod(0o700)
    cli = world.machine("first", ROLLBACK_FLIPT_TOKEN_COMMAND=str(script))
    said = [cli.run("--verbose", "disable", "sm", "--reason", f"token={TOKEN} leaked")]
    said[0].expect(0)
    for words in (
        ("status", "sm"),
        ("history", "sm", "--json"),
        ("doctor",),
        ("runbook", "sm"),
        ("policy", "show", "sm"),
    ):
        said.append(cli.run(*words))
    world.mend()
    said.append(cli.run("--verbose", "enable", "sm", "--reason", "fixed").expect(0))
    keeps_secret(cli, *said)


def token_file(world: World, token: str) -> Path:
    """A file with the token."""
    kept = world.folder / "token"
    kept.write_text(token)
    return kept


def assert_off(world: World) -> None:
    """Nobody is served; the server is asked as one who has the token."""
    world.flipt.token = None
    assert served(world.flipt.url) == 0


def keeps_secret(cli: Cli, *said: Result) -> None:
    """Neither token is in anything that was said, nor in any byte that was written."""
    for token in (TOKEN, OTHER_TOKEN):
        assert not [done.words for done in said if token in done.all]
        assert not [
            path.name for path in cli.folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()
        ]
