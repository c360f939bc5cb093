"""Looks at the world for all viewers together, and tells each what is new.

Nobody looks while nobody watches. Each feature is looked at once per second at most, however many viewers there are,
`LOOKERS` at a time in threads of their own, and less often when there are many features: a look starts an engine, and
none may take the processor from a kill.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rollback import log
from rollback.errors import RollbackError
from rollback.server.page import cards
from rollback.server.streams import plain

LOOKERS = 2
EVERY = 1.0
"""Seconds between the beginnings of two looks at the same feature, at least."""

EVERY_PER_FEATURE = 0.3
"""Seconds for each feature: what a look takes. So all of them together take less than half a processor."""

REST_EVERY = 2.0
TICK = 0.2
IDLE_SECONDS = 30.0
"""How long it goes on looking after the last viewer has gone: a page that is loaded again has something at once."""

STALE_SECONDS = 8.0
"""What is older counts as not known on the page; with what a browser takes to notice, ten."""


class World(Protocol):
    """What is looked at (`reading.Reading`). `signature` changes when something was recorded, and costs nothing."""

    def features(self) -> list[str]: ...
    def card(self, key: str) -> dict[str, Any]: ...
    def rest(self) -> dict[str, Any]: ...
    def signature(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One state of the document, already written as JSON. `version` rises with each change."""

    version: int
    document: bytes


@dataclass(slots=True)
class _Look:
    """One thing that is looked at again and again. `read_at` is when the last look that ended had begun; `is_news`
    that something was recorded since."""

    began: float = -1e9
    read_at: float | None = None
    is_under_way: bool = False
    is_news: bool = False


@dataclass(slots=True)
class Lookout:
    """Usable from any thread. `monotonic` gives seconds; `is_stopping` ends everything."""

    world: World
    monotonic: Callable[[], float]
    is_stopping: Callable[[], bool]
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _seen: Seen = Seen(0, b"null")
    _cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    _rest: Mapping[str, Any] = field(default_factory=dict)
    _trouble: str = ""
    _looks: dict[str, _Look] = field(default_factory=dict)
    _wanted_at: float = 0.0
    _is_running: bool = False
    _signature: object = None
    _viewers: set[Viewer] = field(default_factory=set)

    # -- asked by viewers ----------------------------------------------------------------------------------------------

    def seen(self) -> Seen:
        """What is known now, and a sign that somebody wants to know: from here on it is looked at."""
        with self._lock:
            self._wanted_at = self.monotonic()
            if not self._is_running and not self.is_stopping():
                self._is_running = True
                threading.Thread(target=self._run, name="page", daemon=True).start()
            return self._seen

    def ages(self) -> dict[str, float | None]:
        """By feature, how many seconds ago the look began that its card shows; None: there was none yet."""
        with self._lock:
            now = self.monotonic()
            return {
                key: None if look.read_at is None else round(now - look.read_at, 1)
                for key, look in self._looks.items()
                if key != REST
            }

    @property
    def stale_after(self) -> float:
        """Seconds after which a card counts as old. Larger than `STALE_SECONDS` only where there are very many."""
        return max(STALE_SECONDS, 3 * self._every())

    @contextmanager
    def viewing(self) -> Iterator[Viewer]:
        """A viewer in this event loop, woken at each change."""
        viewer = Viewer(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            with self._lock:
                self._viewers.discard(viewer)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ticks = threading.Event()
        while self._goes_on():
            self._list_features()
            for name in self._due():
                threading.Thread(target=self._look, args=(name,), name=f"page-{name}", daemon=True).start()
            ticks.wait(TICK)

    def _goes_on(self) -> bool:
        with self._lock:
            idle = self.monotonic() - self._wanted_at
            self._is_running = not self.is_stopping() and (idle < IDLE_SECONDS or bool(self._viewers))
            return self._is_running

    def _list_features(self) -> None:
        """The features as the policies name them; when those cannot be read, the known ones, and why."""
        trouble = ""
        keys = [key for key in self._looks if key != REST]
        signature = self._signature
        try:
            keys, signature = self.world.features(), self.world.signature()
        except RollbackError as error:
            trouble = error.message
        except Exception as error:
            trouble = _unexpected("features", error)
        with self._lock:
            is_news, self._signature = signature != self._signature, signature
            for gone in [name for name in self._looks if name != REST and name not in keys]:
                del self._looks[gone]
            for name in (*keys, REST):
                look = self._looks.setdefault(name, _Look())
                look.is_news = look.is_news or is_news
            if keys != list(self._cards) or trouble != self._trouble:
                self._cards = {key: self._cards.get(key) or cards.not_read_yet(key) for key in keys}
                self._trouble = trouble
                self._publish()

    def _every(self) -> float:
        return max(EVERY, EVERY_PER_FEATURE * (len(self._looks) - 1))

    def _due(self) -> list[str]:
        """What is to be looked at now, the oldest first; marked as under way. What is news does not wait its turn."""
        with self._lock:
            now = self.monotonic()
            usual = {name: EVERY if look.is_news else self._every() for name, look in self._looks.items()}
            usual[REST] = REST_EVERY
            waiting = [
                (look.began, name)
                for name, look in self._looks.items()
                if not look.is_under_way and now - look.began >= usual[name]
            ]
            free = LOOKERS - sum(look.is_under_way for name, look in self._looks.items() if name != REST)
            due: list[str] = []
            for _, name in sorted(waiting):
                if name != REST:
                    if free <= 0:
                        continue
                    free -= 1
                self._looks[name] = replace(self._looks[name], began=now, is_under_way=True, is_news=False)
                due.append(name)
            return due

    def _look(self, name: str) -> None:
        began = self.monotonic()
        try:
            found = self.world.rest() if name == REST else self.world.card(name)
        except RollbackError as error:
            found = self._failed(name, error.message, error.next)
        except Exception as error:
            found = self._failed(name, _unexpected(name, error), "The server's log says where it happened.")
        with self._lock:
            look = self._looks.get(name)
            if look is None:  # its policy is gone
                return
            look.is_under_way, look.read_at = False, began
            if name == REST:
                self._rest = found
            else:
                self._cards[name] = found
            self._publish()

    def _failed(self, name: str, message: str, next_step: str) -> dict[str, Any]:
        if name == REST:
            return {"trouble": message}
        wrong = {"message": message, "next": next_step}
        return cards.card(
            {"feature": name, "exposure": None, "exposure_unknown": "it could not be read", "error": wrong}
        )

    def _publish(self) -> None:
        """With the lock held."""
        known = {"features": list(self._cards.values()), "policies_trouble": self._trouble, "server": self._rest}
        document = json.dumps(known, default=plain, separators=(",", ":")).encode("ascii")
        if document == self._seen.document:
            return
        self._seen = Seen(self._seen.version + 1, document)
        for viewer in self._viewers:
            viewer.wake()


REST = "@server"
"""The name of the look at what belongs to no feature: `@` is in no feature's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Viewer:
    """Somebody who watches, in an event loop."""

    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event

    def wake(self) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop is closed: so is the viewer
            self.loop.call_soon_threadsafe(self.changed.set)

    async def wait(self, seconds: float) -> bool:
        """Waits for a change; False when there was none in time."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


def _unexpected(name: str, error: Exception) -> str:
    log.event("page_look_failed", what=name, error=type(error).__name__)
    return f"Unexpected: {type(error).__name__}."
