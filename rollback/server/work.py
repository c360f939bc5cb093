"""One command in a thread of its own. It goes on to its end, whether or not anybody still waits for the answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rollback import bootstrap
from rollback.output import Output
from rollback.server.problems import Problem, Refused, problem_in, problem_of
from rollback.server.streams import Event, EventOutput, Tell

Doing = Callable[[Output], int]
"""What a command does with an output; returns its exit code or raises what the command line would tell."""

LINES_KEPT = 100
"""How many of the last lines are kept for whoever asks later."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: its exit code, and its document or the problem, each None when there is none."""

    exit_code: int
    document: Mapping[str, Any] | None = None
    problem: Problem | None = None

    @property
    def last_event(self) -> Event:
        """What a stream ends with."""
        return {"problem": self.problem.document()} if self.problem else {"exit": self.exit_code}


class Work:
    """A command that runs. `ending` is a future of how it ends; `lines` are its last lines for people.

    Each listener gets all events; one that comes late misses what was told before.
    """

    def __init__(
        self, name: str, doing: Doing, *, as_json: bool, is_terminal: bool = False, columns: int | None = None
    ) -> None:
        self.ending: Future[Ending] = Future()
        self._doing = doing
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._warnings: dict[str, None] = {}
        self._document: Mapping[str, Any] | None = None
        self._listeners: list[Tell] = []
        self._at_end: list[Callable[[Ending], None]] = []
        self._lock = threading.Lock()
        self._output = EventOutput(self._tell, as_json=as_json, is_terminal=is_terminal, columns=columns)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def lines(self) -> list[str]:
        """The last lines, oldest first."""
        with self._lock:
            return list(self._lines)

    def listen(self, tell: Tell) -> None:
        """From now on `tell` gets each event, in the command's thread."""
        with self._lock:
            self._listeners.append(tell)

    def on_end(self, call: Callable[[Ending], None]) -> None:
        """`call` gets the ending before anybody else, in the command's thread; what it raises is lost."""
        self._at_end.append(call)

    def start(self) -> None:
        """Begins. Raises `Refused` when the machine has no thread left; then nothing was done."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Refused(Problem("busy", "The server has no thread left for this command.", 6, BY_HAND)) from error

    def join(self, seconds: float) -> bool:
        """Waits for its end; False when it still runs."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with bootstrap.closing():
            ending = self._ended()
        for call in self._at_end:
            with suppress(Exception):
                call(ending)
        # The ending before the last event: who hears that may ask for it.
        self.ending.set_result(ending)
        self._tell(ending.last_event)

    def _ended(self) -> Ending:
        try:
            code = self._doing(self._output)
        except Exception as error:
            problem = problem_of(error)
            return Ending(problem.exit_code, self._document, problem)
        return Ending(code, self._document)

    def _tell(self, event: Event) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
            if "line" in event:
                self._lines.append(str(event["line"]))
            elif "warn" in event:
                if event["warn"] not in self._warnings:
                    self._lines.append(f"warning: {event['warn']}")
                self._warnings[str(event["warn"])] = None
            elif "document" in event:
                self._document = event["document"]
        for tell in listeners:
            tell(event)

    @property
    def warnings(self) -> list[str]:
        """Each warning once, in order."""
        with self._lock:
            return list(self._warnings)


BY_HAND = "To turn a feature off without this server: rollback disable FEATURE, where ROLLBACK_SERVER is not set."


def told(work: Work, ending: Ending) -> Problem | Mapping[str, Any]:
    """The answer that an ending is: its problem, or its document with the warnings that were said."""
    if ending.problem is not None:
        return ending.problem
    document = ending.document if ending.document is not None else {"exit": ending.exit_code}
    problem = problem_in(document)
    if problem is not None:
        return problem
    said = document.get("warnings")
    known = [str(one) for one in said] if isinstance(said, list) else []
    more = [one for one in work.warnings if one not in known]
    return {**document, "warnings": [*known, *more]} if more else document
