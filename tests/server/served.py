"""`python -m tests.server.served FOLDER PORT [TROUBLE]`: serves in a process of its own, as `rollback serve` does.

At the end it prints one line of JSON: the exit code, and what the stand-ins were called for, in order. TROUBLE is
`start` (the dispatcher does not start), `stop` (it fails to stop), `late` (it does not stop in time), or `dead` (a
thread has ended).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rollback.adapters.alert_sources import PARSERS
from rollback.adapters.alert_sources.authenticity import authenticity
from rollback.adapters.idempotency.memory import MemoryIdempotency
from rollback.adapters.inboxes.group_commit import GroupCommit
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.adapters.tokens.memory import MemoryTokens
from rollback.clock import SystemClock
from rollback.core.automation_policy import AutomationPolicy
from rollback.errors import HistoryUnwritable, RollbackError
from rollback.server.operations import Operations
from rollback.server.record import ServerRecord
from rollback.server.run import serve
from rollback.server.services import Services
from rollback.server.sources import open_sources
from tests.server.stand_ins import ENVIRON, SOURCES, IdleSupervisor, KeepingDispatcher, KeptNotices, NoHolds

CALLS: list[str] = []


class Dispatcher(KeepingDispatcher):
    """Has the trouble that the test wants."""

    def __init__(self, trouble: str) -> None:
        super().__init__()
        self._wanted = trouble

    def start(self) -> None:
        CALLS.append("dispatcher starts")
        if self._wanted == "start":
            raise HistoryUnwritable("the inbox cannot be read")

    def stop(self, seconds: float) -> bool:
        CALLS.append(f"dispatcher stops with {len(self.accepted)} accepted")
        if self._wanted == "stop":
            raise RuntimeError(f"something private after {seconds:g} s")
        return self._wanted != "late"


class Supervisor(IdleSupervisor):
    """Tells when it is called."""

    def start(self) -> None:
        CALLS.append("supervisor starts")

    def stop(self, seconds: float) -> bool:
        CALLS.append("supervisor stops")
        return seconds > 0


class Notices(KeptNotices):
    """Tells when it is called."""

    def close(self, deadline: float) -> int:
        CALLS.append("notices close")
        return super().close(deadline)


class Returns(Operations):
    """Tells when it is called."""

    def stop_all(self, seconds: float) -> bool:
        CALLS.append("operations stop")
        return super().stop_all(seconds)


def main(folder: str, port: str, trouble: str = "", host: str = "127.0.0.1") -> int:
    """Serves; see the module."""
    clock = SystemClock()
    inbox = SqliteInbox(Path(folder) / "rollback.state.db")
    policy = AutomationPolicy.model_validate({"sources": SOURCES})
    services = Services(
        clock=clock,
        sources=open_sources(policy, ENVIRON, PARSERS, authenticity),
        inbox=inbox,
        keeper=GroupCommit(inbox),
        dispatcher=Dispatcher(trouble),
        supervisor=Supervisor(),
        notices=Notices(),
        tokens=MemoryTokens(),
        idempotency=MemoryIdempotency(),
        holds=NoHolds(),
        operations=Returns(),
        record=ServerRecord(clock),
        policies=lambda: "",
        workers=lambda: {"a thread": trouble != "dead"},
        worlds=("flipt v2 https://flipt.example.org · environment default · namespace mhv · flag sm",),
    )
    try:
        code = serve(services, host=host, port=int(port), say=lambda line: print(line, flush=True))
    except RollbackError as error:
        code = error.exit_code
        print(error.message, flush=True)
    print(json.dumps({"exit": code, "calls": CALLS, "switch": sys.getswitchinterval()}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
