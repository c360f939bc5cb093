"""One call to a server that behaves as a test wants it."""

from __future__ import annotations

import time
from typing import Any

from rollback.adapters.flipt_http import FliptHttp
from tests.flag_stores.raw_server import Behaviour, RawServer

SECRET = "s3cret-token-that-must-not-show"


def soon(seconds: float = 5.0) -> float:
    """A deadline so many seconds away."""
    return time.monotonic() + seconds


def asked(behaviour: Behaviour, *, write: bool = False, limit: float = 5.0, **options: Any) -> tuple[Any, RawServer]:
    """What comes of one request to a server that behaves so: the answer or the error."""
    with RawServer(behaviour) as server:
        http = FliptHttp(server.url, **options)
        try:
            return http.request("PUT" if write else "GET", "/x", deadline=soon(limit), expects_write=write), server
        except Exception as error:
            return error, server
        finally:
            http.close()
