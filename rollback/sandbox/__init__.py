"""Stand-ins for the systems that a rollback talks to, for the demo and the tests.

`FliptServer` answers like a real Flipt (v1 or v2): management API, snapshots, streams, server-side
evaluation, OFREP. Its data lives in memory, so it is empty again on the next start. `SmApi` is a pretend
application whose error rate can be changed while it runs. Both listen on 127.0.0.1 only. Nothing else in
the project may import this package.

In a test::

    seed = {"namespaces": {"mhv": {"flags": [{"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "enabled": True}]}}}
    with FliptServer(api="v2", seed=seed) as flipt:
        flipt.url                                            # "http://127.0.0.1:40123"
        flipt.faults.add(Fault.lost_answer("PUT"))           # carried out, but the answer never comes
        flipt.faults.add(Fault.status("GET", "/snapshot", status=503, times=2))
        flipt.faults.add(Fault.edit("PUT", edit=lambda server: server.edit_flag("mhv", "other")))
        flipt.count("PUT")                                   # how many writes arrived
        flipt.evaluate_boolean("mhv", "sm", "user-1", {})    # what the server would say, without HTTP

    with FliptServer(api="v1", put_delay=0.004, token="secret", read_only=True) as flipt: ...
    with FliptServer(api="v1", file=Path("features.yml"), settle=1.5) as flipt: ...     # declarative storage
    with FliptServer(replica_of=flipt, lag=0.5) as replica: ...         # what `flipt` was 0.5 s ago
    with SmApi(error_rate=0.3, seed=1) as api: api.behave(error_rate=0)

The seed has the shape of Flipt's declarative files: per namespace `flags` (a list) with `key`, `name`,
`type`, `enabled`, `metadata`, `variants`, `rules`, `rollouts`, and `segments`. A whole declarative document
(`{"namespace": "mhv", "flags": [...], "segments": [...]}`) or a list of them is accepted as well; other
environments go under `{"environments": {"staging": {"namespaces": {...}}}}`.

As a process (one JSON line `{"url": ...}` when it is ready; ends on SIGTERM)::

    python -m rollback.sandbox flipt --api v2 --port 0 --put-delay 0.08 --token T --seed seed.json
    python -m rollback.sandbox sm-api --port 0 --error-rate 0.3

Both have a control surface over HTTP, outside of the token check and of all faults: `/_sandbox/faults`,
`/_sandbox/requests`, `/_sandbox/state` (Flipt), `/_sandbox/behaviour` (SM API).
"""

from __future__ import annotations

from rollback.sandbox.faults import Fault, Faults
from rollback.sandbox.server import FliptServer
from rollback.sandbox.sm_api import Behaviour, SmApi

__all__ = ["Behaviour", "Fault", "Faults", "FliptServer", "SmApi"]
