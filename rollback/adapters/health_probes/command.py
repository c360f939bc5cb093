"""A program that judges one window: by its exit code, or by counts on its standard output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, NoReturn

from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_sources import CommandEvidence
from rollback.core.metric_verdict import Counts, Missing, Reading, Strata, failed_of, number
from rollback.core.metric_window import Window

MAX_OUTPUT = 64 * 1024
"""Bytes of standard output that are read; a program that says more says nothing."""

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
"""What the program gets as PATH. It is ours, not the caller's."""


LEFT_BEHIND = 0.5
"""Seconds that the output may stay open after the program has ended; then what it started is killed."""


class CommandSource:
    """A `WindowSource` that runs a program once per window: without a shell, input, or our environment.

    Exit 0 is good, 1 is harm, everything else (2, a signal, a timeout, a program that is not there) is no data. With
    `output: counts` the output of exit 0 counts, and exit 1 is no data. What it writes to standard error is dropped.
    After the timeout it is killed with all that it started.
    """

    revisable = False

    def __init__(self, source: CommandEvidence, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environment = {name: environ[name] for name in source.environment if name in environ}
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, windows: Sequence[Window]) -> Mapping[Window, Strata]:
        """The last of `windows`. Raises `NoAnswer` for what may be another time; an odd answer is a missing window."""
        window = windows[-1]
        code, output = self._run(window)
        return {window: {"": _reading(self._source, code, output)}}

    def close(self) -> None:
        """Kills what runs."""
        with self._lock:
            self._closed, running = True, self._running
        if running is not None and running.poll() is None:
            _kill(running)

    def _run(self, window: Window) -> tuple[int, bytes | None]:
        """The exit code and the output; None when there was too much of it, or when it did not end."""
        process = self._started(window)
        output: list[bytes] = []
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, output), name="command-output", daemon=True)
        reader.start()
        try:
            code = process.wait(self._source.timeout.total_seconds())
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"no end within {self._source.timeout.total_seconds():g} s") from None
        finally:
            reader.join(0 if process.poll() is None else LEFT_BEHIND)
            if reader.is_alive():  # it runs, or somebody of its group does: the group's id is not free for others
                _kill(process)
            process.wait()
            reader.join(LEFT_BEHIND)
            with self._lock:
                self._running = None
        return code, output[0] if output else None

    def _started(self, window: Window) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": SEARCH_PATH,
            "LC_ALL": "C.UTF-8",
            **self._environment,
            "ROLLBACK_WINDOW_BEGINS": window.begins.isoformat(),
            "ROLLBACK_WINDOW_ENDS": window.ends.isoformat(),
        }
        with self._lock:
            if self._closed:
                raise NoAnswer("the probe is closed")
            try:
                self._running = subprocess.Popen(
                    list(self._source.argv),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise NoAnswer(f"the program could not be started: {type(error).__name__}") from None
            return self._running


def _read(stream: IO[bytes], output: list[bytes]) -> None:
    """All of the output when it is not too long; the rest is read and dropped, so that the program can end."""
    with stream, contextlib.suppress(OSError, ValueError):
        kept = stream.read(MAX_OUTPUT + 1)
        if len(kept) <= MAX_OUTPUT:
            output.append(kept)
        while stream.read(MAX_OUTPUT):
            pass


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole group that it leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reading(source: CommandEvidence, code: int, output: bytes | None) -> Reading:
    if source.output == "exit":
        return {0: Counts(0, 1), 1: Counts(1, 1)}.get(code, Missing(f"exit code {code}"))
    if code != 0:
        return Missing(f"exit code {code}")
    if output is None:
        return Missing(f"more output than {MAX_OUTPUT // 1024} KB")
    try:
        document: Any = json.loads(output.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Missing("the output is not JSON")
    if not isinstance(document, dict) or set(document) != {"bad", "total"}:
        return Missing('the output is not of the form {"bad": 3, "total": 200}')
    if any(isinstance(one, float) and not one.is_integer() for one in document.values()):
        return Missing("counts are whole numbers")
    return failed_of(number(document["total"]), number(document["bad"]), absent_is_zero=False)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
