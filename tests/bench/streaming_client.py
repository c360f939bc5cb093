"""A program that prints when a streaming flipt-client sees each flag off: one line of JSON a flag, `{"flag", "at"}`.

`at` is on the system's monotonic clock, which all processes of a machine share. The first line is `{"ready": true}`.
usage: python -m tests.bench.streaming_client URL NAMESPACE FLAG…
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time


def main() -> None:
    """Asks for every flag that is still on, as fast as it can without taking a whole core."""
    os.environ.pop("RUST_BACKTRACE", None)
    os.environ["RUST_LIB_BACKTRACE"] = "0"
    from flipt_client import FliptClient  # type: ignore[import-untyped]
    from flipt_client.models import ClientOptions, FetchMode  # type: ignore[import-untyped]

    url, namespace, *flags = sys.argv[1:]
    client = FliptClient(opts=ClientOptions(url=url, namespace=namespace, fetch_mode=FetchMode.STREAMING))
    on = {flag for flag in flags if client.evaluate_boolean(flag, "user-1", {}).enabled}
    print(json.dumps({"ready": True, "on": len(on)}), flush=True)
    pause = threading.Event()
    while on:
        for flag in sorted(on):
            if not client.evaluate_boolean(flag, "user-1", {}).enabled:
                print(json.dumps({"flag": flag, "at": time.monotonic()}), flush=True)
                on.discard(flag)
        pause.wait(0.0002)


main()
