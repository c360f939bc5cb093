"""The server is gone: off and standing go to the flag store itself; everything else says what is certain."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import Cli
from tests.e2e.worlds import World, served, world_in, write_policies
from tests.server.api_world import api_world

TOKEN = "rb_" + "t" * 43
PROBLEM = {
    "type": "about:blank",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "The server cannot read its tokens, so nobody is known to it.",
    "code": "tokens_unreadable",
    "next": "n",
    "exit": 6,
}


def answer(status: int, body: bytes = b"", kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def stream(*events: object, ends: bool = True) -> bytes:
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    length = f"Content-Length: {len(lines) + (0 if ends else 100)}\r\n"
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n{length}\r\n".encode() + lines


class Saying:
    """A server that says the same to everybody, or hangs up (`b""`), or says nothing (None)."""

    def __init__(self, says: bytes | None) -> None:
        self.requests: list[bytes] = []
        self._says = says
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._lines: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Saying:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        for line in (self._listener, *self._lines):
            line.close()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                continue
            line.settimeout(5)
            self._lines.append(line)
            self.requests.append(line.recv(65536))
            if self._says is not None:
                line.sendall(self._says)
                line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, "v2") as world:
        yield world


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def laptop(world: World, server: str, has_store: bool = True, /, **more: str | None) -> Cli:
    settings: dict[str, str | None] = {"ROLLBACK_SERVER": server, "ROLLBACK_TOKEN": TOKEN, **more}
    cli = world.machine("laptop", **settings)
    cli.flipt_url = world.cli.flipt_url if has_store else None
    return cli


ANSWERS = {
    "proxy says 502": answer(502, b"<html>bad gateway</html>"),
    "proxy says 503": answer(503, b"<html>no backend</html>"),
    "proxy says 504": answer(504),
    "server cannot": answer(503, json.dumps(PROBLEM).encode(), "application/problem+json"),
    "not our server": answer(200, b"<html>hello</html>"),
    "a redirect": answer(302, b"", "text/plain"),
    "hangs up": b"",
    "breaks off": stream({"beat": 0}, {"line": "half of it", "fg": None, "bold": False}, ends=False),
    "no end": stream({"beat": 0}),
    "no json": b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 4\r\n\r\nhm?\n",
    "cannot, while it streams": stream({"beat": 0}, {"problem": PROBLEM}),
}


@pytest.mark.parametrize("says", ANSWERS.values(), ids=ANSWERS)
def test_off_goes_to_the_flag_store_itself_and_says_so(world: World, says: bytes) -> None:
    with Saying(says) as server:
        done = laptop(world, server.address).run("disable", "sm", "--reason", "r").expect(0)
    assert len(server.requests) == 1
    assert served(world.flipt.url) == 0
    assert done.err.count("Going to the flag store itself") == 1
    assert "is OFF on the server" in done.out


def test_off_when_nobody_listens(world: World) -> None:
    with nobody() as address:
        done = laptop(world, address).run("disable", "sm", "--json").expect(0)
        assert done.json["off_proven"] is True
        assert "Going to the flag store itself" in done.err
        assert served(world.flipt.url) == 0
        standing = laptop(world, address).run("status", "sm", "--json").expect(0)
        assert standing.json["exposure"] == 0
        assert "Going to the flag store itself" in standing.err


def test_off_when_the_name_is_not_known(world: World) -> None:
    done = laptop(world, "https://rollback.invalid").run("disable", "sm").expect(0)
    assert served(world.flipt.url) == 0
    assert "Going to the flag store itself" in done.err


@pytest.mark.slow
def test_off_when_the_server_takes_the_request_and_says_nothing(world: World) -> None:
    with Saying(None) as server:
        done = laptop(world, server.address).run("disable", "sm").expect(0)
    assert "did not answer within" in done.err
    assert served(world.flipt.url) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"ROLLBACK_SERVER": "http://rollback.example.org"},
        {"ROLLBACK_TOKEN": None},
        {"ROLLBACK_TOKEN": "two words"},
        {"ROLLBACK_TOKEN": None, "ROLLBACK_TOKEN_FILE": "nowhere"},
        {"ROLLBACK_TOKEN": None, "ROLLBACK_TOKEN_COMMAND": "false"},
        {"ROLLBACK_TOKEN_FILE": "also"},
    ],
    ids=str,
)
def test_settings_of_the_server_that_are_wrong_do_not_refuse_off(world: World, wrong: dict[str, str | None]) -> None:
    cli = laptop(world, "https://rollback.example.org", **wrong)
    cli.run("disable", "sm").expect(0)
    assert served(world.flipt.url) == 0
    refused = cli.run("note", "sm", "text").expect(2)
    assert "ROLLBACK_" in refused.err
    assert TOKEN not in refused.err


def test_without_a_flag_store_here_the_steps_by_hand_are_told(world: World) -> None:
    with nobody() as address:
        cli = laptop(world, address, False)
        done = cli.run("disable", "sm").expect(6)
        assert "By hand, now:" in done.out
        assert "secure-messaging" in done.out
        assert "ROLLBACK_FLIPT_URL" in done.err
        told = cli.run("disable", "sm", "--json").expect(6).json
        assert told["error"]["code"] == "server_unreachable"
        assert told["error"]["manual_steps"]
        assert (told["off_proven"], told["exposure"]) == (False, None)
        assert cli.run("status", "sm", "--json").expect(6).json["error"]["code"] == "server_unreachable"
        nowhere = laptop(world, address, False, ROLLBACK_POLICIES="nowhere")
        assert "By hand" not in nowhere.run("disable", "sm").expect(6).all
    assert world.writes == 0


OTHERS = [
    ("enable", "sm", "--reason", "r"),
    ("open", "sm", "--severity", "low", "--reason", "r"),
    ("note", "sm", "t"),
    ("history", "sm"),
    ("verify",),
    ("check", "sm"),
]


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_other_commands_say_that_certainly_nothing_changed(world: World, words: tuple[str, ...]) -> None:
    with nobody() as address:
        told = laptop(world, address).run(*words, "--json").expect(6).json
    assert told["error"]["code"] == "server_unreachable"
    assert ("certainly nothing changed" in told["error"]["message"]) is (words[0] in ("enable", "open", "note"))
    assert world.writes == 0


@pytest.mark.parametrize("how", ["hangs up", "breaks off", "proxy says 502", "proxy says 504"])
def test_what_was_sent_and_not_answered_is_said_as_unknown(world: World, how: str) -> None:
    with Saying(ANSWERS[how]) as server:
        told = laptop(world, server.address).run("note", "sm", "t", "--json").expect(5).json
        assert told["error"]["code"] == "not_settled"
        assert "rollback history sm" in told["error"]["next"]
        laptop(world, server.address).run("history", "sm").expect(6)


def test_a_server_that_does_not_know_the_token_refuses_off_and_says_the_other_way(tmp_path: Path) -> None:
    """That is authorisation, and no server that is gone."""
    with api_world(tmp_path) as there:
        cli = there.laptop(ROLLBACK_TOKEN=TOKEN, ROLLBACK_FLIPT_URL=there.world.flipt.url)
        refused = cli.run("disable", "sm").expect(2)
        assert "not known" in refused.err
        assert TOKEN not in refused.all
        assert there.world.writes == 0


def test_a_token_from_a_file_or_a_command(tmp_path: Path) -> None:
    with api_world(tmp_path) as there:
        secret = there.secrets["responder"]
        kept = tmp_path / "token"
        kept.write_text(f"{secret}\n")
        for more in ({"ROLLBACK_TOKEN_FILE": str(kept)}, {"ROLLBACK_TOKEN_COMMAND": f"cat {kept}"}):
            there.laptop(ROLLBACK_TOKEN=None, **more).run("note", "sm", "t").expect(0)


# -- Ctrl-C --------------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_only_the_watching(tmp_path: Path) -> None:
    with api_world(tmp_path) as there:
        write_policies(there.world.folder / "policies", poll="2s", prove_within="30s")
        running = there.laptop().start("disable", "sm")
        running.said("is OFF on the server")
        running.signal(signal.SIGINT)
        done = running.result().expect(5)
        assert "only the watching stops here" in done.err
        assert "rollback status sm" in done.err
        told = there.world.cli
        wait_for(lambda: told.status()["off_proven"] is True)
        assert served(there.world.flipt.url) == 0


def test_ctrl_c_of_a_look_is_an_interrupt(tmp_path: Path) -> None:
    with api_world(tmp_path) as there:
        write_policies(there.world.folder / "policies", soak="3s")
        there.world.mend()
        running = there.laptop().start("check", "sm")
        running.said("flipt ")
        running.signal(signal.SIGINT)
        running.result().expect(130)


def wait_for(condition: Callable[[], bool]) -> None:
    from tests.e2e.harness import until

    until(condition, what="the proof on the server")
