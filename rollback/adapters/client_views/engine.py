"""What the engine inside SDKs says: flipt-client, in a child process, with a snapshot it fetches itself.

The child starts before the write (`prepare`), so that its start of about 0.2 s overlaps with it. The
engine is native code that can abort its process; then this view has an error to tell, and nothing else
is lost (`engine_child.py`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from rollback.adapters.client_views.answers import Answer, failed, sighting
from rollback.adapters.client_views.child_process import NONSENSE, ChildProcess, NoAnswer
from rollback.adapters.flipt_http.tls import Tls
from rollback.adapters.flipt_http.token import TokenSource
from rollback.core.flag import FlagRef, Polarity
from rollback.core.sample import Sample, Sighting
from rollback.errors import RollbackError

TIMEOUT_SECONDS = 10.0
"""How long one round of all samples may take; a healthy one takes some 30 ms. The engine by itself would go on
trying for minutes."""

COMMAND = (sys.executable, "-P", "-m", "rollback.adapters.client_views.engine_child")
"""Without the current folder on the module path: nothing that lies there is run by accident."""

_CHECKOUT = Path(__file__).parents[3]

_HOUSE_VARIABLES = "ROLLBACK_"
"""The settings of this program stay with it; the token reaches the child through its standard input."""


class EngineClientView:
    """A `ClientView` of one replica through flipt-client. `url` is the address that an SDK would be given.

    Errors in sightings: a child that does not start, dies, hangs or talks nonsense; a server that
    refuses or does not answer; a flag that is not in the snapshot. After such an error the next
    `evaluate` starts a new child.
    """

    name = "engine"  # `core.proof.ENGINE`, which is not worth an import before the write

    def __init__(
        self,
        url: str,
        *,
        replica: str = "",
        token: TokenSource | None = None,
        tls: Tls | None = None,
        timeout: float = TIMEOUT_SECONDS,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.replica = replica or url
        self._url = url.rstrip("/")
        self._token = token or TokenSource.none()
        self._tls = _tls_options(tls or Tls())
        self._timeout = timeout
        self._command = command
        self._environment = _for_the_child(os.environ if environment is None else environment)
        self._child: ChildProcess | None = None
        self._why_not = ""
        self._lock = threading.Lock()
        self._closed = False
        self._numbers = count(1)

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        child = self._child
        return child.pid if child else None

    def prepare(self) -> None:
        """Starts the child, once; returns in a few milliseconds. Never raises."""
        with self._lock:
            self._start()

    def evaluate(self, ref: FlagRef, polarity: Polarity, samples: Sequence[Sample], *, deadline: float) -> Sighting:
        """All samples on a snapshot that is fetched now. Never raises."""
        deadline = min(deadline, time.monotonic() + self._timeout)
        with self._lock:
            try:
                reply = self._ask(ref, samples, deadline)
            except NoAnswer as error:
                return failed(f"flipt-client: {self._token.scrubbed(str(error))}")
            except RollbackError as error:  # no token to be had
                return failed(error.message)
        errors = [f"flipt-client: {self._token.scrubbed(str(error))}" for error in reply["errors"]]
        answers = [_answer(one) for one in reply["answers"]]
        return sighting(samples, answers, errors, polarity)

    def close(self) -> None:
        """Ends the child at once, also in the middle of an evaluation."""
        self._closed = True
        if not self._lock.acquire(blocking=False):  # in the middle of an evaluation
            if child := self._child:
                child.kill()
            self._lock.acquire()
        try:
            self._drop()
        finally:
            self._lock.release()

    def _ask(self, ref: FlagRef, samples: Sequence[Sample], deadline: float) -> dict[str, Any]:
        reply = self._ask_as(self._authorization(deadline), ref, samples, deadline)
        if self._token.is_given and any("401" in str(error) for error in reply["errors"]):
            renewed = self._authorization(deadline, again=True)
            reply = self._ask_as(renewed, ref, samples, deadline)
        return reply

    def _ask_as(
        self, authorization: str | None, ref: FlagRef, samples: Sequence[Sample], deadline: float
    ) -> dict[str, Any]:
        child = self._start()
        if child is None:
            raise NoAnswer(self._why_not)
        request = {
            "id": next(self._numbers),
            "url": self._url,
            "environment": ref.environment,
            "namespace": ref.namespace,
            "flag": ref.flag_key,
            "authentication": _authentication(authorization),
            "tls": self._tls,
            "timeout": max(0.1, deadline - time.monotonic()),
            "samples": [[sample.entity_id, dict(sample.context)] for sample in samples],
        }
        reply = child.ask(request, deadline=deadline)
        if not isinstance(reply.get("answers"), list) or not isinstance(reply.get("errors"), list):
            raise NoAnswer(NONSENSE)
        return reply

    def _authorization(self, deadline: float, *, again: bool = False) -> str | None:
        return self._token.authorization(seconds=max(0.0, deadline - time.monotonic()), again=again)

    def _start(self) -> ChildProcess | None:
        """The living child, started if need be; None when it cannot be, with the reason in `_why_not`."""
        if self._child is not None and not self._child.is_alive:
            self._drop()
        if self._child is None and not self._closed:
            try:
                self._child = ChildProcess(self._command, self._environment)
            except NoAnswer as error:
                self._why_not = str(error)
        if self._closed:
            self._why_not = "this view is closed"
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


def _for_the_child(environment: Mapping[str, str]) -> dict[str, str]:
    """The engine aborts its process on a refused connection when RUST_BACKTRACE is set (`flipt.md`)."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_HOUSE_VARIABLES)}
    kept.pop("RUST_BACKTRACE", None)
    if not _CHECKOUT.name.endswith("-packages"):  # not installed: the child must find this package as we did
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CHECKOUT), kept.get("PYTHONPATH")]))
    return kept | {"RUST_LIB_BACKTRACE": "0"}


def _tls_options(tls: Tls) -> dict[str, str] | None:
    """In the engine's words. A certificate file may hold the key as well."""
    key = tls.key or tls.cert
    files = {"ca_cert_file": tls.ca, "client_cert_file": tls.cert, "client_key_file": key}
    return {name: str(path) for name, path in files.items() if path is not None} or None


def _authentication(authorization: str | None) -> dict[str, str] | None:
    """`Bearer …` is a client token, `JWT …` a JWT: the two that Flipt and the engine know."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return {"jwt_token" if scheme.lower() == "jwt" else "client_token": token}


def _answer(raw: Any) -> Answer | None:
    if isinstance(raw, bool):
        return Answer(enabled=raw)
    match raw:
        case [str(variant), bool(matched)]:
            return Answer(variant=variant, match=matched)
    return None
