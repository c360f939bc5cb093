"""Runs the server: from the open port to the last notice."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from rollback import log
from rollback.errors import ConfigurationError
from rollback.redaction import redact
from rollback.server.app import create_app
from rollback.server.health import Health
from rollback.server.protocol import guarded
from rollback.server.service_manager import ServiceManager
from rollback.server.services import Services

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080

MAX_CONNECTIONS = 1000
"""Connections and requests at the same time; beyond it the answer is 503. Below the usual 1024 open files."""

IDLE_SECONDS = 15
"""How long a connection is kept for a sender's next delivery."""

ANSWERS_WITHIN = 15
"""Seconds for requests under way when the server ends: a body may take 10, the disk 4."""

OPERATIONS_WITHIN = 30.0
DISPATCHER_WITHIN = 20.0
SUPERVISOR_WITHIN = 30.0
NOTICES_WITHIN = 10.0

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another one run. By default it is 5 ms (sys.setswitchinterval), and
in a storm of alerts the thread that turns a feature off would wait that long each time it wakes: after every answer
of the flag store, while the next alerts are read."""

_AT_ONCE = 130


def serve(
    services: Services,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    say: Callable[[str], None] = print,
    environ: dict[str, str] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT, then ends in order, and returns 0. Call it from the main thread.

    The port is bound before anything starts; then the workers run, and only when requests are answered it is said that
    the server is ready, with the world it acts on and every source that is closed. At the end: no new connections,
    answers under way, long operations retreat, what was taken in is on the disk, dispatcher, supervisor, notices. A
    second signal ends the process at once; what waits is in the inbox. `say` takes lines for people.

    Raises `ConfigurationError` when no source is open, and when the port cannot be bound.
    """
    if all(source.closed for source in services.sources.values()):
        raise ConfigurationError(
            "No source of alerts is open.", next="Set the variables that the `secrets` in automation.yaml name."
        )
    listener = listen(host, port)
    log.configure()
    logging.getLogger().addHandler(LibraryLog())
    sys.setswitchinterval(SWITCH_INTERVAL)
    server = RollbackServer(services, listener, say, ServiceManager(os.environ if environ is None else environ))
    with _ending_on_signals(server):
        try:
            services.dispatcher.start()
            services.supervisor.start()
            server.run(sockets=[listener])
        finally:
            listener.close()
            _stop(services, say)
    log.event("server_ended")
    return 0 if server.started else 1


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not 0 <= port <= 65535:
            raise OSError("a port is a number from 0 to 65535")
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {redact(error.strerror or str(error), 200)}.",
            next="Name another --host or --port, or end the process that has it.",
        ) from None


class RollbackServer(uvicorn.Server):
    """The HTTP server with our limits. `should_exit` ends it in order."""

    def __init__(
        self, services: Services, listener: socket.socket, say: Callable[[str], None], manager: ServiceManager
    ) -> None:
        self._services = services
        self._say = say
        self._manager = manager
        self._health = Health(services, lambda: "")
        host, port = listener.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._is_private = ipaddress.ip_address(host).is_loopback
        watchdog = manager.watchdog_seconds
        super().__init__(
            uvicorn.Config(
                create_app(services),
                loop="auto",
                http=guarded(services.limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # what a header claims of the peer is used nowhere
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=ANSWERS_WITHIN,
                timeout_notify=max(1, int((watchdog or 60.0) / 3)),
                callback_notify=None if watchdog is None else self._beat,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """From here on requests are answered; then it is said."""
        await super().startup(sockets)
        for world in self._services.worlds:
            self._say(world)
        for source in self._services.sources.values():
            if source.closed:
                self._say(f"The source {source.name} is closed: {source.closed}. Its deliveries are turned away.")
        if not self._is_private:
            self._say("Warning: it listens beyond this machine, and without TLS. Put a proxy in front.")
        self._say(f"Ready: listening on {self.address}.")
        opened = [source.name for source in self._services.sources.values() if not source.closed]
        log.event("server_ready", address=self.address, sources=opened)
        self._manager.ready(f"listening on {self.address}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No new connections; long operations are told to retreat, since answers under way may wait for them."""
        self._services.stopping.set()
        self._manager.stopping()
        log.event("server_ending")
        operations = asyncio.to_thread(self._services.operations.stop_all, OPERATIONS_WITHIN)
        _, trouble = await asyncio.gather(super().shutdown(sockets), operations, return_exceptions=True)
        if isinstance(trouble, Exception):
            log.event("stop_failed", part="operations", error=type(trouble).__name__)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `serve`'s: uvicorn would raise them again at its end, before the workers have stopped."""
        yield

    async def _beat(self) -> None:
        """Only a server whose threads live says that it lives; one that does not is restarted."""
        if not any(self._health.live().values()):
            self._manager.alive()


@contextmanager
def _ending_on_signals(server: RollbackServer) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if server.should_exit:
            os._exit(_AT_ONCE)
        server.should_exit = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(services: Services, say: Callable[[str], None]) -> None:
    """Ends the workers, each whatever became of the one before: what was taken in first, who is told last."""

    def notices() -> bool:
        return services.notices.close(services.clock.monotonic() + NOTICES_WITHIN) == 0

    def closed(close: Callable[[], None]) -> Callable[[], bool]:
        def done() -> bool:
            close()
            return True

        return done

    steps: tuple[tuple[str, Callable[[], bool], str], ...] = (
        ("inbox writer", closed(services.keeper.close), ""),
        ("dispatcher", lambda: services.dispatcher.stop(DISPATCHER_WITHIN), "what it was at is taken up at the start"),
        ("supervisor", lambda: services.supervisor.stop(SUPERVISOR_WITHIN), "look at `rollback status`"),
        ("notices", notices, "those that are left are told at the next start"),
        ("inbox", closed(services.inbox.close), ""),
    )
    for name, stop, consequence in steps:
        began = time.monotonic()
        try:
            has_ended = stop()
        except Exception as error:
            has_ended = False
            log.event("stop_failed", part=name, error=type(error).__name__)
        if not has_ended:
            say(f"The {name} did not end in time{f'; {consequence}' if consequence else ''}.")
        log.event("part_stopped", part=name, in_time=has_ended, seconds=round(time.monotonic() - began, 3))


class LibraryLog(logging.Handler):
    """What libraries warn of, as facts of our log: one line, cut and redacted, no traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record; an exception by its type and the place where it came up alone."""
        facts: dict[str, object] = {"logger": record.name, "severity": record.levelname.lower()}
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = record.exc_info[0].__name__
            facts["at"] = _place(record.exc_info[2])
        log.event("library_warned", text=redact(record.getMessage(), 300), **facts)


def _place(traceback: object) -> str:
    import types

    place = ""
    while isinstance(traceback, types.TracebackType):
        code = traceback.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
