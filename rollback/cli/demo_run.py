"""The story that `rollback demo` tells, on a declarative file that a Flipt stand-in serves, and a pretend SM API."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rollback.clock import SystemClock
from rollback.errors import RollbackError
from rollback.words import span

USERS = 200
"""How many pretend users are asked for; every third is a veteran."""

PASSED_ON = frozenset(
    ("PATH", "HOME", "LANG", "LC_ALL", "TERM", "TMPDIR", "COLUMNS", "VIRTUAL_ENV", "PYTHONPATH", "RUST_BACKTRACE")
)
"""What children see of this environment: no setting of the user's own reaches the demonstration."""


class DemoFailed(RollbackError):
    """The demonstration did not go as it should: that is a fault of this program."""

    code = "demo_failed"


@dataclass(slots=True)
class _World:
    """The pretend world: its folder, and the addresses of the two servers."""

    folder: Path
    flipt: str
    api: str

    @property
    def features(self) -> Path:
        return self.folder / "features.yml"

    def environment(self) -> dict[str, str]:
        """The settings of the children."""
        kept = {name: value for name, value in os.environ.items() if name in PASSED_ON}
        return {
            **kept,
            "ROLLBACK_POLICIES": str(self.folder / "policies"),
            "ROLLBACK_FLIPT_URL": f"file:{self.features},{self.flipt}",
            "ROLLBACK_LEDGER": f"sqlite:///{self.folder / 'rollback.db'}",
            "ROLLBACK_JOURNAL": str(self.folder / "rollback.journal"),
            "SM_API_URL": self.api,
            "PYTHONUNBUFFERED": "1",
        }


class _Watching:
    """Counts the users who have the feature while a command runs, and keeps each new number."""

    def __init__(self, world: _World) -> None:
        self._world = world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.counts: list[int] = []

    def __enter__(self) -> _Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            on = _count_on(self._world)
            if not self.counts or self.counts[-1] != on:
                self.counts.append(on)


