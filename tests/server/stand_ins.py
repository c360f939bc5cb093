"""A whole server on a free port, with a real inbox, and stand-ins for what works on alerts and tells people."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rollback.adapters.alert_sources import PARSERS
from rollback.adapters.alert_sources.authenticity import authenticity
from rollback.adapters.idempotency.memory import MemoryIdempotency
from rollback.adapters.inboxes.group_commit import GroupCommit
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.adapters.tokens.memory import MemoryTokens
from rollback.alert_ports import Kept, Notice
from rollback.clock import SystemClock
from rollback.core.automation_policy import AutomationPolicy
from rollback.core.history import Actor
from rollback.notice_worker import Standing
from rollback.ports import Clock
from rollback.server.operations import Operations
from rollback.server.record import ServerRecord
from rollback.server.run import RollbackServer, listen
from rollback.server.service_manager import ServiceManager
from rollback.server.services import Keeper, Services
from rollback.server.sources import open_sources

SECRET = "a-long-enough-secret-of-datadog"
OLD_SECRET = "the-secret-before-the-rotation"
PAGERDUTY_SECRET = "signing-secret-of-the-subscription"
BASIC_SECRET = "password-of-the-basic-sender"
BEARER_SECRET = "token-of-the-bearer-sender-1234"

SOURCES: dict[str, dict[str, Any]] = {
    "datadog": {"kind": "datadog", "authentication": "secret_header", "secrets": ["DD_NEW", "DD_OLD"]},
    "pagerduty": {"kind": "pagerduty", "authentication": "pagerduty_signature", "secrets": ["PD_NEW", "PD_OLD"]},
    "alertmanager": {"kind": "alertmanager", "authentication": "bearer", "secrets": ["AM_TOKEN"]},
    "appdynamics": {"kind": "appdynamics", "authentication": "basic", "user": "appd", "secrets": ["APPD_PASSWORD"]},
    "generic": {"kind": "generic", "authentication": "secret_header", "header": "X-Our-Secret", "secrets": ["GEN"]},
    "closed": {"kind": "datadog", "authentication": "secret_header", "secrets": ["NEVER_SET"]},
}
ENVIRON = {
    "DD_NEW": SECRET,
    "DD_OLD": OLD_SECRET,
    "PD_NEW": PAGERDUTY_SECRET,
    "PD_OLD": OLD_SECRET,
    "AM_TOKEN": BEARER_SECRET,
    "APPD_PASSWORD": BASIC_SECRET,
    "GEN": SECRET,
}


class KeepingDispatcher:
    """Keeps what it was given, and does nothing about it. `fault` is raised by `accept` when it is set."""

    def __init__(self) -> None:
        self.accepted: list[Kept] = []
        self.trouble = ""
        self.fault: Exception | None = None
        self.calls: list[str] = []
        self.changed = threading.Condition()

    def start(self) -> None:
        self.calls.append("start")

    def accept(self, kept: Kept) -> None:
        if self.fault is not None:
            raise self.fault
        with self.changed:
            self.accepted.append(kept)
            self.changed.notify_all()

    def stop(self, seconds: float) -> bool:
        self.calls.append(f"stop {seconds:g}")
        return True

    @property
    def is_well(self) -> str:
        return self.trouble

    def wait_for(self, number: int, seconds: float = 10.0) -> list[Kept]:
        """What was accepted, once there are so many of it."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.accepted) >= number, seconds)
            return list(self.accepted)


class IdleSupervisor:
    """Watches over nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, seconds: float) -> bool:
        self.calls.append(f"stop {seconds:g}")
        return True


class KeptNotices:
    """Remembers what people would have been told, once per key."""

    def __init__(self) -> None:
        self.told: dict[str, Notice] = {}
        self.closed_at: float | None = None

    def tell(self, notice: Notice) -> None:
        self.told.setdefault(notice.key, notice)

    def standing(self) -> list[Standing]:
        return [Standing("slack", 2, 5, 1, None, None, "")]

    def close(self, deadline: float) -> int:
        self.closed_at = deadline
        return 0


class NoHolds:
    """Holds nothing."""

    def hold(self, feature: str, until: datetime | None, what: str, actor: Actor, reason: str) -> None:
        raise AssertionError(f"nothing here holds {feature, until, what, actor, reason}")


@dataclass
class World:
    """One server's parts, and how to talk to it."""

    inbox: SqliteInbox
    dispatcher: KeepingDispatcher
    notices: KeptNotices
    services: Services
    said: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kept(self) -> list[Kept]:
        """All that is in the inbox, oldest first."""
        return self.inbox.pending(100_000)

    def talk(self, data: bytes, *, half_close: bool = False, seconds: float = 15.0) -> bytes:
        """Sends bytes over a connection of its own, and gives what comes back until the server closes it."""
        with self.connected(seconds) as line:
            line.sendall(data)
            if half_close:
                line.shutdown(socket.SHUT_WR)
            return rest_of(line)

    @contextmanager
    def connected(self, seconds: float = 15.0) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            yield line

    def metric(self, line: str) -> float:
        """The value of the series that is written like this; 0 when there is none."""
        text = self.talk(request("GET", "/metrics", close=True)).decode()
        found = [row.rpartition(" ")[2] for row in text.splitlines() if row.rpartition(" ")[0] == line]
        return float(found[0]) if found else 0.0


