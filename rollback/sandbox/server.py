"""The Flipt stand-in: puts state, APIs, faults and the token check behind one port."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rollback.sandbox.admin import Admin
from rollback.sandbox.declared_file import DeclaredFile
from rollback.sandbox.documents import dump_state, read_flag, read_state
from rollback.sandbox.evaluation import Asked, Evaluator
from rollback.sandbox.evaluation_api import EvaluationApi
from rollback.sandbox.faults import Fault, Faults
from rollback.sandbox.management_v2 import ManagementV2
from rollback.sandbox.model import DEFAULT, Flag, Namespace, State, empty_environment
from rollback.sandbox.remote import RemotePrimary
from rollback.sandbox.request_log import RequestLog
from rollback.sandbox.routing import Route, Router
from rollback.sandbox.rpc import UNAUTHENTICATED, RpcError
from rollback.sandbox.store import Lagging, Source, Store
from rollback.sandbox.v1_flags import Backing, FlagsV1
from rollback.sandbox.v1_rollouts import TargetingV1
from rollback.sandbox.v1_segments import SegmentsV1
from rollback.sandbox.wire import Answer, Dropped, Request, WireServer, json_answer, json_bytes, text_answer

APIS = ("v1", "v2")
UNAUTHENTICATED_TEXT = "request was not authenticated"
WRITES = frozenset({"PUT", "POST", "DELETE"})


class FliptServer:
    """A Flipt on 127.0.0.1, from the constructor until `stop()` or the end of the `with` block.

    `api`: "v1" or "v2". `seed`: see the package. `port` 0: any free one. `token`: required as
    `Authorization: Bearer …` or `JWT …`, except by `/health`; None: no check. `put_delay` and `post_delay`:
    seconds before a management PUT (and DELETE), or POST, is carried out. `read_only`: writes are refused.
    `file`: serve this declarative file as a read-only v1; `settle`: seconds until an edit of it is noticed;
    `poll_interval`: seconds between looks at it (0: at every request). `replica_of`: another server, or its
    URL: serve what it was `lag` seconds ago; writes go to it.
    """

    def __init__(
        self,
        api: str = "v2",
        *,
        seed: Any = None,
        port: int = 0,
        token: str | None = None,
        put_delay: float = 0.0,
        post_delay: float = 0.0,
        read_only: bool = False,
        faults: Sequence[Fault] = (),
        file: Path | str | None = None,
        settle: float = 0.0,
        poll_interval: float = 0.0,
        replica_of: FliptServer | str | None = None,
        lag: float = 0.0,
    ) -> None:
        self._remote = RemotePrimary(replica_of, lag) if isinstance(replica_of, str) else None
        if isinstance(replica_of, FliptServer):
            api = replica_of.api
        elif self._remote is not None:
            api = self._remote.api
        elif file is not None:
            api = "v1"
        if api not in APIS:
            raise ValueError(f"unknown API {api!r}; known: {', '.join(APIS)}")
        self.api: str = api
        self.token = token
        self.put_delay = put_delay
        self.post_delay = post_delay
        self.faults = Faults(faults)
        self.log = RequestLog()
        self.store, self._source = self._sources(seed, file, settle, poll_interval, replica_of, lag)
        self._declarative = file is not None
        target = replica_of._writable if isinstance(replica_of, FliptServer) else self.store
        self._writable: Store | None = None if read_only or self._declarative else target
        self._stopping = threading.Event()
        self._router = Router(self._routes())
        self._admin = Admin(self)
        self._wire = WireServer(self._handle, port, self._stopping)

    def __enter__(self) -> FliptServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._wire.url

    @property
    def port(self) -> int:
        """Its port."""
        return self._wire.port

    def stop(self) -> None:
        """Close the port and all connections. Idempotent."""
        self.faults.clear()
        self._wire.stop()

    def state(self) -> State:
        """What it serves now."""
        return self._source.current()

    def flag(self, namespace: str, key: str, environment: str = DEFAULT) -> Flag:
        """A flag as it is served now. KeyError when it is not there."""
        return self.state().environments[environment].namespaces[namespace].flags[key]

    def edit_flag(self, namespace: str, key: str, environment: str = DEFAULT, **fields: Any) -> Flag:
        """Write a flag as somebody else would, from the fields of a declarative flag; all of it is replaced.

        Environment and namespace are made when they are not there.
        """
        flag = read_flag({"key": key, **fields})

        def change(state: State) -> State:
            found = state.environments.get(environment) or empty_environment(environment, self.api)
            space = found.namespaces.get(namespace) or Namespace(namespace, name=namespace)
            return state.with_environment(found.with_namespace(space.with_flag(flag)))

        self._own_store().update(change)
        return flag

    def touch(self, environment: str = DEFAULT) -> None:
        """Move the head of an environment, as an edit of some other flag does."""
        self._own_store().update(
            lambda state: state.with_environment(
                state.environments[environment].written(state.environments[environment].namespaces)
            )
        )

    def evaluate_boolean(
        self,
        namespace: str,
        key: str,
        entity_id: str,
        context: Mapping[str, str] | None = None,
        environment: str = DEFAULT,
    ) -> bool:
        """What it would answer. KeyError: no such flag. RpcError: it would answer an error."""
        space = self.state().environments[environment].namespaces[namespace]
        asked = Asked(entity_id, dict(context or {}))
        return Evaluator(space, self.api).boolean(space.flags[key], asked).enabled

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests came in (see `RequestLog.count`); those to `/_sandbox` are not counted."""
        return self.log.count(method, path)

    def dump(self, age: float = 0.0) -> dict[str, Any]:
        """The state (`age` seconds ago) as a seed that gives it back."""
        state = self.store.as_of(age) if self.store is not None else self.state()
        return {"api": self.api, **dump_state(state)}

    def carry_out(self, method: str, path: str, document: Any = None) -> Answer:
        """Answer a request as the bare API would: no token, no faults, no delays, not counted."""
        body = b"" if document is None else json_bytes(document)
        route, _, query = path.partition("?")
        pairs = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
        return self._routed(Request(method, route, pairs, {}, body))

    def _sources(
        self,
        seed: Any,
        file: Path | str | None,
        settle: float,
        poll_interval: float,
        replica_of: FliptServer | str | None,
        lag: float,
    ) -> tuple[Store | None, Source]:
        """The store that writes go to (None: somewhere else, or nowhere), and what is read."""
        if self._remote is not None:
            return None, self._remote
        if isinstance(replica_of, FliptServer):
            primary = replica_of._own_store()
            return primary, Lagging(primary, lag)
        if file is not None:
            return None, DeclaredFile(Path(file), settle, poll_interval)
        store = Store(read_state(seed, self.api))
        return store, store

    def _own_store(self) -> Store:
        if self.store is None:
            raise ValueError("this server has no store of its own: it follows a file or another server")
        return self.store

    def _routes(self) -> list[Route]:
        evaluation = EvaluationApi(self.api, self._source, self._stopping, self._declarative)
        if self.api == "v2":
            return [*evaluation.routes(), *ManagementV2(self._source, self._writable).routes()]
        backing = Backing(self._source, self._writable, self._declarative)
        parts = (FlagsV1(backing), TargetingV1(backing), SegmentsV1(backing))
        return [*evaluation.routes(), *(one for part in parts for one in part.routes())]

    def _handle(self, request: Request) -> Answer:
        if request.path.startswith("/_sandbox/"):
            return self._admin.answer(request)
        entry = self.log.begin(request.method, request.path)
        answer = self._with_faults(request)
        entry.status = answer.status
        return answer

    def _with_faults(self, request: Request) -> Answer:
        lost = False
        for fault in self.faults.taken(request.method, request.path):
            made = self._apply(fault, request)
            lost = lost or fault.kind == "lost_answer"
            if made is not None:
                return made
        self._wait(self._delay_of(request))
        answer = self._checked(request)
        if lost:
            raise Dropped(reset=False)
        return answer

    def _apply(self, fault: Fault, request: Request) -> Answer | None:
        """What a fault does before the request is carried out; an answer ends it there."""
        match fault.kind:
            case "delay":
                self._wait(fault.seconds)
            case "status":
                return fault_answer(fault)
            case "reset":
                raise Dropped(reset=True)
            case "hang":
                self._hang(fault)
                raise Dropped(reset=False)
            case "conflict":
                self.touch(environment_in(request.path))
            case "edit":
                self._edit(fault)
            case "lost_answer":
                pass
        return None

    def _edit(self, fault: Fault) -> None:
        if callable(fault.edit_made):
            fault.edit_made(self)
            return
        for one in fault.edit_made:
            self.carry_out(one["method"], one["path"], one.get("json"))

    def _hang(self, fault: Fault) -> None:
        """Wait for the fault's time, its removal or the end of the server (which removes all faults)."""
        fault.wait_removed(fault.seconds or None)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._stopping.wait(seconds)

    def _delay_of(self, request: Request) -> float:
        if not request.path.startswith("/api/"):
            return 0.0
        return {"PUT": self.put_delay, "DELETE": self.put_delay, "POST": self.post_delay}.get(request.method, 0.0)

    def _checked(self, request: Request) -> Answer:
        """The answer after the token check; `/health` needs none."""
        if request.path == "/health":
            return json_answer({"status": "SERVING"})
        if self.token is not None and not self._authenticated(request):
            return RpcError(UNAUTHENTICATED, UNAUTHENTICATED_TEXT).answer()
        if self._remote is not None and request.method in WRITES and request.path.startswith("/api/"):
            return self._remote.forward(request)
        return self._routed(request)

    def _routed(self, request: Request) -> Answer:
        try:
            answer = self._router.answer(request)
        except RpcError as error:
            return error.answer()
        return answer if answer is not None else text_answer("404 page not found\n", 404)

    def _authenticated(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme in ("Bearer", "JWT") and given.strip() == self.token


def fault_answer(fault: Fault) -> Answer:
    """The answer of a `status` fault. Text goes out as it is, anything else as JSON."""
    if isinstance(fault.body, str):
        return text_answer(fault.body, fault.answer_status)
    body = fault.body if fault.body is not None else {"code": 14, "message": "unavailable", "details": []}
    return json_answer(body, fault.answer_status)


def environment_in(path: str) -> str:
    """The environment that a v2 path names; the default one for others."""
    parts = path.split("/")
    return parts[parts.index("environments") + 1] if "environments" in parts[:-1] else DEFAULT
