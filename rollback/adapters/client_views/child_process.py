"""A child process that answers a JSON line with a JSON line, and whose end costs nothing but its answers."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, cast

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes. What is longer is no answer."""

NONSENSE = "the child process said something that is no answer"

START_WITHIN = 120.0
"""Seconds. A start takes some 0.2 s; where many children start at once on a small machine, it takes as long as it
takes. One that were ended for that and begun anew would only make all the others later."""

_LAST_WORDS = 2_000
_CHUNK = 65_536
_END_SECONDS = 0.1
"""How long to wait for an end that is due; it comes in a few milliseconds."""


class NoAnswer(Exception):
    """The child gave no answer: it did not start, died, was too slow, or talked nonsense. It is dead now, unless it
    is still starting."""


class TooSlow(NoAnswer):
    """There was no answer at the deadline."""


class ChildProcess:
    """One child. Not for several threads at once, `kill` aside."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the child. Raises `NoAnswer` when it cannot be started."""
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C is for the parent
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise NoAnswer(f"the child process cannot be started: {error}") from error
        self._gives_up_at = time.monotonic() + START_WITHIN
        self._is_ready = False
        self._received = bytearray()
        self._last_words = bytearray()
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once the child has ended, for whatever reason."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], *, deadline: float) -> dict[str, Any]:
        """Sends a request once the child says that it is ready, and returns the answer, which has the same `id`.

        Raises `NoAnswer`, also at `deadline` (monotonic seconds). Then the child is dead; only one that has not yet
        said that it is ready lives on, for `START_WITHIN` at most, and may be asked again.
        """
        try:
            if not self._is_ready:
                if self._message(deadline) != {"ready": True}:
                    raise NoAnswer(NONSENSE)
                self._is_ready = True
            self._send(json.dumps(request).encode() + b"\n", deadline)
            message = self._message(deadline)
            if message.get("id") != request["id"]:
                raise NoAnswer(NONSENSE)
            return message
        except NoAnswer as error:
            may_still_start = not self._is_ready and time.monotonic() < self._gives_up_at
            if not (isinstance(error, TooSlow) and may_still_start):
                self.kill()
                self.close()
            raise

    def kill(self) -> None:
        """Ends the child at once; may be called from any thread, and again."""
        with suppress(OSError):  # it may just have ended
            self._process.kill()

    def close(self) -> None:
        """Ends the child, by the end of its input or else by force, and frees its pipes. At most 0.2 s."""
        self._pipes()[0].close()
        if not self._has_ended():
            self.kill()
            if not self._has_ended():  # a busy machine: it is reaped when it ends, and nobody waits for that
                threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()
        for pipe in self._pipes():
            pipe.close()

    def _has_ended(self) -> bool:
        """True once the child has ended, waited for in vain for a moment otherwise."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        return self._process.returncode is not None

    def _pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        stdin, stdout, stderr = (cast("IO[bytes]", pipe) for pipe in pipes)  # all three were asked for
        return stdin, stdout, stderr

    def _send(self, data: bytes, deadline: float) -> None:
        """Writes all of `data`, reading along, so that neither side waits for the other."""
        stdin, _, _ = self._pipes()
        rest = memoryview(data)
        with self._selector(stdin) as selector:
            while rest:
                if stdin in self._ready(selector, deadline):
                    try:
                        rest = rest[os.write(stdin.fileno(), rest[:_CHUNK]) :]
                    except OSError as error:
                        raise NoAnswer(self._obituary()) from error

    def _message(self, deadline: float) -> dict[str, Any]:
        """The next line, decoded."""
        with self._selector() as selector:
            while b"\n" not in self._received:
                if len(self._received) > MAX_ANSWER:
                    raise NoAnswer("the child process says too much")
                self._ready(selector, deadline)
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise NoAnswer(NONSENSE) from error
        if not isinstance(message, dict):
            raise NoAnswer(NONSENSE)
        return message

    def _selector(self, stdin: IO[bytes] | None = None) -> selectors.BaseSelector:
        selector = selectors.DefaultSelector()
        _, stdout, stderr = self._pipes()
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        if stdin is not None:
            selector.register(stdin, selectors.EVENT_WRITE)
        return selector

    def _ready(self, selector: selectors.BaseSelector, deadline: float) -> list[Any]:
        """Waits until something can be read or written, and reads it; returns what can be written to."""
        stdin, stdout, stderr = self._pipes()
        left = deadline - time.monotonic()
        events = selector.select(left) if left > 0 else []
        if not events:
            raise TooSlow(f"no answer in time{self._words()}")
        files = [key.fileobj for key, _ in events]
        if stderr in files and not self._read(stderr, self._last_words):
            selector.unregister(stderr)
        del self._last_words[:-_LAST_WORDS]
        if stdout in files and not self._read(stdout, self._received):
            raise NoAnswer(self._obituary())
        return [stdin] if stdin in files else []

    def _read(self, pipe: IO[bytes], into: bytearray) -> bool:
        """Reads what is there; False at the end of the pipe."""
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True  # nothing there
        into.extend(data)
        return bool(data)

    def _obituary(self) -> str:
        """How the child ended. It has closed its output or its input, so it ends at once, or is ended."""
        if not self._has_ended():
            return f"the child process closed its pipes{self._words()}"
        code = self._process.returncode
        self._read(self._pipes()[2], self._last_words)
        how = f"exit code {code}"
        if code < 0:
            how = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
        return f"the child process ended ({how}){self._words()}"

    def _words(self) -> str:
        lines = self._last_words.decode("utf-8", errors="replace").split("\n")
        said = [" ".join(line.split()) for line in lines if line.strip()]
        return f"; its last words: {said[-1]}" if said else ""