def rest_of(line: socket.socket) -> bytes:
    """All that still comes on the connection; what was sent before a reset counts."""
    answer = b""
    try:
        while chunk := line.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def status_of(answer: bytes) -> int:
    """The status of the first answer; 0 for no answer at all."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def document_of(answer: bytes) -> Any:
    """The JSON of an answer that is all there is on the connection."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def request(
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    close: bool = False,
) -> bytes:
    """A request as bytes; its length is right unless `headers` say another."""
    fields = {"Host": "rollback.example.org", **(headers or {})}
    if body is not None and not {"Content-Length", "Transfer-Encoding"} & set(fields):
        fields["Content-Length"] = str(len(body))
    if close:
        fields["Connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def datadog(cycle: str = "cycle-1", **fields: str) -> bytes:
    """A delivery of our template for Datadog."""
    return json.dumps(
        {
            "id": "8123",
            "alert_id": "4711",
            "alert_cycle_key": cycle,
            "alert_transition": "Triggered",
            "alert_type": "error",
            "alert_priority": "P1",
            "date": "1767225600000",
            "last_updated": "1767225600000",
            "tags": "env:eks-prod,service:mhv-messaging",
            "event_title": "[Triggered] messaging fails",
            **fields,
        }
    ).encode()


def generic(**fields: Any) -> bytes:
    """A delivery of a sender of our own."""
    return json.dumps(
        {"monitor": "checkout", "cycle": "c-1", "edge": "fired", "at": "2026-11-23T11:59:00Z", **fields}
    ).encode()


def signed(body: bytes, *secrets: str) -> dict[str, str]:
    """PagerDuty's signature, one for each secret."""
    hexes = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets]
    return {"X-PagerDuty-Signature": ",".join(f"v1={one}" for one in hexes)}


def delivery(body: bytes | None = None, *, close: bool = True, **headers: str) -> bytes:
    """An authentic delivery to the source `datadog`."""
    fields = {"X-Rollback-Secret": SECRET, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return request("POST", "/alerts/datadog", datadog() if body is None else body, fields, close=close)


@contextmanager
def serving(
    folder: Path,
    *,
    clock: Clock | None = None,
    keeper: Callable[[SqliteInbox], Keeper] | None = None,
    environ: Mapping[str, str] = ENVIRON,
    lock_timeout: float = 2.0,
    **more: Any,
) -> Iterator[World]:
    """A server that runs in a thread until the end of the block, and then ends in order."""
    clock = clock or SystemClock()
    inbox = SqliteInbox(folder / "rollback.state.db", lock_timeout=lock_timeout)
    dispatcher, notices = KeepingDispatcher(), KeptNotices()
    policy = AutomationPolicy.model_validate({"sources": SOURCES})
    values: dict[str, Any] = {
        "clock": clock,
        "sources": open_sources(policy, environ, PARSERS, authenticity),
        "inbox": inbox,
        "keeper": GroupCommit(inbox) if keeper is None else keeper(inbox),
        "dispatcher": dispatcher,
        "supervisor": IdleSupervisor(),
        "notices": notices,
        "tokens": MemoryTokens(),
        "idempotency": MemoryIdempotency(),
        "holds": NoHolds(),
        "operations": Operations(),
        "record": ServerRecord(clock),
        "policies": lambda: "",
        "workers": lambda: {"inbox-writer": True},
        **more,
    }
    world = World(inbox, dispatcher, notices, Services(**values))
    listener = listen("127.0.0.1", 0)
    world.port = listener.getsockname()[1]
    ready = threading.Event()

    def say(line: str) -> None:
        world.said.append(line)
        if line.startswith("Ready"):
            ready.set()

    server = RollbackServer(world.services, listener, say, ServiceManager({}))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), name="server")
    thread.start()
    try:
        assert ready.wait(15)
        yield world
    finally:
        server.should_exit = True
        thread.join(30)
        world.services.keeper.close()
        inbox.close()
        assert not thread.is_alive()
