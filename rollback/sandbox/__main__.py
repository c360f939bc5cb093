"""`python -m rollback.sandbox flipt|sm-api`: a stand-in as a process of its own.

It prints one line of JSON, `{"url": …}`, once it answers, and ends at once on SIGTERM or SIGINT.
Exit codes: 0 ended by a signal, 2 the arguments, the seed or the primary are wrong, or the port is taken.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from rollback.sandbox.documents import SeedError
from rollback.sandbox.faults import FaultError, read_fault
from rollback.sandbox.remote import PrimaryError
from rollback.sandbox.server import APIS, FliptServer
from rollback.sandbox.sm_api import MODES, SmApi


def arguments() -> argparse.ArgumentParser:
    """What can be told on the command line."""
    parser = argparse.ArgumentParser(prog="python -m rollback.sandbox", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    flipt = kinds.add_parser("flipt", help="a Flipt stand-in")
    flipt.add_argument("--api", choices=APIS, default="v2")
    flipt.add_argument("--port", type=int, default=0)
    flipt.add_argument("--token", default=None, help="require this token")
    flipt.add_argument("--put-delay", type=float, default=0.0, metavar="SECONDS")
    flipt.add_argument("--post-delay", type=float, default=0.0, metavar="SECONDS")
    flipt.add_argument("--seed", type=Path, help="a JSON or YAML file with the first state")
    flipt.add_argument("--read-only", action="store_true", help="refuse writes")
    flipt.add_argument("--file", type=Path, help="serve this declarative file, read-only, as v1")
    flipt.add_argument("--settle", type=float, default=0.0, metavar="SECONDS", help="before an edit counts")
    flipt.add_argument("--poll-interval", type=float, default=0.0, metavar="SECONDS")
    flipt.add_argument("--replica-of", metavar="URL", help="follow this stand-in")
    flipt.add_argument("--lag", type=float, default=0.0, metavar="SECONDS", help="how far behind")
    flipt.add_argument("--fault", action="append", default=[], metavar="JSON", help="may be given again")
    api = kinds.add_parser("sm-api", help="a pretend application")
    api.add_argument("--port", type=int, default=0)
    api.add_argument("--mode", choices=MODES, default="healthy")
    api.add_argument("--error-rate", type=float, default=0.0)
    api.add_argument("--latency-ms", type=float, default=0.0)
    api.add_argument("--status", type=int, default=503)
    api.add_argument("--seed", type=int, default=1)
    api.add_argument("--requires", metavar="NAME: VALUE", help="a header that requests must carry")
    api.add_argument("--git-revision", default="0000000")
    return parser


def flipt_server(told: argparse.Namespace) -> FliptServer:
    """The Flipt stand-in that the arguments describe."""
    return FliptServer(
        told.api,
        seed=None if told.seed is None else read_seed(told.seed),
        port=told.port,
        token=told.token,
        put_delay=told.put_delay,
        post_delay=told.post_delay,
        read_only=told.read_only,
        faults=[read_fault(json.loads(text)) for text in told.fault],
        file=told.file,
        settle=told.settle,
        poll_interval=told.poll_interval,
        replica_of=told.replica_of,
        lag=told.lag,
    )


def sm_api(told: argparse.Namespace) -> SmApi:
    """The pretend application that the arguments describe."""
    name, colon, value = (told.requires or "").partition(":")
    return SmApi(
        port=told.port,
        requires=(name.strip(), value.strip()) if colon else None,
        git_revision=told.git_revision,
        mode=told.mode,
        error_rate=told.error_rate,
        latency_ms=told.latency_ms,
        status=told.status,
        seed=told.seed,
    )


def read_seed(path: Path) -> Any:
    """The seed in a JSON or YAML file. SeedError, OSError."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    from rollback.sandbox.declared_file import parse

    return parse(text)


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal comes."""
    told = arguments().parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = flipt_server(told) if told.kind == "flipt" else sm_api(told)
    except (SeedError, FaultError, PrimaryError, ValueError, OSError) as error:
        print(f"rollback.sandbox: {error}", file=sys.stderr)
        return 2
    with server:
        print(json.dumps({"url": server.url}), flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