class Demo:
    """Runs the story; ends with 0 when every step came out as it must."""

    def __init__(self, picture: str | None, *, as_json: bool) -> None:
        self._picture = picture
        self._as_json = as_json
        self._captured: list[str] = []
        self._steps: list[dict[str, Any]] = []
        self._clock = SystemClock()

    def run(self) -> int:
        """The critical story, then the low one."""
        began = self._clock.monotonic()
        with ExitStack() as stack:
            world = stack.enter_context(_world())
            self._critical(world)
            self._low(world)
            if self._picture:
                _draw(self._captured, Path(self._picture))
        took = self._clock.monotonic() - began
        if self._as_json:
            click.echo(json.dumps({"steps": self._steps, "seconds": round(took, 1), "exit": 0}))
        else:
            self._say(f"The end, after {span(took)}. Next: rollback --help, and README.md for your own flags.")
        return 0

    # -- the stories -------------------------------------------------------------------------------------------

    def _critical(self, world: _World) -> None:
        self._title("A critical incident")
        self._say("Secure Messaging is on for veterans, and for half of everybody else.")
        on = self._users(world, "users who have it", more_than=0)
        self._say("Its web API starts to fail: 30 % of the requests answer 503.")
        _behave(world, 0.3)
        self._naive(world)
        self._command(world, "disable", "sm", "--reason", "30 % of requests fail")
        self._users(world, "users who have it", exactly=0)
        self._command(world, "status", "sm")
        self._say("People debug. A first fix is deployed, and does not fix: 8 % still fail. The gate finds that out.")
        _behave(world, 0.08)
        self._command(world, "enable", "sm", "--reason", "first fix", "--fix", "bad1dea", exit_code=4)
        self._users(world, "users who have it", exactly=0)
        self._say("CI/CD deploys the real fix. The gate collects evidence, and exposure climbs back.")
        _behave(world, 0.0)
        with _Watching(world) as seen:
            self._command(world, "enable", "sm", "--reason", "second fix", "--fix", "600df1x")
        self._say(f"  → users who had it while it climbed: {' → '.join(map(str, seen.counts))} of {USERS}", fg="cyan")
        self._users(world, "users who have it", exactly=on)
        self._command(world, "history", "sm")
        self._command(world, "verify")

    def _low(self, world: _World) -> None:
        self._title("A low-severity case: fixed and deployed with no interruption")
        before = world.features.read_bytes()
        on = self._users(world, "users who have it", more_than=0)
        self._command(world, "open", "sm", "--severity", "low", "--reason", "a typo in the help text")
        self._command(world, "fix", "sm", "7ea5e00")
        self._command(world, "close", "sm", "--reason", "typo fixed")
        self._users(world, "users who have it", exactly=on)
        if world.features.read_bytes() != before:
            raise DemoFailed("The flag's file changed during a low-severity case.")
        self._say("The flag's file is the same, byte for byte.")

    def _naive(self, world: _World) -> None:
        """What a plain off switch does."""
        whole = world.features.read_text()
        world.features.write_text(whole.replace("enabled: true", "enabled: false", 1))
        self._say("Somebody flips the switch in the flag's file: `enabled: false`.")
        left = self._users(world, "users who still have it", more_than=0)
        self._say(f"It looks off, and {left} of {USERS} users are still in: rollouts go before `enabled`.")
        world.features.write_text(whole)

    # -- telling -----------------------------------------------------------------------------------------------

    def _users(self, world: _World, words: str, *, exactly: int | None = None, more_than: int | None = None) -> int:
        """Asks the server for every user; fails when the number is not as it must be."""
        on = _count_on(world)
        self._say(f"  → {words}: {on} of {USERS}", fg="cyan")
        self._steps.append({"users": words, "on": on, "of": USERS})
        if (exactly is not None and on != exactly) or (more_than is not None and on <= more_than):
            raise DemoFailed(f"{on} of {USERS} users have the feature, which is not what the story says.")
        return on

    def _command(self, world: _World, *words: str, exit_code: int = 0) -> None:
        """Runs this very program as a child, with the person's terminal unless its words are kept."""
        shown = " ".join(f'"{word}"' if " " in word else word for word in words)
        self._say(f"$ rollback {shown}", bold=True)
        captures = self._as_json or self._picture is not None
        done = subprocess.run(
            [sys.executable, "-m", "rollback", *words],
            env=world.environment(),
            cwd=world.folder,
            text=True,
            stdout=subprocess.PIPE if captures else None,
            stderr=subprocess.STDOUT if captures else None,
            check=False,
        )
        if captures:
            self._captured.extend(done.stdout.splitlines())
            if not self._as_json:
                click.echo(done.stdout, nl=False)
        self._steps.append({"command": f"rollback {shown}", "exit": done.returncode})
        if done.returncode != exit_code:
            raise DemoFailed(f"`rollback {shown}` ended with {done.returncode}, not {exit_code}.")

    def _title(self, text: str) -> None:
        self._say("")
        self._say(f"== {text} ==", fg="magenta", bold=True)

    def _say(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:
        self._captured.append(text)
        if not self._as_json:
            click.echo(click.style(text, fg=fg, bold=bold))


# -- the world -----------------------------------------------------------------------------------------------------


@contextmanager
def _world() -> Iterator[_World]:
    """A folder with the demonstration's files, and both servers; gone afterwards."""
    from rollback import sandbox

    with tempfile.TemporaryDirectory(prefix="rollback-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        shutil.copytree(Path(sandbox.__file__).parent / "demo", folder, dirs_exist_ok=True)
        flipt = stack.enter_context(_server("flipt", "--file", str(folder / "features.yml"), "--poll-interval", "0"))
        api = stack.enter_context(_server("sm-api"))
        yield _World(folder, flipt, api)


@contextmanager
def _server(*words: str) -> Iterator[str]:
    """A sandbox server as a child; its address once it is ready."""
    command = [sys.executable, "-m", "rollback.sandbox", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise DemoFailed(f"The sandbox's {words[0]} did not start.")
            yield str(json.loads(line)["url"])
        finally:
            process.terminate()
            process.wait(5)


def _behave(world: _World, error_rate: float) -> None:
    """Sets how often the pretend SM API fails."""
    import httpx

    httpx.post(f"{world.api}/_sandbox/behaviour", json={"error_rate": error_rate, "status": 503}).raise_for_status()


def _count_on(world: _World) -> int:
    """How many of the users are served, by the server's own evaluation."""
    import httpx

    asked = [
        {
            "namespaceKey": "mhv",
            "flagKey": "secure-messaging",
            "entityId": f"user-{number}",
            "context": {"role": "veteran"} if number % 3 == 0 else {},
        }
        for number in range(USERS)
    ]
    answer = httpx.post(f"{world.flipt}/evaluate/v1/batch", json={"requests": asked}, timeout=10)
    answer.raise_for_status()
    return sum(bool(one["booleanResponse"]["enabled"]) for one in answer.json()["responses"])


_STYLES = (
    (re.compile(r"^\$ "), "bold"),
    (re.compile(r"^== "), "bold magenta"),
    (re.compile(r"^ *→"), "cyan"),
    (re.compile(r"is OFF|^Proven|resolved\.$"), "green"),
    (re.compile(r"^Stopped|looks off, and"), "red"),
)


def _draw(lines: list[str], path: Path) -> None:
    """The critical story as a picture of a terminal, up to its record, without what differs from run to run."""
    from rich.console import Console

    end = next((at for at, line in enumerate(lines) if line.startswith("$ rollback history")), len(lines))
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=165, file=nowhere)
        for line in lines[1:end]:
            told = re.sub(r"/\S*rollback-demo-[^/\s]+", "…", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", line))
            style = next((style for pattern, style in _STYLES if pattern.search(told)), None)
            console.print(told, markup=False, highlight=False, style=style)
        console.save_svg(str(path), title="rollback demo")
