"""Flipt does not answer: what to do by hand at once, nothing claimed, and the off stays wanted."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollback.sandbox import Fault, FliptServer
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import Cli, aged
from tests.e2e.worlds import MANAGEMENT, USUAL, WRITES, seed_of, served, write_policies


class Reserved:
    """A port at which nobody answers, until `open` puts a Flipt there."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        self.port: int = self._socket.getsockname()[1]
        self.flipt: FliptServer | None = None

    @property
    def url(self) -> str:
        """Where Flipt should be."""
        return f"http://127.0.0.1:{self.port}"

    def open(self, api: str = "v2") -> FliptServer:
        """Flipt is there again."""
        self._socket.close()
        self.flipt = FliptServer(api, seed=seed_of(USUAL), port=self.port)
        return self.flipt

    def close(self) -> None:
        """Ends it."""
        self._socket.close()
        if self.flipt is not None:
            self.flipt.stop()


@pytest.fixture
def away() -> Iterator[Reserved]:
    """Where Flipt should be, and is not."""
    reserved = Reserved()
    yield reserved
    reserved.close()


@pytest.fixture
def cli(away: Reserved, tmp_path: Path) -> Cli:
    """A machine that cannot reach Flipt."""
    return Cli(tmp_path / "first", away.url, write_policies(tmp_path / "policies"))


@pytest.mark.slow
def test_the_manual_steps_are_there_while_it_is_still_trying(cli: Cli, away: Reserved) -> None:
    began = time.monotonic()
    running = cli.start("disable", "sm", "--timeout", "30")
    running.said("By hand")
    steps = running.said("1. ")
    assert running.is_running, "it goes on trying"
    assert time.monotonic() - began < 15, "long before the time is up"
    flipt = away.open()
    assert steps
    said = running.result().expect(0)
    assert "is OFF on the server" in said.out, "the store came back, and the off arrived"
    assert served(flipt.url) == 0


@pytest.mark.slow
def test_out_of_reach_is_exit_6_and_claims_nothing(cli: Cli, away: Reserved) -> None:
    said = cli.run("disable", "sm", "--timeout", "2").expect(6)
    assert said.lines[0].startswith(f"flipt {away.url}")
    assert "NOT OFF as far as anybody knows (certainly nothing changed)" in said.out
    assert "is OFF" not in said.out
    steps = [line for line in said.lines if line[:2] in ("1.", "2.", "3.")]
    assert steps, "the manual steps are numbered"
    assert away.url in said.out
    assert "secure-messaging" in "\n".join(steps) + said.out


@pytest.mark.slow
def test_out_of_reach_as_json_is_one_document_with_the_manual_steps(cli: Cli) -> None:
    done = cli.run("disable", "sm", "--timeout", "2", "--json").expect(6)
    told = done.json
    assert told["error"]["code"] == "store_unreachable"
    assert told["error"]["next"]
    assert any("secure-messaging" in step for step in told["error"]["manual_steps"])
    assert (told["exposure"], told["off_proven"], told["exit"]) == (None, False, 6)


@pytest.mark.slow
def test_the_pending_off_is_visible_and_the_next_changing_command_carries_it_out(cli: Cli, away: Reserved) -> None:
    cli.run("disable", "sm", "--timeout", "1", "--json").expect(6)
    status = cli.run("status", "sm", "--json").expect(6).json
    assert status["pending_off_since"] is not None
    assert (status["exposure"], status["off_proven"], status["state"]) == (None, False, "disabling")
    flipt = away.open()
    cli.run("status", "sm").expect(0)
    cli.run("history", "sm").expect(0)
    assert flipt.count(WRITES, MANAGEMENT) == 0, "whoever only looks changes nothing"
    said = cli.run("note", "sm", "Flipt is back").expect(0)
    assert "trying it again" in said.out
    assert served(flipt.url) == 0
    assert cli.status()["pending_off_since"] is None


@pytest.mark.slow
def test_an_off_whose_process_was_killed_while_trying_is_carried_out_by_the_next_command(
    cli: Cli, away: Reserved
) -> None:
    running = cli.start("disable", "sm", "--timeout", "60")
    running.said("By hand")
    running.kill()
    flipt = away.open()
    cli.run("note", "sm", "my laptop died").expect(0)
    assert served(flipt.url) == 0
    assert len({row["incident"] for row in cli.history() if row["incident"]}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_trying_says_what_is_true_and_leaves_the_off_pending(
    cli: Cli, away: Reserved, number: signal.Signals
) -> None:
    running = cli.start("disable", "sm", "--timeout", "60")
    running.said("By hand")
    running.signal(number)
    said = running.result().expect(6)
    assert "certainly nothing changed" in said.out
    away.open()
    assert "PENDING since" in cli.run("status", "sm").expect(0).out


@pytest.mark.slow
@pytest.mark.parametrize("crashed", [False, True], ids=["given up", "process killed"])
def test_an_off_that_is_older_than_15_minutes_asks_first(cli: Cli, away: Reserved, crashed: bool) -> None:
    running = cli.start("disable", "sm", "--timeout", "60" if crashed else "1")
    running.said("By hand")
    if crashed:
        running.kill()
    else:
        running.result().expect(6)
    old = aged(cli, timedelta(minutes=20))
    flipt = away.open()
    said = old.run("note", "sm", "morning").expect(0)
    assert "rollback disable secure-messaging" in said.out, "it asks"
    assert flipt.count(WRITES, MANAGEMENT) == 0, "and does nothing by itself"
    assert served(flipt.url) > 0
    old.run("disable", "sm").expect(0)
    assert served(flipt.url) == 0


@pytest.mark.slow
def test_a_command_that_waits_for_the_store_says_so_at_once(cli: Cli, away: Reserved) -> None:
    running = cli.start("open", "sm", "--severity", "high", "--reason", "some sends fail")
    running.said("rying for another")
    away.open()
    running.result().expect(0)


@pytest.mark.slow
def test_a_flipt_that_accepts_and_never_answers_is_out_of_reach(make_world: MakeWorld) -> None:
    world = make_world("v2")
    fault = world.flipt.faults.add(Fault.hang("", "", times=None))
    running = world.cli.start("disable", "sm", "--timeout", "30", ROLLBACK_FLIPT_TIMEOUT="0.5")
    running.said("By hand")
    assert running.is_running
    world.flipt.faults.remove(fault)
    running.result().expect(0)
    assert served(world.flipt.url) == 0
