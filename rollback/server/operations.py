"""Returns that the server carries out: each in a thread of its own, which watches what it exposes (invariant 9)."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollback.output import Output
from rollback.server.problems import Problem, Refused
from rollback.server.work import Ending, Work, told

ENDED_KEPT = 200
"""How many operations that have ended can still be asked for; the history has all that they did."""

Returning = Callable[[Output, Callable[[], bool]], int]
"""A return: gets an output, and the question whether it is told to end; then it retreats and comes back."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One return. `by` is who began it, `command` its name."""

    operation_id: str
    feature: str
    command: str
    by: str
    began_at: datetime
    work: Work
    end: threading.Event = field(default_factory=threading.Event)

    @property
    def is_running(self) -> bool:
        """False once it has ended."""
        return not self.work.ending.done()

    def document(self) -> dict[str, Any]:
        """How it stands: `state` is `running` or `ended`; `exit` is null until it has ended; its last lines."""
        ending: Ending | None = None if self.is_running else self.work.ending.result()
        answer = told(self.work, ending) if ending else None
        return {
            "operation": self.operation_id,
            "feature": self.feature,
            "command": self.command,
            "by": self.by,
            "began_at": self.began_at.isoformat().replace("+00:00", "Z"),
            "state": "ended" if ending else "running",
            "exit": ending.exit_code if ending else None,
            "lines": self.work.lines,
            "document": dict(answer) if isinstance(answer, Mapping) else None,
            "problem": answer.document() if isinstance(answer, Problem) else None,
        }


class Operations:
    """The returns of this server: one per feature at a time. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Operation] = {}
        self._stopped = False

    def start(
        self,
        feature: str,
        command: str,
        by: str,
        now: datetime,
        returning: Returning,
        *,
        listen: Callable[[Work], None] = lambda _work: None,
        as_json: bool = True,
        is_terminal: bool = False,
        columns: int | None = None,
    ) -> Operation:
        """Begins a return of the feature (its key). `listen` may listen to it before its first event.

        Raises `Refused` when one is under way for this feature, or the server is about to end; nothing was done then.
        """
        end = threading.Event()
        work = Work(
            f"operation-{feature}",
            lambda output: returning(output, end.is_set),
            as_json=as_json,
            is_terminal=is_terminal,
            columns=columns,
        )
        operation = Operation(secrets.token_hex(8), feature, command, by, now, work, end)
        with self._lock:
            if self._stopped:
                raise Refused(Problem("server_stopping", "The server is about to end; no return begins.", 6))
            running = self._running(feature)
            if running is not None:
                raise Refused(
                    Problem(
                        "refused",
                        f"{running.by} brings {feature} back already ({running.command}).",
                        3,
                        f"Watch it: GET /api/v1/operations/{running.operation_id}, or rollback status {feature}",
                        more={"operation": running.operation_id},
                    )
                )
            listen(work)
            work.start()
            self._known[operation.operation_id] = operation
            self._forget()
        return operation

    def get(self, operation_id: str) -> Operation | None:
        """The operation; None when it is not known (any more)."""
        with self._lock:
            return self._known.get(operation_id)

    def running(self) -> list[Operation]:
        """Those that have not ended."""
        with self._lock:
            return [operation for operation in self._known.values() if operation.is_running]

    def stop_all(self, seconds: float) -> bool:
        """Tells each to end and waits until they have retreated, at most so long. False when one still runs.

        No other begins afterwards. What a return exposes goes down before it ends, however long that takes; one that is
        cut off with the process is brought down by whoever settles next.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            self._stopped = True
            running = [operation for operation in self._known.values() if operation.is_running]
        for operation in running:
            operation.end.set()
        return all(operation.work.join(max(0.0, deadline - time.monotonic())) for operation in running)

    def _running(self, feature: str) -> Operation | None:
        return next((one for one in self._known.values() if one.feature == feature and one.is_running), None)

    def _forget(self) -> None:
        ended = [key for key, operation in self._known.items() if not operation.is_running]
        for key in ended[: max(0, len(ended) - ENDED_KEPT)]:
            del self._known[key]
