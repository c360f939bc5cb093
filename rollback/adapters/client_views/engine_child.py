"""The program that runs flipt-client's engine for `engine.py`, in a process of its own.

The engine is native code that can abort its process, so nothing that must live shares one with it.
Imports only the standard library and flipt-client, because it races a write that takes a few
milliseconds.

Protocol: one JSON object a line. First `{"ready": true}`, then for each request

    {"id", "url", "environment", "namespace", "flag", "authentication": {…} | null, "tls": {…} | null,
     "timeout": seconds, "samples": [[entity id, context], …]}

one answer `{"id", "answers": […], "errors": […]}`; an answer is a boolean, `[variant, match]`, or null
when that evaluation failed. The end of standard input ends the program, also in the middle of a
request, so that it never outlives its parent.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import socket
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

from flipt_client import FliptClient  # type: ignore[import-untyped]
from flipt_client.models import (  # type: ignore[import-untyped]
    AuthenticationStrategy,
    ClientOptions,
    ErrorStrategy,
    FetchMode,
    TlsConfig,
)

NEVER_POLL_AGAIN = 86_400
"""Seconds. Each request has a client of its own, which reads the snapshot when it starts; that is enough."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def main() -> None:
    """Reads requests until the end of input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the token
    # Must be so before the native library loads (with the first client): with RUST_BACKTRACE set, a
    # refused connection aborts the process.
    os.environ.pop("RUST_BACKTRACE", None)
    os.environ["RUST_LIB_BACKTRACE"] = "0"
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints is no answer
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    say({"ready": True})
    while True:
        request = json.loads(requests.get())
        try:
            say({"id": request["id"], **_evaluate(request)})
        except Exception as error:
            say({"id": request["id"], "answers": [], "errors": [f"{type(error).__name__}: {error}"]})


def _read(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _evaluate(request: dict[str, Any]) -> dict[str, Any]:
    unreachable = _unreachable(request["url"], request["timeout"])
    if unreachable:
        return {"answers": [], "errors": [unreachable]}
    client = _client(request)
    try:
        flag = request["flag"]
        kinds = {one.key: one.type.value for one in client.list_flags()}
        if flag not in kinds:
            return {"answers": [], "errors": [f"flag {flag} is not in the snapshot"]}
        ask = _boolean if kinds[flag] == "BOOLEAN_FLAG_TYPE" else _variant
        answers: list[Any] = []
        errors: dict[str, None] = {}
        for entity_id, context in request["samples"]:
            try:
                answers.append(ask(client, flag, entity_id, context))
            except Exception as error:
                answers.append(None)
                errors[str(error)] = None
        return {"answers": answers, "errors": list(errors)}
    finally:
        # With the server gone, closing takes seconds.
        threading.Thread(target=client.close, daemon=True).start()


def _client(request: dict[str, Any]) -> Any:
    token, tls = request["authentication"], request["tls"]
    client = FliptClient(
        ClientOptions(
            url=request["url"],
            environment=request["environment"],
            namespace=request["namespace"],
            authentication=AuthenticationStrategy(**token) if token else None,
            tls_config=TlsConfig(**tls) if tls else None,
            request_timeout=max(1, round(request["timeout"])),
            update_interval=NEVER_POLL_AGAIN,
            fetch_mode=FetchMode.POLLING,
            error_strategy=ErrorStrategy.FAIL,
        )
    )
    if not client.engine:
        raise RuntimeError("the engine did not start with these options")
    return client


def _boolean(client: Any, flag: str, entity_id: str, context: dict[str, str]) -> bool:
    return bool(client.evaluate_boolean(flag, entity_id, context).enabled)


def _variant(client: Any, flag: str, entity_id: str, context: dict[str, str]) -> list[Any]:
    found = client.evaluate_variant(flag, entity_id, context)
    return [found.variant_key, found.match]


def _unreachable(url: str, timeout: float) -> str | None:
    """Why no connection can be made at all. The engine would try for seconds, and say less.

    Behind a proxy only the engine can tell.
    """
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return None
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=timeout).close()
    except (OSError, ValueError) as error:
        return f"no connection to the flag server: {error}"
    return None


if __name__ == "__main__":
    main()
