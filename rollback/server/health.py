"""Whether this server lives, and whether it can do its work. Neither question touches a flag."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from rollback.errors import RollbackError
from rollback.redaction import redact

if TYPE_CHECKING:
    from rollback.server.services import Services

REMEMBERED_SECONDS = 1.0
"""How long an answer about readiness is good for: it reads files and asks the disk, and anybody may ask for it."""

NO_DELIVERY = 0
"""No delivery has this number; the first is 1."""


class Health:
    """Asks each part how it does; a part that raises is not well. Usable from several threads."""

    def __init__(self, services: Services, trouble: Callable[[], str]) -> None:
        self._services = services
        self._trouble = trouble
        self._lock = threading.Lock()
        self._last: tuple[float, dict[str, str]] | None = None

    def live(self) -> dict[str, str]:
        """Each thread that must live, with why not (empty: it does). Only a restart helps one that does not.

        That the event loop turns is shown by the answer itself. A flag store or a disk out of reach is no reason.
        """
        try:
            workers = self._services.workers()
        except Exception as error:
            return {"event loop": "", "workers": f"they cannot be asked ({type(error).__name__})"}
        return {"event loop": "", **{name: "" if lives else "it has ended" for name, lives in workers.items()}}

    def ready(self) -> dict[str, str]:
        """Each part that is needed to act on an alert, with why not (empty: it is there)."""
        with self._lock:
            now = self._services.clock.monotonic()
            if self._last is not None and now - self._last[0] < REMEMBERED_SECONDS:
                return self._last[1]
            found = {name: _asked(part) for name, part in self._parts().items()}
            self._last = (now, found)
            return found

    def _parts(self) -> Mapping[str, Callable[[], str]]:
        return {
            "inbox": self._inbox,
            "dispatcher": lambda: self._services.dispatcher.is_well,
            "policies": self._services.policies,
            "sources": self._sources,
            "server": lambda: "it is ending" if self._services.stopping.is_set() else "",
        }

    def _inbox(self) -> str:
        """Ends no delivery at all: that takes the write lock, and changes nothing."""
        self._services.inbox.settle({NO_DELIVERY: ""}, self._services.clock.now())
        return self._trouble()

    def _sources(self) -> str:
        is_open = any(not source.closed for source in self._services.sources.values())
        return "" if is_open else "no source of alerts is open"


def _asked(part: Callable[[], str]) -> str:
    try:
        return redact(part(), 300)
    except RollbackError as error:
        return redact(error.message, 300)
    except Exception as error:
        return f"it failed unexpectedly ({type(error).__name__})"


def _answer(parts: Mapping[str, str], well: str, unwell: str) -> JSONResponse:
    is_well = not any(parts.values())
    told = {name: why or "ok" for name, why in parts.items()}
    document = {"status": well if is_well else unwell, "parts": told}
    return JSONResponse(document, 200 if is_well else 503, {"Cache-Control": "no-store"})


def _documented(well: str, unwell: str) -> dict[int | str, dict[str, Any]]:
    def schema(status: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "status": {"const": status},
                "parts": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["status", "parts"],
            "additionalProperties": False,
        }

    def content(status: str) -> dict[str, Any]:
        return {"application/json": {"schema": schema(status)}}

    return {
        200: {"description": "All parts are well.", "content": content(well)},
        503: {"description": "A part is not; each says why.", "content": content(unwell)},
    }


def router(health: Health) -> APIRouter:
    """`GET /healthz/live` and `GET /healthz/ready`."""
    routes = APIRouter(tags=["machines"])

    @routes.get(
        "/healthz/live",
        summary="Does the server live?",
        operation_id="live",
        response_model=None,
        responses=_documented("live", "dead"),
    )
    async def live() -> JSONResponse:  # in the event loop: that it answers is the point
        return _answer(health.live(), "live", "dead")

    @routes.get(
        "/healthz/ready",
        summary="Can it act on an alert?",
        operation_id="ready",
        response_model=None,
        responses=_documented("ready", "not ready"),
    )
    def ready() -> JSONResponse:  # in a thread: it asks the disk
        return _answer(health.ready(), "ready", "not ready")

    return routes
