"""Faults on purpose: what a stand-in does wrong, to which requests, and how often."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

FaultKind = Literal["delay", "status", "reset", "lost_answer", "conflict", "edit", "hang"]
KINDS: tuple[str, ...] = get_args(FaultKind)
Edit = Callable[[Any], object] | Sequence[Mapping[str, Any]]


class FaultError(ValueError):
    """The description of a fault makes no sense."""


@dataclass(slots=True)
class Fault:
    """One fault. It applies to requests whose method and path match: the first `after` of them are let
    through, then `times` are hit (None: all further ones). `method` may name several (`PUT|POST`), `path` is a
    regular expression that is searched; "" means any.

    Kinds: `delay` waits `seconds`, then goes on. `status` answers `answer_status` with `body`, nothing is
    carried out. `reset` breaks the connection, nothing is carried out. `lost_answer` carries the request out
    and closes the connection without an answer. `conflict` (v2) lets someone else write to the environment
    just before, so that the request's revision is stale. `edit` makes an edit just before: a callable that
    gets the server, or a list of requests `{"method", "path", "json"}` to it. `hang` waits `seconds` (0: until
    the fault is removed or the server stops) and closes the connection; nothing is carried out.
    """

    kind: FaultKind
    method: str = ""
    path: str = ""
    times: int | None = 1
    after: int = 0
    seconds: float = 0.0
    answer_status: int = 503
    body: Any = None
    edit_made: Edit = ()
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False, repr=False)
    _hit: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _removed: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FaultError(f"unknown kind {self.kind!r}; known: {', '.join(KINDS)}")
        try:
            re.compile(self.path)
        except re.error as error:
            raise FaultError(f"path {self.path!r} is no regular expression: {error}") from error

    @classmethod
    def delay(cls, method: str = "", path: str = "", *, seconds: float, **rest: Any) -> Fault:
        """Answer later."""
        return cls("delay", method, path, seconds=seconds, **rest)

    @classmethod
    def status(cls, method: str = "", path: str = "", *, status: int = 503, body: Any = None, **rest: Any) -> Fault:
        """Answer with this status; a `body` of None becomes Flipt's form of an error."""
        return cls("status", method, path, answer_status=status, body=body, **rest)

    @classmethod
    def reset(cls, method: str = "", path: str = "", **rest: Any) -> Fault:
        """Reset the connection before anything is done."""
        return cls("reset", method, path, **rest)

    @classmethod
    def lost_answer(cls, method: str = "", path: str = "", **rest: Any) -> Fault:
        """Do it, and never say so."""
        return cls("lost_answer", method, path, **rest)

    @classmethod
    def conflict(cls, method: str = "PUT", path: str = "", **rest: Any) -> Fault:
        """Someone edits another flag just before."""
        return cls("conflict", method, path, **rest)

    @classmethod
    def edit(cls, method: str = "", path: str = "", *, edit: Edit, **rest: Any) -> Fault:
        """Someone makes this edit just before."""
        return cls("edit", method, path, edit_made=edit, **rest)

    @classmethod
    def hang(cls, method: str = "", path: str = "", *, seconds: float = 0.0, **rest: Any) -> Fault:
        """Never answer."""
        return cls("hang", method, path, seconds=seconds, **rest)

    def matches(self, method: str, path: str) -> bool:
        """Is it about such a request? `method` may name several, as in `PUT|POST`."""
        return (not self.method or method in self.method.split("|")) and bool(re.search(self.path, path))

    def wait_hit(self, timeout: float = 5.0) -> bool:
        """Wait until it has hit a request; False when that did not happen in time."""
        return self._hit.wait(timeout)

    def wait_removed(self, timeout: float | None) -> bool:
        """Wait until it is removed; False when `timeout` seconds (None: no limit) pass first."""
        return self._removed.wait(timeout)

    def removed(self) -> None:
        """Mark it as removed, which ends its hanging and waiting."""
        self._removed.set()

    def take(self) -> bool:
        """Count a request that matches. True when this one is to be hit. The caller holds the list's lock."""
        self._seen += 1
        if self._seen <= self.after or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True

    def announce(self) -> None:
        """Tell those who wait that a request was hit."""
        self._hit.set()

    def document(self) -> dict[str, Any]:
        """The fault as JSON."""
        return {
            "kind": self.kind,
            "method": self.method,
            "path": self.path,
            "times": self.times,
            "after": self.after,
            "seconds": self.seconds,
            "status": self.answer_status,
            "hits": self.hits,
        }


def read_fault(fields: Mapping[str, Any]) -> Fault:
    """A fault from JSON. Raises FaultError for unknown fields, kinds or values."""
    names = {"status": "answer_status", "edit": "edit_made"}
    known = {"kind", "method", "path", "times", "after", "seconds", "status", "body", "edit"}
    if unknown := set(fields) - known:
        raise FaultError(f"unknown fields {sorted(unknown)}; known: {sorted(known)}")
    try:
        return Fault(**{names.get(name, name): value for name, value in fields.items()})
    except TypeError as error:
        raise FaultError(str(error)) from error


class Faults:
    """The faults of one server. Safe to use from any thread."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = list(faults)

    def add(self, fault: Fault) -> Fault:
        """Add one at the end, and give it back (for `hits` and `wait_hit`)."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take one out and let go whoever hangs in it; fine when it is not there."""
        with self._lock:
            self._faults = [one for one in self._faults if one is not fault]
        fault.removed()

    def clear(self) -> None:
        """Take all out and let go whoever hangs in them."""
        with self._lock:
            gone, self._faults = self._faults, []
        for fault in gone:
            fault.removed()

    def all(self) -> list[Fault]:
        """All of them, used up or not."""
        with self._lock:
            return list(self._faults)

    def taken(self, method: str, path: str) -> list[Fault]:
        """The faults that hit this request, in the order in which they were added."""
        with self._lock:
            hit = [fault for fault in self._faults if fault.matches(method, path) and fault.take()]
        for fault in hit:
            fault.announce()
        return hit
