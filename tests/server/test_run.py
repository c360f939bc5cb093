"""The process: it says that it is ready only when it is, and ends in order, whatever is under way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.errors import ConfigurationError
from rollback.server.run import listen
from tests.server.stand_ins import SECRET, datadog, delivery, request, rest_of, status_of

IN_ORDER = ["dispatcher stops with {} accepted", "supervisor stops", "notices close"]


@dataclass
class Process:
    """A server in a process of its own."""

    child: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def talk(self, data: bytes) -> bytes:
        with self.connect() as line:
            line.sendall(data)
            return rest_of(line)

    def end(self, number: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
        """Sends the signal, and gives what the process said at last."""
        self.child.send_signal(number)
        return self.last_words()

    def last_words(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        lines = self.child.stdout.read().splitlines()
        self.said += lines
        assert self.child.wait(30) is not None
        assert lines
        told: dict[str, Any] = json.loads(lines[-1])
        return told


@contextmanager
def process(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[Process]:
    with (folder / "log.txt").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.server.served", str(folder), str(port), *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        running = Process(child, 0)
        assert child.stdout is not None
        try:
            for line in child.stdout:
                running.said.append(line.rstrip("\n"))
                if line.startswith("Ready: listening on "):
                    running.port = int(line.rstrip(".\n").rpartition(":")[2])
                    break
            yield running
        finally:
            if child.poll() is None:
                child.kill()
            child.stdout.close()
            child.wait(30)


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path) as running:
        assert running.said[0].startswith("flipt v2 https://flipt.example.org")  # the world comes first
        assert any("closed is closed" in line for line in running.said)
        assert status_of(running.talk(delivery())) == 202
        told = running.end(number)
    assert running.child.returncode == told["exit"] == 0
    assert told["calls"][:2] == ["dispatcher starts", "supervisor starts"]
    assert told["calls"][2] == "operations stop"
    assert told["calls"][3:] == ["dispatcher stops with 1 accepted", "supervisor stops", "notices close"]
    assert told["switch"] == pytest.approx(0.0005)
    events = [line["event"] for line in logged(tmp_path)]
    assert [events.index(name) for name in ("server_ready", "server_ending", "part_stopped", "server_ended")] == sorted(
        events.index(name) for name in ("server_ready", "server_ending", "part_stopped", "server_ended")
    )
    assert SECRET not in (tmp_path / "log.txt").read_text()


def test_a_delivery_under_way_is_kept_and_answered_and_no_new_one_is_begun(tmp_path: Path) -> None:
    body = datadog()
    with process(tmp_path) as running:
        with running.connect() as line:
            head = {"X-Rollback-Secret": SECRET, "Content-Length": str(len(body)), "Expect": "100-continue"}
            line.sendall(request("POST", "/alerts/datadog", b"", head))
            assert line.recv(1024).startswith(b"HTTP/1.1 100 ")  # it is being read
            running.child.send_signal(signal.SIGTERM)
            wait_until_refused(running)
            line.sendall(body)
            answer = rest_of(line)
        told = running.last_words()
    assert status_of(answer) == 202
    assert (told["exit"], running.child.returncode) == (0, 0)
    assert "dispatcher stops with 1 accepted" in told["calls"]
    inbox = SqliteInbox(tmp_path / "rollback.state.db")
    assert len(inbox.pending(10)) == 1
    inbox.close()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with process(tmp_path) as running, running.connect() as line:
        head = {"X-Rollback-Secret": SECRET, "Content-Length": "400", "Expect": "100-continue"}
        line.sendall(request("POST", "/alerts/datadog", b"", head))
        assert line.recv(1024).startswith(b"HTTP/1.1 100 ")
        running.child.send_signal(signal.SIGTERM)
        wait_until_refused(running)
        began = time.monotonic()
        running.child.send_signal(signal.SIGINT)
        assert running.child.wait(30) == 130
        assert time.monotonic() - began < 5


def wait_until_refused(running: Process) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        try:
            running.connect().close()
        except OSError:
            return
    pytest.fail("it still takes connections")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("stop", "The dispatcher did not end in time; what it was at is taken up at the start."),
        ("late", "The dispatcher did not end in time; what it was at is taken up at the start."),
    ],
)
def test_a_part_that_does_not_stop_keeps_no_other_from_stopping(tmp_path: Path, trouble: str, said: str) -> None:
    with process(tmp_path, trouble) as running:
        told = running.end()
    assert told["calls"][-2:] == ["supervisor stops", "notices close"]
    assert said in running.said
    assert told["exit"] == 0
    assert "something private" not in (tmp_path / "log.txt").read_text()


def test_a_server_whose_dispatcher_does_not_start_never_says_that_it_is_ready(tmp_path: Path) -> None:
    with process(tmp_path, "start") as running:
        pass
    assert not any(line.startswith("Ready") for line in running.said)
    assert running.child.returncode == 8
    assert "the inbox cannot be read" in running.said


def test_a_port_that_is_taken_is_one_sentence_and_starts_nothing(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken, process(tmp_path, port=taken.getsockname()[1]) as running:
        told = json.loads(running.said[-1])
    assert told["exit"] == 2
    assert told["calls"] == []
    assert running.said[0].startswith("Cannot listen on 127.0.0.1 port ")


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("no host", 0), ("127.0.0.1", 70000), ("127.0.0.1", -1)])
def test_an_address_that_cannot_be_used_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(ConfigurationError, match="Cannot listen on") as raised:
        listen(host, port)
    assert raised.value.exit_code == 2
    assert raised.value.next


def test_a_server_that_listens_beyond_this_machine_warns(tmp_path: Path) -> None:
    with process(tmp_path, "", "0.0.0.0") as running:
        running.end()
    assert any(line.startswith("Warning: it listens beyond this machine") for line in running.said)


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15)
        yield manager


def manager_environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}


def test_the_service_manager_is_told_of_the_start_of_life_and_of_the_end(tmp_path: Path, notify: socket.socket) -> None:
    with process(tmp_path, environ=manager_environ(tmp_path, WATCHDOG_USEC="3000000")) as running:
        ready = notify.recv(4096).decode()
        assert ready.startswith("READY=1\nSTATUS=listening on http://127.0.0.1:")
        assert status_of(running.talk(request("GET", "/healthz/live", close=True))) == 200  # ready means ready
        assert notify.recv(4096) == b"WATCHDOG=1"
        assert notify.recv(4096) == b"WATCHDOG=1"
        running.child.send_signal(signal.SIGTERM)
        while (told := notify.recv(4096)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1\nSTATUS=ending"
        assert running.last_words()["exit"] == 0


def test_a_server_with_a_dead_thread_does_not_say_that_it_lives(tmp_path: Path, notify: socket.socket) -> None:
    with process(tmp_path, "dead", environ=manager_environ(tmp_path, WATCHDOG_USEC="300000")) as running:
        assert notify.recv(4096).startswith(b"READY=1")
        notify.settimeout(2.5)
        with pytest.raises(TimeoutError):
            notify.recv(4096)
        notify.settimeout(15)
        running.child.send_signal(signal.SIGTERM)
        assert notify.recv(4096).startswith(b"STOPPING=1")
        running.last_words()


def test_a_service_manager_that_is_not_there_disturbs_nothing(tmp_path: Path) -> None:
    with process(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as running:
        assert status_of(running.talk(delivery())) == 202
        assert running.end()["exit"] == 0


LIBRARY = """
import logging
from rollback import log
from rollback.server.run import LibraryLog
log.configure()
logging.getLogger().addHandler(LibraryLog())
logging.getLogger("some.library").info("not worth a line")
logging.getLogger("some.library").warning("retrying with token=abcdefgh12345678 for jane.roe@example.org")
try:
    raise KeyError("something private")
except KeyError:
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=True)
"""


def test_what_libraries_warn_of_is_one_line_without_secrets_and_tracebacks() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True, timeout=60)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], first["logger"], first["severity"]) == ("library_warned", "some.library", "warning")
    assert second["error"] == "KeyError"
    assert second["at"] == "<string>:10"
    for private in ("abcdefgh12345678", "jane.roe", "something private", "Traceback"):
        assert private not in done.stderr


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    code = "import os; from rollback import log; log.configure(); os.close(2); log.event('fact'); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "went on\n"
