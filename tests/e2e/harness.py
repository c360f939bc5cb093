"""Runs the program as a person does: a process of its own, through its real entry point, with an environment from
scratch, against servers that run in the test's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rollback.journal import Journal

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED_POLICIES = REPOSITORY / "policies"
PATIENCE = 40.0
"""Seconds that a command may take on a busy machine before the test calls it stuck."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit code, and the bytes that it wrote, as text."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON document on standard output; fails when there is anything else, or not exactly one line."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"{self.words}: not one document on standard output: {self.out!r}"
        document = json.loads(lines[0])
        assert isinstance(document, dict)
        return document

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.out.splitlines()

    @property
    def all(self) -> str:
        """Everything that it said."""
        return self.out + self.err

    def expect(self, code: int) -> Result:
        """The same, when the exit code is `code`; fails with all that was said when it is not, or on a traceback."""
        assert self.code == code, f"{self.words}: exit {self.code}, not {code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.all, self.all
        return self


class Running:
    """A command that runs. What it says is collected as it comes."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.words = tuple(words)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rollback", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._changed = threading.Condition()
        self._said: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True while the process has not ended."""
        return self._process.poll() is None

    def said(self, text: str, *, timeout: float = PATIENCE) -> str:
        """Waits until a line with `text` was written to either stream, and returns it."""

        def found() -> str | None:
            return next((line for name in ("out", "err") for line in self._said[name] if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or not self._reading(), timeout)
            line = found()
        assert line is not None, f"{self.words} never said {text!r}, but {self._said}"
        return line

    def signal(self, number: int = signal.SIGINT) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it like a power failure does."""
        self._process.kill()
        self._process.wait(PATIENCE)
        self._join()

    def result(self, timeout: float = PATIENCE) -> Result:
        """Waits for its end."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.words} did not end within {timeout} s, but said {self._said}") from None
        self._join()
        return Result(self.words, code, "".join(self._said["out"]), "".join(self._said["err"]))

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            for line in iter(stream.readline, b""):
                with self._changed:
                    self._said[name].append(line.decode("utf-8", "surrogateescape"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@dataclass(slots=True)
class Cli:
    """One machine: a working folder with a journal and a ledger of its own, and the settings of its commands.

    `settings` are further variables of the environment; one that is None is left out. Another machine is another
    `Cli` with another folder.
    """

    folder: Path
    flipt_url: str | None
    policies: Path = SHIPPED_POLICIES
    settings: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def journal(self) -> Path:
        """The write-ahead journal."""
        return self.folder / "rollback.journal"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.folder / "rollback.db"

    def environment(self, **more: str | None) -> dict[str, str]:
        """All that the process sees; nothing of the test's own environment but where programs are, and coverage."""
        given: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "TZ": "America/New_York",
            "RUST_BACKTRACE": "1",
            "ROLLBACK_POLICIES": str(self.policies),
            "ROLLBACK_FLIPT_URL": self.flipt_url,
            "ROLLBACK_LEDGER": f"sqlite:///{self.ledger}",
            "ROLLBACK_JOURNAL": str(self.journal),
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            **self.settings,
            **more,
        }
        return {name: value for name, value in given.items() if value is not None}

    def start(self, *words: str, **more: str | None) -> Running:
        """Starts a command and does not wait for it; `more` are variables for this one alone."""
        return Running(words, self.environment(**more), self.folder)

    def run(self, *words: str, timeout: float = PATIENCE, **more: str | None) -> Result:
        """Runs a command to its end."""
        return self.start(*words, **more).result(timeout)

    def status(self, feature: str = "sm") -> dict[str, Any]:
        """What `status FEATURE --json` says; it must end well."""
        return self.run("status", feature, "--json").expect(0).json

    def history(self, feature: str = "sm") -> list[dict[str, Any]]:
        """The rows of the record, in order."""
        told = json.loads(self.run("history", feature, "--json").expect(0).out)
        rows = told["entries"] if isinstance(told, dict) else told
        return list(rows)


def aged(cli: Cli, by: timedelta) -> Cli:
    """The same machine `by` later: all its record lies that far back. It is written by the program's own journal."""
    older = Cli(cli.folder.with_name("older"), cli.flipt_url, cli.policies, cli.settings)
    journal = Journal(older.journal)
    for entry in Journal(cli.journal).read().entries:
        journal.append(replace(entry, at=entry.at - by, before=moved(entry.before, by), after=moved(entry.after, by)))
    return older


def moved(value: Any, by: timedelta) -> Any:
    """The value with every time in it `by` earlier."""
    if isinstance(value, dict):
        return {key: moved(one, by) for key, one in value.items()}
    if isinstance(value, str) and value[:4].isdigit() and "T" in value:
        return (datetime.fromisoformat(value) - by).isoformat()
    return value


def until(condition: Callable[[], bool], *, timeout: float = PATIENCE, what: str = "it") -> None:
    """Waits until the condition holds; fails when it does not in time."""
    never = threading.Event()
    for _ in range(int(timeout / 0.01)):
        if condition():
            return
        never.wait(0.01)
    raise AssertionError(f"{what} did not happen within {timeout} s")
